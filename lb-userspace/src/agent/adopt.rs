//! What a running datapath tells the agent that takes it over. Pure.
//!
//! Checks and netlink need a moment; until they have spoken, what the live bank holds is the best that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::abi::{Backend, Shared, backend_flags};
use lb_common::tunnel;

use super::ways::Ways;
use crate::health::Target;
use crate::model::{Pool, PoolName, Settings, Vlan};
use crate::plan::desired::{NextHop, address_of, words};
use crate::plan::{Image, Observed, Slots};
use crate::status::Health;

/// Read from the live bank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Of configured backends.
    pub verdicts: BTreeMap<Target, Health>,
    /// Next hops and tunnel sources.
    pub ways: Ways,
    /// Pools whose table had just changed.
    pub settling: BTreeSet<PoolName>,
}

impl Adopted {
    /// What `observed` says about the backends of `settings`; `slots` are the numbers the former agent gave.
    pub fn read(settings: &Settings, slots: &Slots, observed: &Observed) -> Self {
        let Some(image) = &observed.image else {
            return Self::default();
        };
        let mut adopted = Self {
            ways: ways(image),
            ..Self::default()
        };
        for pool in settings.pools.values() {
            let place = place(settings, slots, image, pool);
            for backend in &pool.backends {
                let found =
                    place.and_then(|first| member(image, slots, pool, first, backend.address));
                let found = found.or_else(|| anywhere(image, backend.address));
                if let Some(health) = found.and_then(verdict) {
                    let target = Target {
                        pool: pool.name.clone(),
                        address: backend.address,
                    };
                    adopted.verdicts.insert(target, health);
                }
            }
        }
        let settling = image
            .services
            .iter()
            .filter(|service| service.tunnel_flags & tunnel::flags::SETTLING != 0)
            .filter_map(|service| slots.pool_of_table(service.table));
        adopted.settling = settling.cloned().collect();
        adopted
    }
}

/// The number of a pool's first backend, found by the counter of one of its services.
fn place(settings: &Settings, slots: &Slots, image: &Image, pool: &Pool) -> Option<u32> {
    settings
        .services
        .iter()
        .filter(|service| service.pool.as_ref() == Some(&pool.name))
        .find_map(|service| {
            let (counter, _) = slots.of_service(&service.name)?;
            let entry = image
                .services
                .iter()
                .find(|entry| entry.service_counter == counter)?;
            Some(u32::from(entry.first_backend))
        })
}

/// The backend of a pool. One in two pools has two verdicts, as it has two checks.
fn member<'a>(
    image: &'a Image,
    slots: &Slots,
    pool: &Pool,
    first: u32,
    address: IpAddr,
) -> Option<&'a Backend> {
    let slot = *slots.of_pool(&pool.name)?.get(&address)?;
    let backend = image.backends.get(first as usize + usize::from(slot))?;
    (backend.address == words(address)).then_some(backend)
}

/// The same without numbers: those of an agent that lost its state.
fn anywhere(image: &Image, address: IpAddr) -> Option<&Backend> {
    let address = words(address);
    image
        .backends
        .iter()
        .find(|backend| backend.address == address)
}

fn verdict(backend: &Backend) -> Option<Health> {
    if backend.flags & backend_flags::JUDGED == 0 {
        return None;
    }
    Some(if backend.flags & backend_flags::UP != 0 {
        Health::Up
    } else {
        Health::Down
    })
}

fn ways(image: &Image) -> Ways {
    let Shared {
        source_v4,
        source_v6,
        ..
    } = image.shared;
    let reachable = image
        .backends
        .iter()
        .filter(|backend| backend.flags & backend_flags::REACHABLE != 0);
    Ways {
        next_hops: reachable
            .map(|backend| (address_of(backend.address), next_hop(backend)))
            .collect(),
        source_v4: (source_v4 != 0).then(|| source_v4.to_ne_bytes().into()),
        source_v6: match address_of(source_v6) {
            IpAddr::V6(v6) if !v6.is_unspecified() => Some(v6),
            IpAddr::V6(_) | IpAddr::V4(_) => None,
        },
        // Routers say it again when they are asked to.
        path_mtus: BTreeMap::new(),
    }
}

fn next_hop(backend: &Backend) -> NextHop {
    let [d0, d1, d2, d3, d4, d5, s0, s1] = backend.macs_low.to_ne_bytes();
    let [s2, s3, s4, s5] = backend.macs_high().to_ne_bytes();
    NextHop {
        ifindex: backend.ifindex,
        mtu: backend.mtu.into(),
        source_mac: [s0, s1, s2, s3, s4, s5],
        destination_mac: [d0, d1, d2, d3, d4, d5],
        vlan: Vlan::from_wire(backend.vlan),
        local: backend.flags & backend_flags::LOCAL != 0,
        on_link: backend.flags & backend_flags::ON_LINK != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::core::Core;
    use crate::agent::state::State;
    use crate::agent::testing::{self, Surroundings, address, settings};
    use crate::plan::plan;

    /// What a former agent with this configuration leaves: its state, and a datapath that holds what it wanted.
    fn former(settings: &Settings, surroundings: &Surroundings) -> (State, Observed) {
        let mut core = Core::new(settings.clone(), State::default(), Adopted::default());
        core.update(surroundings.world()).expect("few members");
        let desired = core.desired(surroundings.world()).expect("a key");
        let (image, _) = desired.image(&mut core.state.slots).expect("an image");
        let observed = Observed {
            bank: 1,
            image: Some(image),
            ..Observed::default()
        };
        (core.state, observed)
    }

    fn two_pools() -> Settings {
        settings(&format!(
            "{}{}",
            testing::pool("a", "198.51.100.1", &[1, 2], ""),
            testing::pool("b", "198.51.100.2", &[2, 3], "")
        ))
    }

    fn target(pool: &str, backend: &str) -> Target {
        Target {
            pool: testing::name(pool),
            address: address(backend),
        }
    }

    #[test]
    fn nothing_is_read_from_nothing() {
        let adopted = Adopted::read(&two_pools(), &Slots::default(), &Observed::default());
        assert_eq!(adopted, Adopted::default());
    }

    #[test]
    fn verdicts_come_back_by_pool_and_backend() {
        let settings = two_pools();
        let mut surroundings = Surroundings::of(&settings);
        surroundings.say("a", "10.1.0.2", Health::Down);
        surroundings.say("b", "10.1.0.3", Health::Unknown);
        let (state, observed) = former(&settings, &surroundings);
        let adopted = Adopted::read(&settings, &state.slots, &observed);
        let expected = [
            (target("a", "10.1.0.1"), Health::Up),
            (target("a", "10.1.0.2"), Health::Down),
            (target("b", "10.1.0.2"), Health::Up),
        ];
        assert_eq!(
            adopted.verdicts,
            expected.into(),
            "none of one never judged"
        );
    }

    #[test]
    fn without_the_former_numbers_a_backend_is_found_by_its_address() {
        let settings = settings(&testing::pool("a", "198.51.100.1", &[1, 2], ""));
        let mut surroundings = Surroundings::of(&settings);
        surroundings.say("a", "10.1.0.2", Health::Down);
        let (_, observed) = former(&settings, &surroundings);
        let adopted = Adopted::read(&settings, &Slots::default(), &observed);
        let expected = [
            (target("a", "10.1.0.1"), Health::Up),
            (target("a", "10.1.0.2"), Health::Down),
        ];
        assert_eq!(adopted.verdicts, expected.into());
    }

    #[test]
    fn ways_and_sources_come_back_as_they_were() {
        let settings = two_pools();
        let mut surroundings = Surroundings::of(&settings);
        surroundings.route("10.1.0.3", Err(crate::netlink::Unresolved::NoRoute));
        let (state, observed) = former(&settings, &surroundings);
        let mut expected = Ways::default();
        let world = surroundings.world();
        let targets = world.next_hops.keys().copied().collect();
        expected.learn(&targets, world.next_hops, &settings.node);
        let adopted = Adopted::read(&settings, &state.slots, &observed);
        assert_eq!(adopted.ways, expected);
        assert_eq!(adopted.ways.next_hops.len(), 2);
    }

    #[test]
    fn pools_that_were_settling_are_found() {
        let settings = two_pools();
        let surroundings = Surroundings::of(&settings);
        let (state, mut observed) = former(&settings, &surroundings);
        let image = observed.image.as_mut().expect("an image");
        let pair = image.services.last().expect("a service").table;
        image.settle(&[pair].into());
        let settling = Adopted::read(&settings, &state.slots, &observed).settling;
        assert_eq!(settling, [testing::name("b")].into());
    }

    /// The promise of a restart: before checks and netlink have spoken, the new agent wants exactly what is there.
    #[test]
    fn an_agent_that_knows_nothing_else_wants_what_is_there() {
        let settings = two_pools();
        let mut surroundings = Surroundings::of(&settings);
        surroundings.say("a", "10.1.0.2", Health::Down);
        let (state, observed) = former(&settings, &surroundings);
        let adopted = Adopted::read(&settings, &state.slots, &observed);

        let mut silent = Surroundings::of(&settings);
        for (target, health) in &adopted.verdicts {
            silent.say(&target.pool.0, &target.address.to_string(), *health);
        }
        for backend in ["10.1.0.1", "10.1.0.2", "10.1.0.3"] {
            silent.route(backend, Err(crate::netlink::Unresolved::Pending));
        }
        let mut core = Core::new(settings, state, adopted);
        assert_eq!(
            core.update(silent.world()),
            Ok(false),
            "nothing to remember"
        );
        let desired = core.desired(silent.world()).expect("a key");
        let (image, zeroing) = desired.image(&mut core.state.slots).expect("an image");
        assert_eq!(zeroing, []);
        assert_eq!(plan(&image, &observed).expect("a plan"), []);
    }
}
