//! Who gets what the LB node's program passes, and which of the object's programs that makes it.

use std::path::{Path, PathBuf};

use aya::maps::MapError;
use aya::programs::Xdp;
use aya_obj::generated::bpf_prog_type;
use aya_obj::programs::XdpAttachType;

use super::DataplaneError;
use super::log::BpfLog;
use super::slot::{NEXT, Slot};

/// Who gets packets that are not for a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The kernel.
    Kernel,
    /// This box's backend.
    Backend,
    /// The program that is pinned there.
    Program(PathBuf),
}

impl Next {
    pub(super) fn role(&self) -> Role {
        match self {
            Next::Kernel => Role::Lb,
            Next::Backend => Role::LbAndBackend,
            Next::Program(_) => Role::LbAndNext,
        }
    }

    /// What is to be behind ours; none: the backend's agent looks after its own.
    pub(super) fn behind(&self, pin_dir: &Path) -> Result<Option<Behind>, DataplaneError> {
        let program = match self {
            Next::Backend => return Ok(None),
            Next::Kernel => None,
            Next::Program(pin) => Some(Pinned::open(pin)?),
        };
        let slot = Slot::open(pin_dir, NEXT)?;
        Ok(Some(Behind { slot, program }))
    }
}

/// The place behind the LB node's program, and somebody else's that is to be there; none: nobody's.
pub(super) struct Behind {
    slot: Slot,
    program: Option<Pinned>,
}

impl Behind {
    /// Puts it there, in place of what a former agent had there.
    pub(super) fn fill(&mut self) -> Result<(), DataplaneError> {
        let Some(Pinned { pin, program }) = &self.program else {
            return self.slot.clear();
        };
        let program = program.fd().map_err(DataplaneError::load)?;
        self.slot.put(program).map_err(|error| match error {
            DataplaneError::Map { source, .. } => DataplaneError::Chain {
                pin: pin.clone(),
                source: match *source {
                    MapError::SyscallError(call) => call.io_error,
                    other => std::io::Error::other(other),
                },
            },
            other => other,
        })
    }
}

struct Pinned {
    pin: PathBuf,
    program: Xdp,
}

impl Pinned {
    fn open(pin: &Path) -> Result<Self, DataplaneError> {
        let failed = |source| DataplaneError::NoChain {
            pin: pin.into(),
            source: Box::new(source),
        };
        let program = Xdp::from_pin(pin, XdpAttachType::Interface).map_err(failed)?;
        let info = program.info().map_err(failed)?;
        if info.program_type() != bpf_prog_type::BPF_PROG_TYPE_XDP {
            return Err(DataplaneError::ChainKind(pin.into()));
        }
        Ok(Self {
            pin: pin.into(),
            program,
        })
    }
}

/// One of the programs, with the one that takes its place while somebody watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Lb,
    LbAndBackend,
    LbAndNext,
}

impl Role {
    /// The one that is loaded where nobody watches.
    pub(super) fn program(self, log: BpfLog) -> &'static str {
        match self {
            _ if log != BpfLog::Off => self.watched(),
            Role::Lb => "lb",
            Role::LbAndBackend => "lb_and_backend",
            Role::LbAndNext => "lb_and_next",
        }
    }

    pub(super) fn watched(self) -> &'static str {
        match self {
            Role::Lb => "watched_lb",
            Role::LbAndBackend => "watched_lb_and_backend",
            Role::LbAndNext => "watched_lb_and_next",
        }
    }
}
