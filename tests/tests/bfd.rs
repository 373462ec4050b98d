//! BFD with FRR and with BIRD: up over both families, a silent node's routes gone, and an agent's end that nobody notices.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::status::{BfdStatus, Envelope, PeerList, PeerStatus};
use lb_tests::harness::bird::Bird;
use lb_tests::harness::leftovers::BfdProcess;
use lb_tests::harness::router::Router;
use lb_tests::harness::{poll, privileged};
use lb_tests::lab::agent::Agent;
use lb_tests::lone::Lone;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(30);
const ROUTER_ASN: u32 = 65010;
const NODE_ASN: u32 = 65001;
const PEERS: [&str; 2] = ["10.0.1.1", "fd00:0:1::1"];
const NODE: [&str; 2] = ["10.0.1.2", "fd00:0:1::2"];
const VIPS: [&str; 2] = ["198.51.100.1", "2001:db8:100::1"];
const FAST: &str = "bfd = { interval = \"100ms\", multiplier = 3 }";
/// 3 x 100 ms less jitter and two packets' time; the hold time is 9 s.
const GONE: Duration = Duration::from_millis(1000);

/// The node's file, with `lines` in both peers.
fn write(lone: &Lone, lines: [&str; 2]) -> Result<()> {
    let mut text = lone.node().lb_section() + &format!("[bgp]\nasn = {NODE_ASN}\n");
    for (address, lines) in PEERS.iter().zip(lines) {
        text += &format!("[[bgp.peer]]\naddress = \"{address}\"\nasn = {ROUTER_ASN}\n{lines}\n");
    }
    for (name, backend, vip) in [("v4", "10.1.1.2", VIPS[0]), ("v6", "fd00:1:1::2", VIPS[1])] {
        text += &format!(
            "[[pool]]\nname = \"{name}\"\n\
             check = {{ type = \"tcp\", port = 80, interval = \"200ms\", timeout = \"150ms\" }}\n\
             backend = [{{ address = \"{backend}\" }}]\n\
             [[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nports = [80]\npool = \"{name}\"\nhold_up = \"0s\"\n"
        );
    }
    Ok(std::fs::write(lone.config(), text)?)
}

fn peers(agent: &Agent) -> Result<Vec<PeerStatus>> {
    let text = agent.tell(&["bgp", "peers", "--json"])?;
    let envelope: Envelope<PeerList> = serde_json::from_str(&text)?;
    Ok(envelope.body.peers)
}

fn bfd(agent: &Agent) -> Result<Vec<BfdStatus>> {
    let peers = peers(agent)?.into_iter();
    peers
        .map(|peer| peer.bfd.context("a peer without BFD"))
        .collect()
}

async fn all_up(agent: &Agent) -> Result<()> {
    poll::until("BGP and BFD with both peers", SOON, async || {
        for peer in peers(agent)? {
            let bfd = peer.bfd.clone().context("a peer without BFD")?;
            ensure!(peer.established() && bfd.up(), "{peer:?}");
            ensure!(bfd.detection_time_ms == Some(300), "{bfd:?}");
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// FRR makes its BFD session anew once, when it has learnt our address from the first BGP session.
const SETTLED: Duration = Duration::from_secs(2);

async fn settled(agent: &Agent) -> Result<()> {
    poll::until("BGP and BFD for a while", SOON, async || {
        let since = SETTLED.as_secs();
        let all = bfd(agent)?;
        let long = |bfd: &BfdStatus| bfd.up() && bfd.since_secs >= since;
        ensure!(all.iter().all(long), "{all:?}");
        let peers = peers(agent)?;
        let long = |peer: &PeerStatus| peer.established() && peer.since_secs >= since;
        ensure!(peers.iter().all(long), "{peers:?}");
        Ok(())
    })
    .await?;
    all_up(agent).await
}

/// Which of the VIPs are in the router's kernel.
fn routed(lone: &Lone) -> Result<[bool; 2]> {
    let there = |vip: &str| -> Result<bool> { Ok(!lone.star.r1.next_hops(vip)?.is_empty()) };
    Ok([there(VIPS[0])?, there(VIPS[1])?])
}

async fn until_routed(lone: &Lone, wanted: [bool; 2], time: Duration) -> Result<Duration> {
    let what = format!("routes of {VIPS:?}: {wanted:?}");
    let (_, took) = poll::until(&what, time, async || {
        let found = routed(lone)?;
        ensure!(found == wanted, "{found:?}");
        Ok(())
    })
    .await?;
    Ok(took)
}

/// What every router has to see; `flaps` asks it how often BFD went down, `stale` is how long it keeps the routes of a node that is
/// restarting when BFD with that goes down.
async fn a_node_with(
    name: &str,
    lone: &Lone,
    flaps: impl Fn() -> Result<u64>,
    stale: Duration,
) -> Result<()> {
    write(lone, [FAST, FAST])?;
    let process = BfdProcess::of(lone.node());
    let agent = lone.start().await?;
    all_up(&agent).await?;
    until_routed(lone, [true, true], SOON).await?;
    let restart = |peer: &PeerStatus| peer.capabilities.iter().any(|c| c == "graceful-restart");
    assert!(peers(&agent)?.iter().all(restart), "offered with BFD");
    settled(&agent).await?;
    let failures = |agent: &Agent| -> Result<Vec<u64>> {
        Ok(bfd(agent)?.iter().map(|bfd| bfd.failures).collect())
    };
    let failed = failures(&agent)?;
    let before = (process.pid()?, flaps()?);

    // Killed, with nobody in its place for a while; then another one.
    agent.kill()?;
    let away = Duration::from_secs(2);
    poll::holds("routes without an agent", away, async || {
        ensure!(routed(lone)? == [true, true]);
        Ok(())
    })
    .await?;
    let agent = lone.start().await?;
    all_up(&agent).await?;
    assert_eq!(routed(lone)?, [true, true]);
    for bfd in bfd(&agent)? {
        let long = (SETTLED + away).as_secs();
        assert!(bfd.since_secs >= long, "{bfd:?}");
    }
    assert_eq!(failures(&agent)?, failed);
    assert_eq!((process.pid()?, flaps()?), before, "BFD never flaps");

    // Silenced without a FIN, graceful restart negotiated.
    for _ in 0..3 {
        let silent = lone.node().silence()?;
        let took = until_routed(lone, [false, false], SOON).await?;
        println!(
            "{name}: silent node's routes gone after {} ms",
            took.as_millis()
        );
        assert!(took < GONE, "{took:?}");
        drop(silent);
        all_up(&agent).await?;
        until_routed(lone, [true, true], SOON).await?;
    }
    let thrice: Vec<u64> = failed.iter().map(|failures| failures + 3).collect();
    assert_eq!(failures(&agent)?, thrice);
    for peer in peers(&agent)? {
        let reason = peer.last_reset.as_deref();
        assert_eq!(reason, Some("the path to the peer failed (BFD)"));
    }

    // A dead agent, and then a program that forwards nothing any more: nobody but the process knows.
    settled(&agent).await?;
    agent.kill()?;
    std::fs::remove_file(lone.node().bpffs.path().join("anylb/links/eth0"))?;
    let took = until_routed(lone, [false, false], SOON).await?;
    println!(
        "{name}: routes without a program gone after {} ms",
        took.as_millis()
    );
    // The process waits a second before it is sure.
    assert!(took < stale + Duration::from_secs(2), "{took:?}");

    // Another agent mends it, and its orderly stop is the end of the process too.
    let agent = lone.start().await?;
    all_up(&agent).await?;
    until_routed(lone, [true, true], SOON).await?;
    agent.stop(SOON).await?;
    until_routed(lone, [false, false], SOON).await?;
    poll::until("the end of the BFD process", SOON, async || {
        ensure!(process.pid().is_err(), "it is still there");
        Ok(())
    })
    .await?;
    Ok(())
}

fn frr() -> String {
    let mut text = format!(
        "router bgp {ROUTER_ASN}\n bgp router-id 10.0.0.10\n no bgp ebgp-requires-policy\n bgp graceful-restart\n"
    );
    for node in NODE {
        text += &format!(
            " neighbor {node} remote-as {NODE_ASN}\n neighbor {node} timers connect 1\n neighbor {node} bfd profile fast\n"
        );
    }
    text += " address-family ipv6 unicast\n";
    for node in NODE {
        text += &format!("  neighbor {node} activate\n");
    }
    text + " exit-address-family\nexit\nbfd\n profile fast\n  detect-multiplier 3\n  receive-interval 100\n  transmit-interval 100\n exit\nexit\n"
}

#[tokio::test]
async fn with_frr() -> Result<()> {
    if !privileged::available("bfd with_frr") {
        return Ok(());
    }
    let lone = Lone::build("anylb-bfd-f", LAB, 1).await?;
    let router = Router::start(&lone.star.r1, &frr(), lone.star.run_dir()).await?;
    let flaps = || {
        let counters = router.show("bfd peers counters")?;
        let peers = counters.as_array().context("a list")?;
        Ok(peers
            .iter()
            .filter_map(|peer| peer["session-down"].as_u64())
            .sum())
    };
    // 8.4 leaves it to the restart timer, whatever BFD says meanwhile.
    a_node_with("FRR", &lone, flaps, Duration::from_secs(15)).await
}

/// Taken down by the router's operator, BFD says nothing of the path.
#[tokio::test]
async fn admin_down_of_frr_ends_no_session() -> Result<()> {
    if !privileged::available("admin_down_of_frr_ends_no_session") {
        return Ok(());
    }
    let lone = Lone::build("anylb-bfd-a", LAB, 1).await?;
    let router = Router::start(&lone.star.r1, &frr(), lone.star.run_dir()).await?;
    write(&lone, [FAST, FAST])?;
    let _process = BfdProcess::of(lone.node());
    let agent = lone.start().await?;
    settled(&agent).await?;
    let failed = |agent: &Agent| -> Result<Vec<u64>> {
        Ok(bfd(agent)?.iter().map(|bfd| bfd.failures).collect())
    };
    let before = failed(&agent)?;
    router.configure(&["bfd", "profile fast", "shutdown"])?;
    poll::until("AdminDown of the router", SOON, async || {
        let told = bfd(&agent)?;
        ensure!(!told.iter().any(BfdStatus::up), "{told:?}");
        Ok(())
    })
    .await?;
    poll::holds("BGP without BFD", Duration::from_secs(2), async || {
        let both = peers(&agent)?;
        ensure!(both.iter().all(PeerStatus::established), "{both:?}");
        ensure!(routed(&lone)? == [true, true]);
        Ok(())
    })
    .await?;
    assert_eq!(failed(&agent)?, before);
    router.configure(&["bfd", "profile fast", "no shutdown"])?;
    all_up(&agent).await?;
    agent.stop(SOON).await?;
    Ok(())
}

fn bird() -> String {
    let session = |name: &str, neighbor: &str| {
        format!(
            "protocol bgp {name} {{\n local as {ROUTER_ASN};\n neighbor {neighbor} as {NODE_ASN};\n direct;\n \
             connect delay time 1;\n error wait time 1, 2;\n graceful restart on;\n bfd on;\n \
             ipv4 {{ import all; export none; }};\n ipv6 {{ import all; export none; }};\n}}\n"
        )
    };
    format!(
        "log stderr all;\nrouter id 10.0.0.10;\nprotocol device {{}}\n\
         protocol kernel {{ ipv4 {{ export all; }}; }}\nprotocol kernel {{ ipv6 {{ export all; }}; }}\n\
         protocol bfd {{ interface \"*\" {{ interval 100 ms; multiplier 3; idle tx interval 1 s; }}; }}\n{}{}",
        session("over4", NODE[0]),
        session("over6", NODE[1])
    )
}

#[tokio::test]
async fn with_bird() -> Result<()> {
    if !privileged::available("bfd with_bird") {
        return Ok(());
    }
    let lone = Lone::build("anylb-bfd-b", LAB, 1).await?;
    let bird = Bird::start(&lone.star.r1, &bird(), lone.star.run_dir()).await?;
    // It does not count; its sessions are all up, or it tells.
    let flaps = || {
        let sessions = bird.birdc("show bfd sessions")?;
        ensure!(sessions.matches(" Up ").count() == 2, "{sessions}");
        Ok(0)
    };
    a_node_with("BIRD", &lone, flaps, Duration::ZERO).await
}

/// `anylb restart`, and its end.
async fn hand_over(mut agent: Agent) -> Result<()> {
    agent.tell(&["restart"])?;
    poll::until("the end of the agent", SOON, async || {
        ensure!(!agent.is_running()?, "it runs");
        Ok(())
    })
    .await?;
    Ok(())
}

/// `over4` behind routers, as far as BIRD knows; `over6` with BFD or without.
fn bird_multihop(over6: &str) -> String {
    bird()
        .replacen(
            "neighbor 10.0.1.2",
            "local 10.0.1.1;\n neighbor 10.0.1.2",
            1,
        )
        .replacen("direct;", "multihop 2;", 1)
        .replacen(
            "protocol bfd {",
            "protocol bfd { multihop { interval 100 ms; multiplier 3; };",
            1,
        )
        .rsplit_once("bfd on;")
        .map(|(before, after)| format!("{before}{over6}{after}"))
        .unwrap_or_default()
}

#[tokio::test]
async fn strict_and_multihop_with_bird() -> Result<()> {
    if !privileged::available("strict_and_multihop_with_bird") {
        return Ok(());
    }
    let lone = Lone::build("anylb-bfd-m", LAB, 1).await?;
    let bird = Bird::start(&lone.star.r1, &bird_multihop(""), lone.star.run_dir()).await?;
    let peers_with = |ttl: &str, interval: &str| {
        let over4 = format!("bfd = {{ interval = \"100ms\", multihop = true, min_ttl = {ttl} }}");
        let over6 = format!("bfd = {{ interval = \"{interval}\", strict = true }}");
        write(&lone, [&over4, &over6])
    };
    // BIRD's packets come with the TTL of its host.
    peers_with("65", "100ms")?;
    let process = BfdProcess::of(lone.node());
    let agent = lone.start().await?;
    let state = || -> Result<(PeerStatus, PeerStatus)> {
        let mut both = peers(&agent)?.into_iter();
        both.next().zip(both.next()).context("two peers")
    };
    poll::until("a session without BFD", SOON, async || {
        let (over4, _) = state()?;
        let bfd = over4.bfd.clone().context("BFD is configured")?;
        ensure!(over4.established() && !bfd.up(), "{over4:?}");
        ensure!(bfd.discards.contains_key("ttl"), "{bfd:?}");
        Ok(())
    })
    .await?;
    poll::holds(
        "no session before BFD",
        Duration::from_secs(2),
        async || {
            let (_, over6) = state()?;
            ensure!(over6.state == "Idle", "{over6:?}");
            let why = over6.last_failure.as_deref();
            ensure!(why == Some("it waits for the path to the peer: BFD is not up"));
            Ok(())
        },
    )
    .await?;
    bird.configure(&bird_multihop("bfd on;"))?;
    poll::until("a session once BFD is up", SOON, async || {
        let (_, over6) = state()?;
        let bfd = over6.bfd.clone().context("BFD is configured")?;
        ensure!(over6.established() && bfd.up(), "{over6:?}");
        Ok(())
    })
    .await?;
    let before = process.pid()?;

    // Another agent with other intervals and another TTL: the process takes them, and what is up stays up.
    hand_over(agent).await?;
    peers_with("64", "250ms")?;
    let agent = lone.start().await?;
    poll::until("both up, one slower", SOON, async || {
        let both = bfd(&agent)?;
        ensure!(both.iter().all(BfdStatus::up), "{both:?}");
        ensure!(both[1].transmit_interval_ms == Some(250), "{both:?}");
        ensure!(both[1].detection_time_ms == Some(750), "{both:?}");
        ensure!(both[0].detection_time_ms == Some(300), "{both:?}");
        Ok(())
    })
    .await?;
    let both = bfd(&agent)?;
    assert_eq!(both[1].failures, 0, "{both:?}");
    assert_eq!(process.pid()?, before, "the same process");

    // No BFD any more: BIRD takes the AdminDown for what it is.
    hand_over(agent).await?;
    write(&lone, ["", ""])?;
    let agent = lone.start().await?;
    poll::until("both sessions without BFD", SOON, async || {
        let both = peers(&agent)?;
        ensure!(
            both.iter()
                .all(|peer| peer.established() && peer.bfd.is_none()),
            "{both:?}"
        );
        ensure!(process.pid().is_err(), "the process is still there");
        Ok(())
    })
    .await?;
    agent.stop(SOON).await?;
    Ok(())
}
