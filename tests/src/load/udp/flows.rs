//! Many flows, each with a socket of its own, that send a datagram and wait for its answer.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{ANSWER_BYTES, Answer, raise_descriptors};

/// Flows from the runtime's namespace to one address and port.
#[derive(Debug)]
pub struct Flows {
    runtime: Handle,
    flows: Vec<Flow>,
    sequence: u64,
}

/// One of them.
#[derive(Debug)]
pub struct Flow {
    socket: UdpSocket,
    /// The client's address and port.
    pub local: SocketAddr,
    /// Who answered first.
    pub server: Option<String>,
}

/// What became of a datagram on each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Without an answer.
    pub unanswered: usize,
    /// Answered by another server than the flow's first datagram.
    pub moved: usize,
    /// Answers whose server saw another address than the client's.
    pub foreign_peer: usize,
    /// Who answered.
    pub servers: BTreeSet<String>,
}

impl Flows {
    /// Opens the sockets; nothing is sent yet.
    pub async fn open(runtime: &Handle, target: SocketAddr, count: usize) -> Result<Self> {
        raise_descriptors()?;
        let work = async move {
            let mut flows = Vec::with_capacity(count);
            for _ in 0..count {
                flows.push(Flow::open(target).await?);
            }
            Ok::<_, anyhow::Error>(flows)
        };
        Ok(Self {
            runtime: runtime.clone(),
            flows: runtime.spawn(work).await??,
            sequence: 0,
        })
    }

    /// A datagram on each, `at_once` under way at a time, each given `patience`.
    pub async fn round(&mut self, at_once: usize, patience: Duration) -> Result<Round> {
        let (flows, sequence) = (std::mem::take(&mut self.flows), self.sequence);
        self.sequence += 1;
        let work = async move {
            let permits = Arc::new(Semaphore::new(at_once));
            let mut tasks = JoinSet::new();
            for flow in flows {
                let permit = permits.clone().acquire_owned().await;
                tasks.spawn(async move {
                    let _permit = permit;
                    let answer = timeout(patience, flow.ask(sequence)).await;
                    (flow, answer.ok())
                });
            }
            tasks.join_all().await
        };
        let mut round = Round::default();
        for (mut flow, answer) in self.runtime.spawn(work).await? {
            round.count(&mut flow, answer);
            self.flows.push(flow);
        }
        Ok(round)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter()
    }
}

impl Flow {
    async fn open(target: SocketAddr) -> Result<Self> {
        let socket = connected(target).await?;
        Ok(Self {
            local: socket.local_addr()?,
            socket,
            server: None,
        })
    }

    /// Waits for the answer to the end of the world.
    async fn ask(&self, sequence: u64) -> Answer {
        // What cannot be sent is not answered, and the patience ends it.
        let _ = self.socket.send(&sequence.to_le_bytes()).await;
        loop {
            match receive(&self.socket).await {
                Some(answer) if answer.sequence == sequence => return answer,
                // An answer that was late for its own round, or an error that an earlier datagram met.
                _ => {}
            }
        }
    }
}

impl Round {
    fn count(&mut self, flow: &mut Flow, answer: Option<Answer>) {
        let Some(answer) = answer else {
            self.unanswered += 1;
            return;
        };
        self.foreign_peer += usize::from(answer.peer != flow.local);
        let first = flow.server.get_or_insert_with(|| answer.name.clone());
        self.moved += usize::from(*first != answer.name);
        self.servers.insert(answer.name);
    }
}

/// A socket with a free port, connected to `target`.
pub(super) async fn connected(target: SocketAddr) -> Result<UdpSocket> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(target).await?;
    Ok(socket)
}

/// The next datagram; none where it is no answer, or an error came in its place. Cancel-safe.
pub(super) async fn receive(socket: &UdpSocket) -> Option<Answer> {
    let mut answer = [0; ANSWER_BYTES];
    let length = socket.recv(&mut answer).await.ok()?;
    serde_json::from_slice(&answer[..length]).ok()
}
