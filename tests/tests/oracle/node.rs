//! The LB node's program.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use anylb::dataplane::{Dataplane, Next, Options};
use anylb::model::XdpMode;
use anylb::plan::image::Trees;
use anylb::plan::{Image, Observed, plan};
use lb_common::abi::{self, PROBE_MARK};
use lb_common::lb::Exit;
use lb_oracle::dice::Dice;
use lb_oracle::make;
use lb_oracle::node::{self, Arrival, Counted, Node, OTHER_CIRCUMSTANCES, Scene, verdict};
use lb_oracle::promise;
use lb_tests::bench::bpf::test_run_once;
use lb_tests::harness::bpffs::Bpffs;
use lb_tests::harness::privileged;

use crate::run::{Comparison, Expected, Input, Outcome, Sides, packets};

/// What the kernel's test run keeps of the headroom for itself.
const KEPT: usize = 40;
const HEADROOM: usize = 256;

/// Packets where one circumstance is tried.
const FEW: u64 = 20_000;

/// The program with the tables of a scene, and the decision with what was read back from them.
pub struct Loaded {
    pub plane: Dataplane,
    node: Node,
    counters: (u32, u32),
    seen: RefCell<Counted>,
    _bpffs: Bpffs,
}

impl Loaded {
    /// Loads a program; without a scene nothing is applied.
    pub fn new(name: &str, scene: Option<&Scene>, backend: bool) -> Result<Self> {
        let bpffs = Bpffs::mount(&std::env::temp_dir().join(format!("anylb-oracle-{name}")))?;
        let options = Options {
            pin_dir: pins(&bpffs),
            interfaces: Vec::new(),
            mode: XdpMode::Auto,
            next: if backend { Next::Backend } else { Next::Kernel },
            flow_table_entries: 1024,
        };
        let mut plane = Dataplane::open(&options)?;
        let node = match scene {
            None => Node::without_root(),
            Some(scene) => {
                plane.apply(&plan(&image(scene), &Observed::default())?)?;
                let observed = plane.observed()?.image.context("nothing was applied")?;
                Node::new(&Scene {
                    shared: observed.shared,
                    vips: observed.vips,
                    services: observed.services,
                    backends: observed.backends,
                    tables: observed.tables,
                    extras: observed.extras,
                    filters: scene.filters.clone(),
                })
            }
        };
        Ok(Self {
            plane,
            node,
            counters: scene.map_or((0, 0), Scene::counters),
            seen: RefCell::default(),
            _bpffs: bpffs,
        })
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    pub fn pins(&self) -> PathBuf {
        pins(&self._bpffs)
    }

    /// Packets by exit.
    pub fn exits(&self) -> Result<Vec<u64>> {
        let exits = self.plane.counters()?.exits;
        Ok(exits.iter().map(|(_, count)| count.packets).collect())
    }

    /// Counters of services and backends, as the kernel has them.
    fn by_service(&self) -> Result<Counted> {
        let mut all = Counted::default();
        let counted = self.plane.counters()?;
        for counter in 0..self.counters.0 {
            all.services.insert(counter, counted.new_flows(counter));
        }
        let backends = counted.backends(0, self.counters.1);
        let backends = backends.iter().map(|count| (count.packets, count.bytes));
        all.backends = (0..).zip(backends).collect();
        all.services.retain(|_, new_flows| *new_flows > 0);
        all.backends.retain(|_, count| count.0 > 0);
        Ok(all)
    }
}

fn pins(bpffs: &Bpffs) -> PathBuf {
    bpffs.path().join("anylb")
}

fn image(scene: &Scene) -> Image {
    Image {
        shared: scene.shared,
        vips: scene.vips.clone(),
        services: scene.services.clone(),
        backends: scene.backends.clone(),
        tables: scene.tables.clone(),
        extras: scene.extras.clone(),
        trees: Trees(scene.filters.clone()),
    }
    .sorted()
}

/// How the packet comes, by what lies before it.
pub fn arrival(input: &Input) -> Arrival {
    let metadata = input.metadata.len();
    Arrival {
        probe: input.metadata.ends_with(&PROBE_MARK.to_ne_bytes()) && metadata == 8,
        headroom: HEADROOM - KEPT.min(HEADROOM - metadata) - metadata,
        ..Arrival::WIRE
    }
}

impl Sides for Loaded {
    fn name(&self) -> &'static str {
        "LB node"
    }

    fn program(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.plane.program_fd()?)
    }

    fn host(&self, input: &Input) -> Option<Expected> {
        let arrival = arrival(input);
        let left = self.node.run(&input.made.bytes, arrival)?;
        let kept = promise::of_node(&input.made.bytes, left.exit, left.bytes());
        let counted = if arrival.probe {
            Exit::Probe
        } else {
            left.exit
        };
        Some(Expected {
            outcome: Outcome {
                verdict: verdict(left.exit.action()),
                bytes: left.bytes().to_vec(),
            },
            exits: vec![counted as usize],
            broken: kept.err().map(str::to_owned),
        })
    }

    fn counted(&self) -> Result<Vec<u64>> {
        self.exits()
    }

    fn exits(&self) -> Vec<&'static str> {
        Exit::ALL.iter().map(|exit| exit.name()).collect()
    }

    /// Services and backends are counted alike.
    fn settle(&self) -> Result<()> {
        let host = self.node.take_counted();
        let mut seen = self.seen.borrow_mut();
        for (counter, new_flows) in host.services {
            *seen.services.entry(counter).or_default() += new_flows;
        }
        for (counter, (packets, bytes)) in host.backends {
            let sum = seen.backends.entry(counter).or_default();
            *sum = (sum.0 + packets, sum.1 + bytes);
        }
        let kernel = self.by_service()?;
        ensure!(
            kernel == *seen,
            "counted {kernel:?}, and on the host {seen:?}"
        );
        Ok(())
    }
}

/// Metadata: mostly none, some of no meaning, the mark of a probe, and the `most` that there can be.
fn make(dice: &mut Dice<'_>, cast: &make::Cast, most: usize) -> Input {
    let made = make::for_node(dice, cast);
    let metadata = match dice.below(40) {
        0 => PROBE_MARK.to_ne_bytes().into(),
        1 => dice.bytes(8),
        2 => dice.bytes(4),
        3 => dice.bytes(32),
        4 => vec![0xee; most],
        _ => Vec::new(),
    };
    Input { made, metadata }
}

impl Loaded {
    /// The most metadata that the kernel's test run takes: all of the headroom, or 32 bytes where the kernel is older.
    fn most_metadata(&self) -> Result<usize> {
        const ALL: usize = HEADROOM - KEPT;
        let (input, mut output) = ([0; ALL + 64], [0; 1024]);
        let taken = test_run_once(self.program()?, &input, ALL, &mut output);
        Ok(if taken.is_ok() { ALL } else { 32 })
    }

    /// So many packets, and these exits.
    fn compare(&self, count: u64, cast: &make::Cast, should: &[Exit]) -> Result<()> {
        let most = self.most_metadata()?;
        let mut comparison = Comparison::new(self);
        comparison.run(count, &|dice| make(dice, cast, most))?;
        let apart = OTHER_CIRCUMSTANCES
            .iter()
            .filter(|(exit, _)| !should.contains(exit))
            .map(|(exit, why)| (exit.name(), *why));
        let reached = |exit: u32| {
            let mut all = should
                .iter()
                .filter(|one| most > 32 || **one != Exit::NoHeadroom);
            all.any(|one| *one as u32 == exit)
        };
        comparison.finish(reached, &apart.collect::<Vec<_>>())
    }
}

#[test]
fn lb_node_and_oracle_agree() {
    if !privileged::available("lb_node_and_oracle_agree") {
        return;
    }
    let scene = Scene::new();
    let cast = scene.cast();
    let loaded = Loaded::new("node", Some(&scene), false).expect("a program with its tables");
    let mut should = node::reachable();
    should.extend([Exit::Probe, Exit::NoHeadroom]);
    loaded
        .compare(packets(), &cast, &should)
        .unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn without_a_root_everything_passes() {
    if !privileged::available("without_a_root_everything_passes") {
        return;
    }
    let cast = Scene::new().cast();
    let loaded = Loaded::new("rootless", None, false).expect("a program");
    loaded
        .compare(FEW, &cast, &[Exit::NoRoot])
        .unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn without_budget_no_ping_is_answered() {
    if !privileged::available("without_budget_no_ping_is_answered") {
        return;
    }
    let mut scene = Scene::new();
    scene.shared = abi::Shared {
        answers_per_jiffy: 0,
        answers_max: 0,
        ..scene.shared
    };
    let cast = scene.cast();
    let mut loaded = Loaded::new("budget", Some(&scene), false).expect("a program");
    loaded.node.answers = false;
    loaded
        .compare(FEW, &cast, &[Exit::EchoLimited])
        .unwrap_or_else(|error| panic!("{error:#}"));
}
