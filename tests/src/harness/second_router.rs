//! A second router beside the star's: on the links of the LB nodes with addresses of its own, and a client behind it.
//!
//! ```text
//!   client 192.0.2.2 ----- r1 .1 --+
//!                          |       +-- .2 lbN     10.0.N.0/24, fd00:0:N::/64
//!   client 203.0.113.2 --- r2 .3 --+
//! ```
//!
//! Replies come from the backends by r1, which sends them on to r2.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::netns::Netns;
use super::star::{self, Star, UNDERLAY_MTU};

/// The client behind it.
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// The client behind it.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xd, 0, 0, 0, 0, 2);

/// The router and its client, taken down when dropped.
#[derive(Debug)]
pub struct SecondRouter {
    /// The router; its interfaces towards LB nodes have their names, as r1's.
    pub r2: Netns,
    /// The client.
    pub client: Netns,
}

impl SecondRouter {
    /// Puts it beside the router of `star`, in namespaces named `PREFIX-r2` and `PREFIX-client2`.
    pub fn build(star: &Star, prefix: &str) -> Result<Self> {
        let r2 = star::router(&format!("{prefix}-r2"))?;
        for (lb, number) in star.lbs.iter().zip(1..) {
            join(star, &r2, &lb.name, number)?;
        }
        star::cable(
            &star.r1,
            "r2",
            &r2,
            UNDERLAY_MTU,
            (v4([10, 255, 0, 1]), v4([10, 255, 0, 2]), 30),
            (v6(0xfd00, 0xff, 1), v6(0xfd00, 0xff, 2), 64),
        )?;
        let client = star::client(
            &format!("{prefix}-client2"),
            &r2,
            star.xdp_pass(),
            (v4([203, 0, 113, 1]), CLIENT_V4, 24),
            (
                Ipv6Addr::new(0x2001, 0xdb8, 0xd, 0, 0, 0, 0, 1),
                CLIENT_V6,
                64,
            ),
        )?;
        star.r1.ip("route add 203.0.113.0/24 via 10.255.0.2")?;
        star.r1.ip("-6 route add 2001:db8:d::/64 via fd00:ff::2")?;
        Ok(Self { r2, client })
    }

    /// Both namespaces.
    pub fn namespaces(&self) -> impl Iterator<Item = &Netns> {
        [&self.r2, &self.client].into_iter()
    }
}

/// A second address on the wire of r1's device `name`: both routers share its link to the LB node.
fn join(star: &Star, r2: &Netns, name: &str, number: u8) -> Result<()> {
    star.r1.ip(&format!(
        "link add link {name} name {name} netns {} type macvlan mode bridge",
        r2.name()
    ))?;
    r2.ip(&format!("address add 10.0.{number}.3/24 dev {name}"))?;
    r2.ip(&format!(
        "address add fd00:0:{number:x}::3/64 dev {name} nodad"
    ))?;
    r2.ip(&format!("link set {name} up"))?;
    Ok(())
}

fn v4(octets: [u8; 4]) -> Ipv4Addr {
    octets.into()
}

fn v6(first: u16, second: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, host)
}
