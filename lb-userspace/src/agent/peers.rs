//! BGP peers that the operator has shut down, and takes back himself. Pure.

use super::core::Core;
use crate::bgp::PeerName;
use crate::bgp::notification::COMMUNICATION_MAX;
use crate::status::Refusal;

impl Core {
    /// Notes that there is to be no session with a peer, until [`Core::enable_peer`]; says what that means.
    pub fn shut_down_peer(&mut self, peer: PeerName, message: &str) -> Result<String, Refusal> {
        self.no_member(peer)?;
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
        self.no_member(peer)?;
        self.known_peer(peer)?;
        let down = self.state.shut_down.remove(&peer).is_some();
        self.state.generation += u64::from(down);
        Ok(match down {
            true => format!("{peer} is no longer shut down; this node only"),
            false => format!("{peer} was not shut down; nothing changed"),
        })
    }

    /// Whether the configuration has this peer, or a range that it may be a member of.
    pub fn known_peer(&self, peer: PeerName) -> Result<(), Refusal> {
        let known: Vec<PeerName> = self.peer_names().collect();
        match known.contains(&peer) || self.range_of(peer).is_some() {
            true => Ok(()),
            false => {
                let known: Vec<String> = known.iter().map(ToString::to_string).collect();
                Err(Refusal::no_peer(peer, &known))
            }
        }
    }

    /// Nothing would be left to hold an order about a member once its session has ended.
    fn no_member(&self, peer: PeerName) -> Result<(), Refusal> {
        match self.range_of(peer) {
            Some(range) => Err(Refusal::refused(format!(
                "{peer} is known by the range {range} alone, and orders are for all of that: name the range, end this session at the \
                 peer, or give it a [[bgp.peer]] of its own; nothing changed"
            ))),
            None => Ok(()),
        }
    }

    /// The range that a peer without a section of its own is a member of.
    fn range_of(&self, peer: PeerName) -> Option<PeerName> {
        let address = peer.address()?;
        if self.peer_names().any(|known| known == peer) {
            return None;
        }
        let ranges = self.peer_names().filter_map(|known| known.range());
        let holding = ranges.filter(|range| range.contains(&address));
        holding
            .max_by_key(|range| range.prefix_len())
            .map(PeerName::from)
    }

    fn peer_names(&self) -> impl Iterator<Item = PeerName> {
        let peers = self.settings.bgp.iter().flat_map(|bgp| &bgp.peers);
        peers.map(|peer| peer.name)
    }

    /// A peer that left the configuration is forgotten.
    pub(super) fn forget_shut_down(&mut self) {
        let peers: Vec<PeerName> = self.peer_names().collect();
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
    fn orders_are_for_a_range_and_not_for_a_member() {
        let text = format!(
            "[bgp]\nasn = 65001\nlisten = [\"0.0.0.0:179\"]\n\
             [[bgp.peer]]\nrange = \"10.0.0.0/24\"\nasn = 65000\n\
             [[bgp.peer]]\naddress = \"10.0.0.1\"\nasn = 65000\n{TWO_VIPS}"
        );
        let mut core = Core::new(settings(&text), State::default(), Adopted::default());
        core.shut_down_peer(name("10.0.0.1"), "").expect("named");
        assert_eq!(
            core.shut_down_peer(name("10.0.0.0/24"), "")
                .expect("the range"),
            "10.0.0.0/24 is shut down; this node only, until `anylb bgp enable 10.0.0.0/24`"
        );
        for refusal in [
            core.shut_down_peer(name("10.0.0.2"), ""),
            core.enable_peer(name("10.0.0.2")),
        ] {
            let refusal = refusal.expect_err("a member");
            assert_eq!(refusal.exit(), Exit::Refused);
            assert_eq!(
                refusal.message,
                "10.0.0.2 is known by the range 10.0.0.0/24 alone, and orders are for all of that: name the range, end this \
                 session at the peer, or give it a [[bgp.peer]] of its own; nothing changed"
            );
        }
        assert_eq!(core.known_peer(name("10.0.0.2")), Ok(()), "to be refreshed");
        let refusal = core.known_peer(name("10.0.1.2")).expect_err("outside");
        assert_eq!(refusal.exit(), Exit::NotFound);
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
