//! `[[pool]]`, its check and its backends.

use std::net::IpAddr;

use super::check;
use super::diagnostic::Diagnostic;
use super::fields::{Fields, NOT_SUPPORTED};
use super::place::Placed;
use super::schema::MEMBER;
use super::secret::Secrets;
use super::unique::repeated;
use super::value;
use crate::model::{Backend, Check, Encap, Mode, Pool, PoolName};

/// `[[pool]]` as far as it could be read.
pub struct PoolDraft {
    /// Unique name.
    pub name: Option<Placed<String>>,
    encap: Encap,
    /// What keeps flows.
    pub mode: Mode,
    hops: u8,
    check: Option<Check>,
    /// Its backends.
    pub backends: Vec<BackendDraft>,
}

impl PoolDraft {
    /// Reads the pool, its check and its backends.
    pub fn read(fields: &Fields<'_, '_>, secrets: &Secrets<'_>) -> Self {
        let (encap, mode) = tunnel(fields);
        let draft = PoolDraft {
            name: fields.must("name", value::name),
            encap,
            mode,
            hops: hops(fields, mode),
            check: check::read(fields, secrets),
            backends: fields
                .tables("backend", &MEMBER)
                .iter()
                .map(BackendDraft::read)
                .collect(),
        };
        draft.check_backends(fields);
        draft
    }

    /// Addresses of the backends.
    pub fn addresses(&self) -> impl Iterator<Item = &Placed<IpAddr>> {
        self.backends
            .iter()
            .filter_map(|backend| backend.address.as_ref())
    }

    /// Whether there are backends of both families.
    pub fn is_mixed(&self) -> bool {
        let v4 = self.addresses().filter(|address| address.value.is_ipv4());
        !matches!(v4.count(), count if count == 0 || count == self.addresses().count())
    }

    fn check_backends(&self, fields: &Fields<'_, '_>) {
        if fields.is_empty("backend") {
            self.report_empty(fields);
        }
        let addresses: Vec<_> = self.addresses().cloned().collect();
        repeated(fields.errors(), &addresses, |address| {
            format!("backend {address} is twice in one pool")
        });
        let names: Vec<_> = self
            .backends
            .iter()
            .filter_map(|backend| backend.name.clone())
            .collect();
        repeated(fields.errors(), &names, |name| {
            format!("two backends have the name `{name}`")
        });
        let Some(first) = addresses.first().filter(|_| self.is_mixed()) else {
            return;
        };
        let family = Family::of(first.value);
        for other in addresses
            .iter()
            .filter(|other| Family::of(other.value) != family)
        {
            fields.errors().add(
                Diagnostic::at(
                    &other.span,
                    format!("a pool with backends of both families {NOT_SUPPORTED}"),
                )
                .label(Family::of(other.value).to_string())
                .related(&first.span, family.to_string())
                .help("make one pool for IPv4 and one for IPv6"),
            );
        }
    }

    fn report_empty(&self, fields: &Fields<'_, '_>) {
        let (place, name) = match &self.name {
            Some(name) => (&name.span, format!("pool `{}`", name.value)),
            None => (&fields.place, "this pool".to_owned()),
        };
        fields.errors().add_absence(
            Diagnostic::at(place, format!("{name} has no backend"))
                .help("add a `[[pool.backend]]` below it"),
        );
    }

    /// The pool, if all of it could be read.
    pub fn finish(self) -> Option<Pool> {
        Some(Pool {
            name: PoolName(self.name?.value),
            encap: self.encap,
            mode: self.mode,
            hops: self.hops,
            check: self.check?,
            backends: self
                .backends
                .into_iter()
                .map(BackendDraft::finish)
                .collect::<Option<_>>()?,
        })
    }
}

/// How packets travel. The second chance needs the list of hops, which only GUE has room for.
fn tunnel(fields: &Fields<'_, '_>) -> (Encap, Mode) {
    let encaps = [
        ("gue", Encap::Gue),
        ("ipip", Encap::IpIp),
        ("l2", Encap::L2),
    ];
    let modes = [Mode::Rows, Mode::FlowTable, Mode::Stateless].map(|mode| (mode.as_str(), mode));
    let encap = fields.word("encap", &encaps);
    let mode = fields.word("mode", &modes);
    let without_room = match encap {
        Some(Encap::IpIp) => Some("`encap = \"ipip\"`"),
        Some(Encap::L2) => Some("`encap = \"l2\"`"),
        Some(Encap::Gue) | None => None,
    };
    if let Some(encap) = without_room
        && mode.unwrap_or_default() == Mode::Rows
        && (mode.is_some() || fields.raw("mode").is_none())
        && let Some(written) = fields.raw("encap")
    {
        fields.errors().add(
            Diagnostic::at(
                &written.span(),
                format!("{encap} has no room for the hops of `mode = \"rows\"`"),
            )
            .help(
                "write `mode = \"flow-table\"`: the node then remembers which backend a flow has",
            ),
        );
    }
    (encap.unwrap_or_default(), mode.unwrap_or_default())
}

fn hops(fields: &Fields<'_, '_>, mode: Mode) -> u8 {
    match mode {
        Mode::Rows => fields.integer_or("hops", 4, 1..=4),
        Mode::Stateless | Mode::FlowTable => {
            let hops = fields.integer_or("hops", 1, 1..=4);
            if let (2.., Some(written)) = (hops, fields.raw("hops")) {
                fields.errors().add(
                    Diagnostic::at(
                        &written.span(),
                        format!("`hops` above 1 with `mode = \"{}\"`", mode.as_str()),
                    )
                    .help("remove it: a second chance needs `mode = \"rows\"`"),
                );
            }
            // Who had a row before is remembered with it, so that `anylb diff` knows that its flows are kept.
            if mode == Mode::FlowTable { 4 } else { hops }
        }
    }
}

/// `[[pool.backend]]` as far as it could be read.
pub struct BackendDraft {
    /// Identity.
    pub address: Option<Placed<IpAddr>>,
    name: Option<Placed<String>>,
    weight: u16,
}

impl BackendDraft {
    fn read(fields: &Fields<'_, '_>) -> Self {
        BackendDraft {
            address: fields.must("address", value::address),
            name: fields.get("name", value::name),
            weight: fields.integer_or("weight", 100, 1..=1000),
        }
    }

    fn finish(self) -> Option<Backend> {
        Some(Backend {
            address: self.address?.value,
            name: self.name.map(|name| name.value),
            weight: self.weight,
        })
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `address`.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}
