//! A peer's two machines together: collision, back-off, restart.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::testing::{IN, LOCAL, OUT, open, settings};
use super::*;
use crate::bgp::codec::{Capabilities, DecodeError, Message, Open};
use crate::bgp::config::GracefulRestart;
use crate::bgp::notification::{Notification, code, subcode};
use crate::bgp::route::Family;

pub(super) struct Bench {
    pub peer: Peer,
    pub now: Instant,
}

impl Bench {
    pub fn new(settings: Settings) -> Bench {
        let mut bench = Bench {
            peer: Peer::new(settings, 7),
            now: Instant::now(),
        };
        bench.feed(Input::Start);
        bench
    }

    pub fn feed(&mut self, input: Input) -> Vec<Action> {
        self.peer.handle(input, self.now)
    }

    pub fn connected(&mut self, direction: Direction) -> Vec<Action> {
        self.feed(Input::Connected {
            direction,
            local: LOCAL,
        })
    }

    pub fn received(&mut self, direction: Direction, message: Message) -> Vec<Action> {
        self.feed(Input::Received {
            direction,
            message: Ok(message),
        })
    }

    fn disconnected(&mut self, direction: Direction) -> Vec<Action> {
        self.feed(Input::Disconnected {
            direction,
            error: "reset".into(),
        })
    }

    pub fn establish(&mut self, direction: Direction) {
        self.connected(direction);
        self.received(direction, Message::Open(open(20)));
        self.received(direction, Message::Keepalive);
        assert_eq!(self.peer.session().map(|(d, _)| d), Some(direction));
    }

    /// To the next deadline; how long that took.
    pub fn wait(&mut self) -> (Duration, Vec<Action>) {
        let before = self.now;
        self.now = self.peer.next_deadline().expect("something is waited for");
        (self.now - before, self.feed(Input::Tick))
    }
}

pub(super) fn notification(code: u8, subcode: u8) -> Reply {
    Reply::Notification(Notification::new(code, subcode))
}

fn sent_open(actions: &[Action]) -> Option<&Open> {
    actions.iter().find_map(|a| match a {
        Action::Send(_, Reply::Open(open)) => Some(open),
        _ => None,
    })
}

#[test]
fn rfc4271_6_8_collision_keeps_the_connection_of_the_higher_identifier() {
    let table = [
        ("ours is higher, theirs comes second", 5, OUT, IN, OUT),
        ("ours is higher, ours comes second", 5, IN, OUT, OUT),
        ("theirs is higher, theirs comes second", 20, OUT, IN, IN),
        ("theirs is higher, ours comes second", 20, IN, OUT, IN),
        ("equal identifiers: our AS is higher", 10, IN, OUT, OUT),
    ];
    for (what, id, first, second, survivor) in table {
        let mut bench = Bench::new(settings());
        bench.connected(first);
        bench.connected(second);
        bench.received(first, Message::Open(open(id)));
        let actions = bench.received(second, Message::Open(open(id)));
        let loser = survivor.other();
        assert!(
            actions.contains(&Action::Send(loser, notification(6, 7))),
            "{what}: {actions:?}"
        );
        assert!(actions.contains(&Action::Close(loser)), "{what}");
        assert!(!actions.contains(&Action::Close(survivor)), "{what}");
        let actions = bench.received(survivor, Message::Keepalive);
        assert!(
            matches!(actions[0], Action::Up(direction, _) if direction == survivor),
            "{what}: {actions:?}"
        );
    }
}

#[test]
fn rfc4271_6_8_established_wins_over_any_identifier() {
    let mut bench = Bench::new(settings());
    bench.establish(OUT);
    let actions = bench.connected(IN);
    let refuse = Action::Refuse(Notification::new(6, 7));
    assert_eq!(
        actions,
        [refuse, Action::Send(OUT, Reply::Keepalive)],
        "and our own connection is put to the test"
    );
    assert_eq!(bench.peer.state(), State::Established);
}

#[test]
fn the_other_connection_goes_when_one_is_established() {
    let mut bench = Bench::new(settings());
    bench.connected(IN);
    bench.connected(OUT);
    bench.received(OUT, Message::Open(open(20)));
    let actions = bench.received(OUT, Message::Keepalive);
    assert!(
        actions.contains(&Action::Send(IN, notification(6, 7))),
        "{actions:?}"
    );
    assert!(actions.contains(&Action::Close(IN)));
    let dialing = {
        let mut bench = Bench::new(settings());
        bench.connected(IN);
        bench.received(IN, Message::Open(open(20)));
        bench.received(IN, Message::Keepalive)
    };
    assert!(dialing.contains(&Action::CancelDial), "{dialing:?}");
}

#[test]
fn a_second_connection_of_the_peer_replaces_its_first() {
    let mut bench = Bench::new(settings());
    bench.connected(IN);
    let actions = bench.connected(IN);
    assert_eq!(actions[0], Action::Send(IN, notification(6, 7)));
    assert_eq!(actions[1], Action::Close(IN));
    assert!(actions.contains(&Action::Adopt(IN)), "{actions:?}");
    assert!(sent_open(&actions).is_some());
}

#[test]
fn after_a_session_both_sides_are_tried_again() {
    for direction in Direction::ALL {
        let mut bench = Bench::new(settings());
        bench.establish(direction);
        bench.now += Duration::from_secs(3600);
        bench.disconnected(direction);
        bench.feed(Input::Tick);
        assert_eq!(bench.peer.state(), State::Idle, "{direction:?}");
        let (delay, actions) = bench.wait();
        assert!(
            delay >= Duration::from_millis(750) && delay <= Duration::from_secs(1),
            "{delay:?}"
        );
        assert!(actions.contains(&Action::Dial), "{actions:?}");
        assert!(
            bench.connected(IN).contains(&Action::Adopt(IN)),
            "the peer may come back meanwhile"
        );
    }
}

#[test]
fn unanswered_dials_back_off_to_five_seconds() {
    let mut bench = Bench::new(settings());
    let mut delays = Vec::new();
    for _ in 0..6 {
        bench.disconnected(OUT);
        let (delay, actions) = bench.wait();
        assert_eq!(actions, [Action::Dial]);
        delays.push(delay.as_secs_f64());
    }
    for (delay, nominal) in delays.iter().zip([1.0, 2.0, 4.0, 5.0, 5.0, 5.0]) {
        assert!((nominal * 0.75..=nominal).contains(delay), "{delays:?}");
    }
}

#[test]
fn a_dial_without_any_answer_is_repeated() {
    let mut bench = Bench::new(settings());
    let (delay, actions) = bench.wait();
    assert!(delay <= Duration::from_secs(5));
    assert_eq!(actions[0], Action::CancelDial);
    assert!(
        matches!(actions[1], Action::Failed(OUT, Reason::TcpFailed(_))),
        "and the operator sees why"
    );
    assert_eq!(actions[2..], [Action::Dial]);
}

#[test]
fn disagreement_backs_off_to_a_minute_and_a_stable_session_ends_it() {
    let mut bench = Bench::new(settings());
    let mut last = Duration::ZERO;
    for _ in 0..9 {
        bench.connected(OUT);
        let wrong = Open {
            asn: 64999,
            ..open(20)
        };
        let actions = bench.received(OUT, Message::Open(wrong));
        let expected = Notification::with_data(2, 2, &64999_u32.to_be_bytes());
        assert_eq!(actions[0], Action::Send(OUT, Reply::Notification(expected)));
        (last, _) = bench.wait();
    }
    assert!(last >= Duration::from_secs(45), "{last:?}");
    bench.establish(OUT);
    bench.now += Duration::from_secs(11);
    bench.received(OUT, Message::Notification(Notification::new(6, 2)));
    let (delay, _) = bench.wait();
    assert!(delay <= Duration::from_secs(1), "{delay:?}");
}

#[test]
fn rfc4271_6_2_opens_that_are_not_accepted() {
    let table = [
        (
            "AS 0",
            Open { asn: 0, ..open(20) },
            Notification::with_data(2, 2, &[0; 4]),
        ),
        (
            "identifier 0",
            Open {
                identifier: Ipv4Addr::UNSPECIFIED,
                ..open(20)
            },
            Notification::with_data(2, 3, &[0; 4]),
        ),
        (
            "hold time 1",
            Open {
                hold_time_secs: 1,
                ..open(20)
            },
            Notification::new(2, 6),
        ),
        (
            "hold time 2",
            Open {
                hold_time_secs: 2,
                ..open(20)
            },
            Notification::new(2, 6),
        ),
        (
            "no family in common",
            Open {
                capabilities: Capabilities {
                    families: BTreeSet::from([Family::Ipv6]),
                    ..Default::default()
                },
                ..open(20)
            },
            Notification::with_data(2, 7, &[1, 4, 0, 1, 0, 1]),
        ),
    ];
    for (what, theirs, expected) in table {
        let mut bench = Bench::new(settings());
        bench.connected(OUT);
        let actions = bench.received(OUT, Message::Open(theirs));
        assert_eq!(
            actions[0],
            Action::Send(OUT, Reply::Notification(expected)),
            "{what}"
        );
    }
    let internal = Settings {
        peer_asn: 65001,
        ..settings()
    };
    let mut bench = Bench::new(internal);
    bench.connected(OUT);
    let ours = Open {
        asn: 65001,
        ..open(10)
    };
    let actions = bench.received(OUT, Message::Open(ours));
    let expected = Notification::with_data(2, 3, &[192, 0, 2, 10]);
    assert_eq!(
        actions[0],
        Action::Send(OUT, Reply::Notification(expected)),
        "our identifier, internal"
    );
    let mut bench = Bench::new(settings());
    bench.connected(OUT);
    bench.received(OUT, Message::Open(open(10)));
    assert_eq!(
        bench.peer.state(),
        State::OpenConfirm,
        "our identifier, external, is allowed (RFC 6286)"
    );
}

#[test]
fn rfc2545_3_families_follow_the_next_hops() {
    let v6: IpAddr = "2001:db8::11".parse().expect("an address");
    let link_local: IpAddr = "fe80::11".parse().expect("an address");
    let nh4 = Some(Ipv4Addr::new(10, 0, 0, 11));
    let nh6 = Some("2001:db8::12".parse().expect("an address"));
    let (four, six) = (Family::Ipv4, Family::Ipv6);
    let table: [(&str, IpAddr, _, _, &[Family]); 6] = [
        ("IPv4 session", LOCAL, None, None, &[four]),
        (
            "IPv4 session, IPv6 next hop given",
            LOCAL,
            None,
            nh6,
            &[four, six],
        ),
        ("IPv6 session (RFC 8950)", v6, None, None, &[four, six]),
        (
            "IPv6 session, IPv4 next hop given",
            v6,
            nh4,
            None,
            &[four, six],
        ),
        ("link-local session", link_local, None, None, &[four, six]),
        (
            "link-local session, IPv6 next hop given",
            link_local,
            None,
            nh6,
            &[four, six],
        ),
    ];
    for (what, local, next_hop_v4, next_hop_v6, families) in table {
        let mut bench = Bench::new(Settings {
            next_hop_v4,
            next_hop_v6,
            ..settings()
        });
        let actions = bench.feed(Input::Connected {
            direction: OUT,
            local,
        });
        let offered = sent_open(&actions).map(|o| o.capabilities.families.clone());
        let over_v6 = sent_open(&actions).map(|o| o.capabilities.extended_next_hop);
        let expected = local != LOCAL && next_hop_v4.is_none();
        assert_eq!(over_v6, Some(expected), "{what}");
        assert_eq!(offered, Some(families.iter().copied().collect()), "{what}");
    }
}

#[test]
fn rfc2545_3_a_link_local_address_is_told_beside_a_global_one() {
    let link_local: Ipv6Addr = "fe80::11".parse().expect("an address");
    let global: Ipv6Addr = "2001:db8::12".parse().expect("an address");
    let nh4 = Some(Ipv4Addr::new(10, 0, 0, 11));
    for (what, local, v4, v6, [four, six]) in [
        (
            "a global one as well",
            link_local,
            None,
            Some(global),
            [
                (global.into(), Some(link_local)),
                (global.into(), Some(link_local)),
            ],
        ),
        (
            "IPv4 has its own",
            link_local,
            nh4,
            Some(global),
            [
                (IpAddr::from([10, 0, 0, 11]), None),
                (global.into(), Some(link_local)),
            ],
        ),
        (
            "alone",
            link_local,
            None,
            None,
            [(link_local.into(), None), (link_local.into(), None)],
        ),
        (
            "a session over a global one",
            global,
            None,
            None,
            [(global.into(), None), (global.into(), None)],
        ),
    ] {
        let settings = Settings {
            next_hop_v4: v4,
            next_hop_v6: v6,
            ..settings()
        };
        let hops = NextHops::new(&settings, local.into());
        for (family, (next_hop, beside)) in [(Family::Ipv4, four), (Family::Ipv6, six)] {
            assert_eq!(hops.of(family), Some(next_hop), "{what}, {family}");
            assert_eq!(hops.beside(family), beside, "{what}, {family}");
        }
    }
}

#[test]
fn rfc5492_3_a_peer_that_refuses_capabilities_is_tried_without() {
    let mut bench = Bench::new(settings());
    let refused = || Message::Notification(Notification::new(2, 4));
    let mut offers = Vec::new();
    for _ in 0..3 {
        let actions = bench.connected(OUT);
        offers.push(sent_open(&actions).map(|o| o.capabilities.families.len()));
        bench.received(OUT, refused());
        bench.wait();
    }
    assert_eq!(offers, [Some(1), Some(0), Some(1)]);
    bench.connected(OUT);
    bench.received(
        OUT,
        Message::Open(Open {
            capabilities: Capabilities::default(),
            ..open(20)
        }),
    );
    bench.received(OUT, Message::Keepalive);
    let (_, session) = bench.peer.session().expect("established");
    assert_eq!(session.families, BTreeSet::from([Family::Ipv4]));
    assert!(!session.four_octet_as);
}

#[test]
fn rfc4724_3_r_and_f_bits_tell_a_restart_from_a_reconnection() {
    let table = [
        ("restart with a datapath that went on", true, true),
        ("restart with a datapath that is gone", true, false),
        ("first start", false, false),
    ];
    for (what, restarting, forwarding_preserved) in table {
        let restart = GracefulRestart {
            restart_time: Duration::from_secs(15),
            restarting,
            forwarding_preserved,
        };
        let mut bench = Bench::new(Settings {
            graceful_restart: Some(restart),
            ..settings()
        });
        let offer = |actions: &[Action]| {
            let capability =
                sent_open(actions).and_then(|o| o.capabilities.graceful_restart.clone());
            let capability = capability.expect("offered");
            (
                capability.restarting,
                capability.restart_time_secs,
                capability.families,
            )
        };
        let first = (restarting, 15, vec![(Family::Ipv4, forwarding_preserved)]);
        assert_eq!(offer(&bench.connected(OUT)), first, "{what}");
        bench.disconnected(OUT);
        bench.wait();
        assert_eq!(
            offer(&bench.connected(OUT)),
            first,
            "{what}: nothing has been told yet"
        );
        bench.received(OUT, Message::Open(open(20)));
        bench.received(OUT, Message::Keepalive);
        bench.feed(Input::RestartDone);
        bench.disconnected(OUT);
        bench.wait();
        let later = (false, 15, vec![(Family::Ipv4, true)]);
        assert_eq!(
            offer(&bench.connected(OUT)),
            later,
            "{what}: no restart since"
        );
    }
}

#[test]
fn nothing_goes_on_after_stop() {
    for direction in Direction::ALL {
        let mut bench = Bench::new(settings());
        bench.establish(direction);
        let actions = bench.feed(Input::Stop(Notification::shutdown("bye")));
        let cease = Reply::Notification(Notification::shutdown("bye"));
        assert_eq!(actions[0], Action::Send(direction, cease));
        assert_eq!(bench.peer.next_deadline(), None);
        assert_eq!(bench.peer.state(), State::Idle);
        let rejected = Notification::new(code::CEASE, subcode::CONNECTION_REJECTED);
        assert_eq!(bench.connected(IN), [Action::Refuse(rejected)]);
        assert_eq!(bench.feed(Input::Tick), []);
        let again = bench.feed(Input::Start);
        assert!(again.contains(&Action::Dial), "until the next start");
    }
}

#[test]
fn rfc4271_8_1_1_a_passive_peer_is_never_dialled() {
    let mut bench = Bench::new(Settings {
        passive: true,
        ..settings()
    });
    assert_eq!(bench.peer.state(), State::Active);
    assert_eq!(bench.peer.next_deadline(), None);
    bench.establish(IN);
    let mut actions = bench.disconnected(IN);
    actions.extend(bench.feed(Input::Tick));
    assert!(!actions.contains(&Action::Dial));
    assert_eq!(bench.peer.state(), State::Active);
}

#[test]
fn rfc4271_6_5_an_expired_hold_timer_is_told_with_4_0() {
    let mut bench = Bench::new(settings());
    bench.establish(OUT);
    let start = bench.now;
    let mut keepalives = 0;
    loop {
        let (_, actions) = bench.wait();
        keepalives += actions
            .iter()
            .filter(|a| **a == Action::Send(OUT, Reply::Keepalive))
            .count();
        if actions.contains(&Action::Send(OUT, notification(4, 0))) {
            assert!(actions.contains(&Action::Down(OUT, Reason::HoldTimerExpired)));
            break;
        }
    }
    assert_eq!(bench.now - start, Duration::from_secs(9));
    assert!((2..=4).contains(&keepalives), "{keepalives}");
}

#[test]
fn rfc2918_4_a_refresh_is_answered_only_in_a_session() {
    let mut bench = Bench::new(settings());
    bench.establish(IN);
    let refresh = |bench: &mut Bench, family| bench.received(IN, Message::RouteRefresh(family));
    assert_eq!(
        refresh(&mut bench, Some(Family::Ipv6)),
        [Action::Resend(Family::Ipv6)]
    );
    assert_eq!(refresh(&mut bench, None), []);
    let mut bench = Bench::new(settings());
    bench.connected(IN);
    let actions = refresh(&mut bench, Some(Family::Ipv4));
    assert_eq!(actions[0], Action::Send(IN, notification(5, 1)));
}

#[test]
fn rfc4271_6_errors_end_the_session_with_their_notification() {
    let errors = [
        DecodeError::Header(Notification::with_data(1, 3, &[9])),
        DecodeError::Update(Notification::new(3, 1)),
        DecodeError::Open(Notification::new(2, 0)),
    ];
    for error in errors {
        let mut bench = Bench::new(settings());
        bench.establish(OUT);
        let (DecodeError::Header(n) | DecodeError::Open(n) | DecodeError::Update(n)) =
            error.clone();
        let actions = bench.feed(Input::Received {
            direction: OUT,
            message: Err(error),
        });
        assert_eq!(actions[0], Action::Send(OUT, Reply::Notification(n)));
        assert_eq!(actions[1], Action::Close(OUT));
    }
}
