//! The programs of `anylb bench` in the kernel, with a mirror at the other end of a cable: what `cargo xtask kernels` runs under another
//! kernel.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Result, ensure};
use anylb::bench::plan::{Plan, Way};
use anylb::status::{LineRate, Trial};
use lb_tests::bench::bpf::{self, Kind};
use lb_tests::bench::insn::{Assembler, Reg};
use lb_tests::harness::netns::Netns;
use lb_tests::harness::privileged;

const XDP_DROP: i32 = 1;
const XDP_TX: i32 = 3;
const RATE: u64 = 500;

/// `near` (eth1) -- (eth0) `far`.
struct Cable {
    near: Netns,
    far: Netns,
}

impl Cable {
    fn lay(prefix: &str) -> Result<Self> {
        let near = Netns::create(&format!("{prefix}-near"))?;
        let far = Netns::create(&format!("{prefix}-far"))?;
        let name = far.name();
        near.ip(&format!(
            "link add eth1 type veth peer name eth0 netns {name}"
        ))?;
        near.ip("link set eth1 up")?;
        far.ip("link set eth0 up")?;
        Ok(Self { near, far })
    }

    /// Does this with every frame that comes to the far end, for as long as the value lives.
    fn answer(&self, verdict: i32) -> Result<OwnedFd> {
        let mut program = Assembler::new();
        program.set(Reg::R0, verdict).exit();
        let program = bpf::load(&program.finish(), Kind::ALL[0])?;
        self.far.run(|| {
            let interface = nix::net::if_::if_nametoindex("eth0")?;
            Ok(bpf::attach(program.as_fd(), interface)?)
        })
    }

    fn measure(&self, vip: &str) -> Result<LineRate> {
        let plan = Plan {
            interface: "eth1".into(),
            vip: vip.parse()?,
            way: Way::Mac([2, 0, 0, 0, 0, 2]),
            flows: 100,
            frames: vec![128, 1000],
            seconds: 1,
            rate: Some(RATE),
            loss_percent: 0.0,
            cpus: None,
        };
        self.near.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(anylb::bench::run(&plan, |_, _| ()))?)
        })
    }
}

fn trial(found: &LineRate, frame: usize) -> &Trial {
    &found.frames[frame].trials[0]
}

#[test]
fn a_mirror_sends_back_what_the_driver_took() -> Result<()> {
    if !privileged::available("a_mirror_sends_back_what_the_driver_took") {
        return Ok(());
    }
    let cable = Cable::lay("anylb-gen-tx")?;
    let _mirror = cable.answer(XDP_TX)?;
    for vip in ["198.51.100.1:53", "[2001:db8:100::1]:53"] {
        let found = cable.measure(vip)?;
        for (frame, bytes) in [(0, 128), (1, 1000)] {
            let trial = trial(&found, frame);
            ensure!(trial.sent.is_some(), "the tracepoint is heard: {trial:?}");
            ensure!((1..=RATE).contains(&trial.offered), "{trial:?}");
            ensure!(Some(trial.returned) == trial.sent && trial.lost == 0);
            let wire = ((bytes + 20) * 8 * trial.returned) as f64 / 1e9;
            ensure!((trial.returned_gbps - wire).abs() < 1e-9, "{trial:?}");
        }
        ensure!(found.problem.is_none(), "{found:?}");
    }
    Ok(())
}

#[test]
fn what_is_dropped_at_the_other_end_was_taken_and_is_lost() -> Result<()> {
    if !privileged::available("what_is_dropped_at_the_other_end_was_taken_and_is_lost") {
        return Ok(());
    }
    let cable = Cable::lay("anylb-gen-drop")?;
    let _drop = cable.answer(XDP_DROP)?;
    let found = cable.measure("198.51.100.1:53")?;
    let trial = trial(&found, 0);
    ensure!(
        trial
            .sent
            .is_some_and(|sent| sent > 0 && sent == trial.lost)
    );
    ensure!(trial.returned == 0 && trial.loss_percent == 100.0);
    ensure!(found.frames.len() == 1 && found.problem.is_some());
    Ok(())
}

/// A far end without a program takes nothing: the driver says so before anything is sent.
#[test]
fn nothing_is_sent_where_the_driver_takes_nothing() -> Result<()> {
    if !privileged::available("nothing_is_sent_where_the_driver_takes_nothing") {
        return Ok(());
    }
    let cable = Cable::lay("anylb-gen-none")?;
    match cable.measure("198.51.100.1:53") {
        Err(error) => ensure!(
            error
                .to_string()
                .contains("sends no frames of XDP programs"),
            "{error:#}"
        ),
        // A kernel that does not tell beforehand.
        Ok(found) => {
            let trial = trial(&found, 0);
            ensure!(trial.sent == Some(0) && trial.not_taken == Some(trial.offered));
            let problem = found.problem.as_deref().unwrap_or_default();
            ensure!(problem.contains("took none"), "{found:?}");
        }
    }
    Ok(())
}
