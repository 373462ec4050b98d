use super::{Bench, same_as, too_wide};
use crate::api::fake::FakeNode;
use crate::status::Exit;

#[tokio::test]
async fn every_view_of_the_checks() {
    for (line, file, exit) in [
        ("health show", "health-show.txt", Exit::Ok),
        ("health show -o wide", "health-show-wide.txt", Exit::Ok),
        ("health show 10.1.0.3 --json", "health-show.json", Exit::Ok),
        ("health probe web b1", "health-probe.txt", Exit::Ok),
        (
            "health probe web 10.1.0.3",
            "health-probe-failed.txt",
            Exit::Degraded,
        ),
        (
            "health probe web 10.1.0.3 --json",
            "health-probe.json",
            Exit::Degraded,
        ),
    ] {
        let answer = Bench::new(FakeNode::lb()).run(line).await;
        same_as(file, &answer.0);
        assert_eq!(answer.1, exit, "{line}");
        if !line.contains("-o wide") {
            assert_eq!(too_wide(&answer.0), Vec::<&str>::new(), "{line}");
        }
    }
}

#[tokio::test]
async fn one_backend_by_name() {
    let (text, _) = Bench::new(FakeNode::lb()).run("health show b1").await;
    assert_eq!(
        text.lines().filter(|line| line.starts_with("web ")).count(),
        1,
        "{text}"
    );
    let answer = Bench::new(FakeNode::lb()).run("health show b9").await;
    let text = "anylb: there is no backend b9 that is checked: see `anylb health show`";
    assert_eq!(answer, (text.to_string(), Exit::NotFound));
}

#[tokio::test]
async fn a_node_without_pools() {
    let answer = Bench::new(FakeNode::backend()).run("health show").await;
    assert_eq!(
        answer,
        ("this node checks no backends\n".to_string(), Exit::Ok)
    );
}
