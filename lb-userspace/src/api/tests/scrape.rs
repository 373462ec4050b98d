use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;

use super::{Answer, exchange, get, post};
use crate::api::fake::{self, FakeNode};
use crate::api::scrape;
use crate::status::Refusal;

/// What a fresh listener in front of `node` answers.
async fn ask(node: FakeNode, request: &str) -> Answer {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = scrape::bind(any).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(scrape::serve(
        listener,
        Arc::new(node),
        std::future::pending(),
    ));
    exchange(TcpStream::connect(address).await.unwrap(), request).await
}

fn unreadable() -> FakeNode {
    let refusal = Refusal::failed("cannot read the map exits: restart the agent");
    FakeNode::new(fake::lb(), Some(Err(refusal)))
}

#[tokio::test]
async fn metrics_are_text_of_prometheus() {
    let answer = ask(FakeNode::lb(), &get("/metrics")).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("content-type: text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(answer.body.contains("\nanylb_up 1\n"));
    assert!(answer.body.contains("\nprocess_resident_memory_bytes "));
}

#[tokio::test]
async fn metrics_without_counters_say_so() {
    let answer = ask(unreadable(), &get("/metrics")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("\nanylb_up 0\n"));
}

#[tokio::test]
async fn healthy_is_who_can_read_its_datapath() {
    let answer = ask(FakeNode::lb(), &get("/healthz")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    let answer = ask(unreadable(), &get("/healthz")).await;
    let body = "cannot read the map exits: restart the agent\n";
    assert_eq!((answer.status, answer.body.as_str()), (503, body));
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_hangs_is_not_healthy() {
    let hanging = FakeNode::new(fake::lb(), None);
    let answer = ask(hanging, &get("/healthz")).await;
    let body = "the agent does not answer\n";
    assert_eq!((answer.status, answer.body.as_str()), (503, body));
}

#[tokio::test]
async fn ready_is_who_serves_everything() {
    let node = FakeNode::new(fake::healthy(), None);
    let answer = ask(node, &get("/readyz")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    let answer = ask(FakeNode::lb(), &get("/readyz")).await;
    let body = "web-v6: 2001:db8:ffff:ffff:ffff:ffff:ffff:10 is not announced: 0 of 1 needed backends are healthy\n";
    assert_eq!((answer.status, answer.body.as_str()), (503, body));
}

#[tokio::test]
async fn nothing_else_is_served() {
    for (request, status) in [
        (get("/v1/status"), 404),
        (get("/"), 404),
        (post("/v1/command", "", r#"{"command":"handover"}"#), 404),
        (post("/metrics", "", "{}"), 405),
    ] {
        assert_eq!(ask(FakeNode::lb(), &request).await.status, status);
    }
}

#[tokio::test]
async fn a_port_in_use_is_said() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let taken = scrape::bind(any).await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = scrape::bind(address).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {address} for metrics: Address already in use (os error 98): change metrics.listen or \
             free the port"
        )
    );
}
