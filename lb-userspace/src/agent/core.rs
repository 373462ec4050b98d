//! The agent's decisions: from configuration, overrides, health and next hops to what the datapath should hold and what may be
//! announced. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use lb_common::flow::FlowKey;

use super::adopt::Adopted;
use super::capacity::Capacity;
use super::overrides::Overrides;
use super::pool::{PoolRows, World, input};
use super::state::State;
use super::tunnels::tunnels;
use super::ways::Ways;
use crate::health::Target;
use crate::model::{
    AdminState, Check, Encap, HashKey, Mode, Pool, PoolName, Protocol, Service, Settings, UdpFlows,
    Vip,
};
use crate::path_mtu::Tunnels;
use crate::plan::desired::NextHop;
use crate::plan::{Desired, DesiredService, ServiceOptions};
use crate::rows::PREVIOUS_MAX;
use crate::rows::input::TooManyMembers;
use crate::status::Health;

/// Configuration in force, remembered state, and the rows that follow.
pub struct Core {
    /// In force.
    pub settings: Settings,
    /// Remembered.
    pub state: State,
    pub(super) rows: BTreeMap<PoolName, PoolRows>,
    ways: Ways,
    /// Overrides as the rows have them.
    said: Overrides,
    /// Pools found settling; each until its rows are there.
    settling: BTreeSet<PoolName>,
}

impl Core {
    /// From a configuration, what was remembered, and what the datapath said.
    pub fn new(settings: Settings, state: State, adopted: Adopted) -> Self {
        Self {
            said: state.overrides.clone(),
            settings,
            state,
            rows: BTreeMap::new(),
            ways: adopted.ways,
            settling: adopted.settling,
        }
    }

    /// What is to be checked, and how.
    pub fn targets(&self) -> BTreeMap<Target, Check> {
        let of_pool = |pool: &Pool| {
            let (name, check) = (pool.name.clone(), pool.check.clone());
            let backends = pool.backends.clone().into_iter();
            backends.map(move |backend| {
                (
                    Target {
                        pool: name.clone(),
                        address: backend.address,
                    },
                    check.clone(),
                )
            })
        };
        self.settings.pools.values().flat_map(of_pool).collect()
    }

    /// Whose next hops are needed: every configured backend, and those that rows may still name.
    pub fn next_hop_targets(&self) -> BTreeSet<IpAddr> {
        let configured = self
            .settings
            .pools
            .values()
            .flat_map(|pool| &pool.backends)
            .map(|backend| backend.address);
        let remembered = self
            .state
            .histories
            .values()
            .flat_map(|history| {
                // After a reload the current one is still that of the configuration before.
                let previous = history.previous().into_iter().take(PREVIOUS_MAX);
                history.current().into_iter().chain(previous)
            })
            .flat_map(|input| input.members())
            .map(|member| member.address);
        configured.chain(remembered).collect()
    }

    /// Brings inputs, histories and rows up to date. True where the remembered state changed.
    pub fn update(&mut self, world: World<'_>) -> Result<bool, TooManyMembers> {
        let Some(key) = self.settings.node.hash_key else {
            return Ok(false);
        };
        let before = self.state.clone();
        self.ways.learn(
            &self.next_hop_targets(),
            world.next_hops,
            &self.settings.node,
        );
        self.ways.path_mtus.clone_from(world.path_mtus);
        self.forget_pools();
        self.forget_overrides();
        self.forget_withdrawn();
        self.forget_attacks();
        self.forget_shut_down();
        let mut changed = self.said != self.state.overrides;
        self.said.clone_from(&self.state.overrides);
        for (name, pool) in &self.settings.pools {
            let none = BTreeMap::new();
            let said = self.said.get(name).unwrap_or(&none);
            let input = input(pool, said)?;
            let history = self.state.histories.entry(name.clone()).or_default();
            changed |= history.remember(&input, world.now_secs);
            history.expire(world.now_secs, self.settings.node.flow_memory);
            let rows = self
                .rows
                .entry(name.clone())
                .or_insert_with(|| PoolRows::new(&key));
            if self.settling.remove(name) {
                rows.settle(&pool.check, world.now);
            }
            rows.update(pool, said, history, world, &self.ways);
        }
        self.state.generation += u64::from(changed);
        Ok(self.state != before)
    }

    /// The datapath gets other rows for the pools at these pairs of tables.
    pub fn settle(&mut self, pairs: &BTreeSet<u32>, now: Instant) {
        for pair in pairs {
            let name = self.state.slots.pool_of_table(*pair);
            let pool = name.and_then(|name| self.settings.pools.get(name));
            if let Some(pool) = pool
                && let Some(rows) = self.rows.get_mut(&pool.name)
            {
                rows.settle(&pool.check, now);
            }
        }
    }

    /// The way to a backend.
    pub fn way_to(&self, address: IpAddr) -> Option<NextHop> {
        self.ways.to(address)
    }

    /// What fits the way to a backend, where routers say that it is less than its next hop takes.
    pub fn path_mtu(&self, address: IpAddr) -> Option<u32> {
        self.ways.path_mtu(address)
    }

    /// What routers may speak of.
    pub fn tunnels(&self) -> Tunnels {
        tunnels(&self.settings, &self.ways)
    }

    /// What the datapath should hold.
    pub fn desired(&self, world: World<'_>) -> Option<Desired> {
        let HashKey(key) = self.settings.node.hash_key?;
        let pools: BTreeMap<_, _> = self
            .rows
            .iter()
            .filter_map(|(name, rows)| {
                let pool = self.settings.pools.get(name)?;
                Some((name.clone(), rows.desired(pool, world, &self.ways)?))
            })
            .collect();
        let members = pools
            .values()
            .flat_map(|pool| pool.members.iter().map(|member| member.address));
        let (source_v4, source_v6) = (self.ways.source_v4, self.ways.source_v6);
        let sources = source_v4
            .map(IpAddr::V4)
            .into_iter()
            .chain(source_v6.map(IpAddr::V6));
        let own = members.chain(sources).collect();
        let services = self.settings.services.iter().filter_map(|service| {
            Some(DesiredService {
                name: service.name.clone(),
                vip: service.vip,
                protocol: service.protocol,
                ports: service.ports.clone(),
                pool: service.pool.clone()?,
                options: ServiceOptions {
                    hash: service.hash,
                    fragments: service.fragments,
                    filter: service.filter.clone(),
                    rate: service.rate,
                    source_rate: service.source_rate,
                    flow_timeout: flow_timeout(&self.settings, service),
                    attack: self.is_attacked(service),
                },
            })
        });
        Some(Desired {
            flow_key: FlowKey::new(key),
            source_v4,
            source_v6,
            generation: self.state.generation,
            jiffies_per_sec: world.jiffies_per_sec,
            own,
            services: services.collect(),
            pools,
        })
    }

    /// What each pool can do now.
    pub fn capacities(&self, world: World<'_>) -> BTreeMap<PoolName, Capacity> {
        let of = |pool: &Pool| self.capacity(pool, world);
        self.settings
            .pools
            .iter()
            .map(|(name, pool)| (name.clone(), of(pool)))
            .collect()
    }

    /// What a pool can do now; it need not be one of the configuration in force.
    pub(super) fn capacity(&self, pool: &Pool, world: World<'_>) -> Capacity {
        let mut capacity = Capacity {
            judged: true,
            ..Capacity::default()
        };
        let admin = |address| self.override_of(&pool.name, address).admin();
        let mut backends = pool.backends.iter();
        // Where all are draining, none is: new flows go to all of them.
        let none_ready = backends.all(|backend| admin(backend.address) != AdminState::Ready);
        for backend in &pool.backends {
            let target = Target {
                pool: pool.name.clone(),
                address: backend.address,
            };
            let verdict = world.verdicts.by_target.get(&target);
            let up = verdict.is_some_and(|verdict| verdict.health == Health::Up);
            let reached = up && self.reaches(pool.encap, backend.address);
            let ready = match admin(backend.address) {
                AdminState::Ready => reached,
                AdminState::Draining => reached && none_ready,
                AdminState::Disabled => false,
            };
            capacity.configured += 1;
            capacity.healthy += usize::from(up);
            capacity.reached += usize::from(reached);
            capacity.ready += usize::from(ready);
            capacity.judged &= verdict.is_some_and(|verdict| verdict.judged);
        }
        capacity
    }

    /// Whether packets find their way to a backend; a node without interfaces sends none.
    pub fn reaches(&self, encap: Encap, address: IpAddr) -> bool {
        self.settings.node.interfaces.is_empty() || self.ways.by(encap, address).is_some()
    }

    /// Addresses of documentation that are neither VIPs nor ours: self-probes come from them.
    pub fn probe_sources(&self) -> (Ipv4Addr, Ipv6Addr) {
        let own = self.own_addresses();
        let vips = || self.settings.services.iter().map(|service| service.vip);
        let free =
            |address: IpAddr| !own.contains(&address) && Vip::around(vips(), address).is_none();
        let v4 = DOCUMENTATION_V4
            .into_iter()
            .flat_map(|network| (1..=255).map(move |n| Ipv4Addr::from_bits(network.to_bits() + n)));
        let v6 = DOCUMENTATION_V6
            .into_iter()
            .flat_map(|network| (1..=255).map(move |n| Ipv6Addr::from_bits(network.to_bits() + n)));
        // Where none is free, the probe tells.
        let first_v4 = { v4 }.find(|v4| free((*v4).into()));
        let first_v6 = { v6 }.find(|v6| free((*v6).into()));
        (
            first_v4.unwrap_or(DOCUMENTATION_V4[0]),
            first_v6.unwrap_or(DOCUMENTATION_V6[0]),
        )
    }

    /// An address of the service's VIP at which it is the service's: self-probes go there. None: longer VIPs and addresses of our own
    /// leave it none.
    pub fn probe_target(&self, service: &Service) -> Option<IpAddr> {
        if let Some(single) = service.vip.single() {
            return Some(single);
        }
        let services = self.settings.services.iter();
        let vips = services.map(|service| service.vip.net());
        let own = self.own_addresses().into_iter().map(IpNet::from);
        service.vip.address_beside(vips.chain(own))
    }

    /// Of backends and of this node.
    fn own_addresses(&self) -> BTreeSet<IpAddr> {
        let sources = self.ways.source_v4.map(IpAddr::V4).into_iter();
        let sources = sources.chain(self.ways.source_v6.map(IpAddr::V6));
        self.next_hop_targets().into_iter().chain(sources).collect()
    }

    /// Rows of a pool.
    pub fn rows(&self, pool: &PoolName) -> Option<&PoolRows> {
        self.rows.get(pool)
    }

    /// A pool that left the configuration is forgotten.
    fn forget_pools(&mut self) {
        let pools = &self.settings.pools;
        self.rows.retain(|name, _| pools.contains_key(name));
        self.state
            .histories
            .retain(|name, _| pools.contains_key(name));
    }
}

/// Networks for documentation (RFC 5737, RFC 3849, RFC 9637).
const DOCUMENTATION_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(192, 0, 2, 0),
    Ipv4Addr::new(198, 51, 100, 0),
    Ipv4Addr::new(203, 0, 113, 0),
];
const DOCUMENTATION_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
    Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
];

/// Longer than it takes Linux to find out that a silent peer is gone, by keepalives (tcp(7): 7200 s, and 9 times 75 s).
const TCP_SILENCE: Duration = Duration::from_secs(8_100);

/// How long the node remembers a silent flow of the service; none: not at all.
fn flow_timeout(settings: &Settings, service: &Service) -> Option<Duration> {
    let pool = settings.pools.get(service.pool.as_ref()?)?;
    match (pool.mode, service.protocol, service.udp) {
        (Mode::FlowTable, Protocol::Tcp, _) => Some(TCP_SILENCE),
        (Mode::FlowTable, Protocol::Udp, UdpFlows::FlowTable) => Some(service.udp_timeout),
        (Mode::FlowTable | Mode::Rows | Mode::Stateless, _, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agent::testing::{self, Surroundings, address, fresh, settings, web};
    use crate::netlink::Unresolved;

    /// A core that has been brought up to date with its surroundings.
    fn up_to_date(settings: &Settings, surroundings: &Surroundings) -> Core {
        let mut core = fresh(settings);
        core.update(surroundings.world()).expect("few members");
        core
    }

    fn obstacle(core: &Core, surroundings: &Surroundings) -> Option<String> {
        let service = &core.settings.services[0];
        let capacities = core.capacities(surroundings.world());
        capacities[&testing::name("web")]
            .servable(service.need, service.below_need)
            .obstacle
    }

    #[test]
    fn flows_are_remembered_where_pool_and_service_say_so() {
        let pool = testing::pool("web", "198.51.100.1", &[1, 2], "");
        let udp = |more: &str| {
            pool.replace("protocol = \"tcp\"", "protocol = \"udp\"") + &format!("{more}\n")
        };
        let plain = |text: String| {
            text.replace(
                "[[pool]]\n",
                "[[pool]]\nencap = \"ipip\"\nmode = \"flow-table\"\n",
            )
        };
        for (about, lines, seconds) in [
            ("TCP by rows", pool.clone(), None),
            ("UDP by rows", udp(""), None),
            ("TCP", plain(pool.clone()), Some(8_100)),
            ("UDP", plain(udp("")), Some(120)),
            (
                "UDP, soon forgotten",
                plain(udp("udp_timeout = \"5s\"")),
                Some(5),
            ),
            ("UDP without flows", plain(udp("udp = \"stateless\"")), None),
        ] {
            let settings = settings(&lines);
            let timeout = flow_timeout(&settings, &settings.services[0]);
            assert_eq!(timeout.map(|timeout| timeout.as_secs()), seconds, "{about}");
        }
    }

    #[test]
    fn need_counts_healthy_backends_with_a_way() {
        use Health::{Down, Unknown, Up};
        for (about, need, healths, routes, expected) in [
            ("all up", "need = 3", [Up, Up, Up], 3, None),
            (
                "one down",
                "need = 3",
                [Up, Up, Down],
                3,
                Some("2 of 3 backends healthy, 3 needed"),
            ),
            (
                "one down of two needed",
                "need = 2",
                [Up, Up, Down],
                3,
                None,
            ),
            (
                "not asked yet is not healthy",
                "need = 2",
                [Up, Unknown, Unknown],
                3,
                Some("1 of 3 backends healthy, 2 needed"),
            ),
            (
                "a share, rounded up",
                "need = \"34%\"",
                [Up, Down, Down],
                3,
                Some("1 of 3 backends healthy, 2 needed"),
            ),
            (
                "a share that is met",
                "need = \"34%\"",
                [Up, Up, Down],
                3,
                None,
            ),
            ("30% by default", "", [Up, Down, Down], 3, None),
            (
                "never none",
                "need = \"1%\"",
                [Down, Down, Down],
                3,
                Some("0 of 3 backends healthy, 1 needed"),
            ),
            (
                "no way to two",
                "need = 2",
                [Up, Up, Up],
                1,
                Some("1 of 3 backends healthy and with a next hop, 2 needed"),
            ),
        ] {
            let settings = web(&[1, 2, 3], need);
            let mut surroundings = Surroundings::of(&settings);
            for (n, health) in (1..).zip(healths) {
                surroundings.say("web", &format!("10.1.0.{n}"), health);
            }
            for n in routes + 1..=3 {
                surroundings.route(&format!("10.1.0.{n}"), Err(Unresolved::NoRoute));
            }
            let core = up_to_date(&settings, &surroundings);
            assert_eq!(
                obstacle(&core, &surroundings).as_deref(),
                expected,
                "{about}"
            );
        }
    }

    #[test]
    fn draining_backends_do_not_serve_unless_all_are_draining() {
        let settings = web(&[1, 2], "need = 1");
        let mut surroundings = Surroundings::of(&settings);
        let mut core = up_to_date(&settings, &surroundings);
        core.set_admin(None, "be1", AdminState::Draining, false)
            .expect("known");
        assert_eq!(obstacle(&core, &surroundings), None, "the other serves");
        surroundings.say("web", "10.1.0.2", Health::Down);
        assert_eq!(
            obstacle(&core, &surroundings).as_deref(),
            Some("0 of 2 backends healthy and ready, 1 needed"),
            "new flows would go to the one that is down"
        );
        core.set_admin(None, "be2", AdminState::Draining, false)
            .expect("known");
        assert_eq!(obstacle(&core, &surroundings), None, "all count again");
    }

    #[test]
    fn what_is_known_of_a_way_stays_while_the_kernel_is_asked_again() {
        let settings = web(&[1], "");
        let mut surroundings = Surroundings::of(&settings);
        let mut core = up_to_date(&settings, &surroundings);
        surroundings.route("10.1.0.1", Err(Unresolved::Incomplete(address("10.1.0.1"))));
        core.update(surroundings.world()).expect("few members");
        assert_eq!(obstacle(&core, &surroundings), None);
        surroundings.route("10.1.0.1", Err(Unresolved::NoRoute));
        core.update(surroundings.world()).expect("few members");
        assert!(obstacle(&core, &surroundings).is_some());
    }

    #[test]
    fn only_a_change_of_inputs_changes_the_remembered_state() {
        let settings = web(&[1, 2, 3], "");
        let mut surroundings = Surroundings::of(&settings);
        let mut core = fresh(&settings);
        assert_eq!(
            core.update(surroundings.world()),
            Ok(true),
            "the first input"
        );
        assert_eq!(core.state.generation, 1);
        assert_eq!(core.update(surroundings.world()), Ok(false));
        surroundings.say("web", "10.1.0.1", Health::Down);
        surroundings.pass(Duration::from_secs(60));
        assert_eq!(
            core.update(surroundings.world()),
            Ok(false),
            "health is no input"
        );
        core.set_admin(None, "be2", AdminState::Draining, false)
            .expect("known");
        assert_eq!(core.update(surroundings.world()), Ok(true));
        assert_eq!(core.state.generation, 2);
        surroundings.pass(Duration::from_secs(24 * 3600));
        assert_eq!(
            core.update(surroundings.world()),
            Ok(true),
            "an input is forgotten"
        );
        assert_eq!(core.state.generation, 2, "and the rows stay the same");
    }

    #[test]
    fn a_backend_that_leaves_takes_its_override_along_and_is_still_resolved() {
        let settings = web(&[1, 2, 3], "");
        let surroundings = Surroundings::of(&settings);
        let mut core = up_to_date(&settings, &surroundings);
        core.set_admin(None, "be1", AdminState::Draining, false)
            .expect("known");
        core.settings = web(&[2, 3], "");
        core.update(surroundings.world()).expect("few members");
        assert_eq!(core.state.overrides, BTreeMap::new());
        let removed = address("10.1.0.1");
        assert!(core.next_hop_targets().contains(&removed));
        let desired = core.desired(surroundings.world()).expect("a key");
        let members = &desired.pools[&testing::name("web")].members;
        let found = members.iter().find(|member| member.address == removed);
        assert!(
            found.is_some_and(|member| member.next_hop.is_some()),
            "an alternate"
        );
        assert!(desired.own.contains(&removed), "never a client");
    }

    #[test]
    fn a_restarted_agent_asks_for_the_ways_of_remembered_backends_at_once() {
        let before = web(&[1, 2, 3], "");
        let mut surroundings = Surroundings::of(&before);
        let mut core = up_to_date(&before, &surroundings);
        core.settings = web(&[2, 3], "");
        core.update(surroundings.world()).expect("few members");
        let restarted = Core::new(
            core.settings.clone(),
            core.state.clone(),
            Adopted::default(),
        );
        assert_eq!(restarted.next_hop_targets(), core.next_hop_targets());
        surroundings.pass(Duration::from_secs(24 * 3600));
        core.update(surroundings.world()).expect("few members");
        assert!(
            !core.next_hop_targets().contains(&address("10.1.0.1")),
            "forgotten"
        );
    }

    #[test]
    fn pools_that_settled_when_they_were_adopted_go_on_settling() {
        let settings = web(&[1, 2], "");
        let mut surroundings = Surroundings::of(&settings);
        let adopted = Adopted {
            settling: [testing::name("web")].into(),
            ..Adopted::default()
        };
        let mut core = Core::new(settings, State::default(), adopted);
        let settling = |core: &mut Core, surroundings: &Surroundings| {
            core.update(surroundings.world()).expect("few members");
            let desired = core.desired(surroundings.world()).expect("a key");
            desired.pools[&testing::name("web")].settling
        };
        assert!(settling(&mut core, &surroundings));
        surroundings.pass(Duration::from_secs(7));
        assert!(!settling(&mut core, &surroundings));
    }

    #[test]
    fn what_routers_say_narrows_the_pool_while_it_holds() {
        let settings = web(&[1, 2], "");
        let mut surroundings = Surroundings::of(&settings);
        let mut core = fresh(&settings);
        let mut mtu = |surroundings: &Surroundings| {
            core.update(surroundings.world()).expect("few members");
            let desired = core.desired(surroundings.world()).expect("a key");
            let (image, _) = desired.image(&mut core.state.slots).expect("an image");
            let learned = [1, 2].map(|n| core.path_mtu([10, 1, 0, n].into()));
            (image.services[0].tunnel_mtu, learned)
        };
        assert_eq!(mtu(&surroundings), (1500, [None, None]));
        surroundings.narrow("10.1.0.1", 1600);
        assert_eq!(mtu(&surroundings), (1500, [None, None]), "never raised");
        surroundings.narrow("10.1.0.2", 1400);
        assert_eq!(mtu(&surroundings), (1400, [None, Some(1400)]));
        surroundings.route("10.1.0.2", Err(Unresolved::Pending));
        assert_eq!(mtu(&surroundings), (1400, [None, Some(1400)]));
        surroundings.widen();
        assert_eq!(mtu(&surroundings), (1500, [None, None]));
    }

    #[test]
    fn judged_means_every_backend_of_the_pool() {
        let settings = web(&[1, 2], "");
        let mut surroundings = Surroundings::of(&settings);
        let core = up_to_date(&settings, &surroundings);
        let judged = |surroundings: &Surroundings| {
            core.capacities(surroundings.world())[&testing::name("web")].judged
        };
        assert!(judged(&surroundings));
        surroundings.unjudge();
        assert!(!judged(&surroundings));
        surroundings.say("web", "10.1.0.1", Health::Up);
        assert!(!judged(&surroundings), "one is not enough");
        surroundings.say("web", "10.1.0.2", Health::Down);
        assert!(judged(&surroundings));
    }

    #[test]
    fn probes_go_where_no_longer_vip_is() {
        let one = |name: &str, vip: &str| testing::pool(name, vip, &[1], "");
        let settings = settings(
            &[
                one("net", "203.0.113.0/24"),
                one("half", "203.0.113.0/25"),
                one("host", "203.0.113.128"),
                one("documentation", "192.0.2.0/24"),
            ]
            .concat(),
        );
        let core = up_to_date(&settings, &Surroundings::of(&settings));
        let targets = core.settings.services.iter();
        let targets: Vec<_> = targets
            .map(|service| core.probe_target(service).expect("one is free").to_string())
            .collect();
        assert_eq!(
            targets,
            ["203.0.113.129", "203.0.113.0", "203.0.113.128", "192.0.2.0"]
        );
        let (v4, _) = core.probe_sources();
        assert_eq!(v4, Ipv4Addr::new(198, 51, 100, 1), "those before are VIPs");
    }

    #[test]
    fn probes_come_from_nobody() {
        let settings = settings(&testing::pool("web", "192.0.2.1", &[1], ""));
        let surroundings = Surroundings::of(&settings);
        let core = up_to_date(&settings, &surroundings);
        let (v4, v6) = core.probe_sources();
        assert_eq!(v4, Ipv4Addr::new(192, 0, 2, 2), "the first is a VIP");
        assert_eq!(v6, "2001:db8::1".parse::<Ipv6Addr>().expect("an address"));
    }
}
