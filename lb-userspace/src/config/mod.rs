//! From a TOML file to [`Settings`], or to everything that is wrong with it.
//!
//! The text becomes a tree with places (`toml`), each table is read key by key into a draft ([`schema`] knows the keys),
//! drafts are compared with each other (`across`), and only a file without any error becomes a model. What a file names
//! outside itself, key files and interfaces, is asked of a [`Host`]; all else is pure.

#![forbid(unsafe_code)]

mod across;
mod aggregate;
mod announce;
mod attack;
mod audience;
mod backend;
mod bfd;
mod bgp;
mod check;
mod diagnostic;
mod effective;
mod fields;
mod flow_table;
mod fragments;
mod host;
mod json_schema;
mod limits;
mod lists;
mod node;
mod place;
mod policy;
mod pool;
mod ports;
mod rates;
mod reference;
pub mod schema;
mod secret;
mod service;
mod suggest;
mod summary;
mod syntax;
mod template;
mod trust;
mod unique;
mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use toml::de::DeTable;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use effective::Effective;
pub use host::{Host, HostFile, ThisHost};
pub use json_schema::json_schema;
pub use place::{Placed, Position, Span};
pub use reference::markdown;
pub use summary::Summary;
pub use template::{Template, template};
pub(crate) use value::unusable;

use crate::model::{Mode, Settings};
use across::Draft;
use backend::BackendRoleDraft;
use bgp::BgpDraft;
use fields::{Errors, Fields};
use node::NodeDraft;
use pool::PoolDraft;
use secret::{Secrets, plain};
use service::ServiceDraft;

/// Reads and checks the file `path` on this host.
pub fn load(path: &Path) -> Result<Settings, Diagnostics> {
    parse(&read(path)?, path, &ThisHost)
}

/// The same, to be shown with what holds where the file says nothing.
pub fn effective(path: &Path) -> Result<Effective, Diagnostics> {
    let text = read(path)?;
    let settings = parse(&text, path, &ThisHost)?;
    Ok(Effective::of(&text, &settings))
}

fn read(path: &Path) -> Result<String, Diagnostics> {
    let unreadable = |why: &str| {
        let error = Diagnostic::of_file(format!("cannot read {}: {why}", path.display()));
        Diagnostics::new(path, "", vec![error])
    };
    let file = ThisHost
        .read(path)
        .map_err(|error| unreadable(&plain(&error)))?;
    String::from_utf8(file.content).map_err(|error| no_text(path, &error))
}

/// Checks `text`, the content of the file `path`, for `host`.
pub fn parse(text: &str, path: &Path, host: &dyn Host) -> Result<Settings, Diagnostics> {
    let secrets = Secrets::new(path.parent().unwrap_or(Path::new("")), host);
    let (root, damage) = DeTable::parse_recoverable(text);
    if !damage.is_empty() {
        let errors = damaged(text, &damage, &secrets);
        return Err(Diagnostics::new(path, text, errors));
    }
    let errors = Errors::of_whole();
    let settings = read_file(root.get_ref(), &secrets, &errors);
    let errors = errors.into_inner();
    match settings {
        Some(settings) if errors.is_empty() => Ok(settings),
        _ => Err(Diagnostics::new(path, text, errors)),
    }
}

/// The errors of a file that is no TOML: those of its syntax, and those of the lines that can be read.
fn damaged(text: &str, damage: &[toml::de::Error], secrets: &Secrets<'_>) -> Vec<Diagnostic> {
    let mut found = syntax::errors(text, damage);
    if let Some(rest) = syntax::remains(text, damage) {
        let errors = Errors::of_remains();
        let (root, _) = DeTable::parse_recoverable(&rest);
        read_file(root.get_ref(), secrets, &errors);
        found.extend(errors.into_inner());
    }
    found
}

fn read_file(root: &DeTable<'_>, secrets: &Secrets<'_>, errors: &Errors) -> Option<Settings> {
    let file = Fields::open(&schema::FILE, root, 0..0, errors);
    file.must("version", version);
    file.demand("node");
    let metrics = file
        .table("metrics", &schema::METRICS)
        .map(|metrics| listen(&metrics));
    let draft = Draft {
        node: file
            .table("node", &schema::NODE)
            .map(|node| NodeDraft::read(&node, secrets)),
        bgp: file
            .table("bgp", &schema::BGP)
            .map(|bgp| BgpDraft::read(&bgp, secrets)),
        pools: file
            .tables("pool", &schema::POOL)
            .iter()
            .map(|pool| PoolDraft::read(pool, secrets))
            .collect(),
        services: file
            .tables("service", &schema::SERVICE)
            .iter()
            .map(|service| ServiceDraft::read(service, secrets))
            .collect(),
        backend: file
            .table("backend", &schema::BACKEND)
            .map(|backend| BackendRoleDraft::read(&backend)),
        own: secrets.host.addresses(),
    };
    draft.check(errors);
    finish(draft, metrics.flatten(), errors)
}

fn finish(draft: Draft, metrics: Option<SocketAddr>, errors: &Errors) -> Option<Settings> {
    let about: BTreeMap<String, (usize, Mode)> = draft
        .pools
        .iter()
        .filter_map(|pool| {
            let about = (pool.backends.len(), pool.mode);
            Some((pool.name.as_ref()?.value.clone(), about))
        })
        .collect();
    let mut services = Vec::new();
    let takers: Vec<bool> = draft
        .services
        .iter()
        .map(|service| fragments::takes(service, &draft.services))
        .collect();
    let memory_mib = draft.node.as_ref().map_or(0, |node| node.filter_memory_mib);
    let filters = lists::compile(&draft.services, memory_mib, errors);
    let parts = takers.into_iter().zip(filters);
    for (service, (takes_fragments, filter)) in draft.services.into_iter().zip(parts) {
        let pool = service.pool.as_ref();
        let about = pool.and_then(|pool| about.get(&pool.value));
        let pool = about.copied().unzip();
        let buckets = draft.node.as_ref().map_or(0, |node| node.rate_buckets);
        services.push(service.finish(pool, takes_fragments, filter, buckets)?);
    }
    let mut pools = BTreeMap::new();
    for pool in draft.pools {
        let pool = pool.finish()?;
        pools.insert(pool.name.clone(), pool);
    }
    let bgp = match draft.bgp {
        Some(bgp) => Some(bgp.finish()?),
        None => None,
    };
    Some(Settings {
        node: draft.node?.finish()?,
        metrics,
        bgp,
        pools,
        services,
        backend: draft.backend.map(BackendRoleDraft::finish),
    })
}

fn version(value: &toml::de::DeValue<'_>) -> value::Read<()> {
    match value::integer::<u64>(value, 0..=u64::MAX)? {
        1 => Ok(()),
        other => {
            Err(value::Reject::not_supported(&other.to_string())
                .help("this version reads version 1"))
        }
    }
}

fn listen(metrics: &Fields<'_, '_>) -> Option<SocketAddr> {
    metrics
        .must("listen", value::socket)
        .map(|listen| listen.value)
}

fn no_text(path: &Path, error: &std::string::FromUtf8Error) -> Diagnostics {
    let valid = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let end = valid + char::REPLACEMENT_CHARACTER.len_utf8();
    let error = Diagnostic::at(&(valid..end), "the file is not UTF-8 text");
    Diagnostics::new(path, &text, vec![error])
}

#[cfg(test)]
mod tests;
