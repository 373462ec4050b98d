//! Whole answers: a node's admin API that is real, and backends' metrics as they are told.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use clap::Parser;

use super::super::args::{BackendAsk, BackendCommand, Command};
use super::super::tests::{Bench, same_as, too_wide};
use super::super::{Cli, CliError};
use super::scrape::{Http, Scrape};
use super::{Style, World, answer};
use crate::api::fake::{FakeNode, lb};
use crate::api::scrape;
use crate::status::Exit;

/// Answers in turn; the last one again and again.
struct Told {
    answers: Mutex<VecDeque<Result<String, String>>>,
    asked: Mutex<Vec<SocketAddr>>,
}

impl Told {
    fn new(answers: impl IntoIterator<Item = Result<String, String>>) -> Self {
        Self {
            answers: Mutex::new(answers.into_iter().collect()),
            asked: Mutex::default(),
        }
    }

    fn counts(counts: &[u64]) -> Self {
        Self::new(counts.iter().map(|count| Ok(web_v4(*count))))
    }

    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(SocketAddr::to_string).collect()
    }
}

impl Scrape for &Told {
    async fn text(&self, address: SocketAddr) -> Result<String, String> {
        self.asked.lock().unwrap().push(address);
        let mut answers = self.answers.lock().unwrap();
        match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop_front().unwrap(),
        }
    }
}

fn web_v4(count: u64) -> String {
    format!("anylb_vip_connections{{service=\"web-v4\"}} {count}\n")
}

fn refused() -> Result<String, String> {
    Err("Connection refused (os error 111)".to_owned())
}

async fn run(bench: &Bench, line: &str, told: &Told) -> (String, Exit) {
    run_and_show(bench, line, told, &mut Vec::new()).await
}

async fn run_and_show(
    bench: &Bench,
    line: &str,
    told: &Told,
    screen: &mut Vec<u8>,
) -> (String, Exit) {
    let cli = Cli::try_parse_from(line.split(' ')).unwrap();
    let Command::Backend(BackendCommand::Ask(BackendAsk::Drain(args))) = cli.command else {
        panic!("`{line}` drains nothing");
    };
    let style = Style {
        format: cli.global.format(),
        colour: false,
    };
    let world = World {
        scrape: told,
        screen,
        terminal: false,
    };
    match answer(&bench.client(), args, world, style).await {
        Ok(answer) => (answer.text, answer.exit),
        Err(CliError { exit, message }) => (message, exit),
    }
}

#[tokio::test(start_paused = true)]
async fn every_end_of_a_wait() {
    let unknown = [refused()];
    for (line, told, file, exit) in [
        ("", Told::counts(&[25, 3, 0]), "drain.txt", Exit::Ok),
        (" --json", Told::counts(&[25, 3, 0]), "drain.json", Exit::Ok),
        (
            " --timeout 90",
            Told::counts(&[25, 1]),
            "drain-timeout.txt",
            Exit::Timeout,
        ),
        (
            " --timeout 90 --json",
            Told::counts(&[25, 1]),
            "drain-timeout.json",
            Exit::Timeout,
        ),
        (
            "",
            Told::new(unknown.clone()),
            "drain-unknown.txt",
            Exit::Degraded,
        ),
        (
            " --json",
            Told::new(unknown),
            "drain-unknown.json",
            Exit::Degraded,
        ),
    ] {
        let bench = Bench::new(FakeNode::lb());
        let line = format!("anylb backend drain b2 --wait{line}");
        let answer = run(&bench, &line, &told).await;
        same_as(file, &answer.0);
        assert_eq!(answer.1, exit, "{line}");
        let wide: Vec<&str> = match line.contains("--json") {
            true => Vec::new(),
            false => too_wide(&answer.0),
        };
        assert_eq!(wide, [""; 0], "{line}");
        let (list, _) = bench.run("backend list --pool web").await;
        assert!(list.contains("10.1.0.2  b2       100  draining"), "{list}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_meanwhile_is_no_part_of_the_answer() {
    let told = Told::new([Ok(web_v4(25)), refused(), Ok(web_v4(0))]);
    let bench = Bench::new(FakeNode::lb());
    let line = "anylb backend drain b2 --wait --json";
    let mut screen = Vec::new();
    let (text, _) = run_and_show(&bench, line, &told, &mut screen).await;
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let shown = "\
b2: 25 connections after 0s
b2: unknown: http://10.1.0.2:9488/metrics: Connection refused (os error 111) after 1s
b2: 0 connections after 2s
";
    assert_eq!(String::from_utf8(screen).unwrap(), shown);
}

#[tokio::test(start_paused = true)]
async fn the_backend_is_asked_at_its_own_address_and_the_port_that_was_said() {
    for (line, asked) in [
        ("b2 --wait", "10.1.0.2:9488"),
        ("10.1.0.2 --pool web --wait", "10.1.0.2:9488"),
        (
            "2001:db8:1::1 --wait --metrics-port 9100",
            "[2001:db8:1::1]:9100",
        ),
    ] {
        let told = Told::counts(&[0]);
        let line = format!("anylb backend drain {line}");
        let (text, exit) = run(&Bench::new(FakeNode::lb()), &line, &told).await;
        assert_eq!(exit, Exit::Ok, "{text}");
        assert_eq!(told.asked(), [asked; 2], "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_two_pools_give_is_empty_when_both_are() {
    let mut status = lb();
    let of_web6 = status.pools.values_mut().next_back().unwrap();
    of_web6.backends[0].name = Some("b2".into());
    let counts = [0, 1, 0, 0, 0, 0].map(|count| Ok(web_v4(count)));
    let told = Told::new(counts);
    let bench = Bench::new(FakeNode::new(status, None));
    let (text, exit) = run(&bench, "anylb backend drain b2 --wait", &told).await;
    assert_eq!(exit, Exit::Ok, "{text}");
    let both = ["10.1.0.2:9488", "[2001:db8:1::1]:9488"];
    assert_eq!(told.asked(), [both, both, both].concat());
}

#[tokio::test(start_paused = true)]
async fn a_pool_counts_the_connections_of_its_services() {
    let text = format!(
        "{}anylb_vip_connections{{service=\"other\"}} 9\n",
        web_v4(0)
    );
    for (line, exit) in [
        ("b2 --wait --timeout 5", Exit::Timeout),
        ("b2 --wait --timeout 5 --pool web", Exit::Ok),
    ] {
        let told = Told::new([Ok(text.clone())]);
        let line = format!("anylb backend drain {line}");
        let answer = run(&Bench::new(FakeNode::lb()), &line, &told).await;
        assert_eq!(answer.1, exit, "{line}: {}", answer.0);
    }
}

#[tokio::test]
async fn without_wait_nobody_is_asked() {
    let told = Told::counts(&[1]);
    let bench = Bench::new(FakeNode::lb());
    let answer = run(&bench, "anylb backend drain b2", &told).await;
    let text = "b2 is draining in 1 pool, on this node only\n";
    assert_eq!(answer, (text.to_owned(), Exit::Ok));
    assert_eq!(told.asked(), [""; 0]);
}

#[tokio::test]
async fn a_backend_that_is_not_there_is_not_waited_for() {
    let told = Told::counts(&[0]);
    let bench = Bench::new(FakeNode::lb());
    let (_, exit) = run(&bench, "anylb backend drain b9 --wait", &told).await;
    assert_eq!((exit, told.asked()), (Exit::NotFound, Vec::new()));
}

#[test]
fn what_makes_no_sense_without_wait_ends_with_2() {
    let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
    for (options, good) in [
        ("", true),
        (" --wait", true),
        (" --wait --timeout 1 --metrics-port 1", true),
        (" --timeout 5", false),
        (" --metrics-port 9488", false),
        (" --wait --timeout 0", false),
        (" --wait --timeout 604801", false),
        (" --wait --metrics-port 0", false),
    ] {
        let line = format!("anylb backend drain b1{options}");
        assert_eq!(parses(&line), good, "{line}");
    }
}

#[tokio::test]
async fn the_metrics_of_a_backends_agent_are_fetched() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = scrape::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(scrape::serve(
        listener,
        Arc::new(FakeNode::backend()),
        std::future::pending(),
    ));
    let text = Http.text(address).await.unwrap();
    assert_eq!(super::exposition::connections(&text, &[]), Ok(25));

    server.abort();
    let _ = server.await;
    let error = Http.text(address).await.unwrap_err();
    assert!(error.contains("Connection refused"), "{error}");
}
