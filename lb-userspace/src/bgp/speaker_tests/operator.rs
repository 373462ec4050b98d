//! What the operator may do to one peer, and what he reads of a refusal.

use super::*;

#[tokio::test]
async fn rfc9003_a_peer_that_is_shut_down_is_told_why_and_stays_down() {
    let (listener, port) = listener().await;
    let (_send, receive) = watch::channel(routes(&["192.0.2.10/32"], true));
    let speaker = Speaker::start(config(peer(port)), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    other.establish().await;
    other.hear_update().await;
    assert_eq!(other.hear_update().await, END_OF_RIB);

    in_time("down", speaker.shut_down(PEER, "upgrade".into())).await;
    let status = &speaker.status()[0];
    assert_eq!(status.state, State::Idle);
    assert_eq!(status.shutdown.as_deref(), Some("upgrade"));
    assert_eq!(
        status.last_reset.as_deref(),
        Some("shut down by the operator: upgrade")
    );
    assert!(status.announced.is_empty());
    assert_eq!(
        other.hear().await,
        Heard::Other(Message::Notification(Notification::shutdown("upgrade")))
    );
    drop(other);
    let dialled = tokio::time::timeout(Duration::from_millis(1500), listener.accept()).await;
    assert!(dialled.is_err(), "longer than the first back-off");

    in_time("up", speaker.enable(PEER)).await;
    let mut other = Scripted::accept(&listener).await;
    other.establish().await;
    assert!(announces(&other.hear_update().await, &[32, 192, 0, 2, 10]));
    until("Established", &speaker, |s| s.state == State::Established).await;
    assert_eq!(speaker.status()[0].shutdown, None);
}

#[tokio::test]
async fn rfc4486_4_who_connects_to_a_peer_that_is_down_is_rejected() {
    let own_port = free_port().await;
    let (_send, receive) = watch::channel(routes(&[], true));
    let config = SpeakerConfig {
        listen: vec![SocketAddr::new(LOOPBACK, own_port)],
        ..config(PeerConfig {
            passive: true,
            shutdown: Some(String::new()),
            ..peer(179)
        })
    };
    let speaker = Speaker::start(config, receive).expect("starts");
    let connect = async || Scripted {
        stream: in_time("connect", TcpStream::connect((LOOPBACK, own_port)))
            .await
            .expect("the port is open"),
        inbox: Vec::new(),
    };
    assert_eq!(
        connect().await.hear().await,
        Heard::Other(Message::Notification(Notification::new(6, 5))),
        "from the start"
    );
    in_time("up", speaker.enable(PEER)).await;
    let mut other = connect().await;
    other.establish().await;
    until("Established", &speaker, |s| s.state == State::Established).await;
}

#[tokio::test]
async fn a_refresh_sends_everything_again_in_the_same_session() {
    let (listener, port) = listener().await;
    let (_send, receive) = watch::channel(routes(&["192.0.2.10/32"], true));
    let speaker = Speaker::start(config(peer(port)), receive).expect("starts");
    assert_eq!(
        in_time("refresh", speaker.refresh(PEER)).await,
        None,
        "no session"
    );
    let mut other = Scripted::accept(&listener).await;
    other.establish().await;
    other.hear_update().await;
    assert_eq!(other.hear_update().await, END_OF_RIB);
    let asked = in_time("refresh", speaker.refresh(PEER)).await;
    assert_eq!(asked, Some(1));
    assert!(announces(&other.hear_update().await, &[32, 192, 0, 2, 10]));
    let stranger = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
    assert_eq!(speaker.refresh(stranger.into()).await, None);
    assert!(speaker.status()[0].flaps.is_empty());
}

#[tokio::test]
async fn a_refused_open_is_told_with_both_sides_values() {
    let table: [(&str, Open, &str); 4] = [
        (
            "another AS",
            Open {
                asn: 65009,
                ..open()
            },
            "sent NOTIFICATION 2/2 Bad Peer AS (AS 65009): it says AS 65009, and the configuration AS 65000",
        ),
        (
            "hold time of 2",
            Open {
                hold_time_secs: 2,
                ..open()
            },
            "sent NOTIFICATION 2/6 Unacceptable Hold Time: it proposes 2 s, and 0 or at least 3 s is possible",
        ),
        (
            "identifier 0",
            Open {
                identifier: Ipv4Addr::UNSPECIFIED,
                ..open()
            },
            "sent NOTIFICATION 2/3 Bad BGP Identifier: its identifier is 0.0.0.0",
        ),
        (
            "no family in common",
            Open {
                capabilities: Capabilities {
                    families: BTreeSet::from([Family::Ipv6]),
                    ..Default::default()
                },
                ..open()
            },
            "sent NOTIFICATION 2/7 Unsupported Capability: it offers ipv6-unicast, and we ipv4-unicast",
        ),
    ];
    for (what, theirs, words) in table {
        let (listener, port) = listener().await;
        let (_send, receive) = watch::channel(routes(&[], true));
        let speaker = Speaker::start(config(peer(port)), receive).expect("starts");
        let mut other = Scripted::accept(&listener).await;
        other.hear().await;
        other.say(&codec::encode_open(&theirs)).await;
        until(what, &speaker, |s| s.last_failure.is_some()).await;
        let status = &speaker.status()[0];
        assert_eq!(status.last_failure.as_deref(), Some(words), "{what}");
        let seen = status.last_open.as_ref().expect("it came");
        assert_eq!(
            (seen.asn, seen.hold_time_secs),
            (theirs.asn, theirs.hold_time_secs)
        );
    }
}

#[tokio::test]
async fn a_refusal_of_our_open_is_told_with_our_value() {
    let (listener, port) = listener().await;
    let (_send, receive) = watch::channel(routes(&[], true));
    let speaker = Speaker::start(config(peer(port)), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    other.hear().await;
    let refusal = Notification::new(2, 2);
    other.say(&codec::encode_notification(&refusal)).await;
    until("refused", &speaker, |s| s.last_failure.is_some()).await;
    assert_eq!(
        speaker.status()[0].last_failure.as_deref(),
        Some("received NOTIFICATION 2/2 Bad Peer AS: we say AS 65001, and it expects another")
    );
}
