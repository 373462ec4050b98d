//! The task of one peer: it waits, tells the state machine, and does what that says.

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Instant;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::channels::{Channels, Command};
use super::codec::{self, Message, Open};
use super::config::{END_OF_RIB_MARGIN, PeerConfig, SpeakerConfig};
use super::fsm::{
    Action, Direction, Input, Negotiated, Peer, Reason, Reply, Settings, State, contradiction,
};
use super::link::{Link, local_address};
use super::notification::{Notification, code, subcode};
use super::path::Path;
use super::peer_name::PeerName;
use super::range::Range;
use super::remote::{Absence, Remote};
use super::rib::{AdjRibOut, Tables};
use super::route::{Family, RouteSet};
use super::sockopt::set_md5_password;
use super::status::{Shared, count_notification};
use super::transport;

type Dial = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// What woke the task.
enum Wake {
    Command(Option<Command>),
    Routes,
    Path,
    Remote,
    Accepted(TcpStream),
    Dialed(io::Result<TcpStream>),
    Link(Direction, io::Result<()>),
    Closed,
    Deadline,
}

/// The task.
pub(super) struct Session {
    config: PeerConfig,
    /// What the status calls it.
    name: PeerName,
    /// Its end of the connections.
    remote: Result<Remote, Absence>,
    /// Take connections of a peer whose address is found.
    listeners: Vec<Weak<TcpListener>>,
    settings: Settings,
    hold_time: std::time::Duration,
    channels: Channels,
    fsm: Peer,
    outgoing: Option<Link>,
    incoming: Option<Link>,
    dial: Option<Dial>,
    closing: JoinSet<()>,
    rib: Option<AdjRibOut>,
    wanted: Option<Arc<RouteSet>>,
    /// The peer may lack something of it.
    unsaid: bool,
    /// Of all peers.
    tables: Arc<Tables>,
    path: Option<Path>,
    /// The last that was known.
    last_path: Option<Path>,
    /// End-of-RIB is sent from here on, complete or not.
    end_of_rib_at: Instant,
    /// The last OPEN sent, and the last that came.
    opens: (Option<Open>, Option<Open>),
    flushes: Vec<oneshot::Sender<()>>,
    /// The range that the peer is a member of.
    range: Option<Arc<Range>>,
    /// It has connected.
    connected: bool,
    shared: Arc<Mutex<Shared>>,
}

impl Session {
    pub fn new(
        speaker: &SpeakerConfig,
        config: PeerConfig,
        channels: Channels,
        shared: Arc<Mutex<Shared>>,
        tables: Arc<Tables>,
        seed: u64,
    ) -> Session {
        let settings = Settings::new(speaker, &config);
        let name = Shared::lock(&shared).status.name;
        let remote = *channels.remote.borrow();
        let held_back = config
            .graceful_restart
            .map(|g| g.restart_time.saturating_sub(END_OF_RIB_MARGIN));
        Session {
            fsm: Peer::new(settings.clone(), seed),
            settings,
            hold_time: speaker.hold_time,
            end_of_rib_at: now() + held_back.unwrap_or_default(),
            config,
            name,
            remote,
            listeners: Vec::new(),
            channels,
            outgoing: None,
            incoming: None,
            dial: None,
            closing: JoinSet::new(),
            rib: None,
            wanted: None,
            unsaid: true,
            tables,
            path: None,
            last_path: None,
            opens: (None, None),
            flushes: Vec::new(),
            range: None,
            connected: false,
            shared,
        }
    }

    /// The same, but over once the peer's last connection is gone.
    pub fn of_range(self, range: Arc<Range>) -> Session {
        Session {
            range: Some(range),
            ..self
        }
    }

    /// The same, of a peer whose address is found: these listeners learn its password with it.
    pub fn found(self, listeners: &[Arc<TcpListener>]) -> Session {
        let v6 = |socket: &&Arc<TcpListener>| {
            let address = socket.local_addr();
            address.is_ok_and(|address| address.is_ipv6())
        };
        let listeners = listeners.iter().filter(v6);
        Session {
            listeners: listeners.map(Arc::downgrade).collect(),
            ..self
        }
    }

    /// Until stopped, or over.
    pub async fn run(mut self) {
        loop {
            let wake = self.wait().await;
            match wake {
                Wake::Command(Some(Command::Stop(notification))) => {
                    self.report(Input::Stop(notification), None);
                    break;
                }
                Wake::Command(Some(command)) => self.command(command),
                // The speaker was dropped: abandon.
                Wake::Command(None) => return,
                Wake::Routes => self.take_routes(),
                Wake::Path => self.take_path(),
                Wake::Remote => self.take_remote(),
                Wake::Accepted(stream) => self.accepted(stream),
                Wake::Dialed(result) => self.dialed(result),
                Wake::Link(direction, result) => self.transfer(direction, result),
                Wake::Closed => {}
                Wake::Deadline => self.report(Input::Tick, None),
            }
            self.advance();
            if self.is_over() {
                break;
            }
        }
        self.publish();
        self.closing.join_all().await;
    }

    /// Every branch is cancel-safe: channels and `watch` are, a link only waits, and the dial lives in `self`.
    async fn wait(&mut self) -> Wake {
        let deadline = self.next_deadline().map(tokio::time::Instant::from_std);
        // Whoever connects earlier waits, without an OPEN of ours.
        let started = self.wanted.is_some() && !self.is_held();
        tokio::select! {
            command = self.channels.commands.recv() => Wake::Command(command),
            Ok(()) = self.channels.routes.changed() => Wake::Routes,
            Ok(()) = self.channels.path.changed() => Wake::Path,
            Ok(()) = self.channels.remote.changed() => Wake::Remote,
            Some(stream) = self.channels.incoming.recv(), if started => Wake::Accepted(stream),
            result = poll_dial(&mut self.dial) => Wake::Dialed(result),
            result = poll_link(self.outgoing.as_ref()) => Wake::Link(Direction::Outgoing, result),
            result = poll_link(self.incoming.as_ref()) => Wake::Link(Direction::Incoming, result),
            Some(_) = self.closing.join_next(), if self.range.is_some() => Wake::Closed,
            () = sleep_until(deadline) => Wake::Deadline,
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let held_back = self
            .rib
            .as_ref()
            .is_some_and(|rib| !rib.is_finished())
            .then_some(self.end_of_rib_at);
        // Once it has passed, End-of-RIB waits only for the peer to take what is before it.
        let held_back = held_back.filter(|at| *at > now());
        [self.fsm.next_deadline(), held_back]
            .into_iter()
            .flatten()
            .min()
    }

    fn take_routes(&mut self) {
        let first = self.wanted.is_none();
        if let Some(set) = self.channels.routes.borrow_and_update().as_ref() {
            self.wanted = Some(Arc::clone(set));
            self.unsaid = true;
        }
        if first && self.wanted.is_some() && !self.is_shut_down() && !self.is_held() {
            self.report(Input::Start, None);
        }
    }

    fn take_path(&mut self) {
        self.path = *self.channels.path.borrow_and_update();
        let Some(path) = self.path else { return };
        let before = self.last_path.replace(path);
        if before.is_some_and(|before| path.failed_since(&before)) {
            self.report(Input::PathFailed, None);
        }
    }

    /// The router on the interface is another one, or unknown: whatever there was with the one before is over.
    fn take_remote(&mut self) {
        let remote = *self.channels.remote.borrow_and_update();
        if remote == self.remote {
            return;
        }
        let before = std::mem::replace(&mut self.remote, remote);
        if let Ok(before) = before {
            let error = match remote {
                Ok(now) => format!("the router on its interface is {} now", now.address),
                Err(absence) => absence.to_string(),
            };
            for direction in Direction::ALL {
                let error = error.clone();
                self.report(Input::Disconnected { direction, error }, None);
            }
            // Nothing is left that it would be sent on.
            let cease = Notification::new(code::CEASE, subcode::ADMINISTRATIVE_RESET);
            self.report(Input::Stop(cease), None);
            self.sign_listeners(before, "");
        }
        if let (Ok(remote), Some(password)) = (remote, self.config.password.clone()) {
            self.sign_listeners(remote, &password);
        }
    }

    /// Has the listeners take connections from there that are signed so; without a password, any.
    fn sign_listeners(&self, remote: Remote, password: &str) {
        if self.config.password.is_none() {
            return;
        }
        for listener in self.listeners.iter().filter_map(Weak::upgrade) {
            let name = remote.address.into();
            if let Err(error) = set_md5_password(listener.as_fd(), name, password) {
                let peer = self.name;
                tracing::error!(%peer, %error, "the listener takes no TCP MD5 password for the router on the interface");
            }
        }
    }

    /// What the peer's session waits for, in words.
    fn obstacle(&self) -> Option<String> {
        if let Err(absence) = self.remote {
            return Some(format!("it waits for the peer: {absence}"));
        }
        let path_down = self.config.await_path && !self.path.is_some_and(|path| path.usable);
        path_down.then(|| "it waits for the path to the peer: BFD is not up".to_owned())
    }

    fn is_held(&self) -> bool {
        self.obstacle().is_some()
    }

    /// Holds a peer without a session, or lets it go on; a session that is there ends with a failure of the path alone.
    fn hold(&mut self) {
        let established = self.fsm.state() == State::Established;
        match (self.is_held(), self.fsm.is_started()) {
            (true, true) if !established => {
                let cease = Notification::new(code::CEASE, subcode::BFD_DOWN);
                self.report(Input::Stop(cease), None);
            }
            (false, false) if self.wanted.is_some() && !self.is_shut_down() => {
                self.report(Input::Start, None);
            }
            _ => {}
        }
        if let Some(why) = self.obstacle().filter(|_| !established) {
            self.lock().status.last_failure = Some(why);
        }
    }

    /// What the operator wants; it is in the status before it is answered.
    fn command(&mut self, command: Command) {
        match command {
            Command::Flush(done) => {
                self.take_routes();
                self.flushes.push(done);
            }
            Command::ShutDown(message, done) => {
                let cease = Notification::shutdown(&message);
                self.lock().status.shutdown = Some(message);
                self.report(Input::Stop(cease), None);
                self.publish();
                answer(done, ());
            }
            Command::Rekey(password) => self.rekey(password),
            Command::Enable(done) => {
                let down = self.lock().status.shutdown.take().is_some();
                if down && self.wanted.is_some() && !self.is_held() {
                    self.report(Input::Start, None);
                }
                self.publish();
                answer(done, ());
            }
            Command::Refresh(done) => {
                let routes = self.rib.as_mut().map(|rib| {
                    Family::ALL
                        .into_iter()
                        .for_each(|family| rib.resend(family));
                    rib.told().len()
                });
                self.unsaid = true;
                answer(done, routes);
            }
            // Its only caller ends the loop.
            Command::Stop(_) => {}
        }
    }

    /// Peers change theirs at another moment: what is signed with the other key meanwhile is dropped and sent again.
    fn rekey(&mut self, password: String) {
        if self.config.password.as_ref() == Some(&password) {
            return;
        }
        self.config.password = Some(password.clone());
        let peer = self.name;
        if let Ok(remote) = self.remote {
            self.sign_listeners(remote, &password);
            for link in [&self.outgoing, &self.incoming].into_iter().flatten() {
                if let Err(error) = link.rekey(remote.address, &self.config) {
                    tracing::error!(%peer, %error, "the session keeps its old password");
                }
            }
        }
        // A dial under way signs with the old one.
        if self.dial.is_some() {
            self.dial = self.new_dial();
        }
        tracing::info!(%peer, "TCP MD5 password changed");
    }

    /// None while it is not known where the peer is.
    fn new_dial(&self) -> Option<Dial> {
        let dial = transport::dial(self.remote.ok()?, self.config.clone(), self.hold_time);
        Some(Box::pin(dial))
    }

    /// The last connection of a member of a range is gone, and no other one waits.
    fn is_over(&self) -> bool {
        self.connected
            && self.incoming.is_none()
            && self.closing.is_empty()
            && self
                .range
                .as_ref()
                .zip(self.remote.ok())
                .is_some_and(|(range, remote)| range.leave(remote.address, &self.channels.incoming))
    }

    fn is_shut_down(&self) -> bool {
        self.lock().status.shutdown.is_some()
    }

    fn accepted(&mut self, stream: TcpStream) {
        self.connected = true;
        let Ok(remote) = self.remote else { return };
        let local = local_address(&stream);
        if transport::accepted(&stream, remote.address, &self.config, self.hold_time).is_ok() {
            self.report(
                Input::Connected {
                    direction: Direction::Incoming,
                    local,
                },
                Some(stream),
            );
        }
    }

    fn dialed(&mut self, result: io::Result<TcpStream>) {
        self.dial = None;
        let direction = Direction::Outgoing;
        match result {
            Ok(stream) => {
                let local = local_address(&stream);
                self.report(Input::Connected { direction, local }, Some(stream));
            }
            Err(error) => self.report(
                Input::Disconnected {
                    direction,
                    error: error.to_string(),
                },
                None,
            ),
        }
    }

    /// Reads and handles what has arrived. Writing is [`Session::advance`]'s.
    fn transfer(&mut self, direction: Direction, ready: io::Result<()>) {
        let Some(link) = self.link_mut(direction) else {
            return;
        };
        let result = ready.and_then(|()| link.read());
        // What came before the end of the connection counts: often a NOTIFICATION that says why.
        while let Some((kind, message)) = self
            .link_mut(direction)
            .as_mut()
            .and_then(Link::next_message)
        {
            let fatal = message.is_err();
            self.count_received(kind, &message);
            if let Ok(Message::Open(open)) = &message {
                self.lock().status.last_open = Some(open.clone());
                self.opens.1 = Some(open.clone());
            }
            self.report(Input::Received { direction, message }, None);
            if fatal {
                break;
            }
        }
        if let (Err(error), true) = (result, self.link_mut(direction).is_some()) {
            self.report(
                Input::Disconnected {
                    direction,
                    error: error.to_string(),
                },
                None,
            );
        }
    }

    /// Tells the state machine and does what it says; `stream` is the connection the input reports.
    fn report(&mut self, input: Input, mut stream: Option<TcpStream>) {
        for action in self.fsm.handle(input, now()) {
            self.perform(action, &mut stream);
        }
    }

    fn perform(&mut self, action: Action, stream: &mut Option<TcpStream>) {
        match action {
            Action::Dial => self.dial = self.new_dial(),
            Action::CancelDial => self.dial = None,
            Action::Adopt(direction) => *self.link_mut(direction) = stream.take().map(Link::new),
            Action::Refuse(notification) => self.refuse(stream.take(), &notification),
            Action::Send(direction, reply) => self.send(direction, &reply),
            Action::Close(direction) => {
                if let Some(link) = self.link_mut(direction).take() {
                    self.closing.spawn(link.linger());
                }
            }
            Action::Up(direction, negotiated) => self.up(direction, &negotiated),
            Action::Down(direction, reason) => self.down(direction, &reason),
            // That one of two connections goes is no failure, and neither is stopping.
            Action::Failed(_, Reason::Collision | Reason::Stopped) => {}
            Action::Failed(_, reason) => self.failed(&reason),
            Action::Resend(family) => {
                if let Some(rib) = &mut self.rib {
                    rib.resend(family);
                    self.unsaid = true;
                }
            }
        }
    }

    fn refuse(&mut self, stream: Option<TcpStream>, notification: &Notification) {
        let Some(stream) = stream else { return };
        let mut link = Link::new(stream);
        link.push(&codec::encode_notification(notification));
        self.count_sent("notification", 1);
        count_notification(&mut self.lock().status, true, notification);
        self.closing.spawn(link.linger());
    }

    fn send(&mut self, direction: Direction, reply: &Reply) {
        let (kind, bytes) = match reply {
            Reply::Open(open) => {
                self.lock().status.offered = open.capabilities.names();
                self.opens.0 = Some(open.clone());
                ("open", codec::encode_open(open))
            }
            Reply::Keepalive => ("keepalive", codec::encode_keepalive()),
            Reply::Notification(n) => {
                count_notification(&mut self.lock().status, true, n);
                ("notification", codec::encode_notification(n))
            }
        };
        self.count_sent(kind, 1);
        if let Some(link) = self.link_mut(direction) {
            link.push(&bytes);
        }
    }

    fn up(&mut self, direction: Direction, negotiated: &Negotiated) {
        self.rib = Some(AdjRibOut::new(&self.settings, negotiated));
        self.unsaid = true;
        let peer = self.name;
        let families: Vec<&str> = negotiated.families.iter().map(|f| f.as_str()).collect();
        tracing::info!(%peer, ?direction, ?families, hold_time = ?negotiated.hold_time, "BGP session established");
        let mut shared = self.lock();
        shared.status.router_id = Some(negotiated.peer_identifier);
        shared.status.hold_time = Some(negotiated.hold_time);
        shared.status.keepalive_time = Some(negotiated.keepalive_time());
        shared.status.capabilities = negotiated.capabilities.clone();
        shared.status.last_failure = None;
    }

    fn down(&mut self, _direction: Direction, reason: &Reason) {
        self.rib = None;
        let peer = self.name;
        match reason {
            Reason::Stopped => tracing::info!(%peer, "BGP session stopped"),
            _ => tracing::warn!(%peer, %reason, "BGP session down"),
        }
        let mut shared = self.lock();
        *shared.status.flaps.entry(reason.label()).or_default() += 1;
        shared.status.last_reset = Some(match (reason, &shared.status.shutdown) {
            (Reason::Stopped, Some(message)) if message.is_empty() => {
                "shut down by the operator".to_string()
            }
            (Reason::Stopped, Some(message)) => format!("shut down by the operator: {message}"),
            _ => reason.to_string(),
        });
        shared.status.router_id = None;
        shared.status.hold_time = None;
        shared.status.keepalive_time = None;
        shared.status.capabilities.clear();
        shared.status.announced = Arc::default();
    }

    /// An attempt came to nothing; what is said again and again is logged once.
    fn failed(&self, reason: &Reason) {
        let words = self.words(reason);
        let mut shared = self.lock();
        if shared.status.last_failure.as_ref() != Some(&words) {
            tracing::warn!(peer = %self.name, reason = words, "no BGP session");
            shared.status.last_failure = Some(words);
        }
    }

    /// A reason, and what an OPEN says where it was refused.
    fn words(&self, reason: &Reason) -> String {
        let (refusal, sent) = match reason {
            Reason::NotificationSent(refusal) => (refusal, true),
            Reason::NotificationReceived(refusal) => (refusal, false),
            Reason::Stopped
            | Reason::Collision
            | Reason::HoldTimerExpired
            | Reason::SendHoldTimerExpired
            | Reason::PathFailed
            | Reason::TcpFailed(_) => return reason.to_string(),
        };
        let (Some(ours), theirs) = &self.opens else {
            return reason.to_string();
        };
        // A refusal may come before the peer's own OPEN.
        let theirs = theirs.as_ref().unwrap_or(ours);
        match contradiction(&self.settings, ours, theirs, refusal, sent) {
            Some(contradiction) => format!("{reason}: {contradiction}"),
            None => reason.to_string(),
        }
    }

    /// Sends what there is to send, as far as TCP takes it.
    fn advance(&mut self) {
        if self.config.await_path || matches!(self.config.name, PeerName::Interface(_)) {
            self.hold();
        }
        self.write(Direction::Outgoing);
        self.write(Direction::Incoming);
        self.announce();
        self.publish();
        while self.closing.try_join_next().is_some() {}
        if self.is_flushed() {
            self.flushes.drain(..).for_each(|done| answer(done, ()));
        }
    }

    /// UPDATEs are made only when everything before them is out, so the outbox holds at most one table.
    fn announce(&mut self) {
        let Some(direction) = self.fsm.session().map(|(direction, _)| direction) else {
            return;
        };
        if self
            .link_mut(direction)
            .as_ref()
            .is_none_or(Link::is_pending)
        {
            return;
        }
        let (Some(rib), Some(wanted)) = (&mut self.rib, &self.wanted) else {
            return;
        };
        let mut updates = match std::mem::take(&mut self.unsaid) {
            true => rib.updates(&wanted.to(self.config.name)),
            false => Vec::new(),
        };
        let changed = !updates.is_empty();
        if !rib.is_finished() && (wanted.complete || now() >= self.end_of_rib_at) {
            updates.extend(rib.end_of_rib());
        }
        let four_octet_as = rib.four_octet_as();
        if changed {
            rib.share(&self.tables);
            let told = Arc::clone(rib.told());
            self.lock().status.announced = told;
        }
        let finished = updates
            .iter()
            .any(|u| matches!(u, codec::Update::EndOfRib(_)));
        for update in updates {
            match codec::encode_update(&update, four_octet_as) {
                Ok(bytes) => self.push(direction, &bytes),
                Err(error) => {
                    tracing::error!(peer = %self.name, %error, "cannot announce")
                }
            }
        }
        if finished {
            self.report(Input::RestartDone, None);
        }
        self.write(direction);
    }

    fn push(&mut self, direction: Direction, bytes: &[u8]) {
        if let Some(link) = self.link_mut(direction) {
            link.push(bytes);
            self.count_sent("update", 1);
        }
    }

    fn write(&mut self, direction: Direction) {
        let Some(link) = self.link_mut(direction) else {
            return;
        };
        let result = link.write();
        let (pending, progress) = link.progress();
        let input = match result {
            Ok(()) => Input::Sending {
                direction,
                pending,
                progress,
            },
            Err(error) => Input::Disconnected {
                direction,
                error: error.to_string(),
            },
        };
        self.report(input, None);
    }

    /// No Established session lacks anything of the current route set.
    fn is_flushed(&mut self) -> bool {
        match self.fsm.session().map(|(direction, _)| direction) {
            // `announce` leaves nothing to do behind unless the outbox is not empty.
            Some(direction) => self
                .link_mut(direction)
                .as_ref()
                .is_none_or(|link| !link.is_pending()),
            None => true,
        }
    }

    fn publish(&self) {
        let state = self.fsm.state();
        let mut shared = self.lock();
        if shared.status.state != state {
            shared.status.state = state;
            shared.changed_at = now();
        }
        debug_assert!(state == State::Established || shared.status.router_id.is_none());
    }

    fn count_received(
        &self,
        kind: Option<codec::MessageType>,
        message: &Result<Message, codec::DecodeError>,
    ) {
        let mut shared = self.lock();
        if let Some(kind) = kind {
            *shared.status.received.entry(kind.as_str()).or_default() += 1;
        }
        if let Ok(Message::Notification(notification)) = message {
            count_notification(&mut shared.status, false, notification);
        }
    }

    fn count_sent(&self, kind: &'static str, count: u64) {
        *self.lock().status.sent.entry(kind).or_default() += count;
    }

    fn link_mut(&mut self, direction: Direction) -> &mut Option<Link> {
        match direction {
            Direction::Outgoing => &mut self.outgoing,
            Direction::Incoming => &mut self.incoming,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        Shared::lock(&self.shared)
    }
}

/// Jitter need not be unpredictable, only different from that of others.
pub(super) fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}

/// Whoever asked may have stopped waiting.
fn answer<T>(waiting: oneshot::Sender<T>, answer: T) {
    drop(waiting.send(answer));
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn poll_dial(dial: &mut Option<Dial>) -> io::Result<TcpStream> {
    match dial {
        Some(dial) => dial.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn poll_link(link: Option<&Link>) -> io::Result<()> {
    match link {
        Some(link) => link.ready().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
