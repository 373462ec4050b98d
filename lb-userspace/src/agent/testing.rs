//! Configurations, verdicts and next hops for the tests of the pure parts.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::adopt::Adopted;
use super::core::Core;
use super::pool::World;
use super::state::State;
use crate::config::{self, Host, HostFile};
use crate::health::{Target, Verdict, Verdicts};
use crate::model::{PoolName, Settings};
use crate::netlink::{NextHop, NextHops, Unresolved};
use crate::path_mtu::PathMtus;
use crate::status::Health;

/// Before every test's own lines; a pool that is named `web` unless these name pools.
const NODE: &str = r#"
    version = 1
    [node]
    name = "lb1"
    router_id = "10.0.0.11"
    interfaces = ["eth0"]
    hash_key_file = "hash.key"
"#;
const POOL: &str = r#"
    [[pool]]
    name = "web"
    check = { type = "tcp", port = 80 }
    [[pool.backend]]
    address = "10.1.0.1"
"#;

struct Machine;

impl Host for Machine {
    fn read(&self, _: &Path) -> io::Result<HostFile> {
        Ok(HostFile {
            content: b"000102030405060708090a0b0c0d0e0f\n".to_vec(),
            mode: 0o600,
        })
    }

    fn interfaces(&self) -> Vec<String> {
        vec!["eth0".into()]
    }

    fn addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }

    fn system_roots(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

/// A configuration with these lines in it.
pub fn settings(lines: &str) -> Settings {
    let pool = if lines.contains("[[pool]]") { "" } else { POOL };
    let text = format!("{NODE}\n{pool}\n{lines}");
    config::parse(&text, Path::new("/etc/anylb/anylb.toml"), &Machine)
        .unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

/// A pool with backends `10.1.0.N`, and a service of it with further lines.
pub fn pool(name: &str, vip: &str, backends: &[u8], service: &str) -> String {
    let members: String = backends
        .iter()
        .map(|n| format!("[[pool.backend]]\naddress = \"10.1.0.{n}\"\nname = \"be{n}\"\n"))
        .collect();
    format!(
        "[[pool]]\nname = \"{name}\"\ncheck = {{ type = \"tcp\", port = 80 }}\n{members}\n\
         [[service]]\nname = \"{name}-service\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nports = [80]\npool = \"{name}\"\n{service}\n"
    )
}

/// An address.
pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

/// The pool of that name.
pub fn name(text: &str) -> PoolName {
    PoolName(text.into())
}

/// A next hop to an address, with a MAC that ends in `mac`.
pub fn hop(target: &str, mac: u8) -> NextHop {
    let source = match address(target) {
        IpAddr::V4(_) => "10.0.0.11",
        IpAddr::V6(_) => "2001:db8::11",
    };
    NextHop {
        interface: "eth0".into(),
        ifindex: 2,
        mtu: 1500,
        source: address(source),
        gateway: address(target),
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 1, mac],
        vlan: None,
        local: false,
    }
}

/// What checks and netlink say, and the time.
pub struct Surroundings {
    verdicts: Verdicts,
    next_hops: NextHops,
    path_mtus: PathMtus,
    start: Instant,
    elapsed: Duration,
}

impl Surroundings {
    /// Every configured backend up, judged and with a next hop.
    pub fn of(settings: &Settings) -> Self {
        let mut surroundings = Self {
            verdicts: Verdicts::default(),
            next_hops: BTreeMap::new(),
            path_mtus: BTreeMap::new(),
            start: Instant::now(),
            elapsed: Duration::ZERO,
        };
        for pool in settings.pools.values() {
            for backend in &pool.backends {
                surroundings.say(&pool.name.0, &backend.address.to_string(), Health::Up);
                surroundings.route(&backend.address.to_string(), Ok(()));
            }
        }
        surroundings
    }

    /// The checks of a pool say this of a backend.
    pub fn say(&mut self, pool: &str, backend: &str, health: Health) {
        let target = Target {
            pool: name(pool),
            address: address(backend),
        };
        let verdict = Verdict {
            health,
            reason: None,
            since: self.start,
            judged: true,
        };
        self.verdicts.by_target.insert(target, verdict);
    }

    /// Verdicts are those of the process before.
    pub fn unjudge(&mut self) {
        for verdict in self.verdicts.by_target.values_mut() {
            verdict.judged = false;
        }
    }

    /// Netlink says this of a backend.
    pub fn route(&mut self, backend: &str, answer: Result<(), Unresolved>) {
        let answer = answer.map(|()| hop(backend, 1));
        self.next_hops.insert(address(backend), answer);
    }

    /// Routers say this of the way to a backend.
    pub fn narrow(&mut self, backend: &str, mtu: u32) {
        self.path_mtus.insert(address(backend), mtu);
    }

    /// And no longer.
    pub fn widen(&mut self) {
        self.path_mtus.clear();
    }

    /// Time goes by.
    pub fn pass(&mut self, time: Duration) {
        self.elapsed += time;
    }

    /// As the pure parts see it.
    pub fn world(&self) -> World<'_> {
        World {
            verdicts: &self.verdicts,
            next_hops: &self.next_hops,
            path_mtus: &self.path_mtus,
            now: self.start + self.elapsed,
            now_secs: 1_700_000_000 + self.elapsed.as_secs(),
            jiffies_per_sec: 250,
        }
    }
}

/// A file with the pool `web` and its service.
pub fn web(backends: &[u8], service: &str) -> Settings {
    settings(&pool("web", "198.51.100.1", backends, service))
}

/// A core that remembers nothing.
pub fn fresh(settings: &Settings) -> Core {
    Core::new(settings.clone(), State::default(), Adopted::default())
}

/// Services of one pool: two on one VIP, one on another.
pub const TWO_VIPS: &str = r#"
    [[service]]
    name = "web"
    vip = "198.51.100.1"
    protocol = "tcp"
    ports = [80]
    pool = "web"
    [[service]]
    name = "tls"
    vip = "198.51.100.1"
    protocol = "tcp"
    ports = [443]
    pool = "web"
    [[service]]
    name = "other"
    vip = "198.51.100.2"
    protocol = "tcp"
    ports = [80]
    pool = "web"
"#;

/// A directory of one test's own, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty one.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("anylb-agent-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a scratch directory");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file left in the temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
