//! `[bgp]` and `[[bgp.peer]]`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::aggregate::AggregateDraft;
use super::bfd;
use super::diagnostic::Diagnostic;
use super::fields::Fields;
use super::place::{Placed, Span};
use super::policy::{PolicyDraft, communities};
use super::schema::{AGGREGATE, BFD, PEER};
use super::secret::Secrets;
use super::unique::repeated;
use super::value::{self, Read, Reject};
use crate::bgp::{AnyCommunity, Communities, LinkBandwidth, PeerName};
use crate::model::{Bfd, Bgp, BgpPeer, GracefulRestart};

/// `[bgp]` as far as it could be read.
pub struct BgpDraft {
    /// Our AS.
    pub asn: Option<u32>,
    hold_time: Duration,
    communities: Communities,
    graceful_restart: GracefulRestart,
    listen: Vec<SocketAddr>,
    link_bandwidth: Option<LinkBandwidth>,
    last_resort_communities: Communities,
    /// Its aggregates.
    pub aggregates: Vec<AggregateDraft>,
    /// Its peers.
    pub peers: Vec<PeerDraft>,
    /// Its header.
    pub place: Span,
}

impl BgpDraft {
    /// Reads the section and its peers.
    pub fn read(fields: &Fields<'_, '_>, secrets: &Secrets<'_>) -> Self {
        let listen = fields
            .list("listen", value::socket)
            .map_or(Vec::new(), |list| list.value);
        repeated(fields.errors(), &listen, |socket| {
            format!("{socket} is listed twice")
        });
        let peers: Vec<PeerDraft> = fields
            .tables("peer", &PEER)
            .iter()
            .map(|peer| PeerDraft::read(peer, secrets))
            .collect();
        let draft = BgpDraft {
            asn: fields.must("asn", asn).map(|asn| asn.value),
            hold_time: fields.get_or("hold_time", HOLD_TIME, hold_time),
            communities: all_of(communities(fields, "communities")),
            link_bandwidth: fields
                .get("link_bandwidth", value::bandwidth)
                .map(|bandwidth| bandwidth.value),
            last_resort_communities: all_of(communities(fields, "last_resort_communities")),
            aggregates: fields
                .tables("aggregate", &AGGREGATE)
                .iter()
                .map(AggregateDraft::read)
                .collect(),
            graceful_restart: fields
                .word(
                    "graceful_restart",
                    &[
                        ("with-bfd", GracefulRestart::WithBfd),
                        ("always", GracefulRestart::Always),
                        ("off", GracefulRestart::Off),
                    ],
                )
                .unwrap_or(GracefulRestart::WithBfd),
            listen: listen.into_iter().map(|found| found.value).collect(),
            peers,
            place: fields.place.clone(),
        };
        draft.check(fields);
        draft
    }

    fn check(&self, fields: &Fields<'_, '_>) {
        if fields.is_empty("peer") {
            fields.errors().add_absence(
                Diagnostic::at(&self.place, "there is no peer to announce to")
                    .help("add a `[[bgp.peer]]`"),
            );
        }
        let names: Vec<Placed<PeerName>> = self
            .peers
            .iter()
            .filter_map(|peer| peer.name.clone())
            .collect();
        repeated(fields.errors(), &names, |name| {
            format!("two peers have the address {name}")
        });
        if fields.is_empty("listen") {
            for passive in self.peers.iter().filter_map(|peer| peer.passive.as_ref()) {
                fields.errors().add_absence(
                    Diagnostic::at(
                        passive,
                        "a passive peer cannot connect: `bgp.listen` is not set",
                    )
                    .help("add `listen = [\"0.0.0.0:179\", \"[::]:179\"]` to `[bgp]`"),
                );
            }
        }
    }

    /// The section, if all of it could be read.
    pub fn finish(self) -> Option<Bgp> {
        Some(Bgp {
            asn: self.asn?,
            hold_time: self.hold_time,
            communities: self.communities,
            graceful_restart: self.graceful_restart,
            listen: self.listen,
            link_bandwidth: self.link_bandwidth,
            last_resort_communities: self.last_resort_communities,
            aggregates: self
                .aggregates
                .into_iter()
                .map(AggregateDraft::finish)
                .collect::<Option<_>>()?,
            peers: self
                .peers
                .into_iter()
                .map(PeerDraft::finish)
                .collect::<Option<_>>()?,
        })
    }
}

/// `[[bgp.peer]]` as far as it could be read.
pub struct PeerDraft {
    /// What the file calls it.
    pub name: Option<Placed<PeerName>>,
    port: u16,
    /// Its AS.
    pub asn: Option<u32>,
    password: Option<(String, PathBuf)>,
    ttl_security: Option<u8>,
    /// Where `passive = true` stands.
    passive: Option<Span>,
    /// Next hop of IPv4 VIPs.
    pub next_hop_v4: Option<Placed<Ipv4Addr>>,
    /// Next hop of IPv6 VIPs.
    pub next_hop_v6: Option<Placed<Ipv6Addr>>,
    /// What is said about every route to it.
    pub policy: PolicyDraft,
    /// Names of the services it takes; none: all.
    pub services: Option<Placed<Vec<Placed<String>>>>,
    bfd: Option<Bfd>,
}

impl PeerDraft {
    fn read(fields: &Fields<'_, '_>, secrets: &Secrets<'_>) -> Self {
        PeerDraft {
            name: fields.must("address", value::peer),
            port: fields.get_or("port", BGP_PORT, value::port),
            asn: fields.must("asn", asn).map(|asn| asn.value),
            password: password(fields, secrets),
            ttl_security: fields
                .get("ttl_security", |value| value::integer(value, 1..=254))
                .map(|hops| hops.value),
            passive: fields
                .get("passive", value::flag)
                .filter(|passive| passive.value)
                .map(|passive| passive.span),
            next_hop_v4: fields.get("next_hop_v4", value::ipv4),
            next_hop_v6: fields.get("next_hop_v6", value::ipv6),
            policy: PolicyDraft::read(fields),
            services: services(fields),
            bfd: fields.table("bfd", &BFD).map(|fields| bfd::read(&fields)),
        }
    }

    fn finish(self) -> Option<BgpPeer> {
        let (password, password_file) = self.password.unzip();
        Some(BgpPeer {
            name: self.name?.value,
            port: self.port,
            asn: self.asn?,
            password,
            password_file,
            ttl_security: self.ttl_security,
            passive: self.passive.is_some(),
            next_hop_v4: self.next_hop_v4.map(|hop| hop.value),
            next_hop_v6: self.next_hop_v6.map(|hop| hop.value),
            policy: self.policy.finish(),
            services: self
                .services
                .map(|list| list.value.into_iter().map(|name| name.value).collect()),
            bfd: self.bfd,
        })
    }
}

fn all_of(communities: Vec<Placed<AnyCommunity>>) -> Communities {
    communities.into_iter().map(|found| found.value).collect()
}

const BGP_PORT: u16 = 179;

const HOLD_TIME: Duration = Duration::from_secs(9);

fn services(fields: &Fields<'_, '_>) -> Option<Placed<Vec<Placed<String>>>> {
    let services = fields.list("services", value::name)?;
    if fields.is_empty("services") {
        let reject = Reject::value("must name at least one service")
            .help("without `services` the peer takes all of them");
        fields.errors().add(reject.at("services", &services.span));
    }
    repeated(fields.errors(), &services.value, |name| {
        format!("service `{name}` is listed twice")
    });
    Some(services)
}

fn password(fields: &Fields<'_, '_>, secrets: &Secrets<'_>) -> Option<(String, PathBuf)> {
    let path: Placed<PathBuf> = fields.get("password_file", value::path)?;
    let password = secrets.password(&path, fields.errors())?;
    Some((password, path.value))
}

/// An AS number that a speaker may have: not those of RFC 7607 (0), RFC 6793 (23456) and RFC 7300 (the last ones).
fn asn(value: &DeValue<'_>) -> Read<u32> {
    let asn = value::integer::<u32>(value, 0..=u64::from(u32::MAX))?;
    match asn {
        0 => Err(Reject::value("must not be 0 (RFC 7607)")),
        23456 => Err(Reject::value(
            "must not be 23456, which stands for 4-octet AS numbers (RFC 6793)",
        )),
        65535 | u32::MAX => Err(Reject::value(&format!(
            "must not be {asn}, which is reserved (RFC 7300)"
        ))),
        asn => Ok(asn),
    }
}

/// Zero, or whole seconds from 3 on (RFC 4271 4.2).
fn hold_time(value: &DeValue<'_>) -> Read<Duration> {
    let most = Duration::from_secs(65535);
    let hold_time = value::duration(value, Duration::ZERO..=most)?;
    if hold_time.subsec_nanos() != 0 {
        return Err(Reject::value("must be whole seconds"));
    }
    match hold_time.as_secs() {
        1 | 2 => Err(Reject::value(
            "must be \"0s\" or at least \"3s\" (RFC 4271)",
        )),
        _ => Ok(hold_time),
    }
}
