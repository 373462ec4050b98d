//! Every event in every state, on a machine that has really come into that state.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::event::Event;
use super::machine::{Action, Context, Machine, Reply};
use super::negotiate::Settings;
use super::state::{Direction, State};
use super::testing::settings;
use super::timers::{Backoff, Jitter};
use crate::bgp::codec::{Capabilities, Open};
use crate::bgp::notification::Notification;

fn their_open() -> Open {
    Open {
        asn: 65000,
        hold_time_secs: 90,
        identifier: Ipv4Addr::new(192, 0, 2, 2),
        capabilities: Capabilities::default(),
    }
}

/// A machine, what it shares with its sibling, and a clock.
struct Bench {
    machine: Machine,
    settings: Settings,
    jitter: Jitter,
    backoff: Backoff,
    now: Instant,
}

impl Bench {
    fn new(direction: Direction) -> Bench {
        Bench {
            machine: Machine::new(direction),
            settings: settings(),
            jitter: Jitter::new(1),
            backoff: Backoff::default(),
            now: Instant::now(),
        }
    }

    fn feed(&mut self, event: &Event) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut cx = Context {
            now: self.now,
            settings: &self.settings,
            jitter: &mut self.jitter,
            backoff: &mut self.backoff,
            bare: false,
            local: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11))),
            actions: &mut actions,
        };
        self.machine.handle(event, &mut cx);
        actions
    }

    /// By the shortest way that the direction has.
    fn into_state(direction: Direction, state: State) -> Bench {
        let mut bench = Bench::new(direction);
        let connected = match direction {
            Direction::Outgoing => Event::TcpCrAcked,
            Direction::Incoming => Event::TcpConnectionConfirmed,
        };
        let way = match (direction, state) {
            (_, State::Idle) => vec![],
            (_, State::Connect) | (Direction::Incoming, State::Active) => vec![Event::ManualStart],
            (Direction::Outgoing, State::Active) => {
                vec![
                    Event::ManualStart,
                    connected,
                    Event::TcpConnectionFails(String::new()),
                ]
            }
            (_, State::OpenSent) => vec![Event::ManualStart, connected],
            (_, State::OpenConfirm) => {
                vec![Event::ManualStart, connected, Event::BgpOpen(their_open())]
            }
            (_, State::Established) => {
                vec![
                    Event::ManualStart,
                    connected,
                    Event::BgpOpen(their_open()),
                    Event::KeepAliveMsg,
                ]
            }
        };
        for event in way {
            bench.feed(&event);
        }
        assert_eq!(bench.machine.state, state);
        bench
    }
}

/// New state and actions, in letters.
fn summary(bench: &Bench, actions: &[Action]) -> String {
    let mut words = vec![bench.machine.state.to_string()];
    words.extend(actions.iter().map(|action| match action {
        Action::Dial => "dial".into(),
        Action::CancelDial => "cancel".into(),
        Action::Adopt(_) => "adopt".into(),
        Action::Refuse(n) => format!("refuse:{}/{}", n.code, n.subcode),
        Action::Send(_, Reply::Open(_)) => "OPEN".into(),
        Action::Send(_, Reply::Keepalive) => "KEEPALIVE".into(),
        Action::Send(_, Reply::Notification(n)) => format!("{}/{}", n.code, n.subcode),
        Action::Close(_) => "close".into(),
        Action::Up(..) => "up".into(),
        Action::Down(_, reason) => format!("down:{}", reason.label()),
        Action::Failed(_, reason) => format!("failed:{}", reason.label()),
        Action::Resend(family) => format!("resend:{family}"),
    }));
    words.join(" ")
}

fn events() -> [(&'static str, Event); 21] {
    let n = Notification::new;
    [
        ("ManualStart", Event::ManualStart),
        ("ManualStop", Event::ManualStop(n(6, 2))),
        ("ConnectRetryTimer_Expires", Event::ConnectRetryTimerExpires),
        ("HoldTimer_Expires", Event::HoldTimerExpires),
        ("KeepaliveTimer_Expires", Event::KeepaliveTimerExpires),
        ("IdleHoldTimer_Expires", Event::IdleHoldTimerExpires),
        ("SendHoldTimer_Expires", Event::SendHoldTimerExpires),
        ("PathFails", Event::PathFails),
        ("Tcp_CR_Acked", Event::TcpCrAcked),
        ("TcpConnectionConfirmed", Event::TcpConnectionConfirmed),
        (
            "TcpConnectionFails",
            Event::TcpConnectionFails("reset".into()),
        ),
        ("BGPOpen", Event::BgpOpen(their_open())),
        ("BGPHeaderErr", Event::BgpHeaderErr(n(1, 2))),
        ("BGPOpenMsgErr", Event::BgpOpenMsgErr(n(2, 2))),
        ("OpenCollisionDump", Event::OpenCollisionDump),
        ("NotifMsgVerErr", Event::NotifMsgVerErr(n(2, 1))),
        ("NotifMsg", Event::NotifMsg(n(6, 4))),
        ("KeepAliveMsg", Event::KeepAliveMsg),
        ("UpdateMsg", Event::UpdateMsg),
        ("UpdateMsgErr", Event::UpdateMsgErr(n(3, 1))),
        ("RouteRefreshMsg", Event::RouteRefreshMsg),
    ]
}

/// By event, in the order of `events`: Idle, Connect, Active, OpenSent, OpenConfirm, Established.
#[rustfmt::skip]
const OUTGOING: [[&str; 6]; 21] = [
    // ManualStart
    ["Connect dial", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"],
    // ManualStop
    ["Idle", "Idle cancel failed:stopped", "Idle failed:stopped", "Idle 6/2 close failed:stopped",
     "Idle 6/2 close failed:stopped", "Idle 6/2 close down:stopped"],
    // ConnectRetryTimer_Expires
    ["Idle", "Connect cancel failed:tcp_failed dial", "Connect dial", "Idle 5/1 close failed:notification_sent",
     "Idle 5/2 close failed:notification_sent", "Idle 5/3 close down:notification_sent"],
    // HoldTimer_Expires
    ["Idle", "Idle cancel failed:hold_timer_expired", "Idle failed:hold_timer_expired",
     "Idle 4/0 close failed:hold_timer_expired", "Idle 4/0 close failed:hold_timer_expired",
     "Idle 4/0 close down:hold_timer_expired"],
    // KeepaliveTimer_Expires
    ["Idle", "Idle cancel failed:notification_sent", "Idle failed:notification_sent",
     "Idle 5/1 close failed:notification_sent", "OpenConfirm KEEPALIVE", "Established KEEPALIVE"],
    // IdleHoldTimer_Expires
    ["Connect dial", "Idle cancel failed:notification_sent", "Idle failed:notification_sent",
     "Idle 5/1 close failed:notification_sent", "Idle 5/2 close failed:notification_sent",
     "Idle 5/3 close down:notification_sent"],
    // SendHoldTimer_Expires
    ["Idle", "Idle cancel failed:send_hold_timer_expired", "Idle failed:send_hold_timer_expired",
     "Idle 8/0 close failed:send_hold_timer_expired", "Idle 8/0 close failed:send_hold_timer_expired",
     "Idle 8/0 close down:send_hold_timer_expired"],
    // PathFails
    ["Idle", "Connect", "Active", "Idle 6/10 close failed:path_failed", "Idle 6/10 close failed:path_failed",
     "Idle 6/10 close down:path_failed"],
    // Tcp_CR_Acked
    ["Idle", "OpenSent adopt OPEN", "OpenSent adopt OPEN", "OpenSent", "OpenConfirm", "Established"],
    // TcpConnectionConfirmed
    ["Idle", "OpenSent adopt OPEN", "OpenSent adopt OPEN", "OpenSent", "OpenConfirm", "Established"],
    // TcpConnectionFails
    ["Idle", "Idle cancel failed:tcp_failed", "Idle failed:tcp_failed", "Active close failed:tcp_failed",
     "Idle close failed:tcp_failed", "Idle close down:tcp_failed"],
    // BGPOpen
    ["Idle", "Idle cancel failed:notification_sent", "Idle failed:notification_sent", "OpenConfirm KEEPALIVE",
     "Idle 5/2 close failed:notification_sent", "Idle 5/3 close down:notification_sent"],
    // BGPHeaderErr
    ["Idle", "Idle cancel failed:notification_sent", "Idle failed:notification_sent",
     "Idle 1/2 close failed:notification_sent", "Idle 1/2 close failed:notification_sent",
     "Idle 1/2 close down:notification_sent"],
    // BGPOpenMsgErr
    ["Idle", "Idle cancel failed:notification_sent", "Idle failed:notification_sent",
     "Idle 2/2 close failed:notification_sent", "Idle 2/2 close failed:notification_sent",
     "Idle 2/2 close down:notification_sent"],
    // OpenCollisionDump
    ["Idle", "Idle cancel failed:collision", "Idle failed:collision", "Idle 6/7 close failed:collision",
     "Idle 6/7 close failed:collision", "Idle 6/7 close down:collision"],
    // NotifMsgVerErr
    ["Idle", "Idle cancel failed:notification_received", "Idle failed:notification_received",
     "Idle close failed:notification_received", "Idle close failed:notification_received",
     "Idle close down:notification_received"],
    // NotifMsg
    ["Idle", "Idle cancel failed:notification_received", "Idle failed:notification_received",
     "Idle close failed:notification_received", "Idle close failed:notification_received",
     "Idle close down:notification_received"],
    // KeepAliveMsg
    ["Idle", "Idle cancel failed:notification_sent", "Idle failed:notification_sent",
     "Idle 5/1 close failed:notification_sent", "Established up", "Established"],
    // UpdateMsg
    ["Idle", "Idle cancel failed:notification_sent", "Idle failed:notification_sent",
     "Idle 5/1 close failed:notification_sent", "Idle 5/2 close failed:notification_sent", "Established"],
    // UpdateMsgErr
    ["Idle", "Idle cancel failed:notification_sent", "Idle failed:notification_sent",
     "Idle 5/1 close failed:notification_sent", "Idle 5/2 close failed:notification_sent",
     "Idle 3/1 close down:notification_sent"],
    // RouteRefreshMsg
    ["Idle", "Idle cancel failed:notification_sent", "Idle failed:notification_sent",
     "Idle 5/1 close failed:notification_sent", "Idle 5/2 close failed:notification_sent", "Established"],
];

#[test]
fn rfc4271_8_2_2_every_event_in_every_state_outgoing() {
    for ((name, event), row) in events().into_iter().zip(OUTGOING) {
        for (state, expected) in State::ALL.into_iter().zip(row) {
            let mut bench = Bench::into_state(Direction::Outgoing, state);
            let actions = bench.feed(&event);
            assert_eq!(summary(&bench, &actions), expected, "{name} in {state}");
        }
    }
}

/// A machine for incoming connections never dials; apart from that it does the same.
#[test]
fn rfc4271_8_2_2_every_event_in_every_state_incoming() {
    for ((name, event), row) in events().into_iter().zip(OUTGOING) {
        for (state, expected) in State::ALL.into_iter().zip(row) {
            if state == State::Connect {
                continue;
            }
            let expected = match expected {
                "Connect dial" if state == State::Idle => "Active",
                other => other,
            };
            if state == State::Active && matches!(event, Event::ConnectRetryTimerExpires) {
                let bench = Bench::into_state(Direction::Incoming, state);
                assert_eq!(
                    bench.machine.timers.connect_retry, None,
                    "a timer that never runs cannot expire"
                );
                continue;
            }
            let mut bench = Bench::into_state(Direction::Incoming, state);
            let actions = bench.feed(&event);
            assert_eq!(summary(&bench, &actions), expected, "{name} in {state}");
        }
    }
}

/// Which timers run in a state is part of it: one too many fires where the table calls it an error.
#[test]
fn timers_by_state() {
    let running = |bench: &Bench| {
        let t = &bench.machine.timers;
        [
            ("connect_retry", t.connect_retry),
            ("idle_hold", t.idle_hold),
            ("hold", t.hold),
            ("keepalive", t.keepalive),
            ("send_hold", t.send_hold),
        ]
        .into_iter()
        .filter_map(|(name, at)| Some((name, at?)))
        .map(|(name, at)| (name, (at - bench.now).as_millis()))
        .collect::<Vec<_>>()
    };
    let names = |bench: &Bench| {
        running(bench)
            .into_iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
    };
    let table: [(State, &[&str]); 6] = [
        (State::Idle, &[]),
        (State::Connect, &["connect_retry"]),
        (State::Active, &["connect_retry"]),
        (State::OpenSent, &["hold"]),
        (State::OpenConfirm, &["hold", "keepalive"]),
        (State::Established, &["hold", "keepalive"]),
    ];
    for (state, expected) in table {
        let bench = Bench::into_state(Direction::Outgoing, state);
        assert_eq!(names(&bench), expected, "{state}");
    }
    let bench = Bench::into_state(Direction::Outgoing, State::Established);
    let timers = running(&bench);
    assert_eq!(timers[0], ("hold", 9000));
    assert!(
        (2250..=3000).contains(&timers[1].1),
        "a third of the hold time, jittered: {timers:?}"
    );
}

#[test]
fn falling_starts_the_back_off_and_stopping_does_not() {
    for state in [
        State::Connect,
        State::OpenSent,
        State::OpenConfirm,
        State::Established,
    ] {
        let mut bench = Bench::into_state(Direction::Outgoing, state);
        bench.feed(&Event::NotifMsg(Notification::new(6, 2)));
        let wait = bench.machine.timers.idle_hold.map(|at| at - bench.now);
        assert!(
            wait.is_some_and(|w| w >= Duration::from_millis(750) && w <= Duration::from_secs(1)),
            "{state}: {wait:?}"
        );
        let mut bench = Bench::into_state(Direction::Outgoing, state);
        bench.feed(&Event::ManualStop(Notification::new(6, 2)));
        assert!(bench.machine.is_parked(), "{state}");
    }
}

#[test]
fn rfc4271_4_2_a_hold_time_of_zero_stops_both_timers() {
    let mut bench = Bench::into_state(Direction::Outgoing, State::OpenSent);
    bench.feed(&Event::BgpOpen(Open {
        hold_time_secs: 0,
        ..their_open()
    }));
    bench.feed(&Event::KeepAliveMsg);
    assert_eq!(
        (bench.machine.timers.hold, bench.machine.timers.keepalive),
        (None, None)
    );
    bench.machine.sending(true, true, bench.now);
    assert_eq!(bench.machine.timers.next(), None);
}

#[test]
fn rfc4271_8_2_2_keepalive_and_update_restart_the_hold_timer() {
    let restarts = [
        (Event::KeepAliveMsg, true),
        (Event::UpdateMsg, true),
        (Event::RouteRefreshMsg, false),
    ];
    for (event, restarts) in restarts {
        let mut bench = Bench::into_state(Direction::Incoming, State::Established);
        let before = bench.machine.timers.hold;
        bench.now += Duration::from_secs(2);
        bench.feed(&event);
        let hold = bench.machine.timers.hold;
        let expected = if restarts {
            Some(bench.now + Duration::from_secs(9))
        } else {
            before
        };
        assert_eq!(hold, expected, "{event:?}");
    }
}

#[test]
fn rfc9687_3_the_send_hold_timer_runs_while_nothing_moves() {
    let mut bench = Bench::into_state(Direction::Outgoing, State::Established);
    let start = bench.now;
    let limit = Duration::from_secs(20);
    bench.machine.sending(true, false, start);
    assert_eq!(
        bench.machine.timers.send_hold,
        Some(start + limit),
        "some wait"
    );
    bench
        .machine
        .sending(true, false, start + Duration::from_secs(5));
    assert_eq!(
        bench.machine.timers.send_hold,
        Some(start + limit),
        "still the same"
    );
    bench
        .machine
        .sending(true, true, start + Duration::from_secs(6));
    assert_eq!(
        bench.machine.timers.send_hold,
        Some(start + Duration::from_secs(6) + limit),
        "some were taken"
    );
    bench
        .machine
        .sending(false, true, start + Duration::from_secs(7));
    assert_eq!(bench.machine.timers.send_hold, None, "none wait");
}
