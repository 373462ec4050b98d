//! Every event in every state, on a session that has really come into that state.

use std::time::{Duration, Instant};

use super::testing::{MS, OURS, from_peer};
use super::*;
use crate::bfd::packet::ControlPacket;

struct Bench {
    session: Session,
    now: Instant,
}

impl Bench {
    fn into_state(state: State) -> Bench {
        let now = Instant::now();
        let settings = Settings::symmetric(100 * MS, 3);
        let session = Session::new(settings, OURS, 1, now);
        let mut bench = Bench { session, now };
        bench.feed(Input::Tick);
        let way: &[Input] = match state {
            State::AdminDown => &[Input::Disable],
            State::Down => &[],
            State::Init => &[Input::Received(from_peer(State::Down))],
            State::Up => &[Input::Received(from_peer(State::Init))],
        };
        for input in way {
            bench.feed(*input);
        }
        assert_eq!(bench.session.state(), state);
        bench
    }

    fn feed(&mut self, input: Input) -> Vec<Action> {
        self.session.handle(input, self.now)
    }

    /// State, diagnostic and actions, in letters.
    fn summary(&self, actions: &[Action]) -> String {
        let mut words = vec![
            self.session.state().to_string(),
            self.session.diagnostic().code().to_string(),
        ];
        words.extend(actions.iter().map(|action| match action {
            Action::Send(packet) => {
                assert_eq!(packet.state, self.session.state());
                let poll = if packet.poll { "+P" } else { "" };
                let answer = if packet.is_final { "+F" } else { "" };
                format!("send{poll}{answer}")
            }
            Action::Changed(change) => {
                assert_eq!(change.to, self.session.state());
                format!("from:{}", change.from)
            }
        }));
        words.join(" ")
    }
}

fn received(state: State) -> Input {
    Input::Received(from_peer(state))
}

fn polled(state: State) -> Input {
    Input::Received(ControlPacket {
        poll: true,
        ..from_peer(state)
    })
}

#[rustfmt::skip]
fn table() -> Vec<(&'static str, Input, [&'static str; 4])> {
    vec![
        //                     AdminDown, Down, Init, Up
        ("Enable", Input::Enable, ["Down 0 from:AdminDown send", "Down 0", "Init 0", "Up 0"]),
        ("Disable", Input::Disable,
         ["AdminDown 7", "AdminDown 7 from:Down send", "AdminDown 7 from:Init send", "AdminDown 7 from:Up send"]),
        ("received AdminDown", received(State::AdminDown),
         ["AdminDown 7", "Down 0", "Down 3 from:Init send", "Down 3 from:Up send"]),
        ("received Down", received(State::Down),
         ["AdminDown 7", "Init 0 from:Down send", "Init 0", "Down 3 from:Up send"]),
        ("received Init", received(State::Init),
         ["AdminDown 7", "Up 0 from:Down send+P", "Up 0 from:Init send+P", "Up 0"]),
        ("received Up", received(State::Up),
         ["AdminDown 7", "Down 0", "Up 0 from:Init send+P", "Up 0"]),
        ("polled by AdminDown", polled(State::AdminDown),
         ["AdminDown 7", "Down 0 send+F", "Down 3 from:Init send+F", "Down 3 from:Up send+F"]),
        ("polled by Down", polled(State::Down),
         ["AdminDown 7", "Init 0 from:Down send+F", "Init 0 send+F", "Down 3 from:Up send+F"]),
        ("polled by Init", polled(State::Init),
         ["AdminDown 7", "Up 0 from:Down send+F", "Up 0 from:Init send+F", "Up 0 send+F"]),
        ("polled by Up", polled(State::Up),
         ["AdminDown 7", "Down 0 send+F", "Up 0 from:Init send+F", "Up 0 send+F"]),
        ("ForwardingFails", Input::Forwarding(false),
         ["AdminDown 7", "Down 4 send", "Down 4 from:Init send", "Down 4 from:Up send"]),
        ("ForwardingReturns", Input::Forwarding(true), ["AdminDown 7", "Down 0", "Init 0", "Up 0"]),
        ("the same settings", Input::Configure(Settings::symmetric(100 * MS, 3)),
         ["AdminDown 7", "Down 0", "Init 0", "Up 0"]),
        ("slower settings", Input::Configure(Settings::symmetric(900 * MS, 3)),
         ["AdminDown 7", "Down 0", "Init 0", "Up 0"]),
        ("an early tick", Input::Tick, ["AdminDown 7", "Down 0", "Init 0", "Up 0"]),
    ]
}

#[test]
fn every_event_in_every_state() {
    for (name, input, row) in table() {
        for (state, expected) in State::ALL.into_iter().zip(row) {
            let mut bench = Bench::into_state(state);
            let actions = bench.feed(input);
            assert_eq!(bench.summary(&actions), expected, "{name} in {state}");
        }
    }
}

/// The same with packets that are not forwarded: Down is not left, and polls wait for their answer.
#[test]
fn held_down_while_nothing_is_forwarded() {
    for (name, input, row) in table() {
        let mut bench = Bench::into_state(State::Down);
        bench.feed(Input::Forwarding(false));
        let actions = bench.feed(input);
        let expected = match input {
            Input::Disable => row[1],
            _ => "Down 4",
        };
        assert_eq!(bench.summary(&actions), expected, "{name}");
    }
    let mut bench = Bench::into_state(State::Up);
    bench.feed(Input::Forwarding(false));
    bench.feed(Input::Forwarding(true));
    let actions = bench.feed(received(State::Down));
    assert_eq!(bench.summary(&actions), "Init 0 from:Down send");
}

#[test]
fn silence_in_every_state() {
    let rows = [
        (State::AdminDown, "AdminDown 7"),
        (State::Down, "Down 0"),
        (State::Init, "Down 1 from:Init send"),
        (State::Up, "Down 1 from:Up send"),
    ];
    for (state, expected) in rows {
        let mut bench = Bench::into_state(state);
        // A packet that keeps the state, so that there is a silence after it.
        bench.feed(received(match state {
            State::AdminDown | State::Down => State::AdminDown,
            State::Init => State::Down,
            State::Up => State::Up,
        }));
        let detection = 3 * 100 * MS;
        bench.now += detection - Duration::from_nanos(1);
        bench.feed(Input::Tick);
        assert_eq!(bench.session.state(), state, "a moment before");
        bench.now += Duration::from_nanos(1);
        let actions = bench.feed(Input::Tick);
        assert_eq!(bench.summary(&actions), expected, "{state}");
        let heard = bench.session.remote().discriminator;
        assert_eq!(heard.is_some(), state == State::AdminDown, "{state}");
    }
}
