//! `bfd` of a `[[bgp.peer]]`.

use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::fields::Fields;
use super::place::Placed;
use super::value;
use crate::bgp::PeerName;
use crate::model::Bfd;

const INTERVAL: Duration = Duration::from_millis(300);
const INTERVAL_MIN: Duration = Duration::from_millis(50);
const INTERVAL_MAX: Duration = Duration::from_secs(10);
const MULTIPLIER: u8 = 3;

/// Reads the table; `on_link`: of a peer whose address says nothing behind its link.
pub fn read(fields: &Fields<'_, '_>, on_link: Option<&Placed<PeerName>>) -> Bfd {
    let multihop = fields.get_or("multihop", false, value::flag);
    if let (true, Some(peer), Some(place)) = (multihop, on_link, fields.key_place("multihop")) {
        fields.errors().add(
            Diagnostic::at(
                &place,
                "`multihop` over a link-local address, which no router passes on",
            )
            .related(&peer.span, "this peer")
            .help("remove it, or give the peer a global address"),
        );
    }
    let ttl_min = fields.get("min_ttl", |value| value::integer(value, 1..=255));
    if let Some(ttl_min) = &ttl_min
        && !multihop
    {
        fields.errors().add_absence(
            Diagnostic::at(&ttl_min.span, "`min_ttl` without `multihop`")
                .help("add `multihop = true`, or remove it: on one link packets have 255"),
        );
    }
    Bfd {
        interval: fields.get_or("interval", INTERVAL, |value| {
            value::duration(value, INTERVAL_MIN..=INTERVAL_MAX)
        }),
        multiplier: fields.integer_or("multiplier", MULTIPLIER, 2..=50),
        multihop: multihop.then_some(ttl_min.map_or(1, |ttl| ttl.value)),
        strict: fields.get_or("strict", false, value::flag),
    }
}
