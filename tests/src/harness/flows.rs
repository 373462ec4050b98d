//! Flows as a kernel sees them: connections over `lo`, and handshakes that end half-way.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::netns::Netns;
use crate::packet::{SYN, Segment};

const PATIENCE: Duration = Duration::from_secs(5);

/// Puts `local` addresses on `lo`; what is sent to `ghosts` goes into the void.
pub fn lay_out(netns: &Netns, local: &[IpAddr], ghosts: &[IpAddr]) -> Result<()> {
    for address in local {
        netns.ip(&format!("address add {address} dev lo"))?;
    }
    netns.ip("link add ghosts type veth peer name void")?;
    netns.ip("link set void up")?;
    netns.ip("link set ghosts up")?;
    for ghost in ghosts {
        netns.ip(&format!("route add {ghost} dev ghosts"))?;
        netns.ip(&format!(
            "neighbour add {ghost} lladdr 02:00:00:00:00:09 dev ghosts"
        ))?;
    }
    Ok(())
}

/// A connection over `lo` through a listener of its own: client's and server's end.
pub fn connection(client: SocketAddr, vip: SocketAddr) -> Result<(TcpStream, TcpStream)> {
    connection_to(&TcpListener::bind(vip)?, client)
}

/// A connection over `lo` to a listener: client's and server's end.
pub fn connection_to(listener: &TcpListener, client: SocketAddr) -> Result<(TcpStream, TcpStream)> {
    let vip = listener.local_addr()?;
    let socket = Socket::new(Domain::for_address(vip), Type::STREAM, None)?;
    socket.bind(&client.into())?;
    socket.connect(&vip.into())?;
    Ok((socket.into(), listener.accept()?.0))
}

/// Sends the SYN of a client that exists only as packets, and returns the sequence number of the SYN-ACK.
pub fn half_open(ghost: SocketAddr, vip: SocketAddr) -> Result<u32> {
    const EVERY_PROTOCOL: u16 = 3;
    let tap = Socket::new(
        Domain::PACKET,
        Type::RAW,
        Some(Protocol::from(i32::from(EVERY_PROTOCOL.to_be()))),
    )?;
    tap.set_read_timeout(Some(PATIENCE))?;
    send(&Segment::new(ghost, vip, SYN))?;
    let start = Instant::now();
    let mut buffer = [0; 2048];
    while start.elapsed() < PATIENCE {
        let length = (&tap).read(&mut buffer).context("no SYN-ACK")?;
        if let Some(sequence) = syn_ack(&buffer[..length], vip, ghost) {
            return Ok(sequence);
        }
    }
    bail!("no SYN-ACK to {ghost}")
}

fn send(segment: &Segment) -> Result<()> {
    const HEADER_INCLUDED: i32 = 255;
    let domain = Domain::for_address(segment.destination);
    let socket = Socket::new(domain, Type::RAW, Some(HEADER_INCLUDED.into()))?;
    let to: SockAddr = SocketAddr::new(segment.destination.ip(), 0).into();
    socket.send_to(&segment.ip(), &to)?;
    Ok(())
}

fn syn_ack(frame: &[u8], from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let (source, tcp) = match frame.get(12..14)? {
        [8, 0] => (frame.get(26..30)?, frame.get(34..)?),
        [0x86, 0xdd] => (frame.get(22..38)?, frame.get(54..)?),
        _ => return None,
    };
    let address = match from.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let matches = source == address && tcp.get(..4)? == ports && tcp.get(13)? & 0x12 == 0x12;
    matches.then(|| u32::from_be_bytes(tcp[4..8].try_into().expect("four bytes")))
}
