//! The fuzzer's corpus without the fuzzer: what it once found stays tried, and so do some changes of each.

use std::path::Path;

use lb_oracle::dice::Dice;

use super::*;

/// Changed inputs of one target: a few seconds.
const MUTANTS: u64 = 50_000;

/// Every file of the target's corpus, of which there are some.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let files = std::fs::read_dir(&directory).expect("a corpus");
    let mut paths: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "{} files", paths.len());
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("readable"))
        .collect()
}

/// The corpus, then changed inputs.
fn replay(target: &str, run: fn(&[u8])) {
    let inputs = corpus(target);
    for input in &inputs {
        run(input);
    }
    for number in 0..MUTANTS {
        let mut dice = Dice::of(0, number);
        let mut input = inputs[dice.below(inputs.len())].clone();
        mutate(&mut input, &mut dice);
        let survived = std::panic::catch_unwind(|| run(&input));
        assert!(survived.is_ok(), "mutant {number}: {input:02x?}");
    }
}

/// Some octets other ones, less or more.
pub fn mutate(input: &mut Vec<u8>, dice: &mut Dice<'_>) {
    for _ in 0..=dice.below(4) {
        let at = dice.below(input.len() + 1);
        match dice.below(5) {
            0 | 1 if at < input.len() => input[at] = dice.byte(),
            2 if at < input.len() => input[at] ^= 1 << dice.below(8),
            3 => input.truncate(at),
            _ => input.insert(at, dice.byte()),
        }
    }
}

#[test]
fn bgp_frames() {
    replay("bgp_frame", bgp_frame);
}

#[test]
fn bgp_messages() {
    replay("bgp_codec", bgp_codec);
}

#[test]
fn bgp_machines() {
    replay("bgp_machine", bgp_machine);
}

#[test]
fn bfd_packets() {
    replay("bfd_packet", bfd_packet);
}

#[test]
fn bfd_machines() {
    replay("bfd_machine", bfd_machine);
}
