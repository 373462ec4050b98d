//! The LB node: maps and the XDP program `lb`.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![allow(
    missing_docs,
    reason = "the program macros add an undocumented function"
)]

use aya_ebpf::bindings::{BPF_F_MMAPABLE, xdp_action};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, PerCpuArray};
use aya_ebpf::helpers::{bpf_jiffies64, bpf_redirect};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use lb_common::abi::{self, BackendCount, Bank, ExitCount, Root, ServiceCount};
use lb_common::budget::Budget;
use lb_common::exit::Action;
use lb_common::lb::{self, Exit, Tables};
use lb_common::packet::Packet;
use lb_ebpf::packet::XdpPacket;
use lb_ebpf::percpu::bump;

const BANKS: usize = abi::BANKS as usize;
/// The agent fills arrays through memory.
const MAPPABLE: usize = BPF_F_MMAPABLE as usize;

#[btf_map]
static ROOT: Array<Root, 1, MAPPABLE> = Array::new();
#[btf_map(name = "BANKS")]
static BANK: Array<Bank, BANKS, MAPPABLE> = Array::new();
#[btf_map]
static TABLES: ArrayOfMaps<
    Array<u64, { abi::ROWS as usize }, MAPPABLE>,
    { abi::TABLES_MAX as usize + 1 },
> = ArrayOfMaps::new();
#[btf_map]
static EXITS: PerCpuArray<ExitCount, { (abi::EXIT_BLOCKS * abi::EXITS_MAX) as usize }> =
    PerCpuArray::new();
#[btf_map]
static BY_SERVICE: PerCpuArray<ServiceCount, { abi::SERVICE_COUNTERS_MAX as usize }> =
    PerCpuArray::new();
#[btf_map]
static BY_BACKEND: PerCpuArray<BackendCount, { abi::BACKEND_COUNTERS_MAX as usize }> =
    PerCpuArray::new();

#[btf_map]
static ANSWERS: PerCpuArray<Budget, 1> = PerCpuArray::new();

struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn bank(&self) -> Option<&Bank> {
        let root = ROOT.get(0)?;
        if root.abi_version != abi::ABI_VERSION {
            return None;
        }
        BANK.get(root.bank)
    }

    #[inline(always)]
    fn row(&self, table: u32, row: u32) -> Option<u64> {
        TABLES.get_value(table, &row).copied()
    }

    #[inline(always)]
    fn count_service(&self, counter: u32, bytes: u32, new_flow: bool) {
        bump(BY_SERVICE.get_ptr_mut(counter), |count| {
            count.packets += 1;
            count.bytes += u64::from(bytes);
            count.new_flows += u64::from(new_flow);
        });
    }

    #[inline(always)]
    fn count_backend(&self, counter: u32, bytes: u32) {
        bump(BY_BACKEND.get_ptr_mut(counter), |count| {
            count.packets += 1;
            count.bytes += u64::from(bytes);
        });
    }

    #[inline(always)]
    fn may_answer(&self, bank: &Bank) -> bool {
        let Some(budget) = ANSWERS.get_ptr_mut(0) else {
            return false;
        };
        let shared = &bank.shared;
        // SAFETY: takes nothing, reads a counter.
        let now = unsafe { bpf_jiffies64() };
        // SAFETY: the pointer comes from a per-CPU array: valid while the program runs, written by nobody else meanwhile.
        let budget = unsafe { &mut *budget };
        budget.take(u32::from(shared.answers_per_jiffy), shared.answers_max, now)
    }
}

/// Spreads packets for VIPs over backends; passes everything else.
#[xdp]
#[inline(always)]
pub fn lb(context: XdpContext) -> u32 {
    let mut packet = XdpPacket::new(&context);
    let bytes = packet.len() as u64;
    let probe = packet.is_probe();
    let exit = lb::run(&mut packet, &Maps, probe);
    let counted = if probe { Exit::Probe } else { exit };
    let counter = abi::exit_counter(packet.ingress(), counted as u32);
    bump(EXITS.get_ptr_mut(counter), |count| {
        count.packets += 1;
        count.bytes += bytes;
    });
    match exit.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Transmit => xdp_action::XDP_TX,
        // SAFETY: takes numbers only; the agent gives out indexes of interfaces that there are.
        Action::Redirect => unsafe { bpf_redirect(packet.egress(), 0) as u32 },
    }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
