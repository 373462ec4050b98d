//! Services, pools and backends that come, go or change.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::values;
use crate::model::{Backend, Pool, PoolName, Service};
use crate::status::{BackendDiff, Fate, PoolDiff, ServiceDiff, ValueDiff};

pub(super) fn services(before: &[Service], after: &[Service]) -> Vec<ServiceDiff> {
    let diff = |service: &Service, fate, changes| ServiceDiff {
        name: service.name.clone(),
        vip: service.vip,
        fate,
        changes,
        rows: None,
    };
    let name = |service: &Service| service.name.clone();
    by_name(before, after, name, values::service)
        .into_iter()
        .map(|(service, fate, changes)| diff(service, fate, changes))
        .collect()
}

pub(super) fn pools(
    before: &BTreeMap<PoolName, Pool>,
    after: &BTreeMap<PoolName, Pool>,
) -> Vec<PoolDiff> {
    let mut names: Vec<&PoolName> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let diff = |name: &PoolName| {
        let (old, new) = (before.get(name), after.get(name));
        let (fate, changes) = fate(old, new, values::pool)?;
        let of = |pool: Option<&Pool>| pool.map(|pool| pool.backends.clone()).unwrap_or_default();
        let backends = backends(&of(old), &of(new));
        let same = fate == Fate::Changed && changes.is_empty() && backends.is_empty();
        (!same).then(|| PoolDiff {
            name: name.clone(),
            fate,
            changes,
            backends,
            rows: None,
        })
    };
    names.into_iter().filter_map(diff).collect()
}

fn backends(before: &[Backend], after: &[Backend]) -> Vec<BackendDiff> {
    let diff = |backend: &Backend, fate, changes| BackendDiff {
        address: backend.address,
        name: backend.name.clone(),
        fate,
        changes,
    };
    let address = |backend: &Backend| -> IpAddr { backend.address };
    by_name(before, after, address, values::backend)
        .into_iter()
        .map(|(backend, fate, changes)| diff(backend, fate, changes))
        .collect()
}

/// What differs between two lists: in the order of `after`, those that go last.
fn by_name<'a, T: PartialEq, K: Ord>(
    before: &'a [T],
    after: &'a [T],
    name: impl Fn(&T) -> K,
    compare: impl Fn(&T, &T) -> Vec<ValueDiff>,
) -> Vec<(&'a T, Fate, Vec<ValueDiff>)> {
    let mut old: BTreeMap<K, &T> = before.iter().map(|one| (name(one), one)).collect();
    let mut all = Vec::new();
    for new in after {
        let was = old.remove(&name(new));
        match fate(was, Some(new), &compare) {
            Some((Fate::Changed, changes)) if changes.is_empty() => {}
            Some((fate, changes)) => all.push((new, fate, changes)),
            None => {}
        }
    }
    let goes = |one: &&T| old.contains_key(&name(one));
    all.extend(
        before
            .iter()
            .filter(goes)
            .map(|one| (one, Fate::Removed, Vec::new())),
    );
    all
}

fn fate<T: PartialEq>(
    before: Option<&T>,
    after: Option<&T>,
    compare: impl Fn(&T, &T) -> Vec<ValueDiff>,
) -> Option<(Fate, Vec<ValueDiff>)> {
    match (before, after) {
        (None, None) => None,
        (None, Some(_)) => Some((Fate::Added, Vec::new())),
        (Some(_), None) => Some((Fate::Removed, Vec::new())),
        (Some(old), Some(new)) => Some((Fate::Changed, compare(old, new))),
    }
}
