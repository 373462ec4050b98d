//! bpf(2), as far as the benchmark needs it: programs made of single instructions, which no loader library takes.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::insn::Insn;

const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
const LINK_CREATE: libc::c_int = 28;
const PROG_TYPE_XDP: u32 = 6;
/// BPF_F_TEST_XDP_LIVE_FRAMES.
const LIVE_FRAMES: u32 = 1 << 1;
/// What the verifier writes (BPF_LOG_LEVEL1, BPF_LOG_STATS).
const LOG_NONE: u32 = 0;
const LOG_ALL: u32 = 1;
const LOG_STATISTICS: u32 = 4;
const LICENSE: &CStr = c"Dual MIT/GPL";

/// Map types, by their number in `enum bpf_map_type`.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum MapType {
    /// Hash map.
    Hash = 1,
    /// Array.
    Array = 2,
    /// Programs for tail calls.
    ProgArray = 3,
}

/// What a program array compares before it takes a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// `enum bpf_attach_type`, or zero.
    pub attach_type: u32,
    /// Load flags: BPF_F_XDP_HAS_FRAGS or none.
    pub flags: u32,
}

impl Kind {
    /// All kinds that XDP programs come in.
    pub const ALL: [Self; 4] = [
        Self {
            attach_type: BPF_XDP,
            flags: 0,
        },
        Self {
            attach_type: 0,
            flags: 0,
        },
        Self {
            attach_type: BPF_XDP,
            flags: XDP_HAS_FRAGS,
        },
        Self {
            attach_type: 0,
            flags: XDP_HAS_FRAGS,
        },
    ];
}

const BPF_XDP: u32 = 37;
const XDP_HAS_FRAGS: u32 = 1 << 5;

/// The heads of `union bpf_attr`; the kernel takes what is missing as zero.
macro_rules! attributes {
    ($($name:ident { $($field:ident: $type:ty,)* })*) => { $(
        #[repr(C)]
        #[derive(IntoBytes, FromBytes, Immutable)]
        struct $name { $($field: $type,)* }
    )* };
}

attributes! {
    MapCreate { map_type: u32, key_size: u32, value_size: u32, max_entries: u32, }
    MapElement { map: u32, padding: u32, key: u64, value: u64, flags: u64, }
    ProgLoad {
        prog_type: u32, insn_count: u32, insns: u64, license: u64, log_level: u32, log_size: u32, log: u64,
        kernel_version: u32, flags: u32, name: [u8; 16], ifindex: u32, attach_type: u32,
    }
    TestRun {
        program: u32, verdict: u32, data_size_in: u32, data_size_out: u32, data_in: u64, data_out: u64, repeat: u32,
        duration: u32, context_size_in: u32, context_size_out: u32, context_in: u64, context_out: u64,
        flags: u32, cpu: u32, batch_size: u32, padding: u32,
    }
    LinkCreate { program: u32, interface: u32, attach_type: u32, flags: u32, }
    XdpContext {
        data: u32, data_end: u32, data_meta: u32, ingress_interface: u32, rx_queue: u32, egress_interface: u32,
    }
}

/// Makes a map.
pub fn map(
    map_type: MapType,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
) -> io::Result<OwnedFd> {
    let mut attr = MapCreate {
        map_type: map_type as u32,
        key_size,
        value_size,
        max_entries,
    };
    // SAFETY: the attributes hold no address.
    let fd = unsafe { bpf(MAP_CREATE, &mut attr) }?;
    // SAFETY: BPF_MAP_CREATE returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Stores a value. Key and value have the sizes that the map was made with.
pub fn update<K: IntoBytes + Immutable + ?Sized, V: IntoBytes + Immutable + ?Sized>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &V,
) -> io::Result<()> {
    let mut attr = MapElement {
        map: map.as_raw_fd() as u32,
        padding: 0,
        key: key.as_bytes().as_ptr() as u64,
        value: value.as_bytes().as_ptr() as u64,
        flags: 0,
    };
    // SAFETY: key and value live through the call and have the map's sizes.
    unsafe { bpf(MAP_UPDATE, &mut attr) }.map(drop)
}

/// The bytes of a value, of an array or of one CPU. `size` is the size that the map was made with, a multiple of eight.
pub fn lookup(map: BorrowedFd<'_>, index: u32, size: usize) -> io::Result<Vec<u8>> {
    let mut value = vec![0_u8; size];
    let mut attr = MapElement {
        map: map.as_raw_fd() as u32,
        padding: 0,
        key: (&raw const index) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: key and value live through the call and have the map's sizes.
    unsafe { bpf(MAP_LOOKUP, &mut attr) }?;
    Ok(value)
}

/// Puts a program into slot 0 of a program array.
pub fn set_program(array: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    update(array, &0_u32, &program.as_raw_fd())
}

/// Loads an XDP program. On refusal the error holds the end of the verifier's log.
pub fn load(insns: &[Insn], kind: Kind) -> io::Result<OwnedFd> {
    let loaded = prog_load(PROG_TYPE_XDP, insns, kind, LOG_NONE, &mut []);
    loaded.or_else(|error| {
        let mut log = vec![0_u8; 1 << 16];
        let again = prog_load(PROG_TYPE_XDP, insns, kind, LOG_ALL, &mut log);
        again.map_err(|_| refusal(&error, &log))
    })
}

/// Loads a program of a type of `enum bpf_prog_type` for nothing but what the verifier says about it: its statistics.
pub fn statistics(prog_type: u32, insns: &[Insn]) -> io::Result<String> {
    let mut log = vec![0_u8; 1 << 16];
    prog_load(prog_type, insns, Kind::ALL[1], LOG_STATISTICS, &mut log)?;
    let log = String::from_utf8_lossy(&log);
    Ok(log.trim_end_matches('\0').to_owned())
}

fn prog_load(
    prog_type: u32,
    insns: &[Insn],
    kind: Kind,
    log_level: u32,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    let mut attr = ProgLoad::new_zeroed();
    attr.prog_type = prog_type;
    attr.insn_count = insns.len() as u32;
    attr.insns = insns.as_ptr() as u64;
    attr.license = LICENSE.as_ptr() as u64;
    attr.flags = kind.flags;
    attr.attach_type = kind.attach_type;
    if log_level != LOG_NONE {
        (attr.log_level, attr.log_size, attr.log) =
            (log_level, log.len() as u32, log.as_mut_ptr() as u64);
    }
    // SAFETY: instructions, licence and log live through the call; the counts are theirs.
    let fd = unsafe { bpf(PROG_LOAD, &mut attr) }?;
    // SAFETY: BPF_PROG_LOAD returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn refusal(error: &io::Error, log: &[u8]) -> io::Error {
    let log = String::from_utf8_lossy(log);
    let lines: Vec<&str> = log
        .trim_end_matches('\0')
        .trim_end()
        .lines()
        .rev()
        .take(8)
        .collect();
    let end: Vec<&str> = lines.into_iter().rev().collect();
    io::Error::new(
        error.kind(),
        format!("{error}; verifier: {}", end.join("\n")),
    )
}

/// Runs a program on a packet, `repeat` times on its own output. Returns the last verdict and packet.
pub fn test_run(program: BorrowedFd<'_>, packet: &[u8], repeat: u32) -> io::Result<(u32, Vec<u8>)> {
    let mut out = vec![0_u8; packet.len() + 512];
    let mut attr = TestRun::new_zeroed();
    attr.program = program.as_raw_fd() as u32;
    attr.data_in = packet.as_ptr() as u64;
    attr.data_size_in = packet.len() as u32;
    attr.data_out = out.as_mut_ptr() as u64;
    attr.data_size_out = out.len() as u32;
    attr.repeat = repeat;
    // SAFETY: both buffers live through the call and have the sizes given.
    unsafe { bpf(PROG_TEST_RUN, &mut attr) }?;
    out.truncate(attr.data_size_out as usize);
    Ok((attr.verdict, out))
}

/// Runs a program once on `input`, of which the first `metadata` bytes lie before an XDP program's packet. Returns the verdict and the
/// length of what it left in `output`, metadata first.
pub fn test_run_once(
    program: BorrowedFd<'_>,
    input: &[u8],
    metadata: usize,
    output: &mut [u8],
) -> io::Result<(u32, usize)> {
    let mut attr = TestRun::new_zeroed();
    attr.program = program.as_raw_fd() as u32;
    attr.data_in = input.as_ptr() as u64;
    attr.data_size_in = input.len() as u32;
    attr.data_out = output.as_mut_ptr() as u64;
    attr.data_size_out = output.len() as u32;
    let mut context = XdpContext::new_zeroed();
    if metadata > 0 {
        context.data = metadata as u32;
        context.data_end = input.len() as u32;
        attr.context_in = (&raw const context) as u64;
        attr.context_size_in = size_of::<XdpContext>() as u32;
    }
    // SAFETY: both buffers and the context live through the call and have the sizes given.
    unsafe { bpf(PROG_TEST_RUN, &mut attr) }?;
    Ok((attr.verdict, attr.data_size_out as usize))
}

/// Runs a program on `repeat` copies of a packet that came in by `interface`, and does with each what the program says. What is left
/// in a page is what the next one that gets it begins with.
pub fn test_run_live(
    program: BorrowedFd<'_>,
    packet: &[u8],
    interface: u32,
    repeat: u32,
) -> io::Result<()> {
    let mut context = XdpContext::new_zeroed();
    context.data_end = packet.len() as u32;
    context.ingress_interface = interface;
    let mut attr = TestRun::new_zeroed();
    attr.program = program.as_raw_fd() as u32;
    attr.data_in = packet.as_ptr() as u64;
    attr.data_size_in = packet.len() as u32;
    attr.context_in = (&raw const context) as u64;
    attr.context_size_in = size_of::<XdpContext>() as u32;
    attr.repeat = repeat;
    attr.flags = LIVE_FRAMES;
    // SAFETY: packet and context live through the call and have the sizes given.
    unsafe { bpf(PROG_TEST_RUN, &mut attr) }.map(drop)
}

/// Attaches an XDP program to an interface for as long as the value lives.
pub fn attach(program: BorrowedFd<'_>, interface: u32) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        program: program.as_raw_fd() as u32,
        interface,
        attach_type: BPF_XDP,
        flags: 0,
    };
    // SAFETY: the attributes hold no address.
    let fd = unsafe { bpf(LINK_CREATE, &mut attr) }?;
    // SAFETY: BPF_LINK_CREATE returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The system call.
///
/// # Safety
/// Every address inside `attr` must be valid for what the command reads or writes through it.
unsafe fn bpf<A: IntoBytes + FromBytes + Immutable>(
    command: libc::c_int,
    attr: &mut A,
) -> io::Result<libc::c_int> {
    // SAFETY: `attr` is valid for `size_of::<A>()` bytes both ways; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<A>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as libc::c_int)
    }
}
