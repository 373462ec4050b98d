//! The sockets that hear what routers say, and the task that reads them.

use std::io::{self, Read as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lb_common::wire::protocol;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::learned::Taken;
use super::{Learned, PathMtus, Report, Tunnels};
use crate::status::PathMtuMessages;

/// Time for one message: what comes faster overflows the socket's buffer, not this node.
const PACE: Duration = Duration::from_millis(1);
/// Before a socket that failed is read again.
const PAUSE: Duration = Duration::from_secs(1);
/// Routers quote no more than 576 and 1280 bytes with their headers (RFC 1812, RFC 4443).
const MESSAGE_MAX: usize = 2048;

/// Hears messages about the packets of tunnels, until it is dropped.
#[derive(Debug)]
pub struct Listener {
    tunnels: watch::Sender<Tunnels>,
    path_mtus: watch::Receiver<Arc<PathMtus>>,
    messages: Arc<Mutex<PathMtuMessages>>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Starts without tunnels, in the network namespace of the calling thread and within a tokio runtime; needs CAP_NET_RAW.
    pub fn start() -> io::Result<Self> {
        let ears = [Ear::v4()?, Ear::v6()?];
        let (tunnels, tunnels_seen) = watch::channel(Tunnels::default());
        let (published, path_mtus) = watch::channel(Arc::default());
        let messages = Arc::default();
        let driver = Driver {
            tunnels: tunnels_seen,
            published,
            messages: Arc::clone(&messages),
            learned: Learned::default(),
        };
        Ok(Self {
            tunnels,
            path_mtus,
            messages,
            task: tokio::spawn(driver.run(ears)),
        })
    }

    /// Makes these the tunnels that messages may be about.
    pub fn set_tunnels(&self, tunnels: Tunnels) {
        self.tunnels.send_if_modified(|current| {
            let changed = *current != tunnels;
            *current = tunnels;
            changed
        });
    }

    /// What has been learned and is in force.
    pub fn watch(&self) -> watch::Receiver<Arc<PathMtus>> {
        self.path_mtus.clone()
    }

    /// Counters since the start. Messages that quote neither UDP nor a tunnel of IP the kernel keeps back.
    pub fn messages(&self) -> PathMtuMessages {
        *self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether this process may listen.
pub fn try_to_listen() -> io::Result<()> {
    socket_v4().and_then(|_| socket_v6()).map(drop)
}

struct Driver {
    tunnels: watch::Receiver<Tunnels>,
    published: watch::Sender<Arc<PathMtus>>,
    messages: Arc<Mutex<PathMtuMessages>>,
    learned: Learned,
}

impl Driver {
    /// Ends when nobody holds the [`Listener`] any more.
    async fn run(mut self, [mut v4, mut v6]: [Ear; 2]) {
        loop {
            let end = self.learned.next_end().map(Instant::from_std);
            // All cancel-safe: a change stays marked as unseen, a message is read whole or not at all.
            tokio::select! {
                changed = self.tunnels.changed() => if changed.is_err() { return },
                heard = v4.next() => self.hear(heard).await,
                heard = v6.next() => self.hear(heard).await,
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {}
            }
            let now = Instant::now().into_std();
            self.learned.forget(&self.tunnels.borrow_and_update(), now);
            self.publish();
        }
    }

    async fn hear(&mut self, heard: io::Result<Option<Report>>) {
        match heard {
            Ok(report) => {
                self.take(report);
                sleep(PACE).await;
            }
            Err(error) => {
                tracing::warn!(%error, "messages about path MTUs cannot be read");
                sleep(PAUSE).await;
            }
        }
    }

    fn take(&mut self, report: Option<Report>) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(report) = report else {
            messages.malformed += 1;
            return;
        };
        let now = Instant::now().into_std();
        match self.learned.take(&report, &self.tunnels.borrow(), now) {
            Taken::Lowered(mtu) => {
                messages.lowered += 1;
                let (backend, said) = (report.destination, report.mtu);
                tracing::info!(%backend, mtu, said, "a router lowers the path MTU");
            }
            Taken::Known => messages.known += 1,
            Taken::Foreign => messages.foreign += 1,
        }
    }

    fn publish(&self) {
        let mtus = self.learned.mtus();
        self.published.send_if_modified(|published| {
            let changed = **published != mtus;
            if changed {
                *published = Arc::new(mtus);
            }
            changed
        });
    }
}

/// A socket, and how what it hears is read. None where the kernel has no such family.
struct Ear {
    socket: Option<AsyncFd<Socket>>,
    read: fn(&[u8]) -> Option<Report>,
    buffer: Vec<u8>,
}

impl Ear {
    fn v4() -> io::Result<Self> {
        Self::new(socket_v4()?, Report::v4)
    }

    fn v6() -> io::Result<Self> {
        Self::new(socket_v6()?, Report::v6)
    }

    fn new(socket: Option<Socket>, read: fn(&[u8]) -> Option<Report>) -> io::Result<Self> {
        Ok(Self {
            socket: socket.map(watched).transpose()?,
            read,
            buffer: vec![0; MESSAGE_MAX],
        })
    }

    /// What the next message says.
    async fn next(&mut self) -> io::Result<Option<Report>> {
        let Some(socket) = &self.socket else {
            return std::future::pending().await;
        };
        let buffer = &mut self.buffer;
        let length = socket
            .async_io(Interest::READABLE, |mut socket| socket.read(buffer))
            .await?;
        Ok((self.read)(&self.buffer[..length]))
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types that may close their descriptor early; a `Socket` does not"
)]
fn watched(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// A socket that gets "fragmentation needed" about UDP and IP in IP, from the IP header on.
fn socket_v4() -> io::Result<Option<Socket>> {
    const TYPE_AND_CODE: u32 = 0x0304;
    const QUOTED_PROTOCOL: u32 = 8 + 9;
    let look = vec![
        instruction(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0),
        instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0),
        unless(TYPE_AND_CODE, 5),
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, QUOTED_PROTOCOL),
    ];
    open(Domain::IPV4, Protocol::ICMPV4, look)
}

/// A socket that gets "packet too big" about UDP and IP in IP, from the ICMP header on.
fn socket_v6() -> io::Result<Option<Socket>> {
    const TYPE: u32 = 2;
    const QUOTED_PROTOCOL: u32 = 8 + 6;
    let look = vec![
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0),
        unless(TYPE, 5),
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, QUOTED_PROTOCOL),
    ];
    open(Domain::IPV6, Protocol::ICMPV6, look)
}

/// `look` ends with the quoted protocol loaded, or drops by a jump over what follows it.
fn open(family: Domain, icmp: Protocol, look: Vec<SockFilter>) -> io::Result<Option<Socket>> {
    let [udp, v4, v6] = [protocol::UDP, protocol::IPV4, protocol::IPV6].map(u32::from);
    let decide = [
        when(udp, 2),
        when(v4, 1),
        unless(v6, 1),
        instruction(libc::BPF_RET | libc::BPF_K, u32::MAX),
        instruction(libc::BPF_RET | libc::BPF_K, 0),
    ];
    let socket = match Socket::new(family, Type::RAW.nonblocking().cloexec(), Some(icmp)) {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => return Ok(None),
        other => other?,
    };
    socket.attach_filter(&look.into_iter().chain(decide).collect::<Vec<_>>())?;
    Ok(Some(socket))
}

fn instruction(code: u32, k: u32) -> SockFilter {
    SockFilter::new(code as u16, 0, 0, k)
}

/// Jumps over so many instructions if what is loaded is this.
fn when(value: u32, over: u8) -> SockFilter {
    SockFilter::new(JUMP_IF_EQUAL, over, 0, value)
}

/// The same if it is not.
fn unless(value: u32, over: u8) -> SockFilter {
    SockFilter::new(JUMP_IF_EQUAL, 0, over, value)
}

const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::testing::in_namespace;
    use crate::path_mtu::{Carrier, Tunnel};

    const PATIENCE: Duration = Duration::from_secs(5);

    /// Sends an ICMP message to this host itself; the kernel puts the IP header before it, and the checksum into one of ICMPv6.
    fn say(message: &[u8], v6: bool) {
        let (family, protocol, to) = match v6 {
            false => (Domain::IPV4, Protocol::ICMPV4, "127.0.0.1:0"),
            true => (Domain::IPV6, Protocol::ICMPV6, "[::1]:0"),
        };
        let socket = Socket::new(family, Type::RAW, Some(protocol)).unwrap();
        let to: std::net::SocketAddr = to.parse().unwrap();
        socket.send_to(message, &to.into()).unwrap();
    }

    /// "Fragmentation needed" about a packet of 1,556 bytes from 10.0.0.11 to 10.1.0.1, but for this type, code and protocol.
    fn message_v4(kind: u8, code: u8, protocol: u8) -> Vec<u8> {
        let mut message = vec![kind, code, 0, 0, 0, 0];
        message.extend(1400_u16.to_be_bytes());
        message.extend([0x45, 0]);
        message.extend(1556_u16.to_be_bytes());
        message.extend([0, 0, 0x40, 0, 63, protocol, 0, 0]);
        message.extend([10, 0, 0, 11, 10, 1, 0, 1, 0xc0, 0, 0x17, 0xc0, 0, 0, 0, 0]);
        let words = message.chunks(2);
        let sum: u32 = words
            .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        message[2..4].copy_from_slice(&(!sum as u16).to_be_bytes());
        message
    }

    /// "Packet too big" about one of 1,540 bytes from fd00::b to fd00:1::1, but for this type and protocol.
    fn message_v6(kind: u8, protocol: u8) -> Vec<u8> {
        let mut message = vec![kind, 0, 0, 0];
        message.extend(1410_u32.to_be_bytes());
        message.extend([0x60, 0, 0, 0]);
        message.extend(1500_u16.to_be_bytes());
        message.extend([protocol, 63]);
        for address in ["fd00::b", "fd00:1::1"] {
            let address: std::net::Ipv6Addr = address.parse().unwrap();
            message.extend(address.octets());
        }
        message.extend([0xc0, 0, 0x17, 0xc0, 0, 0, 0, 0]);
        message
    }

    #[test]
    fn what_is_said_is_heard_and_nothing_else() {
        in_namespace(async || {
            let listener = Listener::start().unwrap();
            let tunnel = Tunnel {
                carriers: [Carrier::Udp(6080)].into(),
                floor: 632,
            };
            let ends = ["10.1.0.1", "fd00:1::1"].map(|end| (end.parse().unwrap(), tunnel.clone()));
            listener.set_tunnels(Tunnels {
                sources: ["10.0.0.11".parse().unwrap(), "fd00::b".parse().unwrap()].into(),
                ends: ends.clone().into(),
            });
            // Kept back by the kernel: another kind, another code, another protocol.
            for (kind, code, protocol) in [(11, 4, 17), (3, 3, 17), (3, 4, 6)] {
                say(&message_v4(kind, code, protocol), false);
            }
            for (kind, protocol) in [(1, 17), (2, 6)] {
                say(&message_v6(kind, protocol), true);
            }
            let mut broken = message_v4(3, 4, 17);
            broken[2] ^= 1;
            say(&broken, false);
            say(&message_v4(3, 4, 4), false);
            say(&message_v4(3, 4, 17), false);
            say(&message_v6(2, 17), true);
            let expected: PathMtus = [(ends[0].0, 1400), (ends[1].0, 1410)].into();
            let mut watch = listener.watch();
            let learned = watch.wait_for(|learned| **learned == expected);
            let learned = tokio::time::timeout(PATIENCE, learned).await;
            assert!(learned.is_ok(), "{:?}", listener.watch().borrow());
            drop(learned);
            let expected = PathMtuMessages {
                lowered: 2,
                foreign: 1,
                malformed: 1,
                ..PathMtuMessages::default()
            };
            assert_eq!(listener.messages(), expected);
            // Without a tunnel nothing is known of it.
            listener.set_tunnels(Tunnels::default());
            let none = watch.wait_for(|learned| learned.is_empty());
            assert!(tokio::time::timeout(PATIENCE, none).await.is_ok());
        });
    }
}
