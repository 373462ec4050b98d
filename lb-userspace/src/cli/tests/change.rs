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
async fn what_is_said_of_a_backend_is_listed_with_its_end() {
    let bench = Bench::new(FakeNode::lb());
    for (command, line) in [
        (
            "backend disable b1",
            "disabled on this node only, until it reboots",
        ),
        ("backend drain b1 --persist", "draining on this node only"),
        ("backend ready b1", ""),
        (
            "backend weight b1 50",
            "weight 50 instead of 100 on this node only, until it reboots",
        ),
        (
            "backend weight b1 7 --persist",
            "weight 7 instead of 100 on this node only",
        ),
        ("backend weight b1 configured", ""),
    ] {
        let (said, exit) = bench.run(command).await;
        assert_eq!(exit, Exit::Ok, "{said}");
        let (list, _) = bench.run("backend list --pool web").await;
        let notes: Vec<&str> = list
            .lines()
            .filter(|line| line.starts_with("* 10.1.0.1 "))
            .collect();
        match line {
            "" => assert_eq!(notes, [""; 0], "{command}"),
            line => assert_eq!(notes, [format!("* 10.1.0.1 in web: {line}")], "{command}"),
        }
    }
}

#[test]
fn a_weight_that_is_none_ends_with_2() {
    use clap::Parser;
    for weight in ["0", "1001", "-1", "1.5", "x", ""] {
        let line = ["anylb", "backend", "weight", "b1", weight];
        assert!(crate::cli::Cli::try_parse_from(line).is_err(), "{weight:?}");
    }
}

#[tokio::test]
async fn a_backend_that_is_not_there_ends_with_5() {
    let answer = Bench::new(FakeNode::lb()).run("backend drain b9").await;
    let text = "anylb: there is no backend b9: see `anylb backend list`";
    assert_eq!(answer, (text.to_string(), Exit::NotFound));
}

#[tokio::test]
async fn restart_hands_over() {
    let answer = Bench::new(FakeNode::lb()).run("restart").await;
    let text = "handing over: routes and datapath stay\n";
    assert_eq!(answer, (text.to_string(), Exit::Ok));
}
