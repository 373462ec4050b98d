//! `communities`, `med` and `prepend`, which peers and services have alike.

use toml::de::DeValue;

use super::diagnostic::Diagnostic;
use super::fields::Fields;
use super::place::Placed;
use super::suggest::nearest;
use super::unique::repeated;
use super::value::{self, Read, Reject};
use crate::bgp::{AnyCommunity, Community, Policy};

/// So that an UPDATE of 4096 octets keeps room for prefixes with those of `[bgp]`, of a VIP and of a peer together.
pub const COMMUNITIES_MAX: usize = 64;

/// A policy as far as it could be read.
pub struct PolicyDraft {
    /// Each once.
    pub communities: Vec<Placed<AnyCommunity>>,
    /// MULTI_EXIT_DISC.
    pub med: Option<Placed<u32>>,
    /// Further times of our AS.
    pub prepend: Option<Placed<u8>>,
}

impl PolicyDraft {
    /// Reads the three keys of a table that has them.
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        PolicyDraft {
            communities: communities(fields, "communities"),
            med: fields.get("med", |value| value::integer(value, 0..=u32::MAX.into())),
            prepend: fields.get("prepend", |value| {
                value::integer(value, 0..=Policy::PREPEND_MAX.into())
            }),
        }
    }

    /// The policy; what is not there says nothing.
    pub fn finish(self) -> Policy {
        Policy {
            communities: self.communities.into_iter().map(|one| one.value).collect(),
            med: self.med.map(|med| med.value),
            prepend: self.prepend.map_or(0, |prepend| prepend.value),
            bandwidth: None,
        }
    }
}

/// A list of communities.
pub fn communities(fields: &Fields<'_, '_>, key: &str) -> Vec<Placed<AnyCommunity>> {
    let communities = fields
        .list(key, community)
        .map_or(Vec::new(), |list| list.value);
    repeated(fields.errors(), &communities, |_| {
        "this community is listed twice".to_owned()
    });
    if let Some(surplus) = communities.get(COMMUNITIES_MAX) {
        fields.errors().add(Diagnostic::at(
            &surplus.span,
            format!("more than {COMMUNITIES_MAX} communities"),
        ));
    }
    communities
}

/// `asn:value` (RFC 1997), `asn:value:value` (RFC 8092), or a well-known name.
fn community(value: &DeValue<'_>) -> Read<AnyCommunity> {
    let written = value::text(value, "a community in quotes")?;
    AnyCommunity::parse(written)
        .ok_or_else(|| Reject::is_no(written, "community").help(&fix(written)))
}

fn fix(written: &str) -> String {
    let names = || Community::WELL_KNOWN.iter().map(|(name, _)| *name);
    let digits = |c: char| c.is_ascii_digit() || c == ':';
    if let Some(meant) = nearest(written, names()) {
        return format!("did you mean \"{meant}\"?");
    }
    match written.matches(':').count() {
        1 => "two numbers from 0 to 65535, such as \"65001:100\"; larger ones fit a large community, \"4200000001:1:100\"".into(),
        2 => "three numbers from 0 to 4294967295, such as \"65001:1:100\"".into(),
        _ if written.chars().all(digits) => {
            "two or three numbers, such as \"65001:100\" or \"65001:1:100\"".into()
        }
        _ => format!("such as \"65001:100\"; with a name there are {}", names().collect::<Vec<_>>().join(", ")),
    }
}
