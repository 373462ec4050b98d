//! The UDP server of a backend: on one port with a connected socket per flow, on a range of ports with none.
//!
//! A new flow's first datagram comes to the socket that is bound to the VIP. The server opens a second one for it, bound to the
//! same address and port, connects it to the client and answers from there. Between `bind` and `connect` the kernel may put
//! datagrams of other clients into the new socket: who finds one there hands it back.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Answer, bound, raise_descriptors};

/// A flow that says nothing for so long is over, and its socket is closed.
const IDLE: Duration = Duration::from_secs(60);
const QUESTION_BYTES: usize = 64;
/// Messages of flows to the socket that began them.
const QUEUE: usize = 1024;

/// What to serve.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the server.
    pub name: String,
    /// The addresses.
    pub vips: Vec<IpAddr>,
    /// Port with a connected socket per flow.
    pub connected: u16,
    /// Ports without.
    pub stateless: RangeInclusive<u16>,
}

/// Serves until the process ends or a socket fails.
pub async fn serve(plan: Plan) -> Result<()> {
    raise_descriptors()?;
    let mut tasks = JoinSet::new();
    for vip in &plan.vips {
        for port in plan.stateless.clone() {
            let socket = listen(SocketAddr::new(*vip, port))?;
            tasks.spawn(stateless(socket, plan.name.clone()));
        }
    }
    // Last: who sees them knows that the others are there.
    for vip in &plan.vips {
        let address = SocketAddr::new(*vip, plan.connected);
        let beginnings = Beginnings::new(address, plan.name.clone())?;
        tasks.spawn(beginnings.run());
    }
    match tasks.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

fn listen(address: SocketAddr) -> Result<UdpSocket> {
    let socket = bound(address).with_context(|| format!("bind {address}"))?;
    Ok(UdpSocket::from_std(socket.into())?)
}

async fn stateless(socket: UdpSocket, name: String) -> Result<()> {
    let mut question = [0; QUESTION_BYTES];
    loop {
        let (length, client) = socket.recv_from(&mut question).await?;
        if let Some(answer) = answer(&name, client, &question[..length]) {
            // A client that cannot be reached is its own business.
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

/// What a flow's task tells the socket that began it.
enum Told {
    /// A datagram of somebody else came to its socket.
    Stray(SocketAddr, Vec<u8>),
    /// It is over.
    Ended(SocketAddr),
}

/// The socket to which flows come that have none yet.
struct Beginnings {
    name: String,
    local: SocketAddr,
    socket: UdpSocket,
    /// Sockets by client.
    flows: HashMap<SocketAddr, Arc<UdpSocket>>,
    tell: Sender<Told>,
    told: Receiver<Told>,
}

impl Beginnings {
    fn new(local: SocketAddr, name: String) -> Result<Self> {
        let (tell, told) = mpsc::channel(QUEUE);
        Ok(Self {
            name,
            local,
            socket: listen(local)?,
            flows: HashMap::new(),
            tell,
            told,
        })
    }

    async fn run(mut self) -> Result<()> {
        let mut question = [0; QUESTION_BYTES];
        loop {
            // Both are cancel-safe: what was not received stays where it is.
            tokio::select! {
                received = self.socket.recv_from(&mut question) => {
                    let (length, client) = received?;
                    self.take(client, &question[..length]).await;
                }
                Some(told) = self.told.recv() => match told {
                    Told::Stray(client, question) => self.take(client, &question).await,
                    Told::Ended(client) => drop(self.flows.remove(&client)),
                },
            }
        }
    }

    /// Answers from the flow's own socket, which is opened where there is none.
    async fn take(&mut self, client: SocketAddr, question: &[u8]) {
        let flow = match self.flows.get(&client) {
            Some(flow) => flow.clone(),
            None => match self.begin(client) {
                Ok(flow) => flow,
                Err(error) => return eprintln!("a flow from {client}: {error:#}"),
            },
        };
        if let Some(answer) = answer(&self.name, client, question) {
            let _ = flow.send(&answer).await;
        }
    }

    fn begin(&mut self, client: SocketAddr) -> Result<Arc<UdpSocket>> {
        let socket = bound(self.local)?;
        socket.connect(&client.into())?;
        let socket = Arc::new(UdpSocket::from_std(socket.into())?);
        self.flows.insert(client, socket.clone());
        let (name, tell) = (self.name.clone(), self.tell.clone());
        tokio::spawn(flow(socket.clone(), client, name, tell));
        Ok(socket)
    }
}

async fn flow(socket: Arc<UdpSocket>, client: SocketAddr, name: String, tell: Sender<Told>) {
    let mut question = [0; QUESTION_BYTES];
    while let Ok(Ok((length, from))) = timeout(IDLE, socket.recv_from(&mut question)).await {
        let question = &question[..length];
        if from != client {
            // Fails only when the process ends.
            let _ = tell.send(Told::Stray(from, question.to_vec())).await;
        } else if let Some(answer) = answer(&name, client, question) {
            let _ = socket.send(&answer).await;
        }
    }
    let _ = tell.send(Told::Ended(client)).await;
}

/// None to what is no question.
fn answer(name: &str, peer: SocketAddr, question: &[u8]) -> Option<Vec<u8>> {
    let answer = Answer {
        name: name.to_owned(),
        peer,
        sequence: u64::from_le_bytes(question.try_into().ok()?),
    };
    serde_json::to_vec(&answer).ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    async fn ask(socket: &UdpSocket, server: SocketAddr, sequence: u64) -> Result<Answer> {
        socket.send_to(&sequence.to_le_bytes(), server).await?;
        let mut answer = [0; super::super::ANSWER_BYTES];
        let (length, from) = timeout(PATIENCE, socket.recv_from(&mut answer)).await??;
        assert_eq!(from, server);
        Ok(serde_json::from_slice(&answer[..length])?)
    }

    #[tokio::test]
    async fn a_flow_keeps_its_socket_and_strays_find_theirs() -> Result<()> {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut beginnings = Beginnings::new(loopback, "be1".into())?;
        let server = beginnings.socket.local_addr()?;
        beginnings.local = server;
        let (first, second) = (
            UdpSocket::bind(loopback).await?,
            UdpSocket::bind(loopback).await?,
        );
        let tell = beginnings.tell.clone();
        let task = tokio::spawn(beginnings.run());
        for sequence in 0..3 {
            let answer = ask(&first, server, sequence).await?;
            let expected = Answer {
                name: "be1".into(),
                peer: first.local_addr()?,
                sequence,
            };
            assert_eq!(answer, expected);
        }
        // As if the second client's datagram had come to the first one's socket.
        let stray = Told::Stray(second.local_addr()?, 7_u64.to_le_bytes().to_vec());
        assert!(tell.send(stray).await.is_ok());
        let mut answer = [0; super::super::ANSWER_BYTES];
        let (length, _) = timeout(PATIENCE, second.recv_from(&mut answer)).await??;
        let answer: Answer = serde_json::from_slice(&answer[..length])?;
        assert_eq!((answer.peer, answer.sequence), (second.local_addr()?, 7));
        task.abort();
        Ok(())
    }
}
