//! The LB node: maps and XDP programs, which differ in who gets what they pass, and in whether somebody watches.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![allow(
    missing_docs,
    reason = "the program macros add an undocumented function"
)]

#[path = "lb/watch.rs"]
mod watch;

use core::marker::PhantomData;
use core::ptr::NonNull;

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE, xdp_action};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, PerCpuArray, ProgramArray};
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_redirect};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use lb_common::abi::{self, Bank, Counts, Root, Row, Table, TableWords};
use lb_common::budget::Budget;
use lb_common::exit::Action;
use lb_common::filter::{Element, Words};
use lb_common::flow_table::{Bucket, FlowCount, Outcome};
use lb_common::lb::extra::{self, Case};
use lb_common::lb::{self, Exit, Tables, prefix};
use lb_common::packet::{Packet, Transit as _};
use lb_common::rate::Rate;
use lb_common::wire::Ethernet;
use lb_ebpf::given::{jiffies, setting};
use lb_ebpf::indexed;
use lb_ebpf::packet::{XdpPacket, opaque};
use lb_ebpf::percpu::bump;
use lb_ebpf::shared::atomic_add;

const BANKS: usize = abi::BANKS as usize;
/// The agent fills arrays through memory.
const MAPPABLE: usize = BPF_F_MMAPABLE as usize;
/// Linux 5.10.
const OF_ANY_SIZE: usize = MAPPABLE | BPF_F_INNER_MAP as usize;

/// A variable, which is found without a lookup: all of its section, a map of its own, which the agent writes.
#[unsafe(no_mangle)]
static mut ROOT: Root = Root {
    bank: 0,
    abi_version: 0,
};
#[btf_map(name = "BANKS")]
static BANK: Array<Bank, BANKS, MAPPABLE> = Array::new();
#[btf_map]
static TABLES: ArrayOfMaps<Array<TableWords, 1, MAPPABLE>, { abi::TABLES_MAX as usize + 1 }> =
    ArrayOfMaps::new();
/// For each CPU; the agent says how many. Not a per-CPU array, whose values are 32 KiB at most.
#[btf_map]
static COUNTS: Array<Counts, 1, MAPPABLE> = Array::new();

/// Each has the size of its tree. Of words: Linux 6.1 takes no map that was made without type information, as the agent makes them,
/// for one of a struct.
#[btf_map]
static FILTERS: ArrayOfMaps<Array<Words, 1, OF_ANY_SIZE>, { abi::FILTERS_MAX as usize }> =
    ArrayOfMaps::new();
/// Buckets by the counter of a service.
#[btf_map]
static BUCKETS: ArrayOfMaps<
    Array<u64, 1, { BPF_F_INNER_MAP as usize }>,
    { abi::SERVICE_COUNTERS_MAX as usize },
> = ArrayOfMaps::new();
/// The flow table: a part for each CPU, which alone writes it. One array, since a per-CPU one is a block of memory for each value.
/// The agent makes it as large as it is told.
#[btf_map]
static FLOWS: Array<Bucket, 1> = Array::new();
#[btf_map]
static BY_OUTCOME: PerCpuArray<FlowCount, 1> = PerCpuArray::new();

/// Buckets of a CPU in [`FLOWS`], and jiffies of a tick as a power of two: what the agent says when it loads the program.
#[unsafe(no_mangle)]
static FLOW_BUCKETS: u32 = 0;
#[unsafe(no_mangle)]
static TICK_SHIFT: u32 = 0;

/// The packet at hand, for what its service has beyond the common way.
#[btf_map]
static CASE: PerCpuArray<Case, 1> = PerCpuArray::new();
#[btf_map]
static ANSWERS: PerCpuArray<Budget, 1> = PerCpuArray::new();

/// The backend's program, on a box that is both; the agent puts it there.
#[btf_map(name = "BACKEND")]
static BACKEND_PROGRAM: ProgramArray<1> = ProgramArray::new();

/// Any program of this kind, behind the LB node's; the agent puts it there.
#[btf_map(name = "NEXT")]
static NEXT_PROGRAM: ProgramArray<1> = ProgramArray::new();

struct Maps<N> {
    /// Functions of their own count none of that.
    counts: Option<OwnCounts>,
    next: PhantomData<N>,
}

impl<N> Maps<N> {
    #[inline(always)]
    fn new(counts: Option<OwnCounts>) -> Self {
        Self {
            counts,
            next: PhantomData,
        }
    }
}

/// What this CPU counts.
#[derive(Clone, Copy)]
struct OwnCounts(NonNull<Counts>);

impl OwnCounts {
    #[inline(always)]
    fn find() -> Option<Self> {
        // SAFETY: takes nothing.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        NonNull::new(COUNTS.get_ptr_mut(cpu)?).map(Self)
    }

    /// Its counts, to be changed at once.
    #[inline(always)]
    fn get(&mut self) -> &mut Counts {
        // SAFETY: the pointer comes from an array and stays valid while the program runs; the part of a CPU is written by nobody else,
        // and programs of packets do not preempt each other.
        unsafe { self.0.as_mut() }
    }

    #[inline(always)]
    fn exit(&mut self, packet: &XdpPacket, exit: Exit, bytes: u64) {
        // Hidden: the compiler knows that the mask changes nothing, and the verifier does not.
        let counter = opaque(abi::exit_counter(packet.ingress(), exit as u32) as usize);
        let count = one(&mut self.get().exits[counter & (EXITS - 1)]);
        count.packets += 1;
        count.bytes += bytes;
    }
}

/// The place, found once: the compiler would find it anew for each of its fields.
#[inline(always)]
fn one<T>(count: &mut T) -> &mut T {
    // SAFETY: the same address.
    unsafe { &mut *(opaque(core::ptr::from_mut(count).expose_provenance()) as *mut T) }
}

const EXITS: usize = (abi::EXIT_BLOCKS * abi::EXITS_MAX) as usize;
const SERVICES: usize = abi::SERVICE_COUNTERS_MAX as usize;
const BACKENDS: usize = abi::BACKEND_COUNTERS_MAX as usize;

impl<N: Next> Tables for Maps<N> {
    const BACKEND: bool = N::BACKEND;

    #[inline(always)]
    fn bank(&self) -> Option<&Bank> {
        let root = &raw const ROOT;
        // SAFETY: a variable of the program, of which the agent changes one byte while packets come; the kernel reads it.
        indexed::value(&BANK, unsafe { &(*root).bank })
    }

    #[inline(always)]
    fn row(&self, table: &u32, row: u32) -> Option<Row> {
        let words = indexed::map(&TABLES, table)?.get(0)?;
        Some(Table::of(words).row(row))
    }

    #[inline(always)]
    fn filter<'t>(&'t self, slot: u32) -> Option<impl Fn(u32) -> Option<&'t Element>> {
        let elements = FILTERS.get(slot)?;
        Some(move |index| elements.get(index).map(Element::of))
    }

    #[inline(always)]
    fn take(&self, service: u32, bucket: u32, rate: &Rate) -> bool {
        let Some(word) = BUCKETS.get_value_ptr_mut(service, &bucket) else {
            return true;
        };
        let now = jiffies() as u32;
        // SAFETY: the pointer comes from an array: aligned, and valid while the program runs. Other CPUs use it as well, a whole
        // word at a time.
        let mut tokens = unsafe { word.read_volatile() };
        if let Some(refilled) = rate.refilled(tokens, now) {
            // SAFETY: as above.
            unsafe { word.write_volatile(refilled) };
            tokens = refilled;
        }
        match rate.spend(tokens) {
            Some(change) => {
                // SAFETY: as above.
                unsafe { atomic_add(word, change) };
                true
            }
            None => false,
        }
    }

    #[inline(always)]
    fn extra(&self, bank: &Bank, case: &Case) -> u64 {
        let Some(place) = CASE.get_ptr_mut(0) else {
            return extra::NO_ROW;
        };
        // SAFETY: the pointer comes from a per-CPU array: valid while the program runs, written by nobody else meanwhile.
        unsafe { *place = *case };
        beyond(bank.shared.bank)
    }

    #[inline(always)]
    fn prefix(&self, bank: &Bank, [high, low]: [u64; 2]) -> u32 {
        vip_around(bank.shared.bank, high, low) as u32
    }

    #[inline(always)]
    fn flow_buckets(&self) -> u32 {
        setting(&FLOW_BUCKETS)
    }

    #[inline(always)]
    fn flow_bucket<R>(&self, number: u32, work: impl FnOnce(&mut Bucket) -> R) -> Option<R> {
        // SAFETY: takes nothing.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        let first = cpu.wrapping_mul(setting(&FLOW_BUCKETS));
        let bucket = FLOWS.get_ptr_mut(first.wrapping_add(number))?;
        // SAFETY: the pointer comes from an array and stays valid while the program runs; the part of a CPU is written by nobody else,
        // and programs of packets do not preempt each other.
        Some(work(unsafe { &mut *bucket }))
    }

    #[inline(always)]
    fn tick(&self) -> u16 {
        (jiffies() >> (setting(&TICK_SHIFT) & 63)) as u16
    }

    #[inline(always)]
    fn count_flow(&self, outcome: Outcome) {
        bump(BY_OUTCOME.get_ptr_mut(0), |count| count.add(outcome));
    }

    #[inline(always)]
    fn count_new_flow(&self, service: u32) {
        if let Some(mut counts) = self.counts {
            counts.get().services[service as usize & (SERVICES - 1)].new_flows += 1;
        }
    }

    #[inline(always)]
    fn count_backend(&self, counter: u32, bytes: u32) {
        if let Some(mut counts) = self.counts {
            let count = one(&mut counts.get().backends[counter as usize & (BACKENDS - 1)]);
            count.packets += 1;
            count.bytes += u64::from(bytes);
        }
    }

    #[inline(always)]
    fn count_error(&self, ingress: u32, error: u32) {
        if let Some(mut counts) = self.counts {
            let counter = abi::error_counter(ingress, error) as usize;
            counts.get().exits[counter & (EXITS - 1)].packets += 1;
        }
    }

    #[inline(always)]
    fn may_answer(&self, bank: &Bank) -> bool {
        let Some(budget) = ANSWERS.get_ptr_mut(0) else {
            return false;
        };
        let shared = &bank.shared;
        let now = jiffies();
        // SAFETY: the pointer comes from a per-CPU array: valid while the program runs, written by nobody else meanwhile.
        let budget = unsafe { &mut *budget };
        budget.take(u32::from(shared.answers_per_jiffy), shared.answers_max, now)
    }
}

/// [`extra`], a global function: the verifier knows nothing of its argument, the number of the bank.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn beyond(bank: u32) -> u64 {
    let (Some(bank), Some(case)) = (BANK.get(bank), CASE.get(0)) else {
        return extra::NO_ROW;
    };
    extra::run(&Maps::<Kernel>::new(None), bank, case)
}

/// [`prefix::number`], a global function like [`beyond`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn vip_around(bank: u32, high: u64, low: u64) -> u64 {
    BANK.get(bank)
        .map_or(0, |bank| prefix::number(bank, [high, low]).into())
}

/// The XDP programs. All spread packets for VIPs over backends.
macro_rules! programs {
    ($($(#[$attribute:meta])* $name:ident = $next:ident, $watched:literal;)*) => { $(
        $(#[$attribute])*
        #[inline(always)]
        pub fn $name(context: XdpContext) -> u32 {
            spread::<$next, $watched>(&context)
        }
    )* };
}

programs! {
    /// Passes everything else.
    #[xdp(frags)]
    lb = Kernel, false;
    /// The same on a box that is a backend as well: what is not for a VIP, and what is for a VIP and this box, goes to the backend's
    /// program, which takes the tunnel off or passes it on as it does with those that came by wire.
    #[xdp(frags)]
    lb_and_backend = Backend, false;
    /// What is not for a VIP goes to another program, untouched. Like that one, it takes no packet in several buffers: the kernel
    /// lets programs of the same kind call each other.
    #[xdp]
    lb_and_next = Other, false;
    /// Like [`lb`], while somebody watches.
    #[xdp(frags)]
    watched_lb = Kernel, true;
    /// Like [`lb_and_backend`], while somebody watches.
    #[xdp(frags)]
    watched_lb_and_backend = Backend, true;
    /// Like [`lb_and_next`], while somebody watches.
    #[xdp]
    watched_lb_and_next = Other, true;
}

/// Who gets what a program passes.
trait Next {
    /// Whether that is the backend's program, which gets what is for a VIP and this box as well.
    const BACKEND: bool;
    /// Its program; none: the kernel gets it.
    const PROGRAM: Option<&'static ProgramArray<1>>;
}

struct Kernel;
struct Backend;
struct Other;

impl Next for Kernel {
    const BACKEND: bool = false;
    const PROGRAM: Option<&'static ProgramArray<1>> = None;
}

impl Next for Backend {
    const BACKEND: bool = true;
    const PROGRAM: Option<&'static ProgramArray<1>> = Some(&BACKEND_PROGRAM);
}

impl Next for Other {
    const BACKEND: bool = false;
    const PROGRAM: Option<&'static ProgramArray<1>> = Some(&NEXT_PROGRAM);
}

#[inline(always)]
fn spread<N: Next, const WATCHED: bool>(context: &XdpContext) -> u32 {
    let Some(mut counts) = OwnCounts::find() else {
        return xdp_action::XDP_PASS;
    };
    let mut packet = XdpPacket::new(context);
    let bytes = packet.bytes();
    let mark = packet.mark();
    // Never undefined: the verifier of 5.10 refuses to copy what the compiler would leave so.
    let arrived = packet
        .get::<Ethernet>(0)
        .filter(|_| N::BACKEND)
        .copied()
        .unwrap_or_default();
    let told = WATCHED && !mark.is_probe() && watch::arrived(context.ctx) != 0;
    let exit = lb::run(&mut packet, &Maps::<N>::new(Some(counts)), mark);
    // Of all ways the one that most packets take, by itself; no probe does.
    if !WATCHED && exit == Exit::Sent {
        counts.exit(&packet, Exit::Sent, bytes);
        return xdp_action::XDP_TX;
    }
    let exit = exit.of_client();
    let counted = if mark.is_probe() { Exit::Probe } else { exit };
    counts.exit(&packet, counted, bytes);
    if told {
        watch::left(exit as u32);
    }
    if WATCHED && !mark.is_probe() && watch::is_logged(exit) {
        watch::log(context.ctx, exit as u32);
    }
    if let Some(program) = N::PROGRAM
        && !mark.is_probe()
        && matches!(exit.action(), Action::Pass | Action::Local)
    {
        // The backend's program may have to send it back to the router that it came from.
        if N::BACKEND && exit.action() == Action::Local {
            packet.unskip();
            if let Some(frame) = packet.get_mut::<Ethernet>(0) {
                frame.macs_low = arrived.macs_low;
                frame.macs_high = arrived.macs_high;
            }
        }
        // SAFETY: nothing that must be dropped is alive. Where there is no program, this one goes on.
        unsafe { program.tail_call(context, 0) };
        if N::BACKEND && exit.action() == Action::Local {
            counts.exit(&packet, Exit::NoLocalBackend, bytes);
        }
    }
    match exit.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop | Action::Local => xdp_action::XDP_DROP,
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
