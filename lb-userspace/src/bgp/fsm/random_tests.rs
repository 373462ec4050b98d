//! Random sequences of inputs that a driver can report, against what must hold after each of them.

use std::time::Instant;

use lb_oracle::dice::Dice;

use super::driver::Driver;
use super::*;

const SEEDS: u64 = 10_000;
const STEPS: u32 = 50;

#[test]
fn any_sequence_of_inputs_keeps_what_must_hold() {
    let mut sessions = 0;
    for seed in 0..SEEDS {
        let mut dice = Dice::of(seed, 0);
        let mut driver = Driver::new(&mut dice, Instant::now());
        let mut run = || {
            driver.step(Input::Start);
            for _ in 0..STEPS {
                let input = driver.draw(&mut dice);
                driver.step(input);
            }
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut run));
        assert!(result.is_ok(), "seed {seed}");
        sessions += u64::from(driver.sessions);
    }
    assert!(
        sessions > SEEDS * 3 / 4,
        "most must come to a session: {sessions}"
    );
}
