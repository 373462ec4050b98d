//! `cargo xtask bench bgp-scale`: what it takes the speaker to tell many peers of many prefixes, and what memory it has then.
//!
//! The speaker is a process of its own, with peers on addresses of the loopback interface that keep all that they hear. Each run lets
//! it announce all prefixes to all peers at once, and withdraw them.
//!
//! | file | holds |
//! |---|---|
//! | this | the peers and the runs |
//! | [`speaker`] | the process |
//! | [`report`] | the figures as JSON and as a table |

pub mod report;
pub mod speaker;

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::harness::scripted::{Known, Neighbor};
use crate::harness::{poll, process};
use report::Row;

/// Sessions and routes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PEER_ASN: u32 = 65000;
const HOLD_TIME_SECS: u16 = 90;

/// So many peers hear of so many prefixes, so many times. `program` is this benchmark's.
pub async fn run(program: &Path, peers: u16, prefixes: u32, runs: usize) -> Result<Row> {
    let (neighbors, port) = neighbors(peers)?;
    let mut speaker = Command::new(program)
        .args(["--speaker", &port.to_string()])
        .args(["--peers", &peers.to_string()])
        .args(["--prefixes", &prefixes.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| program.display().to_string())?;
    let mut orders = speaker.stdin.take().context("a pipe")?;
    let id = speaker.id();
    let mut figures = Figures {
        neighbors: &neighbors,
        id,
        most: 0,
    };
    let result = async {
        figures
            .until("all sessions", |known| known.complete)
            .await?;
        let mut times = Vec::new();
        for _ in 0..runs {
            let count = prefixes as usize;
            orders.write_all(b"announce\n")?;
            let begin = Instant::now();
            figures
                .until("all routes", |known| known.routes.len() == count)
                .await?;
            let last = figures.last_route().context("a route")?;
            times.push(last.duration_since(begin));
            orders.write_all(b"withdraw\n")?;
            figures
                .until("no routes", |known| known.routes.is_empty())
                .await?;
        }
        let known = neighbors.iter().map(|neighbor| neighbor.known().clone());
        for known in known {
            ensure!(known.sessions == 1 && known.ends.is_empty(), "{known:?}");
        }
        Ok(times)
    }
    .await;
    // Its orders end, and with them the process.
    drop(orders);
    speaker.wait()?;
    Ok(Row::new(peers, prefixes, result?, figures.most))
}

/// The address of a peer by its number.
fn address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

/// All at the same port.
fn neighbors(count: u16) -> Result<(Vec<Neighbor>, u16)> {
    let first = TcpListener::bind((address(1), 0))?;
    let port = first.local_addr()?.port();
    let others = (2..=count).map(|number| TcpListener::bind((address(number), port)));
    let listeners = std::iter::once(Ok(first)).chain(others);
    let neighbors = listeners
        .map(|listener| Neighbor::start(listener?, PEER_ASN, HOLD_TIME_SECS))
        .collect::<Result<_>>()?;
    Ok((neighbors, port))
}

struct Figures<'n> {
    neighbors: &'n [Neighbor],
    id: u32,
    /// Memory that is no file's, bytes.
    most: u64,
}

impl Figures<'_> {
    async fn until(&mut self, what: &str, holds: impl Fn(&Known) -> bool) -> Result<()> {
        poll::until(what, PATIENCE, async || {
            self.most = self.most.max(process::memory(self.id, "RssAnon:")?);
            let there = self.neighbors.iter().filter(|one| holds(&one.known()));
            let (there, all) = (there.count(), self.neighbors.len());
            ensure!(there == all, "{there} of {all} peers");
            Ok(())
        })
        .await?;
        Ok(())
    }

    fn last_route(&self) -> Option<Instant> {
        let last = self.neighbors.iter().map(|one| one.known().last_route);
        last.max().flatten()
    }
}
