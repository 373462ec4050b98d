//! The speaker: listeners and one task per peer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::channels::{Channels, Command};
use super::config::{PeerConfig, SpeakerConfig};
use super::discovery::{self, Finder};
use super::error::SpeakerError;
use super::listener::{self, Doors};
use super::notification::Notification;
use super::path::Path;
use super::peer_name::PeerName;
use super::range::Range;
use super::remote::{Absence, Remote};
use super::route::RouteSet;
use super::session::{Session, seed};
use super::status::{PeerStatus, RangeStatus, Shared, Strangers};
use super::transport;

#[cfg(test)]
#[path = "speaker_tests.rs"]
mod tests;

/// A running speaker. Dropping it does what [`Speaker::abandon`] does.
#[derive(Debug)]
pub struct Speaker {
    peers: Vec<PeerHandle>,
    ranges: Vec<Arc<Range>>,
    strangers: Arc<Mutex<Strangers>>,
    sockets: Vec<Arc<TcpListener>>,
    listeners: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct PeerHandle {
    config: PeerConfig,
    commands: mpsc::Sender<Command>,
    path: watch::Sender<Option<Path>>,
    remote: watch::Receiver<Result<Remote, Absence>>,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
    /// Of a peer that is known by its interface.
    _finder: Option<Finder>,
}

impl Speaker {
    /// Binds the listeners and starts a task per peer, and later one for each member of a range; needs a tokio runtime with I/O and time.
    ///
    /// `routes` holds `None` until the announce set has been computed: no OPEN is sent before. Every change of it
    /// reaches the Established peers at once.
    ///
    /// # Errors
    /// A value out of range, a listener that cannot be bound, a password the kernel refuses, router advertisements that may not be heard.
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
        let mut names = config.peers.iter().map(|peer| peer.name);
        if let Some(peer) = names.find(|name| matches!(name, PeerName::Interface(_))) {
            discovery::try_to_open().map_err(|source| SpeakerError::Discovery { peer, source })?;
        }
        let config = Arc::new(config);
        let mut doors = Doors::default();
        let tables = Arc::default();
        let mut peers = Vec::new();
        for peer in &config.peers {
            let remote = match peer.name {
                PeerName::Address(address) => Ok(address.into()),
                PeerName::LinkLocal(address, _) => Ok(IpAddr::V6(address).into()),
                PeerName::Interface(_) => Err(Absence::Silent),
                PeerName::Range(net) => {
                    doors.add_range(net, peer, &config, &routes, &tables);
                    continue;
                }
            };
            let (path, path_seen) = watch::channel(None);
            let (found, remote) = watch::channel(remote);
            let (channels, door, commands) = Channels::new(&routes, path_seen, remote.clone());
            let shared = Arc::new(Mutex::new(Shared::new(&config, peer)));
            let session = Session::new(
                &config,
                peer.clone(),
                channels,
                shared.clone(),
                Arc::clone(&tables),
                seed(),
            );
            let (session, finder) = match peer.name {
                PeerName::Interface(interface) => {
                    doors.found.insert(interface, (door, remote.clone()));
                    let finder = Finder::start(interface, found, shared.clone());
                    (session.found(&sockets), Some(finder))
                }
                PeerName::Address(_) | PeerName::LinkLocal(..) | PeerName::Range(_) => {
                    doors.named.insert(peer.name, door);
                    (session, None)
                }
            };
            peers.push(PeerHandle {
                config: peer.clone(),
                commands,
                path,
                remote,
                shared,
                task: tokio::spawn(session.run()),
                _finder: finder,
            });
        }
        let ranges = doors.ranges.clone();
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
            ranges,
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

    /// Where a peer is, and where it will be, if it is known by its interface.
    pub fn found(&self, peer: PeerName) -> Option<watch::Receiver<Result<Remote, Absence>>> {
        let by_interface = matches!(peer, PeerName::Interface(_));
        let handle = self.peer(peer).filter(|_| by_interface)?;
        Some(handle.remote.clone())
    }

    /// Every peer that has an address, in the order of the configuration; then the members of ranges.
    pub fn status(&self) -> Vec<PeerStatus> {
        let peers = self.peers.iter();
        let named = peers.map(|peer| Shared::lock(&peer.shared).status());
        let members = self.ranges.iter().flat_map(|range| range.members());
        named.chain(members).collect()
    }

    /// Every range, the longest prefix first.
    pub fn ranges(&self) -> Vec<RangeStatus> {
        self.ranges.iter().map(|range| range.status()).collect()
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
        for at in 0..self.peers.len() {
            let Some((config, password)) = changed(&self.peers[at].config, passwords) else {
                continue;
            };
            self.sign(&config);
            self.peers[at].config = config;
            tell(&self.peers[at].commands, password);
        }
        for range in &self.ranges {
            let Some((config, password)) = changed(&range.config(), passwords) else {
                continue;
            };
            self.sign(&config);
            range.set_password(config.password);
            for member in range.commands(None) {
                tell(&member, password.clone());
            }
        }
    }

    /// Has the listeners take connections that are signed so.
    fn sign(&self, config: &PeerConfig) {
        let peer = config.name;
        // One without an address is its session's.
        if peer.first_address().is_none() {
            return;
        }
        let same = |socket: &&Arc<TcpListener>| {
            let address = socket.local_addr();
            address.is_ok_and(|address| address.is_ipv4() == peer.is_ipv4())
        };
        for socket in self.sockets.iter().filter(same) {
            if let Err(error) = transport::set_password(socket.as_fd(), peer, config) {
                tracing::error!(%peer, %error, "the listener keeps the old password");
            }
        }
    }

    /// Waits until every Established peer has been sent the current route set, for at most `timeout`; false: some has
    /// not. To withdraw everything before [`Speaker::stop`], send an empty route set first.
    ///
    /// The future does not borrow the speaker, which may end before it.
    pub fn flushed(&self, timeout: Duration) -> impl Future<Output = bool> + Send + use<> {
        let named = self.peers.iter().map(|peer| peer.commands.clone());
        let members = self.ranges.iter().flat_map(|range| range.commands(None));
        let peers: Vec<_> = named.chain(members).collect();
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

    /// Ends the session of one peer, or those of all members of a range, with Cease/Administrative Shutdown and `message` (RFC 9003;
    /// cut at 255 bytes), and has none until [`Speaker::enable`]. Nothing happens where there is no such peer.
    ///
    /// This future, and those below, do not borrow the speaker; they are ready once the status says so.
    pub fn shut_down(
        &self,
        peer: PeerName,
        message: String,
    ) -> impl Future<Output = ()> + Send + use<> {
        if let Some(range) = self.range(peer) {
            range.set_shutdown(Some(message.clone()));
        }
        let asked = self.ask(peer, move |done| Command::ShutDown(message.clone(), done));
        async move { drop(asked.await) }
    }

    /// Takes [`Speaker::shut_down`] back: the peer is dialled at once; members of a range may connect again.
    pub fn enable(&self, peer: PeerName) -> impl Future<Output = ()> + Send + use<> {
        if let Some(range) = self.range(peer) {
            range.set_shutdown(None);
        }
        let asked = self.ask(peer, Command::Enable);
        async move { drop(asked.await) }
    }

    /// Sends one peer, a member of a range or all of them everything again in the same session, and says how many routes that
    /// are; none: no session.
    pub fn refresh(&self, peer: PeerName) -> impl Future<Output = Option<usize>> + Send + use<> {
        let asked = self.ask(peer, Command::Refresh);
        async move { asked.await.into_iter().flatten().reduce(|a, b| a + b) }
    }

    fn range(&self, name: PeerName) -> Option<&Arc<Range>> {
        let mut ranges = self.ranges.iter();
        ranges.find(|range| name.range() == Some(range.net))
    }

    fn peer(&self, name: PeerName) -> Option<&PeerHandle> {
        let mut peers = self.peers.iter();
        peers.find(|handle| handle.config.name == name)
    }

    /// Ways to the tasks of the peer, of the member of a range with this address, or of all members of the range.
    fn tasks(&self, peer: PeerName) -> Vec<mpsc::Sender<Command>> {
        if let Some(handle) = self.peer(peer) {
            return vec![handle.commands.clone()];
        }
        match (peer.address(), self.range(peer)) {
            (_, Some(range)) => range.commands(None),
            (address @ Some(_), None) => {
                let mut ranges = self.ranges.iter();
                ranges
                    .find_map(|range| range.commands(address).pop())
                    .into_iter()
                    .collect()
            }
            (None, None) => Vec::new(),
        }
    }

    /// What each of its tasks answers; one that has ended does not.
    fn ask<T, F>(
        &self,
        peer: PeerName,
        command: F,
    ) -> impl Future<Output = Vec<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Fn(oneshot::Sender<T>) -> Command,
    {
        let asked: Vec<_> = self
            .tasks(peer)
            .into_iter()
            .map(|task| {
                let (done, answer) = oneshot::channel();
                (task, command(done), answer)
            })
            .collect();
        async move {
            let mut answers = Vec::new();
            for (task, command, answer) in asked {
                if task.send(command).await.is_ok() {
                    answers.extend(answer.await);
                }
            }
            answers
        }
    }

    /// Ends every session with Cease/Administrative Shutdown and `message` as its shutdown communication (RFC 9003;
    /// cut at 255 bytes), and returns when the peers have closed or after two seconds.
    pub async fn stop(mut self, message: &str) {
        self.stop_listening();
        let named = self.peers.drain(..).map(|peer| (peer.commands, peer.task));
        let members = self.ranges.iter().flat_map(|range| range.disband());
        let all: Vec<_> = named.chain(members).collect();
        for (commands, _) in &all {
            let stop = Command::Stop(Notification::shutdown(message));
            // A task that has ended needs no stopping.
            let _: Result<(), _> = commands.send(stop).await;
        }
        for (_, task) in all {
            // It only fails if the task has panicked, which the runtime has reported.
            let _: Result<(), _> = task.await;
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
        let members = self.ranges.iter().flat_map(|range| range.disband());
        members.for_each(|(_, task)| task.abort());
    }
}

/// The configuration with the new password, where it has another one.
fn changed(
    config: &PeerConfig,
    passwords: &BTreeMap<PeerName, String>,
) -> Option<(PeerConfig, String)> {
    let password = passwords.get(&config.name)?;
    let config = PeerConfig {
        password: Some(password.clone()).filter(|new| config.password.as_ref() != Some(new)),
        ..config.clone()
    };
    let password = config.password.clone()?;
    Some((config, password))
}

/// A full queue is that of a task that does not run: it would not use the password either.
fn tell(task: &mpsc::Sender<Command>, password: String) {
    if task.try_send(Command::Rekey(password)).is_err() {
        tracing::error!("a session keeps its old password");
    }
}
