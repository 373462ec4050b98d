//! The router's side of our sessions, as configuration of routers. Pure.
//!
//! | file | holds |
//! |---|---|
//! | [`plan`] | what every router must know, from our configuration |
//! | `edge` | what must not come in from outside |
//! | `maps` | prefix lists and route maps, for the three that have the same |
//! | `frr`, `bird`, `junos`, `eos`, `nxos`, `ios_xr` | the same in their words |

#![forbid(unsafe_code)]

mod bird;
mod edge;
mod eos;
mod frr;
mod ios_xr;
mod junos;
mod maps;
mod nxos;
pub(super) mod plan;
#[cfg(test)]
mod tests;

use clap::ValueEnum;

use crate::bgp::Family;
use crate::status::Refusal;
use plan::{Neighbor, Plan};

/// A router's operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Platform {
    /// FRRouting
    Frr,
    /// BIRD 2
    Bird,
    /// Juniper Junos
    Junos,
    /// Arista EOS
    Eos,
    /// Cisco NX-OS
    Nxos,
    /// Cisco IOS XR
    IosXr,
}

impl Platform {
    /// As on the command line.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Platform::Frr => "frr",
            Platform::Bird => "bird",
            Platform::Junos => "junos",
            Platform::Eos => "eos",
            Platform::Nxos => "nxos",
            Platform::IosXr => "ios-xr",
        }
    }
}

impl Platform {
    /// Whether its words for all of the plan are known here.
    ///
    /// # Errors
    /// Refused: neighbors without addresses, of a router that names them otherwise.
    pub(super) fn can_say(self, plan: &Plan) -> Result<(), Refusal> {
        let unnumbered = |node: &Neighbor| node.name.address().is_none();
        match self {
            Platform::Frr | Platform::Bird => Ok(()),
            Platform::Junos | Platform::Eos | Platform::Nxos | Platform::IosXr
                if plan.neighbors.iter().any(unnumbered) =>
            {
                Err(Refusal::refused(format!(
                    "a peer that is known by its interface is said for FRR and BIRD alone in this version, and not for {}: see \
                     \"Peers by their interface\" in docs/bgp.md",
                    self.as_str()
                )))
            }
            Platform::Junos | Platform::Eos | Platform::Nxos | Platform::IosXr => Ok(()),
        }
    }
}

/// The configuration, ending in a newline.
pub(super) fn text(platform: Platform, plan: &Plan) -> String {
    match platform {
        Platform::Frr => frr::text(plan),
        Platform::Bird => bird::text(plan),
        Platform::Junos => junos::text(plan),
        Platform::Eos => eos::text(plan),
        Platform::Nxos => nxos::text(plan),
        Platform::IosXr => ios_xr::text(plan),
    }
}

/// A family, as all but Junos call it.
fn word(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    }
}

/// A comment for a router that listens on the usual port alone, where the node dials another.
fn odd_port(node: &Neighbor, comment: &str) -> Option<String> {
    let port = node.odd_port?;
    Some(format!(
        "{comment} The node dials port {port}, and this router listens on 179: set `port = 179` on the node."
    ))
}

/// Equal paths that a router shall use; all of them can at least so many.
const PATHS: u8 = 16;

/// What a router's file begins with.
fn title(plan: &Plan, comment: &str) -> String {
    format!(
        "{comment} Router in AS {}: sessions with the LB nodes of AS {} ({}).\n",
        plan.router_asn, plan.node_asn, plan.node
    )
}
