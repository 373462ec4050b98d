//! `[node]`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::fields::{Fields, NOT_SUPPORTED};
use super::place::{Placed, Span};
use super::secret::Secrets;
use super::suggest::nearest;
use super::unique::repeated;
use super::value;
use crate::model::{HashKey, Node, XdpMode};

/// `[node]` as far as it could be read.
pub struct NodeDraft {
    name: Option<String>,
    router_id: Option<Placed<Ipv4Addr>>,
    /// Whether `router_id` is there, readable or not.
    pub router_id_named: bool,
    /// `interfaces`.
    pub interfaces: Vec<Placed<String>>,
    /// `xdp_mode`.
    pub xdp_mode: Option<Placed<XdpMode>>,
    /// `xdp_chain`.
    pub xdp_chain: Option<Placed<PathBuf>>,
    /// Whether `hash_key_file` is there, readable or not.
    pub hash_key_named: bool,
    hash_key: Option<HashKey>,
    /// Outer source address.
    pub tunnel_source_v4: Option<Placed<Ipv4Addr>>,
    /// Outer source address.
    pub tunnel_source_v6: Option<Placed<Ipv6Addr>>,
    state_dir: PathBuf,
    runtime_dir: PathBuf,
    pin_dir: PathBuf,
    flow_memory: Duration,
    drain_wait: Duration,
    linger: Duration,
    /// For all lists of prefixes.
    pub filter_memory_mib: u32,
    /// For each service that limits its sources.
    pub rate_buckets: u32,
    flow_table_entries: u32,
    /// Its header.
    pub place: Span,
}

impl NodeDraft {
    /// Reads the section.
    pub fn read(fields: &Fields<'_, '_>, secrets: &Secrets<'_>) -> Self {
        let dir = |name, default: &str| {
            let dir = fields.get_or(name, PathBuf::from(default), value::path);
            secrets.base.join(dir)
        };
        NodeDraft {
            name: fields.must("name", value::name).map(|name| name.value),
            router_id: fields.get("router_id", router_id),
            router_id_named: fields.raw("router_id").is_some(),
            interfaces: interfaces(fields, secrets),
            xdp_mode: fields.placed_word(
                "xdp_mode",
                &[
                    ("auto", XdpMode::Auto),
                    ("native", XdpMode::Native),
                    ("generic", XdpMode::Generic),
                ],
            ),
            xdp_chain: fields.get("xdp_chain", value::path).map(|pin| Placed {
                value: secrets.base.join(pin.value),
                span: pin.span,
            }),
            hash_key_named: fields.raw("hash_key_file").is_some(),
            hash_key: hash_key(fields, secrets),
            tunnel_source_v4: fields.get("tunnel_source_v4", value::ipv4),
            tunnel_source_v6: fields.get("tunnel_source_v6", value::ipv6),
            state_dir: dir("state_dir", "/var/lib/anylb"),
            runtime_dir: dir("runtime_dir", "/run/anylb"),
            pin_dir: dir("pin_dir", "/sys/fs/bpf/anylb"),
            flow_memory: fields.get_or("flow_memory", FLOW_MEMORY, |value| {
                value::duration(value, FLOW_MEMORY_MIN..=FLOW_MEMORY_MAX)
            }),
            drain_wait: fields.get_or("drain_wait", DRAIN_WAIT, leaving),
            linger: fields.get_or("linger", LINGER, leaving),
            filter_memory_mib: fields.integer_or(
                "filter_memory_mib",
                FILTER_MEMORY_MIB,
                1..=16_384,
            ),
            rate_buckets: fields.integer_or("rate_buckets", RATE_BUCKETS, 1024..=16_777_216),
            flow_table_entries: fields.integer_or(
                "flow_table_entries",
                FLOW_TABLE_ENTRIES,
                FLOW_TABLE_MIN..=FLOW_TABLE_MAX,
            ),
            place: fields.place.clone(),
        }
    }

    /// The section, if all of it could be read.
    pub fn finish(self) -> Option<Node> {
        Some(Node {
            name: self.name?,
            router_id: self.router_id.map(|id| id.value),
            interfaces: self.interfaces.into_iter().map(|name| name.value).collect(),
            xdp_mode: self.xdp_mode.map_or(XdpMode::Auto, |mode| mode.value),
            xdp_chain: self.xdp_chain.map(|pin| pin.value),
            hash_key: self.hash_key,
            tunnel_source_v4: self.tunnel_source_v4.map(|address| address.value),
            tunnel_source_v6: self.tunnel_source_v6.map(|address| address.value),
            state_dir: self.state_dir,
            runtime_dir: self.runtime_dir,
            pin_dir: self.pin_dir,
            flow_memory: self.flow_memory,
            drain_wait: self.drain_wait,
            linger: self.linger,
            filter_memory_mib: self.filter_memory_mib,
            rate_buckets: self.rate_buckets,
            flow_table_entries: self.flow_table_entries,
        })
    }
}

const FLOW_MEMORY: Duration = Duration::from_secs(24 * 3600);
const FLOW_MEMORY_MIN: Duration = Duration::from_secs(1);
const FLOW_MEMORY_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
const DRAIN_WAIT: Duration = Duration::from_secs(10);
const LINGER: Duration = Duration::from_secs(30);
const FILTER_MEMORY_MIB: u32 = 64;
const RATE_BUCKETS: u32 = 65_536;
const LEAVING_MAX: Duration = Duration::from_secs(3600);
/// 840 KB per CPU.
const FLOW_TABLE_ENTRIES: u32 = 65_536;
const FLOW_TABLE_MIN: u64 = 1024;
/// 215 MB per CPU.
const FLOW_TABLE_MAX: u64 = 1 << 24;

/// How long a step of leaving may take; zero leaves it out.
fn leaving(value: &toml::de::DeValue<'_>) -> value::Read<Duration> {
    value::duration(value, Duration::ZERO..=LEAVING_MAX)
}

/// Any 32 bits but zero (RFC 6286), written as an address.
fn router_id(value: &toml::de::DeValue<'_>) -> value::Read<Ipv4Addr> {
    let written = value::text(value, "an IPv4 address in quotes")?;
    match written.parse::<Ipv4Addr>() {
        Ok(id) if id.is_unspecified() => Err(value::Reject::value("must not be 0.0.0.0")),
        Ok(id) => Ok(id),
        Err(_) => Err(value::Reject::is_no(written, "IPv4 address")
            .help("such as \"10.0.0.11\", different on every node")),
    }
}

fn hash_key(fields: &Fields<'_, '_>, secrets: &Secrets<'_>) -> Option<HashKey> {
    let path = fields.get("hash_key_file", value::path)?;
    secrets.hash_key(&path, fields.errors())
}

fn interfaces(fields: &Fields<'_, '_>, secrets: &Secrets<'_>) -> Vec<Placed<String>> {
    fields.demand("interfaces");
    let Some(list) = fields.list("interfaces", interface_name) else {
        return Vec::new();
    };
    if fields.is_empty("interfaces") {
        fields.errors().add(
            Diagnostic::at(
                &list.span,
                format!("a node without an interface {NOT_SUPPORTED}"),
            )
            .help("name the interface that carries the traffic of VIPs"),
        );
    }
    let existing = secrets.host.interfaces();
    for name in &list.value {
        if !existing.contains(&name.value) {
            fields.errors().add(no_interface(name, &existing));
        }
    }
    repeated(fields.errors(), &list.value, |name| {
        format!("interface {name} is listed twice")
    });
    list.value
}

/// What the kernel takes as a name (IFNAMSIZ is 16 with the zero byte).
fn interface_name(value: &toml::de::DeValue<'_>) -> value::Read<String> {
    let name = value::text(value, "the name of an interface in quotes")?;
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
    if name.is_empty() || name.len() > 15 || !name.chars().all(fits) || matches!(name, "." | "..") {
        return Err(value::Reject::is_no(name, "name of an interface"));
    }
    Ok(name.to_owned())
}

/// The name of an interface that this host has not got.
pub fn no_interface(name: &Placed<String>, existing: &[String]) -> Diagnostic {
    let error = Diagnostic::at(
        &name.span,
        format!("there is no interface `{}`", name.value),
    );
    match nearest(&name.value, existing.iter().map(String::as_str)) {
        Some(meant) => error.help(format!("did you mean `{meant}`?")),
        None if (1..=LISTED_MAX).contains(&existing.len()) => {
            error.help(format!("there are: {}", existing.join(", ")))
        }
        None => error.help("`ip link` shows those that there are"),
    }
}

/// Interfaces worth listing in a message.
const LISTED_MAX: usize = 8;
