//! What the agent's own work costs, apart from packets: rows of large pools. Prints JSON; means something in a release build.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use anylb::model::{AdminState, HashKey};
use anylb::rows::{Basis, Builder, History, Input, Member, View};
use serde::Serialize;

const KEY: HashKey = HashKey(*b"a benchmark key.");
const HOPS: u8 = 4;
/// Tries of a build; the median counts.
const ROUNDS: u32 = 7;
/// Tries of a forecast, which takes longer.
const FORECASTS: u32 = 3;

#[derive(Serialize)]
struct Report {
    /// What the rows of the largest pool cost when one of its backends changes: the worst kind of change.
    one_backend_rows_ms: f64,
    pools: Vec<Figures>,
}

/// Milliseconds.
#[derive(Serialize)]
struct Figures {
    /// Backends of the pool.
    backends: u32,
    /// A table from nothing.
    build: f64,
    /// One backend leaves; what was known of the pool is at hand.
    remove_one: f64,
    /// It comes back, which the builder has seen.
    back: f64,
    /// One that nobody has seen comes.
    add_one: f64,
    /// One gets another weight.
    weigh_one: f64,
    /// The checks find one down.
    down: f64,
    /// What a change of one would break, with nothing remembered.
    forecast: f64,
    /// The same against 63 inputs before it.
    forecast_64: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pools: Vec<Figures> = [10, 100, 1000].map(figures).into_iter().collect();
    let report = Report {
        one_backend_rows_ms: pools.last().map_or(0.0, Figures::one_backend),
        pools,
    };
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

impl Figures {
    fn one_backend(&self) -> f64 {
        let changes = [self.remove_one, self.back, self.add_one, self.weigh_one];
        changes.into_iter().fold(0.0, f64::max)
    }
}

fn figures(backends: u32) -> Figures {
    let whole = input(0..backends, None);
    let rounds: Vec<[f64; 6]> = (0..ROUNDS)
        .map(|round| one_round(&whole, backends, round))
        .collect();
    let built = |n: usize| median(rounds.iter().map(|round| round[n]));
    let forecast = |inputs| median((0..FORECASTS).map(|_| forecast(&whole, inputs)));
    Figures {
        backends,
        build: built(0),
        remove_one: built(1),
        back: built(2),
        add_one: built(3),
        weigh_one: built(4),
        down: built(5),
        forecast: forecast(1),
        forecast_64: forecast(64),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn one_round(whole: &Input, backends: u32, round: u32) -> [f64; 6] {
    let gone = round * backends / ROUNDS;
    let less = input((0..backends).filter(|&n| n != gone), None);
    let more = input(0..backends + 1, None);
    let heavier = input(0..backends + 1, Some(gone));
    let mut builder = Builder::new(&KEY);
    let mut build = |input: &Input, previous: &[&Input], view: &View| {
        let start = Instant::now();
        let table = builder.build(input, previous, view, HOPS);
        let elapsed = millis(start);
        drop(table);
        elapsed
    };
    let up = View::default();
    let down = View::new([address(gone)], []);
    [
        build(whole, &[], &up),
        build(&less, &[whole], &up),
        build(whole, &[&less], &up),
        build(&more, &[whole, &less], &up),
        build(&heavier, &[&more, whole, &less], &up),
        build(&heavier, &[&more, whole, &less], &down),
    ]
}

/// A pool to which so many backends came one after the other, and one more.
fn forecast(whole: &Input, inputs: u32) -> f64 {
    let backends = whole.members().len() as u32;
    let mut history = History::default();
    for n in 0..inputs {
        history.remember(&input(0..backends + n, None), u64::from(n));
    }
    let (Some(current), previous) = (history.current().cloned(), history.previous()) else {
        return 0.0;
    };
    let mut builder = Builder::new(&KEY);
    builder.build(&current, &previous, &View::default(), HOPS);
    let next = input(0..backends + inputs, None);
    let mut after = vec![&current];
    after.extend(&previous);
    let start = Instant::now();
    let change = builder.change(
        Basis {
            input: &current,
            previous: &previous,
            hops: HOPS,
        },
        Basis {
            input: &next,
            previous: &after,
            hops: HOPS,
        },
    );
    let elapsed = millis(start);
    assert_eq!(change.flows.len(), inputs as usize);
    elapsed
}

fn input(numbers: impl Iterator<Item = u32>, heavier: Option<u32>) -> Input {
    let member = |n: u32| Member {
        address: address(n),
        weight: if heavier == Some(n) { 120 } else { 100 },
        admin: AdminState::Ready,
    };
    Input::new(numbers.map(member)).expect("a few thousand at most")
}

fn address(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0001 + n))
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}
