//! The admin API: HTTP/1.1 and JSON on a unix socket.
//!
//! | resource | answer |
//! |---|---|
//! | `GET /v1/status` | [`Envelope`]`<`[`NodeStatus`](crate::status::NodeStatus)`>` |
//! | `GET /v1/routes` | [`Envelope`]`<`[`RouteList`](crate::status::RouteList)`>` |
//! | `GET /v1/counters` | [`Envelope`]`<`[`Counters`](crate::status::Counters)`>` |
//! | `GET /v1/explain?source=A:P&destination=A:P&protocol=tcp` | [`Envelope`]`<`[`Explanation`](crate::status::Explanation)`>` |
//! | `GET /v1/health` | [`Envelope`]`<`[`HealthList`](crate::status::HealthList)`>` |
//! | `GET /v1/bpf` | [`Envelope`]`<`[`BpfState`](crate::status::BpfState)`>` |
//! | `GET /v1/bpf/verify` | [`Envelope`]`<`[`Verification`](crate::status::Verification)`>` |
//! | `POST /v1/probe`, body [`ProbeRequest`] | [`Envelope`]`<`[`ProbeReport`](crate::status::ProbeReport)`>` |
//! | `POST /v1/trace`, body [`TraceRequest`] | [`Envelope`]`<`[`TraceStarted`](crate::status::TraceStarted)`>` |
//! | `POST /v1/trace/next`, body [`TraceNext`] | [`Envelope`]`<`[`TraceBatch`](crate::status::TraceBatch)`>` |
//! | `POST /v1/diff`, body [`DiffRequest`] | [`Envelope`]`<`[`ConfigDiff`](crate::status::ConfigDiff)`>` |
//! | `POST /v1/reload`, body [`ReloadRequest`] | [`Envelope`]`<`[`Reloaded`](crate::status::Reloaded)`>` |
//! | `POST /v1/command`, body [`Command`] | [`Envelope`]`<`[`Done`]`>` |
//!
//! Everything else, and every failure, is an [`Envelope`]`<`[`Refused`]`>` with a matching HTTP status. A change may
//! carry `If-Match: GENERATION`; when the node is no longer at that generation, the answer is 412.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::caller::{Authority, Caller};
use super::node::Node;
use super::serve::serve as serve_http;
pub use super::socket::{AdminSocket, SocketError};
use crate::status::{
    Command, DiffRequest, Done, Envelope, ExplainRequest, ProbeRequest, Refusal, Refused,
    ReloadRequest, TraceNext, TraceRequest,
};

/// Body of a request.
const BODY_BYTES: usize = 16 * 1024;
/// A body with a configuration file in it; one of ten thousand backends has a megabyte.
const FILE_BYTES: usize = 8 << 20;
const CONNECTIONS_MAX: usize = 32;
/// Time for reading.
const READ_TIME: Duration = Duration::from_secs(5);
/// Time for a change; a reload of a thousand services fits well.
const CHANGE_TIME: Duration = Duration::from_secs(30);
const RESOURCES: &str = "GET /v1/status, GET /v1/routes, GET /v1/counters, GET /v1/explain, GET /v1/health, GET /v1/bpf, GET /v1/bpf/verify, POST /v1/probe, POST /v1/trace, POST /v1/trace/next, POST /v1/diff, POST /v1/reload, POST /v1/command";

/// Answers on `socket` for `node` until `stop` is ready, then lets the answers under way end.
pub async fn serve<N: Node>(socket: AdminSocket, node: Arc<N>, stop: impl Future<Output = ()>) {
    let (listener, _file, authority) = socket.into_parts();
    let who = |stream: &UnixStream| Caller::of(stream).ok();
    serve_as(listener, node, authority, who, stop).await;
}

/// The same, with `who` to tell the client of a connection; a caller who is not known may only read.
pub(super) async fn serve_as<N: Node>(
    listener: UnixListener,
    node: Arc<N>,
    authority: Authority,
    who: impl Fn(&UnixStream) -> Option<Caller>,
    stop: impl Future<Output = ()>,
) {
    let routes = routes(node, authority);
    let app = |stream: &UnixStream| routes.clone().layer(Extension(who(stream)));
    serve_http(listener, CONNECTIONS_MAX, app, stop).await;
}

/// What the handlers share.
struct App<N> {
    node: Arc<N>,
    authority: Authority,
    // One change at a time: between the check of If-Match and the end of a change no other slips in.
    changing: Mutex<()>,
}

fn routes<N: Node>(node: Arc<N>, authority: Authority) -> Router {
    let app = Arc::new(App {
        node,
        authority,
        changing: Mutex::new(()),
    });
    Router::new()
        .route("/v1/status", get(status::<N>))
        .route("/v1/routes", get(bgp_routes::<N>))
        .route("/v1/counters", get(counters::<N>))
        .route("/v1/explain", get(explain::<N>))
        .route("/v1/health", get(health::<N>))
        .route("/v1/bpf", get(bpf::<N>))
        .route("/v1/bpf/verify", get(verify::<N>))
        .route("/v1/probe", post(probe::<N>))
        .route("/v1/trace", post(trace::<N>))
        .route("/v1/trace/next", post(trace_next::<N>))
        .route(
            "/v1/diff",
            post(diff::<N>).layer(DefaultBodyLimit::max(FILE_BYTES)),
        )
        .route("/v1/reload", post(reload::<N>))
        .route("/v1/command", post(command::<N>))
        .fallback(no_resource::<N>)
        .method_not_allowed_fallback(no_method::<N>)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(app)
}

async fn status<N: Node>(State(app): State<Arc<App<N>>>) -> Response {
    Json(&*app.node.status()).into_response()
}

async fn bgp_routes<N: Node>(State(app): State<Arc<App<N>>>) -> Response {
    app.answer(Ok(app.node.routes()))
}

async fn counters<N: Node>(State(app): State<Arc<App<N>>>) -> Response {
    app.answer(within(READ_TIME, app.node.counters()).await)
}

async fn explain<N: Node>(
    State(app): State<Arc<App<N>>>,
    request: Result<Query<ExplainRequest>, QueryRejection>,
) -> Response {
    match request {
        Ok(Query(request)) => app.answer(within(READ_TIME, app.node.explain(request)).await),
        Err(error) => app.refuse(
            error.status(),
            Refusal::usage(format!(
                "{}: ask for /v1/explain?source=ADDRESS:PORT&destination=VIP:PORT&protocol=tcp",
                error.body_text()
            )),
        ),
    }
}

async fn health<N: Node>(State(app): State<Arc<App<N>>>) -> Response {
    app.answer(within(READ_TIME, app.node.health()).await)
}

async fn bpf<N: Node>(State(app): State<Arc<App<N>>>) -> Response {
    app.answer(within(READ_TIME, app.node.bpf()).await)
}

async fn verify<N: Node>(State(app): State<Arc<App<N>>>) -> Response {
    app.answer(within(READ_TIME, app.node.verify()).await)
}

/// It changes nothing here, but it makes this node send: not for whoever may only read.
async fn probe<N: Node>(
    State(app): State<Arc<App<N>>>,
    Extension(caller): Extension<Option<Caller>>,
    body: Result<Json<ProbeRequest>, JsonRejection>,
) -> Response {
    if let Some(refused) = app.forbidden(caller) {
        return refused;
    }
    match body {
        Ok(Json(request)) => app.answer(within(CHANGE_TIME, app.node.probe(request)).await),
        Err(error) => app.refuse(error.status(), Refusal::usage(error.body_text())),
    }
}

/// Packets of clients are not for whoever may only read, and telling of them makes every packet dearer.
async fn trace<N: Node>(
    State(app): State<Arc<App<N>>>,
    Extension(caller): Extension<Option<Caller>>,
    body: Result<Json<TraceRequest>, JsonRejection>,
) -> Response {
    if let Some(refused) = app.forbidden(caller) {
        return refused;
    }
    match body {
        Ok(Json(request)) => app.answer(within(CHANGE_TIME, app.node.trace(request)).await),
        Err(error) => app.refuse(error.status(), Refusal::usage(error.body_text())),
    }
}

async fn trace_next<N: Node>(
    State(app): State<Arc<App<N>>>,
    Extension(caller): Extension<Option<Caller>>,
    body: Result<Json<TraceNext>, JsonRejection>,
) -> Response {
    if let Some(refused) = app.forbidden(caller) {
        return refused;
    }
    match body {
        Ok(Json(request)) => app.answer(within(CHANGE_TIME, app.node.trace_next(request)).await),
        Err(error) => app.refuse(error.status(), Refusal::usage(error.body_text())),
    }
}

/// It changes nothing, but the agent reads the key files that the configuration names: not for whoever may only read.
async fn diff<N: Node>(
    State(app): State<Arc<App<N>>>,
    Extension(caller): Extension<Option<Caller>>,
    body: Result<Json<DiffRequest>, JsonRejection>,
) -> Response {
    if let Some(refused) = app.forbidden(caller) {
        return refused;
    }
    match body {
        Ok(Json(request)) => app.answer(within(CHANGE_TIME, app.node.diff(request)).await),
        Err(error) => app.refuse(error.status(), Refusal::usage(error.body_text())),
    }
}

async fn reload<N: Node>(
    State(app): State<Arc<App<N>>>,
    Extension(caller): Extension<Option<Caller>>,
    headers: HeaderMap,
    body: Result<Json<ReloadRequest>, JsonRejection>,
) -> Response {
    if let Some(refused) = app.forbidden(caller) {
        return refused;
    }
    let request = match body {
        Ok(Json(request)) => request,
        Err(error) => return app.refuse(error.status(), Refusal::usage(error.body_text())),
    };
    let alone = app.changing.lock().await;
    if let Err(refusal) = check_generation(&headers, app.node.status().generation) {
        return app.refuse(StatusCode::PRECONDITION_FAILED, refusal);
    }
    let done = within(CHANGE_TIME, app.node.reload(request.force)).await;
    // Peers may take their time; other changes need not wait for that.
    drop(alone);
    let told = match (&done, request.wait_secs) {
        (Ok(_), Some(secs)) => app.node.told(Duration::from_secs(secs)).await,
        _ => Ok(()),
    };
    app.answer(told.and(done))
}

async fn command<N: Node>(
    State(app): State<Arc<App<N>>>,
    Extension(caller): Extension<Option<Caller>>,
    headers: HeaderMap,
    body: Result<Json<Command>, JsonRejection>,
) -> Response {
    if let Some(refused) = app.forbidden(caller) {
        return refused;
    }
    let command = match body {
        Ok(Json(command)) => command,
        Err(error) => return app.refuse(error.status(), Refusal::usage(error.body_text())),
    };
    let _alone = app.changing.lock().await;
    if let Err(refusal) = check_generation(&headers, app.node.status().generation) {
        return app.refuse(StatusCode::PRECONDITION_FAILED, refusal);
    }
    let done = within(CHANGE_TIME, app.node.command(command)).await;
    app.answer(done.map(|message| Done { message }))
}

async fn no_resource<N: Node>(State(app): State<Arc<App<N>>>) -> Response {
    let message = format!("no such resource: there are {RESOURCES}");
    app.refuse(StatusCode::NOT_FOUND, Refusal::not_found(message))
}

async fn no_method<N: Node>(State(app): State<Arc<App<N>>>) -> Response {
    let message = format!("no such method for this resource: there are {RESOURCES}");
    app.refuse(StatusCode::METHOD_NOT_ALLOWED, Refusal::usage(message))
}

impl<N: Node> App<N> {
    /// The answer to a caller who may only read.
    fn forbidden(&self, caller: Option<Caller>) -> Option<Response> {
        let may = caller.is_some_and(|caller| self.authority.lets_change(&caller));
        let message = "only root, the agent's user and the group of the admin socket may change anything: use sudo";
        (!may).then(|| self.refuse(StatusCode::FORBIDDEN, Refusal::refused(message)))
    }

    fn answer<T: Serialize>(&self, result: Result<T, Refusal>) -> Response {
        match result {
            Ok(body) => Json(Envelope::new(self.node.status().generation, body)).into_response(),
            Err(refusal) => self.refuse(http_status(&refusal), refusal),
        }
    }

    fn refuse(&self, status: StatusCode, error: Refusal) -> Response {
        let body = Envelope::new(self.node.status().generation, Refused { error });
        (status, Json(body)).into_response()
    }
}

/// The value of If-Match, quoted or bare, against the generation the node is at.
fn check_generation(headers: &HeaderMap, generation: u64) -> Result<(), Refusal> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(());
    };
    let expected = value.to_str().unwrap_or_default().trim_matches('"');
    if expected == "*" || expected.parse() == Ok(generation) {
        return Ok(());
    }
    Err(Refusal::refused(format!(
        "the node is at generation {generation}, not {expected}: look at its status and ask again"
    )))
}

fn http_status(refusal: &Refusal) -> StatusCode {
    match refusal.kind.as_str() {
        "not_found" => StatusCode::NOT_FOUND,
        "refused" => StatusCode::CONFLICT,
        "invalid" => StatusCode::UNPROCESSABLE_ENTITY,
        "usage" => StatusCode::BAD_REQUEST,
        "timeout" => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    timeout(time, work).await.unwrap_or_else(|_| {
        Err(Refusal::timeout(format!(
            "the agent did not answer within {} s: look at its log",
            time.as_secs()
        )))
    })
}
