//! Services that the operator has withdrawn, and takes back himself. Pure.

use std::time::Duration;

use super::core::Core;
use crate::model::{Service, Vip};
use crate::status::Refusal;

/// Why a withdrawn service is not announced.
pub const WITHDRAWN: &str = "withdrawn by operator";

impl Core {
    /// Takes a service out of what may be announced, until [`Core::announce`]; says what that means.
    pub fn withdraw(&mut self, name: &str) -> Result<String, Refusal> {
        let service = self.announceable(name)?;
        let (vip, others) = (service.vip, self.others_of(service));
        if self.state.withdrawn.insert(name.to_owned()) {
            self.state.generation += 1;
        }
        let shared = match others.as_slice() {
            [] => String::new(),
            others => format!(
                "; so are the other services of this VIP: {}",
                others.join(", ")
            ),
        };
        Ok(format!(
            "{name} is withdrawn, and {vip} with it{shared}; this node only, until `anylb service announce {name}`"
        ))
    }

    /// Takes the withdrawal back: the VIP is announced as soon as it can be served.
    pub fn announce(&mut self, name: &str) -> Result<String, Refusal> {
        let service = self.announceable(name)?;
        let mut others = self.others_of(service);
        let vip = service.vip;
        if self.state.withdrawn.remove(name) {
            self.state.generation += 1;
        }
        others.retain(|other| self.state.withdrawn.contains(other));
        Ok(match others.as_slice() {
            [] => format!("{name} is announced while it can be served; this node only"),
            others => format!(
                "{name} is not withdrawn any more, but {vip} stays so with {}; this node only",
                others.join(", ")
            ),
        })
    }

    /// How long a VIP waits before it is announced again; none where the operator keeps it withdrawn.
    pub fn hold_up(&self, vip: Vip) -> Option<Duration> {
        let services = self.settings.services.iter();
        let waits = services
            .filter(|service| service.vip == vip)
            .map(|service| {
                self.withdrawal(service)
                    .is_none()
                    .then_some(service.hold_up)
            });
        waits.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// What stands in the way of announcing a service, as far as the operator is concerned.
    pub fn withdrawal(&self, service: &Service) -> Option<String> {
        let withdrawn = self.state.withdrawn.contains(&service.name);
        withdrawn.then(|| WITHDRAWN.to_owned())
    }

    /// A service that left the configuration is forgotten.
    pub(super) fn forget_withdrawn(&mut self) {
        let services = &self.settings.services;
        self.state
            .withdrawn
            .retain(|name| services.iter().any(|service| service.name == *name));
    }

    /// The service of that name.
    pub(super) fn service_named(&self, name: &str) -> Result<&Service, Refusal> {
        let mut services = self.settings.services.iter();
        let service = services.find(|service| service.name == name);
        service.ok_or_else(|| {
            Refusal::not_found(format!(
                "there is no service {name}: see `anylb service list`"
            ))
        })
    }

    fn announceable(&self, name: &str) -> Result<&Service, Refusal> {
        let service = self.service_named(name)?;
        match self.settings.bgp {
            Some(_) => Ok(service),
            None => Err(Refusal::refused(
                "this node announces nothing: the configuration has no [bgp]; nothing changed",
            )),
        }
    }

    /// Services at the same VIP: it is announced for all of them or not at all.
    fn others_of(&self, service: &Service) -> Vec<String> {
        let services = self.settings.services.iter();
        services
            .filter(|other| other.vip == service.vip && other.name != service.name)
            .map(|other| other.name.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::adopt::Adopted;
    use crate::agent::state::State;
    use crate::agent::testing::{Surroundings, TWO_VIPS, settings};
    use crate::status::Exit;

    const BGP: &str = "[bgp]\nasn = 65001\n[[bgp.peer]]\naddress = \"10.0.0.1\"\nasn = 65000\n";

    fn core(lines: &str) -> Core {
        Core::new(settings(lines), State::default(), Adopted::default())
    }

    fn withdrawn(core: &Core) -> Vec<&str> {
        let services = core.settings.services.iter();
        let withdrawn = services.filter(|service| core.withdrawal(service).is_some());
        withdrawn.map(|service| service.name.as_str()).collect()
    }

    #[test]
    fn there_and_back_leaves_nothing_but_two_generations() {
        let mut core = core(&format!("{BGP}{TWO_VIPS}"));
        let before = core.state.clone();
        assert_eq!(
            core.withdraw("other").expect("known"),
            "other is withdrawn, and 198.51.100.2 with it; this node only, until `anylb service announce other`"
        );
        assert_eq!(withdrawn(&core), ["other"]);
        assert_eq!(core.withdraw("other").map(drop), Ok(()), "said again");
        assert_eq!(core.state.generation, 1, "done once");
        assert_eq!(
            core.announce("other").expect("known"),
            "other is announced while it can be served; this node only"
        );
        assert_eq!(core.announce("other").map(drop), Ok(()), "said again");
        assert_eq!(core.state.generation, 2);
        core.state.generation = 0;
        assert_eq!(core.state, before);
    }

    #[test]
    fn a_vip_goes_and_comes_with_all_its_services() {
        let mut core = core(&format!("{BGP}{TWO_VIPS}"));
        let said = core.withdraw("web").expect("known");
        assert!(
            said.contains("so are the other services of this VIP: tls;"),
            "{said}"
        );
        core.withdraw("tls").expect("known");
        assert_eq!(
            core.announce("web").expect("known"),
            "web is not withdrawn any more, but 198.51.100.1 stays so with tls; this node only"
        );
        assert_eq!(withdrawn(&core), ["tls"]);
    }

    #[test]
    fn what_cannot_be_withdrawn_is_said_and_changes_nothing() {
        let mut announcing = core(&format!("{BGP}{TWO_VIPS}"));
        let refusal = announcing.withdraw("mail").expect_err("unknown");
        assert_eq!(refusal.exit(), Exit::NotFound);
        assert_eq!(
            refusal.message,
            "there is no service mail: see `anylb service list`"
        );
        let mut silent = core(TWO_VIPS);
        let refusal = silent.withdraw("web").expect_err("no [bgp]");
        assert_eq!(refusal.exit(), Exit::Refused);
        for core in [announcing, silent] {
            assert_eq!(core.state, State::default());
        }
    }

    #[test]
    fn a_service_that_leaves_takes_its_withdrawal_along() {
        let all = settings(&format!("{BGP}{TWO_VIPS}"));
        let surroundings = Surroundings::of(&all);
        let mut core = Core::new(all.clone(), State::default(), Adopted::default());
        core.withdraw("other").expect("known");
        core.update(surroundings.world()).expect("few members");
        assert_eq!(withdrawn(&core), ["other"], "it stays in force");
        core.settings.services.pop();
        assert_eq!(core.update(surroundings.world()), Ok(true), "to be saved");
        core.settings = all;
        assert_eq!(withdrawn(&core), Vec::<&str>::new());
    }
}
