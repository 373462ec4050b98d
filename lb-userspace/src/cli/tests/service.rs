use super::{Bench, same_as, too_wide};
use crate::api::fake::{FakeNode, lb};
use crate::cli::show::service::attacks;
use crate::status::{Exit, ServiceLimits};

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

#[tokio::test]
async fn attacked_and_not_any_more() {
    let bench = Bench::new(FakeNode::lb());
    let said = bench.run("service attack web-v4 on").await;
    let text = "web-v4 is attacked, on this node only\n".to_string();
    assert_eq!(said, (text, Exit::Ok));
    let note = "\n* web-v4: attack is on: known flows only, by operator on this node only\n";
    for line in ["service list", "service list -o wide", "status"] {
        let (shown, _) = bench.run(line).await;
        assert!(shown.contains(note), "{line}: {shown}");
    }
    let (shown, _) = bench.run("service show web-v4").await;
    let pair = "\nattack     on: known flows only, by operator on this node only\n";
    assert!(shown.contains(pair), "{shown}");
    bench.run("service attack web-v4 off").await;
    let (list, _) = bench.run("service list").await;
    assert!(!list.contains("attack"), "{list}");
    let text = "anylb: there is no service mail: see `anylb service list`".to_string();
    let said = bench.run("service attack mail on").await;
    assert_eq!(said, (text, Exit::NotFound));
}

#[test]
fn an_attack_is_on_or_off_by_the_operator_or_the_configuration() {
    let words = |attack, attack_configured| {
        let mut service = lb().services[0].clone();
        service.limits = ServiceLimits {
            attack,
            attack_configured,
            ..ServiceLimits::default()
        };
        attacks(&[service])
    };
    assert_eq!(words(false, false), "");
    assert_eq!(
        words(true, true),
        "* web-v4: attack is on: known flows only, by configuration\n"
    );
    assert_eq!(
        words(false, true),
        "* web-v4: attack is off, by operator on this node only\n"
    );
}
