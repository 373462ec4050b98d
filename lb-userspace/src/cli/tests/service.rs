use super::{Bench, same_as, too_wide};
use crate::api::fake::FakeNode;
use crate::status::Exit;

#[tokio::test]
async fn every_view_of_services() {
    for (line, file) in [
        ("service list", "service-list.txt"),
        ("service list -o wide", "service-list-wide.txt"),
        ("service list --json", "service-list.json"),
        ("service show web-v4", "service-show.txt"),
        ("service show web-v6 --json", "service-show.json"),
    ] {
        let (text, exit) = Bench::new(FakeNode::lb()).run(line).await;
        same_as(file, &text);
        assert_eq!(exit, Exit::Ok, "{line}");
        if !line.contains("-o wide") {
            let tables: String = text
                .lines()
                .filter(|line| !line.starts_with('!'))
                .map(|line| format!("{line}\n"))
                .collect();
            assert_eq!(too_wide(&tables), Vec::<&str>::new(), "{line}");
        }
    }
}

#[tokio::test]
async fn services_of_a_backend_are_accepted_and_not_announced() {
    let bench = Bench::new(FakeNode::backend());
    let list = "SERVICE  VIP            PORTS\nweb-v4   198.51.100.10  80/tcp\n";
    assert_eq!(
        bench.run("service list").await,
        (list.to_string(), Exit::Ok)
    );
    let shown = "service  web-v4\nvip      198.51.100.10\nports    80/tcp\n";
    assert_eq!(
        bench.run("service show web-v4").await,
        (shown.to_string(), Exit::Ok)
    );
}

#[tokio::test]
async fn a_service_that_is_not_there_ends_with_5() {
    let bench = Bench::new(FakeNode::lb());
    let text = "anylb: there is no service mail: this node has web-v4, web-v6";
    assert_eq!(
        bench.run("service show mail").await,
        (text.to_string(), Exit::NotFound)
    );
    let text = "anylb: there is no service mail: see `anylb service list`";
    assert_eq!(
        bench.run("service withdraw mail").await,
        (text.to_string(), Exit::NotFound)
    );
}

#[tokio::test]
async fn withdrawn_and_announced_again() {
    let bench = Bench::new(FakeNode::lb());
    let said = bench.run("service withdraw web-v4").await;
    assert_eq!(
        said,
        (
            "web-v4 is withdrawn, on this node only\n".to_string(),
            Exit::Ok
        )
    );
    let (list, _) = bench.run("service list").await;
    assert!(list.contains("1  withdrawn\n"), "{list}");
    let reason = "! web-v4: 198.51.100.10 is not announced: web-v4: withdrawn by operator\n";
    assert!(list.contains(reason), "{list}");
    let (status, exit) = bench.run("status").await;
    assert!(status.contains(reason), "{status}");
    assert_eq!(exit, Exit::Degraded);
    let (shown, _) = bench.run("service show web-v4").await;
    assert!(
        shown.contains("announced  no: web-v4: withdrawn by operator\n"),
        "{shown}"
    );
    let said = bench.run("service announce web-v4").await;
    assert_eq!(
        said,
        (
            "web-v4 is announced, on this node only\n".to_string(),
            Exit::Ok
        )
    );
    let (list, _) = bench.run("service list").await;
    assert!(!list.contains("withdrawn"), "{list}");
}
