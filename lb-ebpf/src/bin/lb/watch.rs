//! What the programs `watched_...` tell the agent: packets, and lines for its log. Nothing here is part of the others.
//!
//! They are global functions: the verifier looks at each once, whatever calls it with what.

use aya_ebpf::bindings::{BPF_RB_NO_WAKEUP, xdp_md};
use aya_ebpf::btf_maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::{error, info};
use lb_common::budget::Budget;
use lb_common::lb::Exit;
use lb_common::lb::trace::{Asked, CAPTURE_MAX, Desk, Head};
use lb_common::packet::{Packet as _, Transit as _};
use lb_common::wire::Ethernet;
use lb_ebpf::given::jiffies;
use lb_ebpf::packet::{XdpPacket, opaque};

/// As small as can be: the agent makes it larger where somebody watches.
#[btf_map]
static TRACE: RingBuf<Head, 4096> = RingBuf::new();
#[btf_map]
static ASKED: Array<Asked, 1> = Array::new();
#[btf_map]
static DESK: PerCpuArray<Desk, 1> = PerCpuArray::new();
/// Limits lines, not packets.
#[btf_map]
static LINES: PerCpuArray<Budget, 1> = PerCpuArray::new();

/// Lines that one CPU may log at once.
const BURST: u32 = 10;
/// It may log another after so many jiffies, as a power of two: a quarter of a second at 250 Hz.
const PAUSE: u32 = 6;

/// Writes the packet down where it is asked for. True: [`left`] wants to know where it leaves.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn arrived(context: *mut xdp_md) -> u32 {
    u32::from(write_down(context))
}

#[inline(always)]
fn write_down(context: *mut xdp_md) -> bool {
    let (Some(asked), Some(desk)) = (ASKED.get(0), DESK.get_ptr_mut(0)) else {
        return false;
    };
    let packet = XdpPacket::new(&XdpContext::new(context));
    // SAFETY: the pointer comes from a per-CPU array: valid while the program runs, written by nobody else meanwhile.
    let desk = unsafe { &mut *desk };
    if asked.until_ns == 0 || !asked.fits(packet) || !desk.turn(asked.sample) {
        return false;
    }
    // SAFETY: takes nothing, reads a clock.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    if time_ns >= asked.until_ns {
        return false;
    }
    let captured = opaque(if packet.len() < CAPTURE_MAX {
        packet.len()
    } else {
        CAPTURE_MAX
    });
    // More than nothing, in a way that verifiers before Linux 6.8 see: they learn nothing of what a number is not.
    if captured < size_of::<Ethernet>() || captured > CAPTURE_MAX {
        return false;
    }
    // SAFETY: the context is that of the running program, and the room behind the pointer is as long as the checks above say.
    let (length, copied) = unsafe {
        let to = (&raw mut desk.packet).cast();
        let length = bpf_xdp_get_buff_len(context) as u32;
        (length, bpf_xdp_load_bytes(context, 0, to, captured as u32))
    };
    desk.head = Head {
        time_ns,
        length,
        captured: captured as u32,
        ifindex: packet.ingress(),
        exit: 0,
    };
    copied == 0
}

/// Tells of the packet that has [`arrived`]; zero where it was not told.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn left(exit: u32) -> u32 {
    u32::from(tell(exit))
}

#[inline(always)]
fn tell(exit: u32) -> bool {
    let (Some(asked), Some(desk)) = (ASKED.get(0), DESK.get_ptr_mut(0)) else {
        return false;
    };
    // SAFETY: as above.
    let desk = unsafe { &mut *desk };
    if !asked.is_exit(exit) {
        return false;
    }
    let now = jiffies();
    if !desk.budget.take(asked.per_jiffy, asked.burst, now) {
        desk.untold.limited += 1;
        return false;
    }
    desk.head.exit = exit;
    let length = size_of::<Head>() + opaque(desk.head.captured as usize);
    if length > size_of::<Head>() + CAPTURE_MAX {
        return false;
    }
    let from = (&raw const desk.head).cast::<u8>();
    // SAFETY: head and packet lie one behind the other in the value, and the check above keeps the length inside.
    let told = unsafe { core::slice::from_raw_parts(from, length) };
    let told = TRACE.output_untyped::<[u8]>(told, u64::from(BPF_RB_NO_WAKEUP));
    desk.untold.lost += u64::from(told.is_err());
    told.is_ok()
}

/// Whether a line is logged of packets that leave there: somebody has to look, whoever sent them.
#[inline(always)]
pub const fn is_logged(exit: Exit) -> bool {
    matches!(
        exit,
        Exit::NoTable | Exit::NoHeadroom | Exit::Malformed | Exit::BadSource
    )
}

/// Logs a line, where the level that the agent was started with has it: it is read-only, and the verifier drops what is above it.
/// Zero where there were too many before.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn log(context: *mut xdp_md, exit: u32) -> u32 {
    u32::from(write_line(context, exit))
}

#[inline(always)]
fn write_line(context: *mut xdp_md, exit: u32) -> bool {
    let Some(budget) = LINES.get_ptr_mut(0) else {
        return false;
    };
    let now = jiffies();
    // SAFETY: as above.
    if !unsafe { &mut *budget }.take(1, BURST, now >> PAUSE) {
        return false;
    }
    let context = XdpContext::new(context);
    let packet = XdpPacket::new(&context);
    let (interface, length) = (packet.ingress(), packet.len() as u32);
    if exit == Exit::NoTable as u32 {
        error!(
            &context,
            "no_table: interface {}, {} bytes", interface, length
        );
    } else if exit == Exit::NoHeadroom as u32 {
        error!(
            &context,
            "no_headroom: interface {}, {} bytes", interface, length
        );
    } else if exit == Exit::Malformed as u32 {
        info!(
            &context,
            "malformed: interface {}, {} bytes", interface, length
        );
    } else if exit == Exit::BadSource as u32 {
        info!(
            &context,
            "bad_source: interface {}, {} bytes", interface, length
        );
    }
    true
}
