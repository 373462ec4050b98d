//! What an interface and its driver can do, as far as the kernel tells without anything being tried.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::generic::{NESTED, Question, ask, attribute, attributes, family};
use super::kernel::Kernel;
use super::{Error, Neighbour, Route, Unresolved};

/// `linux/netdev.h`.
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
/// `linux/ethtool_netlink.h`.
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;

/// What a driver does with XDP programs of its own (`enum netdev_xdp_act`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpFeatures(pub u64);

impl XdpFeatures {
    /// Runs programs, and sends packets back where they came from.
    pub fn basic(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// Lets programs send packets to other interfaces.
    pub fn redirect(self) -> bool {
        self.0 & 0x02 != 0
    }

    /// Takes packets that programs on other interfaces send.
    pub fn target(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// Gives programs packets in several buffers.
    pub fn several_buffers(self) -> bool {
        self.0 & 0x20 != 0
    }
}

/// What the driver of an interface says it does with XDP programs; none on kernels that do not tell (before Linux 6.3).
pub async fn xdp_features(ifindex: u32) -> Result<Option<XdpFeatures>, Error> {
    let Some(netdev) = family("netdev").await? else {
        return Ok(None);
    };
    let question = Question {
        family: netdev,
        command: NETDEV_CMD_DEV_GET,
        attributes: &attribute(NETDEV_A_DEV_IFINDEX, &ifindex.to_ne_bytes()),
    };
    let answer = ask("XDP features", question).await?;
    let features = attributes(&answer).find(|(kind, _)| *kind == NETDEV_A_DEV_XDP_FEATURES);
    let word = features.and_then(|(_, value)| value.try_into().ok());
    Ok(word.map(|word| XdpFeatures(u64::from_ne_bytes(word))))
}

/// Offloads that are switched on, by their names in `ethtool -k --json`-like long form (`rx-lro`, `rx-gro-hw`, ...); none
/// on kernels that do not tell.
pub async fn offloads(ifindex: u32) -> Result<Option<BTreeSet<String>>, Error> {
    let Some(ethtool) = family("ethtool").await? else {
        return Ok(None);
    };
    let device = attribute(ETHTOOL_A_HEADER_DEV_INDEX, &ifindex.to_ne_bytes());
    let question = Question {
        family: ethtool,
        command: ETHTOOL_MSG_FEATURES_GET,
        attributes: &attribute(NESTED | ETHTOOL_A_FEATURES_HEADER, &device),
    };
    let answer = ask("offloads", question).await?;
    Ok(Some(active(&answer)))
}

/// Names of the bits in the bitset of active features.
fn active(answer: &[u8]) -> BTreeSet<String> {
    let within = |encoded: &[u8], wanted: u16| -> Vec<Vec<u8>> {
        let found = attributes(encoded).filter(|(kind, _)| *kind == wanted);
        found.map(|(_, value)| value.to_vec()).collect()
    };
    let sets = within(answer, ETHTOOL_A_FEATURES_ACTIVE).into_iter();
    let bits = sets.flat_map(|set| within(&set, ETHTOOL_A_BITSET_BITS));
    let bits = bits.flat_map(|bits| within(&bits, ETHTOOL_A_BITSET_BITS_BIT));
    let names = bits.flat_map(|bit| within(&bit, ETHTOOL_A_BITSET_BIT_NAME));
    names
        .map(|name| {
            String::from_utf8_lossy(&name)
                .trim_end_matches('\0')
                .to_owned()
        })
        .collect()
}

/// How packets to an address leave this node; nothing is sent.
pub async fn route(target: IpAddr) -> Result<Result<Route, Unresolved>, Error> {
    Kernel::connect()?.route(target).await
}

/// What is known of the neighbours on an interface; nobody is asked.
pub async fn neighbours(ifindex: u32) -> Result<BTreeMap<IpAddr, Neighbour>, Error> {
    let all = Kernel::connect()?.neighbours().await?;
    let on_it = all.into_iter().filter(|((index, _), _)| *index == ifindex);
    Ok(on_it
        .map(|((_, address), neighbour)| (address, neighbour))
        .collect())
}

/// Indexes of the interfaces that default routes lead out of, or routes to half of all there is; an error where the kernel does
/// not say which.
pub async fn default_routes() -> Result<BTreeSet<u32>, Error> {
    Kernel::connect()?.default_routes().await
}

/// Has the kernel resolve a neighbour where it does not know it, as a packet to it would; the entry ages as after one.
pub async fn ask_for(ifindex: u32, neighbour: IpAddr) -> Result<(), Error> {
    Kernel::connect()?.let_age((ifindex, neighbour)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Resolution;
    use crate::netlink::address;
    use crate::netlink::testing::{Peer, in_namespace, ip};

    #[test]
    fn bits_of_the_active_set_by_name() {
        let bit = |name: &[u8]| {
            attribute(
                NESTED | ETHTOOL_A_BITSET_BITS_BIT,
                &attribute(ETHTOOL_A_BITSET_BIT_NAME, name),
            )
        };
        let bits = [bit(b"rx-lro\0"), bit(b"rx-gro\0")].concat();
        let set = |kind: u16| {
            attribute(
                NESTED | kind,
                &attribute(NESTED | ETHTOOL_A_BITSET_BITS, &bits),
            )
        };
        assert_eq!(
            active(&set(ETHTOOL_A_FEATURES_ACTIVE)),
            ["rx-gro".to_owned(), "rx-lro".to_owned()].into()
        );
        assert_eq!(active(&set(3)), BTreeSet::new(), "wanted is not active");
    }

    #[test]
    fn a_veth_runs_xdp_and_lo_does_not() {
        in_namespace(|| async {
            let _peer = Peer::connect();
            let veth = address::interface("eth0").await.unwrap().ifindex;
            // Silence is the answer of older kernels.
            if let Some(features) = xdp_features(veth).await.unwrap() {
                assert!(features.basic() && features.redirect(), "{features:?}");
                assert!(!xdp_features(1).await.unwrap().unwrap().basic(), "lo");
            }
            if let Some(offloads) = offloads(veth).await.unwrap() {
                assert!(offloads.contains("tx-checksum-ip-generic"), "{offloads:?}");
            }
            assert!(xdp_features(9999).await.is_err(), "no such interface");
        });
    }

    #[test]
    fn a_default_route_is_found_by_either_family_and_by_several_ways() {
        in_namespace(|| async {
            let _peer = Peer::connect();
            let veth = address::interface("eth0").await.unwrap().ifindex;
            let found = async || default_routes().await.unwrap();
            for route in [
                "192.0.2.0/24 via 10.0.0.1",
                "64.0.0.0/2 via 10.0.0.1",
                "2400::/6 via 2001:db8::1",
                "blackhole default",
            ] {
                ip(&format!("route add {route}"));
                assert_eq!(found().await, [].into(), "this is none: {route}");
                ip(&format!("route del {route}"));
            }
            for (family, route) in [
                ("-4", "default via 10.0.0.1"),
                ("-4", "default via 10.0.0.1 table 100"),
                ("-4", "128.0.0.0/1 via 10.0.0.1"),
                ("-6", "default via 2001:db8::1"),
                ("-6", "2000::/3 via 2001:db8::1"),
                (
                    "-4",
                    "default nexthop via 10.0.0.1 nexthop via 10.0.0.2 weight 2",
                ),
            ] {
                ip(&format!("{family} route add {route}"));
                assert_eq!(found().await, [veth].into(), "{route}");
                ip(&format!("{family} route del {route}"));
            }
            assert_eq!(found().await, [].into(), "gone again");
            ip("nexthop add id 7 via 10.0.0.1 dev eth0");
            ip("route add default nhid 7");
            assert_eq!(found().await, [veth].into(), "by an object");
            let compat_mode = "/proc/sys/net/ipv4/nexthop_compat_mode";
            std::fs::write(compat_mode, "0").unwrap();
            let hidden = default_routes().await.unwrap_err();
            assert!(hidden.to_string().contains("nexthop_compat_mode=1"));
        });
    }

    #[test]
    fn a_neighbour_is_resolved_when_asked_for() {
        in_namespace(|| async {
            let _peer = Peer::connect();
            let veth = address::interface("eth0").await.unwrap().ifindex;
            for neighbour in ["10.0.0.1", "2001:db8::1"] {
                let neighbour: IpAddr = neighbour.parse().unwrap();
                let known = async || {
                    ask_for(veth, neighbour).await.unwrap();
                    let found = neighbours(veth).await.unwrap();
                    found.get(&neighbour).map(|entry| entry.resolution)
                };
                let wait = async {
                    while known().await != Some(Resolution::Known(Peer::MAC)) {
                        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    }
                };
                let patience = std::time::Duration::from_secs(5);
                tokio::time::timeout(patience, wait).await.unwrap();
            }
        });
    }
}
