//! The XDP program on an interface, by its driver or, where that has no XDP, by the kernel's stack.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use super::DataplaneError;
use super::link::{Hook, Link};
use super::offloads;
use super::pins::remove_pin;
use crate::model::XdpMode;

/// Where the link to an interface is pinned: the name says how it hangs there, which the kernel does not tell.
pub(crate) fn pin(directory: &Path, interface: &str, hook: Hook) -> PathBuf {
    match hook {
        // No interface's name has a colon.
        Hook::Generic => directory.join(format!("generic:{interface}")),
        Hook::Native | Hook::TcxIngress | Hook::TcxEgress => directory.join(interface),
    }
}

/// The link that a former agent has left.
pub(crate) fn find(directory: &Path, interface: &str) -> Result<Option<Link>, DataplaneError> {
    for hook in [Hook::Native, Hook::Generic] {
        if let Some(link) = Link::find(hook, &pin(directory, interface, hook), interface)? {
            return Ok(Some(link));
        }
    }
    Ok(None)
}

/// Puts the program on the interface: in the place of the one that is there without a gap, where that hangs as `mode` has it. A
/// link that cannot be changed stays as it is.
pub(crate) fn attach(
    mode: XdpMode,
    link: &mut Option<Link>,
    directory: &Path,
    interface: &str,
    program: BorrowedFd<'_>,
) -> Result<(), DataplaneError> {
    if let Some(there) = link.as_ref().filter(|there| there.is_attached()) {
        if allows(mode, there.hook()) {
            return there.update(interface, program);
        }
        // Native and generic programs exclude each other.
        there.detach(interface)?;
        remove_pin(&pin(directory, interface, there.hook()))?;
    }
    *link = None;
    *link = Some(create(mode, directory, interface, program)?);
    Ok(())
}

fn create(
    mode: XdpMode,
    directory: &Path,
    interface: &str,
    program: BorrowedFd<'_>,
) -> Result<Link, DataplaneError> {
    let create = |hook| Link::create(hook, &pin(directory, interface, hook), interface, program);
    if mode != XdpMode::Generic {
        match create(Hook::Native) {
            Err(DataplaneError::NoNativeXdp { .. }) if mode == XdpMode::Auto => {}
            link => return link,
        }
    }
    offloads::check(interface)?;
    create(Hook::Generic)
}

fn allows(mode: XdpMode, hook: Hook) -> bool {
    match mode {
        XdpMode::Auto => true,
        XdpMode::Native => hook == Hook::Native,
        XdpMode::Generic => hook == Hook::Generic,
    }
}
