//! `[bgp]` and `[[bgp.peer]]`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::aggregate::AggregateDraft;
use super::bfd;
use super::diagnostic::Diagnostic;
use super::fields::Fields;
use super::node::no_interface;
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
        repeated(fields.errors(), &names, |name| match name {
            PeerName::Range(range) => format!("two peers have the range {range}"),
            PeerName::Interface(interface) => format!("two peers have the interface {interface}"),
            PeerName::Address(_) | PeerName::LinkLocal(..) => {
                format!("two peers have the address {name}")
            }
        });
        self.check_signed(fields);
        if fields.is_empty("listen") {
            for (place, what) in self.peers.iter().filter_map(PeerDraft::listens) {
                fields.errors().add_absence(
                    Diagnostic::at(
                        place,
                        format!("{what} cannot connect: `bgp.listen` is not set"),
                    )
                    .help("add `listen = [\"0.0.0.0:179\", \"[::]:179\"]` to `[bgp]`"),
                );
            }
        }
    }

    /// The kernel takes the password of a range for every address inside that has none of its own.
    fn check_signed(&self, fields: &Fields<'_, '_>) {
        let named = |peer: &'_ PeerDraft| peer.name.clone();
        for range in self.peers.iter().filter(|peer| peer.password.is_some()) {
            let Some(outer) = named(range).filter(|name| name.value.range().is_some()) else {
                continue;
            };
            let bare = self.peers.iter().filter(|peer| !peer.signs);
            for inner in bare.filter_map(named) {
                if !outer.value.holds(&inner.value) {
                    continue;
                }
                let message = format!(
                    "{} has no password and lies in the range {}, which has one",
                    inner.value, outer.value
                );
                fields.errors().add(
                    Diagnostic::at(&inner.span, message)
                        .related(&outer.span, "this range")
                        .help(
                            "give it a `password_file` as well: the kernel takes no unsigned connection from inside the range",
                        ),
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
    /// A password is asked for, whether or not it could be read.
    signs: bool,
    ttl_security: Option<u8>,
    /// Where `passive = true` stands.
    passive: Option<Span>,
    members_max: usize,
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
        let name = name(fields).filter(|name| is_there(name, fields, secrets));
        let on_link = name
            .as_ref()
            .filter(|name| name.value.interface().is_some());
        let bfd = fields.table("bfd", &BFD);
        let bfd = bfd.map(|fields| bfd::read(&fields, on_link));
        let range = fields.key_place("range");
        if range.is_some() {
            refuse_for_range(fields);
        }
        let passive = fields.get("passive", value::flag);
        if let Some(passive) = passive.as_ref().filter(|_| range.is_some())
            && !passive.value
        {
            fields.errors().add(
                Diagnostic::at(
                    &passive.span,
                    "a range cannot be dialled, so it is always passive",
                )
                .help("remove it"),
            );
        }
        PeerDraft {
            name,
            port: fields.get_or("port", BGP_PORT, value::port),
            asn: fields.must("asn", asn).map(|asn| asn.value),
            password: password(fields, secrets),
            signs: fields.raw("password_file").is_some(),
            ttl_security: fields
                .get("ttl_security", |value| value::integer(value, 1..=254))
                .map(|hops| hops.value),
            passive: passive
                .filter(|passive| passive.value)
                .map(|passive| passive.span),
            members_max: max_peers(fields),
            next_hop_v4: fields.get("next_hop_v4", value::ipv4),
            next_hop_v6: fields.get("next_hop_v6", value::ipv6),
            policy: PolicyDraft::read(fields),
            services: services(fields),
            bfd,
        }
    }

    /// Where it says that the peer connects to us, and who that is.
    fn listens(&self) -> Option<(&Span, &'static str)> {
        let range = self
            .name
            .as_ref()
            .filter(|name| name.value.range().is_some());
        let passive = self.passive.as_ref().map(|place| (place, "a passive peer"));
        passive.or_else(|| range.map(|name| (&name.span, "peers of a range")))
    }

    fn finish(self) -> Option<BgpPeer> {
        let name = self.name?.value;
        let (password, password_file) = self.password.unzip();
        Some(BgpPeer {
            name,
            port: self.port,
            asn: self.asn?,
            password,
            password_file,
            ttl_security: self.ttl_security,
            passive: self.passive.is_some() || name.range().is_some(),
            members_max: self.members_max,
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

/// Of a range.
const MEMBERS_MAX: usize = 16;

/// What a peer is known by; one of them.
pub(super) const NAMES: [&str; 3] = ["address", "range", "interface"];

/// By what the peer is known.
fn name(fields: &Fields<'_, '_>) -> Option<Placed<PeerName>> {
    let read = [
        fields.get("address", |value| value::peer_address(value)),
        fields.get("range", value::range),
        fields.get("interface", value::peer_interface),
    ];
    let places = NAMES.map(|key| fields.key_place(key).map(|place| (key, place)));
    let places: Vec<(&str, Span)> = places.into_iter().flatten().collect();
    match places.as_slice() {
        [] => {
            let help = "such as `address = \"10.0.0.1\"`, `range = \"10.0.0.0/24\"` for whoever connects from there, or \
                        `interface = \"eth0\"` for the router on that link";
            fields.demand_with("address", help.to_owned());
            None
        }
        [_] => read.into_iter().flatten().next(),
        [(first, first_place), others @ ..] => {
            for (other, place) in others {
                fields.errors().add(
                    Diagnostic::at(place, format!("`{other}` beside `{first}`"))
                        .related(first_place, format!("the {first}"))
                        .help("a peer is known by one of them: make two `[[bgp.peer]]` of it"),
                );
            }
            None
        }
    }
}

/// Whether the interface that the peer is behind exists.
fn is_there(name: &Placed<PeerName>, fields: &Fields<'_, '_>, secrets: &Secrets<'_>) -> bool {
    let Some(interface) = name.value.interface() else {
        return true;
    };
    let existing = secrets.host.interfaces();
    let there = existing.iter().any(|one| one == interface.as_str());
    if !there {
        let interface = Placed {
            value: interface.to_string(),
            span: name.span.clone(),
        };
        fields.errors().add(no_interface(&interface, &existing));
    }
    there
}

/// What needs the peer's address.
fn refuse_for_range(fields: &Fields<'_, '_>) {
    for (key, why) in [
        ("port", "a range is never dialled"),
        (
            "bfd",
            "BFD needs the address of its peer before a session comes",
        ),
    ] {
        if let Some(place) = fields.key_place(key) {
            fields.errors().add(
                Diagnostic::at(&place, format!("`{key}` for a range: {why}"))
                    .help("remove it, or give the peer an `address`"),
            );
        }
    }
}

fn max_peers(fields: &Fields<'_, '_>) -> usize {
    let max = fields.get("max_peers", |value| value::integer(value, 1..=1000));
    let one = fields
        .key_place("address")
        .or(fields.key_place("interface"));
    if let (Some(max), None, Some(_)) = (&max, fields.key_place("range"), one) {
        fields.errors().add(
            Diagnostic::at(&max.span, "`max_peers` for a peer with one address")
                .help("remove it: only a `range` has more than one"),
        );
    }
    max.map_or(MEMBERS_MAX, |max| max.value)
}

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
