//! The smallest XDP program, `return XDP_PASS`. A veth end delivers what its peer's XDP program transmits only while
//! it has a native XDP program itself.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use zerocopy::{Immutable, IntoBytes};

use super::netns::Netns;

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_PROG_TYPE_XDP: u32 = 6;
/// What loaders say that a program is for; the kernel lets no program call one that was loaded for something else.
const BPF_XDP: u32 = 37;
const XDP_PASS: u8 = 2;
/// It takes packets in several buffers.
const HAS_FRAGS: u32 = 1 << 5;

/// `mov64 r0, XDP_PASS; exit`.
const PROGRAM: [[u8; 8]; 2] = [
    [0xb7, 0, 0, 0, XDP_PASS, 0, 0, 0],
    [0x95, 0, 0, 0, 0, 0, 0, 0],
];

/// The head of `union bpf_attr` for BPF_PROG_LOAD; the kernel takes what is missing as zero.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The head of `union bpf_attr` for BPF_OBJ_PIN.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct PinAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The program, pinned.
#[derive(Debug)]
pub struct XdpPass {
    pin: PathBuf,
}

impl XdpPass {
    /// Loads it and pins it as `dir/xdp_pass`, on a BPF file system.
    pub fn load(dir: &Path) -> Result<Self> {
        let pin = dir.join("xdp_pass");
        // Kernels before 5.18 know no such flag.
        let program = load(&PROGRAM, HAS_FRAGS).or_else(|_| load(&PROGRAM, 0));
        let program = program.context("load the XDP_PASS program")?;
        pin_program(&program, &pin)?;
        Ok(Self { pin })
    }

    /// Attaches it natively to a device; it stays until the device goes.
    pub fn attach(&self, netns: &Netns, device: &str) -> Result<()> {
        netns.ip(&format!(
            "link set dev {device} xdpdrv pinned {}",
            self.pin.display()
        ))?;
        Ok(())
    }
}

/// Loads an XDP program.
pub(super) fn load(instructions: &[[u8; 8]], flags: u32) -> io::Result<OwnedFd> {
    let license = c"Dual MIT/GPL";
    let attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: flags,
        prog_name: [0; 16],
        prog_ifindex: 0,
        expected_attach_type: BPF_XDP,
    };
    // SAFETY: `instructions` and `license` live through the call, and `insn_cnt` is the length of the first.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &attr) }?;
    // SAFETY: BPF_PROG_LOAD returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins it.
pub(super) fn pin_program(program: &OwnedFd, pin: &Path) -> Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let attr = PinAttr {
        pathname: path.as_ptr() as u64,
        bpf_fd: program.as_raw_fd() as u32,
        file_flags: 0,
    };
    // SAFETY: `path` is NUL-terminated and lives through the call.
    unsafe { bpf(BPF_OBJ_PIN, &attr) }.with_context(|| format!("pin {}", pin.display()))?;
    Ok(())
}

/// The bpf(2) call.
///
/// # Safety
/// Every address inside `attr` must be valid for what the command reads through it.
unsafe fn bpf<A: IntoBytes + Immutable>(command: libc::c_int, attr: &A) -> io::Result<libc::c_int> {
    let bytes = attr.as_bytes();
    // SAFETY: the kernel reads `bytes.len()` bytes of `bytes`; what they point to is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, bytes.as_ptr(), bytes.len()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as libc::c_int)
    }
}
