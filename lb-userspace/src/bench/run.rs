//! Trial after trial.

use std::io::Read as _;
use std::time::Duration;

use lb_common::generator::TRIAL_BITS;
use tokio::time::Instant;

use super::figures;
use super::plan::Plan;
use super::refusal::{Failure, nothing_returned};
use super::search::{Limit, Outcome, Search, Step};
use super::site::{self, Site};
use super::trial::{Load, trial};
use crate::status::{LineRate, Trial};

/// A search begins here, packets per second: far below what a node does, and few steps from anything.
const FIRST_PPS: u64 = 100_000;

/// Of a trial that only asks whether packets come back, packets per second, and its length.
const ASK_PPS: u64 = 1_000;
const ASK_SECONDS: u64 = 1;
/// Time for a node to have its backend back after the link was down: carrier, neighbours, checks.
const RETURN_TIME: Duration = Duration::from_secs(30);

/// Measures what was asked for. `told` hears the frame size and rate of every trial before it begins.
pub async fn run(plan: &Plan, told: impl FnMut(u32, u64)) -> Result<LineRate, Failure> {
    let site = site::survey(plan).await?;
    let mut found = LineRate {
        interface: plan.interface.clone(),
        vip: plan.vip,
        flows: plan.flows,
        cpus: site.cpus.len(),
        line_mbps: site.line_mbps,
        loss_allowed_percent: plan.loss_percent,
        frames: Vec::new(),
        problem: None,
    };
    let mut runner = Runner {
        plan,
        mark: fresh_mark()?,
        told,
        site,
    };
    if runner.site.link_was_down {
        runner.wait_for_node().await?;
    }
    for frame_bytes in runner.site.frames.clone() {
        let (trials, limit) = match plan.rate {
            Some(pps) => (vec![runner.trial(frame_bytes, pps).await?], None),
            None => runner.search(frame_bytes).await?,
        };
        let silent = trials.iter().all(|trial| trial.returned == 0);
        let sent = trials.last().and_then(|trial| trial.sent);
        let frame = figures::frame_rate(frame_bytes, trials, plan.loss_percent, limit);
        found.frames.push(frame);
        if silent {
            found.problem = Some(nothing_returned(plan, frame_bytes, sent));
            break;
        }
    }
    Ok(found)
}

struct Runner<'a, F> {
    plan: &'a Plan,
    /// Of the trial before.
    mark: u64,
    told: F,
    site: Site,
}

impl<F: FnMut(u32, u64)> Runner<'_, F> {
    /// Until packets come back, or could have: many drivers take the link down for a program, and the node's one backend is down
    /// with it until its checks have seen it again. What is lost in between is no figure of the node's.
    async fn wait_for_node(&mut self) -> Result<(), Failure> {
        let Some(frame_bytes) = self.site.frames.first().copied() else {
            return Ok(());
        };
        let pps = self.plan.rate.map_or(ASK_PPS, |rate| rate.min(ASK_PPS));
        let start = Instant::now();
        while start.elapsed() < RETURN_TIME {
            let trial = self.send(frame_bytes, pps, ASK_SECONDS).await?;
            if trial.returned > 0 && trial.lost == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn trial(&mut self, frame_bytes: u32, pps: u64) -> Result<Trial, Failure> {
        self.send(frame_bytes, pps, self.plan.seconds).await
    }

    async fn send(&mut self, frame_bytes: u32, pps: u64, seconds: u64) -> Result<Trial, Failure> {
        site::no_default_route(&self.plan.interface).await?;
        (self.told)(frame_bytes, pps);
        self.mark += 1;
        let load = Load {
            frame_bytes,
            pps,
            seconds,
            flows: self.plan.flows,
            mark: self.mark,
        };
        let counts = trial(&mut self.site, load).await?;
        let line = self.site.line_mbps;
        Ok(figures::trial(
            pps,
            load.seconds,
            &counts,
            frame_bytes,
            line,
        ))
    }

    /// To its end, or to a first trial of which nothing comes back.
    async fn search(&mut self, frame_bytes: u32) -> Result<(Vec<Trial>, Option<Limit>), Failure> {
        let line = self.site.line_mbps;
        let line = line.map(|mbps| figures::line_pps(mbps, frame_bytes));
        let mut search = Search::new(FIRST_PPS, line);
        let (mut trials, mut pps) = (Vec::new(), search.first());
        loop {
            let trial = self.trial(frame_bytes, pps).await?;
            let outcome = Outcome {
                reached: trial.sent_pps,
                lossy: trial.loss_percent > self.plan.loss_percent,
            };
            let silent = trials.is_empty() && trial.returned == 0;
            trials.push(trial);
            if silent {
                return Ok((trials, None));
            }
            match search.next(outcome) {
                Step::Try(next) => pps = next,
                Step::Done(limit) => return Ok((trials, Some(limit))),
            }
        }
    }
}

/// The mark of a run's trial zero, which nothing else on the link has.
fn fresh_mark() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(Failure::Random)?;
    // Zero is no mark.
    Ok((u64::from_ne_bytes(bytes) | 1) << TRIAL_BITS)
}
