use super::Bench;
use crate::api::fake::FakeNode;
use crate::status::Exit;

#[tokio::test]
async fn peers() {
    let answer = Bench::new(FakeNode::lb()).run("bgp peers").await;
    assert_eq!(
        answer,
        (
            "\
PEER              AS  STATE        SINCE  HOLD    IN   OUT  FLAPS  ANNOUNCED
10.0.0.1       65000  Established   2h5m    9s  2502  2504      1          1
10.0.0.2  4200000001  Active         12s     -     0     0      0          0

10.0.0.1: last reset: the peer closed the connection
10.0.0.2: last attempt: nothing answers on port 179
"
            .to_string(),
            Exit::Ok
        )
    );
}

#[tokio::test]
async fn wide_has_capabilities_and_routes() {
    let answer = Bench::new(FakeNode::lb()).run("bgp peers -o wide").await;
    assert_eq!(answer, ("\
PEER              AS  ROUTER ID  STATE        SINCE  HOLD    IN   OUT  FLAPS  CAPABILITIES                    ANNOUNCED
10.0.0.1       65000  10.0.0.1   Established   2h5m    9s  2502  2504      1  ipv4-unicast, graceful-restart  198.51.100.10/32
10.0.0.2  4200000001  -          Active         12s     -     0     0      0  -                               -

10.0.0.1: last reset: the peer closed the connection
10.0.0.2: last attempt: nothing answers on port 179
".to_string(), Exit::Ok));
}

#[tokio::test]
async fn json_has_everything() {
    let answer = Bench::new(FakeNode::lb()).run("bgp peers --json").await;
    assert_eq!(answer, (include_str!("peers.json").to_string(), Exit::Ok));
}

#[tokio::test]
async fn a_node_without_bgp() {
    let answer = Bench::new(FakeNode::backend()).run("bgp peers").await;
    assert_eq!(
        answer,
        ("this node has no BGP peers\n".to_string(), Exit::Ok)
    );
}
