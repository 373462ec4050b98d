//! The kernel's sockets, looked up from XDP or TC.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::{NonNull, from_ref};

use aya_ebpf::bindings::{bpf_sock, bpf_sock_tuple, tcphdr};
use aya_ebpf::helpers::{
    bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp, bpf_skc_to_tcp_request_sock,
    bpf_skc_to_tcp_timewait_sock, bpf_tcp_check_syncookie,
};
use lb_common::backend::{Flow, Found, Sockets};
use lb_common::packet::Packet;
use lb_common::wire::{Ipv4, Ipv6, Tcp};

/// A packet that a program runs for.
pub trait Arrived {
    /// The program's context, for helpers.
    fn context(&self) -> *mut c_void;
}

/// State numbers of the kernel's `tcp_states.h`.
const ESTABLISHED: u32 = 1;
const FIN_WAIT_2: u8 = 5;
const TIME_WAIT: u32 = 6;
const LISTEN: u32 = 10;
const NEW_SYN_RECV: u32 = 12;

/// Where this kernel keeps what its helpers do not show. Zero: not known.
#[derive(Clone, Copy)]
pub struct Offsets {
    /// `tcp_request_sock.snt_isn`, the sequence number of the SYN-ACK.
    pub sent_isn: u32,
    /// `tcp_timewait_sock.tw_sk.tw_substate`.
    pub time_wait_substate: u32,
}

/// Who knows them. They are asked for where one is needed, which is rare.
pub trait Kernel {
    /// Those of this kernel.
    fn offsets() -> Offsets;
}

/// Sockets of the network namespace that a packet came into.
pub struct KernelSockets<K> {
    context: *mut c_void,
    kernel: PhantomData<K>,
}

impl<K: Kernel> KernelSockets<K> {
    /// For the packet.
    #[inline(always)]
    pub fn new(packet: &impl Arrived) -> Self {
        Self {
            context: packet.context(),
            kernel: PhantomData,
        }
    }

    #[inline(always)]
    fn find(&self, helper: LookUp, flow: &Flow) -> Option<Socket> {
        match *flow {
            Flow::V4 { client, vip, ports } => self.look_up(helper, TupleV4 { client, vip, ports }),
            Flow::V6 { client, vip, ports } => self.look_up(helper, TupleV6 { client, vip, ports }),
        }
    }

    #[inline(always)]
    fn look_up<T>(&self, helper: LookUp, mut tuple: T) -> Option<Socket> {
        const CURRENT_NAMESPACE: u64 = u64::MAX;
        // SAFETY: the tuple is one of the two layouts that the helper tells apart by its length.
        let socket = unsafe {
            helper(
                self.context,
                (&raw mut tuple).cast::<bpf_sock_tuple>(),
                size_of::<T>() as u32,
                CURRENT_NAMESPACE,
                0,
            )
        };
        NonNull::new(socket).map(Socket)
    }
}

/// The helpers that find a socket.
type LookUp = unsafe fn(*mut c_void, *mut bpf_sock_tuple, u32, u64, u64) -> *mut bpf_sock;

impl<P: Packet, K: Kernel> Sockets<P> for KernelSockets<K> {
    #[inline(always)]
    fn connected(&self, flow: &Flow) -> bool {
        self.find(bpf_sk_lookup_udp, flow)
            .is_some_and(|socket| socket.state() == ESTABLISHED && socket.is_of(flow))
    }

    #[inline(always)]
    fn tcp(&self, packet: &P, flow: &Flow, headers: Option<(usize, usize)>) -> Found {
        let Some(socket) = self.find(bpf_skc_lookup_tcp, flow) else {
            return Found::Nothing;
        };
        match socket.state() {
            LISTEN if headers.is_some_and(|at| socket.confirms(packet, flow, at)) => Found::Cookie,
            LISTEN => Found::Listener,
            NEW_SYN_RECV => Found::Handshake(socket.sent_isn(K::offsets().sent_isn)),
            TIME_WAIT if socket.is_half_closed(K::offsets().time_wait_substate) => Found::Live,
            TIME_WAIT => Found::TimeWait,
            _ => Found::Live,
        }
    }
}

/// `bpf_sock_tuple.ipv4`, from the packet's side.
#[repr(C)]
struct TupleV4 {
    client: u32,
    vip: u32,
    ports: u32,
}

/// `bpf_sock_tuple.ipv6`: 36 bytes, by which the helper knows it.
#[repr(C, packed(4))]
struct TupleV6 {
    client: [u64; 2],
    vip: [u64; 2],
    ports: u32,
}

const _: () = assert!(size_of::<TupleV4>() == 12 && size_of::<TupleV6>() == 36);

/// A referenced socket, full or not; dropping it releases the reference, which the verifier insists on.
struct Socket(NonNull<bpf_sock>);

impl Drop for Socket {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the lookup returned it, and nobody else releases it.
        unsafe { bpf_sk_release(self.0.as_ptr().cast()) };
    }
}

impl Socket {
    #[inline(always)]
    fn state(&self) -> u32 {
        // SAFETY: `state` belongs to the part that every kind of socket has.
        unsafe { (*self.0.as_ptr()).state }
    }

    /// Whether the other end is the client's: a socket that was merely bound when it was found may have been connected to
    /// another client since.
    #[inline(always)]
    fn is_of(&self, flow: &Flow) -> bool {
        let socket = self.0.as_ptr();
        // Every field alone, for the verifier takes no load of two.
        // SAFETY: the helper returned a full socket, whose fields these are.
        let port = unsafe { (&raw const (*socket).dst_port).read_volatile() };
        let word = |index: usize| {
            // SAFETY: as above; no index is above three.
            let word = unsafe { (&raw const (*socket).dst_ip6[index]).read_volatile() };
            u64::from(u32::from_le(word))
        };
        let (same_address, ports) = match *flow {
            Flow::V4 { client, ports, .. } => {
                // SAFETY: as above.
                let address = unsafe { (&raw const (*socket).dst_ip4).read_volatile() };
                (address == client, ports)
            }
            Flow::V6 { client, ports, .. } => {
                let (first, second) = (word(0) | word(1) << 32, word(2) | word(3) << 32);
                let same = first == u64::from_le(client[0]) && second == u64::from_le(client[1]);
                (same, ports)
            }
        };
        same_address && u32::from(u16::from_le(port)) == u32::from_le(ports) & 0xffff
    }

    /// Whether the segment carries a valid SYN cookie for this listener.
    #[inline(always)]
    fn confirms(&self, packet: &impl Packet, flow: &Flow, (ip, tcp): (usize, usize)) -> bool {
        let Some(tcp) = packet.get_at::<Tcp>(tcp) else {
            return false;
        };
        let ip: Option<(*const c_void, usize)> = match flow {
            Flow::V4 { .. } => packet
                .get_at::<Ipv4>(ip)
                .map(|ip| (from_ref(ip).cast(), size_of::<Ipv4>())),
            Flow::V6 { .. } => packet
                .get_at::<Ipv6>(ip)
                .map(|ip| (from_ref(ip).cast(), size_of::<Ipv6>())),
        };
        let Some((ip, length)) = ip else {
            return false;
        };
        // SAFETY: both headers lie inside the packet, as `get_at` has proved; the helper only reads them.
        let answer = unsafe {
            bpf_tcp_check_syncookie(
                self.0.as_ptr().cast(),
                ip.cast_mut(),
                length as u32,
                from_ref(tcp).cast_mut().cast::<tcphdr>(),
                size_of::<Tcp>() as u32,
            )
        };
        answer == 0
    }

    /// Sequence number of the SYN-ACK, where `offset` says where it is.
    #[inline(always)]
    fn sent_isn(&self, offset: u32) -> Option<u32> {
        if offset == 0 {
            return None;
        }
        // SAFETY: the helper checks the kind of socket.
        let request = unsafe { bpf_skc_to_tcp_request_sock(self.0.as_ptr().cast()) };
        if request.is_null() {
            return None;
        }
        // SAFETY: the verifier knows the type and accepts only an offset at which it has a field of this size.
        Some(unsafe {
            request
                .cast::<u8>()
                .add(offset as usize)
                .cast::<u32>()
                .read()
        })
    }

    /// The kernel keeps an orphan in FIN_WAIT_2 as it keeps TIME_WAIT; its peer still has a FIN to send.
    #[inline(always)]
    fn is_half_closed(&self, offset: u32) -> bool {
        if offset == 0 {
            return false;
        }
        // SAFETY: the helper checks the kind of socket.
        let time_wait = unsafe { bpf_skc_to_tcp_timewait_sock(self.0.as_ptr().cast()) };
        if time_wait.is_null() {
            return false;
        }
        // SAFETY: as in `sent_isn`.
        unsafe { time_wait.cast::<u8>().add(offset as usize).read() == FIN_WAIT_2 }
    }
}
