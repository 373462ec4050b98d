//! Single keys, in the words of the file. What nobody should read, or what takes a page, is only said to differ.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use crate::bgp::{Communities, PeerName, Policy};
use crate::filter::{Filter, PrefixList, Prefixes};
use crate::model::{
    Aggregate, Announce, Backend, Bgp, BgpPeer, Check, CheckKind, Encap, GracefulRestart, Need,
    Node, Pool, Service, Settings,
};
use crate::status::ValueDiff;

/// Differences as they are found.
#[derive(Default)]
struct Found(Vec<ValueDiff>);

impl Found {
    /// Notes a key whose values differ.
    fn key<T: PartialEq>(
        &mut self,
        key: impl Into<String>,
        before: &T,
        after: &T,
        in_words: impl Fn(&T) -> Option<String>,
    ) {
        if before == after {
            return;
        }
        let (before, after) = (in_words(before), in_words(after));
        // Two words that are the same say nothing of what differs.
        let same = before == after;
        self.0.push(ValueDiff {
            key: key.into(),
            before: before.filter(|_| !same),
            after: after.filter(|_| !same),
        });
    }
}

pub(super) fn service(before: &Service, after: &Service) -> Vec<ValueDiff> {
    let mut found = Found::default();
    found.key("vip", &before.vip, &after.vip, said);
    found.key("protocol", &before.protocol, &after.protocol, said);
    found.key("ports", &before.ports, &after.ports, |ports| list(ports));
    found.key("hash", &before.hash, &after.hash, |hash| {
        said(&hash.as_str())
    });
    found.key("attack", &before.attack, &after.attack, said);
    found.key("fragments", &before.fragments, &after.fragments, said);
    found.key("udp", &before.udp, &after.udp, |udp| said(&udp.as_str()));
    let timeouts = (&before.udp_timeout, &after.udp_timeout);
    found.key("udp_timeout", timeouts.0, timeouts.1, time);
    found.key("rate_limit", &before.rate, &after.rate, |rate| {
        rate.map(|rate| rate.to_string())
    });
    found.key(
        "rate_limit_source",
        &before.source_rate,
        &after.source_rate,
        |rate| rate.map(|rate| rate.to_string()),
    );
    lists(
        &mut found,
        before.filter.as_deref(),
        after.filter.as_deref(),
    );
    let pool = |pool: &Option<_>| pool.as_ref().and_then(said);
    found.key("pool", &before.pool, &after.pool, pool);
    found.key("need", &before.need, &after.need, need);
    announce(&mut found, &before.announce, &after.announce);
    found.0
}

fn lists(found: &mut Found, before: Option<&Filter>, after: Option<&Filter>) {
    let key = |found: &mut Found, key: &str, of: fn(&Filter) -> Option<&Arc<PrefixList>>| {
        let (before, after) = (before.and_then(of), after.and_then(of));
        let prefixes = |list: Option<&Arc<PrefixList>>| list.map(|list| Arc::clone(&list.prefixes));
        let nothing = Prefixes::default();
        let (old, new) = (prefixes(before), prefixes(after));
        if old == new {
            return;
        }
        let (old_list, new_list) = (
            old.as_deref().unwrap_or(&nothing),
            new.as_deref().unwrap_or(&nothing),
        );
        let changed = format!(
            " ({} more, {} fewer)",
            new_list.lacking_in(old_list),
            old_list.lacking_in(new_list)
        );
        let in_words = |list: Option<&Arc<PrefixList>>| list.map(|list| list.to_string());
        found.0.push(ValueDiff {
            key: key.to_owned(),
            before: in_words(before),
            after: in_words(after).map(|words| words + &changed),
        });
    };
    key(found, "allow", |filter| filter.allow.as_ref());
    key(found, "deny", |filter| filter.deny.as_ref());
}

fn need(need: &Need) -> Option<String> {
    match need {
        Need::Count(count) => said(count),
        Need::Percent(percent) => Some(format!("{percent}%")),
    }
}

fn announce(found: &mut Found, before: &Announce, after: &Announce) {
    policy(found, "announce.", &before.policy, &after.policy);
    found.key("announce.peers", &before.peers, &after.peers, |peers| {
        peers.as_ref().and_then(list)
    });
}

pub(super) fn policy_changes(before: &Policy, after: &Policy) -> Vec<ValueDiff> {
    let mut found = Found::default();
    policy(&mut found, "", before, after);
    found.0
}

fn policy(found: &mut Found, prefix: &str, before: &Policy, after: &Policy) {
    let key = |key: &str| format!("{prefix}{key}");
    found.key(
        key("communities"),
        &before.communities,
        &after.communities,
        communities,
    );
    let med = |med: &Option<u32>| med.as_ref().and_then(said);
    found.key(key("med"), &before.med, &after.med, med);
    found.key(key("prepend"), &before.prepend, &after.prepend, said);
}

fn communities(communities: &Communities) -> Option<String> {
    let standard = communities.standard.iter().map(ToString::to_string);
    list(standard.chain(communities.large.iter().map(ToString::to_string)))
}

pub(super) fn pool(before: &Pool, after: &Pool) -> Vec<ValueDiff> {
    let mut found = Found::default();
    found.key("encap", &before.encap, &after.encap, |encap| {
        said(match encap {
            Encap::Gue => &"gue",
            Encap::IpIp => &"ipip",
            Encap::L2 => &"l2",
        })
    });
    found.key("mode", &before.mode, &after.mode, |mode| {
        said(&mode.as_str())
    });
    found.key("hops", &before.hops, &after.hops, said);
    check(&mut found, &before.check, &after.check);
    found.0
}

fn check(found: &mut Found, before: &Check, after: &Check) {
    found.key("check", &before.kind, &after.kind, |kind| match kind {
        CheckKind::Tcp { port } => Some(format!("tcp port {port}")),
        CheckKind::Http(http) => Some(format!(
            "{} port {} {}, expect {}",
            if http.tls.is_some() { "https" } else { "http" },
            http.port,
            http.path,
            http.expect
        )),
    });
    found.key("check.interval", &before.interval, &after.interval, time);
    found.key("check.timeout", &before.timeout, &after.timeout, time);
    found.key("check.rise", &before.rise, &after.rise, said);
    found.key("check.fall", &before.fall, &after.fall, said);
}

pub(super) fn backend(before: &Backend, after: &Backend) -> Vec<ValueDiff> {
    let mut found = Found::default();
    found.key("name", &before.name, &after.name, Clone::clone);
    found.key("weight", &before.weight, &after.weight, said);
    found.0
}

/// What is said about routes, which a reload changes within the sessions.
pub(super) fn policies(before: Option<&Bgp>, after: Option<&Bgp>) -> Vec<ValueDiff> {
    let (Some(before), Some(after)) = (before, after) else {
        return Vec::new();
    };
    let mut found = Found::default();
    found.key(
        "bgp.communities",
        &before.communities,
        &after.communities,
        communities,
    );
    let bandwidth = |bandwidth: &Option<_>| bandwidth.as_ref().and_then(said);
    found.key(
        "bgp.link_bandwidth",
        &before.link_bandwidth,
        &after.link_bandwidth,
        bandwidth,
    );
    found.key(
        "bgp.last_resort_communities",
        &before.last_resort_communities,
        &after.last_resort_communities,
        communities,
    );
    aggregates(&mut found, &before.aggregates, &after.aggregates);
    for peer in &after.peers {
        let same = |old: &&BgpPeer| old.name == peer.name;
        if let Some(old) = before.peers.iter().find(same) {
            let prefix = format!("bgp.peer {} ", peer.name);
            policy(&mut found, &prefix, &old.policy, &peer.policy);
            let key = format!("{prefix}services");
            found.key(key, &old.services, &peer.services, |services| {
                services.as_ref().and_then(list)
            });
        }
    }
    found.0
}

fn aggregates(found: &mut Found, before: &[Aggregate], after: &[Aggregate]) {
    let prefixes = |all: &[Aggregate]| all.iter().map(|one| one.prefix).collect::<Vec<_>>();
    let (old, new) = (prefixes(before), prefixes(after));
    found.key("bgp.aggregate", &old, &new, |all| list(all));
    for one in after {
        let same = |old: &&Aggregate| old.prefix == one.prefix;
        if let Some(old) = before.iter().find(same) {
            let prefix = format!("bgp.aggregate {} ", one.prefix);
            found.key(format!("{prefix}need"), &old.need, &one.need, need);
            policy(found, &prefix, &old.policy, &one.policy);
        }
    }
}

/// What only another agent can take up.
pub(super) fn fixed(before: &Settings, after: &Settings) -> Vec<ValueDiff> {
    let mut found = Found::default();
    node(&mut found, &before.node, &after.node);
    let listen = |listen: &Option<_>| listen.as_ref().and_then(said);
    found.key("metrics.listen", &before.metrics, &after.metrics, listen);
    match (&before.bgp, &after.bgp) {
        (Some(before), Some(after)) => sessions(&mut found, before, after),
        (before, after) => found.key("bgp", &before.is_some(), &after.is_some(), |is_there| {
            said(if *is_there { &"there" } else { &"not there" })
        }),
    }
    found.0
}

fn node(found: &mut Found, before: &Node, after: &Node) {
    let address = |address: &Option<_>| address.as_ref().and_then(said);
    let path = |path: &std::path::PathBuf| Some(path.display().to_string());
    found.key("node.name", &before.name, &after.name, said);
    found.key(
        "node.router_id",
        &before.router_id,
        &after.router_id,
        address,
    );
    found.key(
        "node.interfaces",
        &before.interfaces,
        &after.interfaces,
        |all| list(all),
    );
    found.key("node.xdp_mode", &before.xdp_mode, &after.xdp_mode, unsaid);
    found.key(
        "node.xdp_chain",
        &before.xdp_chain,
        &after.xdp_chain,
        |pin| pin.as_ref().and_then(path),
    );
    found.key(
        "node.hash_key_file",
        &before.hash_key,
        &after.hash_key,
        unsaid,
    );
    found.key(
        "node.tunnel_source_v4",
        &before.tunnel_source_v4,
        &after.tunnel_source_v4,
        address,
    );
    let address = |address: &Option<_>| address.as_ref().and_then(said);
    found.key(
        "node.tunnel_source_v6",
        &before.tunnel_source_v6,
        &after.tunnel_source_v6,
        address,
    );
    found.key("node.state_dir", &before.state_dir, &after.state_dir, path);
    found.key(
        "node.runtime_dir",
        &before.runtime_dir,
        &after.runtime_dir,
        path,
    );
    found.key("node.pin_dir", &before.pin_dir, &after.pin_dir, path);
    found.key(
        "node.flow_memory",
        &before.flow_memory,
        &after.flow_memory,
        time,
    );
    found.key(
        "node.drain_wait",
        &before.drain_wait,
        &after.drain_wait,
        time,
    );
    found.key("node.linger", &before.linger, &after.linger, time);
    found.key(
        "node.filter_memory_mib",
        &before.filter_memory_mib,
        &after.filter_memory_mib,
        said,
    );
    found.key(
        "node.rate_buckets",
        &before.rate_buckets,
        &after.rate_buckets,
        said,
    );
    found.key(
        "node.flow_table_entries",
        &before.flow_table_entries,
        &after.flow_table_entries,
        said,
    );
}

fn sessions(found: &mut Found, before: &Bgp, after: &Bgp) {
    let (before, after) = (before.sessions(), after.sessions());
    found.key("bgp.asn", &before.asn, &after.asn, said);
    found.key("bgp.hold_time", &before.hold_time, &after.hold_time, time);
    found.key(
        "bgp.graceful_restart",
        &before.graceful_restart,
        &after.graceful_restart,
        |restart| {
            said(match restart {
                GracefulRestart::WithBfd => &"with-bfd",
                GracefulRestart::Always => &"always",
                GracefulRestart::Off => &"off",
            })
        },
    );
    found.key("bgp.listen", &before.listen, &after.listen, |all| list(all));
    let of = |bgp: &Bgp| -> Vec<PeerName> { bgp.peers.iter().map(|peer| peer.name).collect() };
    found.key("bgp.peer", &of(&before), &of(&after), |all| list(all));
    for peer in &after.peers {
        let same = |old: &&BgpPeer| old.name == peer.name;
        if let Some(old) = before.peers.iter().find(same) {
            found.key(format!("bgp.peer {}", peer.name), old, peer, unsaid);
        }
    }
}

fn said(value: &(impl Display + ?Sized)) -> Option<String> {
    Some(value.to_string())
}

fn unsaid<T>(_: &T) -> Option<String> {
    None
}

fn time(time: &Duration) -> Option<String> {
    let secs = time.as_secs();
    Some(match (time.subsec_nanos(), secs) {
        (0, 1..) if secs.is_multiple_of(3600) => format!("{}h", secs / 3600),
        (0, 1..) if secs.is_multiple_of(60) => format!("{}m", secs / 60),
        _ => format!("{time:?}"),
    })
}

fn list<T: Display>(values: impl IntoIterator<Item = T>) -> Option<String> {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}
