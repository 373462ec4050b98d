use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};

use super::{Answer, exchange, get, post};
use crate::api::admin::{AdminSocket, serve, serve_as};
use crate::api::caller::{Authority, Caller};
use crate::api::fake::{self, FakeNode};
use crate::api::node::Node;
use crate::api::scratch::Scratch;

const DRAIN: &str = r#"{"command":"set_admin","pool":null,"backend":"b2","admin":"draining"}"#;

struct Bench {
    _dir: Scratch,
    path: PathBuf,
    node: Arc<FakeNode>,
}

impl Bench {
    fn new() -> Self {
        Self::with(FakeNode::lb())
    }

    fn with(node: FakeNode) -> Self {
        let dir = Scratch::new();
        let node = Arc::new(node);
        let socket = AdminSocket::bind(dir.path()).unwrap();
        let path = socket.path().to_path_buf();
        tokio::spawn(serve(socket, node.clone(), std::future::pending()));
        Self {
            _dir: dir,
            path,
            node,
        }
    }

    async fn ask(&self, request: &str) -> Answer {
        exchange(UnixStream::connect(&self.path).await.unwrap(), request).await
    }

    fn generation(&self) -> u64 {
        self.node.status().generation
    }
}

/// The body of a refusal at generation 12.
fn refused(kind: &str, message: &str) -> String {
    format!(
        r#"{{"schema":"anylb/v1","generation":12,"error":{{"kind":"{kind}","message":"{message}"}}}}"#
    )
}

#[tokio::test]
async fn status_is_the_envelope_as_published() {
    let bench = Bench::new();
    let answer = bench.ask(&get("/v1/status")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: application/json"));
    let expected = serde_json::to_string(&*bench.node.status()).unwrap();
    assert_eq!(answer.body, expected);
}

#[tokio::test]
async fn counters_are_read_when_asked() {
    let answer = Bench::new().ask(&get("/v1/counters")).await;
    assert_eq!(answer.status, 200);
    let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(json["generation"], 12);
    assert_eq!(json["services"]["web-v4"]["new_flows"], 40);
}

#[tokio::test]
async fn explain_takes_its_packet_from_the_query() {
    let answer = Bench::new()
        .ask(&get(
            "/v1/explain?source=192.0.2.1:4000&destination=198.51.100.10:80&protocol=tcp",
        ))
        .await;
    assert_eq!(answer.status, 200);
    let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(json["source"], "192.0.2.1:4000");
}

#[tokio::test]
async fn requests_that_make_no_sense() {
    let too_long = format!(r#"{{"command":"reload","x":"{}"}}"#, "x".repeat(20_000));
    for (request, status, kind, why) in [
        (get("/v2/status"), 404, "not_found", "no such resource"),
        (get("/"), 404, "not_found", "no page"),
        (post("/v1/status", "", "{}"), 405, "usage", "read-only"),
        (get("/v1/command"), 405, "usage", "not a question"),
        (get("/v1/explain"), 400, "usage", "no query"),
        (
            get("/v1/explain?source=web&destination=198.51.100.10:80&protocol=tcp"),
            400,
            "usage",
            "no address",
        ),
        (post("/v1/command", "", "{"), 400, "usage", "no JSON"),
        (post("/v1/health", "", "{}"), 405, "usage", "read-only"),
        (get("/v1/probe"), 405, "usage", "it sends packets"),
        (
            post("/v1/probe", "", r#"{"pool":"web"}"#),
            422,
            "usage",
            "nobody named",
        ),
        (
            post("/v1/command", "", r#"{"command":"explode"}"#),
            422,
            "usage",
            "no such command",
        ),
        (get("/v1/diff"), 405, "usage", "not a question"),
        (get("/v1/reload"), 405, "usage", "not a question"),
        (
            post("/v1/reload", "", r#"{"force":"yes"}"#),
            422,
            "usage",
            "no boolean",
        ),
        (post("/v1/command", "", &too_long), 413, "usage", "too long"),
    ] {
        let bench = Bench::new();
        let answer = bench.ask(&request).await;
        assert_eq!(answer.status, status, "{why}");
        let json: serde_json::Value = serde_json::from_str(&answer.body).expect(why);
        assert_eq!(json["schema"], "anylb/v1", "{why}");
        assert_eq!(json["error"]["kind"], kind, "{why}");
        assert_eq!(bench.generation(), 12, "{why}: nothing changed");
    }
}

#[tokio::test]
async fn what_there_is_is_said_where_there_is_nothing() {
    let answer = Bench::new().ask(&get("/")).await;
    let message = "no such resource: there are GET /v1/status, GET /v1/routes, GET /v1/counters, GET /v1/explain, GET /v1/health, GET /v1/bpf, GET /v1/bpf/verify, POST /v1/probe, POST /v1/trace, POST /v1/trace/next, POST /v1/diff, POST /v1/reload, POST /v1/command";
    assert_eq!(answer.body, refused("not_found", message));
}

#[tokio::test]
async fn a_change_is_done_and_counted() {
    let bench = Bench::new();
    let answer = bench.ask(&post("/v1/command", "", DRAIN)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        r#"{"schema":"anylb/v1","generation":13,"message":"b2 is draining in 1 pool, on this node only"}"#
    );
    assert_eq!(bench.generation(), 13);
}

#[tokio::test]
async fn a_change_for_a_stale_generation_is_refused() {
    for (header, status) in [
        ("If-Match: 12\r\n", 200),
        ("If-Match: \"12\"\r\n", 200),
        ("If-Match: *\r\n", 200),
        ("If-Match: 11\r\n", 412),
        ("If-Match: 13\r\n", 412),
        ("If-Match: x\r\n", 412),
        ("If-Match: \r\n", 412),
    ] {
        let bench = Bench::new();
        let answer = bench.ask(&post("/v1/command", header, DRAIN)).await;
        assert_eq!(answer.status, status, "{header}");
        let expected = if status == 200 { 13 } else { 12 };
        assert_eq!(bench.generation(), expected, "{header}");
    }
    let answer = Bench::new()
        .ask(&post("/v1/command", "If-Match: 11\r\n", DRAIN))
        .await;
    let message = "the node is at generation 12, not 11: look at its status and ask again";
    assert_eq!(answer.body, refused("refused", message));
}

#[tokio::test]
async fn of_two_changes_for_one_generation_one_is_done() {
    let bench = Bench::new();
    let request = post("/v1/command", "If-Match: 12\r\n", DRAIN);
    let (one, other) = tokio::join!(bench.ask(&request), bench.ask(&request));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    assert_eq!(bench.generation(), 13);
}

#[tokio::test]
async fn refusals_of_the_node_have_their_status() {
    let bench = Bench::new();
    let unknown = DRAIN.replace("b2", "b9");
    let answer = bench.ask(&post("/v1/command", "", &unknown)).await;
    assert_eq!(answer.status, 404);
    let message = "there is no backend b9: see `anylb backend list`";
    assert_eq!(answer.body, refused("not_found", message));
    let reload = r#"{"command":"reload"}"#;
    let answer = bench.ask(&post("/v1/command", "", reload)).await;
    assert_eq!(answer.status, 422, "the file is invalid");
}

#[tokio::test]
async fn strangers_may_read_and_not_change() {
    for (caller, status) in [
        (Some(caller(1000, 1000)), 403),
        (None, 403),
        (Some(caller(1000, 985)), 200),
        (Some(caller(990, 1000)), 200),
    ] {
        let dir = Scratch::new();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let node = Arc::new(FakeNode::lb());
        let authority = Authority { uid: 990, gid: 985 };
        let who = caller.clone();
        tokio::spawn(serve_as(
            listener,
            node.clone(),
            authority,
            move |_| who.clone(),
            std::future::pending(),
        ));
        let connect = || async { UnixStream::connect(&path).await.unwrap() };
        let answer = exchange(connect().await, &get("/v1/status")).await;
        assert_eq!(answer.status, 200, "{caller:?} may read");
        let probe = post("/v1/probe", "", r#"{"pool":"web","backend":"b2"}"#);
        let answer = exchange(connect().await, &probe).await;
        assert_eq!(
            answer.status, status,
            "{caller:?}: a probe makes this node send"
        );
        let answer = exchange(connect().await, &post("/v1/command", "", DRAIN)).await;
        assert_eq!(answer.status, status, "{caller:?}");
        if status == 403 {
            let message = "only root, the agent's user and the group of the admin socket may change anything: use sudo";
            assert_eq!(answer.body, refused("refused", message));
            assert_eq!(node.status().generation, 12);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_is_a_timeout() {
    let bench = Bench::with(FakeNode::new(fake::lb(), None));
    let answer = bench.ask(&get("/v1/counters")).await;
    assert_eq!(answer.status, 504);
    let message = "the agent did not answer within 5 s: look at its log";
    assert_eq!(answer.body, refused("timeout", message));
}

fn caller(uid: u32, gid: u32) -> Caller {
    Caller {
        uid,
        gid,
        groups: Vec::new(),
    }
}
