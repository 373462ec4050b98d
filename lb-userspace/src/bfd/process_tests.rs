//! The process and its user over a real socket; a peer that is not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::client::{Client, Launch, stop_left};
use super::super::diagnostic::Diagnostic;
use super::super::fsm::State;
use super::super::message::{Ends, Hops};
use super::*;
use crate::api::scratch::Scratch;

const PATIENCE: Duration = Duration::from_secs(10);

/// Works while told so.
#[derive(Clone)]
struct Told(Arc<AtomicBool>);

impl Forwarding for Told {
    type Watch = String;

    fn watch(&mut self, watch: String) {
        assert_eq!(watch, "the way");
    }

    fn check(&mut self) -> Result<(), String> {
        match self.0.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err("blocked".into()),
        }
    }
}

fn order() -> Order<String> {
    Order::Run {
        sessions: vec![SessionConfig {
            name: "router".into(),
            ends: Some(Ends::to("127.0.0.77".parse().expect("an address"))),
            hops: Hops::Single,
            interval_us: 50_000,
            multiplier: 3,
        }],
        watch: Some("the way".into()),
    }
}

/// Of a process that is there: nothing can be launched.
fn client(directory: &Path) -> Client<String> {
    let launch = Launch {
        program: vec!["/nonexistent".into()],
        directory: directory.into(),
    };
    Client::start(launch, order())
}

async fn until(client: &Client<String>, holds: impl Fn(&Report) -> bool) -> Report {
    let mut reports = client.reports();
    let wait = reports.wait_for(|report| report.as_deref().is_some_and(&holds));
    let found = tokio::time::timeout(PATIENCE, wait).await;
    let report = found
        .expect("in time")
        .expect("the client is there")
        .clone();
    report.expect("it was looked at").as_ref().clone()
}

async fn use_it(directory: &Path, works: &AtomicBool) {
    let first = client(directory);
    let report = until(&first, |report| report.sessions.len() == 1).await;
    assert_eq!((report.problem, report.held_down), (None, None));
    assert_eq!(report.sessions[0].state, State::Down);

    works.store(false, Ordering::Relaxed);
    let report = until(&first, |report| report.held_down.is_some()).await;
    assert_eq!(report.held_down.as_deref(), Some("blocked"));
    let diagnostic = report.sessions[0].diagnostic;
    assert_eq!(diagnostic, Diagnostic::FORWARDING_PLANE_RESET);
    works.store(true, Ordering::Relaxed);
    let report = until(&first, |report| report.held_down.is_none()).await;
    let sent = report.sessions[0].sent;
    assert!(sent > 0);

    let other = Place::take(directory).map(drop);
    assert!(matches!(other, Err(ProcessError::Running(_))), "{other:?}");

    drop(first);
    let second = client(directory);
    let report = until(&second, |report| report.sessions.len() == 1).await;
    assert!(report.sessions[0].sent >= sent, "the session has gone on");
    second.stop().await;
}

#[tokio::test]
async fn a_user_goes_and_another_one_stops_it() {
    let scratch = Scratch::new();
    let works = Arc::new(AtomicBool::new(true));
    let process = run(scratch.path(), Told(works.clone()), std::future::pending());
    let script = use_it(scratch.path(), &works);
    let (ended, ()) = tokio::join!(process, script);
    ended.expect("it ran");
    let left = fs::read_dir(scratch.path()).expect("it is there").count();
    assert_eq!(left, 0, "socket and pid file are gone");
    stop_left(scratch.path()).await;
}

/// A last word of somebody who does not wait for an answer.
#[tokio::test]
async fn an_order_of_who_is_gone_already() {
    for _ in 0..50 {
        let scratch = Scratch::new();
        let told = Told(Arc::new(AtomicBool::new(true)));
        let process = run(scratch.path(), told, std::future::pending());
        let both = async { tokio::join!(process, stop_left(scratch.path())) };
        let ended = tokio::time::timeout(PATIENCE, both).await;
        ended.expect("it was heard").0.expect("it ran");
    }
}

/// What nobody understands ends the connection, and nothing else.
#[tokio::test]
async fn an_order_that_cannot_be_read() {
    let scratch = Scratch::new();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async {
        // Either end of it will do.
        let _ = stopped.await;
    };
    let told = Told(Arc::new(AtomicBool::new(true)));
    let process = run(scratch.path(), told, stopped);
    let script = async {
        let socket = scratch.path().join(SOCKET_NAME);
        let mut stream = UnixStream::connect(socket).await.expect("it listens");
        stream
            .write_all(b"{\"order\":\"dance\"}\n")
            .await
            .expect("written");
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        let ended = tokio::time::timeout(PATIENCE, read).await;
        assert!(ended.is_ok(), "it hangs up");
        drop(stop);
    };
    let (ended, ()) = tokio::join!(process, script);
    ended.expect("it ran");
}
