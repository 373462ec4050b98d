//! A second, small site: three boxes behind a router, each LB node and backend at once, and what must not break there.
//!
//! What ends an agent for good ends a backend too: a box is drained before it is stopped, and what it still holds is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::model::AdminState;
use anylb::status::{Health, NodeStatus};

use super::PREFIX;
use super::RUN_DIR;
use super::agent::Agent;
use super::dice::Dice;
use super::files::{self, BOXES, HOPS, Pools};
use super::report::{Check, Report};
use super::site::pools::wait_agreed;
use super::site::programs::{end_connections, remove_dir, start_webs};
use super::site::routes::wait_routed;
use super::site::{IN_A_WHILE, PORT, SOON, Site};
use super::trial::{self, Event, Excused, Ground, report_pair, under_load};
use crate::harness::filter::Filter;
use crate::harness::process::Process;
use crate::harness::router::Router;
use crate::harness::runtime::NetnsRuntime;
use crate::harness::star::{Node, Star};
use crate::harness::{poll, secret};
use crate::load::long_lived;

const ALL: [&str; 3] = ["lb1", "lb2", "lb3"];
const BUT_THE_FIRST: [&str; 2] = ["lb2", "lb3"];
/// State directories of a box: in use, and put aside.
const STATE: &str = "state";
const SITE_STATE: &str = "state-of-the-site";
const OTHER_STATE: &str = "state-of-the-control";
/// A swap holds up nobody; this much is the scheduler's on a busy machine.
const STALL: Duration = Duration::from_millis(250);
/// The box whose link is cut holds connections of its own, which wait for the link and for the next retransmission.
const CUT_STALL: Duration = Duration::from_millis(4000);
const PAUSE: Duration = Duration::from_millis(1000);
/// As long as backends hold back their resets after a change, and two retransmissions more: from then on a control shows.
const UNSETTLED: Duration = Duration::from_millis(4500);
const ALONE: Duration = Duration::from_millis(2000);

/// All that happens to the boxes.
pub async fn combined(site: &mut Site, report: &mut Report) -> Result<()> {
    let mut boxes = Boxes::build(Dice::new(site.dice.roll()), &site.binary).await?;
    boxes.settled().await?;
    added(&mut boxes, report).await?;
    drained(&mut boxes, report).await?;
    weights_changed(&mut boxes, report).await?;
    disagreement(&mut boxes, report).await?;
    link_cut(&mut boxes, report).await?;
    stopped(&mut boxes, report).await?;
    agents_killed(&mut boxes, report).await
}

/// The third box becomes a backend.
async fn added(boxes: &mut Boxes, report: &mut Report) -> Result<()> {
    let happens = async |boxes: &mut Boxes, hops: u8| {
        boxes.apply(&Boxes::full().with_hops(hops)).await?;
        Ok(Excused::new())
    };
    let start = Pools {
        backends: BOXES - 1,
        ..Boxes::full()
    };
    event("combined-box-added", start, happens)
        .run(boxes, report)
        .await
}

/// A box stays LB node and gets no new flows as a backend.
async fn drained(boxes: &mut Boxes, report: &mut Report) -> Result<()> {
    let number = boxes.any();
    let happens = async |boxes: &mut Boxes, _| {
        boxes.set_admin(number, AdminState::Draining)?;
        Ok(Excused::new())
    };
    event("combined-box-drained", Boxes::full(), happens)
        .run(boxes, report)
        .await
}

async fn weights_changed(boxes: &mut Boxes, report: &mut Report) -> Result<()> {
    let [light, heavy] = boxes.dice.pick_two(&[1, 2, 3]);
    let happens = async |boxes: &mut Boxes, hops: u8| {
        let weights = BTreeMap::from([(light, 25), (heavy, 300)]);
        let pools = Pools {
            weights,
            ..Boxes::full().with_hops(hops)
        };
        boxes.apply(&pools).await?;
        Ok(Excused::new())
    };
    event("combined-weights-changed", Boxes::full(), happens)
        .run(boxes, report)
        .await
}

/// Only the first box's checks of the second fail, and the router moves flows between the boxes.
async fn disagreement(boxes: &mut Boxes, report: &mut Report) -> Result<()> {
    let seeds = [boxes.dice.multipath_seed(), boxes.dice.multipath_seed()];
    let happens = async |boxes: &mut Boxes, _| {
        let [first, second] = [boxes.node(1), boxes.node(2)];
        let rules = [
            format!("ip saddr {} ip daddr {}", first.v4, second.v4),
            format!("ip6 saddr {} ip6 daddr {}", first.v6, second.v6),
        ];
        let rules = rules.map(|addresses| format!("{addresses} tcp dport {PORT}"));
        let filter = Filter::dropping(&boxes.star.r1, "checks", "forward", &rules)?;
        boxes.wait_health(1, 2, Health::Down).await?;
        boxes.star.reseed_multipath(seeds[0])?;
        boxes.observe(UNSETTLED).await?;
        boxes.star.reseed_multipath(seeds[1])?;
        boxes.observe(STALL).await?;
        filter.lift();
        boxes.wait_health(1, 2, Health::Up).await?;
        Ok(Excused::new())
    };
    event("combined-health-disagreement", Boxes::full(), happens)
        .run(boxes, report)
        .await
}

/// The first box's link is cut and restored.
async fn link_cut(boxes: &mut Boxes, report: &mut Report) -> Result<()> {
    let happens = async |boxes: &mut Boxes| {
        boxes.star.set_link(boxes.node(1), false)?;
        boxes.wait_routed(&BUT_THE_FIRST).await?;
        boxes.observe(PAUSE).await?;
        boxes.star.set_link(boxes.node(1), true)?;
        boxes.wait_routed(&ALL).await?;
        Ok(Excused::new())
    };
    let protected = under_load(boxes, happens).await?;
    boxes.start_with_other_key().await?;
    let control = under_load(boxes, happens).await?;
    boxes.start_with_its_key().await?;
    report_pair(report, "combined-link-cut", &protected, &control, CUT_STALL);
    Ok(())
}

/// The first box is drained, stopped with all that a stop means, and started again; what it still held is lost.
async fn stopped(boxes: &mut Boxes, report: &mut Report) -> Result<()> {
    let happens = async |boxes: &mut Boxes| {
        boxes.set_admin(1, AdminState::Draining)?;
        let agent = boxes.take_agent(1)?;
        agent.terminate()?;
        boxes.wait_routed(&BUT_THE_FIRST).await?;
        boxes.observe(UNSETTLED).await?;
        agent.stop(IN_A_WHILE).await?;
        boxes.start_agents().await?;
        boxes.wait_routed(&ALL).await?;
        Ok(vec![ALL[0].to_owned()])
    };
    let protected = under_load(boxes, happens).await?;
    boxes.ready_all()?;
    boxes.start_with_other_key().await?;
    let control = under_load(boxes, happens).await?;
    boxes.ready_all()?;
    boxes.start_with_its_key().await?;
    report_pair(report, "combined-stopped", &protected, &control, STALL);
    Ok(())
}

/// All agents are killed at once while packets flow, and started again.
async fn agents_killed(boxes: &mut Boxes, report: &mut Report) -> Result<()> {
    let mut load = trial::open(boxes)?;
    load.all_answering(SOON).await?;
    for number in 1..=BOXES {
        boxes.take_agent(number)?.kill()?;
    }
    boxes.observe(ALONE).await?;
    let alone = wait_routed(&boxes.star.r1, &ALL, Duration::ZERO).await;
    boxes.start_agents().await?;
    let statuses = boxes.statuses()?;
    let adopted = statuses.iter().filter(|status| status.adopted).count();
    boxes.settled().await?;
    boxes.observe(PAUSE).await?;
    let outcomes = load.finish().await?;
    let name = "combined-agents-killed";
    report.check(Check::none(
        format!("{name}-vips-unrouted"),
        usize::from(alone.is_err()),
        "routes",
    ));
    report.check(Check::none(
        format!("{name}-not-adopted"),
        statuses.len() - adopted,
        "datapaths",
    ));
    report.check(Check::none(
        format!("{name}-broken"),
        long_lived::broken(&outcomes).count(),
        "connections",
    ));
    report.check(Check::time(
        format!("{name}-worst-stall"),
        long_lived::worst_stall(&outcomes),
        STALL,
    ));
    Ok(())
}

fn event<F>(name: &'static str, start: Pools, happens: F) -> Event<F> {
    Event {
        name,
        start,
        stall_limit: STALL,
        happens,
    }
}

/// The boxes, running. Fields are dropped in this order: programs before the network.
struct Boxes {
    client: NetnsRuntime,
    webs: Vec<Option<Process>>,
    agents: Vec<Option<Agent>>,
    _router: Router,
    star: Star,
    binary: PathBuf,
    dice: Dice,
    pools: Pools,
    draining: BTreeSet<u8>,
    other_key: PathBuf,
}

impl Boxes {
    async fn build(mut dice: Dice, binary: &Path) -> Result<Self> {
        let run_dir = Path::new(RUN_DIR).join("box");
        std::fs::create_dir_all(&run_dir).with_context(|| run_dir.display().to_string())?;
        let other_key = run_dir.join("other.key");
        secret::write(&run_dir.join("hash.key"), &dice.hash_key())?;
        secret::write(&other_key, &dice.hash_key())?;
        let star = Star::build(&format!("{PREFIX}-box"), &run_dir, BOXES, 0)?;
        star.reseed_multipath(dice.multipath_seed())?;
        let mut boxes = Self {
            client: NetnsRuntime::start(&star.client)?,
            webs: star.lbs.iter().map(|_| None).collect(),
            agents: star.lbs.iter().map(|_| None).collect(),
            _router: Router::start(&star.r1, files::BOX_ROUTER, &run_dir).await?,
            star,
            binary: binary.to_owned(),
            dice,
            pools: Self::full(),
            draining: BTreeSet::new(),
            other_key,
        };
        start_webs(&boxes.star.lbs, &mut boxes.webs).await?;
        boxes.start_agents().await?;
        Ok(boxes)
    }

    fn any(&mut self) -> u8 {
        self.dice.pick(&[1, 2, 3])
    }

    fn node(&self, number: u8) -> &Node {
        &self.star.lbs[index(number)]
    }

    fn agent(&self, number: u8) -> Result<&Agent> {
        let agent = self.agents[index(number)].as_ref();
        agent.with_context(|| format!("the agent of box {number} does not run"))
    }

    fn take_agent(&mut self, number: u8) -> Result<Agent> {
        let agent = self.agents[index(number)].take();
        agent.with_context(|| format!("the agent of box {number} does not run"))
    }

    fn statuses(&self) -> Result<Vec<NodeStatus>> {
        (1..=BOXES)
            .map(|number| self.agent(number)?.status())
            .collect()
    }

    async fn wait_routed(&self, names: &[&str]) -> Result<()> {
        wait_routed(&self.star.r1, names, IN_A_WHILE)
            .await
            .map(drop)
    }

    /// Waits until all boxes serve and agree.
    async fn settled(&self) -> Result<()> {
        self.wait_routed(&ALL).await?;
        wait_agreed(usize::from(self.pools.backends), || self.statuses()).await
    }

    /// Waits until one box has this opinion of another, in both pools.
    async fn wait_health(&self, of: u8, backend: u8, health: Health) -> Result<()> {
        let name = &self.node(backend).name;
        let what = format!("box {of} finds {name} {health:?}");
        poll::until(&what, IN_A_WHILE, async || {
            let status = self.agent(of)?.status()?;
            let backends = status.pools.values().flat_map(|pool| &pool.backends);
            let mut found = backends.filter(|backend| backend.name.as_ref() == Some(name));
            ensure!(found.all(|backend| backend.health == health), "not yet");
            Ok(())
        })
        .await?;
        Ok(())
    }

    fn write(&self, number: u8, key: Option<&Path>) -> Result<()> {
        let text = files::both(usize::from(number), &self.pools, key)?;
        Ok(std::fs::write(files::path(&self.node(number).dir), text)?)
    }

    /// Agents where none runs.
    async fn start_agents(&mut self) -> Result<()> {
        for number in 1..=BOXES {
            if self.agents[index(number)].is_none() {
                self.write(number, None)?;
                self.start_agent(number)?;
            }
        }
        for agent in self.agents.iter_mut().flatten() {
            agent.ready().await?;
        }
        Ok(())
    }

    fn start_agent(&mut self, number: u8) -> Result<()> {
        let agent = Agent::lb(&self.binary, self.node(number))?;
        self.agents[index(number)] = Some(agent);
        Ok(())
    }

    fn set_admin(&mut self, backend: u8, admin: AdminState) -> Result<()> {
        let word = if admin == AdminState::Ready {
            self.draining.remove(&backend);
            "ready"
        } else {
            self.draining.insert(backend);
            "drain"
        };
        let name = self.node(backend).name.clone();
        for number in 1..=BOXES {
            self.agent(number)?.tell(&["backend", word, &name])?;
        }
        Ok(())
    }

    /// Gives the second box another hash key, so that it disagrees with the others about every row, and takes the second chance
    /// away: with three boxes every row has every box among its hops.
    async fn start_with_other_key(&mut self) -> Result<()> {
        self.apply(&Self::full().with_hops(1)).await?;
        self.put_aside(SITE_STATE).await?;
        let key = self.other_key.clone();
        self.write(2, Some(&key))?;
        self.start_agent(2)?;
        self.start_agents().await?;
        self.wait_routed(&ALL).await?;
        self.observe(ALONE).await
    }

    /// Back to the key of the site, and to the inputs it remembered.
    async fn start_with_its_key(&mut self) -> Result<()> {
        self.put_aside(OTHER_STATE).await?;
        let dir = &self.node(2).dir;
        std::fs::rename(dir.join(SITE_STATE), dir.join(STATE)).context("the box's state")?;
        self.start_agents().await?;
        self.apply(&Self::full()).await
    }

    /// Ends the second box's agent, takes its datapath away and puts what it remembers aside.
    async fn put_aside(&mut self, state: &str) -> Result<()> {
        let agent = self.take_agent(2)?;
        self.star.set_link(self.node(2), false)?;
        agent.kill()?;
        let dir = &self.node(2).dir;
        remove_dir(&dir.join("bpf/anylb"))?;
        remove_dir(&dir.join(state))?;
        std::fs::rename(dir.join(STATE), dir.join(state)).context("the box's state")?;
        self.wait_routed(&["lb1", "lb3"]).await?;
        self.star.set_link(self.node(2), true)
    }
}

impl Ground for Boxes {
    fn full() -> Pools {
        Pools {
            backends: BOXES,
            hops: HOPS,
            weights: BTreeMap::new(),
        }
    }

    fn client(&self) -> &NetnsRuntime {
        &self.client
    }

    fn end_connections(&self) -> Result<()> {
        end_connections(&self.star.client, &self.star.lbs)
    }

    fn ready_all(&mut self) -> Result<()> {
        for backend in std::mem::take(&mut self.draining) {
            self.set_admin(backend, AdminState::Ready)?;
        }
        Ok(())
    }

    async fn apply(&mut self, pools: &Pools) -> Result<()> {
        self.pools = pools.clone();
        for number in 1..=BOXES {
            self.write(number, None)?;
        }
        for number in 1..=BOXES {
            // Without hops, as controls are, no change of members is harmless.
            self.agent(number)?.tell(&["reload", "--force"])?;
        }
        self.settled().await
    }

    async fn observe(&mut self, time: Duration) -> Result<()> {
        poll::holds("programs of the boxes run", time, async || {
            for agent in self.agents.iter_mut().flatten() {
                ensure!(agent.is_running()?, "an agent has ended");
            }
            for web in self.webs.iter_mut().flatten() {
                ensure!(web.ended()?.is_none(), "a web server has ended");
            }
            Ok(())
        })
        .await
    }
}

fn index(number: u8) -> usize {
    usize::from(number) - 1
}
