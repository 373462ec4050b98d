//! Every way the datapath can fail, in one line that says what, where and what to do next.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

/// Why the datapath is not there.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// The pin directory is on another kind of file system.
    #[error(
        "{pin_dir}: not on a BPF file system; run `mount -t bpf bpf {mount_point}`, or set node.pin_dir to a directory on one"
    )]
    NoBpfFs {
        /// `node.pin_dir`.
        pin_dir: PathBuf,
        /// Its parent.
        mount_point: PathBuf,
    },
    /// Not root, or capabilities are missing.
    #[error("not permitted to {what}; run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")]
    NoPrivileges {
        /// What was tried.
        what: &'static str,
    },
    /// The interface is not there.
    #[error("interface {0} does not exist; correct node.interfaces")]
    NoInterface(String),
    /// The driver has no XDP of its own.
    #[error(
        "{interface}: the driver has no native XDP; set node.xdp_mode = \"generic\", which costs speed, or use another interface"
    )]
    NoNativeXdp {
        /// The interface.
        interface: String,
    },
    /// Generic XDP would see packets that the kernel has joined.
    #[error(
        "{interface}: generic XDP cannot tunnel packets that the kernel has joined; run `ethtool -K {interface} {what}`"
    )]
    Joins {
        /// The interface.
        interface: String,
        /// For ethtool.
        what: &'static str,
    },
    /// The kernel is older than Linux 6.6.
    #[error("{interface}: this kernel has no TCX")]
    NoTcx {
        /// The interface.
        interface: String,
    },
    /// Somebody else's program is there.
    #[error(
        "{interface}: another XDP program is attached; end what holds it or run `ip link set dev {interface} {mode} off`, or use \
         another interface"
    )]
    OtherProgram {
        /// The interface.
        interface: String,
        /// Its mode in the words of `ip link`.
        mode: &'static str,
    },
    /// The same on an LB node, which can live beside it.
    #[error(
        "{interface}: another XDP program is attached; to run it behind ours, load it with `bpftool prog load FILE PIN type xdp`, set \
         node.xdp_chain to PIN, and take it off with `ip link set dev {interface} {mode} off`, or where libxdp put it there with \
         `xdp-loader unload {interface} --all`"
    )]
    Occupied {
        /// The interface.
        interface: String,
        /// Its mode in the words of `ip link`.
        mode: &'static str,
    },
    /// What `node.xdp_chain` names is not there.
    #[error(
        "{pin}: node.xdp_chain names no pinned program: {source}; pin it with `bpftool prog pin id NUMBER {pin}`, or take the line out"
    )]
    NoChain {
        /// `node.xdp_chain`.
        pin: PathBuf,
        /// What the kernel said.
        source: Box<ProgramError>,
    },
    /// It is no XDP program.
    #[error("{0}: node.xdp_chain names a program of another kind; pin an XDP program there")]
    ChainKind(PathBuf),
    /// The kernel lets ours not call it.
    #[error(
        "{pin}: the kernel lets our program not call the one that node.xdp_chain names ({source}); it must be loaded as bpftool and \
         libbpf load XDP programs, like ours without frames in fragments, and be no dispatcher of libxdp"
    )]
    Chain {
        /// `node.xdp_chain`.
        pin: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Attaching or replacing failed for another reason.
    #[error(
        "{interface}: attaching the BPF program failed: {source}; `anylb doctor {interface}` looks for the reason"
    )]
    Attach {
        /// The interface.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another agent is alive.
    #[error("another agent is running with the pins in {0}; stop it, or set node.pin_dir")]
    Taken(PathBuf),
    /// Pins of another version.
    #[error(
        "{pin_dir}: the pinned maps have ABI version {found}, this agent needs {expected}; start the matching version, or end the \
         running datapath with `rm -r {pin_dir}`"
    )]
    Abi {
        /// In the root.
        found: u32,
        /// Ours.
        expected: u32,
        /// `node.pin_dir`.
        pin_dir: PathBuf,
    },
    /// A pinned map of another shape.
    #[error(
        "{path}: this pinned map is not of this version ({difference}); start the matching version, or end the running datapath with \
         `rm -r {pin_dir}`"
    )]
    Shape {
        /// The pin.
        path: PathBuf,
        /// What differs.
        difference: String,
        /// `node.pin_dir`.
        pin_dir: PathBuf,
    },
    /// A pin cannot be made, read or removed.
    #[error("{path}: {source}")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The object is not what this agent was built with.
    #[error("the embedded BPF object is broken: {0}; build anylb again")]
    Object(&'static str),
    /// The object does not load.
    #[error("loading the BPF maps failed: {0}")]
    LoadObject(#[source] Box<EbpfError>),
    /// The verifier refused the program.
    #[error("the kernel refused the BPF program: {0}")]
    LoadProgram(#[source] Box<ProgramError>),
    /// A map operation failed.
    #[error("map {map}: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What the kernel said.
        source: Box<MapError>,
    },
    /// Mapping an array into memory failed.
    #[error("map {map} cannot be mapped into memory: {source}")]
    Memory {
        /// Its name.
        map: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The plan names a table that was never made.
    #[error("table {0} is planned but does not exist; restart the agent")]
    NoTable(u32),
    /// No timer.
    #[error("no timer for the end of a trial: {0}")]
    Alarm(#[source] io::Error),
    /// A test run failed.
    #[error("running the loaded program on a packet failed: {0}")]
    TestRun(#[source] Box<ProgramError>),
}

impl DataplaneError {
    /// For an LB node, whose program hands packets on.
    pub(super) fn beside(self) -> Self {
        match self {
            Self::OtherProgram { interface, mode } => Self::Occupied { interface, mode },
            other => other,
        }
    }

    pub(crate) fn map(map: &'static str) -> impl Fn(MapError) -> Self {
        move |source| Self::Map {
            map,
            source: Box::new(source),
        }
    }

    pub(crate) fn load(error: ProgramError) -> Self {
        match &error {
            ProgramError::LoadError { io_error, .. } if is_permission(io_error) => {
                Self::NoPrivileges {
                    what: "load a BPF program",
                }
            }
            _ => Self::LoadProgram(Box::new(error)),
        }
    }

    pub(crate) fn object(error: EbpfError) -> Self {
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(current) = source {
            if current
                .downcast_ref::<io::Error>()
                .is_some_and(is_permission)
            {
                return Self::NoPrivileges {
                    what: "create BPF maps",
                };
            }
            source = current.source();
        }
        Self::LoadObject(Box::new(error))
    }

    pub(crate) fn pin(path: PathBuf) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            if is_permission(&source) {
                return Self::NoPrivileges {
                    what: "use the BPF file system",
                };
            }
            Self::Pin { path, source }
        }
    }
}

/// The verifier refuses a program with EACCES: that is no matter of privileges.
fn is_permission(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPERM)
}
