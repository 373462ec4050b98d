//! What somebody else knows of the path to a peer.

#![forbid(unsafe_code)]

/// The path as whoever watches it sees it: a BFD session, say (RFC 5882).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// A session may begin: the path is up, or one of the two sides does not want it watched.
    pub usable: bool,
    /// How often it has failed since the watching began; one more ends the session with Cease/10 (RFC 9384). A number, so that
    /// a failure which is over before anybody looks is not missed.
    pub failures: u64,
}

impl Path {
    /// Whether it has failed since `before`. A smaller number is of another watcher.
    pub(super) fn failed_since(&self, before: &Path) -> bool {
        self.failures > before.failures
    }
}
