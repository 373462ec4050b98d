//! `anylb bench`: makes packets, and counts those that come back.
//!
//! `generate` runs on pages of the kernel's (BPF_PROG_TEST_RUN with live frames) and keeps the pace itself: a page for which no
//! packet is due is dropped. `count` hangs on the interface. `taken` hears how many of the packets the driver took.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![allow(
    missing_docs,
    reason = "the program macros add an undocumented function"
)]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{btf_map, raw_tracepoint, xdp};
use aya_ebpf::programs::{RawTracePointContext, XdpContext};
use lb_common::generator::{self, Order, Origin, Returned, Turn};
use lb_common::packet::Packet as _;
use lb_ebpf::packet::XdpPacket;
use lb_ebpf::percpu::bump;

#[btf_map]
static ORDER: Array<Order, 1> = Array::new();
#[btf_map]
static TURNS: PerCpuArray<Turn, 1> = PerCpuArray::new();
#[btf_map]
static RETURNED: PerCpuArray<Returned, 1> = PerCpuArray::new();

/// Sends the packet that is due, if one is, by the interface that this one is said to have come in by.
#[xdp]
#[inline(always)]
pub fn generate(context: XdpContext) -> u32 {
    match make(&context) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_DROP,
    }
}

#[inline(always)]
fn make(context: &XdpContext) -> Option<()> {
    let order = ORDER.get(0)?;
    let turn = TURNS.get_ptr_mut(0)?;
    // SAFETY: takes nothing, reads a clock.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the pointer comes from a per-CPU array; programs of packets do not preempt each other.
    let flow = unsafe { &mut *turn }.next(order, now)?;
    generator::write(&mut XdpPacket::new(context), order, flow)
}

/// Counts and drops what has come back; passes everything else.
#[xdp]
#[inline(always)]
pub fn count(context: XdpContext) -> u32 {
    let Some(order) = ORDER.get(0) else {
        return xdp_action::XDP_PASS;
    };
    let packet = XdpPacket::new(&context);
    match generator::origin(&packet, order) {
        Origin::Other => xdp_action::XDP_PASS,
        Origin::Late => xdp_action::XDP_DROP,
        Origin::Trial => {
            bump(RETURNED.get_ptr_mut(0), |count| {
                count.packets += 1;
                count.bytes += packet.len() as u64;
            });
            xdp_action::XDP_DROP
        }
    }
}

/// `xdp:xdp_devmap_xmit`: from and to which device, how many were taken and refused, why. Ours go back to where they are said to
/// come from.
#[raw_tracepoint]
#[inline(always)]
pub fn taken(context: RawTracePointContext) -> i32 {
    let (from, to): (u64, u64) = (context.arg(0), context.arg(1));
    if from == to {
        let (taken, refused): (u32, u32) = (context.arg(2), context.arg(3));
        bump(TURNS.get_ptr_mut(0), |turn| {
            turn.heard(u64::from(taken), u64::from(refused));
        });
    }
    0
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
