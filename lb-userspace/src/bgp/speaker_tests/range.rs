//! Peers that a range of addresses lets in.

use std::os::fd::AsFd as _;

use tokio::net::TcpSocket;

use super::*;
use crate::bgp::sockopt::set_md5_password;
use crate::bgp::{NotificationKey, RangeStatus};

const RANGE: &str = "127.0.1.0/24";

/// A speaker that listens, with these peers.
struct Node {
    speaker: Speaker,
    port: u16,
    routes: watch::Sender<Option<Arc<RouteSet>>>,
}

fn name(text: &str) -> PeerName {
    text.parse().expect("a name")
}

fn range(text: &str, members_max: usize) -> PeerConfig {
    PeerConfig {
        name: name(text),
        passive: true,
        members_max,
        ..peer(179)
    }
}

impl Node {
    async fn start(peers: Vec<PeerConfig>) -> Node {
        let port = free_port().await;
        let (send, receive) = watch::channel(routes(&["192.0.2.10/32"], true));
        let config = SpeakerConfig {
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)],
            peers,
            ..config(peer(port))
        };
        Node {
            speaker: Speaker::start(config, receive).expect("starts"),
            port,
            routes: send,
        }
    }

    async fn connect(&self, from: &str) -> Scripted {
        self.connect_signed(from, None).await.expect("connected")
    }

    async fn connect_signed(
        &self,
        from: &str,
        password: Option<&str>,
    ) -> std::io::Result<Scripted> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.parse().expect("an address"), 0))?;
        if let Some(password) = password {
            set_md5_password(socket.as_fd(), PEER, password)?;
        }
        let connecting = socket.connect(SocketAddr::new(LOOPBACK, self.port));
        let stream = tokio::time::timeout(Duration::from_millis(500), connecting).await??;
        Ok(Scripted {
            stream,
            inbox: Vec::new(),
        })
    }

    /// An Established member that has been told everything.
    async fn member(&self, from: &str) -> Scripted {
        let mut member = self.connect(from).await;
        member.establish().await;
        loop {
            if member.hear_update().await == END_OF_RIB {
                return member;
            }
        }
    }

    fn range(&self) -> RangeStatus {
        self.speaker.ranges().remove(0)
    }

    async fn until(&self, what: &str, holds: impl Fn(&Speaker) -> bool) {
        in_time(what, async {
            while !holds(&self.speaker) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn until_empty(&self) {
        self.until("nobody left", |s| s.status().is_empty()).await;
        assert_eq!(self.range().members, 0);
    }
}

fn cease(subcode: u8) -> Heard {
    Heard::Other(Message::Notification(Notification::new(6, subcode)))
}

#[tokio::test]
async fn a_member_has_a_session_of_its_own_and_is_forgotten_with_it() {
    let node = Node::start(vec![range(RANGE, 16)]).await;
    assert_eq!(node.speaker.status(), []);
    let first = node.member("127.0.1.5").await;
    let second = node.member("127.0.1.6").await;
    let seen: Vec<_> = node
        .speaker
        .status()
        .into_iter()
        .map(|s| (s.name.to_string(), s.range.map(|r| r.to_string()), s.state))
        .collect();
    let established = |address: &str| {
        let range = Some(RANGE.to_owned());
        (address.to_owned(), range, State::Established)
    };
    assert_eq!(seen, [established("127.0.1.5"), established("127.0.1.6")]);
    assert_eq!(node.range().members, 2);

    drop(first);
    node.until("one left", |s| s.status().len() == 1).await;
    assert_eq!(node.speaker.status()[0].state, State::Established);
    assert_eq!(node.speaker.status()[0].flaps, BTreeMap::new());
    drop(second);
    node.until_empty().await;
    let status = node.range();
    assert_eq!((status.ended, status.refused), (2, 0));
    let (last, reason) = status.last_ended.expect("one has gone");
    assert_eq!(last, IpAddr::from([127, 0, 1, 6]));
    assert_eq!(reason, "TCP: closed by the peer");
}

#[tokio::test]
async fn it_may_come_back_at_once() {
    let node = Node::start(vec![range(RANGE, 1)]).await;
    for _ in 0..50 {
        drop(node.member("127.0.1.5").await);
        node.until("over", |s| {
            s.status().iter().all(|s| s.state != State::Established)
        })
        .await;
    }
    node.until_empty().await;
    let status = node.range();
    assert_eq!(status.refused, 0, "it is the same one: {status:?}");
}

#[tokio::test]
async fn what_is_said_to_a_range_is_said_to_every_member() {
    let narrow = range("127.0.1.64/26", 16);
    let named = PeerConfig {
        name: name("127.0.1.65"),
        passive: true,
        ..peer(179)
    };
    let node = Node::start(vec![range(RANGE, 16), named, narrow]).await;
    let [mut wide, mut longer, mut own] = [
        node.connect("127.0.1.5").await,
        node.connect("127.0.1.66").await,
        node.connect("127.0.1.65").await,
    ];
    let mut set = RouteSet::clone(routes(&["192.0.2.10/32"], true).as_deref().expect("some"));
    for (peer, med) in [(RANGE, 1), ("127.0.1.64/26", 2), ("127.0.1.65", 3)] {
        let policy = Policy {
            med: Some(med),
            ..Policy::default()
        };
        set.peers.insert(name(peer), policy);
    }
    node.routes.send_replace(Some(Arc::new(set)));
    for (end, med) in [(&mut wide, 1), (&mut longer, 2), (&mut own, 3)] {
        end.establish().await;
        assert_ne!(end.hear_update().await, END_OF_RIB);
        let status = node.speaker.status();
        let address = end.stream.local_addr().expect("connected").ip();
        let found = status.iter().find(|s| s.name == address.into());
        let announced = &found.expect("there").announced;
        let meds: Vec<_> = announced.values().map(|sent| sent.med).collect();
        assert_eq!(meds, [Some(med)], "{address}");
    }
    let mut members: Vec<_> = node.speaker.ranges().into_iter().collect();
    members.sort_by_key(|range| range.range);
    let members: Vec<usize> = members.iter().map(|range| range.members).collect();
    assert_eq!(members, [1, 1], "the named peer is a member of none");
    assert_eq!(node.speaker.status()[0].name, name("127.0.1.65"));
}

#[tokio::test]
async fn rfc4486_4_one_more_than_there_is_room_for_is_refused_and_disturbs_nobody() {
    let node = Node::start(vec![range(RANGE, 2)]).await;
    let first = node.member("127.0.1.1").await;
    let _second = node.member("127.0.1.2").await;
    for _ in 0..3 {
        let mut third = node.connect("127.0.1.3").await;
        assert_eq!(third.hear().await, cease(8), "Out of Resources");
        assert_eq!(third.hear().await, Heard::End);
    }
    let status = node.range();
    assert_eq!((status.members, status.refused), (2, 3));
    assert_eq!(status.last_refused, Some(IpAddr::from([127, 0, 1, 3])));
    assert!(
        node.speaker
            .status()
            .iter()
            .all(|s| s.state == State::Established && s.flaps.is_empty())
    );
    drop(first);
    node.until("room", |s| s.status().len() == 1).await;
    node.member("127.0.1.3").await;
    let mut outside = node.connect("127.0.2.1").await;
    assert_eq!(outside.hear().await, Heard::End);
    assert_eq!(node.speaker.strangers().connections, 1);
}

#[tokio::test]
async fn whoever_does_not_get_a_session_is_forgotten_too() {
    let node = Node::start(vec![range(RANGE, 4)]).await;
    let wrong = Open {
        asn: 65009,
        ..open()
    };
    for n in 0..20 {
        let mut end = node.connect("127.0.1.5").await;
        match n % 2 {
            0 => {
                end.say(&codec::encode_open(&wrong)).await;
                while end.hear().await != Heard::End {}
            }
            _ => drop(end),
        }
    }
    let mut end = node.connect("127.0.1.6").await;
    assert!(matches!(end.hear().await, Heard::Other(Message::Open(_))));
    end.say(&codec::encode_open(&wrong)).await;
    while end.hear().await != Heard::End {}
    drop(end);
    node.until_empty().await;
    let (last, reason) = node.range().last_ended.expect("they have gone");
    assert_eq!(last, IpAddr::from([127, 0, 1, 6]));
    assert_eq!(
        reason,
        "sent NOTIFICATION 2/2 Bad Peer AS (AS 65009): it says AS 65009, and the configuration AS 65000"
    );
}

#[tokio::test]
async fn rfc9003_2_a_range_is_shut_down_and_enabled_as_a_whole() {
    let node = Node::start(vec![range(RANGE, 2)]).await;
    let mut member = node.member("127.0.1.5").await;
    let words = Notification::shutdown("upgrade");
    let told = || Heard::Other(Message::Notification(words.clone()));
    in_time(
        "down",
        node.speaker.shut_down(name(RANGE), "upgrade".into()),
    )
    .await;
    assert_eq!(member.hear().await, told());
    drop(member);
    node.until_empty().await;
    let mut late = node.connect("127.0.1.6").await;
    assert_eq!(late.hear().await, told());
    assert_eq!(node.range().shutdown.as_deref(), Some("upgrade"));
    assert_eq!(node.range().refused, 0, "there was room");
    in_time("up", node.speaker.enable(name(RANGE))).await;
    let mut member = node.member("127.0.1.6").await;
    for peer in [name("127.0.1.6"), name(RANGE)] {
        assert_eq!(
            in_time("refresh", node.speaker.refresh(peer)).await,
            Some(1)
        );
        assert!(announces(&member.hear_update().await, &[32, 192, 0, 2, 10]));
    }
    assert_eq!(node.speaker.refresh(name("127.0.1.7")).await, None);
    node.speaker.stop("the end").await;
    let cease = Notification::shutdown("the end");
    assert_eq!(
        member.hear().await,
        Heard::Other(Message::Notification(cease))
    );
}

#[tokio::test]
async fn rfc2385_a_password_is_for_all_of_a_range() {
    let signed = |text: &str, password: &str| PeerConfig {
        password: Some(password.into()),
        ..range(text, 4)
    };
    let peers = vec![signed(RANGE, "wide"), signed("127.0.1.64/26", "longer")];
    let mut node = Node::start(peers).await;
    for (from, password) in [
        ("127.0.1.5", None),
        ("127.0.1.5", Some("longer")),
        ("127.0.1.65", Some("wide")),
        ("127.0.1.5", Some("new")),
    ] {
        let refused = node.connect_signed(from, password).await.err();
        assert!(refused.is_some(), "{from} {password:?}");
    }
    assert_eq!(node.speaker.status(), []);
    let mut wide = node
        .connect_signed("127.0.1.5", Some("wide"))
        .await
        .expect("signed");
    wide.establish().await;
    let mut longer = node
        .connect_signed("127.0.1.65", Some("longer"))
        .await
        .expect("signed");
    longer.establish().await;

    let new = BTreeMap::from([
        (name(RANGE), "new".to_owned()),
        (name("127.0.1.64/26"), "longer".to_owned()),
    ]);
    node.speaker.rekey(&new);
    set_md5_password(wide.stream.as_fd(), PEER, "new").expect("a kernel with TCP MD5");
    node.routes
        .send_replace(routes(&["192.0.2.10/32", "192.0.2.11/32"], true));
    for end in [&mut wide, &mut longer] {
        while !announces(&end.hear_update().await, &[32, 192, 0, 2, 11]) {}
    }
    assert!(
        node.connect_signed("127.0.1.7", Some("wide"))
            .await
            .is_err(),
        "the old one"
    );
    let mut next = node
        .connect_signed("127.0.1.7", Some("new"))
        .await
        .expect("signed");
    next.establish().await;
    let status = node.speaker.status();
    assert_eq!(status.len(), 3);
    assert!(status.iter().all(|s| s.flaps.is_empty()));
}

#[tokio::test]
async fn a_second_connection_of_a_member_is_a_collision() {
    let node = Node::start(vec![range(RANGE, 1)]).await;
    let mut member = node.member("127.0.1.5").await;
    let mut second = node.connect("127.0.1.5").await;
    assert_eq!(second.hear().await, cease(7));
    drop(second);
    assert_eq!(member.hear().await, Heard::Other(Message::Keepalive));
    let status = node.speaker.status();
    assert_eq!(status[0].state, State::Established);
    let key = NotificationKey {
        sent: true,
        code: 6,
        subcode: 7,
    };
    assert_eq!(status[0].notifications, BTreeMap::from([(key, 1)]));
    assert_eq!(node.range().refused, 0);
}
