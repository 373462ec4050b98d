//! One bank of the datapath and the tables it points to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use lb_common::abi::{
    self, Backend, ServiceBucket, ServiceEntry, ServiceExtra, Shared, VipBucket, VipEntry, kind,
};
use lb_common::filter::Element;
use lb_common::{prefix, tunnel};

use super::PlanError;

/// Everything that becomes live at once, in the datapath's terms. Entries are sorted, so that equal states are equal images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Without seeds.
    pub shared: Shared,
    /// VIPs and own addresses.
    pub vips: Vec<VipEntry>,
    /// `table` is an index in the outer map; before `place` chose one, the first of the pool's pair.
    pub services: Vec<ServiceEntry>,
    /// Backends of all pools, one after the other.
    pub backends: Vec<Backend>,
    /// By the counter of the service, where it has any. Slots of filters are what `place` chose, before that zero.
    pub extras: BTreeMap<u32, ServiceExtra>,
    /// What filters are to hold.
    pub trees: Trees,
    /// Packed rows by table.
    pub tables: BTreeMap<u32, Arc<[u64]>>,
}

/// The content of filters by its fingerprint. Their places in `extras` tell images apart: what the kernel holds comes without.
#[derive(Clone, Debug, Default)]
pub struct Trees(pub BTreeMap<u64, Arc<[Element]>>);

impl PartialEq for Trees {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A filter's slot and what it is to hold.
pub(super) type FilterFill = (u32, Arc<[Element]>);

/// A table and the rows that it is to hold.
pub(super) type Fill = (u32, Arc<[u64]>);

/// What the kernel holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Bank in use.
    pub bank: u32,
    /// What is in it; none: nothing was ever applied.
    pub image: Option<Image>,
    /// Tables that exist.
    pub existing: BTreeSet<u32>,
    /// Slots that have a filter.
    pub filters: BTreeSet<u32>,
    /// How many buckets services have, by their counter.
    pub buckets: BTreeMap<u32, u32>,
}

impl Image {
    /// The same with its entries in order.
    pub fn sorted(mut self) -> Self {
        self.vips
            .sort_by_key(|entry| (entry.kind, entry.id, entry.address));
        self.services.sort_by_key(|entry| {
            (
                entry.key,
                entry.last_port - entry.first_port,
                entry.first_port,
            )
        });
        self
    }

    /// Pairs whose rows are not those in use: what depends on an agreement between nodes is in question for a while.
    pub fn changed_pairs(&self, observed: &Observed) -> BTreeSet<u32> {
        let live = observed.image.as_ref().map(|image| &image.tables);
        let differs = |pair: u32, rows: &Arc<[u64]>| {
            let in_use = live.and_then(|tables| tables.range(pair..=pair | 1).next());
            in_use.is_none_or(|(_, live_rows)| live_rows != rows)
        };
        self.tables
            .iter()
            .filter(|(pair, rows)| differs(**pair, rows))
            .map(|(pair, _)| *pair)
            .collect()
    }

    /// Sets the settling flag of services at these pairs.
    pub fn settle(&mut self, pairs: &BTreeSet<u32>) {
        for service in &mut self.services {
            if pairs.contains(&service.table) {
                service.tunnel_flags |= tunnel::flags::SETTLING;
            }
        }
    }

    /// Chooses a table of each pair: the live one where its rows are the wanted ones, else its spare, which must be filled.
    pub(super) fn place(&self, observed: &Observed) -> (Self, Vec<Fill>) {
        let live = observed.image.as_ref().map(|image| &image.tables);
        let mut chosen = BTreeMap::new();
        let mut fills = Vec::new();
        for (&pair, rows) in &self.tables {
            let in_use = live.and_then(|tables| tables.range(pair..=pair | 1).next());
            let index = match in_use {
                Some((&index, live_rows)) if live_rows == rows => index,
                Some((&index, _)) => index ^ 1,
                None => pair,
            };
            if in_use.is_none_or(|(&live_index, _)| live_index != index) {
                fills.push((index, Arc::clone(rows)));
            }
            chosen.insert(pair, index);
        }
        let mut placed = self.clone();
        for service in &mut placed.services {
            if let Some(&index) = chosen.get(&service.table) {
                service.table = index;
            }
        }
        placed.tables = self
            .tables
            .iter()
            .map(|(pair, rows)| (chosen[pair], Arc::clone(rows)))
            .collect();
        (placed, fills)
    }

    /// Chooses a slot for each filter: that of the live one with the same content, else a free one, which must be filled.
    pub(super) fn place_filters(
        &mut self,
        observed: &Observed,
    ) -> Result<Vec<FilterFill>, PlanError> {
        let live = observed
            .image
            .iter()
            .flat_map(|image| image.extras.values());
        let live = live.map(|extra| (extra.filter.fingerprint, extra.filter.slot));
        let mut slots: BTreeMap<u64, u16> = live
            .filter(|(fingerprint, slot)| {
                *fingerprint != 0 && observed.filters.contains(&u32::from(*slot))
            })
            .collect();
        let mut taken: BTreeSet<u16> = slots.values().copied().collect();
        let mut fills = Vec::new();
        for (&fingerprint, tree) in &self.trees.0 {
            if slots.contains_key(&fingerprint) {
                continue;
            }
            let mut free = (0..abi::FILTERS_MAX as u16).filter(|slot| !taken.contains(slot));
            let slot = free.next().ok_or(PlanError::Limit {
                what: "lists of prefixes",
                wanted: self.trees.0.len(),
                limit: abi::FILTERS_MAX as usize / 2,
            })?;
            taken.insert(slot);
            slots.insert(fingerprint, slot);
            fills.push((u32::from(slot), Arc::clone(tree)));
        }
        for extra in self.extras.values_mut() {
            let slot = slots.get(&extra.filter.fingerprint);
            extra.filter.slot = slot.copied().unwrap_or_default();
        }
        Ok(fills)
    }

    /// How many buckets services need, by their counter.
    pub(super) fn buckets(&self) -> BTreeMap<u32, u32> {
        let counts = self.extras.iter();
        let counts = counts.map(|(&service, extra)| (service, extra.rates.buckets()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Slots of its filters.
    pub(super) fn filter_slots(&self) -> BTreeSet<u32> {
        let filters = self.extras.values().map(|extra| extra.filter);
        let used = filters.filter(|filter| filter.fingerprint != 0);
        used.map(|filter| u32::from(filter.slot)).collect()
    }
}

/// Seeds under which no bucket of an image overflows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeds {
    vip: u64,
    service: u64,
}

impl Seeds {
    /// The first seeds that fit, from zero: the same for the same image.
    pub(super) fn find(image: &Image) -> Result<Self, PlanError> {
        let vip = first_seed(|seed| {
            fits(
                abi::VIP_BUCKETS,
                image
                    .vips
                    .iter()
                    .map(|entry| abi::vip_bucket(prefix::place(seed, entry))),
            )
        });
        let vip = vip.ok_or(PlanError::Index {
            what: "VIPs, nodes and backends",
            count: image.vips.len(),
        })?;
        let mixed = mixed_by_number(vip, &image.vips);
        let service = first_seed(|seed| {
            fits(
                abi::SERVICE_BUCKETS,
                image
                    .services
                    .iter()
                    .map(|entry| service_bucket(seed, &mixed, entry)),
            )
        });
        Ok(Self {
            vip,
            service: service.ok_or(PlanError::Index {
                what: "services and ports",
                count: image.services.len(),
            })?,
        })
    }

    /// `shared` with these seeds.
    pub fn shared(&self, shared: &Shared) -> Shared {
        Shared {
            vip_seed: self.vip,
            service_seed: self.service,
            ..*shared
        }
    }

    /// The VIP index, bucket by bucket: as entries are sorted, addresses come before prefixes, which a look-up for an address may meet
    /// there.
    pub fn vip_buckets(&self, entries: &[VipEntry]) -> Vec<VipBucket> {
        let mut buckets = vec![VipBucket::default(); abi::VIP_BUCKETS as usize];
        for entry in entries {
            let bucket = &mut buckets[abi::vip_bucket(prefix::place(self.vip, entry)) as usize];
            if let Some(free) = bucket
                .entries
                .iter_mut()
                .find(|slot| slot.kind == kind::EMPTY)
            {
                *free = *entry;
            }
        }
        buckets
    }

    /// The service index, bucket by bucket.
    pub fn service_buckets(&self, image: &Image) -> Vec<ServiceBucket> {
        let mixed = mixed_by_number(self.vip, &image.vips);
        let mut buckets = vec![ServiceBucket::default(); abi::SERVICE_BUCKETS as usize];
        for entry in &image.services {
            let bucket = &mut buckets[service_bucket(self.service, &mixed, entry) as usize];
            if let Some(free) = bucket.entries.iter_mut().find(|slot| slot.key == 0) {
                *free = *entry;
            }
        }
        buckets
    }
}

/// By the number of a VIP what stands for it in the service index.
fn mixed_by_number(seed: u64, vips: &[VipEntry]) -> HashMap<u32, u64> {
    vips.iter()
        .filter_map(|entry| {
            let mixed = match entry.kind {
                kind::VIP => abi::mix(seed, entry.address),
                other if kind::is_prefix(other) => abi::prefix_mixed(entry.id),
                _ => return None,
            };
            Some((entry.id, mixed))
        })
        .collect()
}

fn service_bucket(seed: u64, mixed: &HashMap<u32, u64>, entry: &ServiceEntry) -> u32 {
    let vip = abi::service_vip(entry.key);
    abi::service_bucket(seed, mixed[&vip], entry.key)
}

fn first_seed(fits: impl Fn(u64) -> bool) -> Option<u64> {
    const TRIES: u64 = 256;
    (0..TRIES)
        .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .find(|&seed| fits(seed))
}

fn fits(buckets: u32, places: impl Iterator<Item = u32>) -> bool {
    let mut load = vec![0_usize; buckets as usize];
    for place in places {
        load[place as usize] += 1;
        if load[place as usize] > abi::BUCKET_ENTRIES {
            return false;
        }
    }
    true
}
