//! A TC program's place on an interface: a pinned TCX link where the kernel has them (Linux 6.6), else a filter of `clsact`.
//!
//! Both outlive the agent and are replaced in place by the next one.

use std::io;
use std::path::Path;

use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
    qdisc_detach_program,
};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};

use super::{MSS, TC};
use crate::dataplane::DataplaneError;
use crate::dataplane::link::{Hook, Link};
use crate::dataplane::pins::remove_pin;

/// By these the next agent finds the filter of the one before.
const PRIORITY: u16 = 6080;
const HANDLE: TcHandle = TcHandle::new(0, 1);

/// Where packets meet the program. Each side has one.
#[derive(Clone, Copy)]
pub(super) enum Side {
    /// As they come in.
    Ingress,
    /// As they leave.
    Egress,
}

impl Side {
    /// Name of the program.
    fn program(self) -> &'static str {
        match self {
            Side::Ingress => TC,
            Side::Egress => MSS,
        }
    }

    fn hook(self) -> Hook {
        match self {
            Side::Ingress => Hook::TcxIngress,
            Side::Egress => Hook::TcxEgress,
        }
    }

    fn of_clsact(self) -> TcAttachType {
        match self {
            Side::Ingress => TcAttachType::Ingress,
            Side::Egress => TcAttachType::Egress,
        }
    }
}

/// What holds the program.
pub(super) enum Classifier {
    /// A link.
    Tcx(Link),
    /// A filter, by its fixed priority and handle.
    Filter,
}

impl Classifier {
    /// Puts `program` on the interface, in place of the one that is there. True where there was one.
    pub(super) fn attach(
        side: Side,
        program: &mut SchedClassifier,
        pin: &Path,
        interface: &str,
    ) -> Result<(Self, bool), DataplaneError> {
        let loaded = program.fd().map_err(DataplaneError::load)?;
        let loaded = std::os::fd::AsFd::as_fd(loaded);
        let hook = side.hook();
        if let Some(link) = Link::find(hook, pin, interface)? {
            link.update(interface, loaded)?;
            return Ok((Self::Tcx(link), true));
        }
        match Link::create(hook, pin, interface, loaded) {
            Ok(link) => Ok((Self::Tcx(link), false)),
            Err(DataplaneError::NoTcx { .. }) => Self::filter(side, program, interface),
            Err(error) => Err(error),
        }
    }

    /// The same as a filter, whatever the kernel has.
    pub(super) fn filter(
        side: Side,
        program: &mut SchedClassifier,
        interface: &str,
    ) -> Result<(Self, bool), DataplaneError> {
        put(side, program, interface)
            .map(|replaced| (Self::Filter, replaced))
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

/// Takes the program off, however it was put there. True where there was a link.
pub(super) fn remove(side: Side, pin: &Path, interface: &str) -> Result<bool, DataplaneError> {
    let was_pinned = pin.exists();
    remove_pin(pin)?;
    match qdisc_detach_program(interface, side.of_clsact(), side.program()) {
        Ok(()) => Ok(true),
        Err(TcError::IoError(error)) if error.kind() == io::ErrorKind::NotFound => Ok(was_pinned),
        // Without `clsact` there is no filter, which the kernel tells in several ways.
        Err(error) => {
            tracing::debug!(%error, interface, "no TC filter to remove");
            Ok(was_pinned)
        }
    }
}

/// True where a filter was replaced.
fn put(side: Side, program: &mut SchedClassifier, interface: &str) -> Result<bool, ProgramError> {
    let there = SchedClassifierLink::attached(interface, side.of_clsact(), PRIORITY, HANDLE, None)
        .map_err(TcError::IoError)?;
    let replaced = program.attach_to_link(there);
    let was_there = replaced.is_ok();
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
                side.of_clsact(),
                TcAttachOptions::Netlink(options),
            )?
        }
    };
    // Dropped, it would take the filter off; that is for `remove` to do.
    std::mem::forget(program.take_link(id)?);
    Ok(was_there)
}
