//! What others know of the path to a peer.

use super::*;
use crate::bgp::Path;
use crate::bgp::notification::{code, subcode};

const UP: Path = Path {
    usable: true,
    failures: 0,
};

fn failed(times: u64) -> Path {
    Path {
        usable: false,
        failures: times,
    }
}

fn bfd_down() -> Heard {
    Heard::Other(Message::Notification(Notification::new(
        code::CEASE,
        subcode::BFD_DOWN,
    )))
}

#[tokio::test]
async fn rfc9384_a_path_that_fails_ends_the_session_with_cease_10() {
    let (listener, port) = listener().await;
    let (_send, receive) = watch::channel(routes(&[], true));
    let speaker = Speaker::start(config(peer(port)), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    other.establish().await;
    assert_eq!(other.hear_update().await, END_OF_RIB);

    speaker.set_path(PEER, Some(failed(7)));
    speaker.set_path(PEER, None);
    speaker.set_path(PEER, Some(UP));
    tokio::task::yield_now().await;
    assert_eq!(
        speaker.status()[0].state,
        State::Established,
        "that it has failed before, and for another watcher, says nothing"
    );
    speaker.set_path(
        PEER,
        Some(Path {
            usable: true,
            failures: 1,
        }),
    );
    assert_eq!(other.hear().await, bfd_down(), "even if it is back already");
    let status = &speaker.status()[0];
    assert_eq!(status.flaps["path_failed"], 1);
    assert_eq!(
        status.last_reset.as_deref(),
        Some("the path to the peer failed (BFD)")
    );
    drop(other);
    let mut other = Scripted::accept(&listener).await;
    other.establish().await;
}

#[tokio::test]
async fn a_peer_that_waits_for_its_path_hears_nothing_before() {
    let (listener, port) = listener().await;
    let own_port = free_port().await;
    let (_send, receive) = watch::channel(routes(&[], true));
    let strict = PeerConfig {
        await_path: true,
        ..peer(port)
    };
    let speaker = Speaker::start(
        SpeakerConfig {
            listen: vec![SocketAddr::new(LOOPBACK, own_port)],
            ..config(strict)
        },
        receive,
    )
    .expect("starts");
    let stream = in_time("connect", TcpStream::connect((LOOPBACK, own_port)));
    let mut early = Scripted {
        stream: stream.await.expect("the port is open"),
        inbox: Vec::new(),
    };
    let quiet = Duration::from_millis(200);
    for path in [None, Some(failed(0))] {
        speaker.set_path(PEER, path);
        let dialled = tokio::time::timeout(quiet, listener.accept()).await;
        assert!(dialled.is_err(), "no dial: {path:?}");
        let said = tokio::time::timeout(quiet, early.stream.read_u8()).await;
        assert!(said.is_err(), "no OPEN: {path:?}");
        assert_eq!(
            speaker.status()[0].last_failure.as_deref(),
            Some("it waits for the path to the peer: BFD is not up")
        );
    }
    speaker.set_path(PEER, Some(UP));
    early.establish().await;
    until("Established", &speaker, |s| s.state == State::Established).await;
    assert_eq!(speaker.status()[0].last_failure, None);

    speaker.set_path(PEER, None);
    tokio::task::yield_now().await;
    assert_eq!(
        speaker.status()[0].state,
        State::Established,
        "that nobody watches any more is no failure"
    );
    assert_eq!(early.hear_update().await, END_OF_RIB);
    // What was dialled beside it, and dropped again.
    while let Ok(beside) = tokio::time::timeout(quiet, listener.accept()).await {
        drop(beside);
    }
    speaker.set_path(PEER, Some(failed(1)));
    assert_eq!(early.hear().await, bfd_down());
    until("Idle", &speaker, |s| s.state == State::Idle).await;
    let longer_than_the_back_off = Duration::from_millis(1500);
    let dialled = tokio::time::timeout(longer_than_the_back_off, listener.accept()).await;
    assert!(dialled.is_err(), "held again");
}
