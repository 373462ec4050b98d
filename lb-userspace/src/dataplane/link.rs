//! XDP and TCX links by their own system calls: the library would fall back to netlink, which replaces another's program in
//! silence and dies with nobody.

use std::fs;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info};

use super::DataplaneError;

/// Flags of the kernel's uapi: native, or an error.
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// In the kernel's stack, whatever the driver.
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;

/// Where on an interface a program hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// The driver's own XDP.
    Native,
    /// The kernel's, for drivers without.
    Generic,
    /// TC ingress, beside programs of others (Linux 6.6).
    TcxIngress,
    /// TC egress, likewise.
    TcxEgress,
}

impl Hook {
    /// In the words of `node.xdp_mode` and `backend.hook`.
    pub(crate) fn mode(self) -> &'static str {
        match self {
            Hook::Generic => "generic",
            Hook::Native => "native",
            Hook::TcxIngress | Hook::TcxEgress => "tc",
        }
    }
}

/// A link: pinned, it holds the program on the interface with or without us.
pub(crate) struct Link {
    fd: OwnedFd,
    ifindex: u32,
    hook: Hook,
}

impl Link {
    /// The pinned link, where it holds a program on this interface.
    pub(crate) fn find(
        hook: Hook,
        pin: &Path,
        interface: &str,
    ) -> Result<Option<Self>, DataplaneError> {
        let ifindex = index_of(interface)?;
        if !pin.exists() {
            return Ok(None);
        }
        let fd = object_get(pin).map_err(DataplaneError::pin(pin.into()))?;
        let link = Self { fd, ifindex, hook };
        // A link whose interface went away stays pinned, detached from everything.
        Ok(link.is_attached().then_some(link))
    }

    /// Makes a link that ends with its value, and so with the process.
    pub(super) fn unpinned(
        hook: Hook,
        interface: &str,
        program: BorrowedFd<'_>,
    ) -> Result<Self, DataplaneError> {
        let ifindex = index_of(interface)?;
        let fd = link_create(hook, ifindex, program)
            .map_err(|source| attach_error(hook, interface, source))?;
        Ok(Self { fd, ifindex, hook })
    }

    /// Makes a link and pins it, in place of one that holds nothing any more.
    pub(crate) fn create(
        hook: Hook,
        pin: &Path,
        interface: &str,
        program: BorrowedFd<'_>,
    ) -> Result<Self, DataplaneError> {
        let link = Self::unpinned(hook, interface, program)?;
        if pin.exists() {
            fs::remove_file(pin).map_err(DataplaneError::pin(pin.into()))?;
        }
        object_pin(&link.fd, pin).map_err(DataplaneError::pin(PathBuf::from(pin)))?;
        Ok(link)
    }

    /// Puts `program` in the place of the link's without a gap.
    pub(crate) fn update(
        &self,
        interface: &str,
        program: BorrowedFd<'_>,
    ) -> Result<(), DataplaneError> {
        link_update(&self.fd, program).map_err(|source| attach_error(self.hook, interface, source))
    }

    /// Takes the program off at once. A link that merely loses its pin goes when the kernel gets to it.
    pub(crate) fn detach(&self, interface: &str) -> Result<(), DataplaneError> {
        link_detach(&self.fd).map_err(|source| attach_error(self.hook, interface, source))
    }

    /// Where it hangs.
    pub(crate) fn hook(&self) -> Hook {
        self.hook
    }

    /// Index of the interface.
    pub(crate) fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Number of the program that the link holds on its interface.
    pub(crate) fn program_id(&self) -> io::Result<u32> {
        link_info(&self.fd).map(|info| info.prog_id)
    }

    /// The program that the link holds.
    pub(super) fn program(&self) -> io::Result<OwnedFd> {
        // SAFETY: `bpf_attr` is plain data, for which zeroes are a value.
        let mut attr: bpf_attr = unsafe { zeroed() };
        attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = self.program_id()?;
        descriptor(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr)
    }

    /// Whether the link still holds the program on the interface it was made for.
    pub(crate) fn is_attached(&self) -> bool {
        link_ifindex(&self.fd).is_ok_and(|found| found == self.ifindex)
    }
}

fn index_of(interface: &str) -> Result<u32, DataplaneError> {
    nix::net::if_::if_nametoindex(interface)
        .map_err(|_| DataplaneError::NoInterface(interface.into()))
}

fn attach_error(hook: Hook, interface: &str, source: io::Error) -> DataplaneError {
    let interface = interface.to_owned();
    match source.raw_os_error() {
        Some(libc::EINVAL) if matches!(hook, Hook::TcxIngress | Hook::TcxEgress) => {
            DataplaneError::NoTcx { interface }
        }
        Some(libc::EBUSY) => DataplaneError::OtherProgram {
            interface,
            mode: "xdp",
        },
        // Native and generic programs exclude each other.
        Some(libc::EEXIST) => DataplaneError::OtherProgram {
            interface,
            mode: if hook == Hook::Generic {
                "xdp"
            } else {
                "xdpgeneric"
            },
        },
        Some(libc::EOPNOTSUPP) => DataplaneError::NoNativeXdp { interface },
        Some(libc::EPERM | libc::EACCES) => DataplaneError::NoPrivileges {
            what: "attach a BPF program",
        },
        Some(libc::ENODEV) => DataplaneError::NoInterface(interface),
        _ => DataplaneError::Attach { interface, source },
    }
}

fn link_create(hook: Hook, ifindex: u32, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: `bpf_attr` is plain data, for which zeroes are a value.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    let (attach_type, flags) = match hook {
        Hook::Native => (bpf_attach_type::BPF_XDP, XDP_FLAGS_DRV_MODE),
        Hook::Generic => (bpf_attach_type::BPF_XDP, XDP_FLAGS_SKB_MODE),
        Hook::TcxIngress => (bpf_attach_type::BPF_TCX_INGRESS, 0),
        Hook::TcxEgress => (bpf_attach_type::BPF_TCX_EGRESS, 0),
    };
    attr.link_create.attach_type = attach_type as u32;
    attr.link_create.flags = flags;
    descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

fn link_detach(link: &OwnedFd) -> io::Result<()> {
    // SAFETY: as above.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.link_detach.link_fd = link.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

fn link_update(link: &OwnedFd, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: as above.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.link_update.link_fd = link.as_raw_fd().cast_unsigned();
    attr.link_update.__bindgen_anon_1.new_prog_fd = program.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}

fn link_ifindex(link: &OwnedFd) -> io::Result<u32> {
    let info = link_info(link)?;
    // SAFETY: the kernel filled in the part for XDP or TCX links, which both begin with the interface; every part is plain data.
    Ok(unsafe { info.__bindgen_anon_1.xdp.ifindex })
}

fn link_info(link: &OwnedFd) -> io::Result<bpf_link_info> {
    // SAFETY: as above, for both.
    let (mut attr, mut info): (bpf_attr, bpf_link_info) = unsafe { (zeroed(), zeroed()) };
    attr.info.bpf_fd = link.as_raw_fd().cast_unsigned();
    attr.info.info_len = size_of::<bpf_link_info>() as u32;
    attr.info.info = &raw mut info as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// Room for the headers that a program puts on in a test run.
pub(super) const TEST_RUN_GROWTH: usize = 256;

/// Runs an XDP program once on `data` with `context` (BPF_PROG_TEST_RUN); its verdict.
pub(super) fn test_run(program: &OwnedFd, data: &[u8], context: &[u8]) -> io::Result<u32> {
    let mut output = vec![0_u8; data.len() + TEST_RUN_GROWTH];
    // SAFETY: as above.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.test.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.test.data_in = data.as_ptr() as u64;
    attr.test.data_size_in = data.len() as u32;
    attr.test.data_out = output.as_mut_ptr() as u64;
    attr.test.data_size_out = output.len() as u32;
    attr.test.ctx_in = context.as_ptr() as u64;
    attr.test.ctx_size_in = context.len() as u32;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel filled in the part of this command; it is plain data.
    Ok(unsafe { attr.test.retval })
}

fn object_pin(fd: &OwnedFd, path: &Path) -> io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: as above.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.__bindgen_anon_4.bpf_fd = fd.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

fn object_get(path: &Path) -> io::Result<OwnedFd> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: as above.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    descriptor(bpf_cmd::BPF_OBJ_GET, &mut attr)
}

fn descriptor(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    let size = size_of::<bpf_attr>();
    // SAFETY: `attr` lives through the call, and so does whatever its fields point to in the callers above.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as u32,
            std::ptr::from_mut(attr),
            size,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}
