//! Frames put on a link and taken off one as they are.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use super::netns::Netns;

/// Sends one frame, from the Ethernet header on, out of a device of the namespace.
pub fn send(netns: &Netns, device: &str, frame: &[u8]) -> Result<()> {
    Sender::open(netns, device)?.send(frame)
}

/// Sends frames out of one device.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
    ifindex: u32,
}

impl Sender {
    /// Out of a device of the namespace.
    pub fn open(netns: &Netns, device: &str) -> Result<Self> {
        netns.run(|| {
            let ifindex = nix::net::if_::if_nametoindex(device).context(device.to_owned())?;
            let socket = packet_socket().context("a packet socket")?;
            Ok(Self { socket, ifindex })
        })
    }

    /// Sends one, from the Ethernet header on.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        send_by(&self.socket, self.ifindex, frame).context("send a frame")
    }
}

/// A socket that receives nothing.
fn packet_socket() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn send_by(socket: &OwnedFd, ifindex: u32, frame: &[u8]) -> io::Result<()> {
    // SAFETY: plain data, for which zeroes are a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = ifindex.cast_signed();
    // SAFETY: the frame and the address live through the call, and both lengths are theirs.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    match usize::try_from(sent) {
        Ok(sent) if sent == frame.len() => Ok(()),
        Ok(_) => Err(io::Error::from(io::ErrorKind::WriteZero)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Sees every frame that comes into a namespace.
#[derive(Debug)]
pub struct Tap(Socket);

/// A frame off the link.
#[derive(Debug)]
pub struct Received {
    /// From the Ethernet header on, without the tag.
    pub frame: Vec<u8>,
    /// VLAN tag: EtherType, and priority and identifier. The receiver's kernel takes it into its own keeping.
    pub tag: Option<(u16, u16)>,
}

impl Tap {
    /// Sees what comes from now on.
    pub fn open(netns: &Netns) -> Result<Self> {
        const EVERY_PROTOCOL: u16 = 3;
        netns.run(|| {
            let every = Protocol::from(i32::from(EVERY_PROTOCOL.to_be()));
            let tap = Socket::new(Domain::PACKET, Type::RAW, Some(every))?;
            auxiliary_data(&tap).context("PACKET_AUXDATA")?;
            Ok(Self(tap))
        })
    }

    /// The next frame to a MAC address.
    pub fn next_to(&self, mac: [u8; 6], patience: Duration) -> Result<Received> {
        let start = Instant::now();
        while let Some(left) = patience.checked_sub(start.elapsed()) {
            self.0
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let received = receive(&self.0).with_context(|| format!("no frame to {mac:02x?}"))?;
            if received.frame.starts_with(&mac) {
                return Ok(received);
            }
        }
        bail!("no frame to {mac:02x?}")
    }
}

fn auxiliary_data(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value lives through the call, and the length is its own.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_AUXDATA,
            (&raw const on).cast(),
            size_of_val(&on) as u32,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn receive(socket: &Socket) -> io::Result<Received> {
    const TAG_VALID: u32 = 1 << 4;
    let mut frame = vec![0; 2048];
    let mut control = [0_u64; 16];
    let mut part = libc::iovec {
        iov_base: frame.as_mut_ptr().cast(),
        iov_len: frame.len(),
    };
    // SAFETY: plain data, for which zeroes are a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: both buffers live through the call, and the lengths are theirs.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    frame.truncate(length);
    // SAFETY: the kernel has filled the control buffer as the header says.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    let tag = header
        .filter(|header| {
            (header.cmsg_level, header.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA)
        })
        .and_then(|header| {
            // SAFETY: the type says what the data are; they may lie anywhere.
            let data: libc::tpacket_auxdata =
                unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
            (data.tp_status & TAG_VALID != 0).then_some((data.tp_vlan_tpid, data.tp_vlan_tci))
        });
    Ok(Received { frame, tag })
}
