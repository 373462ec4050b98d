//! One side against the other.

use std::fmt::Display;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use lb_oracle::dice::Dice;
use lb_oracle::make::{Made, lie};
use lb_oracle::tally::Tally;
use lb_tests::bench::bpf::test_run_once;

/// Packets between two looks at the counters.
const BATCH: usize = 8192;
/// What the kernel runs programs on.
const SHORTEST: usize = lb_oracle::make::FRAME_MIN;
const LONGEST: usize = 3400;
/// Packets that are cut at every byte and changed in every byte.
const BASES: u64 = 100;

/// How many packets each program gets.
pub fn packets() -> u64 {
    number("ANYLB_ORACLE_PACKETS", 1_000_000)
}

fn number(name: &str, otherwise: u64) -> u64 {
    let Ok(text) = std::env::var(name) else {
        return otherwise;
    };
    text.parse()
        .unwrap_or_else(|_| panic!("{name}={text} is no number"))
}

/// What a program made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its return value.
    pub verdict: u32,
    /// The packet as it left.
    pub bytes: Vec<u8>,
}

/// What the host says of a packet.
pub struct Expected {
    pub outcome: Outcome,
    /// Exits that are counted.
    pub exits: Vec<usize>,
    /// What it promises and does not keep.
    pub broken: Option<String>,
}

/// A packet and what lies before it.
#[derive(Clone)]
pub struct Input {
    pub made: Made,
    pub metadata: Vec<u8>,
}

impl From<Made> for Input {
    fn from(made: Made) -> Self {
        Self {
            made,
            metadata: Vec::new(),
        }
    }
}

/// A loaded program and its decision on the host, with the same tables.
pub trait Sides {
    /// Its name in reports.
    fn name(&self) -> &'static str;
    /// The loaded program.
    fn program(&self) -> Result<BorrowedFd<'_>>;
    /// What it must do.
    fn host(&self, input: &Input) -> Option<Expected>;
    /// Packets by exit that the kernel has counted.
    fn counted(&self) -> Result<Vec<u64>>;
    /// Names of these exits.
    fn exits(&self) -> Vec<&'static str>;
    /// Whether whatever else was counted since the last call is the same on both sides.
    fn settle(&self) -> Result<()> {
        Ok(())
    }
    /// Whether the kernel's test run takes it: a page holds packet, room before and behind it.
    fn takes(&self, input: &Input) -> bool {
        (SHORTEST..=LONGEST).contains(&input.made.bytes.len())
    }
}

/// Makes the packet `number` of a seed.
pub type Maker<'a> = &'a dyn Fn(&mut Dice<'_>) -> Input;

/// Packets so far, and where they left.
pub struct Comparison<'a, S> {
    sides: &'a S,
    seed: u64,
    packets: u64,
    pub tally: Tally,
    buffer: Vec<u8>,
    began: Instant,
}

impl<'a, S: Sides> Comparison<'a, S> {
    pub fn new(sides: &'a S) -> Self {
        Self {
            sides,
            seed: number("ANYLB_SEED", 1),
            packets: 0,
            tally: Tally::new(sides.exits()),
            buffer: vec![0; 16 << 10],
            began: Instant::now(),
        }
    }

    /// `count` packets in all: a few cut and changed at every byte, the others each of its own number.
    pub fn run(&mut self, count: u64, make: Maker<'_>) -> Result<()> {
        let bases = BASES.min(count / 10_000);
        for number in 0..bases {
            let base = make(&mut Dice::of(!self.seed, number));
            let frame = base.made.bytes.clone();
            let all = lie::every_cut(&frame).chain(lie::every_change(&frame));
            let batch = all.map(|bytes| Input {
                made: Made {
                    bytes,
                    ..base.made.clone()
                },
                ..base.clone()
            });
            self.batch(&batch.collect::<Vec<_>>(), &format!("base {number}"))?;
        }
        let mut number = 0;
        while self.packets < count {
            let batch: Vec<Input> = (number..number + BATCH as u64)
                .map(|number| make(&mut Dice::of(self.seed, number)))
                .collect();
            self.batch(&batch, &format!("numbers from {number}"))?;
            number += BATCH as u64;
        }
        Ok(())
    }

    /// These packets: first each by what is left of it, then all by what was counted.
    pub fn batch(&mut self, batch: &[Input], what: &str) -> Result<()> {
        let before = self.sides.counted()?;
        let mut host = vec![0; before.len()];
        for input in batch.iter().filter(|input| self.sides.takes(input)) {
            let Some(expected) = self.sides.host(input) else {
                continue;
            };
            self.same(input, &expected)
                .with_context(|| format!("{what}, seed {}: {}", self.seed, told(input)))?;
            for exit in expected.exits {
                host[exit] += 1;
            }
            self.packets += 1;
        }
        let kernel = difference(&self.sides.counted()?, &before);
        self.tally.add(&host, &kernel);
        if host != kernel {
            self.find(batch)
                .with_context(|| format!("{what}, seed {}", self.seed))?;
            bail!("{what}: counted {kernel:?}, and on the host {host:?}");
        }
        self.sides.settle()
    }

    fn same(&mut self, input: &Input, expected: &Expected) -> Result<()> {
        let kernel = self.kernel(input)?;
        if let Some(broken) = &expected.broken {
            bail!("not kept: {broken}; exits {:?}", expected.exits);
        }
        ensure!(
            kernel == expected.outcome,
            "kernel {kernel:02x?}\nhost   {:02x?}, exits {:?}",
            expected.outcome,
            expected.exits
        );
        Ok(())
    }

    fn kernel(&mut self, input: &Input) -> Result<Outcome> {
        let (whole, before) = (
            [&input.metadata[..], &input.made.bytes].concat(),
            input.metadata.len(),
        );
        let program = self.sides.program()?;
        let (verdict, length) =
            test_run_once(program, &whole, before, &mut self.buffer).context("test run")?;
        Ok(Outcome {
            verdict,
            bytes: self.buffer[before..length].to_vec(),
        })
    }

    /// The first packet of a batch that is counted otherwise in the kernel than on the host.
    fn find(&mut self, batch: &[Input]) -> Result<()> {
        for input in batch.iter().filter(|input| self.sides.takes(input)) {
            let Some(expected) = self.sides.host(input) else {
                continue;
            };
            let before = self.sides.counted()?;
            self.kernel(input)?;
            let counted = difference(&self.sides.counted()?, &before);
            let mut host = vec![0; counted.len()];
            for exit in &expected.exits {
                host[*exit] += 1;
            }
            let names = self.sides.exits();
            let named = |counts: &[u64]| {
                let all = names.iter().zip(counts).filter(|(_, count)| **count > 0);
                all.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
            };
            ensure!(
                counted == host,
                "left by {}, and on the host by {}: {}",
                named(&counted),
                named(&host),
                told(input)
            );
        }
        Ok(())
    }

    /// The report; an error where an exit that `should` be reached was not.
    pub fn finish(
        self,
        should: impl Fn(u32) -> bool,
        notes: &[(impl Display, &str)],
    ) -> Result<()> {
        let seconds = self.began.elapsed().as_secs_f64();
        println!(
            "{}: {} packets of seed {} in {seconds:.1} s",
            self.sides.name(),
            self.packets,
            self.seed
        );
        print!("{}", self.tally);
        for (exit, why) in notes {
            println!("apart: {exit}: {why}");
        }
        let missing = self.tally.missing(should);
        ensure!(
            missing.is_empty(),
            "no packet has reached {}",
            missing.join(", ")
        );
        Ok(())
    }
}

fn difference(after: &[u64], before: &[u64]) -> Vec<u64> {
    after.iter().zip(before).map(|(a, b)| a - b).collect()
}

fn told(input: &Input) -> String {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let (metadata, packet) = (hex(&input.metadata), hex(&input.made.bytes));
    format!("{} (metadata {metadata:?})\n{packet}", input.made.story())
}
