//! `[[service]]`.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use lb_common::abi;
use toml::de::DeValue;

use super::announce::AnnounceDraft;
use super::diagnostic::Diagnostic;
use super::fields::Fields;
use super::flow_table;
use super::lists;
use super::place::{Placed, Span};
use super::ports::Entries;
use super::rates;
use super::schema::ANNOUNCE;
use super::secret::Secrets;
use super::value::{self, Read, Reject};
use crate::filter::{Filter, PrefixList};
use crate::model::{
    Announce, BelowNeed, HashScope, Mode, Need, PoolName, Ports, Protocol, RateLimit, Service,
    SourceLimit, UdpFlows, Vip,
};

/// `[[service]]` as far as it could be read.
pub struct ServiceDraft {
    /// Unique name.
    pub name: Option<Placed<String>>,
    /// The address clients use, or a prefix of them.
    pub vip: Option<Placed<Vip>>,
    /// Transport protocol.
    pub protocol: Option<Protocol>,
    /// Destination ports.
    pub ports: Vec<Placed<Ports>>,
    /// What of a packet chooses its row.
    pub hash: HashScope,
    /// Whether it takes fragments, where it says so.
    pub fragments: Option<Placed<bool>>,
    /// What is done for UDP flows, where it says so.
    pub udp: Option<Placed<UdpFlows>>,
    /// How long they are remembered, where it says so.
    pub udp_timeout: Option<Placed<Duration>>,
    /// Who may.
    pub allow: Option<Placed<Arc<PrefixList>>>,
    /// Who may not.
    pub deny: Option<Placed<Arc<PrefixList>>>,
    /// Whether it takes known flows only, where it says so.
    pub attack: Option<Placed<bool>>,
    rate: Option<RateLimit>,
    source_rate: Option<SourceLimit>,
    /// Name of the pool.
    pub pool: Option<Placed<String>>,
    /// Whether `pool` is there, readable or not.
    pub pool_named: bool,
    /// When to announce.
    pub need: Option<Placed<Need>>,
    /// What happens otherwise.
    pub below_need: BelowNeed,
    /// Time before it is announced again, where it says so.
    pub hold_up: Option<Placed<Duration>>,
    /// How to announce.
    pub announce: Option<AnnounceDraft>,
    /// Its header.
    pub place: Span,
}

impl ServiceDraft {
    /// Reads the service.
    pub fn read(fields: &Fields<'_, '_>, secrets: &Secrets<'_>) -> Self {
        fields.demand("protocol");
        let protocol = fields.word(
            "protocol",
            &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)],
        );
        ServiceDraft {
            name: fields.must("name", value::name),
            vip: fields.must("vip", vip),
            protocol,
            ports: ports(fields),
            hash: fields
                .word("hash", &HASHES.map(|hash| (hash.as_str(), hash)))
                .unwrap_or_default(),
            fragments: fields.get("fragments", value::flag),
            udp: fields.placed_word("udp", &UDP_FLOWS.map(|udp| (udp.as_str(), udp))),
            udp_timeout: fields.get("udp_timeout", |value| {
                value::duration(value, UDP_TIMEOUT_MIN..=UDP_TIMEOUT_MAX)
            }),
            allow: lists::read(fields, "allow", secrets),
            deny: lists::read(fields, "deny", secrets),
            attack: fields.get("attack", value::flag),
            rate: rates::service(fields, protocol),
            source_rate: rates::source(fields, protocol),
            pool: fields.get("pool", value::name),
            pool_named: fields.raw("pool").is_some(),
            need: fields.get("need", |value| need(value, "backends")),
            below_need: fields
                .word(
                    "below_need",
                    &[
                        ("withdraw", BelowNeed::Withdraw),
                        ("last-resort", BelowNeed::LastResort),
                    ],
                )
                .unwrap_or_default(),
            hold_up: fields.get("hold_up", |value| {
                value::duration(value, Duration::ZERO..=HOLD_UP_MAX)
            }),
            announce: fields
                .table("announce", &ANNOUNCE)
                .map(|announce| AnnounceDraft::read(&announce)),
            place: fields.place.clone(),
        }
    }

    /// The service, if all of it could be read. `size` and `mode`: of its pool; `filter`: its lists; `buckets`: for prefixes of its
    /// sources.
    pub fn finish(
        self,
        (size, mode): (Option<usize>, Option<Mode>),
        takes_fragments: bool,
        filter: Option<Arc<Filter>>,
        buckets: u32,
    ) -> Option<Service> {
        let backends = size.unwrap_or(0);
        let udp = flow_table::udp(&self, mode);
        let mut ports: Vec<Ports> = self.ports.iter().map(|ports| ports.value).collect();
        ports.sort_unstable();
        let default = if backends <= 2 {
            Need::Count(1)
        } else {
            Need::Percent(30)
        };
        Some(Service {
            name: self.name?.value,
            vip: self.vip?.value,
            protocol: self.protocol?,
            ports,
            hash: self.hash,
            fragments: takes_fragments,
            udp,
            udp_timeout: self
                .udp_timeout
                .map_or(UDP_TIMEOUT, |timeout| timeout.value),
            filter,
            attack: self.attack.is_some_and(|attack| attack.value),
            rate: self.rate,
            source_rate: self
                .source_rate
                .map(|source| SourceLimit { buckets, ..source }),
            pool: self.pool.map(|pool| PoolName(pool.value)),
            need: self.need.map_or(default, |need| need.value),
            below_need: self.below_need,
            hold_up: self.hold_up.map_or(HOLD_UP, |hold_up| hold_up.value),
            announce: self
                .announce
                .map_or_else(Announce::default, AnnounceDraft::finish),
        })
    }
}

const HASHES: [HashScope; 3] = [HashScope::Flow, HashScope::Pair, HashScope::Source];
const UDP_FLOWS: [UdpFlows; 3] = [
    UdpFlows::Stateless,
    UdpFlows::Connected,
    UdpFlows::FlowTable,
];
/// As long as address translators keep a silent flow at least (RFC 4787, section 4.3).
const HOLD_UP: Duration = Duration::from_secs(10);
const HOLD_UP_MAX: Duration = Duration::from_secs(300);
const UDP_TIMEOUT: Duration = Duration::from_secs(120);
const UDP_TIMEOUT_MIN: Duration = Duration::from_secs(1);
const UDP_TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Shorter ones are nobody's to announce: the largest that registries have given out, of IPv4, and to providers, of IPv6.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 32;
/// What no host that others reach has, with what it is.
const NO_HOSTS: [(&str, &str); 8] = [
    ("0.0.0.0/8", "addresses of \"this network\""),
    ("127.0.0.0/8", "loopback addresses"),
    ("169.254.0.0/16", "link-local addresses"),
    ("224.0.0.0/4", "multicast addresses"),
    ("240.0.0.0/4", "reserved addresses"),
    ("::/64", "special addresses"),
    ("fe80::/10", "link-local addresses"),
    ("ff00::/8", "multicast addresses"),
];

/// An address, or a prefix.
fn vip(value: &DeValue<'_>) -> Read<Vip> {
    let net = value
        .as_str()
        .and_then(|written| written.parse::<IpNet>().ok());
    match net {
        Some(net) if net.prefix_len() < net.max_prefix_len() => prefix_vip(net),
        _ => value::address(value).map(Vip::from),
    }
}

fn prefix_vip(net: IpNet) -> Read<Vip> {
    if net.trunc() != net {
        let help = format!(
            "write \"{}\" for the whole prefix, \"{}\" for the address",
            net.trunc(),
            net.addr()
        );
        return Err(Reject::value("has bits set behind the prefix length").help(&help));
    }
    let shortest = match net {
        IpNet::V4(_) => SHORTEST_V4,
        IpNet::V6(_) => SHORTEST_V6,
    };
    if net.prefix_len() < shortest {
        let reason = format!("must be a prefix of /{shortest} or longer");
        return Err(Reject::value(&reason).help("name the prefixes that you own"));
    }
    let meets = |(special, _): &&(&str, &str)| {
        let special: Option<IpNet> = special.parse().ok();
        special.is_some_and(|special| special.contains(&net) || net.contains(&special))
    };
    match NO_HOSTS.iter().find(meets) {
        Some((_, what)) => Err(Reject::value(&format!(
            "must be a prefix of unicast addresses, {net} has {what}"
        ))),
        None => Ok(net.into()),
    }
}

fn ports(fields: &Fields<'_, '_>) -> Vec<Placed<Ports>> {
    fields.demand("ports");
    let Some(written) = fields.raw("ports") else {
        return Vec::new();
    };
    if written.get_ref().as_str() == Some("any") {
        return fields
            .get("ports", |_| Ok(Ports::ANY))
            .into_iter()
            .collect();
    }
    let Some(ports) = fields.list("ports", some_ports) else {
        return Vec::new();
    };
    if fields.is_empty("ports") {
        let reject =
            Reject::value("must name at least one port").help("such as `ports = [80, 443]`");
        fields.errors().add(reject.at("ports", &ports.span));
    }
    let mut earlier = Entries::default();
    for found in &ports.value {
        if let Some(other) = earlier.meeting(found.value) {
            let message = if found.value == other.value {
                format!("port {} is listed twice", found.value)
            } else {
                format!("{} and {} have ports in common", other.value, found.value)
            };
            fields.errors().add(
                Diagnostic::at(&found.span, message)
                    .label("again here")
                    .related(&other.span, "first here"),
            );
        }
        earlier.add((), found);
    }
    ports.value
}

/// A port, or a range such as "8000-8999".
fn some_ports(value: &DeValue<'_>) -> Read<Ports> {
    let Some((first, last)) = value.as_str().and_then(|text| text.split_once('-')) else {
        return value::port(value).map(Ports::one);
    };
    let port = |digits: &str| digits.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let (Some(first), Some(last)) = (port(first), port(last)) else {
        return Err(
            Reject::is_no(value.as_str().unwrap_or_default(), "range of ports")
                .help("such as \"8000-8999\", of 1 to 65535"),
        );
    };
    Ports::range(first, last).ok_or_else(|| {
        Reject::value("is an empty range").help(&format!("write \"{last}-{first}\""))
    })
}

/// A number of some things, or a share of them.
pub fn need(value: &DeValue<'_>, of: &str) -> Read<Need> {
    let Some(written) = value.as_str() else {
        return match value {
            DeValue::Integer(_) => {
                value::integer(value, 1..=u64::from(abi::BACKENDS_MAX)).map(Need::Count)
            }
            other => Err(Reject::of_type(
                other,
                "a number or a percentage such as \"30%\"",
            )),
        };
    };
    let percent = written
        .strip_suffix('%')
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match percent.and_then(|digits| digits.parse::<u8>().ok()) {
        Some(percent @ 1..=100) => Ok(Need::Percent(percent)),
        Some(_) => Err(Reject::value("must be \"1%\" to \"100%\"")),
        None => {
            let number = written.parse::<u32>().ok();
            let help = number.map_or("such as 2 or \"30%\"".to_owned(), |number| {
                format!("write {number} for {of}, \"{number}%\" for a share of them")
            });
            Err(Reject::is_no(written, "number or percentage").help(&help))
        }
    }
}
