//! `[[service]]`.

use std::net::IpAddr;

use lb_common::abi;
use toml::de::DeValue;

use super::announce::AnnounceDraft;
use super::fields::Fields;
use super::place::{Placed, Span};
use super::schema::ANNOUNCE;
use super::unique::repeated;
use super::value::{self, Read, Reject};
use crate::model::{Announce, Need, PoolName, Protocol, Service};

/// `[[service]]` as far as it could be read.
pub struct ServiceDraft {
    /// Unique name.
    pub name: Option<Placed<String>>,
    /// The address clients use.
    pub vip: Option<Placed<IpAddr>>,
    protocol: Option<Protocol>,
    /// Destination ports.
    pub ports: Vec<Placed<u16>>,
    /// Name of the pool.
    pub pool: Option<Placed<String>>,
    /// Whether `pool` is there, readable or not.
    pub pool_named: bool,
    /// When to announce.
    pub need: Option<Placed<Need>>,
    /// How to announce.
    pub announce: Option<AnnounceDraft>,
    /// Its header.
    pub place: Span,
}

impl ServiceDraft {
    /// Reads the service.
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        // These have one value each in this version; reading them refuses all others.
        fields.word("hash", &[("5-tuple", ())]);
        fields.word("below_need", &[("withdraw", ())]);
        fields.demand("protocol");
        ServiceDraft {
            name: fields.must("name", value::name),
            vip: fields.must("vip", vip),
            protocol: fields.word("protocol", &[("tcp", Protocol::Tcp)]),
            ports: ports(fields),
            pool: fields.get("pool", value::name),
            pool_named: fields.raw("pool").is_some(),
            need: fields.get("need", need),
            announce: fields
                .table("announce", &ANNOUNCE)
                .map(|announce| AnnounceDraft::read(&announce)),
            place: fields.place.clone(),
        }
    }

    /// The service, if all of it could be read. `backends`: how many its pool has.
    pub fn finish(self, backends: usize) -> Option<Service> {
        let mut ports: Vec<u16> = self.ports.iter().map(|port| port.value).collect();
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
            pool: self.pool.map(|pool| PoolName(pool.value)),
            need: self.need.map_or(default, |need| need.value),
            announce: self
                .announce
                .map_or_else(Announce::default, AnnounceDraft::finish),
        })
    }
}

fn vip(value: &DeValue<'_>) -> Read<IpAddr> {
    let net = value
        .as_str()
        .and_then(|written| written.parse::<ipnet::IpNet>().ok());
    match net {
        Some(net) if net.prefix_len() < net.max_prefix_len() => {
            Err(Reject::not_supported(&format!("a prefix, \"{net}\","))
                .help("write one service per address"))
        }
        _ => value::address(value),
    }
}

fn ports(fields: &Fields<'_, '_>) -> Vec<Placed<u16>> {
    fields.demand("ports");
    let Some(written) = fields.raw("ports") else {
        return Vec::new();
    };
    if written.get_ref().as_str() == Some("any") {
        let reject = Reject::not_supported("\"any\"").help("list the ports: `ports = [80, 443]`");
        fields.errors().add(reject.at("ports", &written.span()));
        return Vec::new();
    }
    let Some(ports) = fields.list("ports", port) else {
        return Vec::new();
    };
    if fields.is_empty("ports") {
        let reject =
            Reject::value("must name at least one port").help("such as `ports = [80, 443]`");
        fields.errors().add(reject.at("ports", &ports.span));
    }
    repeated(fields.errors(), &ports.value, |port| {
        format!("port {port} is listed twice")
    });
    ports.value
}

fn port(value: &DeValue<'_>) -> Read<u16> {
    match value.as_str() {
        Some(range) if range.split_once('-').is_some_and(is_range) => Err(Reject::not_supported(
            &format!("a range of ports, \"{range}\","),
        )),
        _ => value::port(value),
    }
}

fn is_range((first, last): (&str, &str)) -> bool {
    first.trim().parse::<u16>().is_ok() && last.trim().parse::<u16>().is_ok()
}

/// A number of backends, or a share of them.
fn need(value: &DeValue<'_>) -> Read<Need> {
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
                format!("write {number} for backends, \"{number}%\" for a share of them")
            });
            Err(Reject::is_no(written, "number or percentage").help(&help))
        }
    }
}
