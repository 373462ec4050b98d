//! BGP peers of a test: one whose every byte the test writes, and a good one that keeps its session and what it hears.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use anylb::bgp::codec::{
    self, Capabilities, HEADER_LEN, Message, MessageType, encode_keepalive, encode_open,
};
use anylb::bgp::notification::Notification;
use anylb::bgp::{Family, Open};
use ipnet::Ipv4Net;

/// How long a message may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between looks at whether a good peer shall go on.
const TURN: Duration = Duration::from_millis(100);

/// One end of a connection.
#[derive(Debug)]
pub struct Scripted {
    stream: TcpStream,
    inbox: Vec<u8>,
}

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The body of an UPDATE.
    Update(Vec<u8>),
    /// Any other message.
    Other(Message),
    /// The connection is over.
    End,
}

impl Scripted {
    /// Of a connection that is there.
    pub fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            inbox: Vec::new(),
        })
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The next message; none within the time that reading may take.
    fn next(&mut self) -> Result<Option<Heard>> {
        loop {
            let framed = codec::frame(&self.inbox);
            let framed = framed.map_err(|error| anyhow::anyhow!("it sent {error:?}"))?;
            if let Some((length, kind)) = framed {
                let bytes: Vec<u8> = self.inbox.drain(..length).collect();
                return Ok(Some(match kind {
                    MessageType::Update => Heard::Update(bytes[HEADER_LEN..].to_vec()),
                    _ => Heard::Other(
                        codec::decode(&bytes)
                            .map_err(|error| anyhow::anyhow!("it sent {error:?}"))?,
                    ),
                }));
            }
            let mut piece = [0; 65_536];
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(Some(Heard::End)),
                Ok(length) => self.inbox.extend_from_slice(&piece[..length]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(None),
                    ErrorKind::Interrupted => {}
                    _ => return Ok(Some(Heard::End)),
                },
            }
        }
    }

    /// The next message.
    pub fn hear(&mut self) -> Result<Heard> {
        self.next()?.context("no message")
    }

    /// Past KEEPALIVEs and UPDATEs to the NOTIFICATION; none: the connection ends without one.
    pub fn last_word(&mut self) -> Result<Option<Notification>> {
        loop {
            match self.hear()? {
                Heard::Other(Message::Notification(notification)) => return Ok(Some(notification)),
                Heard::Other(Message::Keepalive | Message::Open(_)) | Heard::Update(_) => {}
                Heard::Other(other) => bail!("{other:?}"),
                Heard::End => return Ok(None),
            }
        }
    }

    /// Writes bytes; that the other side has closed meanwhile is no error.
    pub fn say(&mut self, bytes: &[u8]) -> Result<()> {
        match self.stream.write_all(bytes) {
            Err(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) =>
            {
                Err(error.into())
            }
            _ => Ok(()),
        }
    }

    /// OPEN and KEEPALIVE both ways, with these bytes as the OPEN.
    pub fn establish(&mut self, open: &[u8]) -> Result<()> {
        self.say(open)?;
        let heard = self.hear()?;
        ensure!(
            matches!(heard, Heard::Other(Message::Open(_))),
            "no OPEN: {heard:?}"
        );
        let heard = self.hear()?;
        ensure!(heard == Heard::Other(Message::Keepalive), "{heard:?}");
        self.say(&encode_keepalive())
    }
}

/// A peer on a thread of its own: it accepts a session, keeps it, and is there for the next when that ends.
#[derive(Debug)]
pub struct Neighbor {
    known: Arc<Mutex<Known>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a [`Neighbor`] has heard.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Sessions that were Established.
    pub sessions: u32,
    /// Why those that are over ended.
    pub ends: Vec<String>,
    /// IPv4 routes of the session.
    pub routes: BTreeSet<Ipv4Net>,
    /// End-of-RIB of IPv4 came in the session.
    pub complete: bool,
    /// When the OPEN of the session came, and its first and last announcements.
    pub opened: Option<Instant>,
    /// See `opened`.
    pub first_route: Option<Instant>,
    /// See `opened`.
    pub last_route: Option<Instant>,
    /// The longest time between two messages of the session.
    pub longest_silence: Duration,
}

impl Neighbor {
    /// Of this AS, at a listener. It proposes this hold time, and sends a KEEPALIVE every third of it.
    pub fn start(listener: TcpListener, asn: u32, hold_time_secs: u16) -> Result<Self> {
        // Accepting ends by it as well.
        socket2::SockRef::from(&listener).set_read_timeout(Some(TURN))?;
        let SocketAddr::V4(local) = listener.local_addr()? else {
            bail!("an IPv4 address");
        };
        let open = Open {
            asn,
            hold_time_secs,
            identifier: *local.ip(),
            capabilities: Capabilities {
                families: BTreeSet::from([Family::Ipv4]),
                route_refresh: true,
                four_octet_as: true,
                ..Capabilities::default()
            },
        };
        let (known, end) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let run = (Arc::clone(&known), Arc::clone(&end));
        let thread = std::thread::Builder::new()
            .stack_size(512 * 1024)
            .spawn(move || serve(&listener, &open, &run.0, &run.1))?;
        Ok(Self {
            known,
            end,
            thread: Some(thread),
        })
    }

    /// What it knows now.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

impl Drop for Neighbor {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        // It has panicked in a test that fails anyway.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn serve(listener: &TcpListener, open: &Open, known: &Mutex<Known>, end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let why = session(stream, open, known, end);
                let mut known = lock(known);
                let why = why.map_or_else(|error| format!("{error:#}"), |()| "closed".into());
                if !end.load(Ordering::Relaxed) {
                    known.ends.push(why);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return lock(known).ends.push(error.to_string()),
        }
    }
}

fn session(stream: TcpStream, open: &Open, known: &Mutex<Known>, end: &AtomicBool) -> Result<()> {
    let mut peer = Scripted::new(stream)?;
    let opened = Instant::now();
    peer.establish(&encode_open(open))?;
    {
        let mut known = lock(known);
        known.sessions += 1;
        known.routes.clear();
        known.complete = false;
        known.opened = Some(opened);
        (known.first_route, known.last_route) = (None, None);
        known.longest_silence = Duration::ZERO;
    }
    peer.stream.set_read_timeout(Some(TURN))?;
    let third = Duration::from_secs(open.hold_time_secs.into()) / 3;
    let (mut said, mut heard_at) = (Instant::now(), Instant::now());
    while !end.load(Ordering::Relaxed) {
        if said.elapsed() >= third {
            peer.say(&encode_keepalive())?;
            said = Instant::now();
        }
        let Some(heard) = peer.next()? else { continue };
        let mut known = lock(known);
        known.longest_silence = known.longest_silence.max(heard_at.elapsed());
        heard_at = Instant::now();
        match heard {
            Heard::Update(body) => known.learn(&body).context("an UPDATE that is none")?,
            Heard::Other(Message::Notification(notification)) => bail!("{notification}"),
            Heard::Other(_) => {}
            Heard::End => return Ok(()),
        }
    }
    Ok(())
}

impl Known {
    fn learn(&mut self, body: &[u8]) -> Option<()> {
        let (withdrawn, rest) = counted(body)?;
        let (attributes, announced) = counted(rest)?;
        if withdrawn.is_empty() && attributes.is_empty() && announced.is_empty() {
            self.complete = true;
            return Some(());
        }
        for prefix in prefixes(withdrawn)? {
            self.routes.remove(&prefix);
        }
        if !announced.is_empty() {
            self.first_route.get_or_insert_with(Instant::now);
            self.last_route = Some(Instant::now());
            self.routes.extend(prefixes(announced)?);
        }
        Some(())
    }
}

fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

fn prefixes(mut bytes: &[u8]) -> Option<Vec<Ipv4Net>> {
    let mut found = Vec::new();
    while let Some((&bits, rest)) = bytes.split_first() {
        let (octets, rest) = rest.split_at_checked(usize::from(bits).div_ceil(8))?;
        let mut address = [0; 4];
        address.get_mut(..octets.len())?.copy_from_slice(octets);
        found.push(Ipv4Net::new(Ipv4Addr::from(address), bits).ok()?);
        bytes = rest;
    }
    Some(found)
}

/// Opens a connection from an address of this host, to be called in its namespace. `window` is how much it takes unread, about; none: as
/// usual.
pub fn connect(from: IpAddr, to: SocketAddr, window: Option<usize>) -> Result<Scripted> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(to),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    if let Some(octets) = window {
        socket.set_recv_buffer_size(octets)?;
    }
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket
        .connect_timeout(&to.into(), PATIENCE)
        .with_context(|| format!("connect to {to}"))?;
    Scripted::new(socket.into())
}
