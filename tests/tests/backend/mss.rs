//! The MSS in SYN-ACKs: on the host, and by the TC program in the kernel.

use anyhow::{Result, ensure};
use anylb::backend::datapath::Entry;
use anylb::model::XdpMode;
use lb_common::frame::Frame;
use lb_common::mss::clamp;
use lb_tests::harness::bpffs::Bpffs;
use lb_tests::harness::{privileged, shell};
use lb_tests::packet::{ACK, SYN, Segment, checksums_hold};

use crate::cases::{FAMILIES, Family, wanted};
use crate::host::Host;
use crate::stage::{Stage, namespace};

const NOP: u8 = 1;

fn mss(value: u16) -> Vec<u8> {
    let [high, low] = value.to_be_bytes();
    vec![2, 4, high, low]
}

/// Why, the SYN-ACK, and the one that must leave.
fn cases(family: &Family) -> Vec<(&'static str, Segment, Segment)> {
    let limit = if family.vip().is_ipv4() { 1404 } else { 1316 };
    let syn_ack = Segment::new(family.vip(), family.client(), SYN | ACK);
    let with = |options: Vec<u8>| Segment {
        options,
        ..syn_ack.clone()
    };
    let changed = |before: &[u8], after: &[u8]| (with(before.to_vec()), with(after.to_vec()));
    let same = |segment: Segment| (segment.clone(), segment);
    let odd = |value| [&[NOP][..], &mss(value), &[NOP, NOP, NOP]].concat();
    let late = |value| [&[4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8][..], &mss(value)].concat();
    let cases = [
        ("larger", changed(&mss(1460), &mss(limit))),
        ("largest", changed(&mss(65535), &mss(limit))),
        ("equal", same(with(mss(limit)))),
        ("smaller", same(with(mss(536)))),
        ("at an odd offset", changed(&odd(1460), &odd(limit))),
        ("after others", changed(&late(1460), &late(limit))),
        ("none", same(with(Vec::new()))),
        (
            "after the end of options",
            same(with([vec![0, NOP, NOP, NOP], mss(1460)].concat())),
        ),
        ("cut", same(with(vec![NOP, NOP, 2, 4]))),
        (
            "an option without length",
            same(with([vec![9, 0, NOP, NOP], mss(1460)].concat())),
        ),
        (
            "longer than it is",
            same(with(vec![2, 6, 5, 180, 0, 0, 0, 0])),
        ),
        (
            "a SYN",
            same(Segment {
                flags: SYN,
                ..with(mss(1460))
            }),
        ),
        (
            "from no VIP",
            same(Segment {
                source: family.client(),
                destination: family.vip(),
                ..with(mss(1460))
            }),
        ),
    ];
    cases
        .map(|(why, (before, after))| (why, before, after))
        .into()
}

#[test]
fn on_the_host() {
    let host = Host::new(&wanted());
    for family in &FAMILIES {
        for (why, before, after) in cases(family) {
            let mut bytes = before.frame();
            let frame = Frame::new(&bytes).expect("a small packet");
            let Some(change) = clamp(&frame, &host) else {
                assert_eq!(before.frame(), after.frame(), "{why}: left alone");
                continue;
            };
            bytes[change.offset..][..2].copy_from_slice(&change.mss.value().to_be_bytes());
            let checksum = &mut bytes[change.checksum_offset..][..2];
            let old = u16::from_ne_bytes([checksum[0], checksum[1]]);
            let sum = u32::from(!old) + u32::from(!change.before) + u32::from(change.after);
            checksum.copy_from_slice(&(!lb_common::wire::fold(sum)).to_ne_bytes());
            assert_eq!(bytes, after.frame(), "{why}");
        }
    }
}

#[test]
fn in_the_kernel() {
    if !privileged::available("mss::in_the_kernel") {
        return;
    }
    let netns = namespace("mss").expect("a namespace");
    let outcome = netns.run(|| {
        let stage = Stage::set(&wanted(), Entry::Tc)?;
        FAMILIES
            .iter()
            .try_for_each(|family| kernel_agrees(&stage, family))
    });
    outcome.unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn a_filter_is_replaced_where_there_is_no_tcx() {
    if !privileged::available("mss::a_filter_is_replaced_where_there_is_no_tcx") {
        return;
    }
    let netns = namespace("filter").expect("a namespace");
    let on = |side: &str, program: &str| {
        let tc = format!("tc -n {} filter show dev ghosts {side}", netns.name());
        shell::run(&tc).map(|text| text.matches(&format!("handle 0x1 {program} ")).count())
    };
    let filters = || anyhow::Ok((on("ingress", "backend_tc")?, on("egress", "backend_mss")?));
    let outcome = netns.run(|| {
        let datapath = || Stage::set(&wanted(), Entry::Tc).map(|stage| stage.datapath);
        ensure!(filters()? == (0, 0));
        let mut first = datapath()?;
        first.attach_filters("ghosts")?;
        ensure!(filters()? == (1, 1), "put there");
        datapath()?.attach_filters("ghosts")?;
        ensure!(filters()? == (1, 1), "replaced, not added");
        drop(first);
        ensure!(
            filters()? == (1, 1),
            "an agent that ends takes nothing with it"
        );
        let directory = std::env::temp_dir().join(format!("anylb-filter-{}", std::process::id()));
        let pins = Bpffs::mount(&directory)?;
        let xdp = Entry::Interface(XdpMode::Auto);
        let mut last = Stage::set(&wanted(), xdp)?.datapath;
        ensure!(
            last.attach(pins.path(), "ghosts", true)?,
            "something was there"
        );
        ensure!(filters()?.0 == 0, "another entry takes it off");
        last.detach()?;
        ensure!(filters()? == (0, 0), "stopping takes it off");
        drop(pins);
        std::fs::remove_dir(directory)?;
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error:#}"));
}

fn kernel_agrees(stage: &Stage, family: &Family) -> Result<()> {
    const NEXT_PROGRAM: u32 = u32::MAX;
    for (why, before, after) in cases(family) {
        let (action, bytes) = stage.datapath.run_mss(&before.frame())?;
        ensure!(action == NEXT_PROGRAM, "{why}: {action}");
        ensure!(bytes == after.frame(), "{why}: {bytes:02x?}");
        ensure!(checksums_hold(&bytes[14..]), "{why}");
    }
    Ok(())
}
