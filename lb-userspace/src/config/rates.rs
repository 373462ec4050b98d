//! `rate_limit` and `rate_limit_source` of a service.

use super::diagnostic::Diagnostic;
use super::fields::Fields;
use super::schema::{RATE_LIMIT, RATE_LIMIT_SOURCE};
use super::value;
use crate::model::{Protocol, RateLimit, SourceLimit};

/// `rate_limit`.
pub fn service(fields: &Fields<'_, '_>, protocol: Option<Protocol>) -> Option<RateLimit> {
    limit(&fields.table("rate_limit", &RATE_LIMIT)?, protocol)
}

/// `rate_limit_source`; how many buckets there are is said elsewhere.
pub fn source(fields: &Fields<'_, '_>, protocol: Option<Protocol>) -> Option<SourceLimit> {
    let fields = fields.table("rate_limit_source", &RATE_LIMIT_SOURCE)?;
    Some(SourceLimit {
        limit: limit(&fields, protocol)?,
        prefix_v4: fields.integer_or("prefix_v4", PREFIX_V4, 1..=32),
        prefix_v6: fields.integer_or("prefix_v6", PREFIX_V6, 1..=128),
        buckets: 0,
    })
}

const PREFIX_V4: u8 = 32;
const PREFIX_V6: u8 = 56;
/// More than any interface brings.
const PER_SEC_MAX: u64 = 1_000_000_000;

fn limit(fields: &Fields<'_, '_>, protocol: Option<Protocol>) -> Option<RateLimit> {
    let number = |key: &str| fields.get(key, |value| value::integer(value, 1..=PER_SEC_MAX));
    let (pps, new_flows, burst) = (number("pps"), number("new_flows"), number("burst"));
    if let Some(place) = fields
        .key_place("new_flows")
        .filter(|_| protocol == Some(Protocol::Udp))
    {
        fields.errors().add(
            Diagnostic::at(&place, "`new_flows` in a service with `protocol = \"udp\"`")
                .help("write `pps`: of UDP, nothing tells a new flow from an old one"),
        );
    }
    let (per_sec, only_new_flows): (u32, bool) = match (pps, new_flows) {
        (Some(pps), None) => (pps.value, false),
        (None, Some(flows)) => (flows.value, true),
        (Some(_), Some(flows)) => {
            fields.errors().add(
                Diagnostic::at(&flows.span, "`new_flows` beside `pps`")
                    .help("remove one of the two"),
            );
            return None;
        }
        (None, None) => {
            // What is there and wrong has been reported; a table with nothing in it is no limit.
            let is_absent = |key: &str| fields.raw(key).is_none();
            if is_absent("pps") && is_absent("new_flows") && !is_absent("burst") {
                fields.errors().add_absence(
                    Diagnostic::at(&fields.place, "a burst without a limit")
                        .help("such as `pps = 100000`, or `new_flows = 5000`"),
                );
            }
            return None;
        }
    };
    Some(RateLimit {
        per_sec,
        burst: burst.map_or(per_sec, |burst| burst.value),
        only_new_flows,
    })
}
