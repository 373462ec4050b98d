//! The whole speaker over loopback, against a peer whose every byte is written by the test.

#[path = "speaker_tests/hostile.rs"]
mod hostile;
#[path = "speaker_tests/operator.rs"]
mod operator;
#[path = "speaker_tests/path.rs"]
mod path;
#[path = "speaker_tests/range.rs"]
mod range;
#[path = "speaker_tests/rekey.rs"]
mod rekey;
#[path = "speaker_tests/unnumbered.rs"]
mod unnumbered;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::bgp::codec::{self, Capabilities, Message, MessageType, Open};
use crate::bgp::config::{GracefulRestart, PeerConfig};
use crate::bgp::fsm::State;
use crate::bgp::route::{Family, Policy, Route};

const PATIENCE: Duration = Duration::from_secs(10);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PEER: PeerName = PeerName::Address(LOOPBACK);
const END_OF_RIB: [u8; 4] = [0, 0, 0, 0];

fn routes(prefixes: &[&str], complete: bool) -> Option<Arc<RouteSet>> {
    let route = |p: &&str| {
        let prefix: IpNet = p.parse().expect("a prefix");
        (
            prefix,
            Route {
                prefix,
                policy: Policy::default(),
                peers: None,
            },
        )
    };
    Some(Arc::new(RouteSet {
        routes: prefixes.iter().map(route).collect(),
        peers: BTreeMap::new(),
        complete,
    }))
}

fn peer(port: u16) -> PeerConfig {
    PeerConfig {
        name: PEER,
        port,
        asn: 65000,
        password: None,
        ttl_security: None,
        passive: false,
        members_max: 0,
        next_hop_v4: None,
        next_hop_v6: None,
        graceful_restart: None,
        await_path: false,
        shutdown: None,
    }
}

fn config(peer: PeerConfig) -> SpeakerConfig {
    SpeakerConfig {
        asn: 65001,
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        hold_time: Duration::from_secs(90),
        listen: vec![],
        peers: vec![peer],
    }
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not in {PATIENCE:?}: {what}"),
    }
}

async fn until(what: &str, speaker: &Speaker, holds: impl Fn(&PeerStatus) -> bool) {
    in_time(what, async {
        while !holds(&speaker.status()[0]) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The other end.
struct Scripted {
    stream: TcpStream,
    inbox: Vec<u8>,
}

#[derive(Debug, PartialEq)]
enum Heard {
    Update(Vec<u8>),
    Other(Message),
    /// The connection is over.
    End,
}

impl Scripted {
    async fn accept(listener: &TcpListener) -> Scripted {
        let (stream, _) = in_time("dial", listener.accept()).await.expect("accepted");
        Scripted {
            stream,
            inbox: Vec::new(),
        }
    }

    async fn hear(&mut self) -> Heard {
        in_time("message", async {
            loop {
                if let Some((length, kind)) = codec::frame(&self.inbox).expect("a valid header") {
                    let bytes: Vec<u8> = self.inbox.drain(..length).collect();
                    return match kind {
                        MessageType::Update => Heard::Update(bytes[codec::HEADER_LEN..].to_vec()),
                        _ => Heard::Other(codec::decode(&bytes).expect("a valid message")),
                    };
                }
                match self.stream.read_buf(&mut self.inbox).await {
                    Ok(0) | Err(_) => return Heard::End,
                    Ok(_) => {}
                }
            }
        })
        .await
    }

    /// Past KEEPALIVEs.
    async fn hear_update(&mut self) -> Vec<u8> {
        loop {
            match self.hear().await {
                Heard::Update(body) => return body,
                Heard::Other(Message::Keepalive) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("written");
    }

    /// OPEN and KEEPALIVE both ways; what the speaker offered.
    async fn establish(&mut self) -> Open {
        let Heard::Other(Message::Open(theirs)) = self.hear().await else {
            panic!("no OPEN")
        };
        self.say(&codec::encode_open(&open())).await;
        assert_eq!(self.hear().await, Heard::Other(Message::Keepalive));
        self.say(&codec::encode_keepalive()).await;
        theirs
    }
}

fn open() -> Open {
    Open {
        asn: 65000,
        hold_time_secs: 90,
        identifier: Ipv4Addr::new(192, 0, 2, 2),
        capabilities: Capabilities {
            families: BTreeSet::from([Family::Ipv4]),
            route_refresh: true,
            four_octet_as: true,
            ..Default::default()
        },
    }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

/// A port nobody listens on.
async fn free_port() -> u16 {
    listener().await.1
}

/// NLRI at the end of an UPDATE's body.
fn announces(body: &[u8], nlri: &[u8]) -> bool {
    body.ends_with(nlri) && body.len() > 4 + nlri.len()
}

#[tokio::test]
async fn rfc4271_8_2_a_session_from_open_to_cease() {
    let (listener, port) = listener().await;
    let (send, receive) = watch::channel(routes(&["192.0.2.10/32"], true));
    let speaker = Speaker::start(config(peer(port)), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    let theirs = other.establish().await;
    assert_eq!((theirs.asn, theirs.hold_time_secs), (65001, 90));
    assert!(announces(&other.hear_update().await, &[32, 192, 0, 2, 10]));
    assert_eq!(other.hear_update().await, END_OF_RIB);

    send.send_replace(routes(&["192.0.2.11/32"], true));
    assert_eq!(
        other.hear_update().await,
        [0, 5, 32, 192, 0, 2, 10, 0, 0],
        "the withdrawal first"
    );
    assert!(announces(&other.hear_update().await, &[32, 192, 0, 2, 11]));

    let refresh = [&[0xff; 16][..], &[0, 23, 5, 0, 1, 0, 1]].concat();
    other.say(&refresh).await;
    assert!(
        announces(&other.hear_update().await, &[32, 192, 0, 2, 11]),
        "sent again"
    );

    send.send_replace(routes(&[], true));
    assert!(speaker.flushed(PATIENCE).await);
    assert_eq!(
        other.hear_update().await,
        [0, 5, 32, 192, 0, 2, 11, 0, 0],
        "was flushed"
    );
    let status = &speaker.status()[0];
    assert_eq!(
        (status.state, status.announced.len()),
        (State::Established, 0)
    );
    assert_eq!(
        (status.received["route_refresh"], status.sent["update"]),
        (1, 6)
    );

    let (heard, ()) = tokio::join!(
        async {
            let heard = other.hear().await;
            drop(other);
            heard
        },
        speaker.stop("maintenance")
    );
    assert_eq!(
        heard,
        Heard::Other(Message::Notification(Notification::shutdown("maintenance")))
    );
}

#[tokio::test]
async fn a_change_of_policy_is_told_in_the_same_session() {
    let (listener, port) = listener().await;
    let start = routes(&["192.0.2.10/32"], true);
    let (send, receive) = watch::channel(start.clone());
    let speaker = Speaker::start(config(peer(port)), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    other.establish().await;
    other.hear_update().await;
    assert_eq!(other.hear_update().await, END_OF_RIB);

    let mut set = RouteSet::clone(&start.expect("some"));
    let med = Policy {
        med: Some(7),
        ..Policy::default()
    };
    set.peers.insert(PEER, med);
    send.send_replace(Some(Arc::new(set.clone())));
    let body = other.hear_update().await;
    let attribute = [0x80, 4, 4, 0, 0, 0, 7];
    assert!(body.windows(7).any(|w| w == attribute), "{body:?}");
    assert!(announces(&body, &[32, 192, 0, 2, 10]));
    let announced = speaker.status()[0].announced.clone();
    let meds: Vec<_> = announced
        .values()
        .map(|attributes| attributes.med)
        .collect();
    assert_eq!(meds, [Some(7)]);

    for route in set.routes.values_mut() {
        route.peers = Some(BTreeSet::new());
    }
    send.send_replace(Some(Arc::new(set)));
    assert_eq!(
        other.hear_update().await,
        [0, 5, 32, 192, 0, 2, 10, 0, 0],
        "no longer for this peer"
    );
    assert!(speaker.status()[0].announced.is_empty());
    assert_eq!(speaker.status()[0].flaps, BTreeMap::new());
}

#[tokio::test]
async fn nothing_is_said_before_the_routes_are_known() {
    let (listener, port) = listener().await;
    let own_port = free_port().await;
    let (send, receive) = watch::channel(None);
    let listen = vec![SocketAddr::new(LOOPBACK, own_port)];
    let speaker = Speaker::start(
        SpeakerConfig {
            listen,
            ..config(peer(port))
        },
        receive,
    )
    .expect("starts");
    let stream = in_time("connect", TcpStream::connect((LOOPBACK, own_port)))
        .await
        .expect("the port is open");
    let mut early = Scripted {
        stream,
        inbox: Vec::new(),
    };
    let quiet = Duration::from_millis(200);
    assert!(
        tokio::time::timeout(quiet, listener.accept())
            .await
            .is_err(),
        "no dial"
    );
    assert!(
        tokio::time::timeout(quiet, early.stream.read_u8())
            .await
            .is_err(),
        "no OPEN"
    );
    assert_eq!(speaker.status()[0].state, State::Idle);

    send.send_replace(routes(&[], true));
    assert!(
        matches!(early.hear().await, Heard::Other(Message::Open(_))),
        "whoever waited is served"
    );
    let mut dialed = Scripted::accept(&listener).await;
    assert!(matches!(
        dialed.hear().await,
        Heard::Other(Message::Open(_))
    ));
}

#[tokio::test]
async fn rfc4724_4_1_end_of_rib_waits_for_completeness() {
    let (listener, port) = listener().await;
    let restart = |secs| GracefulRestart {
        restart_time: Duration::from_secs(secs),
        restarting: true,
        forwarding_preserved: true,
    };
    let (send, receive) = watch::channel(routes(&[], false));
    let peer = PeerConfig {
        graceful_restart: Some(restart(15)),
        ..peer(port)
    };
    let speaker = Speaker::start(config(peer), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    let offered = other
        .establish()
        .await
        .capabilities
        .graceful_restart
        .expect("offered");
    assert_eq!(
        (offered.restarting, offered.families),
        (true, vec![(Family::Ipv4, true)])
    );
    until("Established", &speaker, |s| s.state == State::Established).await;
    send.send_replace(routes(&["192.0.2.10/32"], false));
    assert!(announces(&other.hear_update().await, &[32, 192, 0, 2, 10]));
    assert!(speaker.flushed(PATIENCE).await);
    send.send_replace(routes(&["192.0.2.10/32"], true));
    assert_eq!(other.hear_update().await, END_OF_RIB);

    // The connection just ends: the speaker has not restarted, so the R bit is clear; forwarding goes on, so F is set.
    drop(other);
    let mut other = Scripted::accept(&listener).await;
    let offered = other
        .establish()
        .await
        .capabilities
        .graceful_restart
        .expect("offered");
    assert_eq!(
        (offered.restarting, offered.families),
        (false, vec![(Family::Ipv4, true)])
    );
}

#[tokio::test]
async fn rfc4724_4_1_end_of_rib_does_not_wait_for_ever() {
    let (listener, port) = listener().await;
    let restart = GracefulRestart {
        restart_time: Duration::from_millis(5300),
        restarting: true,
        forwarding_preserved: true,
    };
    let (_send, receive) = watch::channel(routes(&[], false));
    let started = Instant::now();
    let peer = PeerConfig {
        graceful_restart: Some(restart),
        ..peer(port)
    };
    let _speaker = Speaker::start(config(peer), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    other.establish().await;
    assert_eq!(other.hear_update().await, END_OF_RIB);
    assert!(
        started.elapsed() >= Duration::from_millis(300),
        "five seconds before the restart time ends"
    );
}

#[tokio::test]
async fn abandoning_says_nothing() {
    let (listener, port) = listener().await;
    let (_send, receive) = watch::channel(routes(&[], true));
    let speaker = Speaker::start(config(peer(port)), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    other.establish().await;
    assert_eq!(other.hear_update().await, END_OF_RIB);
    speaker.abandon();
    assert_eq!(other.hear().await, Heard::End);
}

#[tokio::test]
async fn an_open_may_come_one_byte_at_a_time() {
    let (listener, port) = listener().await;
    let (_send, receive) = watch::channel(routes(&[], true));
    let speaker = Speaker::start(config(peer(port)), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    other.stream.set_nodelay(true).expect("an option");
    assert!(matches!(other.hear().await, Heard::Other(Message::Open(_))));
    for byte in [codec::encode_open(&open()), codec::encode_keepalive()].concat() {
        other.say(&[byte]).await;
        tokio::task::yield_now().await;
    }
    until("Established", &speaker, |s| s.state == State::Established).await;
}

#[tokio::test]
async fn rfc4271_6_4_a_notification_just_before_the_end_is_the_reason() {
    let (listener, port) = listener().await;
    let (_send, receive) = watch::channel(routes(&[], true));
    let speaker = Speaker::start(config(peer(port)), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    other.establish().await;
    until("Established", &speaker, |s| s.state == State::Established).await;
    other
        .say(&codec::encode_notification(&Notification::shutdown(
            "upgrade",
        )))
        .await;
    drop(other);
    until("down", &speaker, |s| s.state != State::Established).await;
    let status = &speaker.status()[0];
    let expected = "received NOTIFICATION 6/2 Administrative Shutdown (upgrade)";
    assert_eq!(status.last_reset.as_deref(), Some(expected));
    assert_eq!(status.flaps, BTreeMap::from([("notification_received", 1)]));
    assert!(
        !status.sent.contains_key("notification"),
        "a NOTIFICATION is never answered"
    );
}

#[tokio::test]
async fn garbage_is_answered_with_its_notification() {
    let (listener, port) = listener().await;
    let (_send, receive) = watch::channel(routes(&[], true));
    let _speaker = Speaker::start(config(peer(port)), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    assert!(matches!(other.hear().await, Heard::Other(Message::Open(_))));
    other.say(b"GET / HTTP/1.1\r\nHost: bgp\r\n\r\n").await;
    assert_eq!(
        other.hear().await,
        Heard::Other(Message::Notification(Notification::new(1, 1)))
    );
    assert_eq!(other.hear().await, Heard::End);
}

#[tokio::test]
async fn a_flood_of_prefixes_is_dropped() {
    let (listener, port) = listener().await;
    let (_send, receive) = watch::channel(routes(&[], true));
    let speaker = Speaker::start(config(peer(port)), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    other.establish().await;
    let nlri: Vec<u8> = (0..800_u32)
        .flat_map(|i| [32, 10, 0, (i >> 8) as u8, i as u8])
        .collect();
    let attributes = [
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe8, 0x40, 3, 4, 127, 0, 0, 1,
    ];
    let body = [&[0, 0, 0, attributes.len() as u8][..], &attributes, &nlri].concat();
    let length = (19 + body.len()) as u16;
    let update = [&[0xff; 16][..], &length.to_be_bytes(), &[2], &body].concat();
    // 1,000,000 prefixes.
    for _ in 0..1250 {
        other.say(&update).await;
    }
    until("all heard", &speaker, |s| {
        s.received.get("update") == Some(&1250)
    })
    .await;
    assert_eq!(speaker.status()[0].state, State::Established);
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_told_only_the_last() {
    let (listener, port) = listener().await;
    let many = |first: u32| {
        let net = |i: u32| IpNet::new(Ipv4Addr::from(0xc633_0000 + i).into(), 32).expect("valid");
        let routes = (first..first + 3000).map(net).map(|p| {
            (
                p,
                Route {
                    prefix: p,
                    policy: Policy::default(),
                    peers: None,
                },
            )
        });
        Some(Arc::new(RouteSet {
            routes: routes.collect(),
            complete: true,
            ..RouteSet::default()
        }))
    };
    let (send, receive) = watch::channel(many(0));
    let speaker = Speaker::start(config(peer(port)), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    other.establish().await;
    // Each replacement is 30 kB on the wire; the kernel's buffers take some megabytes, then sending stops.
    let mut first = 0;
    while speaker.flushed(Duration::from_millis(300)).await {
        first += 3000;
        assert!(first < 3_000_000, "the peer's buffers never fill");
        send.send_replace(many(first));
    }
    let before = speaker.status()[0].sent["update"];
    for _ in 0..100 {
        first += 3000;
        send.send_replace(many(first));
        tokio::task::yield_now().await;
    }
    assert_eq!(
        speaker.status()[0].sent["update"],
        before,
        "messages are made only when the last are gone"
    );
    // It reads again: what is wanted now arrives, without all that was wanted in between.
    let drain = async {
        loop {
            other.hear().await;
        }
    };
    tokio::select! {
        () = drain => {}
        flushed = speaker.flushed(PATIENCE) => assert!(flushed),
    }
    assert_eq!(speaker.status()[0].announced.len(), 3000);
}

#[tokio::test]
async fn rfc4271_8_2_1_strangers_are_turned_away_and_the_peer_is_not() {
    let own_port = free_port().await;
    let listen = vec![SocketAddr::new(LOOPBACK, own_port)];
    let stranger = PeerConfig {
        name: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)).into(),
        passive: true,
        ..peer(179)
    };
    let (_send, receive) = watch::channel(routes(&[], true));
    let config = SpeakerConfig {
        listen,
        ..config(stranger)
    };
    let speaker = Speaker::start(config.clone(), receive.clone()).expect("starts");
    let stream = in_time("connect", TcpStream::connect((LOOPBACK, own_port)))
        .await
        .expect("the port is open");
    let mut other = Scripted {
        stream,
        inbox: Vec::new(),
    };
    assert_eq!(other.hear().await, Heard::End);
    let strangers = Strangers {
        connections: 1,
        last: Some(PEER),
    };
    assert_eq!(speaker.strangers(), strangers);
    speaker.stop("").await;

    let known = SpeakerConfig {
        peers: vec![PeerConfig {
            passive: true,
            ..peer(179)
        }],
        ..config
    };
    let speaker = Speaker::start(known, receive).expect("the port is free again at once");
    let stream = in_time("connect", TcpStream::connect((LOOPBACK, own_port)))
        .await
        .expect("the port is open");
    let mut other = Scripted {
        stream,
        inbox: Vec::new(),
    };
    other.establish().await;
    until("Established", &speaker, |s| s.state == State::Established).await;
}

#[tokio::test]
async fn the_established_connection_is_kept() {
    let own_port = free_port().await;
    let listen = vec![SocketAddr::new(LOOPBACK, own_port)];
    let (_send, receive) = watch::channel(routes(&[], true));
    let config = SpeakerConfig {
        listen,
        ..config(PeerConfig {
            passive: true,
            ..peer(179)
        })
    };
    let speaker = Speaker::start(config, receive).expect("starts");
    let connect = || async {
        let stream = in_time("connect", TcpStream::connect((LOOPBACK, own_port)))
            .await
            .expect("the port is open");
        Scripted {
            stream,
            inbox: Vec::new(),
        }
    };
    let mut first = connect().await;
    first.establish().await;
    assert_eq!(first.hear_update().await, END_OF_RIB);
    let mut second = connect().await;
    assert_eq!(
        second.hear().await,
        Heard::Other(Message::Notification(Notification::new(6, 7)))
    );
    assert_eq!(
        first.hear().await,
        Heard::Other(Message::Keepalive),
        "the first is put to the test"
    );
    assert_eq!(speaker.status()[0].state, State::Established);
}

#[tokio::test]
async fn what_is_wrong_is_said_in_one_line() {
    let (_send, receive) = watch::channel(None);
    let good = config(peer(179));
    let with_peer = |p: PeerConfig| SpeakerConfig {
        peers: vec![p],
        ..good.clone()
    };
    let table = [
        (
            SpeakerConfig {
                asn: 0,
                ..good.clone()
            },
            "our AS number is 0",
        ),
        (
            SpeakerConfig {
                router_id: Ipv4Addr::UNSPECIFIED,
                ..good.clone()
            },
            "router id",
        ),
        (
            SpeakerConfig {
                hold_time: Duration::from_secs(2),
                ..good.clone()
            },
            "hold time 2 s: must be 0 or 3 to 65535 s",
        ),
        (
            SpeakerConfig {
                peers: vec![peer(179), peer(1790)],
                ..good.clone()
            },
            "peer 127.0.0.1 is there twice",
        ),
        (
            with_peer(PeerConfig {
                asn: 0,
                ..peer(179)
            }),
            "peer 127.0.0.1: AS number 0",
        ),
        (
            with_peer(PeerConfig {
                password: Some("x".repeat(81)),
                ..peer(179)
            }),
            "password of 81 bytes",
        ),
        (
            with_peer(PeerConfig {
                password: Some(String::new()),
                ..peer(179)
            }),
            "password of 0 bytes",
        ),
        (
            with_peer(PeerConfig {
                ttl_security: Some(0),
                ..peer(179)
            }),
            "1 to 254 hops",
        ),
    ];
    for (config, expected) in table {
        let error = Speaker::start(config, receive.clone())
            .expect_err(expected)
            .to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains('\n'));
    }
}

#[tokio::test]
async fn a_port_in_use_says_who_to_look_for() {
    let (listener, port) = listener().await;
    let (_send, receive) = watch::channel(None);
    let listen = vec![listener.local_addr().expect("bound")];
    let error = Speaker::start(
        SpeakerConfig {
            listen,
            ..config(peer(179))
        },
        receive,
    )
    .expect_err("it is taken");
    assert!(matches!(error, SpeakerError::ListenInUse { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&format!("port {port} is in use")) && text.contains("ss -ltnp"),
        "{text}"
    );
}
