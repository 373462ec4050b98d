//! A reload of a large configuration under traffic: how long it takes, and that no datagram is lost. Prints its figures as JSON.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_tests::harness::{poll, privileged};
use lb_tests::lab::agent::Agent;
use lb_tests::lone::Lone;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::interval;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const POOLS: u32 = 10;
const BACKENDS: u32 = 100;
const SERVICES: u32 = 1000;
/// The pool that changes, and the service whose traffic is watched.
const CHANGED: u32 = 3;
const RELOADS: u32 = 9;
/// From the request to applied.
const LIMIT: Duration = Duration::from_millis(250);
const START: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);
/// Port of the tunnel.
const GUE: u16 = 6080;
const PORT: u16 = 80;
const FLOWS: u32 = 64;
/// Datagrams per millisecond.
const RATE: u64 = 4;

/// A thousand services, every pool's first over UDP; in the pool that changes the backend `spare` is missing.
fn configuration(lone: &Lone, spare: u32) -> String {
    let node = lone.node();
    let mut text = node.lb_section();
    text += "[bgp]\nasn = 65001\n[[bgp.peer]]\naddress = \"10.0.1.1\"\nasn = 65000\n";
    // Writing to a string cannot fail.
    for pool in 0..POOLS {
        let _ = writeln!(
            text,
            "[[pool]]\nname = \"p{pool}\"\ncheck = {{ type = \"tcp\", port = {PORT}, interval = \"5s\", timeout = \"3s\", rise = 1 }}"
        );
        for backend in
            (0..=BACKENDS).filter(|&n| n != if pool == CHANGED { spare } else { BACKENDS })
        {
            let _ = writeln!(
                text,
                "[[pool.backend]]\naddress = \"10.2.{pool}.{}\"",
                backend + 1
            );
        }
    }
    for service in 0..SERVICES {
        let protocol = if service < POOLS { "udp" } else { "tcp" };
        let _ = writeln!(
            text,
            "[[service]]\nname = \"s{service}\"\nvip = \"{}\"\nprotocol = \"{protocol}\"\nports = [{PORT}]\npool = \"p{}\"",
            vip(service),
            service % POOLS
        );
    }
    text
}

fn vip(service: u32) -> Ipv4Addr {
    Ipv4Addr::new(
        198,
        51,
        (100 + service / 250) as u8,
        (service % 250 + 1) as u8,
    )
}

/// One machine is all backends: it has all their addresses, and one web server.
async fn site() -> Result<Lone> {
    let lone = Lone::build("anylb-rl-load", LAB, 1).await?;
    let star = &lone.star;
    star.r1.ip("route add 10.2.0.0/16 via 10.1.1.2")?;
    star.r1.ip("route add 198.51.96.0/20 via 10.0.1.2")?;
    star.backends[0]
        .netns
        .ip("route add local 10.2.0.0/16 dev lo")?;
    Ok(lone)
}

async fn serving(lone: &Lone) -> Result<Agent> {
    let agent = lone.start().await?;
    poll::until("all services", START, async || {
        let status = agent.status()?;
        let served = status.services.iter().filter(|service| service.announced);
        let served = served.count();
        ensure!(served == SERVICES as usize, "{served} served");
        Ok(())
    })
    .await?;
    Ok(agent)
}

/// Datagrams with numbers on their way through the node.
struct Traffic {
    stop: watch::Sender<bool>,
    sender: JoinHandle<Result<u64>>,
    receiver: JoinHandle<Result<BTreeSet<u64>>>,
}

impl Traffic {
    fn start(lone: &Lone) -> Result<Self> {
        let backend = &lone.star.backends[0].netns;
        let tunnel = backend.run(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, GUE))?))?;
        let client = &lone.star.client;
        let flow = |_| client.run(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?));
        let flows: Vec<UdpSocket> = (0..FLOWS).map(flow).collect::<Result<_>>()?;
        let (stop, stopped) = watch::channel(false);
        let (ended, end) = watch::channel(false);
        Ok(Self {
            stop,
            sender: tokio::spawn(send(flows, stopped, ended)),
            receiver: tokio::spawn(receive(tunnel, end)),
        })
    }

    /// How many were sent, and which of them did not arrive.
    async fn finish(self) -> Result<(u64, Vec<u64>)> {
        self.stop.send(true)?;
        let sent = self.sender.await??;
        let arrived = self.receiver.await??;
        Ok((sent, (0..sent).filter(|n| !arrived.contains(n)).collect()))
    }
}

async fn send(
    flows: Vec<UdpSocket>,
    stopped: watch::Receiver<bool>,
    ended: watch::Sender<bool>,
) -> Result<u64> {
    let mut ticks = interval(Duration::from_millis(1));
    let mut sent = 0;
    while !*stopped.borrow() {
        ticks.tick().await;
        for _ in 0..RATE {
            let flow = &flows[(sent % u64::from(FLOWS)) as usize];
            flow.send_to(&sent.to_be_bytes(), (vip(CHANGED), PORT))?;
            sent += 1;
        }
    }
    ended.send(true)?;
    Ok(sent)
}

/// Until nothing has come for a while after the end.
async fn receive(tunnel: UdpSocket, end: watch::Receiver<bool>) -> Result<BTreeSet<u64>> {
    tunnel.set_nonblocking(true)?;
    let tunnel = tokio::net::UdpSocket::from_std(tunnel)?;
    let mut arrived = BTreeSet::new();
    let mut datagram = [0; 2048];
    loop {
        let quiet = Duration::from_millis(300);
        match tokio::time::timeout(quiet, tunnel.recv(&mut datagram)).await {
            Ok(length) => {
                let number = datagram[..length?].last_chunk::<8>().context("a number")?;
                arrived.insert(u64::from_be_bytes(*number));
            }
            Err(_) if *end.borrow() => return Ok(arrived),
            Err(_) => {}
        }
    }
}

/// In a thread of its own: the traffic goes on.
async fn reload(lone: &Lone) -> Result<Duration> {
    let mut command = Command::new(lone.anylb());
    let socket = lone.node().dir.join("run/admin.sock");
    command.arg("--socket").arg(socket).arg("reload");
    let timed = move || {
        let start = Instant::now();
        let output = command.output();
        (output, start.elapsed())
    };
    let (output, elapsed) = tokio::task::spawn_blocking(timed).await?;
    let output = output?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{text}");
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(told.contains("of 65536 rows move"), "{told}");
    Ok(elapsed)
}

#[tokio::test]
#[cfg_attr(
    debug_assertions,
    ignore = "tables of a thousand backends take a debug build too long"
)]
async fn one_pool_of_ten_changes_under_traffic_in_time_and_without_loss() -> Result<()> {
    if !privileged::available("one_pool_of_ten_changes_under_traffic_in_time_and_without_loss") {
        return Ok(());
    }
    let lone = site().await?;
    std::fs::write(lone.config(), configuration(&lone, BACKENDS))?;
    let agent = serving(&lone).await?;
    let traffic = Traffic::start(&lone)?;
    let mut times = Vec::new();
    for n in 1..=RELOADS {
        std::fs::write(
            lone.config(),
            configuration(&lone, if n % 2 == 0 { BACKENDS } else { n }),
        )?;
        times.push(reload(&lone).await?);
    }
    let (sent, lost) = traffic.finish().await?;
    let status = agent.status()?;
    agent.stop(SOON).await?;
    assert_eq!(status.config.reloads_applied, u64::from(RELOADS));
    times.sort_unstable();
    let millis = |time: &Duration| time.as_secs_f64() * 1000.0;
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let figures = json!({
        "services": SERVICES, "pools": POOLS, "backends": POOLS * BACKENDS,
        "reloads": RELOADS, "reload_ms": millis(&median), "worst_ms": millis(&worst),
        "times_ms": times.iter().map(millis).collect::<Vec<_>>(),
        "sent": sent, "lost": lost.len(), "debug": cfg!(debug_assertions),
    });
    println!("{figures:#}");
    assert!(sent > 1000, "{sent} sent");
    assert_eq!(lost, [0_u64; 0], "of {sent}");
    // Other builds' times say nothing.
    assert!(cfg!(debug_assertions) || median <= LIMIT, "{median:?}");
    Ok(())
}
