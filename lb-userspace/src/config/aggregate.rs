//! `[[bgp.aggregate]]`.

use ipnet::IpNet;
use toml::de::DeValue;

use super::across::Draft;
use super::diagnostic::Diagnostic;
use super::fields::{Errors, Fields};
use super::place::Placed;
use super::policy::PolicyDraft;
use super::service;
use super::unique::repeated;
use super::value::{self, Read, Reject};
use crate::model::{Aggregate, Need};

/// An aggregate as far as it could be read.
pub struct AggregateDraft {
    prefix: Option<Placed<IpNet>>,
    need: Option<Placed<Need>>,
    policy: PolicyDraft,
}

impl AggregateDraft {
    /// Reads the table.
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        AggregateDraft {
            prefix: fields.must("prefix", prefix),
            need: fields.get("need", |value| service::need(value, "VIPs")),
            policy: PolicyDraft::read(fields),
        }
    }

    /// The aggregate, if all of it could be read.
    pub fn finish(self) -> Option<Aggregate> {
        Some(Aggregate {
            prefix: self.prefix?.value,
            need: self.need.map_or(Need::Count(1), |need| need.value),
            policy: self.policy.finish(),
        })
    }
}

/// One that covers more than the VIPs behind it may.
fn prefix(value: &DeValue<'_>) -> Read<IpNet> {
    let net = value::net(value)?;
    match net.prefix_len() {
        0 => {
            Err(Reject::value("is the default route")
                .help("name the prefix that the VIPs are from"))
        }
        _ => Ok(net),
    }
}

/// Reports aggregates that are there twice, that are VIPs, or that have not enough VIPs in them.
pub fn check(draft: &Draft, errors: &Errors) {
    let Some(bgp) = &draft.bgp else {
        return;
    };
    let prefixes: Vec<_> = bgp
        .aggregates
        .iter()
        .filter_map(|one| one.prefix.clone())
        .collect();
    repeated(errors, &prefixes, |prefix| {
        format!("two aggregates are {prefix}")
    });
    // It may be the VIP that could not be read.
    let Some(mut vips) = draft
        .services
        .iter()
        .map(|service| Some(service.vip.as_ref()?.value.net()))
        .collect::<Option<Vec<_>>>()
    else {
        return;
    };
    vips.sort_unstable();
    vips.dedup();
    for aggregate in &bgp.aggregates {
        check_one(aggregate, &vips, errors);
    }
}

fn check_one(aggregate: &AggregateDraft, vips: &[IpNet], errors: &Errors) {
    let Some(prefix) = &aggregate.prefix else {
        return;
    };
    let inside = vips
        .iter()
        .filter(|vip| prefix.value.contains(*vip))
        .count();
    if vips.contains(&prefix.value) {
        errors.add(
            Diagnostic::at(&prefix.span, format!("{} is a VIP itself", prefix.value))
                .help("a VIP is announced for itself: remove the aggregate"),
        );
    } else if inside == 0 {
        errors.add(
            Diagnostic::at(&prefix.span, format!("no VIP is in {}", prefix.value))
                .help("an aggregate covers VIPs of this file"),
        );
    } else if let Some(Placed {
        value: Need::Count(count),
        span,
    }) = &aggregate.need
        && *count as usize > inside
    {
        errors.add(
            Diagnostic::at(
                span,
                format!(
                    "`need` is {count}, and {inside} of the VIPs are in {}",
                    prefix.value
                ),
            )
            .help("the aggregate would never be announced"),
        );
    }
}
