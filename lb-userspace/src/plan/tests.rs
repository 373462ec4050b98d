//! The planner against states of the kernel that are only imagined.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_common::abi::{self, VipEntry, kind};
use lb_common::flow::FlowKey;
use lb_common::flow_table;

use super::desired::{NextHop, address_of, words};
use super::*;
use crate::filter::{Filter, PrefixList, Prefixes};
use crate::model::{Encap, Mode, PoolName, Ports, Protocol};
use crate::status::Health;

fn backend(address: &str) -> DesiredBackend {
    let next_hop = NextHop {
        ifindex: 2,
        mtu: 1500,
        source_mac: [1; 6],
        destination_mac: [2; 6],
        vlan: None,
        local: false,
        on_link: true,
    };
    DesiredBackend {
        address: address.parse().expect("an address"),
        next_hop: Some(next_hop),
        health: Health::Up,
        gone: false,
    }
}

fn desired(pools: &[(&str, &[&str])]) -> Desired {
    let pools: BTreeMap<_, _> = pools
        .iter()
        .map(|(name, backends)| {
            let rows = (0..abi::ROWS).map(|row| {
                [
                    (row % backends.len() as u32) as u16,
                    abi::ABSENT,
                    abi::ABSENT,
                    abi::ABSENT,
                ]
            });
            let members = backends.iter().map(|address| backend(address)).collect();
            (
                PoolName((*name).into()),
                DesiredPool {
                    encap: Encap::Gue,
                    mode: Mode::Rows,
                    members,
                    rows: rows.collect(),
                    settling: false,
                },
            )
        })
        .collect();
    let services = (1..).zip(pools.keys()).map(|(n, pool)| DesiredService {
        name: format!("service of {pool}"),
        vip: [198, 51, 100, n].into(),
        protocol: Protocol::Tcp,
        ports: vec![Ports::one(80), Ports::one(443)],
        pool: pool.clone(),
        options: ServiceOptions::default(),
    });
    Desired {
        flow_key: FlowKey::new([7; 16]),
        source_v4: Some([10, 0, 0, 1].into()),
        source_v6: None,
        generation: 1,
        jiffies_per_sec: 250,
        own: std::collections::BTreeSet::new(),
        services: services.collect(),
        pools,
    }
}

/// What the kernel would hold after `ops`, whatever it held before.
fn after(ops: &[Op], mut observed: Observed) -> Observed {
    let mut filled = BTreeMap::new();
    let mut filters = BTreeMap::new();
    for op in ops {
        match op {
            Op::CreateTable { index } => {
                assert!(observed.existing.insert(*index), "table {index} exists")
            }
            Op::FillTable { index, rows } => {
                let live = observed
                    .image
                    .as_ref()
                    .is_some_and(|image| image.tables.contains_key(index));
                assert!(!live, "table {index} is live");
                assert!(observed.existing.contains(index));
                filled.insert(*index, Arc::clone(rows));
            }
            Op::FillFilter { slot, elements } => {
                let live = observed
                    .image
                    .iter()
                    .flat_map(|image| image.extras.values());
                let mut live = live
                    .map(|extra| extra.filter)
                    .filter(|one| one.fingerprint != 0);
                assert!(
                    !live.any(|one| u32::from(one.slot) == *slot),
                    "filter {slot} is live"
                );
                filters.insert(*slot, crate::filter::tree::fingerprint(elements));
                observed.filters.insert(*slot);
            }
            Op::DropFilter { slot } => {
                let image = observed.image.as_ref().expect("something was there");
                let mut live = image.extras.values().map(|extra| extra.filter);
                assert!(!live.any(|one| one.fingerprint != 0 && u32::from(one.slot) == *slot));
                assert!(observed.filters.remove(slot), "filter {slot} is not there");
            }
            Op::FillBank { bank, image, .. } => {
                for filter in image.extras.values().map(|extra| extra.filter) {
                    let slot = u32::from(filter.slot);
                    assert!(filter.fingerprint == 0 || observed.filters.contains(&slot));
                    if let Some(filled) = filters.get(&slot) {
                        assert_eq!(*filled, filter.fingerprint);
                    }
                }
                assert_ne!(
                    (*bank, observed.image.is_some()),
                    (observed.bank, true),
                    "the live bank is not written"
                );
                for (index, rows) in &image.tables {
                    let kept = observed
                        .image
                        .as_ref()
                        .and_then(|image| image.tables.get(index));
                    assert_eq!(
                        filled.get(index).or(kept),
                        Some(rows),
                        "the bank's tables are filled before it"
                    );
                }
                observed.image = Some(Image::clone(image));
            }
            Op::Switch { bank } => observed.bank = *bank,
            Op::MakeBuckets { service, buckets } => {
                observed.buckets.insert(*service, *buckets);
            }
            Op::DropBuckets { service } => {
                assert!(observed.buckets.remove(service).is_some());
            }
            Op::ZeroServiceCounter { .. }
            | Op::ZeroBackendCounters { .. }
            | Op::RetireBackendCounters { .. }
            | Op::Barrier => {}
        }
    }
    observed
}

fn step(state: &Desired, slots: &mut Slots, observed: Observed) -> (Vec<Op>, Observed) {
    let (image, mut ops) = state.image(slots).expect("an image");
    ops.extend(plan(&image, &observed).expect("a plan"));
    let observed = after(&ops, observed);
    assert_eq!(
        plan(&image, &observed).expect("a plan"),
        [],
        "the plan leads to the image"
    );
    (ops, observed)
}

#[test]
fn cold_start_then_nothing_then_one_pool_changes() {
    let mut slots = Slots::default();
    let state = desired(&[("a", &["10.1.0.1", "10.1.0.2"]), ("b", &["10.2.0.1"])]);
    let (ops, observed) = step(&state, &mut slots, Observed::default());
    assert_eq!(
        ops.iter()
            .filter(|op| matches!(op, Op::CreateTable { .. }))
            .count(),
        4,
        "a pair for each pool"
    );
    assert!(matches!(
        ops[ops.len() - 3..],
        [Op::FillBank { .. }, Op::Switch { bank: 1 }, Op::Barrier]
    ));
    let (ops, observed) = step(&state, &mut slots, observed);
    assert_eq!(ops, []);

    let changed = desired(&[("a", &["10.1.0.1", "10.1.0.3"]), ("b", &["10.2.0.1"])]);
    let before = observed.image.clone().expect("applied").tables;
    let (ops, observed) = step(&changed, &mut slots, observed);
    let filled: Vec<_> = ops
        .iter()
        .filter(|op| matches!(op, Op::FillTable { .. } | Op::CreateTable { .. }))
        .collect();
    assert_eq!(
        filled,
        Vec::<&Op>::new(),
        "the same rows of other members need no table"
    );
    assert_eq!(observed.bank, 0);
    assert_eq!(
        observed
            .image
            .expect("applied")
            .tables
            .keys()
            .collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );
}

#[test]
fn changed_rows_go_to_the_spare_of_their_pair_and_back() {
    let mut slots = Slots::default();
    let one = desired(&[("a", &["10.1.0.1", "10.1.0.2"])]);
    let two = desired(&[("a", &["10.1.0.1", "10.1.0.2", "10.1.0.3"])]);
    let (_, mut observed) = step(&one, &mut slots, Observed::default());
    for (state, table) in [(&two, 1), (&one, 0), (&two, 1)] {
        let (ops, next) = step(state, &mut slots, observed);
        assert!(
            ops.iter()
                .any(|op| matches!(op, Op::FillTable { index, .. } if *index == table))
        );
        observed = next;
    }
}

/// With a list of one prefix at every service, or with none.
fn denying(prefix: Option<&str>) -> Desired {
    let list = |prefix: &str| PrefixList {
        file: None,
        prefixes: Arc::new(Prefixes::of_text(prefix).expect("a list")),
    };
    let deny = prefix.map(|prefix| Arc::new(list(prefix)));
    let filter = Filter::of(None, deny).map(Arc::new);
    let mut state = desired(&[("a", &["10.1.0.1"]), ("b", &["10.2.0.1"])]);
    for service in &mut state.services {
        service.options.filter.clone_from(&filter);
    }
    state
}

#[test]
fn a_list_goes_to_a_free_slot_and_what_nobody_looks_at_is_given_up() {
    let mut slots = Slots::default();
    let (_, mut observed) = step(&denying(None), &mut slots, Observed::default());
    for (prefix, filters) in [
        (Some("192.0.2.0/24"), vec![0]),
        (Some("192.0.2.0/24"), vec![0]),
        (Some("192.0.2.0/25"), vec![1]),
        (Some("192.0.2.0/24"), vec![0]),
        (None, vec![]),
    ] {
        (_, observed) = step(&denying(prefix), &mut slots, observed);
        let there: Vec<u32> = observed.filters.iter().copied().collect();
        assert_eq!(there, filters, "{prefix:?}: one for both services");
    }
}

#[test]
fn a_filter_that_a_former_agent_left_behind_is_given_up() {
    let mut slots = Slots::default();
    let state = denying(Some("192.0.2.0/24"));
    let (_, mut observed) = step(&state, &mut slots, Observed::default());
    observed.filters.insert(7);
    let (image, _) = state.image(&mut slots).expect("an image");
    assert_eq!(
        plan(&image, &observed).expect("a plan"),
        [Op::Barrier, Op::DropFilter { slot: 7 }]
    );
    observed.filters = [].into();
    let ops = plan(&image, &observed).expect("a plan");
    assert!(
        matches!(ops[..], [Op::FillFilter { slot: 0, .. }, ..]),
        "one that has lost its map is made again"
    );
}

#[test]
fn numbers_stay_with_their_names() {
    let mut slots = Slots::default();
    let (_, observed) = step(
        &desired(&[("a", &["10.1.0.1", "10.1.0.2", "10.1.0.3"])]),
        &mut slots,
        Observed::default(),
    );
    let name = PoolName("a".into());
    let before = slots.of_pool(&name).expect("known").clone();
    let counters = slots.of_service("service of a");
    let (ops, _) = step(
        &desired(&[("a", &["10.1.0.3", "10.1.0.9"])]),
        &mut slots,
        observed,
    );
    let third: IpAddr = [10, 1, 0, 3].into();
    let after = slots.of_pool(&name).expect("known");
    assert_eq!(after[&third], before[&third]);
    assert_eq!(
        after[&[10, 1, 0, 9].into()],
        before[&[10, 1, 0, 1].into()],
        "the lowest free number"
    );
    assert_eq!(slots.of_service("service of a"), counters);
    assert!(
        !ops.iter()
            .any(|op| matches!(op, Op::ZeroServiceCounter { .. })),
        "a kept service keeps its counts"
    );
}

#[test]
fn five_thousand_addresses_fit_the_index() {
    let entries = (0..5000_u32).map(|n| VipEntry {
        address: words(IpAddr::from((0x0a00_0000 + n).to_be_bytes())),
        kind: kind::VIP,
        id: n + 1,
    });
    let image = Image {
        vips: entries.collect(),
        ..Image::default()
    };
    let seeds = Seeds::find(&image).expect("a seed");
    let placed = seeds.vip_buckets(&image.vips);
    let found = placed
        .iter()
        .flat_map(|bucket| bucket.entries)
        .filter(|entry| entry.kind == kind::VIP)
        .count();
    assert_eq!(found, 5000);
}

#[test]
fn too_much_is_a_limit_with_numbers() {
    let mut slots = Slots::default();
    let many: Vec<IpAddr> = (0..70_000_u32)
        .map(|n| IpAddr::from(n.to_be_bytes()))
        .collect();
    let error = slots
        .members(&PoolName("a".into()), &many[..])
        .expect_err("too many");
    assert_eq!(
        error.to_string(),
        "backends of a pool: 70000 wanted, 16383 possible in this version; split the configuration over more nodes"
    );
}

#[test]
fn addresses_survive_the_datapath() {
    for text in ["192.0.2.1", "2001:db8::1"] {
        let address: IpAddr = text.parse().expect("an address");
        assert_eq!(address_of(words(address)), address);
    }
}

#[test]
fn pairs_whose_rows_differ_are_found_and_settle() {
    let mut slots = Slots::default();
    let one = desired(&[("a", &["10.1.0.1", "10.1.0.2"]), ("b", &["10.2.0.1"])]);
    let (image, _) = one.image(&mut slots).expect("an image");
    assert_eq!(
        image.changed_pairs(&Observed::default()),
        [0, 2].into(),
        "all are new on a cold start"
    );
    let (_, observed) = step(&one, &mut slots, Observed::default());
    assert_eq!(image.changed_pairs(&observed), [].into());

    let two = desired(&[
        ("a", &["10.1.0.1", "10.1.0.2"]),
        ("b", &["10.2.0.1", "10.2.0.2"]),
    ]);
    let (mut image, _) = two.image(&mut slots).expect("an image");
    let changed = image.changed_pairs(&observed);
    assert_eq!(changed, [2].into());
    let pool = slots.pool_of_table(2).map(|name| name.0.as_str());
    assert_eq!(
        (pool, slots.pool_of_table(3).map(|name| name.0.as_str())),
        (Some("b"), Some("b"))
    );
    assert_eq!(slots.pool_of_table(4), None);
    image.settle(&changed);
    let flags = |pair| -> Vec<u8> {
        let of_pair = image
            .services
            .iter()
            .filter(|service| service.table == pair);
        of_pair.map(|service| service.tunnel_flags).collect()
    };
    let settling = lb_common::tunnel::flags::SETTLING;
    assert_eq!(flags(0), [0, 0]);
    assert_eq!(flags(2), [settling, settling]);
}

#[test]
fn the_flag_of_settling_alone_switches_the_bank_and_fills_no_table() {
    let mut slots = Slots::default();
    let mut state = desired(&[("a", &["10.1.0.1"])]);
    let (_, mut observed) = step(&state, &mut slots, Observed::default());
    for settling in [true, false] {
        for pool in state.pools.values_mut() {
            pool.settling = settling;
        }
        let (ops, next) = step(&state, &mut slots, observed);
        assert!(matches!(
            ops[..],
            [Op::FillBank { .. }, Op::Switch { .. }, Op::Barrier]
        ));
        observed = next;
    }
}

#[test]
fn a_number_given_to_another_backend_counts_from_zero() {
    let mut slots = Slots::default();
    let (_, observed) = step(
        &desired(&[("a", &["10.1.0.1", "10.1.0.2"])]),
        &mut slots,
        Observed::default(),
    );
    let (service, block) = slots.of_service("service of a").expect("counters");
    let of_backends = |ops: Vec<Op>| {
        ops.into_iter()
            .filter(|op| {
                matches!(
                    op,
                    Op::ZeroBackendCounters { .. } | Op::RetireBackendCounters { .. }
                )
            })
            .collect::<Vec<_>>()
    };
    let (ops, observed) = step(
        &desired(&[("a", &["10.1.0.2", "10.1.0.3"])]),
        &mut slots,
        observed,
    );
    let retired = |count| Op::RetireBackendCounters {
        service,
        first: block.first,
        count,
    };
    assert_eq!(of_backends(ops), [retired(1)]);

    let many: Vec<_> = (2..40).map(|n| format!("10.1.0.{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let (ops, _) = step(&desired(&[("a", &many)]), &mut slots, observed);
    let (_, larger) = slots.of_service("service of a").expect("counters");
    assert!(
        larger.first >= block.first + block.count,
        "beside the former"
    );
    let begun = Op::ZeroBackendCounters {
        first: larger.first,
        count: larger.count,
    };
    assert_eq!(of_backends(ops), [retired(block.count), begun]);
}

#[test]
fn flows_are_remembered_at_least_for_the_timeout_in_ticks() {
    let mut state = desired(&[("a", &["10.1.0.1"])]);
    for (timeout, ticks) in [
        (None, 0),
        (Some(Duration::from_millis(10)), 1),
        (Some(Duration::from_secs(120)), 118),
        (Some(Duration::from_secs(8_100)), 7_911),
        (Some(Duration::from_secs(1 << 20)), flow_table::TIMEOUT_MAX),
    ] {
        state.services[0].options.flow_timeout = timeout;
        let (image, _) = state.image(&mut Slots::default()).expect("an image");
        let service = &image.services[0];
        let extra = image.extras.get(&service.service_counter);
        let found = extra.copied().unwrap_or_default().flow_timeout;
        assert_eq!(found, ticks, "{timeout:?}");
        let remembers = service.options & abi::options::FLOW_TABLE != 0;
        assert_eq!(remembers, timeout.is_some());
    }
}

#[test]
fn a_backend_that_is_gone_is_marked() {
    let mut state = desired(&[("a", &["10.1.0.1", "10.1.0.2"])]);
    let pool = state.pools.values_mut().next().expect("a pool");
    pool.members[1].gone = true;
    let (image, _) = state.image(&mut Slots::default()).expect("an image");
    let gone = image
        .backends
        .iter()
        .map(|one| one.flags & abi::backend_flags::GONE != 0);
    assert_eq!(gone.collect::<Vec<_>>(), [false, true]);
}

#[test]
fn without_the_former_numbers_no_live_table_is_filled() {
    let mut slots = Slots::default();
    let before = desired(&[("a", &["10.1.0.1"]), ("b", &["10.2.0.1", "10.2.0.2"])]);
    let (_, observed) = step(&before, &mut slots, Observed::default());
    // The pools change places; `after` checks that nothing live is written.
    let swapped = desired(&[("a", &["10.2.0.1", "10.2.0.2"]), ("b", &["10.1.0.1"])]);
    let (ops, observed) = step(&swapped, &mut Slots::default(), observed);
    let filled: Vec<_> = ops
        .iter()
        .filter_map(|op| match op {
            Op::FillTable { index, .. } => Some(*index),
            _ => None,
        })
        .collect();
    assert_eq!(filled, [1, 3]);
    assert_eq!(observed.image.expect("applied").tables.len(), 2);
}

/// What a kernel that holds what it should is told, after `spoil`.
fn told(spoil: impl FnOnce(&mut Image)) -> Vec<String> {
    let mut slots = Slots::default();
    let state = desired(&[("a", &["10.1.0.1", "10.1.0.2"]), ("b", &["10.2.0.1"])]);
    let (_, observed) = step(&state, &mut slots, Observed::default());
    // A second table of the pair is in use where the rows have changed once.
    let other = desired(&[("a", &["10.1.0.2", "10.1.0.1"]), ("b", &["10.2.0.1"])]);
    let (_, mut observed) = step(&other, &mut slots, observed);
    let (wanted, _) = other.image(&mut slots).expect("an image");
    spoil(observed.image.as_mut().expect("switched on"));
    let all = differences(&wanted, &observed).into_iter();
    all.map(|one| format!("{}: {}", one.subject, one.what))
        .collect()
}

#[test]
fn a_kernel_that_holds_what_it_should_has_no_differences() {
    assert_eq!(told(|_| {}), Vec::<String>::new());
}

#[test]
fn nothing_at_all_is_one_difference() {
    let mut slots = Slots::default();
    let (image, _) = desired(&[("a", &["10.1.0.1"])])
        .image(&mut slots)
        .expect("an image");
    let all = differences(&image, &Observed::default());
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].subject, "the datapath");
}

#[test]
fn every_difference_is_told_by_name() {
    type Spoil = fn(&mut Image);
    let cases: [(Spoil, &str); 10] = [
        (
            |image| image.shared.flow = FlowKey::new([8; 16]),
            "what all of a bank shares: differs in the key of the flow hash",
        ),
        (
            |image| image.shared.header ^= 1,
            "what all of a bank shares: differs in tunnel header",
        ),
        (
            |image| {
                image
                    .vips
                    .retain(|entry| address_of(entry.address) != IpAddr::from([198, 51, 100, 1]))
            },
            "VIP 198.51.100.1: missing",
        ),
        (
            |image| {
                image.vips.push(VipEntry {
                    address: words([203, 0, 113, 1].into()),
                    kind: kind::OWN,
                    id: 0,
                });
            },
            "own address 203.0.113.1: is there and should not be",
        ),
        (
            |image| {
                image
                    .services
                    .retain(|entry| entry.key & 0xffff != 80 || abi::service_vip(entry.key) != 1)
            },
            "service 198.51.100.1 port 80/tcp: missing",
        ),
        (
            |image| image.services[1].tunnel_mtu -= 1,
            "service 198.51.100.1 port 443/tcp: differs in tunnel MTU",
        ),
        (
            |image| (image.backends[0].mtu, image.backends[0].flags) = (1400, 0),
            "backend 10.1.0.1 (number 0): differs in verdict or reachability, MTU",
        ),
        (
            |image| image.backends.truncate(2),
            "backend 10.2.0.1 (number 2): missing",
        ),
        (
            |image| {
                let (_, rows) = image.tables.iter_mut().next().expect("a table");
                let mut other = rows.to_vec();
                (other[0], other[9]) = (!other[0], !other[9]);
                *rows = other.into();
            },
            "table 1: 2 of 65536 rows differ",
        ),
        (|image| drop(image.tables.pop_last()), "table 2: missing"),
    ];
    for (spoil, expected) in cases {
        assert_eq!(told(spoil), [expected]);
    }
}
