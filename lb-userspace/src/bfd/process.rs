//! The process that has the sessions: it outlives its user, who may come back and finds them as they were.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::future::{Future, poll_fn};
use std::io::{self, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use super::fsm::Change;
use super::message::{Order, PROTOCOL, Report, SessionConfig};
use super::sessions::{Datagram, Output, Sessions};
use super::socket::{Kind, Receiver, Sender};

/// Name of the socket in the process's directory.
pub const SOCKET_NAME: &str = "bfd.sock";
/// Name of the file with the process's number, which the process holds locked.
pub const PID_NAME: &str = "bfd.pid";

/// Between two looks at the forwarding.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Failures for this long hold the sessions down; shorter ones come with a change of the program.
const FAILS_FOR: Duration = Duration::from_secs(1);
/// Counters are told so often.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Packets taken in one go from a socket; a peer that floods must not keep the timers waiting.
const RECEIVE_MAX: usize = 256;
/// Bytes of an order.
const ORDER_MAX: u64 = 8 << 20;

/// What has to work for sessions to be Up besides their peers: what is behind us.
pub trait Forwarding {
    /// What to look at, as an order says it.
    type Watch: DeserializeOwned + Send + 'static;

    /// Looks at this from now on.
    fn watch(&mut self, watch: Self::Watch);

    /// Whether it works; asked ten times a second.
    ///
    /// # Errors
    /// Why it does not.
    fn check(&mut self) -> Result<(), String>;
}

/// Why the process did not run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Its directory cannot be used.
    #[error("cannot use {path}: {source}")]
    Directory {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// One is there.
    #[error("another BFD process runs with the directory {0}")]
    Running(PathBuf),
}

/// Runs until an order or `stop` ends it; then peers are told AdminDown first.
///
/// # Errors
/// Another process has the directory, or nothing can be made in it.
pub async fn run<F: Forwarding>(
    directory: &Path,
    forwarding: F,
    stop: impl Future<Output = ()>,
) -> Result<(), ProcessError> {
    let place = Place::take(directory)?;
    let (orders, queue) = mpsc::channel(4);
    let process = Process::new(forwarding, queue);
    let reports = process.report.clone();
    let accepting = tokio::spawn(accept(place.listen()?, orders, reports));
    process.run(Box::pin(stop)).await;
    accepting.abort();
    Ok(())
}

/// The directory, held.
struct Place {
    directory: PathBuf,
    _lock: Flock<File>,
}

impl Place {
    fn take(directory: &Path) -> Result<Place, ProcessError> {
        let path = directory.join(PID_NAME);
        let failed = failed(&path);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let lock = Flock::lock(file.map_err(&failed)?, FlockArg::LockExclusiveNonblock);
        let mut lock = lock.map_err(|(_, errno)| match errno {
            Errno::EWOULDBLOCK => ProcessError::Running(directory.into()),
            other => failed(other.into()),
        })?;
        lock.set_len(0).map_err(&failed)?;
        writeln!(lock, "{}", std::process::id()).map_err(&failed)?;
        Ok(Place {
            directory: directory.into(),
            _lock: lock,
        })
    }

    /// Under the lock: a socket that is there is a dead process's.
    fn listen(&self) -> Result<UnixListener, ProcessError> {
        let path = self.directory.join(SOCKET_NAME);
        let failed = failed(&path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let socket = tokio::net::UnixSocket::new_stream().map_err(&failed)?;
        // Linux makes the file with the mode of the socket: it is never open to others.
        let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
        nix::sys::stat::fchmod(&socket, mode).map_err(|errno| failed(errno.into()))?;
        socket.bind(&path).map_err(&failed)?;
        socket.listen(4).map_err(&failed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What stays is replaced by the next process.
        let _ = fs::remove_file(self.directory.join(SOCKET_NAME));
        let _ = fs::remove_file(self.directory.join(PID_NAME));
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ProcessError {
    let path = path.to_path_buf();
    move |source| ProcessError::Directory {
        path: path.clone(),
        source,
    }
}

/// Until aborted.
async fn accept<W: DeserializeOwned + Send + 'static>(
    listener: UnixListener,
    orders: mpsc::Sender<Order<W>>,
    reports: watch::Sender<Report>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, orders.clone(), reports.subscribe()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
        }
    }
}

/// One user, until he goes or says what nobody understands.
async fn serve<W: DeserializeOwned>(
    stream: UnixStream,
    orders: mpsc::Sender<Order<W>>,
    mut reports: watch::Receiver<Report>,
) {
    let (reading, mut writing) = stream.into_split();
    let listen = async {
        let mut lines = BufReader::new(reading.take(ORDER_MAX)).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            lines.get_mut().get_mut().set_limit(ORDER_MAX);
            match serde_json::from_str(&line) {
                Ok(order) => {
                    if orders.send(order).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "an order that cannot be read");
                    return;
                }
            }
        }
    };
    let tell = async {
        reports.mark_changed();
        while reports.changed().await.is_ok() {
            let report = reports.borrow_and_update().clone();
            let Ok(mut line) = serde_json::to_string(&report) else {
                return;
            };
            line.push('\n');
            if writing.write_all(line.as_bytes()).await.is_err() {
                // He has gone, and may have left a last order.
                std::future::pending::<()>().await;
            }
        }
    };
    // Orders end where he has closed, reports with the process.
    tokio::select! {
        () = listen => {}
        () = tell => {}
    }
}

struct Process<F: Forwarding> {
    sessions: Sessions,
    receivers: BTreeMap<Kind, Receiver>,
    senders: BTreeMap<NonZeroU32, Sender>,
    forwarding: F,
    watches: bool,
    /// The first failure of those that have not ended.
    failing_since: Option<Instant>,
    failure: Option<String>,
    check_at: Option<Instant>,
    orders: mpsc::Receiver<Order<F::Watch>>,
    report: watch::Sender<Report>,
    report_at: Instant,
    problem: Option<String>,
    stopping: bool,
}

enum Wake<W> {
    Order(Option<Order<W>>),
    Packets,
    Deadline,
    Stop,
}

type Stop<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

impl<F: Forwarding> Process<F> {
    fn new(forwarding: F, orders: mpsc::Receiver<Order<F::Watch>>) -> Process<F> {
        let (report, _) = watch::channel(Report {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sessions: Vec::new(),
            discards: BTreeMap::new(),
            held_down: None,
            problem: None,
        });
        Process {
            sessions: Sessions::new(seed()),
            receivers: BTreeMap::new(),
            senders: BTreeMap::new(),
            forwarding,
            watches: false,
            failing_since: None,
            failure: None,
            check_at: None,
            orders,
            report,
            report_at: now(),
            problem: None,
            stopping: false,
        }
    }

    async fn run(mut self, mut stop: Stop<'_>) {
        loop {
            match self.wait(&mut stop).await {
                Wake::Order(Some(Order::Run { sessions, watch })) if !self.stopping => {
                    self.take(&sessions, watch);
                }
                Wake::Order(Some(Order::Stop)) | Wake::Stop => self.end(),
                Wake::Order(_) | Wake::Packets | Wake::Deadline => {}
            }
            // What has arrived counts before the time that has passed: this process may not have run for a while.
            self.receive();
            self.check();
            let out = self.sessions.tick(now());
            self.perform(out);
            if self.report_at <= now() {
                self.publish();
            }
            if self.stopping && self.sessions.is_empty() {
                return;
            }
        }
    }

    /// Every branch is cancel-safe: a channel, readiness, a signal that stays pending.
    async fn wait(&mut self, stop: &mut Stop<'_>) -> Wake<F::Watch> {
        let times = [self.sessions.next_deadline(), self.check_at];
        let deadline = times
            .into_iter()
            .flatten()
            .fold(self.report_at, Instant::min);
        let receivers = &self.receivers;
        tokio::select! {
            order = self.orders.recv() => Wake::Order(order),
            () = poll_fn(|cx| any_readable(receivers, cx)) => Wake::Packets,
            () = tokio::time::sleep_until(deadline.into()) => Wake::Deadline,
            () = stop, if !self.stopping => Wake::Stop,
        }
    }

    fn take(&mut self, sessions: &[SessionConfig], watch: Option<F::Watch>) {
        if let Some(watch) = watch {
            self.forwarding.watch(watch);
            self.watches = true;
            self.check_at = Some(now());
        }
        self.problem = None;
        self.open(sessions);
        let out = self.sessions.run(sessions, now());
        self.perform(out);
        self.publish();
    }

    /// The sockets that these sessions receive with; those of former ones stay, and what comes there is counted.
    fn open(&mut self, sessions: &[SessionConfig]) {
        for kind in sessions.iter().filter_map(kind) {
            if self.receivers.contains_key(&kind) {
                continue;
            }
            match Receiver::bind(kind) {
                Ok(receiver) => {
                    self.receivers.insert(kind, receiver);
                }
                Err(error) => {
                    let family = if kind.ipv6 { "IPv6" } else { "IPv4" };
                    let problem = format!(
                        "cannot receive BFD on {family} UDP port {}: {error}: is another BFD daemon running here?",
                        kind.port()
                    );
                    tracing::error!("{problem}");
                    self.problem = Some(problem);
                }
            }
        }
    }

    fn end(&mut self) {
        tracing::info!("stopping: telling peers that the sessions go down for good");
        self.stopping = true;
        let out = self.sessions.run(&[], now());
        self.perform(out);
    }

    fn receive(&mut self) {
        let mut out = Vec::new();
        for (kind, receiver) in &self.receivers {
            for _ in 0..RECEIVE_MAX {
                let received = match receiver.receive() {
                    Ok(received) => received,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => continue,
                };
                let datagram = Datagram {
                    from: received.from,
                    interface: received.interface.as_deref(),
                    ttl: received.ttl,
                    multihop: kind.multihop,
                    payload: received.payload(),
                };
                out.extend(self.sessions.receive(&datagram, now()));
            }
        }
        self.perform(out);
    }

    fn check(&mut self) {
        let now = now();
        if self.check_at.is_none_or(|at| at > now) {
            return;
        }
        self.check_at = Some(now + CHECK_INTERVAL);
        match self.forwarding.check() {
            Ok(()) => {
                self.failing_since = None;
                if self.failure.take().is_some() {
                    tracing::info!("packets are forwarded again: sessions may come up");
                    let out = self.sessions.forwarding(true, now);
                    self.perform(out);
                    self.publish();
                }
            }
            Err(failure) => {
                let since = *self.failing_since.get_or_insert(now);
                if self.failure.is_none() && now >= since + FAILS_FOR {
                    tracing::error!(%failure, "packets are not forwarded: sessions go down");
                    self.failure = Some(failure);
                    let out = self.sessions.forwarding(false, now);
                    self.perform(out);
                    self.publish();
                }
            }
        }
    }

    fn perform(&mut self, out: Vec<Output>) {
        let mut changed = false;
        for output in out {
            match output {
                Output::Send(number, packet) => self.send(number, &packet),
                Output::Changed(number, change) => {
                    changed = true;
                    self.log(number, &change);
                }
                Output::Gone(number) => drop(self.senders.remove(&number)),
            }
        }
        if changed {
            self.publish();
        }
    }

    fn log(&self, number: NonZeroU32, change: &Change) {
        let Some((peer, ends, _)) = self.sessions.route(number) else {
            return;
        };
        let (from, to, diagnostic) = (change.from, change.to, change.diagnostic);
        let (address, remote) = (ends.peer, change.remote.state);
        tracing::info!(peer, %address, %from, %to, %diagnostic, %remote, "BFD");
    }

    /// A socket that cannot be had now, or fails, is asked for again with the next packet: its address may not be there yet, its
    /// interface may have been made anew.
    fn send(&mut self, number: NonZeroU32, packet: &[u8]) {
        let Some((peer, ends, hops)) = self.sessions.route(number) else {
            return;
        };
        let sender = match self.senders.remove(&number) {
            Some(sender) => Ok(sender),
            None => Sender::bind(ends, hops, number.get() as u16),
        };
        let sent = sender.and_then(|sender| sender.send(packet).map(|()| sender));
        let sent = sent
            .inspect_err(|error| tracing::debug!(peer, ?ends, %error, "cannot send BFD"))
            .ok();
        self.sessions.sent(number, sent.is_some());
        self.senders.extend(sent.map(|sender| (number, sender)));
    }

    fn publish(&mut self) {
        self.report_at = now() + REPORT_INTERVAL;
        let sessions = self.sessions.report(now());
        let discards = self.sessions.discards();
        self.report.send_modify(|report| {
            report.sessions = sessions;
            report.discards = discards;
            report.held_down = self.failure.clone();
            report.problem = self.problem.clone();
        });
    }
}

/// How packets of a session come; unknown like its ends.
fn kind(config: &SessionConfig) -> Option<Kind> {
    config.ends.as_ref().map(|ends| Kind::of(ends, config.hops))
}

fn any_readable(receivers: &BTreeMap<Kind, Receiver>, cx: &mut Context<'_>) -> Poll<()> {
    let mut ready = false;
    // Each must be asked, or its readiness wakes nobody.
    for receiver in receivers.values() {
        ready |= receiver.poll_readable(cx).is_ready();
    }
    match ready {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Numbers of sessions need not be unpredictable, only others than those of the process before.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
