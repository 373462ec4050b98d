//! The backend: maps, the program that takes packets out of the tunnel (`backend` for XDP, `backend_tc` for TC ingress), and the
//! TC program `backend_mss` for egress.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![allow(
    missing_docs,
    reason = "the program macros add an undocumented function"
)]

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action, xdp_md};
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::{btf_map, classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use lb_common::abi::{EXITS_MAX, ExitCount, VipBucket};
use lb_common::backend::{self, Exit, FIRST_HEADERS, Gone, Tables, Whole};
use lb_common::backend_abi::{
    BUCKETS, CACHE_SLOTS, CachedMacs, Config, FRAGMENTED_MAX, Macs, NEXT_HOPS_MAX, ServiceBucket,
    WANTED_BYTES, cache_slot,
};
use lb_common::budget::Budget;
use lb_common::exit::Action;
use lb_common::mss;
use lb_common::packet::Packet;
use lb_ebpf::given::{jiffies, setting};
use lb_ebpf::packet::XdpPacket;
use lb_ebpf::percpu::bump;
use lb_ebpf::skb::SkbPacket;
use lb_ebpf::sockets::{Kernel, KernelSockets, Offsets};

#[btf_map]
static CONFIG: Array<Config, 1> = Array::new();
#[btf_map]
static VIPS: Array<VipBucket, { BUCKETS as usize }> = Array::new();
#[btf_map]
static SERVICES: Array<ServiceBucket, { BUCKETS as usize }> = Array::new();
#[btf_map]
static NEXT_HOPS: HashMap<[u64; 2], Macs, { NEXT_HOPS_MAX as usize }> = HashMap::new();
#[btf_map]
static NEXT_HOP_CACHE: PerCpuArray<CachedMacs, { CACHE_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
static WANTED: RingBuf<[u64; 2], WANTED_BYTES> = RingBuf::new();
#[btf_map]
static FRAGMENTED: LruHashMap<Whole, u32, { FRAGMENTED_MAX as usize }> = LruHashMap::new();
#[btf_map]
static BUDGET: PerCpuArray<Budget, 1> = PerCpuArray::new();
#[btf_map]
static EXITS: PerCpuArray<ExitCount, { EXITS_MAX as usize }> = PerCpuArray::new();

/// Offset of `tcp_request_sock.snt_isn`; the agent finds it in the kernel's type information.
#[unsafe(no_mangle)]
static SENT_ISN: u32 = 0;
/// Offset of `tcp_timewait_sock.tw_sk.tw_substate`.
#[unsafe(no_mangle)]
static TIME_WAIT_SUBSTATE: u32 = 0;

struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn config(&self) -> Option<&Config> {
        CONFIG.get(0)
    }

    #[inline(always)]
    fn vips(&self, index: u32) -> Option<&VipBucket> {
        VIPS.get(index)
    }

    #[inline(always)]
    fn prefix(&self, [high, low]: [u64; 2]) -> u32 {
        vip_around(high, low) as u32
    }

    #[inline(always)]
    fn services(&self, index: u32) -> Option<&ServiceBucket> {
        SERVICES.get(index)
    }

    #[inline(always)]
    fn next_hop(&self, address: [u64; 2]) -> Option<Macs> {
        // SAFETY: the pointer comes from a per-CPU array: valid while the program runs, written by nobody else meanwhile.
        let slot = unsafe { &mut *NEXT_HOP_CACHE.get_ptr_mut(cache_slot(address))? };
        let now = jiffies();
        if !slot.answers(address, now) {
            refill(slot, address, now);
        }
        slot.macs.resolved().then_some(slot.macs)
    }

    #[inline(always)]
    fn spend(&self) -> bool {
        let (Some(budget), Some(config)) = (BUDGET.get_ptr_mut(0), CONFIG.get(0)) else {
            return false;
        };
        // SAFETY: as in `next_hop`.
        let budget = unsafe { &mut *budget };
        budget.take(config.budget_per_jiffy, config.budget_max, jiffies())
    }

    #[inline(always)]
    fn remember(&self, whole: &Whole, gone: Gone) {
        // Where memory is short, the packet's other parts are lost with it.
        let _ = FRAGMENTED.insert(whole, gone as u32, 0);
    }

    #[inline(always)]
    fn recall(&self, whole: &Whole) -> Option<Gone> {
        // SAFETY: copied out at once; an element that another takes over meanwhile says something of another packet, which
        // costs this one.
        let gone = unsafe { FRAGMENTED.get(whole) }.copied()?;
        Some(if gone == Gone::Next as u32 {
            Gone::Next
        } else if gone == Gone::First as u32 {
            Gone::First
        } else {
            Gone::Here
        })
    }
}

/// Asks the agent's table; where it does not know, asks the agent.
#[inline(always)]
fn refill(slot: &mut CachedMacs, address: [u64; 2], now: u64) {
    // SAFETY: copied out at once; the kernel frees a replaced element only after the program has ended.
    let macs = unsafe { NEXT_HOPS.get(address) }
        .copied()
        .unwrap_or_default();
    if !macs.resolved() {
        // A full ring means that the agent is busy with others; the next refill asks again.
        let _ = WANTED.output(address, 0);
    }
    slot.address = address;
    slot.macs = macs;
    slot.expires = now
        + CONFIG
            .get(0)
            .map_or(0, |config| u64::from(config.cache_jiffies));
}

/// [`backend::around`], a global function: the verifier knows nothing of its arguments.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn vip_around(high: u64, low: u64) -> u64 {
    CONFIG.get(0).map_or(0, |config| {
        backend::around(&Maps, config, [high, low]).into()
    })
}

struct ThisKernel;

impl Kernel for ThisKernel {
    #[inline(always)]
    fn offsets() -> Offsets {
        Offsets {
            sent_isn: setting(&SENT_ISN),
            time_wait_substate: setting(&TIME_WAIT_SUBSTATE),
        }
    }
}

/// Decapsulates packets for VIPs of this host, or passes them on to their flow's next hop.
#[xdp(frags)]
#[inline(always)]
pub fn backend(context: XdpContext) -> u32 {
    let mut packet = XdpPacket::new(&context);
    let bytes = packet.bytes();
    let sockets = KernelSockets::<ThisKernel>::new(&packet);
    if let Some(exit) = backend::whole(&mut packet, &Maps, &sockets) {
        count(exit as u32, bytes);
        verdict_xdp(exit)
    } else {
        let (exit, verdict) = left(part_xdp(context.ctx, part_vip_xdp(context.ctx)));
        count(exit, bytes);
        verdict
    }
}

#[inline(always)]
const fn verdict_xdp(exit: Exit) -> u32 {
    match exit.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Transmit => xdp_action::XDP_TX,
        // No exit of the backend redirects or stays undecided.
        Action::Drop | Action::Redirect | Action::Local => xdp_action::XDP_DROP,
    }
}

/// The same on TC ingress, where packets may have been joined before.
#[classifier]
#[inline(always)]
pub fn backend_tc(context: TcContext) -> i32 {
    /// Any tunnel, and as much of the inner packet as is looked at: two IP headers, the second in an ICMP error, and options.
    const HEADERS: usize = 384;
    let mut packet = SkbPacket::new(&context);
    let bytes = packet.len() as u64;
    packet.pull(FIRST_HEADERS);
    // Others' packets leave before anything is asked of the kernel.
    if packet.is_tagged() || backend::is_foreign(&packet, &Maps) {
        count(Exit::NotTunnel as u32, bytes);
        return TC_ACT_UNSPEC;
    }
    packet.pull(HEADERS);
    let sockets = KernelSockets::<ThisKernel>::new(&packet);
    if let Some(exit) = backend::whole(&mut packet, &Maps, &sockets) {
        count(exit as u32, bytes);
        verdict_tc(&packet, exit)
    } else {
        let context = context.skb.skb;
        let (exit, verdict) = left(part_tc(context, part_vip_tc(context)));
        count(exit, bytes);
        verdict as i32
    }
}

#[inline(always)]
fn verdict_tc(packet: &SkbPacket, exit: Exit) -> i32 {
    match exit.action() {
        // "Unspecified" lets the next program on the hook run.
        Action::Pass => TC_ACT_UNSPEC,
        Action::Transmit => packet.send_back(),
        // As in `verdict_xdp`.
        Action::Drop | Action::Redirect | Action::Local => TC_ACT_SHOT,
    }
}

// Fragments go through global functions: the verifier looks at one once, and not for each of the ways that lead to it.

/// [`backend::part_vip`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn part_vip_xdp(context: *mut xdp_md) -> u32 {
    backend::part_vip(&XdpPacket::new(&XdpContext::new(context)), &Maps)
}

/// [`backend::part`], and what the program has to return; [`left`] takes them apart.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn part_xdp(context: *mut xdp_md, vip: u32) -> u64 {
    let mut packet = XdpPacket::new(&XdpContext::new(context));
    let sockets = KernelSockets::<ThisKernel>::new(&packet);
    let exit = backend::part(&mut packet, &Maps, &sockets, vip);
    leaving(exit, verdict_xdp(exit))
}

/// [`part_vip_xdp`] for TC.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn part_vip_tc(context: *mut __sk_buff) -> u32 {
    backend::part_vip(&SkbPacket::new(&TcContext::new(context)), &Maps)
}

/// [`part_xdp`] for TC.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn part_tc(context: *mut __sk_buff, vip: u32) -> u64 {
    let mut packet = SkbPacket::new(&TcContext::new(context));
    let sockets = KernelSockets::<ThisKernel>::new(&packet);
    let exit = backend::part(&mut packet, &Maps, &sockets, vip);
    leaving(exit, verdict_tc(&packet, exit) as u32)
}

/// Both as one number.
#[inline(always)]
fn leaving(exit: Exit, verdict: u32) -> u64 {
    u64::from(exit as u32) << 32 | u64::from(verdict)
}

#[inline(always)]
const fn left(both: u64) -> (u32, u32) {
    ((both >> 32) as u32, both as u32)
}

#[inline(always)]
fn count(exit: u32, bytes: u64) {
    bump(EXITS.get_ptr_mut(exit), |count| {
        count.packets += 1;
        count.bytes += bytes;
    });
}

/// Lowers the MSS in SYN-ACKs from a VIP, on egress.
#[classifier]
#[inline(always)]
pub fn backend_mss(context: TcContext) -> i32 {
    // "Unspecified" lets the next program on the hook run.
    if let Some(change) = mss::clamp(&SkbPacket::new(&context), &Maps) {
        let _ = apply(&context, &change);
    }
    TC_ACT_UNSPEC
}

/// A packet that could not be changed goes out as it was.
#[inline(always)]
fn apply(context: &TcContext, change: &mss::Clamp) -> Result<(), i64> {
    const TWO_BYTES: u64 = 2;
    context.store(change.offset, &change.mss, 0)?;
    context.l4_csum_replace(
        change.checksum_offset,
        u64::from(change.before),
        u64::from(change.after),
        TWO_BYTES,
    )
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
