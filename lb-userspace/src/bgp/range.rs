//! Peers that only a prefix is known of: each gets a session of its own when it connects, and nothing of it is kept once its
//! last connection is gone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use super::channels::{Channels, Command};
use super::codec;
use super::config::{GracefulRestart, PeerConfig, SpeakerConfig};
use super::link::Link;
use super::notification::{Notification, code, subcode};
use super::rib::Tables;
use super::route::RouteSet;
use super::session::{Session, seed};
use super::status::{PeerStatus, RangeStatus, Shared};

/// Connections that wait for their refusal to be read; more are closed without a word.
const REFUSALS_MAX: usize = 8;

/// A range and its members.
#[derive(Debug)]
pub(super) struct Range {
    pub net: IpNet,
    speaker: Arc<SpeakerConfig>,
    routes: watch::Receiver<Option<Arc<RouteSet>>>,
    tables: Arc<Tables>,
    started_at: Instant,
    refusals: Arc<Semaphore>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Of every member; its `shutdown` is the range's.
    config: PeerConfig,
    members: BTreeMap<IpAddr, Member>,
    status: RangeStatus,
}

#[derive(Debug)]
struct Member {
    door: mpsc::Sender<TcpStream>,
    commands: mpsc::Sender<Command>,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

impl Range {
    /// Without members. `config` is that of the range.
    pub fn new(
        net: IpNet,
        config: PeerConfig,
        speaker: Arc<SpeakerConfig>,
        routes: watch::Receiver<Option<Arc<RouteSet>>>,
        tables: Arc<Tables>,
    ) -> Range {
        let status = RangeStatus {
            range: net,
            asn: config.asn,
            members: 0,
            members_max: config.members_max,
            refused: 0,
            last_refused: None,
            ended: 0,
            last_ended: None,
            shutdown: config.shutdown.clone(),
        };
        Range {
            net,
            speaker,
            routes,
            tables,
            started_at: Instant::now(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            inner: Mutex::new(Inner {
                config,
                members: BTreeMap::new(),
                status,
            }),
        }
    }

    /// Gives a connection from inside the range to its member, which begins with it where there is none; refuses it where there
    /// is no room.
    pub fn take(self: &Arc<Range>, stream: TcpStream, remote: IpAddr) {
        let mut inner = self.lock();
        if let Some(member) = inner.members.get(&remote) {
            // A full queue means a peer that dials faster than its task runs; the connection is closed.
            drop(member.door.try_send(stream));
            return;
        }
        if let Some(message) = &inner.config.shutdown {
            let cease = Notification::shutdown(message);
            return self.refuse(stream, &cease);
        }
        if inner.members.len() >= inner.config.members_max {
            let max_peers = inner.config.members_max;
            let status = &mut inner.status;
            if status.last_refused != Some(remote) {
                tracing::warn!(range = %self.net, %remote, max_peers, "BGP connection refused: the range has no room");
            }
            status.refused += 1;
            status.last_refused = Some(remote);
            let cease = Notification::new(code::CEASE, subcode::OUT_OF_RESOURCES);
            return self.refuse(stream, &cease);
        }
        let member = self.begin(&inner, stream, remote);
        inner.members.insert(remote, member);
    }

    fn begin(self: &Arc<Range>, inner: &Inner, stream: TcpStream, remote: IpAddr) -> Member {
        let config = PeerConfig {
            graceful_restart: inner.config.graceful_restart.map(|g| self.restart(g)),
            ..inner.config.clone()
        };
        let (_, path) = watch::channel(None);
        let (_, place) = watch::channel(Ok(remote.into()));
        let (channels, door, commands) = Channels::new(&self.routes, path, place);
        // The channel is empty.
        drop(door.try_send(stream));
        let mut shared = Shared::new(&self.speaker, &config);
        shared.status.name = remote.into();
        shared.status.range = Some(self.net);
        // What ended it before is not said again.
        let last = inner.status.last_ended.as_ref();
        let last = last.filter(|(address, _)| *address == remote);
        shared.status.last_failure = last.map(|(_, reason)| reason.clone());
        let shared = Arc::new(Mutex::new(shared));
        let session = Session::new(
            &self.speaker,
            config,
            channels,
            shared.clone(),
            self.tables.clone(),
            seed(),
        );
        Member {
            door,
            commands,
            shared,
            task: tokio::spawn(session.of_range(self.clone()).run()),
        }
    }

    /// Later than the restart time nobody keeps routes of the process before this one.
    fn restart(&self, restart: GracefulRestart) -> GracefulRestart {
        let over = self.started_at.elapsed() > restart.restart_time;
        GracefulRestart {
            restarting: restart.restarting && !over,
            forwarding_preserved: restart.forwarding_preserved || over,
            ..restart
        }
    }

    fn refuse(&self, stream: TcpStream, notification: &Notification) {
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else {
            return;
        };
        let mut link = Link::new(stream);
        link.push(&codec::encode_notification(notification));
        tokio::spawn(async move {
            link.linger().await;
            drop(permit);
        });
    }

    /// Ends the membership of one whose connections are gone, unless another one waits; true: its task may end.
    pub fn leave(&self, remote: IpAddr, waiting: &mpsc::Receiver<TcpStream>) -> bool {
        let mut inner = self.lock();
        if !waiting.is_empty() {
            return false;
        }
        // Nobody has it once the speaker stops.
        if let Some(member) = inner.members.remove(&remote) {
            let shared = Shared::lock(&member.shared);
            let status = &shared.status;
            let reason = status.last_failure.as_ref().or(status.last_reset.as_ref());
            inner.status.ended += 1;
            inner.status.last_ended = reason.map(|reason| (remote, reason.clone()));
        }
        true
    }

    /// The range itself.
    pub fn status(&self) -> RangeStatus {
        let inner = self.lock();
        RangeStatus {
            members: inner.members.len(),
            shutdown: inner.config.shutdown.clone(),
            ..inner.status.clone()
        }
    }

    /// Its members, by address.
    pub fn members(&self) -> Vec<PeerStatus> {
        let inner = self.lock();
        let shared = inner.members.values().map(|member| &member.shared);
        shared.map(|shared| Shared::lock(shared).status()).collect()
    }

    /// Ways to the tasks of all members, or of the one with this address.
    pub fn commands(&self, only: Option<IpAddr>) -> Vec<mpsc::Sender<Command>> {
        let inner = self.lock();
        let members = inner.members.iter();
        members
            .filter(|(address, _)| only.is_none_or(|only| only == **address))
            .map(|(_, member)| member.commands.clone())
            .collect()
    }

    /// What new members are told from now on instead of getting a session; none: they get one.
    pub fn set_shutdown(&self, message: Option<String>) {
        self.lock().config.shutdown = message;
    }

    /// Its configuration.
    pub fn config(&self) -> PeerConfig {
        self.lock().config.clone()
    }

    /// What members sign with from now on.
    pub fn set_password(&self, password: Option<String>) {
        self.lock().config.password = password;
    }

    /// Its members, which it has no longer: whoever stops them waits for their tasks.
    pub fn disband(&self) -> Vec<(mpsc::Sender<Command>, JoinHandle<()>)> {
        let members = std::mem::take(&mut self.lock().members);
        members
            .into_values()
            .map(|member| (member.commands, member.task))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that could panic happens while it is held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
