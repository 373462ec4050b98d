//! `[backend]`.

use ipnet::IpNet;
use toml::de::DeValue;

use super::diagnostic::Diagnostic;
use super::fields::Fields;
use super::place::Placed;
use super::value::{self, Read, Reject};
use crate::model::{BackendHook, BackendRole, Mss};

/// `[backend]` as far as it could be read.
pub struct BackendRoleDraft {
    trusted_lbs: Vec<IpNet>,
    trusted_backends: Vec<IpNet>,
    mss: Mss,
    /// `hook`.
    pub hook: Option<Placed<BackendHook>>,
}

impl BackendRoleDraft {
    /// Reads the section.
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        let trusted_lbs = prefixes(fields, "trusted_lbs");
        if let Some(list) = fields
            .raw("trusted_lbs")
            .filter(|_| fields.is_empty("trusted_lbs"))
        {
            fields.errors().add(
                Diagnostic::at(
                    &list.span(),
                    "a backend that trusts no LB node takes no packet",
                )
                .help("name the prefixes of the LB nodes"),
            );
        }
        BackendRoleDraft {
            trusted_lbs,
            trusted_backends: prefixes(fields, "trusted_backends"),
            mss: fields.get_or("mss", Mss::Auto, mss),
            hook: fields.placed_word(
                "hook",
                &[("xdp", BackendHook::Xdp), ("tc", BackendHook::Tc)],
            ),
        }
    }

    /// The section.
    pub fn finish(self) -> BackendRole {
        BackendRole {
            trusted_lbs: self.trusted_lbs,
            trusted_backends: self.trusted_backends,
            mss: self.mss,
            hook: self.hook.map_or(BackendHook::Xdp, |hook| hook.value),
        }
    }
}

fn prefixes(fields: &Fields<'_, '_>, name: &str) -> Vec<IpNet> {
    fields.demand(name);
    let list = fields
        .list(name, value::prefix)
        .map_or(Vec::new(), |list| list.value);
    list.into_iter().map(|net| net.value).collect()
}

fn mss(value: &DeValue<'_>) -> Read<Mss> {
    match value {
        DeValue::Integer(_) => value::integer(value, 536..=65495).map(Mss::Max),
        DeValue::String(word) if word == "auto" => Ok(Mss::Auto),
        DeValue::String(word) if word == "off" => Ok(Mss::Off),
        _ => Err(Reject::value("must be \"auto\", \"off\" or 536 to 65495")),
    }
}
