use super::{Bench, too_wide};
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

#[tokio::test]
async fn routes_of_every_peer() {
    let (answer, exit) = Bench::new(FakeNode::lb()).run("bgp routes").await;
    assert_eq!(too_wide(&answer), [""; 0]);
    assert_eq!(
        (answer.as_str(), exit),
        (
            "\
10.0.0.1, AS 65000, Established:
PREFIX            NEXT HOP   MED  AS PATH      COMMUNITIES
198.51.100.10/32  10.0.0.11   50  65001 65001  65001:100 no-export
                                               4200000001:1:2

10.0.0.2, AS 4200000001, Active: nothing is announced
",
            Exit::Ok
        )
    );
}

#[tokio::test]
async fn routes_of_one_peer_wide() {
    let bench = Bench::new(FakeNode::lb());
    let answer = bench.run("bgp routes 10.0.0.1 -o wide").await;
    assert_eq!(
        answer,
        (
            "\
10.0.0.1, AS 65000, Established:
PREFIX            NEXT HOP   MED  LOCAL PREF  AS PATH      COMMUNITIES
198.51.100.10/32  10.0.0.11   50           -  65001 65001  65001:100 no-export 4200000001:1:2
"
            .to_string(),
            Exit::Ok
        )
    );
}

#[tokio::test]
async fn routes_as_json() {
    let bench = Bench::new(FakeNode::lb());
    let answer = bench.run("bgp routes 10.0.0.1 --json").await;
    assert_eq!(answer, (include_str!("routes.json").to_string(), Exit::Ok));
}

#[tokio::test]
async fn routes_of_nobody() {
    for (node, line, words, exit) in [
        (
            FakeNode::lb(),
            "bgp routes 10.0.0.3",
            "anylb: there is no BGP peer 10.0.0.3: this node has 10.0.0.1, 10.0.0.2",
            Exit::NotFound,
        ),
        (
            FakeNode::backend(),
            "bgp routes 10.0.0.3",
            "anylb: there is no BGP peer 10.0.0.3: this node has none",
            Exit::NotFound,
        ),
        (
            FakeNode::backend(),
            "bgp routes",
            "this node has no BGP peers\n",
            Exit::Ok,
        ),
    ] {
        let answer = Bench::new(node).run(line).await;
        assert_eq!(answer, (words.to_string(), exit));
    }
}
