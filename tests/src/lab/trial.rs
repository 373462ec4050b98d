//! Long-lived connections through one event, and the same again without what protects them.

use std::time::Duration;

use anyhow::Result;

use super::files::{HOPS, Pools};
use super::report::{Check, Report};
use super::site::{SOON, Site};
use crate::harness::runtime::NetnsRuntime;
use crate::load::long_lived::{self, LongLived, Outcome, Plan};

/// Connections to each VIP.
const CONNECTIONS: usize = 200;
const EVERY: Duration = Duration::from_millis(50);
/// Longer than it takes a connection to find out that it is broken: the nodes tell backends not to reset unknown flows
/// for about 2 s after a change, and retransmissions are a second or two apart by then.
const PATIENCE: Duration = Duration::from_secs(6);
/// Undisturbed, before the event.
const BEFORE: Duration = Duration::from_millis(300);
/// After it.
const AFTER: Duration = Duration::from_millis(1500);

/// A site that trials are held at.
pub trait Ground {
    /// The pools with every backend and all hops.
    fn full() -> Pools;
    /// Where the client's traffic runs.
    fn client(&self) -> &NetnsRuntime;
    /// Ends what servers have left of earlier connections.
    fn end_connections(&self) -> Result<()>;
    /// No backend is draining or disabled any more.
    fn ready_all(&mut self) -> Result<()>;
    /// Gives the nodes new pools and waits until they agree.
    async fn apply(&mut self, pools: &Pools) -> Result<()>;
    /// Lets traffic flow for `time`; an error where a program of the site ends meanwhile.
    async fn observe(&mut self, time: Duration) -> Result<()>;
}

/// Servers whose connections may break, by name.
pub type Excused = Vec<String>;

/// What became of a trial's connections.
#[derive(Debug)]
pub struct Aftermath {
    /// All of them.
    pub outcomes: Vec<Outcome>,
    /// Whose may have broken.
    pub excused: Excused,
}

impl Aftermath {
    /// Connections of one family that nothing may happen to.
    fn family(&self, v4: bool) -> impl Iterator<Item = &Outcome> {
        self.outcomes
            .iter()
            .filter(move |outcome| outcome.target.is_ipv4() == v4 && !self.is_excused(outcome))
    }

    /// Connections that broke and must not.
    pub fn wrongly_broken(&self) -> impl Iterator<Item = &Outcome> {
        long_lived::broken(&self.outcomes).filter(|outcome| !self.is_excused(outcome))
    }

    fn is_excused(&self, outcome: &Outcome) -> bool {
        outcome
            .server
            .as_ref()
            .is_some_and(|server| self.excused.contains(server))
    }
}

/// Opens the connections of a trial.
pub fn open(site: &impl Ground) -> Result<LongLived> {
    open_over(site, EVERY)
}

/// [`open`] over this time.
pub fn open_over(site: &impl Ground, opening: Duration) -> Result<LongLived> {
    let plan = Plan {
        targets: Site::targets(),
        per_target: CONNECTIONS,
        opening,
        every: EVERY,
        patience: PATIENCE,
    };
    site.end_connections()?;
    Ok(LongLived::open(site.client().handle(), &plan))
}

/// Opens the connections, lets `event` happen among them and watches a little longer.
pub async fn under_load<G: Ground>(
    site: &mut G,
    event: impl AsyncFnOnce(&mut G) -> Result<Excused>,
) -> Result<Aftermath> {
    let mut load = open(site)?;
    load.all_answering(SOON).await?;
    site.observe(BEFORE).await?;
    let excused = event(site).await?;
    site.observe(AFTER).await?;
    Ok(Aftermath {
        outcomes: load.finish().await?,
        excused,
    })
}

/// An event that alternates protect from.
pub struct Event<F> {
    /// Name of the scenario.
    pub name: &'static str,
    /// The pools before it.
    pub start: Pools,
    /// The longest wait that passes.
    pub stall_limit: Duration,
    /// What happens; it is told the hops of the pool.
    pub happens: F,
}

impl<F> Event<F> {
    /// Runs it with all hops and with one, and reports both.
    pub async fn run<G: Ground>(self, site: &mut G, report: &mut Report) -> Result<()>
    where
        F: AsyncFn(&mut G, u8) -> Result<Excused>,
    {
        let protected = self.with_hops(site, HOPS).await?;
        let control = self.with_hops(site, 1).await?;
        site.ready_all()?;
        site.apply(&G::full()).await?;
        report_pair(report, self.name, &protected, &control, self.stall_limit);
        Ok(())
    }

    async fn with_hops<G: Ground>(&self, site: &mut G, hops: u8) -> Result<Aftermath>
    where
        F: AsyncFn(&mut G, u8) -> Result<Excused>,
    {
        site.ready_all()?;
        site.apply(&self.start.clone().with_hops(hops)).await?;
        under_load(site, async |site| (self.happens)(site, hops).await).await
    }
}

/// Broken connections and the worst stall per family.
pub fn report_pair(
    report: &mut Report,
    name: &str,
    protected: &Aftermath,
    control: &Aftermath,
    stall_limit: Duration,
) {
    let broken = |aftermath: &Aftermath, v4| {
        aftermath
            .wrongly_broken()
            .filter(|outcome| outcome.target.is_ipv4() == v4)
            .count()
    };
    for (family, v4) in [("ipv4", true), ("ipv6", false)] {
        let check = Check::none(
            format!("{name}-{family}-broken"),
            broken(protected, v4),
            "connections",
        );
        report.check(check.with_control(broken(control, v4)));
        let stall = long_lived::worst_stall(protected.family(v4));
        report.check(Check::time(
            format!("{name}-{family}-worst-stall"),
            stall,
            stall_limit,
        ));
    }
    for outcome in protected
        .outcomes
        .iter()
        .filter(|outcome| outcome.worst_stall > stall_limit)
    {
        report.note(&format!(
            "         {} ms: {} at {}, {} answers",
            outcome.worst_stall.as_millis(),
            outcome.target,
            outcome.server.as_deref().unwrap_or("none"),
            outcome.answered
        ));
    }
    for (reason, count) in long_lived::reasons(&protected.outcomes) {
        report.note(&format!("         {count} x {reason}"));
    }
    let stall = long_lived::worst_stall(&control.outcomes).as_millis();
    report.note(&format!("         control: worst stall {stall} ms"));
    for (reason, count) in long_lived::reasons(&control.outcomes) {
        report.note(&format!("         control: {count} x {reason}"));
    }
}
