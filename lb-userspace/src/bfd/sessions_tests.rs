use super::*;
use crate::bfd::diagnostic::Diagnostic;
use crate::bfd::fsm::testing::{MS, from_peer};

fn peer(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

fn config(n: u8) -> SessionConfig {
    SessionConfig {
        name: peer(n).to_string(),
        ends: Some(Ends::to(peer(n))),
        hops: Hops::Single,
        interval_us: 100_000,
        multiplier: 3,
    }
}

fn multihop(n: u8, ttl_min: u8) -> SessionConfig {
    SessionConfig {
        hops: Hops::Multi { ttl_min },
        ..config(n)
    }
}

/// Sessions with these peers, a clock, and the last packet to each peer's session.
struct Bench {
    sessions: Sessions,
    now: Instant,
}

impl Bench {
    fn new(wanted: &[SessionConfig]) -> Bench {
        let now = Instant::now();
        let mut sessions = Sessions::new(1);
        sessions.run(wanted, now);
        Bench { sessions, now }
    }

    fn number(&self, n: u8) -> NonZeroU32 {
        let mut entries = self.sessions.entries.iter();
        let found = entries.find(|(_, e)| e.ends.peer == peer(n) && e.leaves_at.is_none());
        *found.expect("a session with that peer").0
    }

    fn hear(&mut self, n: u8, packet: &ControlPacket, ttl: u8, multihop: bool) -> Vec<Output> {
        let datagram = Datagram {
            from: peer(n),
            interface: None,
            ttl,
            multihop,
            payload: &packet.encode(),
        };
        self.sessions.receive(&datagram, self.now)
    }

    fn up(&mut self, n: u8) {
        let packet = packet(State::Init, Some(self.number(n)));
        self.hear(n, &packet, 255, false);
        assert_eq!(self.state(n), State::Up);
    }

    fn report(&self, n: u8) -> SessionReport {
        let reports = self.sessions.report(self.now).into_iter();
        let mut of = reports.filter(|report| report.name == peer(n).to_string());
        of.next().expect("a session with that peer")
    }

    fn state(&self, n: u8) -> State {
        self.report(n).state
    }
}

fn packet(state: State, ours: Option<NonZeroU32>) -> ControlPacket {
    ControlPacket {
        your_discriminator: ours,
        ..from_peer(state)
    }
}

#[test]
fn a_packet_finds_its_session_or_its_reason() {
    let wanted = [config(1), config(2), multihop(3, 250)];
    let other = NonZeroU32::new(12345);
    let down = |ours| packet(State::Down, ours);
    type Case = (&'static str, u8, Option<u8>, u8, bool, Option<Discard>);
    let table: [Case; 11] = [
        ("by address", 1, None, 255, false, None),
        ("by number", 1, Some(1), 255, false, None),
        ("one hop away", 1, Some(1), 254, false, Some(Discard::Ttl)),
        (
            "one hop away, unknown",
            9,
            None,
            254,
            false,
            Some(Discard::Ttl),
        ),
        ("a stranger", 9, None, 255, false, Some(Discard::NoSession)),
        (
            "the number of another's",
            1,
            Some(2),
            255,
            false,
            Some(Discard::WrongPeer),
        ),
        (
            "the other port",
            1,
            None,
            255,
            true,
            Some(Discard::NoSession),
        ),
        (
            "the other port, by number",
            1,
            Some(1),
            255,
            true,
            Some(Discard::WrongPeer),
        ),
        ("multihop", 3, None, 250, true, None),
        (
            "multihop, too far",
            3,
            Some(3),
            249,
            true,
            Some(Discard::Ttl),
        ),
        (
            "multihop, the other port",
            3,
            None,
            255,
            false,
            Some(Discard::NoSession),
        ),
    ];
    for (about, from, number, ttl, multihop, expected) in table {
        let mut bench = Bench::new(&wanted);
        let packet = down(number.map(|n| bench.number(n)));
        bench.hear(from, &packet, ttl, multihop);
        let discards: Vec<Discard> = bench
            .sessions
            .entries
            .values()
            .flat_map(|e| e.discards.keys())
            .chain(bench.sessions.discards.keys())
            .copied()
            .collect();
        assert_eq!(discards, Vec::from_iter(expected), "{about}");
        if expected.is_none() {
            assert_eq!(bench.state(from), State::Init, "{about}");
        }
    }
    let mut bench = Bench::new(&wanted);
    bench.hear(1, &down(other), 255, false);
    assert_eq!(bench.report(1).discards["unknown_discriminator"], 1);
    let datagram = Datagram {
        from: peer(9),
        interface: None,
        ttl: 255,
        multihop: false,
        payload: &[0; 3],
    };
    bench.sessions.receive(&datagram, bench.now);
    assert_eq!(bench.sessions.discards()["too_short"], 1);
}

#[test]
fn sessions_that_stay_go_on() {
    let mut bench = Bench::new(&[config(1), config(2)]);
    bench.up(1);
    let before = bench.number(1);
    let slower = SessionConfig {
        interval_us: 500_000,
        ..config(1)
    };
    let out = bench.sessions.run(&[slower, config(2)], bench.now);
    assert_eq!(bench.number(1), before);
    assert_eq!(bench.state(1), State::Up);
    assert_eq!(out, [], "the first poll is still under way");
}

#[test]
fn a_session_that_goes_says_so_for_a_while() {
    let mut bench = Bench::new(&[config(1), config(2)]);
    bench.up(1);
    let (first, second) = (bench.number(1), bench.number(2));
    let out = bench.sessions.run(&[], bench.now);
    let told = |out: &[Output]| -> Vec<State> {
        let sent = out.iter().filter_map(|output| match output {
            Output::Send(number, bytes) if *number == first => ControlPacket::decode(bytes).ok(),
            _ => None,
        });
        sent.map(|packet| packet.state).collect()
    };
    assert_eq!(told(&out), [State::AdminDown]);
    assert_eq!(bench.sessions.report(bench.now), []);
    assert!(
        bench
            .sessions
            .tick(bench.now)
            .contains(&Output::Gone(second)),
        "it was never heard"
    );
    bench.now += 1000 * MS;
    assert_eq!(told(&bench.sessions.tick(bench.now)), [State::AdminDown]);
    bench.now += 2000 * MS;
    assert!(
        bench
            .sessions
            .tick(bench.now)
            .contains(&Output::Gone(first))
    );
    assert!(bench.sessions.is_empty());
}

#[test]
fn another_address_of_ours_is_another_session() {
    let mut bench = Bench::new(&[config(1)]);
    bench.up(1);
    let before = bench.number(1);
    let moved = SessionConfig {
        ends: Some(Ends {
            local: Some(peer(200)),
            ..Ends::to(peer(1))
        }),
        ..config(1)
    };
    bench.sessions.run(&[moved], bench.now);
    assert_ne!(bench.number(1), before);
    assert_eq!(bench.state(1), State::Down);
    let late = packet(State::Up, Some(before));
    assert_eq!(
        bench.hear(1, &late, 255, false),
        [],
        "AdminDown answers nothing"
    );
}

#[test]
fn failures_are_what_no_operator_wants() {
    let mut bench = Bench::new(&[config(1)]);
    bench.up(1);
    let ours = Some(bench.number(1));
    bench.hear(1, &packet(State::AdminDown, ours), 255, false);
    assert_eq!((bench.state(1), bench.report(1).failures), (State::Down, 0));
    bench.up(1);
    bench.now += 300 * MS;
    bench.sessions.tick(bench.now);
    assert_eq!((bench.state(1), bench.report(1).failures), (State::Down, 1));
    bench.up(1);
    bench.sessions.forwarding(false, bench.now);
    assert_eq!((bench.state(1), bench.report(1).failures), (State::Down, 2));
}

#[test]
fn a_session_that_begins_while_nothing_is_forwarded_is_held_down() {
    let mut bench = Bench::new(&[]);
    bench.sessions.forwarding(false, bench.now);
    bench.sessions.run(&[config(1)], bench.now);
    let packet = packet(State::Init, Some(bench.number(1)));
    bench.hear(1, &packet, 255, false);
    assert_eq!(bench.state(1), State::Down);
    assert_eq!(
        bench.report(1).diagnostic,
        Diagnostic::FORWARDING_PLANE_RESET
    );
}

/// `name` by `address` on `interface`; or by an address that is not known now.
fn on_link(name: &str, ends: Option<(&str, &str)>) -> SessionConfig {
    SessionConfig {
        name: name.to_owned(),
        ends: ends.map(|(address, interface)| Ends {
            interface: Some(interface.to_owned()),
            ..Ends::to(address.parse().expect("an address"))
        }),
        ..config(0)
    }
}

#[test]
fn one_address_on_two_links_is_two_peers() {
    let wanted = ["eth0", "eth1"].map(|link| on_link(link, Some(("fe80::1", link))));
    let mut bench = Bench::new(&wanted);
    let hear = |bench: &mut Bench, interface, packet: &ControlPacket| {
        let datagram = Datagram {
            from: "fe80::1".parse().expect("an address"),
            interface,
            ttl: 255,
            multihop: false,
            payload: &packet.encode(),
        };
        bench.sessions.receive(&datagram, bench.now);
        let reports = bench.sessions.report(bench.now);
        [reports[0].state, reports[1].state]
    };
    let down = packet(State::Down, None);
    let states = hear(&mut bench, Some("eth1"), &down);
    assert_eq!(states, [State::Down, State::Init]);
    assert_eq!(hear(&mut bench, Some("eth2"), &down), states);
    assert_eq!(hear(&mut bench, None, &down), states);
    assert_eq!(bench.sessions.discards()["no_session"], 2);

    let mut entries = bench.sessions.entries.iter();
    let second = entries.find(|(_, entry)| entry.config.name == "eth1");
    let by_number = packet(State::Up, second.map(|(number, _)| *number));
    let states = hear(&mut bench, Some("eth0"), &by_number);
    assert_eq!(states, [State::Down, State::Init]);
    let report = &bench.sessions.report(bench.now)[0];
    assert_eq!(report.discards["wrong_peer"], 1, "a router's on its link");
    let states = hear(&mut bench, Some("eth1"), &by_number);
    assert_eq!(states, [State::Down, State::Up]);
}

#[test]
fn a_peer_that_is_not_known_any_more_keeps_its_session_until_there_is_another() {
    let mut bench = Bench::new(&[on_link("eth0", None)]);
    assert!(bench.sessions.is_empty());
    let mut number = |ends| {
        bench.sessions.run(&[on_link("eth0", ends)], bench.now);
        let mut entries = bench.sessions.entries.iter();
        let found = entries.find(|(_, entry)| entry.leaves_at.is_none());
        found.map(|(number, entry)| (*number, entry.ends.peer.to_string()))
    };
    let first = number(Some(("fe80::1", "eth0")));
    assert_eq!(first.as_ref().expect("a session").1, "fe80::1");
    assert_eq!(number(None), first, "an agent that does not know it yet");
    assert_eq!(number(Some(("fe80::1", "eth0"))), first);
    let second = number(Some(("fe80::2", "eth0")));
    assert_eq!(second.as_ref().expect("a session").1, "fe80::2");
    assert_eq!(number(None), second);
}
