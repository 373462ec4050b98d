//! The node with its backends, and one router.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::daemon::Side;
use crate::harness::leftovers::BfdProcess;
use crate::harness::secret;
use crate::harness::star::Node;
use crate::lab::agent::Agent;
use crate::lone::Lone;

/// For what takes a router's timers.
pub const SOON: Duration = Duration::from_secs(30);
/// Both VIPs, as routes.
pub const VIPS: [&str; 2] = ["198.51.100.1/32", "2001:db8:100::1/128"];
/// The node's AS where nothing else is said.
pub const NODE_ASN: u32 = 65001;
/// The router's, of another AS.
pub const ROUTER_ASN: u32 = 65000;
/// The router on the node's link.
pub const ROUTER: [&str; 2] = ["10.0.1.1", "fd00:0:1::1"];
/// The node.
pub const NODE: [&str; 2] = ["10.0.1.2", "fd00:0:1::2"];
/// The router behind its link.
pub const ROUTER_LOOPBACK: &str = "10.255.0.1";
/// The router's interface towards the node.
pub const ROUTER_LINK: &str = "lb1";
/// Router and node on their link alone.
pub const LINK_LOCAL: [&str; 2] = ["fe80::1", "fe80::2"];

/// The network; a router is started in it for each scenario.
#[derive(Debug)]
pub struct Site {
    // Dropped in this order: the process before the network.
    _bfd: BfdProcess,
    /// Node and backends.
    pub lone: Lone,
}

impl Site {
    /// One node, one backend.
    pub async fn build(lab: &Path) -> Result<Self> {
        let lone = Lone::build("anylb-interop", &lab.to_string_lossy(), 1).await?;
        lone.star
            .r1
            .ip(&format!("address add {ROUTER_LOOPBACK}/32 dev lo"))?;
        let [router, node] = LINK_LOCAL;
        let r1 = &lone.star.r1;
        r1.ip(&format!("address add {router}/64 dev {ROUTER_LINK} nodad"))?;
        let eth0 = &lone.node().netns;
        eth0.ip(&format!("address add {node}/64 dev eth0 nodad"))?;
        // FRR advertises its prefix to neighbors that it knows by an interface, and the node has the addresses that it has.
        eth0.sysctl("net.ipv6.conf.eth0.autoconf", "0")?;
        let _bfd = BfdProcess::of(lone.node());
        Ok(Self { _bfd, lone })
    }

    /// Pulls the node's cable, or puts it back with the addresses that IPv6 loses at the router meanwhile.
    pub fn set_link(&self, up: bool) -> Result<()> {
        self.lone.star.set_link(self.node(), up)?;
        match up {
            true => self.address_router(LINK_LOCAL[0]),
            false => Ok(()),
        }
    }

    /// Puts the node's cable back into a router with this link-local address and no other.
    pub fn plug_into(&self, router: &str) -> Result<()> {
        let r1 = &self.lone.star.r1;
        r1.ip(&format!("link set {ROUTER_LINK} addrgenmode none"))?;
        self.lone.star.set_link(self.node(), true)?;
        self.address_router(router)
    }

    fn address_router(&self, link_local: &str) -> Result<()> {
        for address in [link_local, ROUTER[1]] {
            self.lone.star.r1.ip(&format!(
                "address replace {address}/64 dev {ROUTER_LINK} nodad"
            ))?;
        }
        Ok(())
    }

    /// The node.
    pub fn node(&self) -> &Node {
        self.lone.node()
    }

    /// The program under test.
    pub fn anylb(&self) -> &Path {
        self.lone.anylb()
    }

    /// Where routers have their files.
    pub fn dir(&self) -> &Path {
        self.lone.star.run_dir()
    }

    /// Starts the agent with its side of the session.
    pub async fn start(&self, file: &File) -> Result<Agent> {
        file.write(self.node())?;
        let mut agent = Agent::lb(self.anylb(), self.node())?;
        agent.ready().await?;
        Ok(agent)
    }
}

/// The node's configuration.
#[derive(Clone, Debug)]
pub struct File {
    /// Its AS.
    pub asn: u32,
    /// `node.drain_wait`.
    pub drain_wait: &'static str,
    /// Lines of `[bgp]`.
    pub bgp: String,
    /// Lines of the peer.
    pub peer: String,
    /// How the router is named, a key and its value, and its AS.
    pub router: (String, u32),
    /// Secret of the session.
    pub password: Option<&'static str>,
    /// What is said of both VIPs.
    pub announce: &'static str,
    /// Both, as routes.
    pub vips: [&'static str; 2],
}

impl File {
    /// The other end of a router's side.
    pub fn opposite(side: &Side) -> Self {
        let mut peer = String::new();
        if side.dials {
            peer += "passive = true\n";
        }
        if side.ttl_security {
            peer += "ttl_security = 1\n";
        }
        Self {
            asn: NODE_ASN,
            drain_wait: "0s",
            bgp: if side.dials {
                "listen = [\"0.0.0.0:179\", \"[::]:179\"]\n".into()
            } else {
                String::new()
            },
            peer,
            router: match side.link {
                Some(_) if side.unnumbered => ("interface = \"eth0\"".into(), side.asn),
                Some(_) => (format!("address = \"{}%eth0\"", side.own), side.asn),
                None => (format!("address = \"{}\"", side.own), side.asn),
            },
            password: side.password,
            announce: "",
            vips: VIPS,
        }
    }

    /// Writes it.
    pub fn write(&self, node: &Node) -> Result<()> {
        let dir = node.dir.display();
        let pins = node.bpffs.path().join("anylb");
        let (name, asn) = &self.router;
        let mut text = format!(
            "version = 1\n[node]\nname = \"lb1\"\nrouter_id = \"10.0.1.2\"\ninterfaces = [\"eth0\"]\n\
             hash_key_file = \"hash.key\"\nstate_dir = \"{dir}/state\"\nruntime_dir = \"{dir}/run\"\npin_dir = \"{}\"\n\
             drain_wait = \"{}\"\nlinger = \"0s\"\n[bgp]\nasn = {}\n{}[[bgp.peer]]\n{name}\nasn = {asn}\n{}",
            pins.display(),
            self.drain_wait,
            self.asn,
            self.bgp,
            self.peer
        );
        if let Some(password) = self.password {
            secret::write(&node.dir.join("bgp.key"), &format!("{password}\n"))?;
            text += "password_file = \"bgp.key\"\n";
        }
        for (pool, backend) in [("v4", "10.1.1.2"), ("v6", "fd00:1:1::2")] {
            text += &format!(
                "[[pool]]\nname = \"{pool}\"\n\
                 check = {{ type = \"tcp\", port = 80, interval = \"200ms\", timeout = \"150ms\" }}\n\
                 backend = [{{ address = \"{backend}\" }}]\n"
            );
        }
        for (name, vip) in ["v4", "v6"].iter().zip(self.vips) {
            let vip = vip.trim_end_matches("/32").trim_end_matches("/128");
            text += &format!(
                "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nports = [80]\npool = \"{name}\"\nhold_up = \"0s\"\n{}\n",
                self.announce
            );
        }
        Ok(std::fs::write(node.dir.join("anylb.toml"), text)?)
    }
}
