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
        Hook::Native | Hook::TcxEgress => directory.join(interface),
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

/// Puts the program on the interface: in the place of the former one without a gap, where that hangs as `mode` has it.
pub(crate) fn attach(
    mode: XdpMode,
    former: Option<Link>,
    directory: &Path,
    interface: &str,
    program: BorrowedFd<'_>,
) -> Result<Link, DataplaneError> {
    if let Some(link) = former
        && link.is_attached()
    {
        if allows(mode, link.hook()) {
            return link.update(interface, program).map(|()| link);
        }
        remove_pin(&pin(directory, interface, link.hook()))?;
    }
    let create = |hook| Link::create(hook, &pin(directory, interface, hook), interface, program);
    let native = match mode {
        XdpMode::Generic => None,
        XdpMode::Auto | XdpMode::Native => Some(create(Hook::Native)),
    };
    match native {
        Some(Err(DataplaneError::NoNativeXdp { .. })) if mode == XdpMode::Auto => {}
        Some(link) => return link,
        None => {}
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
