//! One pool: from inputs and health to rows. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::overrides::Override;
use super::ways::Ways;
use crate::health::{Target, Verdicts};
use crate::model::{AdminState, Check, HashKey, Pool};
use crate::netlink::{NextHops, Unresolved};
use crate::path_mtu::PathMtus;
use crate::plan::{DesiredBackend, DesiredPool};
use crate::rows::input::TooManyMembers;
use crate::rows::{Basis, Builder, Change, History, Input, Member, Table, View};
use crate::status::Health;

/// How long check and neighbour must both fail before a backend leaves the hops: its clients then get a reset, not a hang.
const DEAD_HOLD: Duration = Duration::from_secs(30);

/// What a pool's rows follow from, apart from its configuration.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Of the health checks.
    pub verdicts: &'a Verdicts,
    /// Of netlink.
    pub next_hops: &'a NextHops,
    /// Of routers.
    pub path_mtus: &'a PathMtus,
    /// The kernel's tick.
    pub jiffies_per_sec: u32,
    /// Now, for holds.
    pub now: Instant,
    /// Seconds since the epoch, for histories.
    pub now_secs: u64,
}

/// Builder, current table and holds of one pool.
pub struct PoolRows {
    builder: Builder,
    current: Option<Current>,
    settling_until: Option<Instant>,
    unreachable_since: BTreeMap<IpAddr, Instant>,
    rows_moved: u64,
}

struct Current {
    basis: Origin,
    table: Table,
}

/// A table is a function of this.
#[derive(PartialEq)]
struct Origin {
    input: Input,
    previous: Vec<Input>,
    view: View,
    hops: u8,
}

impl PoolRows {
    /// No table yet.
    pub fn new(key: &HashKey) -> Self {
        Self {
            builder: Builder::new(key),
            current: None,
            settling_until: None,
            unreachable_since: BTreeMap::new(),
            rows_moved: 0,
        }
    }

    /// Brings the table up to date. `history` already has the current input; backends without a way get no first hops.
    pub fn update(
        &mut self,
        pool: &Pool,
        overrides: &BTreeMap<IpAddr, Override>,
        history: &History,
        world: World<'_>,
        ways: &Ways,
    ) {
        let Some(input) = history.current() else {
            return;
        };
        let previous: Vec<_> = history.previous().into_iter().cloned().collect();
        let basis = Origin {
            view: self.view(pool, overrides, &previous, world, ways),
            input: input.clone(),
            previous,
            hops: pool.hops,
        };
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.basis == basis)
        {
            return;
        }
        let previous: Vec<_> = basis.previous.iter().collect();
        let table = self
            .builder
            .build(&basis.input, &previous, &basis.view, basis.hops);
        self.rows_moved += self
            .current
            .as_ref()
            .map_or(0, |current| table.moved(&current.table) as u64);
        self.current = Some(Current { basis, table });
    }

    /// What would become of the rows.
    pub fn change(&mut self, before: Basis<'_>, after: Basis<'_>) -> Change {
        self.builder.change(before, after)
    }

    /// The datapath gets another table: until every node's checks must have seen what this one's have, backends hold back
    /// their resets.
    pub fn settle(&mut self, check: &Check, now: Instant) {
        self.settling_until = Some(now + check.interval * check.fall + check.timeout);
    }

    /// What the datapath should hold.
    pub fn desired(&self, pool: &Pool, world: World<'_>, ways: &Ways) -> Option<DesiredPool> {
        let current = self.current.as_ref()?;
        let members = current.table.members.iter().map(|&address| DesiredBackend {
            address,
            next_hop: ways.by(pool.encap, address),
            health: health(pool, world, address),
            gone: current.basis.view.is_gone(address),
        });
        Some(DesiredPool {
            encap: pool.encap,
            mode: pool.mode,
            members: members.collect(),
            rows: Arc::clone(&current.table.rows),
            settling: self.settling_until.is_some_and(|until| world.now < until),
        })
    }

    /// The table in force.
    pub fn table(&self) -> Option<&Table> {
        self.current.as_ref().map(|current| &current.table)
    }

    /// Rows whose first hop changed, over all tables.
    pub fn rows_moved(&self) -> u64 {
        self.rows_moved
    }

    fn view(
        &mut self,
        pool: &Pool,
        overrides: &BTreeMap<IpAddr, Override>,
        previous: &[Input],
        world: World<'_>,
        ways: &Ways,
    ) -> View {
        let configured = || pool.backends.iter().map(|backend| backend.address);
        let down: BTreeSet<_> = configured()
            .filter(|&address| health(pool, world, address) != Health::Up)
            .collect();
        let astray = configured().filter(|&address| ways.by(pool.encap, address).is_none());
        // Nobody checks backends that left the configuration: for them the neighbour decides alone.
        let removed = previous
            .iter()
            .flat_map(|input| input.members())
            .map(|member| member.address)
            .filter(|&address| configured().all(|kept| kept != address));
        let suspects: BTreeSet<_> = down.iter().copied().chain(removed).collect();
        let dead = self.held_dead(suspects, world);
        let said = overrides.iter();
        let disabled = said
            .filter(|(_, said)| said.admin() == AdminState::Disabled)
            .map(|(&address, _)| address);
        View::new(
            down.into_iter().chain(astray),
            dead.into_iter().chain(disabled),
        )
    }

    /// Those of `suspects` that have been unreachable as hosts for long enough.
    fn held_dead(&mut self, suspects: BTreeSet<IpAddr>, world: World<'_>) -> Vec<IpAddr> {
        // Behind a router it is the router that fails, which says nothing about the host.
        let silent = |address: &IpAddr| {
            matches!(
                world.next_hops.get(address),
                Some(Err(Unresolved::NeighbourFailed(neighbour))) if neighbour == address
            )
        };
        let failing: BTreeSet<_> = suspects.into_iter().filter(silent).collect();
        self.unreachable_since
            .retain(|address, _| failing.contains(address));
        for address in failing {
            self.unreachable_since.entry(address).or_insert(world.now);
        }
        self.unreachable_since
            .iter()
            .filter(|(_, since)| world.now >= **since + DEAD_HOLD)
            .map(|(&address, _)| address)
            .collect()
    }
}

fn health(pool: &Pool, world: World<'_>, address: IpAddr) -> Health {
    world.verdicts.health(&Target {
        pool: pool.name.clone(),
        address,
    })
}

/// The input of a pool: its configuration and what the operator said.
pub fn input(pool: &Pool, overrides: &BTreeMap<IpAddr, Override>) -> Result<Input, TooManyMembers> {
    Input::new(pool.backends.iter().map(|backend| {
        let said = overrides.get(&backend.address).copied().unwrap_or_default();
        Member {
            address: backend.address,
            weight: said.weight(backend.weight),
            admin: said.admin(),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::{self, Surroundings, address, settings};
    use crate::model::Settings;

    /// A pool of four, its rows, and what it is told.
    struct Bench {
        settings: Settings,
        history: History,
        rows: PoolRows,
        ways: Ways,
        surroundings: Surroundings,
    }

    impl Bench {
        fn new() -> Self {
            let settings = configured(&[1, 2, 3, 4]);
            let key = settings.node.hash_key.expect("a key in a test");
            let mut bench = Self {
                surroundings: Surroundings::of(&settings),
                settings,
                history: History::default(),
                rows: PoolRows::new(&key),
                ways: Ways::default(),
            };
            bench.update();
            bench
        }

        fn pool(&self) -> &Pool {
            &self.settings.pools[&testing::name("web")]
        }

        fn update(&mut self) {
            let world = self.surroundings.world();
            let pool = &self.settings.pools[&testing::name("web")];
            let input = input(pool, &BTreeMap::new()).expect("few members");
            self.history.remember(&input, world.now_secs);
            let targets = world.next_hops.keys().copied().collect();
            self.ways
                .learn(&targets, world.next_hops, &self.settings.node);
            self.rows
                .update(pool, &BTreeMap::new(), &self.history, world, &self.ways);
        }

        fn rows(&self) -> Arc<[[u16; 4]]> {
            let world = self.surroundings.world();
            let desired = self.rows.desired(self.pool(), world, &self.ways);
            desired.expect("a table").rows
        }

        /// Rows in which a backend is first, and in which it is anywhere.
        fn places(&self, backend: &str) -> (usize, usize) {
            let table = self.rows.table().expect("a table");
            let backend = address(backend);
            let first = |row: &usize| table.hops(*row).next() == Some(backend);
            let anywhere = |row: &usize| table.hops(*row).any(|hop| hop == backend);
            let rows = 0..crate::rows::ROWS;
            (
                rows.clone().filter(first).count(),
                rows.filter(anywhere).count(),
            )
        }
    }

    fn configured(backends: &[u8]) -> Settings {
        settings(&testing::pool("web", "198.51.100.1", backends, ""))
    }

    const ROWS: usize = crate::rows::ROWS;
    const FAILED: &str = "10.1.0.2";

    fn neighbour_failed() -> Result<(), Unresolved> {
        Err(Unresolved::NeighbourFailed(address(FAILED)))
    }

    #[test]
    fn nothing_changes_and_the_same_rows_stay() {
        let mut bench = Bench::new();
        let before = bench.rows();
        bench.surroundings.pass(Duration::from_secs(3600));
        bench.update();
        assert!(Arc::ptr_eq(&before, &bench.rows()), "not built again");
        assert_eq!(bench.rows.rows_moved(), 0);
    }

    #[test]
    fn a_down_backend_is_first_nowhere_and_stays_everywhere() {
        let mut bench = Bench::new();
        let (first, anywhere) = bench.places(FAILED);
        assert!(first > ROWS / 5, "{first}");
        assert_eq!(anywhere, ROWS);
        for health in [Health::Down, Health::Unknown] {
            bench.surroundings.say("web", FAILED, health);
            bench.update();
            assert_eq!(bench.places(FAILED), (0, ROWS), "{health:?}");
        }
        assert_eq!(bench.rows.rows_moved(), first as u64);
        bench.surroundings.say("web", FAILED, Health::Up);
        bench.update();
        assert_eq!(bench.places(FAILED), (first, ROWS), "its rows come back");
    }

    #[test]
    fn a_backend_without_a_way_is_first_nowhere_whatever_its_check_says() {
        let mut bench = Bench::new();
        let next_hop = |bench: &Bench| {
            let world = bench.surroundings.world();
            let desired = bench.rows.desired(bench.pool(), world, &bench.ways);
            let members = desired.expect("a table").members;
            let found = members.into_iter().find(|m| m.address == address(FAILED));
            found.expect("a member").next_hop
        };
        assert!(next_hop(&bench).is_some());
        bench.surroundings.route(FAILED, Err(Unresolved::NoRoute));
        bench.update();
        assert_eq!(bench.places(FAILED), (0, ROWS));
        assert_eq!(next_hop(&bench), None);
    }

    #[test]
    fn a_dead_host_leaves_the_hops_after_the_hold_and_returns_with_its_neighbour() {
        let mut bench = Bench::new();
        bench.surroundings.route(FAILED, neighbour_failed());
        bench.update();
        bench.surroundings.pass(DEAD_HOLD * 2);
        bench.update();
        assert_eq!(bench.places(FAILED).1, ROWS, "its check passes: it lives");

        bench.surroundings.say("web", FAILED, Health::Down);
        bench.update();
        bench
            .surroundings
            .pass(DEAD_HOLD - Duration::from_millis(1));
        bench.update();
        assert_eq!(bench.places(FAILED).1, ROWS, "the hold is not over");
        bench.surroundings.pass(Duration::from_millis(1));
        bench.update();
        assert_eq!(bench.places(FAILED).1, 0);
        bench.surroundings.route(FAILED, Ok(()));
        bench.update();
        assert_eq!(bench.places(FAILED), (0, ROWS), "back, but still down");
    }

    #[test]
    fn an_answer_in_between_starts_the_hold_anew() {
        let mut bench = Bench::new();
        bench.surroundings.say("web", FAILED, Health::Down);
        for answer in [neighbour_failed(), Ok(()), neighbour_failed()] {
            bench.surroundings.route(FAILED, answer);
            bench.update();
            bench.surroundings.pass(DEAD_HOLD - Duration::from_secs(1));
            bench.update();
        }
        assert_eq!(bench.places(FAILED).1, ROWS);
    }

    #[test]
    fn a_router_that_fails_kills_no_backend_behind_it() {
        let mut bench = Bench::new();
        let router = Unresolved::NeighbourFailed(address("10.0.0.1"));
        bench.surroundings.say("web", FAILED, Health::Down);
        bench.surroundings.route(FAILED, Err(router));
        bench.update();
        bench.surroundings.pass(DEAD_HOLD * 2);
        bench.update();
        assert_eq!(bench.places(FAILED), (0, ROWS));
    }

    #[test]
    fn a_removed_backend_stays_where_it_owned_rows_until_it_is_dead() {
        let mut bench = Bench::new();
        let (owned, _) = bench.places(FAILED);
        let verdicts = bench.surroundings;
        bench.settings = configured(&[1, 3, 4]);
        bench.surroundings = Surroundings::of(&bench.settings);
        bench.surroundings.route(FAILED, Ok(()));
        drop(verdicts);
        bench.update();
        let (first, anywhere) = bench.places(FAILED);
        assert_eq!(first, 0, "never first");
        assert!(anywhere >= owned, "{anywhere} of {owned}");

        bench.surroundings.route(FAILED, neighbour_failed());
        for _ in 0..3 {
            bench.update();
            bench.surroundings.pass(DEAD_HOLD);
        }
        assert_eq!(bench.places(FAILED), (0, 0));
        let without = bench.rows();
        bench.update();
        assert!(Arc::ptr_eq(&without, &bench.rows()), "and stays away");
    }

    #[test]
    fn settling_lasts_until_every_node_must_have_noticed() {
        let mut bench = Bench::new();
        let settling = |bench: &Bench| {
            let world = bench.surroundings.world();
            let desired = bench.rows.desired(bench.pool(), world, &bench.ways);
            desired.expect("a table").settling
        };
        assert!(!settling(&bench));
        let check = bench.pool().check.clone();
        bench.rows.settle(&check, bench.surroundings.world().now);
        let window = check.interval * check.fall + check.timeout;
        assert_eq!(window, Duration::from_secs(7));
        bench.surroundings.pass(window - Duration::from_millis(1));
        assert!(settling(&bench));
        bench.surroundings.pass(Duration::from_millis(1));
        assert!(!settling(&bench));
    }
}
