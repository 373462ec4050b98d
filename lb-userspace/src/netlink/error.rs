//! What can go wrong when the kernel is asked.

use nix::errno::Errno;
use std::io;
use std::net::IpAddr;

/// A question to the kernel that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No netlink socket.
    #[error("no netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The kernel refused.
    #[error("{what}: {source}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// The connection ended or the answer made no sense.
    #[error("{what}: no answer from the kernel")]
    NoAnswer {
        /// What was asked for.
        what: String,
    },
    /// There is no such interface.
    #[error("no interface {0}")]
    NoInterface(String),
    /// No route there, or none with a source address.
    #[error("no route to {0}")]
    NoRoute(IpAddr),
    /// A default route by a next hop object, of which the kernel names the number alone.
    #[error(
        "a default route does not say its interface; run `sysctl net.ipv4.nexthop_compat_mode=1`"
    )]
    HiddenDefault,
}

impl Error {
    /// The errno of a refusal.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Refused { source, .. } | Error::Socket(source) => source.raw_os_error(),
            Error::NoAnswer { .. }
            | Error::NoInterface(_)
            | Error::NoRoute(_)
            | Error::HiddenDefault => None,
        }
    }

    pub(super) fn from_rtnetlink(what: impl Into<String>, error: rtnetlink::Error) -> Self {
        let what = what.into();
        match error {
            rtnetlink::Error::NetlinkError(message) => Error::Refused {
                what,
                source: message.to_io(),
            },
            _ => Error::NoAnswer { what },
        }
    }

    /// What came of a change; `false` where the kernel refused it with `already`: it is as asked for.
    pub(super) fn changed(
        outcome: Result<(), rtnetlink::Error>,
        already: Errno,
        what: impl FnOnce() -> String,
    ) -> Result<bool, Self> {
        match outcome.map_err(|error| Self::from_rtnetlink(what(), error)) {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(already as i32) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
