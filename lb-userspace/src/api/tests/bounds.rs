use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::{exchange, get};
use crate::api::scratch::Scratch;
use crate::api::serve::serve;

/// Answers "late" on `/late` once `go` is notified, "now" on `/now`.
fn start(
    path: &Path,
    connections_max: usize,
    go: Arc<Notify>,
    stop: Arc<Notify>,
) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    let late = move || {
        let go = go.clone();
        async move {
            go.notified().await;
            "late"
        }
    };
    let routes = Router::new()
        .route("/late", routing::get(late))
        .route("/now", routing::get(|| async { "now" }));
    tokio::spawn(async move {
        let stop = async move { stop.notified().await };
        serve(listener, connections_max, |_| routes.clone(), stop).await;
    })
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_hung_up_on() {
    let dir = Scratch::new();
    let path = dir.path().join("s");
    start(&path, 4, Arc::default(), Arc::default());
    let began = Instant::now();
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /now HTTP/1.1\r\nHos").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_is_cut_off() {
    let dir = Scratch::new();
    let path = dir.path().join("s");
    start(&path, 4, Arc::default(), Arc::default());
    let began = Instant::now();
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(get("/late").as_bytes()).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 40);
    assert!(rest.is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_more_connections_than_allowed() {
    let dir = Scratch::new();
    let path = dir.path().join("s");
    start(&path, 1, Arc::default(), Arc::default());
    let first = UnixStream::connect(&path).await.unwrap();
    let second = UnixStream::connect(&path).await.unwrap();
    let request = get("/now");
    let answer = exchange(second, &request);
    tokio::pin!(answer);
    let waited = timeout(Duration::from_secs(1), &mut answer).await;
    assert!(waited.is_err(), "the first connection is still open");
    drop(first);
    assert_eq!(answer.await.body, "now");
}

#[tokio::test]
async fn an_oversized_head_is_refused() {
    let dir = Scratch::new();
    let path = dir.path().join("s");
    start(&path, 4, Arc::default(), Arc::default());
    let stream = UnixStream::connect(&path).await.unwrap();
    let header = format!("X-Long: {}\r\n", "x".repeat(20_000));
    let request = format!("GET /now HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
    assert_eq!(exchange(stream, &request).await.status, 431);
}

#[tokio::test]
async fn stopping_lets_an_answer_under_way_end_and_takes_no_new_one() {
    let dir = Scratch::new();
    let path = dir.path().join("s");
    let (go, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let serving = start(&path, 4, go.clone(), stop.clone());
    let stream = UnixStream::connect(&path).await.unwrap();
    let under_way = tokio::spawn(async move { exchange(stream, &get("/late")).await.body });
    // The answer to a second request proves that the server has taken the first connection.
    let stream = UnixStream::connect(&path).await.unwrap();
    assert_eq!(exchange(stream, &get("/now")).await.body, "now");
    stop.notify_one();
    while UnixStream::connect(&path).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!serving.is_finished());
    go.notify_one();
    assert_eq!(under_way.await.unwrap(), "late");
    serving.await.unwrap();
}
