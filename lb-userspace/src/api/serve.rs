//! HTTP/1.1 with bounds: how many connections, how long each may take.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Time for a request's line and headers.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Time for a connection, from accept to the end of its only answer.
const CONNECTION_TIME: Duration = Duration::from_secs(40);
/// Time for the answers under way when the server stops.
const STOP_TIME: Duration = Duration::from_secs(2);
/// Buffer per connection, and so the limit for a request's headers.
const BUFFER_BYTES: usize = 16 * 1024;

/// Answers on `listener` until `stop` is ready, then lets the answers under way end.
///
/// `app` makes the routes for one connection. At most `connections_max` at once: more wait in the backlog. Each
/// connection carries one request, so that an idle client holds nothing.
pub(super) async fn serve<L, F>(
    mut listener: L,
    connections_max: usize,
    app: F,
    stop: impl Future<Output = ()>,
) where
    L: Listener,
    F: Fn(&L::Io) -> Router,
{
    let permits = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = async {
            let permit = permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        // Cancel-safe: a permit goes back when dropped, nothing is accepted before `accept` returns, and
        // `join_next` only reaps.
        tokio::select! {
            () = &mut stop => break,
            (permit, (io, _)) = accepted => {
                let routes = app(&io);
                connections.spawn(async move {
                    let _permit = permit;
                    connection(io, routes).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_TIME, ended).await.is_err() {
        tracing::debug!("answers under way were cut off at the end");
    }
}

/// One connection, one request.
async fn connection<I>(io: I, routes: Router)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .keep_alive(false)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(routes));
    match timeout(CONNECTION_TIME, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client's connection ended early"),
        Err(_) => tracing::debug!("a client's connection took too long"),
    }
}
