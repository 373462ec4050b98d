//! Two speakers on one link that know nothing of each other but the interface.

use super::*;
use crate::bgp::InterfaceName;
use crate::bgp::status::Discovery;
use crate::netlink::testing::{in_namespace, ip as ip_command};

const PORT: u16 = 1179;
const NAMES: [&str; 2] = ["eth0", "swp1"];

fn interface(name: &str) -> PeerName {
    let name: InterfaceName = name.parse().expect("the name of an interface");
    PeerName::Interface(name)
}

/// A veth pair, both ends here. Its addresses are taken at once, and each end has one more than it needs.
fn connect() {
    ip_command("link add eth0 type veth peer name swp1");
    for (name, last) in NAMES.iter().zip([1, 2]) {
        ip_command(&format!("link set {name} up"));
        ip_command(&format!("address add fe80::{last}/64 dev {name} nodad"));
    }
}

/// The end that dials, and the one that listens.
fn start(at: usize, password: Option<&str>) -> Speaker {
    let peer = PeerConfig {
        name: interface(NAMES[at]),
        asn: [65000, 65001][at],
        password: password.map(ToString::to_string),
        passive: at == 1,
        ttl_security: Some(1),
        ..peer(PORT)
    };
    let config = SpeakerConfig {
        asn: [65001, 65000][at],
        router_id: Ipv4Addr::new(192, 0, 2, at as u8 + 1),
        listen: match at {
            0 => vec![],
            _ => vec![SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, PORT))],
        },
        ..config(peer)
    };
    let (_, routes) = watch::channel(routes(&["198.51.100.1/32", "2001:db8::1/128"], true));
    Speaker::start(config, routes).expect("starts")
}

/// Polls at the pace at which things happen here.
async fn wait(what: &str, speaker: &Speaker, holds: impl Fn(&PeerStatus) -> bool) -> PeerStatus {
    let seen = in_time(what, async {
        loop {
            let status = speaker.status().swap_remove(0);
            if holds(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    seen.await
}

fn established(status: &PeerStatus) -> bool {
    status.state == State::Established && status.announced.len() == 2
}

#[test]
fn each_finds_the_other_and_again_after_its_link_was_down() {
    in_namespace(async || {
        connect();
        let speakers = [0, 1].map(|at| start(at, None));
        for speaker in &speakers {
            let status = wait("a session", speaker, established).await;
            let discovery = status.discovery.expect("found by its interface");
            let sane = Discovery {
                router: discovery.router,
                sent: discovery.sent,
                heard: discovery.heard,
                unsent: discovery.unsent,
                ..Discovery::default()
            };
            assert_eq!(discovery, sane);
            assert!(discovery.router.is_some() && discovery.heard > 0);
        }
        let next_hops: Vec<_> = speakers[0].status()[0]
            .announced
            .values()
            .cloned()
            .collect();
        assert!(
            next_hops
                .iter()
                .all(|attributes| attributes.next_hop.is_ipv6()),
            "{next_hops:?}"
        );
        ip_command("link set swp1 down");
        for speaker in &speakers {
            let down = |status: &PeerStatus| status.state == State::Idle;
            let status = wait("the end", speaker, down).await;
            assert_eq!(
                status.last_failure.as_deref(),
                Some("it waits for the peer: its interface is down")
            );
            assert_eq!(
                status.discovery.and_then(|discovery| discovery.router),
                None
            );
        }
        ip_command("link set swp1 up");
        for speaker in &speakers {
            let status = wait("a session again", speaker, established).await;
            assert_eq!(status.flaps["tcp_failed"], 1);
        }
    });
}

#[test]
fn rfc2385_a_password_is_that_of_the_address_which_was_found() {
    in_namespace(async || {
        connect();
        let mut speakers = [0, 1].map(|at| start(at, Some("correct-horse")));
        for speaker in &speakers {
            wait("a session", speaker, established).await;
        }
        for (at, speaker) in speakers.iter_mut().enumerate() {
            let next = BTreeMap::from([(interface(NAMES[at]), "battery-staple".to_string())]);
            speaker.rekey(&next);
        }
        ip_command("link set swp1 down");
        for speaker in &speakers {
            wait("the end", speaker, |status| status.state == State::Idle).await;
        }
        ip_command("link set swp1 up");
        for speaker in &speakers {
            wait("a session again", speaker, established).await;
        }
        let [dials, listens] = speakers;
        drop(dials);
        let unsigned = start(0, None);
        let refused = |status: &PeerStatus| {
            let failure = status.last_failure.as_deref().unwrap_or_default();
            failure.contains("another TCP MD5 password")
        };
        wait("no answer", &unsigned, refused).await;
        assert!(!established(&listens.status()[0]));
    });
}

/// An advertisement from this address, by the interface that it is on.
fn advertise(interface: &str, source: &str, hop_limit: u32) {
    let index = nix::net::if_::if_nametoindex(interface).expect("it is there");
    let at = |address: &str| {
        let address = address.parse().expect("an address");
        std::net::SocketAddrV6::new(address, 0, 0, index)
    };
    let socket = socket2::Socket::new(
        socket2::Domain::IPV6,
        socket2::Type::RAW,
        Some(socket2::Protocol::ICMPV6),
    );
    let socket = socket.expect("root");
    socket.set_multicast_if_v6(index).expect("set");
    socket.set_multicast_hops_v6(hop_limit).expect("set");
    socket.bind(&at(source).into()).expect("its address");
    let octets = [[134, 0, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
    let sent = socket.send_to(&octets, &at("ff02::1").into());
    assert_eq!(sent.expect("sent"), octets.len());
}

#[test]
fn rfc4861_6_1_2_the_first_router_is_the_peer_and_not_what_only_seems_one() {
    in_namespace(async || {
        connect();
        ip_command("address add fe80::3/64 dev swp1 nodad");
        let speaker = start(0, None);
        let discovered = async |what: &str, holds: &dyn Fn(&Discovery) -> bool| {
            let holds = |status: &PeerStatus| status.discovery.as_ref().is_some_and(holds);
            let status = wait(what, &speaker, holds).await;
            status.discovery.expect("it has one")
        };
        discovered("a word of ours", &|discovery| discovery.sent > 0).await;
        advertise("eth0", "fe80::1", 255);
        advertise("swp1", "fe80::2", 64);
        let invalid = BTreeMap::from([("own", 1), ("hop_limit", 1)]);
        let counted = |discovery: &Discovery| discovery.invalid == invalid;
        let discovery = discovered("both discarded", &counted).await;
        assert_eq!((discovery.router, discovery.heard), (None, 0));

        advertise("swp1", "fe80::3", 255);
        let router: IpAddr = "fe80::3".parse().expect("an address");
        let found = |discovery: &Discovery| discovery.router == Some(router);
        discovered("the router", &found).await;
        advertise("swp1", "fe80::2", 255);
        let discovery = discovered("another", &|discovery| discovery.others == 1).await;
        assert_eq!(
            (discovery.router, discovery.last_other, discovery.heard),
            (Some(router), "fe80::2".parse().ok(), 2)
        );
    });
}
