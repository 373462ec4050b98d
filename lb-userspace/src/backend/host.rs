//! What the agent asks this host.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use super::error::Error;
use super::image::Endpoint;
use super::kernel_types::Offsets;
use crate::model::Protocol;
use crate::netlink::address;
use crate::netlink::sock_diag::Listeners;

/// The kernel's type information.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// What may change while the agent runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Global addresses of the interface.
    pub addresses: BTreeSet<IpAddr>,
    /// MTU of the interface.
    pub mtu: u32,
    /// The reverse path filter in force there (`ip-sysctl`): 1 is strict.
    pub rp_filter: u8,
}

impl Facts {
    /// Asks about `interface`.
    pub async fn read(interface: &str) -> Result<Self, Error> {
        let addresses = address::interface_addresses(interface).await?;
        Ok(Self {
            addresses: addresses
                .into_iter()
                .map(|net| net.addr())
                .filter(is_global)
                .collect(),
            mtu: address::mtu(interface).await?,
            rp_filter: rp_filter("all").max(rp_filter(interface)),
        })
    }
}

fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_loopback(),
    }
}

fn rp_filter(interface: &str) -> u8 {
    let path = format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Those of `endpoints` that have a listener in this network namespace.
pub async fn listening(endpoints: &BTreeSet<Endpoint>) -> Result<BTreeSet<Endpoint>, Error> {
    let mut visible = BTreeSet::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut unseen = endpoints.clone();
        unseen.retain(|endpoint| endpoint.protocol == protocol);
        if !unseen.is_empty() {
            let listeners = Listeners::read(protocol).await?;
            unseen.retain(|endpoint| listeners.cover(endpoint.vip.net(), endpoint.ports));
            visible.append(&mut unseen);
        }
    }
    Ok(visible)
}

/// Offsets in the running kernel; all zero where it has no type information.
pub fn offsets() -> Offsets {
    fs::read(BTF).map_or_else(|_| Offsets::default(), |btf| Offsets::find(&btf))
}
