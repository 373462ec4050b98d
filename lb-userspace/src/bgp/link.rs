//! One TCP connection with its buffers.
//!
//! `read_exact` inside `select!` loses bytes when another branch wins. Here waiting and transferring are apart:
//! [`Link::ready`] only waits, so it can be dropped at any time, and what has been read or not yet written stays in the
//! buffers.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::codec::{self, DecodeError, Message, MessageType};
use super::config::PeerConfig;
use super::{sockopt, transport};

/// Bytes read in one go; a peer that floods must wait for its turn again.
const READ_MAX: usize = 4 * codec::MESSAGE_MAX;

/// How long a connection that is being closed may take to get its last message out and be closed by the peer.
const LINGER: Duration = Duration::from_secs(2);

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    inbox: Vec<u8>,
    /// Of the inbox, as far as messages have been taken out.
    taken: usize,
    outbox: Vec<u8>,
    written: usize,
    /// What was not acknowledged when it was last asked for, and pushed since.
    outstanding: usize,
}

impl Link {
    pub fn new(stream: TcpStream) -> Link {
        Link {
            stream,
            inbox: Vec::new(),
            taken: 0,
            outbox: Vec::new(),
            written: 0,
            outstanding: 0,
        }
    }

    /// Signs with the peer's password from now on.
    pub fn rekey(&self, remote: IpAddr, peer: &PeerConfig) -> io::Result<()> {
        transport::set_password(self.stream.as_fd(), remote.into(), peer)
    }

    /// Returns when bytes can be read, or written where some wait. Cancel-safe.
    pub async fn ready(&self) -> io::Result<()> {
        let interest = match self.is_pending() {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        self.stream.ready(interest).await.map(drop)
    }

    /// Appends what has arrived to the inbox.
    ///
    /// # Errors
    /// The connection has ended, in order or not.
    pub fn read(&mut self) -> io::Result<()> {
        self.inbox.drain(..std::mem::take(&mut self.taken));
        let start = self.inbox.len();
        self.inbox.resize(start + READ_MAX, 0);
        let result = self.stream.try_read(&mut self.inbox[start..]);
        self.inbox
            .truncate(start + result.as_ref().copied().unwrap_or(0));
        match result {
            Ok(0) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "closed by the peer",
            )),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Takes the next whole message out of the inbox, and its type; an error stays the last thing there is.
    pub fn next_message(&mut self) -> Option<(Option<MessageType>, Result<Message, DecodeError>)> {
        let (length, kind) = match codec::frame(&self.inbox[self.taken..]) {
            Ok(frame) => frame?,
            Err(error) => return Some((None, Err(error))),
        };
        let message = codec::decode(&self.inbox[self.taken..self.taken + length]);
        self.taken += length;
        Some((Some(kind), message))
    }

    /// Appends a message to the outbox.
    pub fn push(&mut self, message: &[u8]) {
        self.outbox.extend_from_slice(message);
        self.outstanding += message.len();
    }

    /// Bytes wait to be written.
    pub fn is_pending(&self) -> bool {
        self.written < self.outbox.len()
    }

    /// Whether the peer has not acknowledged all that was pushed, and whether it has acknowledged some since the last time. TCP takes a
    /// lot into its own buffers, so that what it takes says nothing of the peer.
    pub fn progress(&mut self) -> (bool, bool) {
        let kernel = sockopt::unacknowledged(self.stream.as_fd()).unwrap_or_default();
        let before = self.outstanding;
        self.outstanding = self.outbox.len() - self.written + kernel;
        (self.outstanding > 0, self.outstanding < before)
    }

    /// Gives TCP what it takes.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn write(&mut self) -> io::Result<()> {
        while self.is_pending() {
            match self.stream.try_write(&self.outbox[self.written..]) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        if !self.is_pending() {
            self.outbox.clear();
            self.written = 0;
        }
        Ok(())
    }

    /// Writes what is left, closes our half and reads until the peer has closed: with unread data in the way, closing at
    /// once would send a reset that overtakes the NOTIFICATION.
    pub async fn linger(mut self) {
        let closing = async {
            while self.is_pending() {
                self.stream.writable().await?;
                self.write()?;
            }
            let stream = self.stream.into_std()?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let stream = TcpStream::from_std(stream)?;
            let mut discarded = [0; 4096];
            loop {
                stream.readable().await?;
                match stream.try_read(&mut discarded) {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => return Err(e),
                }
            }
        };
        // What fails here is gone, which is what was wanted.
        let _: Result<io::Result<()>, _> = tokio::time::timeout(LINGER, closing).await;
    }
}

/// Our end of a connection.
pub(super) fn local_address(stream: &TcpStream) -> IpAddr {
    let unknown = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    stream
        .local_addr()
        .map_or(unknown, |a| a.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, Link) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (far, near) = tokio::join!(TcpStream::connect(address), listener.accept());
        (
            far.expect("connected"),
            Link::new(near.expect("accepted").0),
        )
    }

    #[tokio::test]
    async fn a_flood_does_not_grow_the_inbox() {
        let (mut far, mut link) = pair().await;
        let flood = tokio::spawn(async move {
            let keepalives = codec::encode_keepalive().repeat(500_000);
            far.write_all(&keepalives).await
        });
        let mut heard = 0;
        while heard < 500_000 {
            link.ready().await.expect("alive");
            link.read().expect("alive");
            while let Some((_, message)) = link.next_message() {
                assert_eq!(message, Ok(Message::Keepalive));
                heard += 1;
            }
        }
        assert!(
            link.inbox.capacity() <= 4 * READ_MAX,
            "{}",
            link.inbox.capacity()
        );
        flood.await.expect("no panic").expect("written");
    }

    /// RFC 9687 section 3: what counts is that the peer takes it.
    #[tokio::test]
    async fn rfc9687_3_what_the_kernel_holds_is_not_sent() {
        const OCTETS: usize = 16 << 20;
        let (mut far, mut link) = pair().await;
        assert_eq!(link.progress(), (false, false));
        link.push(&vec![0; OCTETS]);
        link.write().expect("alive");
        assert!(link.is_pending(), "more than the kernels take");
        loop {
            let (pending, progress) = link.progress();
            assert!(pending, "it reads nothing");
            if !progress {
                break;
            }
        }
        let reader = tokio::spawn(async move {
            tokio::io::copy(&mut (&mut far).take(OCTETS as u64), &mut tokio::io::sink()).await
        });
        let mut progressed = false;
        loop {
            link.write().expect("alive");
            let (pending, progress) = link.progress();
            progressed |= progress;
            if !pending {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(progressed);
        reader.await.expect("no panic").expect("read");
    }

    #[tokio::test]
    async fn what_came_before_the_end_is_there() {
        let (mut far, mut link) = pair().await;
        far.write_all(&codec::encode_keepalive())
            .await
            .expect("written");
        drop(far);
        let mut ended = false;
        while !ended {
            link.ready().await.expect("readable");
            ended = link.read().is_err();
        }
        assert_eq!(
            link.next_message().map(|(_, m)| m),
            Some(Ok(Message::Keepalive))
        );
        assert_eq!(link.next_message(), None);
    }
}
