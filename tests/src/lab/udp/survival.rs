//! Flows that send datagrams all the time while the table and the way change, and the same again without alternates.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use anylb::model::AdminState;
use tokio::time::Instant;

use super::settled::wait_seen;
use crate::lab::files::{BACKENDS_FIRST, HOPS, Pools};
use crate::lab::report::{Check, Report};
use crate::lab::site::{IN_A_WHILE, SOON, Site, UDP_CONNECTED, VIPS};
use crate::lab::trial::Ground as _;
use crate::load::udp::steady::{Outcome, Plan, Steady};

/// Flows to each VIP.
const FLOWS: usize = 250;
const EVERY: Duration = Duration::from_millis(50);
/// Nothing comes later than this but what is lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two events.
const PAUSE: Duration = Duration::from_millis(1000);
/// A cable that is cut loses what is in it, and what the router sends into it until its routes change: within the time between two
/// datagrams, one of each flow that goes by that node.
const LOST_BY_CUT_MAX: f64 = FLOWS as f64 / 2.0;
const BOTH: [&str; 2] = ["lb1", "lb2"];

/// What became of one run.
struct Aftermath {
    outcomes: Vec<Outcome>,
    /// When the link was cut.
    cut: Instant,
}

/// Three backends are added, two are drained, one node's link is cut and restored.
pub async fn survival(site: &mut Site, report: &mut Report) -> Result<()> {
    wait_seen(site).await?;
    let all: Vec<u8> = (1..=BACKENDS_FIRST).collect();
    let drained = site.dice.pick_two(&all);
    let protected = run(site, HOPS, drained).await?;
    let control = run(site, 1, drained).await?;
    site.ready_all()?;
    site.apply(&Pools::full()).await?;
    for (family, v4) in [("ipv4", true), ("ipv6", false)] {
        report_family(report, family, &protected.family(v4), &control.family(v4));
    }
    Ok(())
}

async fn run(site: &mut Site, hops: u8, drained: [u8; 2]) -> Result<Aftermath> {
    site.ready_all()?;
    site.apply(&Pools::first().with_hops(hops)).await?;
    site.restart_answerers().await?;
    let plan = Plan {
        targets: VIPS.map(|vip| SocketAddr::new(vip, UDP_CONNECTED)).to_vec(),
        per_target: FLOWS,
        every: EVERY,
        patience: PATIENCE,
    };
    let mut load = Steady::open(site.client.handle(), &plan)?;
    load.all_answering(SOON).await?;
    site.observe(PAUSE).await?;
    site.apply(&Pools::full().with_hops(hops)).await?;
    site.observe(PAUSE).await?;
    for backend in drained {
        site.set_admin(backend, AdminState::Draining)?;
    }
    site.observe(PAUSE).await?;
    let cut = Instant::now();
    site.star.set_link(site.lb(1), false)?;
    site.wait_serving(&["lb2"], SOON).await?;
    site.observe(PAUSE).await?;
    site.star.set_link(site.lb(1), true)?;
    site.wait_serving(&BOTH, IN_A_WHILE).await?;
    site.observe(PAUSE).await?;
    Ok(Aftermath {
        outcomes: load.finish().await?,
        cut,
    })
}

/// One family's part of it.
struct Part {
    flows: usize,
    sent: usize,
    moved: usize,
    lost_before_cut: usize,
    lost_since: usize,
}

impl Aftermath {
    fn family(&self, v4: bool) -> Part {
        let outcomes = self.outcomes.iter();
        let outcomes: Vec<_> = outcomes
            .filter(|outcome| outcome.target.is_ipv4() == v4)
            .collect();
        let lost = || outcomes.iter().flat_map(|outcome| &outcome.lost);
        Part {
            flows: outcomes.len(),
            sent: outcomes.iter().map(|outcome| outcome.sent).sum(),
            moved: outcomes
                .iter()
                .filter(|outcome| outcome.moved.is_some())
                .count(),
            lost_before_cut: lost().filter(|sent| **sent < self.cut).count(),
            lost_since: lost().filter(|sent| **sent >= self.cut).count(),
        }
    }
}

fn report_family(report: &mut Report, family: &str, protected: &Part, control: &Part) {
    let name = format!("udp-survival-{family}");
    let moved = Check::none(format!("{name}-moved"), protected.moved, "flows");
    report.check(moved.with_control(control.moved));
    report.check(Check::none(
        format!("{name}-lost-by-tables"),
        protected.lost_before_cut,
        "datagrams",
    ));
    report.check(Check::at_most(
        format!("{name}-lost-by-cut"),
        protected.lost_since as f64,
        "datagrams",
        LOST_BY_CUT_MAX,
    ));
    report.note(&format!(
        "         {family}: {} flows, {} datagrams; control: {} lost, {} of {} flows moved",
        protected.flows,
        protected.sent,
        control.lost_before_cut + control.lost_since,
        control.moved,
        control.flows,
    ));
}
