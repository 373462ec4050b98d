//! Services that the operator lets take known flows only, or everything, whatever the configuration says. Pure.

use super::core::Core;
use crate::model::{NobodyKnows, Service, Settings};
use crate::status::Refusal;

impl Core {
    /// Takes the operator's word about whether a service takes known flows only; says what that means.
    pub fn attack(&mut self, name: &str, on: bool) -> Result<String, Refusal> {
        let service = self.service_named(name)?;
        if self.settings.node.interfaces.is_empty() {
            return Err(Refusal::refused(
                "this node has no datapath: node.interfaces is empty; nothing changed",
            ));
        }
        if on && let Some(NobodyKnows { reason, instead }) = nobody_knows(&self.settings, service) {
            return Err(Refusal::refused(format!(
                "{name}: no `attack` {reason}; {instead}"
            )));
        }
        let (before, configured) = (self.is_attacked(service), service.attack);
        let said = (on != configured).then_some(on);
        match said {
            Some(on) => drop(self.state.attack.insert(name.to_owned(), on)),
            None => drop(self.state.attack.remove(name)),
        }
        self.state.generation += u64::from(before != on);
        let what = match on {
            true => "lets known flows through and nothing else",
            false => "takes new flows",
        };
        let (until, against) = match on {
            true => ("off", ""),
            false => ("on", ", though the configuration has `attack = true`"),
        };
        Ok(match said {
            Some(_) => format!(
                "{name} {what}{against}; this node only, until `anylb service attack {name} {until}`"
            ),
            None => format!("{name} {what}, as the configuration says; this node only"),
        })
    }

    /// Whether a service takes known flows only.
    pub fn is_attacked(&self, service: &Service) -> bool {
        let said = self.state.attack.get(&service.name);
        said.copied().unwrap_or(service.attack)
    }

    /// What was said of a service is forgotten once the configuration says the same, lacks the service, or refuses it.
    pub(super) fn forget_attacks(&mut self) {
        let settings = &self.settings;
        self.state.attack.retain(|name, on| {
            let mut services = settings.services.iter();
            let service = services.find(|service| service.name == *name);
            service.is_some_and(|service| {
                service.attack != *on && !(*on && nobody_knows(settings, service).is_some())
            })
        });
    }
}

fn nobody_knows(settings: &Settings, service: &Service) -> Option<NobodyKnows> {
    let pool = service.pool.as_ref();
    let pool = pool.and_then(|pool| settings.pools.get(pool));
    NobodyKnows::of(pool.map(|pool| pool.mode), service.protocol, service.udp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::adopt::Adopted;
    use crate::agent::state::State;
    use crate::agent::testing::{Surroundings, TWO_VIPS, settings};
    use crate::status::Exit;

    fn core(settings: Settings) -> Core {
        Core::new(settings, State::default(), Adopted::default())
    }

    /// Services under attack, as the datapath has them.
    fn attacked(core: &mut Core) -> Vec<String> {
        let surroundings = Surroundings::of(&core.settings);
        core.update(surroundings.world()).expect("few members");
        let desired = core.desired(surroundings.world()).expect("a hash key");
        let services = desired.services.into_iter();
        let attacked = services.filter(|service| service.options.attack);
        attacked.map(|service| service.name).collect()
    }

    fn two_vips(attack: bool) -> Settings {
        let mut settings = settings(TWO_VIPS);
        settings.services[0].attack = attack;
        settings
    }

    #[test]
    fn there_and_back_leaves_nothing_but_two_generations() {
        let mut core = core(two_vips(false));
        assert_eq!(attacked(&mut core), Vec::<String>::new());
        let before = core.state.clone();
        assert_eq!(
            core.attack("web", true).expect("known"),
            "web lets known flows through and nothing else; this node only, until `anylb service attack web off`"
        );
        assert_eq!(attacked(&mut core), ["web"]);
        assert_eq!(core.attack("web", true).map(drop), Ok(()), "said again");
        assert_eq!(core.state.generation, before.generation + 1, "done once");
        assert_eq!(
            core.attack("web", false).expect("known"),
            "web takes new flows, as the configuration says; this node only"
        );
        assert_eq!(core.attack("web", false).map(drop), Ok(()), "said again");
        assert_eq!(attacked(&mut core), Vec::<String>::new());
        assert_eq!(core.state.generation, before.generation + 2);
        core.state.generation = before.generation;
        assert_eq!(core.state, before);
    }

    #[test]
    fn over_the_configuration_until_it_says_the_same() {
        let mut core = core(two_vips(true));
        assert_eq!(
            core.attack("web", true).expect("known"),
            "web lets known flows through and nothing else, as the configuration says; this node only"
        );
        assert_eq!(core.state.attack.len(), 0);
        assert_eq!(
            core.attack("web", false).expect("known"),
            "web takes new flows, though the configuration has `attack = true`; this node only, until \
             `anylb service attack web on`"
        );
        assert_eq!(attacked(&mut core), Vec::<String>::new());
        for (configured, expected) in [(true, 0), (false, 0), (true, 1)] {
            core.settings = two_vips(configured);
            assert_eq!(attacked(&mut core).len(), expected, "{configured}");
        }
        core.attack("web", false).expect("known");
        core.settings.services.remove(0);
        assert_eq!(attacked(&mut core), Vec::<String>::new());
        assert_eq!(core.state.attack.len(), 0, "the service has left");
    }

    #[test]
    fn what_the_configuration_refuses_is_refused_and_changes_nothing() {
        let refused = |lines: &str, silent: bool, name: &str| {
            let mut settings = settings(lines);
            if silent {
                settings.node.interfaces.clear();
            }
            let mut core = core(settings);
            let refusal = core.attack(name, true).expect_err("refused");
            assert_eq!(core.state, State::default());
            (refusal.exit(), refusal.message)
        };
        let pool = |mode: &str| {
            format!(
                "[[pool]]\nname = \"web\"\nmode = \"{mode}\"\ncheck = {{ type = \"tcp\", port = 80 }}\n\
                 [[pool.backend]]\naddress = \"10.1.0.1\"\n[[service]]\nname = \"web\"\nvip = \"198.51.100.1\"\n\
                 ports = [80]\npool = \"web\"\n"
            )
        };
        let (tcp, udp) = ("protocol = \"tcp\"\n", "protocol = \"udp\"\n");
        for (lines, silent, name, exit, message) in [
            (
                TWO_VIPS.to_owned(),
                false,
                "mail",
                Exit::NotFound,
                "there is no service mail: see `anylb service list`",
            ),
            (
                TWO_VIPS.to_owned(),
                true,
                "web",
                Exit::Refused,
                "this node has no datapath: node.interfaces is empty; nothing changed",
            ),
            (
                pool("stateless") + tcp,
                false,
                "web",
                Exit::Refused,
                "web: no `attack` at a pool with `mode = \"stateless\"`: nobody knows its flows; let the pool have \
                 `mode = \"flow-table\"` or \"rows\"",
            ),
            (
                pool("rows") + udp,
                false,
                "web",
                Exit::Refused,
                "web: no `attack` in a service with `udp = \"stateless\"`: nobody knows its flows; say \
                 `udp = \"connected\"`, with servers that open a socket per flow",
            ),
            (
                pool("flow-table") + udp + "udp = \"stateless\"\n",
                false,
                "web",
                Exit::Refused,
                "web: no `attack` in a service with `udp = \"stateless\"`: nobody knows its flows; leave out \
                 `udp = \"stateless\"`",
            ),
        ] {
            assert_eq!(
                refused(&lines, silent, name),
                (exit, message.to_owned()),
                "{lines}"
            );
        }
        let mut core = core(settings(&(pool("flow-table") + udp)));
        core.attack("web", true).expect("the node knows them");
        assert_eq!(attacked(&mut core), ["web"]);
        core.settings = settings(&(pool("stateless") + udp));
        assert_eq!(attacked(&mut core), Vec::<String>::new());
        assert_eq!(core.state.attack.len(), 0, "nobody knows them any more");
    }
}
