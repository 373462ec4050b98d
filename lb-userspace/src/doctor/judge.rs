//! What the facts mean, and what to do. Pure.

#![forbid(unsafe_code)]

use super::facts::{Backend, ConfigFile, Facts, Interface, Nic, Peer, PeerState, Pool, Way};
use crate::model::Mode;
use crate::status::{DoctorReport, Finding, FindingVerdict};

/// The oldest kernel on which the programs have been loaded.
const KERNEL: (u32, u32) = (6, 1);
/// What hosts send where nobody has made it larger.
const ETHERNET: u32 = 1500;
/// The program sees one page of a packet, of which drivers take room for headers before and for their own use behind.
const ONE_BUFFER: u32 = 3498;

/// Judges everything, what all else depends on first.
pub fn judge(facts: &Facts) -> DoctorReport {
    let mut findings = vec![
        kernel(facts),
        privileges(facts),
        bpf(facts),
        jit(facts),
        bpf_fs(facts),
    ];
    findings.push(file(&facts.file));
    for interface in &facts.interfaces {
        findings.extend(of_interface(interface, facts));
    }
    findings.extend(facts.pools.iter().flat_map(|pool| of_pool(pool, facts)));
    if !facts.pools.is_empty() {
        findings.push(path_mtu(facts));
    }
    findings.extend(facts.peers.iter().map(peer));
    findings.push(clock(facts.clock));
    DoctorReport { findings }
}

fn finding(check: impl Into<String>, verdict: FindingVerdict, found: impl Into<String>) -> Finding {
    Finding {
        check: check.into(),
        verdict,
        found: found.into(),
        fix: None,
    }
}

impl Finding {
    fn fix(self, what: impl Into<String>) -> Self {
        Finding {
            fix: Some(what.into()),
            ..self
        }
    }
}

fn ok(check: impl Into<String>, found: impl Into<String>) -> Finding {
    finding(check, FindingVerdict::Ok, found)
}

fn warn(check: impl Into<String>, found: impl Into<String>) -> Finding {
    finding(check, FindingVerdict::Warn, found)
}

fn fail(check: impl Into<String>, found: impl Into<String>) -> Finding {
    finding(check, FindingVerdict::Fail, found)
}

fn unknown(check: impl Into<String>, found: impl Into<String>) -> Finding {
    finding(check, FindingVerdict::Unknown, found)
}

fn kernel(facts: &Facts) -> Finding {
    let release = &facts.kernel;
    let (major, minor) = KERNEL;
    match version(release) {
        Some(version) if version >= KERNEL => ok("kernel", format!("Linux {release}")),
        Some(_) => warn(
            "kernel",
            format!("Linux {release}; older than {major}.{minor}, on which nothing has been tried"),
        )
        .fix(format!("use Linux {major}.{minor} or newer")),
        None => unknown(
            "kernel",
            format!("Linux {release}: no version that is understood"),
        ),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn privileges(facts: &Facts) -> Finding {
    match facts.privileged {
        true => ok("privileges", "programs may be loaded and attached"),
        false => fail(
            "privileges",
            "this user may neither load nor attach programs",
        )
        .fix("run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"),
    }
}

fn path_mtu(facts: &Facts) -> Finding {
    match &facts.path_mtu {
        Ok(()) => ok(
            "path MTU",
            "what routers say of packets that are too big is heard",
        ),
        Err(error) => warn(
            "path MTU",
            format!(
                "{error}: what routers say of packets that are too big is not heard; they are lost"
            ),
        )
        .fix("run as root, or with CAP_NET_RAW too; or make every link to the backends as large as the first"),
    }
}

fn bpf(facts: &Facts) -> Finding {
    let named = |wanted: Option<bool>| -> Vec<&str> {
        let features = facts.features.iter();
        let found = features.filter(|feature| feature.supported == wanted);
        found.map(|feature| feature.name).collect()
    };
    let (missing, unasked) = (named(Some(false)), named(None));
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return fail("BPF", format!("this kernel lacks {missing}"))
            .fix("use a kernel with BPF, as distributions build them");
    }
    if !unasked.is_empty() {
        return unknown("BPF", format!("could not be tried: {}", unasked.join(", ")))
            .fix("run this as root");
    }
    ok("BPF", named(Some(true)).join(", "))
}

fn jit(facts: &Facts) -> Finding {
    match facts.jit {
        Some(true) => ok("BPF compiler", "on"),
        Some(false) => warn(
            "BPF compiler",
            "off: programs are interpreted, many times slower",
        )
        .fix("sysctl net.core.bpf_jit_enable=1"),
        None => unknown("BPF compiler", "net.core.bpf_jit_enable cannot be read"),
    }
}

fn bpf_fs(facts: &Facts) -> Finding {
    let place = facts.pin_dir.display();
    match facts.bpf_fs {
        true => ok("BPF file system", format!("there is one at {place}")),
        false => fail(
            "BPF file system",
            format!("{place} is on none, so nothing can be pinned there"),
        )
        .fix("mount -t bpf bpf /sys/fs/bpf"),
    }
}

fn file(file: &ConfigFile) -> Finding {
    match file {
        ConfigFile::Good(path) => ok("configuration", path.display().to_string()),
        ConfigFile::Bad(path, errors) => {
            let path = path.display();
            fail("configuration", format!("{path} has errors: {errors}"))
                .fix(format!("anylb check {path}"))
        }
        ConfigFile::Missing(path) => unknown(
            "configuration",
            format!(
                "no {}: backends and peers are not looked at",
                path.display()
            ),
        )
        .fix("anylb config init"),
    }
}

fn of_interface(interface: &Interface, facts: &Facts) -> Vec<Finding> {
    let name = &interface.name;
    let Some(nic) = &interface.nic else {
        return vec![
            fail(name, "there is no such interface").fix("`ip link` shows those that there are"),
        ];
    };
    let mut all = vec![link(name, nic)];
    if facts.tc {
        all.push(ingress(name, nic));
    } else {
        all.push(xdp(name, nic));
        all.extend(offloads(name, nic));
    }
    all.extend(queues(name, nic, facts.cpus));
    if facts.backend {
        all.extend(spread(name, nic));
        all.push(rp_filter(name, nic));
    }
    all
}

fn link(name: &str, nic: &Nic) -> Finding {
    let driver = nic.driver.as_deref().unwrap_or("virtual");
    let what = format!("{driver}, MTU {}", nic.mtu);
    match (nic.ethernet, nic.up) {
        (false, _) => fail(
            name,
            format!("{what}: no Ethernet address, so no frame can be sent"),
        )
        .fix("name the Ethernet interface that carries the traffic of VIPs"),
        (true, false) => fail(name, format!("{what}: down, or without carrier")).fix(format!(
            "ip link set {name} up, and look at the cable or the switch"
        )),
        (true, true) => ok(name, format!("{what}, up")),
    }
}

fn xdp(name: &str, nic: &Nic) -> Finding {
    let check = format!("{name} XDP");
    let Some(features) = nic.xdp else {
        return unknown(
            check,
            "the kernel does not tell what the driver can (Linux 6.3 does)",
        );
    };
    if !features.basic() {
        return warn(
            check,
            "the driver has no native XDP: generic mode, at a fraction of the speed",
        )
        .fix("use another interface; generic mode needs GRO and LRO off");
    }
    if nic.mtu > ONE_BUFFER && !features.several_buffers() {
        return fail(
            check,
            format!(
                "native, but not with an MTU of {}: of this driver a packet must fit one page",
                nic.mtu
            ),
        )
        .fix(format!("ip link set {name} mtu {ONE_BUFFER}, or less"));
    }
    let mut can = vec!["native"];
    can.extend(features.several_buffers().then_some("packets of any MTU"));
    can.extend(features.redirect().then_some("sends to others"));
    can.extend(features.target().then_some("takes from others"));
    ok(check, can.join(", "))
}

/// TC takes packets that the kernel has joined, but not datagrams that it has joined with the tunnel's headers between them.
fn ingress(name: &str, nic: &Nic) -> Finding {
    let check = format!("{name} TC ingress");
    let Some(on) = &nic.offloads else {
        return unknown(check, "the kernel does not tell which offloads are on");
    };
    let joining: Vec<&str> = ["rx-udp-gro-forwarding", "rx-gro-list"]
        .into_iter()
        .filter(|feature| on.contains(*feature))
        .collect();
    if joining.is_empty() {
        return ok(check, "needs no XDP, and GRO and LRO may be on");
    }
    let off: Vec<String> = joining.iter().map(|one| format!("{one} off")).collect();
    warn(
        check,
        format!(
            "{} on: tunnel packets with a UDP checksum are joined, and dropped",
            joining.join(" and ")
        ),
    )
    .fix(format!("ethtool -K {name} {}", off.join(" ")))
}

/// Packets that the NIC or the kernel has put together are no packets that can be balanced.
fn offloads(name: &str, nic: &Nic) -> Option<Finding> {
    const MERGE: [(&str, &str); 2] = [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")];
    let check = format!("{name} offloads");
    let Some(on) = &nic.offloads else {
        return Some(unknown(check, "the kernel does not tell which are on"));
    };
    let merging: Vec<_> = MERGE
        .iter()
        .filter(|(feature, _)| on.contains(*feature))
        .collect();
    if merging.is_empty() {
        return Some(ok(check, "nothing merges packets before XDP sees them"));
    }
    let names: Vec<&str> = merging.iter().map(|(feature, _)| *feature).collect();
    let off: Vec<String> = merging
        .iter()
        .map(|(_, short)| format!("{short} off"))
        .collect();
    Some(
        warn(
            check,
            format!(
                "{} on: the NIC merges packets, and many drivers refuse a program then",
                names.join(" and ")
            ),
        )
        .fix(format!("ethtool -K {name} {}", off.join(" "))),
    )
}

fn queues(name: &str, nic: &Nic, cpus: usize) -> Option<Finding> {
    let check = format!("{name} queues");
    // Without hardware there is nothing to set.
    nic.driver.as_ref()?;
    let queues = nic.queues?;
    let found = format!("{queues} receive, {cpus} CPUs");
    if queues >= cpus.min(2) {
        return Some(ok(check, found));
    }
    Some(
        warn(check, format!("{found}: one CPU does all the work"))
            .fix(format!("ethtool -L {name} combined {cpus}")),
    )
}

/// All tunnels of one LB node have the same addresses; only the source port tells their flows apart.
fn spread(name: &str, nic: &Nic) -> Option<Finding> {
    let check = format!("{name} RSS");
    nic.queues.filter(|queues| *queues > 1)?;
    let told: Vec<_> = [("udp4", nic.udp_fields[0]), ("udp6", nic.udp_fields[1])]
        .into_iter()
        .filter_map(|(family, fields)| Some((family, fields?)))
        .collect();
    let blind: Vec<&str> = told
        .iter()
        .filter(|(_, fields)| !fields.source_port())
        .map(|(family, _)| *family)
        .collect();
    if told.is_empty() {
        return Some(unknown(
            check,
            "the driver does not tell how it spreads UDP over the queues",
        ));
    }
    if blind.is_empty() {
        return Some(ok(
            check,
            "UDP is spread by ports, and so are the flows in tunnels",
        ));
    }
    let fixes: Vec<String> = blind
        .iter()
        .map(|family| format!("ethtool -N {name} rx-flow-hash {family} sdfn"))
        .collect();
    Some(
        warn(
            check,
            format!(
                "{} is not spread by ports: all packets of one LB node come to one queue",
                blind.join(" and ")
            ),
        )
        .fix(fixes.join("; ")),
    )
}

/// Packets out of a tunnel come from anywhere.
fn rp_filter(name: &str, nic: &Nic) -> Finding {
    let check = format!("{name} reverse path");
    match nic.rp_filter {
        Some(1) => fail(
            check,
            "the filter is strict and may drop packets out of the tunnel",
        )
        .fix(format!(
            "sysctl net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{name}.rp_filter=2"
        )),
        Some(_) => ok(check, "the filter is not strict"),
        None => unknown(
            check,
            format!("net.ipv4.conf.{name}.rp_filter cannot be read"),
        ),
    }
}

/// A line for each backend that is not well, and one for the others.
fn of_pool(pool: &Pool, facts: &Facts) -> Vec<Finding> {
    let backends = pool.backends.iter();
    let mut all: Vec<Finding> = backends
        .filter_map(|backend| of_backend(backend, facts))
        .collect();
    let check = format!("pool {}", pool.name);
    let well = pool.backends.len() - all.len();
    all.push(match (well, pool.backends.len()) {
        (0, total) => warn(
            check,
            format!("none of {total} backends is reached and passes its check"),
        )
        .fix("look at the lines of its backends"),
        (well, total) => ok(
            check,
            format!("{well} of {total} backends are reached and pass its check"),
        ),
    });
    let ways = pool
        .backends
        .iter()
        .filter_map(|backend| backend.way.as_ref().ok());
    let narrowest = ways.map(|way| way.mtu).min();
    all.extend(narrowest.map(|narrowest| mtu(pool, narrowest)));
    all
}

/// What is wrong with a backend, where anything is.
fn of_backend(backend: &Backend, facts: &Facts) -> Option<Finding> {
    let check = format!("backend {}", backend.address);
    let asking = format!("ip route get {}", backend.address);
    match (&backend.way, &backend.answer) {
        (Err(reason), _) => Some(fail(check, reason.clone()).fix(asking)),
        (Ok(way), _) if !carries_vips(way, facts) => {
            let found = format!("reached by {}, which carries no VIP traffic", way.interface);
            Some(fail(check, found).fix("route it through an interface of node.interfaces"))
        }
        (Ok(_), Err(reason)) => Some(
            warn(check, format!("fails its check: {reason}"))
                .fix("look at the server, its port, and firewalls on the way"),
        ),
        (Ok(_), Ok(())) => None,
    }
}

fn carries_vips(way: &Way, facts: &Facts) -> bool {
    facts.interfaces.is_empty() || facts.interfaces.iter().any(|one| one.name == way.interface)
}

fn mtu(pool: &Pool, mtu: u32) -> Finding {
    let check = format!("pool {} MTU", pool.name);
    let wanted = ETHERNET + pool.overhead;
    let inner = mtu.saturating_sub(pool.overhead);
    let found = format!("{mtu} on the way: {inner} bytes fit the tunnel");
    if mtu >= wanted {
        return ok(
            check,
            format!("{mtu} on the way: full-size packets fit the tunnel"),
        );
    }
    let raise = format!("raise the MTU on the way to {wanted} or more");
    match pool.mode {
        Mode::Rows if mtu >= ETHERNET => ok(
            check,
            format!("{found}, which backends tell TCP (mss = \"auto\")"),
        ),
        Mode::Rows => warn(check, found).fix(raise),
        Mode::Stateless | Mode::FlowTable => warn(check, format!("{found}, and nobody tells TCP"))
            .fix(format!("{raise}, or lower the MSS on the backends")),
    }
}

fn peer(peer: &Peer) -> Finding {
    let check = format!("peer {}", peer.address);
    match &peer.state {
        PeerState::Session(state, None) if state == "Established" => {
            ok(check, "session Established")
        }
        PeerState::Session(state, reason) => {
            let reason = reason
                .as_ref()
                .map_or_else(String::new, |reason| format!(": {reason}"));
            fail(check, format!("session {state}{reason}")).fix("anylb bgp peers")
        }
        PeerState::Passive => unknown(check, "passive: it connects to us, so nothing can be tried"),
        PeerState::Guarded => unknown(
            check,
            "needs a password or TTL security: only the agent's own session can tell",
        ),
        PeerState::Unknown => unknown(
            check,
            "known by its interface: only the agent hears which address it advertises",
        ),
        PeerState::Answers => ok(check, "takes connections"),
        PeerState::Silent(reason) => fail(check, format!("no connection: {reason}"))
            .fix("configure this node as a neighbour there, and look at filters for its port"),
        PeerState::NoRoute => fail(check, "no route").fix(format!("ip route get {}", peer.address)),
    }
}

fn clock(synchronized: Option<bool>) -> Finding {
    match synchronized {
        Some(true) => ok("clock", "synchronized"),
        Some(false) => warn(
            "clock",
            "not synchronized: logs of nodes cannot be compared, certificates may seem invalid",
        )
        .fix("run an NTP client, such as chrony or systemd-timesyncd"),
        None => unknown("clock", "the kernel does not tell"),
    }
}

#[cfg(test)]
mod tests;
