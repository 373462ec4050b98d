//! `bfd` of a `[[bgp.peer]]`.

use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::fields::Fields;
use super::value;
use crate::model::Bfd;

const INTERVAL: Duration = Duration::from_millis(300);
const INTERVAL_MIN: Duration = Duration::from_millis(50);
const INTERVAL_MAX: Duration = Duration::from_secs(10);
const MULTIPLIER: u8 = 3;

/// Reads the table.
pub fn read(fields: &Fields<'_, '_>) -> Bfd {
    let multihop = fields.get_or("multihop", false, value::flag);
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
