//! What an RFC says of one peer, where no test of collision, back-off or restart has it.

use std::net::IpAddr;
use std::time::Duration;

use super::peer_tests::{Bench, notification};
use super::testing::{IN, OUT, open, settings};
use super::*;
use crate::bgp::codec::{Message, Open};
use crate::bgp::notification::Notification;
use crate::bgp::route::Family;

/// A peer that has come so far on the connection that we have dialled.
fn in_state(state: State) -> Bench {
    let mut bench = Bench::new(settings());
    match state {
        State::OpenSent => drop(bench.connected(OUT)),
        State::OpenConfirm => {
            bench.connected(OUT);
            bench.received(OUT, Message::Open(open(20)));
        }
        State::Established => bench.establish(OUT),
        State::Idle | State::Connect | State::Active => {}
    }
    bench
}

const CONNECTED: [State; 3] = [State::OpenSent, State::OpenConfirm, State::Established];

#[test]
fn rfc6286_2_3_equal_identifiers_keep_the_connection_of_the_larger_as() {
    for (what, asn, survivor) in [("ours", 65001, OUT), ("theirs", 64999, IN)] {
        for first in Direction::ALL {
            let mut bench = Bench::new(Settings { asn, ..settings() });
            bench.connected(first);
            bench.connected(first.other());
            // The same identifier as ours, which between ASes is allowed.
            bench.received(first, Message::Open(open(10)));
            let actions = bench.received(first.other(), Message::Open(open(10)));
            let dropped = Action::Send(survivor.other(), notification(6, 7));
            assert!(actions.contains(&dropped), "{what}, {first:?}: {actions:?}");
            assert!(!actions.contains(&Action::Close(survivor)), "{what}");
        }
    }
}

#[test]
fn rfc6608_4_a_message_that_does_not_belong_is_answered_with_5_and_the_state() {
    let open = || Message::Open(open(20));
    let refresh = || Message::RouteRefresh(None);
    let table = [
        (
            State::OpenSent,
            1,
            vec![Message::Keepalive, Message::Update, refresh()],
        ),
        (
            State::OpenConfirm,
            2,
            vec![open(), Message::Update, refresh()],
        ),
        (State::Established, 3, vec![open()]),
    ];
    for (state, subcode, messages) in table {
        for message in messages {
            let mut bench = in_state(state);
            assert_eq!(bench.peer.state(), state);
            let actions = bench.received(OUT, message.clone());
            let error = Action::Send(OUT, notification(5, subcode));
            assert_eq!(
                actions[..2],
                [error, Action::Close(OUT)],
                "{state} {message:?}"
            );
        }
    }
}

#[test]
fn rfc4271_6_a_notification_is_never_answered_with_one() {
    for state in CONNECTED {
        for code in 0..=9 {
            for subcode in 0..=11 {
                let mut bench = in_state(state);
                let received = Notification::new(code, subcode);
                let actions = bench.received(OUT, Message::Notification(received));
                assert!(
                    actions.contains(&Action::Close(OUT)),
                    "{state} {code}/{subcode}"
                );
                let sent = actions.iter().any(|a| matches!(a, Action::Send(..)));
                assert!(!sent, "{state} {code}/{subcode}: {actions:?}");
            }
        }
    }
}

#[test]
fn rfc4271_4_2_the_smaller_hold_time_wins_and_0_means_none() {
    for (ours, theirs, agreed) in [(9, 90, 9), (90, 9, 9), (9, 0, 0), (0, 90, 0), (3, 3, 3)] {
        let mut bench = Bench::new(Settings {
            hold_time_secs: ours,
            ..settings()
        });
        bench.connected(OUT);
        let theirs = Open {
            hold_time_secs: theirs,
            ..open(20)
        };
        bench.received(OUT, Message::Open(theirs));
        bench.received(OUT, Message::Keepalive);
        let (_, negotiated) = bench.peer.session().expect("Established");
        assert_eq!(negotiated.hold_time, Duration::from_secs(agreed), "{ours}");
        let timers = bench.peer.next_deadline().is_some();
        assert_eq!(timers, agreed != 0, "{ours}: no timer runs without one");
    }
}

#[test]
fn rfc4271_4_4_a_keepalive_every_third_of_the_hold_time_and_at_most_one_a_second() {
    for (hold, least, most) in [(3, 1000, 1000), (9, 2250, 3000), (90, 22_500, 30_000)] {
        let mut bench = Bench::new(Settings {
            hold_time_secs: hold,
            ..settings()
        });
        bench.connected(OUT);
        let theirs = Open {
            hold_time_secs: hold,
            ..open(20)
        };
        bench.received(OUT, Message::Open(theirs));
        bench.received(OUT, Message::Keepalive);
        for _ in 0..20 {
            let (waited, actions) = bench.wait();
            assert_eq!(actions, [Action::Send(OUT, Reply::Keepalive)]);
            let waited = waited.as_millis();
            assert!((least..=most).contains(&waited), "{hold} s: {waited} ms");
            bench.received(OUT, Message::Keepalive);
        }
    }
}

#[test]
fn rfc4724_4_2_a_connection_that_just_ends_is_no_notification() {
    let mut bench = in_state(State::Established);
    let actions = bench.feed(Input::Disconnected {
        direction: OUT,
        error: "reset".into(),
    });
    assert_eq!(actions[0], Action::Close(OUT));
    assert!(matches!(
        actions[1],
        Action::Down(OUT, Reason::TcpFailed(_))
    ));
}

/// Our only address towards the peer is an IPv6 one.
#[test]
fn rfc8950_4_ipv4_goes_over_an_ipv6_next_hop_only_where_both_have_the_capability() {
    let local: IpAddr = "2001:db8::11".parse().expect("an address");
    for (what, theirs, next_hop) in [
        ("both", true, Some(local)),
        ("the peer has it not", false, None),
    ] {
        let mut bench = Bench::new(settings());
        bench.feed(Input::Connected {
            direction: OUT,
            local,
        });
        let mut open = open(20);
        open.capabilities.extended_next_hop = theirs;
        bench.received(OUT, Message::Open(open));
        bench.received(OUT, Message::Keepalive);
        let (_, negotiated) = bench.peer.session().expect("Established");
        assert_eq!(negotiated.next_hops.of(Family::Ipv4), next_hop, "{what}");
        assert_eq!(negotiated.next_hops.of(Family::Ipv6), Some(local), "{what}");
        let shown = negotiated
            .capabilities
            .contains(&"extended-next-hop".into());
        assert_eq!(shown, theirs, "{what}");
        assert_eq!(negotiated.next_hops.beside(Family::Ipv6), None, "{what}");
    }
    let mut bench = Bench::new(settings());
    bench.feed(Input::Connected {
        direction: OUT,
        local,
    });
    let mut only_v4 = open(20);
    only_v4.capabilities.families.remove(&Family::Ipv6);
    let actions = bench.received(OUT, Message::Open(only_v4));
    let Action::Send(OUT, Reply::Notification(refusal)) = &actions[0] else {
        panic!("{actions:?}")
    };
    assert_eq!(
        (refusal.code, refusal.subcode),
        (2, 7),
        "nothing to announce"
    );
}
