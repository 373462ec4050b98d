//! BGP peers that the operator has shut down, and takes back himself. Pure.

use super::core::Core;
use crate::bgp::PeerName;
use crate::bgp::notification::COMMUNICATION_MAX;
use crate::status::Refusal;

impl Core {
    /// Notes that there is to be no session with a peer, until [`Core::enable_peer`]; says what that means.
    pub fn shut_down_peer(&mut self, peer: PeerName, message: &str) -> Result<String, Refusal> {
        self.known_peer(peer)?;
        if message.len() > COMMUNICATION_MAX {
            return Err(Refusal::refused(format!(
                "the message has {} bytes, and a peer can be told {COMMUNICATION_MAX} (RFC 9003); nothing changed",
                message.len()
            )));
        }
        let before = self.state.shut_down.insert(peer, message.to_owned());
        self.state.generation += u64::from(before.as_deref() != Some(message));
        Ok(format!(
            "{peer} is shut down; this node only, until `anylb bgp enable {peer}`"
        ))
    }

    /// Takes it back.
    pub fn enable_peer(&mut self, peer: PeerName) -> Result<String, Refusal> {
        self.known_peer(peer)?;
        let down = self.state.shut_down.remove(&peer).is_some();
        self.state.generation += u64::from(down);
        Ok(match down {
            true => format!("{peer} is no longer shut down; this node only"),
            false => format!("{peer} was not shut down; nothing changed"),
        })
    }

    /// Whether the configuration has this peer.
    pub fn known_peer(&self, peer: PeerName) -> Result<(), Refusal> {
        let peers = self.settings.bgp.iter().flat_map(|bgp| &bgp.peers);
        let known: Vec<String> = peers.map(|peer| peer.name.to_string()).collect();
        match known.contains(&peer.to_string()) {
            true => Ok(()),
            false => Err(Refusal::no_peer(peer, &known)),
        }
    }

    /// A peer that left the configuration is forgotten.
    pub(super) fn forget_shut_down(&mut self) {
        let peers: Vec<PeerName> = self
            .settings
            .bgp
            .iter()
            .flat_map(|bgp| &bgp.peers)
            .map(|peer| peer.name)
            .collect();
        self.state.shut_down.retain(|peer, _| peers.contains(peer));
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

    fn name(text: &str) -> PeerName {
        text.parse().expect("a name")
    }

    fn core() -> Core {
        let settings = settings(&format!("{BGP}{TWO_VIPS}"));
        Core::new(settings, State::default(), Adopted::default())
    }

    #[test]
    fn there_and_back_leaves_nothing_but_two_generations() {
        let mut core = core();
        let peer = name("10.0.0.1");
        let before = core.state.clone();
        assert_eq!(
            core.shut_down_peer(peer, "upgrade").expect("known"),
            "10.0.0.1 is shut down; this node only, until `anylb bgp enable 10.0.0.1`"
        );
        assert_eq!(core.state.shut_down[&peer], "upgrade");
        core.shut_down_peer(peer, "upgrade").expect("said again");
        assert_eq!(core.state.generation, 1, "done once");
        core.shut_down_peer(peer, "").expect("other words");
        assert_eq!(core.state.generation, 2);
        assert_eq!(
            core.enable_peer(peer).expect("known"),
            "10.0.0.1 is no longer shut down; this node only"
        );
        assert_eq!(
            core.enable_peer(peer).expect("known"),
            "10.0.0.1 was not shut down; nothing changed"
        );
        assert_eq!(core.state.generation, 3);
        core.state.generation = 0;
        assert_eq!(core.state, before);
    }

    #[test]
    fn rfc9003_2_more_than_255_octets_are_refused_and_change_nothing() {
        let mut core = core();
        let peer = name("10.0.0.1");
        let refusal = core
            .shut_down_peer(peer, &"é".repeat(128))
            .expect_err("256 octets");
        assert_eq!(refusal.exit(), Exit::Refused);
        assert_eq!(
            refusal.message,
            "the message has 256 bytes, and a peer can be told 255 (RFC 9003); nothing changed"
        );
        assert_eq!(core.state, State::default());
        core.shut_down_peer(peer, &"x".repeat(255))
            .expect("255 octets");
    }

    #[test]
    fn nobody_else_can_be_shut_down() {
        let mut core = core();
        for refusal in [
            core.shut_down_peer(name("10.0.0.9"), ""),
            core.enable_peer(name("10.0.0.9")),
        ] {
            let refusal = refusal.expect_err("unknown");
            assert_eq!(refusal.exit(), Exit::NotFound);
            assert_eq!(
                refusal.message,
                "there is no BGP peer 10.0.0.9: this node has 10.0.0.1"
            );
        }
        assert_eq!(core.state, State::default());
    }

    #[test]
    fn a_peer_that_leaves_is_forgotten() {
        let mut core = core();
        let surroundings = Surroundings::of(&core.settings);
        core.shut_down_peer(name("10.0.0.1"), "").expect("known");
        core.update(surroundings.world()).expect("few members");
        assert_eq!(core.state.shut_down.len(), 1, "it stays in force");
        core.settings.bgp = None;
        core.update(surroundings.world()).expect("few members");
        assert_eq!(core.state.shut_down.len(), 0);
    }
}
