//! What the operator says about backends of this node, over the configuration. Pure.
//!
//! An override holds over restarts of the agent, which change nothing, and until the box reboots; over that as well where the
//! operator asked for it. It never reaches another node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::core::Core;
use crate::model::{AdminState, Backend, Pool, PoolName};
use crate::rows::History;
use crate::status::Refusal;

/// By pool and backend.
pub type Overrides = BTreeMap<PoolName, BTreeMap<IpAddr, Override>>;

/// What was said of one backend; by default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Override {
    /// Where it is not [`AdminState::Ready`].
    pub admin: Option<Said<AdminState>>,
    /// Instead of the configured weight.
    pub weight: Option<Said<u16>>,
}

/// Something the operator said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said<T> {
    /// What.
    pub value: T,
    /// Whether it outlasts a reboot.
    pub persist: bool,
}

/// As state files have it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    /// Of an agent that knew nothing but states, and kept them for good.
    Admin(AdminState),
    Override {
        admin: Option<Said<AdminState>>,
        weight: Option<Said<u16>>,
    },
}

impl From<Written> for Override {
    fn from(written: Written) -> Self {
        match written {
            Written::Admin(value) => Override {
                admin: Some(Said {
                    value,
                    persist: true,
                }),
                weight: None,
            },
            Written::Override { admin, weight } => Override { admin, weight },
        }
    }
}

impl Override {
    /// The state in force.
    pub fn admin(&self) -> AdminState {
        self.admin.map(|said| said.value).unwrap_or_default()
    }

    /// The weight in force of a backend with this one in its configuration.
    pub fn weight(&self, configured: u16) -> u16 {
        self.weight.map_or(configured, |said| said.value)
    }

    /// What is left of it after a reboot.
    fn after_reboot(self) -> Self {
        Override {
            admin: self.admin.filter(|said| said.persist),
            weight: self.weight.filter(|said| said.persist),
        }
    }
}

/// What outlasts a reboot.
pub fn after_reboot(overrides: &Overrides) -> Overrides {
    let mut left = overrides.clone();
    for backend in left.values_mut().flat_map(BTreeMap::values_mut) {
        *backend = backend.after_reboot();
    }
    without_silence(&mut left);
    left
}

fn without_silence(overrides: &mut Overrides) {
    overrides.retain(|_, backends| {
        backends.retain(|_, said| *said != Override::default());
        !backends.is_empty()
    });
}

impl Core {
    /// Takes the operator's word about a backend, by address or name; says what that means.
    pub fn set_admin(
        &mut self,
        pool: Option<&PoolName>,
        backend: &str,
        admin: AdminState,
        persist: bool,
    ) -> Result<String, Refusal> {
        let found = self.backends_named(pool, backend)?;
        if admin == AdminState::Disabled {
            self.refuse_the_last(backend, &found)?;
        }
        let said = (admin != AdminState::Ready).then_some(Said {
            value: admin,
            persist,
        });
        let places = self.say(&found, |one| one.admin = said);
        let loss = match admin {
            AdminState::Ready | AdminState::Draining => "",
            AdminState::Disabled => ", and the connections that it has through this node are lost",
        };
        let span = span(said.is_some(), persist);
        Ok(format!(
            "{backend} is {admin} in {places}{loss}; this node only{span}"
        ))
    }

    /// Puts a weight over the configured one, or takes that back; says what that means.
    pub fn set_weight(
        &mut self,
        pool: Option<&PoolName>,
        backend: &str,
        weight: Option<u16>,
        persist: bool,
    ) -> Result<String, Refusal> {
        if weight.is_some_and(|weight| !(1..=1000).contains(&weight)) {
            return Err(Refusal::usage(
                "a weight is 1 to 1000: `anylb backend drain` gives a backend no new flows",
            ));
        }
        let found = self.backends_named(pool, backend)?;
        let said = weight.map(|value| Said { value, persist });
        let places = self.say(&found, |one| one.weight = said);
        let what = match weight {
            Some(weight) => format!("has weight {weight}"),
            None => "has its configured weight".to_owned(),
        };
        let span = span(said.is_some(), persist);
        Ok(format!(
            "{backend} {what} in {places}; this node only{span}"
        ))
    }

    /// What the operator said about a backend.
    pub fn override_of(&self, pool: &PoolName, address: IpAddr) -> Override {
        let of_pool = self.state.overrides.get(pool);
        let said = of_pool.and_then(|backends| backends.get(&address));
        said.copied().unwrap_or_default()
    }

    /// What was said of pools and backends that left the configuration is forgotten; a backend that was disabled stays so
    /// while rows remember it, or its removal would make it an alternate.
    pub(super) fn forget_overrides(&mut self) {
        let (pools, histories) = (&self.settings.pools, &self.state.histories);
        self.state.overrides.retain(|name, overrides| {
            let configured = pools.get(name).map(|pool| pool.backends.as_slice());
            let configured = configured.unwrap_or_default();
            overrides.retain(|address, said| {
                configured.iter().any(|backend| backend.address == *address)
                    || said.admin() == AdminState::Disabled
                        && pools.contains_key(name)
                        && histories
                            .get(name)
                            .is_some_and(|of| remembers(of, *address))
            });
            !overrides.is_empty()
        });
    }

    /// Changes what is said of these backends; their pools.
    fn say(&mut self, backends: &[(PoolName, IpAddr)], change: impl Fn(&mut Override)) -> String {
        for (pool, address) in backends {
            let of_pool = self.state.overrides.entry(pool.clone()).or_default();
            change(of_pool.entry(*address).or_default());
        }
        without_silence(&mut self.state.overrides);
        let pools: Vec<&str> = backends.iter().map(|(pool, _)| pool.0.as_str()).collect();
        pools.join(", ")
    }

    fn backends_named(
        &self,
        pool: Option<&PoolName>,
        backend: &str,
    ) -> Result<Vec<(PoolName, IpAddr)>, Refusal> {
        let address: Option<IpAddr> = backend.parse().ok();
        let named = |candidate: &&Backend| {
            Some(candidate.address) == address || candidate.name.as_deref() == Some(backend)
        };
        let pools = self.settings.pools.values();
        let found: Vec<_> = pools
            .filter(|candidate| pool.is_none_or(|wanted| *wanted == candidate.name))
            .filter_map(|pool| Some((pool.name.clone(), pool.backends.iter().find(named)?.address)))
            .collect();
        if found.is_empty() {
            let place = pool.map_or_else(|| "any pool".to_owned(), |pool| format!("pool {pool}"));
            return Err(Refusal::not_found(format!(
                "no backend {backend} in {place}: see `anylb backend list`"
            )));
        }
        Ok(found)
    }

    /// A pool without any backend cannot serve: that is said of the VIP, not of backends one by one.
    fn refuse_the_last(
        &self,
        backend: &str,
        disabled: &[(PoolName, IpAddr)],
    ) -> Result<(), Refusal> {
        let stays = |pool: &Pool, address: IpAddr| {
            self.override_of(&pool.name, address).admin() != AdminState::Disabled
                && !disabled.contains(&(pool.name.clone(), address))
        };
        let pools = disabled
            .iter()
            .filter_map(|(name, _)| self.settings.pools.get(name));
        for pool in pools {
            if !pool.backends.iter().any(|one| stays(pool, one.address)) {
                return Err(Refusal::refused(format!(
                    "{backend} is the last backend of {} that is not disabled, nothing changed: `anylb service withdraw` \
                     takes a VIP off this node",
                    pool.name
                )));
            }
        }
        Ok(())
    }
}

/// Whether a backend is in the current input or in one before.
fn remembers(history: &History, address: IpAddr) -> bool {
    let inputs = history.current().into_iter().chain(history.previous());
    let mut members = inputs.flat_map(|input| input.members());
    members.any(|member| member.address == address)
}

/// How long what was said holds, in words behind "this node only".
fn span(is_said: bool, persist: bool) -> &'static str {
    match (is_said, persist) {
        (false, _) => "",
        (true, false) => ", until it reboots",
        (true, true) => ", also after a reboot",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::{self, Surroundings, address, fresh, settings, web};
    use crate::status::{Exit, Health};

    fn obstacle(core: &Core, surroundings: &Surroundings) -> Option<String> {
        let capacities = core.capacities(surroundings.world());
        let service = &core.settings.services[0];
        capacities[&testing::name("web")]
            .servable(service.need, service.below_need)
            .obstacle
    }

    /// In how many rows a backend is first, and in how many it is at all.
    fn rows(core: &Core, backend: &str) -> (usize, usize) {
        let table = core
            .rows(&testing::name("web"))
            .and_then(|rows| rows.table());
        let table = table.expect("it is up to date");
        let found = table
            .members
            .iter()
            .position(|&one| one == address(backend));
        // A table has no number for who is in none of its rows.
        let Some(number) = found.map(|found| found as u16) else {
            return (0, 0);
        };
        let first = table.rows.iter().filter(|hops| hops[0] == number).count();
        let any = table
            .rows
            .iter()
            .filter(|hops| hops.contains(&number))
            .count();
        (first, any)
    }

    #[test]
    fn an_override_names_a_backend_by_address_or_name_in_one_pool_or_all() {
        let two = format!(
            "{}{}",
            testing::pool("a", "198.51.100.1", &[1, 2], ""),
            testing::pool("b", "198.51.100.2", &[2, 3], "")
        );
        let settings = settings(&two);
        let draining = |pool: Option<&str>, backend: &str| -> Result<Vec<String>, Refusal> {
            let mut core = fresh(&settings);
            let pool = pool.map(testing::name);
            core.set_admin(pool.as_ref(), backend, AdminState::Draining, false)?;
            let all = core.state.overrides.iter();
            Ok(all
                .flat_map(|(pool, of)| of.keys().map(move |address| format!("{pool}/{address}")))
                .collect())
        };
        assert_eq!(draining(None, "be1"), Ok(vec!["a/10.1.0.1".into()]));
        assert_eq!(draining(None, "10.1.0.3"), Ok(vec!["b/10.1.0.3".into()]));
        let both = vec!["a/10.1.0.2".to_owned(), "b/10.1.0.2".to_owned()];
        assert_eq!(draining(None, "be2"), Ok(both.clone()));
        assert_eq!(draining(None, "10.1.0.2"), Ok(both));
        assert_eq!(draining(Some("b"), "be2"), Ok(vec!["b/10.1.0.2".into()]));
        for (pool, backend, place) in [
            (Some("a"), "be3", "pool a"),
            (None, "be9", "any pool"),
            (Some("c"), "be1", "pool c"),
        ] {
            let refusal = draining(pool, backend).expect_err("unknown");
            assert_eq!(refusal.exit(), Exit::NotFound);
            assert_eq!(
                refusal.message,
                format!("no backend {backend} in {place}: see `anylb backend list`")
            );
        }
    }

    #[test]
    fn what_is_taken_back_leaves_nothing() {
        let mut core = fresh(&web(&[1, 2], ""));
        let before = core.state.clone();
        core.set_admin(None, "be1", AdminState::Draining, true)
            .expect("known");
        core.set_weight(None, "be1", Some(7), false).expect("known");
        let said = core.override_of(&testing::name("web"), address("10.1.0.1"));
        assert_eq!((said.admin(), said.weight(100)), (AdminState::Draining, 7));
        core.set_admin(None, "10.1.0.1", AdminState::Ready, false)
            .expect("known");
        core.set_weight(None, "10.1.0.1", None, false)
            .expect("known");
        assert_eq!(core.state, before);
    }

    #[test]
    fn a_disabled_backend_is_in_no_row_and_a_draining_one_is() {
        let settings = web(&[1, 2, 3, 4], "need = 1");
        let mut surroundings = Surroundings::of(&settings);
        let mut core = fresh(&settings);
        core.update(surroundings.world()).expect("few members");
        let mut say = |core: &mut Core, admin| {
            let said = core.set_admin(None, "be1", admin, false);
            surroundings.pass(std::time::Duration::from_secs(1));
            assert_eq!(core.update(surroundings.world()), Ok(true), "to be saved");
            (said.expect("known"), rows(core, "10.1.0.1"))
        };
        let generation = core.state.generation;
        let (said, (first, any)) = say(&mut core, AdminState::Draining);
        assert_eq!(
            said,
            "be1 is draining in web; this node only, until it reboots"
        );
        assert!(first == 0 && any > 0, "{any}");
        let (said, places) = say(&mut core, AdminState::Disabled);
        assert_eq!(
            said,
            "be1 is disabled in web, and the connections that it has through this node are lost; this node only, until \
             it reboots"
        );
        assert_eq!(places, (0, 0));
        assert_eq!(core.state.generation, generation + 2, "once for each");
        let (said, (first, _)) = say(&mut core, AdminState::Ready);
        assert_eq!(said, "be1 is ready in web; this node only");
        assert!(first > 10_000, "{first}");
    }

    #[test]
    fn a_disabled_backend_serves_nothing_whatever_becomes_of_the_others() {
        let settings = web(&[1, 2], "need = 1");
        let mut surroundings = Surroundings::of(&settings);
        let mut core = fresh(&settings);
        core.set_admin(None, "be1", AdminState::Disabled, false)
            .expect("known");
        core.set_admin(None, "be2", AdminState::Draining, false)
            .expect("known");
        core.update(surroundings.world()).expect("few members");
        assert_eq!(
            rows(&core, "10.1.0.2").0,
            crate::rows::ROWS,
            "drained alone"
        );
        assert_eq!(obstacle(&core, &surroundings), None);
        surroundings.say("web", "10.1.0.2", Health::Down);
        core.update(surroundings.world()).expect("few members");
        assert_eq!(rows(&core, "10.1.0.1"), (0, 0));
        assert_eq!(
            obstacle(&core, &surroundings).as_deref(),
            Some("0 of 2 backends healthy and ready, 1 needed")
        );
    }

    #[test]
    fn a_disabled_backend_that_leaves_does_not_come_back_as_an_alternate() {
        let settings = web(&[1, 2, 3], "");
        let mut surroundings = Surroundings::of(&settings);
        let mut core = fresh(&settings);
        core.update(surroundings.world()).expect("few members");
        core.set_admin(None, "be1", AdminState::Disabled, false)
            .expect("others stay");
        core.update(surroundings.world()).expect("few members");
        core.settings = web(&[2, 3], "");
        for _ in 0..2 {
            surroundings.pass(std::time::Duration::from_secs(60));
            core.update(surroundings.world()).expect("few members");
            assert_eq!(rows(&core, "10.1.0.1"), (0, 0));
        }
        surroundings.pass(std::time::Duration::from_secs(25 * 3600));
        for _ in 0..2 {
            core.update(surroundings.world()).expect("few members");
        }
        assert_eq!(
            core.state.overrides,
            Overrides::new(),
            "nothing remembers it"
        );
    }

    #[test]
    fn the_last_backend_is_not_disabled() {
        let mut core = fresh(&web(&[1, 2], ""));
        core.set_admin(None, "be1", AdminState::Disabled, false)
            .expect("one stays");
        core.set_admin(None, "be1", AdminState::Disabled, true)
            .expect("again, for longer");
        let before = core.state.clone();
        let refusal = core
            .set_admin(None, "be2", AdminState::Disabled, false)
            .expect_err("none stays");
        assert_eq!(refusal.exit(), Exit::Refused);
        assert_eq!(
            refusal.message,
            "be2 is the last backend of web that is not disabled, nothing changed: `anylb service withdraw` takes a VIP \
             off this node"
        );
        assert_eq!(core.state, before);
    }

    #[test]
    fn a_weight_is_put_over_the_configured_one() {
        let settings = web(&[1, 2], "");
        let surroundings = Surroundings::of(&settings);
        let mut core = fresh(&settings);
        core.update(surroundings.world()).expect("few members");
        let said = core.set_weight(None, "be1", Some(300), true);
        assert_eq!(
            said.as_deref(),
            Ok("be1 has weight 300 in web; this node only, also after a reboot")
        );
        assert_eq!(core.update(surroundings.world()), Ok(true), "to be saved");
        let share = |core: &Core| rows(core, "10.1.0.1").0 as f64 / crate::rows::ROWS as f64;
        assert!((share(&core) - 0.75).abs() < 0.04, "{}", share(&core));
        let said = core.set_weight(None, "be1", None, false);
        assert_eq!(
            said.as_deref(),
            Ok("be1 has its configured weight in web; this node only")
        );
        core.update(surroundings.world()).expect("few members");
        assert!((share(&core) - 0.5).abs() < 0.03, "{}", share(&core));
        for weight in [0, 1001] {
            let refusal = core.set_weight(None, "be1", Some(weight), false);
            assert_eq!(refusal.map_err(|refusal| refusal.exit()), Err(Exit::Usage));
        }
    }
}
