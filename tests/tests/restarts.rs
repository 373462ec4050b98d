//! An agent that is killed, handed over and replaced, again and again, while packets come: nothing notices, neither routers nor
//! connections nor datagrams. `ANYLB_RESTARTS` says how often.

use std::collections::HashSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use anylb::dataplane::layout;
use lb_tests::failover::watch::Watch;
use lb_tests::harness::counters::{Counters, xdp_errors};
use lb_tests::harness::second_router::SecondRouter;
use lb_tests::harness::{poll, privileged, shell};
use lb_tests::interop::daemon::{self, Kind, Side};
use lb_tests::lab::agent::Agent;
use lb_tests::load::long_lived::{LongLived, Plan};
use lb_tests::lone::{Lone, PORT};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::json;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
/// Three of each kind, where nothing else is said.
const RESTARTS: usize = 15;
const SOON: Duration = Duration::from_secs(30);
const NODE_ASN: u32 = 65001;
/// Routers, by address on the node's link and AS.
const ROUTERS: [(&str, u32); 2] = [("10.0.1.1", 65000), ("10.0.1.3", 65010)];
/// Of the service over TCP and of the one over UDP.
const VIPS: [Ipv4Addr; 2] = [
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::new(198, 51, 100, 2),
];
const CONNECTIONS: usize = 200;
/// Port of the tunnel.
const GUE: u16 = 6080;
const FLOWS: usize = 64;
/// Name of a layout that is none.
const OTHER_LAYOUT: &str = "0123456789abcdef";
/// Datagrams per second that are aimed at.
const RATE: u64 = 50_000;

fn configuration(lone: &Lone) -> String {
    let mut text = lone.node().lb_section();
    text += &format!("[bgp]\nasn = {NODE_ASN}\ngraceful_restart = \"always\"\n");
    for (address, asn) in ROUTERS {
        text += &format!("[[bgp.peer]]\naddress = \"{address}\"\nasn = {asn}\n");
    }
    for ((name, backend), vip) in [("tcp", "10.1.1.2"), ("udp", "10.1.2.2")].iter().zip(VIPS) {
        text += &format!(
            "[[pool]]\nname = \"{name}\"\n\
             check = {{ type = \"tcp\", port = {PORT}, interval = \"1s\", timeout = \"900ms\", fall = 5 }}\n\
             backend = [{{ address = \"{backend}\" }}]\n\
             [[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nprotocol = \"{name}\"\nports = [{PORT}]\npool = \"{name}\"\n"
        );
    }
    text
}

fn side(router: usize) -> Result<Side> {
    let (own, asn) = ROUTERS[router];
    Ok(Side {
        graceful_restart: true,
        ..Side::plain(own.parse()?, asn, "10.0.1.2".parse()?, NODE_ASN)
    })
}

/// Waits until both routers have heard everything from this agent.
async fn serving(agent: &Agent) -> Result<()> {
    poll::until("both routers and both VIPs", SOON, async || {
        let status = agent.status()?;
        ensure!(
            status.peers.iter().all(|peer| peer.established()),
            "{:?}",
            status.peers
        );
        ensure!(
            status.services.iter().all(|service| service.announced),
            "{:?}",
            status.services
        );
        Ok(())
    })
    .await?;
    Ok(())
}

/// Datagrams with numbers through the node to a backend that only counts them.
struct Datagrams {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<(u64, Duration)>>,
    ended: Arc<AtomicBool>,
    receiver: JoinHandle<Result<HashSet<u64>>>,
}

impl Datagrams {
    fn start(lone: &Lone) -> Result<Self> {
        let backend = &lone.star.backends[1].netns;
        let tunnel = backend.run(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, GUE))?))?;
        // A pause of the scheduler must not look like a loss of the datapath.
        setsockopt(&tunnel, sockopt::RcvBufForce, &(64 << 20))?;
        tunnel.set_read_timeout(Some(Duration::from_millis(300)))?;
        let flow = |_| {
            lone.star
                .client
                .run(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))
        };
        let flows: Vec<UdpSocket> = (0..FLOWS).map(flow).collect::<Result<_>>()?;
        let (stop, ended) = (Arc::default(), Arc::default());
        let (stopped, end) = (Arc::clone(&stop), Arc::clone(&ended));
        Ok(Self {
            sender: thread::spawn(move || send(&flows, &stopped)),
            receiver: thread::spawn(move || receive(&tunnel, &end)),
            stop,
            ended,
        })
    }

    /// How many were sent, in what time, and how many of them did not arrive.
    fn finish(self) -> Result<(u64, Duration, usize)> {
        self.stop.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow!("a thread panicked");
        let (sent, time) = self.sender.join().map_err(panicked)??;
        self.ended.store(true, Ordering::Relaxed);
        let arrived = self.receiver.join().map_err(panicked)??;
        let lost = (0..sent).filter(|number| !arrived.contains(number)).count();
        Ok((sent, time, lost))
    }
}

/// As many as are due, then a millisecond's pause.
fn send(flows: &[UdpSocket], stopped: &AtomicBool) -> Result<(u64, Duration)> {
    let begin = Instant::now();
    let mut sent = 0;
    while !stopped.load(Ordering::Relaxed) {
        let due = (begin.elapsed().as_micros() as u64 * RATE / 1_000_000).min(sent + RATE / 100);
        for number in sent..due {
            let flow = &flows[number as usize % FLOWS];
            flow.send_to(&number.to_be_bytes(), (VIPS[1], PORT))?;
        }
        sent = due;
        thread::park_timeout(Duration::from_millis(1));
    }
    Ok((sent, begin.elapsed()))
}

/// Until nothing has come for a while after the end.
fn receive(tunnel: &UdpSocket, ended: &AtomicBool) -> Result<HashSet<u64>> {
    let mut arrived = HashSet::new();
    let mut datagram = [0; 2048];
    loop {
        match tunnel.recv(&mut datagram) {
            Ok(length) => {
                let number = datagram[..length].last_chunk::<8>().context("a number")?;
                arrived.insert(u64::from_be_bytes(*number));
            }
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                return Err(error.into());
            }
            Err(_) if ended.load(Ordering::Relaxed) => return Ok(arrived),
            Err(_) => {}
        }
    }
}

/// Packets on the datagrams' way that found a queue full: on a machine with more to do than it can, links lose some. What the
/// node's program drops is not among them.
fn crowded_out(lone: &Lone) -> Result<u64> {
    let star = &lone.star;
    let backend = &star.backends[1].netns;
    let mut all = Counters::read(backend)?.value("Udp.RcvbufErrors") as u64;
    for netns in [&star.client, &star.r1, &star.lbs[0].netns, backend] {
        let links = netns.ip_json("-s link show")?;
        for link in links.as_array().into_iter().flatten() {
            let stats = &link["stats64"];
            let dropped =
                ["rx", "tx"].map(|way| stats[way]["dropped"].as_u64().unwrap_or_default());
            all += dropped.iter().sum::<u64>();
            let name = link["ifname"].as_str().context("a name")?;
            if name != "lo" {
                all += xdp_errors(netns, name)?;
            }
        }
    }
    Ok(all)
}

/// Packets that the node's program has dropped for whatever reason.
async fn refused(agent: &Agent) -> Result<u64> {
    let drops = agent.counters().await?.drops().drops;
    Ok(drops.iter().map(|exit| exit.packets).sum())
}

/// What ends an agent, and the program that follows it.
#[derive(Clone, Copy)]
enum Restart {
    Killed,
    HandedOver,
    Replaced,
    PutBack,
    /// By a build that cannot read the maps; what follows cannot read that one's.
    OfAnotherLayout,
}

const KINDS: [Restart; 5] = [
    Restart::Killed,
    Restart::HandedOver,
    Restart::Replaced,
    Restart::PutBack,
    Restart::OfAnotherLayout,
];

/// A copy of the program that takes its own maps for those of another layout: their name is in it by its letters.
fn of_another_layout(program: &Path, copy: &Path) -> Result<()> {
    std::fs::copy(program, copy)?;
    let mut edit = Command::new("sed");
    edit.env("LC_ALL", "C").args(["-i", "-e"]);
    edit.arg(format!("s/{}/{OTHER_LAYOUT}/g", layout::name()));
    shell::output(edit.arg(copy))?;
    let version = shell::output(Command::new(copy).arg("version"))?;
    ensure!(version.contains(OTHER_LAYOUT), "{version}");
    Ok(())
}

#[tokio::test]
async fn restarts_cost_no_packet_no_connection_and_no_route() -> Result<()> {
    if !privileged::available("restarts_cost_no_packet_no_connection_and_no_route") {
        return Ok(());
    }
    let restarts = match std::env::var("ANYLB_RESTARTS") {
        Ok(text) => text.parse().context("ANYLB_RESTARTS")?,
        Err(_) => RESTARTS,
    };
    let prefix = "anylb-again";
    let lone = Lone::build(prefix, LAB, 2).await?;
    let second = SecondRouter::build(&lone.star, prefix)?;
    let namespaces = [&lone.star.r1, &second.r2];
    let dir = lone.star.run_dir();
    let _frr = daemon::start(Kind::Frr, namespaces[0], &side(0)?, dir).await?;
    let _bird = daemon::start(Kind::Bird, namespaces[1], &side(1)?, dir).await?;
    let _backend = lone.start_backend(1, "").await?;
    std::fs::write(lone.config(), configuration(&lone))?;
    // The same program at another place is another program to everything but its author.
    let copy = dir.join("anylb-next");
    std::fs::copy(lone.anylb(), &copy)?;
    let other = dir.join("anylb-other");
    of_another_layout(lone.anylb(), &other)?;
    let programs: [PathBuf; 3] = [lone.anylb().to_owned(), copy, other];

    let mut agent = lone.start().await?;
    serving(&agent).await?;
    poll::until("routes in both kernels", SOON, async || {
        for (router, vip) in namespaces
            .iter()
            .flat_map(|router| VIPS.map(|vip| (router, vip)))
        {
            let routes = router.ip_json(&format!("route show {vip}"))?;
            ensure!(
                routes.as_array().is_some_and(|all| !all.is_empty()),
                "{vip} at {}",
                router.name()
            );
        }
        Ok(())
    })
    .await?;
    let mut watches = Vec::new();
    for router in namespaces {
        for vip in VIPS {
            watches.push(Watch::start(router, &vip.to_string())?);
        }
    }

    let plan = Plan {
        targets: vec![(VIPS[0], PORT).into()],
        per_target: CONNECTIONS,
        opening: Duration::from_secs(2),
        every: Duration::from_millis(500),
        patience: Duration::from_secs(10),
    };
    let runtime = lb_tests::harness::runtime::NetnsRuntime::start(&lone.star.client)?;
    let mut connections = LongLived::open(runtime.handle(), &plan);
    connections.all_answering(SOON).await?;
    let crowded = crowded_out(&lone)?;
    let datagrams = Datagrams::start(&lone)?;
    let mut slowest = Duration::ZERO;
    for (number, kind) in KINDS.iter().cycle().take(restarts).enumerate() {
        let begin = Instant::now();
        let program = match kind {
            Restart::Replaced => &programs[1],
            Restart::OfAnotherLayout => &programs[2],
            _ => &programs[0],
        };
        match kind {
            Restart::Killed => agent.kill()?,
            _ => {
                agent.tell(&["restart"])?;
                agent.ended(SOON).await?;
            }
        }
        agent = Agent::lb(program, lone.node())?;
        agent.ready().await?;
        serving(&agent)
            .await
            .with_context(|| format!("after restart {number}"))?;
        slowest = slowest.max(begin.elapsed());
    }
    let (sent, time, lost) = datagrams.finish()?;
    let crowded = crowded_out(&lone)? - crowded;
    let refused = refused(&agent).await?;
    let outcomes = connections.finish().await?;
    let broken: Vec<_> = outcomes
        .iter()
        .filter_map(|one| one.broken.as_deref())
        .collect();
    let withdrawn: usize = watches.iter_mut().map(Watch::forget).sum();
    let worst = outcomes
        .iter()
        .map(|one| one.worst_stall)
        .max()
        .unwrap_or_default();
    println!(
        "{:#}",
        json!({
            "restarts": restarts, "slowest_restart_ms": slowest.as_millis() as u64,
            "datagrams": sent, "per_second": sent as f64 / time.as_secs_f64(), "lost": lost,
            "crowded_out": crowded, "refused": refused,
            "connections": outcomes.len(), "broken": broken.len(),
            "worst_stall_ms": worst.as_millis() as u64, "routes_withdrawn": withdrawn,
        })
    );
    agent.stop(SOON).await?;
    assert_eq!((refused, withdrawn), (0, 0), "datagrams, routes");
    assert!(
        lost as u64 <= crowded,
        "{lost} of {sent} lost, {crowded} of them to full queues"
    );
    assert_eq!(broken, [""; 0]);
    Ok(())
}
