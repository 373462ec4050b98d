//! The backend's programs, on XDP and on TC ingress.

use std::os::fd::BorrowedFd;

use anyhow::{Context as _, Result};
use anylb::backend::datapath::{Datapath, Entry};
use anylb::backend::image::Image;
use anylb::backend::kernel_types::Offsets;
use anylb::model::XdpMode;
use lb_common::backend::Exit;
use lb_common::exit::Action;
use lb_oracle::host::{self, Host, OTHER_CIRCUMSTANCES, OUT_OF_REACH, Scene};
use lb_oracle::make::{self, Cast, Tunnels};
use lb_oracle::promise;
use lb_tests::harness::privileged;

use crate::run::{Comparison, Expected, Input, Outcome, Sides, packets};
use crate::sockets::{Stage, namespace};

/// Packets where one circumstance is tried.
const FEW: u64 = 50_000;
const XDP: Entry = Entry::Interface(XdpMode::Auto);

/// A program with the tables of a scene, and the decision with the same.
pub struct Loaded {
    pub datapath: Datapath,
    pub host: Host,
    entry: Entry,
    cast: Cast,
    tunnels: Tunnels,
}

impl Loaded {
    /// Loads the program for `entry`; the host knows of the sockets of `stage`.
    pub fn new(scene: Scene, entry: Entry, stage: &Stage) -> Result<Self> {
        let btf = std::fs::read("/sys/kernel/btf/vmlinux").context("this kernel has no BTF")?;
        let mut datapath = Datapath::load(&image(&scene), Offsets::find(&btf), entry)?;
        for (hop, macs) in &scene.next_hops {
            datapath.set_next_hop(*hop, Some(*macs))?;
        }
        let mut cast = scene.cast();
        stage.enter(&mut cast);
        let tunnels = scene.tunnels();
        let mut host = Host::new(scene);
        host.facts.clone_from(&stage.facts);
        Ok(Self {
            datapath,
            host,
            entry,
            cast,
            tunnels,
        })
    }

    /// Packets by exit.
    pub fn exits(&self) -> Result<Vec<u64>> {
        let exits = self.datapath.exits()?;
        Ok(exits.iter().map(|(_, count)| count.packets).collect())
    }

    /// So many packets, and these exits.
    fn compare(&self, count: u64, should: &[Exit]) -> Result<()> {
        let mut comparison = Comparison::new(self);
        comparison.run(count, &|dice| {
            make::for_backend(dice, &self.cast, &self.tunnels).into()
        })?;
        let apart = OTHER_CIRCUMSTANCES.iter().chain(OUT_OF_REACH);
        let apart = apart.filter(|(exit, _)| !should.contains(exit));
        let apart: Vec<_> = apart.map(|(exit, why)| (exit.name(), *why)).collect();
        comparison.finish(|exit| should.iter().any(|one| *one as u32 == exit), &apart)
    }
}

fn image(scene: &Scene) -> Image {
    let vips = (0..).zip(scene.vips.iter().copied());
    let services = (0..).zip(scene.services.iter().copied());
    Image {
        config: scene.config,
        vips: vips.filter(|(_, vip)| *vip != Default::default()).collect(),
        services: services
            .filter(|(_, service)| *service != Default::default())
            .collect(),
    }
}

/// What a program returns.
pub fn verdict(entry: Entry, action: Action) -> u32 {
    const NEXT_PROGRAM: u32 = u32::MAX;
    let [pass, drop, transmit] = match entry {
        Entry::Tc => [NEXT_PROGRAM, 2, 7],
        Entry::Interface(_) | Entry::LbNode => [2, 1, 3],
    };
    match action {
        Action::Pass => pass,
        Action::Drop => drop,
        Action::Transmit => transmit,
        Action::Redirect | Action::Local => unreachable!("no exit of a backend"),
    }
}

impl Sides for Loaded {
    fn name(&self) -> &'static str {
        match self.entry {
            Entry::Tc => "backend on TC ingress",
            Entry::Interface(_) | Entry::LbNode => "backend on XDP",
        }
    }

    fn program(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.datapath.program_fd()?)
    }

    fn host(&self, input: &Input) -> Option<Expected> {
        let packet = &input.made.bytes;
        let left = match self.entry {
            Entry::Tc => self.host.run_tc(packet, 0xa5)?,
            Entry::Interface(_) | Entry::LbNode => self.host.run(packet, 0xa5)?,
        };
        let kept = promise::of_host(packet, left.exit, left.bytes());
        Some(Expected {
            outcome: Outcome {
                verdict: verdict(self.entry, left.exit.action()),
                bytes: left.bytes().to_vec(),
            },
            exits: vec![left.exit as usize],
            broken: kept.err().map(str::to_owned),
        })
    }

    fn counted(&self) -> Result<Vec<u64>> {
        self.exits()
    }

    fn exits(&self) -> Vec<&'static str> {
        Exit::ALL.iter().map(|exit| exit.name()).collect()
    }

    /// For TC the kernel wants more than an Ethernet header, and all of an IP header that the EtherType promises.
    fn takes(&self, input: &Input) -> bool {
        let length = input.made.bytes.len();
        let least = match (self.entry, input.made.bytes.get(12..14)) {
            (Entry::Tc, Some([8, 0])) => 34,
            (Entry::Tc, Some([0x86, 0xdd])) => 54,
            (Entry::Tc, _) => 15,
            _ => 14,
        };
        (least..=3400).contains(&length)
    }
}

/// Runs `work` inside a namespace of its own.
fn staged(test: &str, work: impl FnOnce() -> Result<()> + Send) {
    if !privileged::available(test) {
        return;
    }
    let netns = namespace(test).expect("a namespace");
    netns.run(work).unwrap_or_else(|error| panic!("{error:#}"));
}

fn with_sockets() -> Vec<Exit> {
    let mut should = host::reachable();
    should.extend([
        Exit::AcceptedSocket,
        Exit::AcceptedSyn,
        Exit::AcceptedHandshake,
    ]);
    should
}

#[test]
fn backend_and_oracle_agree() {
    staged("xdp", || {
        let stage = Stage::set()?;
        let loaded = Loaded::new(Scene::new(), XDP, &stage)?;
        loaded.compare(packets(), &with_sockets())
    });
}

#[test]
fn backend_on_tc_ingress_and_oracle_agree() {
    staged("tc", || {
        let stage = Stage::set()?;
        let loaded = Loaded::new(Scene::new(), Entry::Tc, &stage)?;
        loaded.compare(packets() / 4, &with_sockets())
    });
}

#[test]
fn flows_that_have_ended() {
    staged("ended", || {
        let mut stage = Stage::set()?;
        stage.close()?;
        let loaded = Loaded::new(Scene::new(), XDP, &stage)?;
        loaded.compare(FEW, &[Exit::AcceptedSyn, Exit::AcceptedSocket])
    });
}

#[test]
fn syn_cookies() {
    staged("cookies", || {
        let stage = Stage::cookies()?;
        let loaded = Loaded::new(Scene::new(), XDP, &stage)?;
        loaded.compare(FEW, &[Exit::AcceptedCookie, Exit::AcceptedSyn])
    });
}

#[test]
fn without_budget_nothing_is_passed_on() {
    staged("budget", || {
        let mut scene = Scene::new();
        (scene.config.budget_per_jiffy, scene.config.budget_max) = (0, 0);
        let mut loaded = Loaded::new(scene, XDP, &Stage::default())?;
        loaded.host.may_spend = false;
        loaded.compare(FEW, &[Exit::AcceptedNoBudget])
    });
}
