//! The test network: a router in the middle, and around it a client, LB nodes and backends, each in its own
//! namespace and on its own link.
//!
//! ```text
//!   client 192.0.2.2 --- r1 --- lbN 10.0.N.2   2001:db8 and fd00 alike
//!                         `---- beN 10.1.N.2
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{bpffs::Bpffs, filter::Filter, hash_key, netns::Netns, shell, xdp_pass::XdpPass};

/// Room for a GUE header with four IPv6 hops around a full packet.
pub const UNDERLAY_MTU: u32 = 1700;
/// What clients use.
const CLIENT_MTU: u32 = 1500;
/// The client.
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The client.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 2);

/// The network, taken down when dropped.
#[derive(Debug)]
pub struct Star {
    /// The router.
    pub r1: Netns,
    /// The client.
    pub client: Netns,
    /// LB nodes, `lb1` first.
    pub lbs: Vec<Node>,
    /// Backends, `be1` first.
    pub backends: Vec<Node>,
    run_dir: PathBuf,
    pass: XdpPass,
    _bpffs: Bpffs,
}

/// An LB node or a backend.
#[derive(Debug)]
pub struct Node {
    /// Its namespace. Its interface is `eth0`.
    pub netns: Netns,
    /// `lb1`, `be7`; also the name of the router's interface towards it.
    pub name: String,
    /// Underlay address.
    pub v4: Ipv4Addr,
    /// Underlay address.
    pub v6: Ipv6Addr,
    /// Its folder: configuration, sockets, state, logs.
    pub dir: PathBuf,
    /// Its BPF file system.
    pub bpffs: Bpffs,
}

impl Node {
    /// The underlay address of one family: of IPv6 where `like` is an IPv6 address.
    pub fn address(&self, like: IpAddr) -> IpAddr {
        if like.is_ipv4() {
            self.v4.into()
        } else {
            self.v6.into()
        }
    }

    /// Nothing leaves or reaches it any more, and no link goes down.
    pub fn silence(&self) -> Result<[Filter; 2]> {
        let dropping = |hook: &str, name: &str| {
            let rule = format!("{name} \"eth0\"");
            Filter::dropping(&self.netns, &format!("silent_{hook}"), hook, &[rule])
        };
        Ok([
            dropping("output", "oifname")?,
            dropping("input", "iifname")?,
        ])
    }

    /// The head of its file: `[node]` with its folders, and open to more of its keys.
    pub fn section(&self) -> String {
        let (dir, pins) = (self.dir.display(), self.bpffs.path().display());
        format!(
            "version = 1\n[node]\nname = \"{}\"\ninterfaces = [\"eth0\"]\nstate_dir = \"{dir}/state\"\n\
             runtime_dir = \"{dir}/run\"\npin_dir = \"{pins}/anylb\"\n",
            self.name
        )
    }

    /// The same of an LB node that leaves at once.
    pub fn lb_section(&self) -> String {
        format!(
            "{}router_id = \"{}\"\nhash_key_file = \"{}\"\ndrain_wait = \"0s\"\nlinger = \"0s\"\n",
            self.section(),
            self.v4,
            hash_key::FILE
        )
    }
}

impl Star {
    /// Builds it with namespaces named `PREFIX-NODE` and files below `run_dir`.
    pub fn build(prefix: &str, run_dir: &Path, lbs: u8, backends: u8) -> Result<Self> {
        let bpffs = Bpffs::mount(&run_dir.join("bpf"))?;
        let pass = XdpPass::load(bpffs.path())?;
        let r1 = router(&format!("{prefix}-r1"))?;
        let client = client(
            &format!("{prefix}-client"),
            &r1,
            &pass,
            (Ipv4Addr::new(192, 0, 2, 1), CLIENT_V4, 24),
            (
                Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1),
                CLIENT_V6,
                64,
            ),
        )?;
        let build =
            |kind: &str, net: u8, number: u8| node(prefix, run_dir, &r1, &pass, kind, net, number);
        let lbs = (1..=lbs)
            .map(|number| build("lb", 0, number))
            .collect::<Result<_>>()?;
        let backends = (1..=backends)
            .map(|number| build("be", 1, number))
            .collect::<Result<_>>()?;
        Ok(Self {
            r1,
            client,
            lbs,
            backends,
            run_dir: run_dir.to_owned(),
            pass,
            _bpffs: bpffs,
        })
    }

    /// The program of devices that must forget what a sender's socket said.
    pub(super) fn xdp_pass(&self) -> &XdpPass {
        &self.pass
    }

    /// Where files of this network are.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Every namespace.
    pub fn namespaces(&self) -> impl Iterator<Item = &Netns> {
        [&self.r1, &self.client]
            .into_iter()
            .chain(self.nodes().map(|node| &node.netns))
    }

    /// LB nodes and backends.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.lbs.iter().chain(&self.backends)
    }

    /// Sets the MTU of every LB and backend link, at both ends.
    pub fn set_underlay_mtu(&self, mtu: u32) -> Result<()> {
        for node in self.nodes() {
            node.netns.ip(&format!("link set eth0 mtu {mtu}"))?;
            self.r1.ip(&format!("link set {} mtu {mtu}", node.name))?;
        }
        Ok(())
    }

    /// Pulls a node's cable at the router, or puts it back.
    pub fn set_link(&self, node: &Node, up: bool) -> Result<()> {
        self.r1.ip(&format!(
            "link set {} {}",
            node.name,
            if up { "up" } else { "down" }
        ))?;
        Ok(())
    }

    /// Makes the router spread flows over next hops anew: with another seed about half of them move.
    pub fn reseed_multipath(&self, seed: u32) -> Result<()> {
        self.r1
            .sysctl("net.ipv4.fib_multipath_hash_seed", &seed.to_string())
    }
}

/// A namespace that forwards and spreads flows as routers do.
pub(super) fn router(name: &str) -> Result<Netns> {
    let r1 = Netns::create(name)?;
    for (key, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        ("net.ipv6.conf.default.forwarding", "1"),
        // By addresses, protocol and ports of the packet. Policy 1 would take the hash that a packet of a socket on the
        // same machine brings along: it depends on no seed, and changes with every retransmission.
        ("net.ipv4.fib_multipath_hash_policy", "3"),
        ("net.ipv6.fib_multipath_hash_policy", "3"),
        ("net.ipv4.fib_multipath_hash_fields", "0x37"),
        ("net.ipv6.fib_multipath_hash_fields", "0x37"),
    ] {
        r1.sysctl(key, value)?;
    }
    Ok(r1)
}

/// A client on the device `client` of a router, with addresses and prefix lengths at both ends.
pub(super) fn client(
    name: &str,
    router: &Netns,
    pass: &XdpPass,
    v4: (Ipv4Addr, Ipv4Addr, u8),
    v6: (Ipv6Addr, Ipv6Addr, u8),
) -> Result<Netns> {
    let client = Netns::create(name)?;
    // Thousands of connections to one address and port within a minute.
    client.sysctl("net.ipv4.ip_local_port_range", "1024 65535")?;
    cable(router, "client", &client, CLIENT_MTU, v4, v6)?;
    // Packets of a namespace bring their socket's hash along, and the router would spread them by it: not by addresses, ports and
    // the router's seed, and by another path after every timeout. A packet that has been through XDP comes without.
    pass.attach(router, "client")?;
    Ok(client)
}

fn node(
    prefix: &str,
    run_dir: &Path,
    r1: &Netns,
    pass: &XdpPass,
    kind: &str,
    net: u8,
    number: u8,
) -> Result<Node> {
    let name = format!("{kind}{number}");
    let netns = Netns::create(&format!("{prefix}-{name}"))?;
    let v4 = |host| Ipv4Addr::new(10, net, number, host);
    let v6 = |host| Ipv6Addr::new(0xfd00, net.into(), number.into(), 0, 0, 0, 0, host);
    cable(
        r1,
        &name,
        &netns,
        UNDERLAY_MTU,
        (v4(1), v4(2), 24),
        (v6(1), v6(2), 64),
    )?;
    pass.attach(r1, &name)?;
    // Native XDP_TX drops packets whose checksum is left to the device.
    shell::output(r1.command("ethtool").args(["-K", &name, "tx", "off"]))?;
    let dir = run_dir.join(&name);
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let bpffs = Bpffs::mount(&dir.join("bpf"))?;
    Ok(Node {
        netns,
        name,
        v4: v4(2),
        v6: v6(2),
        dir,
        bpffs,
    })
}

/// A veth pair from the router's `device` to a node's `eth0`, addresses at both ends (router, node, prefix length),
/// default routes at the node.
pub(super) fn cable(
    r1: &Netns,
    device: &str,
    node: &Netns,
    mtu: u32,
    v4: (Ipv4Addr, Ipv4Addr, u8),
    v6: (Ipv6Addr, Ipv6Addr, u8),
) -> Result<()> {
    let (r1_name, node_name) = (r1.name(), node.name());
    shell::run(&format!(
        "ip link add name {device} mtu {mtu} netns {r1_name} type veth peer name eth0 mtu {mtu} netns {node_name}"
    ))?;
    r1.ip(&format!("address add {}/{} dev {device}", v4.0, v4.2))?;
    r1.ip(&format!("address add {}/{} dev {device} nodad", v6.0, v6.2))?;
    node.ip(&format!("address add {}/{} dev eth0", v4.1, v4.2))?;
    node.ip(&format!("address add {}/{} dev eth0 nodad", v6.1, v6.2))?;
    r1.ip(&format!("link set {device} up"))?;
    node.ip("link set eth0 up")?;
    // The host's default may be any algorithm, and one that is not cubic is not comparable from run to run. A namespace
    // may set by sysctl only what the host allows unprivileged users, but any by route.
    node.ip(&format!("route add default via {} congctl cubic", v4.0))?;
    node.ip(&format!("-6 route add default via {} congctl cubic", v6.0))?;
    Ok(())
}
