//! `allow` and `deny` of a service: prefixes of sources, in place or in a file of their own.

use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use toml::de::DeValue;

use super::diagnostic::Diagnostic;
use super::fields::{Errors, Fields};
use super::place::Placed;
use super::schema::PREFIX_FILE;
use super::secret::Secrets;
use super::service::ServiceDraft;
use super::value::{self, Read, Reject};
use crate::filter::{Filter, NoPrefix, PrefixList, Prefixes, prefix};

/// The list behind `key`.
pub fn read(
    fields: &Fields<'_, '_>,
    key: &str,
    secrets: &Secrets<'_>,
) -> Option<Placed<Arc<PrefixList>>> {
    let written = fields.raw(key)?;
    let list = match written.get_ref() {
        DeValue::Table(table) => {
            let place = written.span();
            let file = Fields::open(&PREFIX_FILE, table, place, fields.errors());
            of_file(&file.must("file", value::path)?, secrets, fields.errors())?
        }
        _ => {
            let list = fields.list(key, source)?;
            Arc::new(PrefixList {
                file: None,
                prefixes: Arc::new(list.value.into_iter().map(|net| net.value).collect()),
            })
        }
    };
    Some(Placed {
        value: list,
        span: written.span(),
    })
}

/// A prefix of sources, or one of them.
fn source(value: &DeValue<'_>) -> Read<IpNet> {
    let written = value::text(value, "a prefix in quotes")?;
    prefix(written).map_err(|what| match what {
        NoPrefix::Form => Reject::is_no(written, "prefix")
            .help("such as \"192.0.2.0/24\", \"2001:db8::/64\" or one address"),
        NoPrefix::HostBits => {
            let net = written.parse::<IpNet>().map(|net| net.trunc().to_string());
            Reject::value("has bits set behind the prefix length")
                .help(&format!("did you mean {:?}?", net.unwrap_or_default()))
        }
        NoPrefix::Mapped => {
            Reject::value("has an IPv4 prefix in IPv6 form").help("write it as an IPv4 prefix")
        }
    })
}

/// Services that name one file share what is in it.
fn of_file(
    path: &Placed<PathBuf>,
    secrets: &Secrets<'_>,
    errors: &Errors,
) -> Option<Arc<PrefixList>> {
    let full = secrets.base.join(&path.value);
    if let Some(known) = secrets.lists.borrow().get(&full) {
        return Some(Arc::clone(known));
    }
    let file = match secrets.host.read(&full) {
        Ok(file) => file,
        Err(error) => {
            errors.add(secrets.unreadable("list of prefixes", path, &error));
            return None;
        }
    };
    let Ok(text) = String::from_utf8(file.content) else {
        errors.add(secrets.wrong(path, "the list of prefixes is not UTF-8 text"));
        return None;
    };
    let prefixes = match Prefixes::of_text(&text) {
        Ok(prefixes) => prefixes,
        Err(bad) => {
            let place = format!("{}:{}:{}", full.display(), bad.line, bad.column);
            errors.add(
                Diagnostic::at(&path.span, format!("{place}: {}", bad.what)).help(
                    "one prefix or address on each line; what follows `#` or `;` is a comment",
                ),
            );
            return None;
        }
    };
    let list = Arc::new(PrefixList {
        file: Some(full.clone()),
        prefixes: Arc::new(prefixes),
    });
    secrets.lists.borrow_mut().insert(full, Arc::clone(&list));
    Some(list)
}

/// Compiles the lists of services, each pair once; an error at the list with which they need more than `memory_mib`.
pub fn compile(
    services: &[ServiceDraft],
    memory_mib: u32,
    errors: &Errors,
) -> Vec<Option<Arc<Filter>>> {
    let mut known: Vec<Arc<Filter>> = Vec::new();
    let mut bytes = 0;
    let mut of = |service: &ServiceDraft| {
        let list = |list: &Option<Placed<Arc<PrefixList>>>| {
            list.as_ref().map(|list| Arc::clone(&list.value))
        };
        let (allow, deny) = (list(&service.allow), list(&service.deny));
        let same = known
            .iter()
            .find(|known| known.allow == allow && known.deny == deny);
        if let Some(same) = same {
            return Some(Arc::clone(same));
        }
        let filter = Arc::new(Filter::of(allow, deny)?);
        let before = bytes;
        bytes += filter.tree.bytes();
        let limit = memory_mib as usize * MIB;
        if before <= limit && bytes > limit {
            let place = service.deny.as_ref().or(service.allow.as_ref())?;
            errors.add(
                Diagnostic::at(
                    &place.span,
                    format!(
                        "the lists of prefixes need more than `node.filter_memory_mib`, {memory_mib} MiB: with this one {} MiB",
                        bytes.div_ceil(MIB)
                    ),
                )
                .help("raise `filter_memory_mib` in `[node]`"),
            );
        }
        known.push(Arc::clone(&filter));
        Some(filter)
    };
    services.iter().map(&mut of).collect()
}

const MIB: usize = 1 << 20;
