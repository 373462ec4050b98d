use super::Bench;
use crate::api::fake::FakeNode;
use crate::status::Exit;

#[tokio::test]
async fn drain_and_ready_are_there_and_back() {
    let bench = Bench::new(FakeNode::lb());
    assert_eq!(
        bench.run("backend drain b2 --pool web").await,
        (
            "b2 is draining in 1 pool, on this node only\n".to_string(),
            Exit::Ok
        )
    );
    let (list, _) = bench.run("backend list --pool web").await;
    assert!(list.contains("10.1.0.2  b2       100  draining"), "{list}");
    assert_eq!(
        bench.run("backend ready 10.1.0.2 --json").await,
        (
            "\
{
  \"schema\": \"anylb/v1\",
  \"generation\": 14,
  \"message\": \"10.1.0.2 is ready in 1 pool, on this node only\"
}
"
            .to_string(),
            Exit::Ok
        )
    );
    let (list, _) = bench.run("backend list --pool web").await;
    assert!(list.contains("10.1.0.2  b2       100  ready"), "{list}");
}

#[tokio::test]
async fn a_backend_that_is_not_there_ends_with_5() {
    let answer = Bench::new(FakeNode::lb()).run("backend drain b9").await;
    let text = "anylb: there is no backend b9: see `anylb backend list`";
    assert_eq!(answer, (text.to_string(), Exit::NotFound));
}

#[tokio::test]
async fn a_reload_of_a_bad_file_shows_its_carets_and_ends_with_3() {
    let answer = Bench::new(FakeNode::lb()).run("reload").await;
    let text = "error: unknown key `vipp`\n --> anylb.toml:3:1";
    assert_eq!(answer, (text.to_string(), Exit::ConfigInvalid));
}

#[tokio::test]
async fn restart_hands_over() {
    let answer = Bench::new(FakeNode::lb()).run("restart").await;
    let text = "handing over: routes and datapath stay\n";
    assert_eq!(answer, (text.to_string(), Exit::Ok));
}
