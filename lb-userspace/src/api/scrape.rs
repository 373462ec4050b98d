//! The metrics listener: `/metrics`, `/healthz` and `/readyz` over TCP, read-only.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::metrics::{Reading, render};
use super::node::Node;
use super::serve::serve as serve_http;
use crate::status::Refusal;

const CONNECTIONS_MAX: usize = 16;
/// Time for reading the counters; Prometheus itself waits 10 s by default.
const READ_TIME: Duration = Duration::from_secs(5);
/// The text format's content type.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for metrics: {source}: change metrics.listen or free the port")]
pub struct ListenError {
    /// `metrics.listen`.
    pub address: SocketAddr,
    /// What the kernel said.
    pub source: io::Error,
}

/// Listens on `address`.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// Answers on `listener` for `node` until `stop` is ready, then lets the answers under way end.
pub async fn serve<N: Node>(listener: TcpListener, node: Arc<N>, stop: impl Future<Output = ()>) {
    let routes = Router::new()
        .route("/metrics", get(metrics::<N>))
        .route("/healthz", get(healthz::<N>))
        .route("/readyz", get(readyz::<N>))
        .with_state(node);
    serve_http(listener, CONNECTIONS_MAX, |_| routes.clone(), stop).await;
}

async fn metrics<N: Node>(State(node): State<Arc<N>>) -> Response {
    let status = node.status();
    // Without counters there is still the status to tell, with `anylb_up 0`.
    let counters = read("counters", node.counters());
    // A node without an interface has nothing in the kernel.
    let has_datapath = !status.body.interfaces.is_empty();
    let bpf = async {
        let state = has_datapath.then(|| read("maps and programs", node.bpf()));
        state?.await
    };
    let (counters, bpf) = tokio::join!(counters, bpf);
    let text = render(&Reading {
        status: &status,
        counters: counters.as_ref(),
        bpf: bpf.as_ref(),
    });
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response()
}

/// What the node answers in time; otherwise the log says why there is nothing.
async fn read<T>(what: &str, answer: impl Future<Output = Result<T, Refusal>>) -> Option<T> {
    let reason = match timeout(READ_TIME, answer).await {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(refusal)) => refusal.message,
        Err(_) => "reading them took too long".to_owned(),
    };
    tracing::warn!(reason, "metrics without {what}");
    None
}

/// Alive: the agent's loop answers and its datapath can be read.
async fn healthz<N: Node>(State(node): State<Arc<N>>) -> Response {
    match timeout(READ_TIME, node.counters()).await {
        Ok(Ok(_)) => "ok\n".into_response(),
        Ok(Err(refusal)) => unavailable(refusal.message),
        Err(_) => unavailable("the agent does not answer".to_string()),
    }
}

/// Ready: this node serves all it is configured to serve.
async fn readyz<N: Node>(State(node): State<Arc<N>>) -> Response {
    let lacking = node.status().body.not_serving();
    if lacking.is_empty() {
        "ok\n".into_response()
    } else {
        unavailable(lacking.join("\n"))
    }
}

fn unavailable(reason: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}
