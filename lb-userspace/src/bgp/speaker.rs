//! The speaker: listeners and one task per peer.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::config::{PeerConfig, SpeakerConfig};
use super::error::SpeakerError;
use super::listener::{self, Doors};
use super::notification::Notification;
use super::path::Path;
use super::peer_name::PeerName;
use super::route::RouteSet;
use super::session::{Channels, Command, Session};
use super::status::{PeerStatus, Shared, Strangers};
use super::transport;

#[cfg(test)]
#[path = "speaker_tests.rs"]
mod tests;

/// Connections of one peer that wait for its task.
const INCOMING_MAX: usize = 4;

/// A running speaker. Dropping it does what [`Speaker::abandon`] does.
#[derive(Debug)]
pub struct Speaker {
    peers: Vec<PeerHandle>,
    strangers: Arc<Mutex<Strangers>>,
    sockets: Vec<Arc<TcpListener>>,
    listeners: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct PeerHandle {
    config: PeerConfig,
    commands: mpsc::Sender<Command>,
    path: watch::Sender<Option<Path>>,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
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
        config.check()?;
        let sockets = config
            .listen
            .iter()
            .map(|address| transport::listen(*address, &config).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let mut doors = Doors::new();
        let mut peers = Vec::new();
        for peer in &config.peers {
            let Some(remote) = peer.name.address() else {
                continue;
            };
            let (door, incoming) = mpsc::channel(INCOMING_MAX);
            doors.insert(remote.to_canonical(), door);
            let (commands, orders) = mpsc::channel(4);
            let (path, path_seen) = watch::channel(None);
            let shared = Arc::new(Mutex::new(Shared::new(&config, peer)));
            // A receiver that has not seen the value there is: the task must begin with it.
            let mut routes = routes.clone();
            routes.mark_changed();
            let channels = Channels {
                commands: orders,
                incoming,
                routes,
                path: path_seen,
            };
            let session = Session::new(
                &config,
                peer.clone(),
                remote,
                channels,
                shared.clone(),
                seed(),
            );
            peers.push(PeerHandle {
                config: peer.clone(),
                commands,
                path,
                shared,
                task: tokio::spawn(session.run()),
            });
        }
        let doors = Arc::new(doors);
        let strangers = Arc::<Mutex<Strangers>>::default();
        let listeners = sockets
            .iter()
            .cloned()
            .map(|socket| {
                let strangers = strangers.clone();
                let listening = listener::run(socket, doors.clone(), strangers, routes.clone());
                tokio::spawn(listening)
            })
            .collect();
        Ok(Speaker {
            peers,
            strangers,
            sockets,
            listeners,
        })
    }

    /// What is known of the path to a peer now; none: nothing any more, which ends no session.
    pub fn set_path(&self, peer: PeerName, path: Option<Path>) {
        let Some(handle) = self.peer(peer) else {
            return;
        };
        handle.path.send_if_modified(|known| {
            let differs = *known != path;
            *known = path;
            differs
        });
    }

    /// Every peer, in the order of the configuration.
    pub fn status(&self) -> Vec<PeerStatus> {
        self.peers
            .iter()
            .map(|p| {
                p.shared
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .status()
            })
            .collect()
    }

    /// Who connected and is no peer.
    pub fn strangers(&self) -> Strangers {
        *self
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// TCP MD5 secrets that are to be used from now on, by peer, without an end to any session. Only a peer
    /// that has one already gets another.
    ///
    /// Where peers keep both keys for a while, or change theirs within the hold time, the session survives.
    pub fn rekey(&mut self, passwords: &BTreeMap<PeerName, String>) {
        for handle in &mut self.peers {
            let peer = handle.config.name;
            let password = passwords.get(&peer).cloned();
            if password.is_none() || password == handle.config.password {
                continue;
            }
            handle.config.password = password.clone();
            let same = |socket: &&Arc<TcpListener>| {
                let address = socket.local_addr();
                address.is_ok_and(|address| address.is_ipv4() == peer.is_ipv4())
            };
            for socket in self.sockets.iter().filter(same) {
                if let Err(error) = transport::set_password(socket.as_fd(), peer, &handle.config) {
                    tracing::error!(%peer, %error, "the listener keeps the old password");
                }
            }
            // A full queue is that of a task that does not run: it would not use the password either.
            if let Some(password) = password
                && handle.commands.try_send(Command::Rekey(password)).is_err()
            {
                tracing::error!(%peer, "the session keeps its old password");
            }
        }
    }

    /// Waits until every Established peer has been sent the current route set, for at most `timeout`; false: some has
    /// not. To withdraw everything before [`Speaker::stop`], send an empty route set first.
    ///
    /// The future does not borrow the speaker, which may end before it.
    pub fn flushed(&self, timeout: Duration) -> impl Future<Output = bool> + Send + use<> {
        let peers: Vec<_> = self
            .peers
            .iter()
            .map(|peer| peer.commands.clone())
            .collect();
        let all = async move {
            let mut waiting = Vec::new();
            for commands in peers {
                let (done, answer) = oneshot::channel();
                if commands.send(Command::Flush(done)).await.is_ok() {
                    waiting.push(answer);
                }
            }
            for answer in waiting {
                // A task that has ended has no session.
                let _: Result<(), _> = answer.await;
            }
        };
        async move { tokio::time::timeout(timeout, all).await.is_ok() }
    }

    /// Ends the session of one peer with Cease/Administrative Shutdown and `message` (RFC 9003; cut at 255 bytes), and
    /// has none until [`Speaker::enable`]. Nothing happens where there is no such peer.
    ///
    /// This future, and those below, do not borrow the speaker; they are ready once the status says so.
    pub fn shut_down(
        &self,
        peer: PeerName,
        message: String,
    ) -> impl Future<Output = ()> + Send + use<> {
        let asked = self.ask(peer, move |done| Command::ShutDown(message, done));
        async move { asked.await.unwrap_or_default() }
    }

    /// Takes [`Speaker::shut_down`] back: the peer is dialled at once.
    pub fn enable(&self, peer: PeerName) -> impl Future<Output = ()> + Send + use<> {
        let asked = self.ask(peer, Command::Enable);
        async move { asked.await.unwrap_or_default() }
    }

    /// Sends one peer everything again in the same session, and says how many routes that are; none: no session.
    pub fn refresh(&self, peer: PeerName) -> impl Future<Output = Option<usize>> + Send + use<> {
        let asked = self.ask(peer, Command::Refresh);
        async move { asked.await.flatten() }
    }

    fn peer(&self, name: PeerName) -> Option<&PeerHandle> {
        let mut peers = self.peers.iter();
        peers.find(|handle| handle.config.name == name)
    }

    /// None: no such peer, or its task has ended.
    fn ask<T, F>(
        &self,
        peer: PeerName,
        command: F,
    ) -> impl Future<Output = Option<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(oneshot::Sender<T>) -> Command,
    {
        let commands = self.peer(peer).map(|handle| handle.commands.clone());
        let (done, answer) = oneshot::channel();
        let command = command(done);
        async move {
            commands?.send(command).await.ok()?;
            answer.await.ok()
        }
    }

    /// Ends every session with Cease/Administrative Shutdown and `message` as its shutdown communication (RFC 9003;
    /// cut at 255 bytes), and returns when the peers have closed or after two seconds.
    pub async fn stop(mut self, message: &str) {
        self.stop_listening();
        for peer in &self.peers {
            let stop = Command::Stop(Notification::shutdown(message));
            // A task that has ended needs no stopping.
            let _: Result<(), _> = peer.commands.send(stop).await;
        }
        for peer in self.peers.drain(..) {
            // It only fails if the task has panicked, which the runtime has reported.
            let _: Result<(), _> = peer.task.await;
        }
    }

    /// Lets every TCP connection just end, without a NOTIFICATION, so that peers with graceful restart keep the routes.
    pub fn abandon(self) {
        drop(self);
    }

    fn stop_listening(&mut self) {
        self.sockets.clear();
        for listener in self.listeners.drain(..) {
            listener.abort();
        }
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.stop_listening();
        for peer in &self.peers {
            peer.task.abort();
        }
    }
}

/// Jitter need not be unpredictable, only different from that of others.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}
