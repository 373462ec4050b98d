//! The TC program's place on egress: a pinned TCX link where the kernel has them (Linux 6.6), else a filter of `clsact`.
//!
//! Both outlive the agent and are replaced in place by the next one.

use std::io;
use std::path::Path;

use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
    qdisc_detach_program,
};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};

use super::TC;
use crate::dataplane::DataplaneError;
use crate::dataplane::link::{Hook, Link};
use crate::dataplane::pins::remove_pin;

/// By these the next agent finds the filter of the one before.
const PRIORITY: u16 = 6080;
const HANDLE: TcHandle = TcHandle::new(0, 1);

/// What holds the program.
pub(super) enum Egress {
    /// A link.
    Tcx(Link),
    /// A filter, by its fixed priority and handle.
    Filter,
}

impl Egress {
    /// Puts `program` on the interface, in place of the one that is there.
    pub(super) fn attach(
        program: &mut SchedClassifier,
        pin: &Path,
        interface: &str,
    ) -> Result<Self, DataplaneError> {
        let loaded = program.fd().map_err(DataplaneError::load)?;
        let loaded = std::os::fd::AsFd::as_fd(loaded);
        match Link::adopt_or_create(Hook::TcxEgress, pin, interface, loaded) {
            Ok(link) => Ok(Self::Tcx(link)),
            Err(DataplaneError::NoTcx { .. }) => Self::filter(program, interface),
            Err(error) => Err(error),
        }
    }

    /// The same as a filter, whatever the kernel has.
    pub(super) fn filter(
        program: &mut SchedClassifier,
        interface: &str,
    ) -> Result<Self, DataplaneError> {
        put(program, interface)
            .map(|()| Self::Filter)
            .map_err(|error| DataplaneError::Attach {
                interface: interface.to_owned(),
                source: io::Error::other(error),
            })
    }

    /// Whether the program is still there. A filter goes only with its interface.
    pub(super) fn is_attached(&self) -> bool {
        match self {
            Self::Tcx(link) => link.is_attached(),
            Self::Filter => true,
        }
    }
}

/// Takes the program off, however it was put there.
pub(super) fn remove(pin: &Path, interface: &str) -> Result<(), DataplaneError> {
    remove_pin(pin)?;
    match qdisc_detach_program(interface, TcAttachType::Egress, TC) {
        Ok(()) => Ok(()),
        Err(TcError::IoError(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Without `clsact` there is no filter, which the kernel tells in several ways.
        Err(error) => {
            tracing::debug!(%error, interface, "no TC filter to remove");
            Ok(())
        }
    }
}

fn put(program: &mut SchedClassifier, interface: &str) -> Result<(), ProgramError> {
    let there =
        SchedClassifierLink::attached(interface, TcAttachType::Egress, PRIORITY, HANDLE, None)
            .map_err(TcError::IoError)?;
    let replaced = program.attach_to_link(there);
    let id = match replaced {
        Ok(id) => id,
        Err(_) => {
            // An error means that it is there already, or shows in the next call.
            let _ = qdisc_add_clsact(interface);
            let options = NlOptions {
                priority: PRIORITY,
                handle: HANDLE,
                classid: None,
            };
            program.attach_with_options(
                interface,
                TcAttachType::Egress,
                TcAttachOptions::Netlink(options),
            )?
        }
    };
    // Dropped, it would take the filter off; that is for `remove` to do.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}
