use super::{Bench, same_as, too_wide};
use crate::api::fake::FakeNode;
use crate::status::Exit;

#[tokio::test]
async fn peers() {
    let (answer, exit) = Bench::new(FakeNode::lb()).run("bgp peers").await;
    assert_eq!(exit, Exit::Ok);
    assert_eq!(too_wide(&answer), [""; 0]);
    same_as("bgp-peers.txt", &answer);
}

#[tokio::test]
async fn wide_has_capabilities_and_routes() {
    let (answer, exit) = Bench::new(FakeNode::lb()).run("bgp peers -o wide").await;
    assert_eq!(exit, Exit::Ok);
    same_as("bgp-peers-wide.txt", &answer);
}

#[tokio::test]
async fn json_has_everything() {
    let (answer, exit) = Bench::new(FakeNode::lb()).run("bgp peers --json").await;
    assert_eq!(exit, Exit::Ok);
    same_as("bgp-peers.json", &answer);
}

#[tokio::test]
async fn all_about_one_peer() {
    let bench = Bench::new(FakeNode::lb());
    for (line, name) in [
        ("bgp peer 10.0.0.1", "bgp-peer.txt"),
        ("bgp peer eth1", "bgp-peer-down.txt"),
        ("bgp peer 10.0.0.1 --json", "bgp-peer.json"),
    ] {
        let (answer, exit) = bench.run(line).await;
        assert_eq!(exit, Exit::Ok, "{line}");
        if !line.contains("json") {
            assert_eq!(too_wide(&answer), [""; 0]);
        }
        same_as(name, &answer);
    }
    let nobody = bench.run("bgp peer 10.0.0.3").await;
    let words = "anylb: there is no BGP peer 10.0.0.3: this node has 10.0.0.1, eth1";
    assert_eq!(nobody, (words.to_string(), Exit::NotFound));
}

#[tokio::test]
async fn down_and_up_again() {
    let bench = Bench::new(FakeNode::lb());
    let done = |words: &str| (format!("{words}\n"), Exit::Ok);
    assert_eq!(
        bench.run("bgp shutdown 10.0.0.1 -m upgrade").await,
        done("10.0.0.1 is shut down; this node only")
    );
    let (answer, _) = bench.run("bgp peers").await;
    assert!(
        answer.contains("10.0.0.1       down          shut down by the operator: upgrade"),
        "{answer}"
    );
    let (answer, exit) = bench.run("status").await;
    assert_eq!(exit, Exit::Degraded);
    assert!(
        answer.contains("! 10.0.0.1: BGP session is Idle: shut down by the operator: upgrade"),
        "{answer}"
    );
    assert_eq!(
        bench.run("bgp enable 10.0.0.1").await,
        done("10.0.0.1 is no longer shut down; this node only")
    );
    assert_eq!(
        bench.run("bgp refresh 10.0.0.1").await,
        done("10.0.0.1 is sent everything again; this node only")
    );
    assert_eq!(bench.run("bgp enable 10.0.0.3").await.1, Exit::NotFound);
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

eth1, AS 4200000001, Active: nothing is announced
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
PREFIX            NEXT HOP   MED  LOCAL PREF  BANDWIDTH  AS PATH      COMMUNITIES
198.51.100.10/32  10.0.0.11   50           -         9G  65001 65001  65001:100 no-export 4200000001:1:2
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
            "anylb: there is no BGP peer 10.0.0.3: this node has 10.0.0.1, eth1",
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
