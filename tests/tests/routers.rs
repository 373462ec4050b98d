//! `docs/routers.md`, block by block in the real daemons.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::status::{BfdStatus, PeerStatus};
use lb_tests::harness::bird::Bird;
use lb_tests::harness::leftovers::BfdProcess;
use lb_tests::harness::netns::Netns;
use lb_tests::harness::router::Router;
use lb_tests::harness::second_router::SecondRouter;
use lb_tests::harness::star::Node;
use lb_tests::harness::{hash_key, poll, privileged, secret, shell};
use lb_tests::lab::agent::Agent;
use lb_tests::lone::Lone;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const DOCUMENT: &str = include_str!("../../docs/routers.md");
const SOON: Duration = Duration::from_secs(30);
/// For sessions after a flap of the link: retries of the node, and what the document tells BIRD to wait at most.
const AFTER_FLAP: Duration = Duration::from_secs(20);
const VIPS: [&str; 2] = ["198.51.100.1", "2001:db8:100::1"];
/// A VIP outside the prefixes of the document.
const STRAY: &str = "203.0.113.200";

/// The only block of the document in that language.
fn block(language: &str) -> Result<&'static str> {
    let fence = format!("```{language}\n");
    let mut parts = DOCUMENT.split(&fence).skip(1);
    let part = parts
        .next()
        .with_context(|| format!("a block of {language}"))?;
    ensure!(parts.next().is_none(), "two blocks of {language}");
    let (block, _) = part.split_once("```").context("an end of the block")?;
    Ok(block)
}

/// The file of a node, with the block of the document in it.
fn write_node(lone: &Lone, number: u8) -> Result<()> {
    let node = &lone.star.lbs[usize::from(number) - 1];
    for router in [1, 2] {
        secret::write(
            &node.dir.join(format!("r{router}.key")),
            &format!("correct-horse-{router}\n"),
        )?;
    }
    hash_key::write_into(&node.dir)?;
    let dir = node.dir.display().to_string();
    let bgp = block("toml")?
        .replace("10.0.1.", &format!("10.0.{number}."))
        .replace("/etc/anylb", &dir);
    let mut text = node.lb_section() + &bgp + "\n";
    for (pool, backend) in [("v4", "10.1.1.2"), ("v6", "fd00:1:1::2")] {
        text += &format!(
            "[[pool]]\nname = \"{pool}\"\n\
             check = {{ type = \"tcp\", port = 80, interval = \"200ms\", timeout = \"150ms\" }}\n\
             backend = [{{ address = \"{backend}\" }}]\n"
        );
    }
    for (name, vip, pool) in [
        ("web4", VIPS[0], "v4"),
        ("web6", VIPS[1], "v6"),
        ("stray", STRAY, "v4"),
    ] {
        text += &format!(
            "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nports = [80]\npool = \"{pool}\"\nhold_up = \"0s\"\n"
        );
    }
    Ok(std::fs::write(node.dir.join("anylb.toml"), text)?)
}

async fn start(lone: &Lone, node: &Node) -> Result<Agent> {
    let mut agent = Agent::lb(lone.anylb(), node)?;
    agent.ready().await?;
    Ok(agent)
}

/// Both routers send both VIPs to these nodes.
fn routed(routers: [&Netns; 2], nodes: &[&str]) -> Result<()> {
    let wanted: BTreeSet<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
    for router in routers {
        for vip in VIPS {
            let found = router.next_hops(vip)?;
            ensure!(found == wanted, "{}: {vip} to {found:?}", router.name());
        }
    }
    Ok(())
}

fn apply_sysctls(router: &Netns) -> Result<()> {
    let lines = block("sysctl")?.lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let (key, value) = line.split_once(" = ").context("key and value")?;
        router.sysctl(key, value)?;
    }
    Ok(())
}

#[tokio::test]
async fn the_blocks_of_the_document_make_a_site() -> Result<()> {
    if !privileged::available("the_blocks_of_the_document_make_a_site") {
        return Ok(());
    }
    let prefix = "anylb-doc";
    let lone = Lone::build_with(prefix, LAB, 2, 1).await?;
    let second = SecondRouter::build(&lone.star, prefix)?;
    let routers = [&lone.star.r1, &second.r2];
    for router in routers {
        apply_sysctls(router)?;
    }
    let dir = lone.star.run_dir();
    let frr = Router::start(&lone.star.r1, block("frr")?, dir).await?;
    let bird = Bird::start(&second.r2, block("bird")?, dir).await?;
    let mut agents = Vec::new();
    for number in [1, 2] {
        write_node(&lone, number)?;
        agents.push(start(&lone, &lone.star.lbs[usize::from(number) - 1]).await?);
    }
    poll::until("both routers with both nodes", SOON, async || {
        routed(routers, &["lb1", "lb2"])
    })
    .await?;

    // Passwords and TTL security are really on: the routers' own words.
    let neighbor = frr.show("bgp neighbors 10.0.1.2")?;
    let neighbor = &neighbor["10.0.1.2"];
    assert_eq!(neighbor["bgpState"], "Established", "{neighbor}");
    assert_eq!(neighbor["externalBgpNbrMaxHopsAway"], 1, "{neighbor}");
    assert_eq!(neighbor["authenticationEnabled"], 1, "{neighbor}");
    // Nothing but host routes of the VIPs passes.
    for agent in &agents {
        let told = agent.tell(&["bgp", "routes", "--json"])?;
        assert_eq!(
            told.matches(&format!("\"{STRAY}/32\"")).count(),
            2,
            "{told}"
        );
    }
    for router in routers {
        assert_eq!(router.next_hops(STRAY)?, BTreeSet::new(), "filtered");
    }
    let routes = bird.routes("lb1")?;
    let paths: BTreeSet<&str> = routes
        .iter()
        .map(|route| route.attribute("as_path"))
        .collect();
    assert_eq!(paths, BTreeSet::from(["65001 65001"]), "{routes:?}");

    // A link that flaps takes the node's sessions along, and brings them back soon.
    let lb2 = &lone.star.lbs[1];
    lone.star.set_link(lb2, false)?;
    poll::until("the node with a link alone", SOON, async || {
        routed(routers, &["lb1"])
    })
    .await?;
    lone.star.set_link(lb2, true)?;
    poll::until("both nodes again", AFTER_FLAP, async || {
        routed(routers, &["lb1", "lb2"])
    })
    .await?;

    // A killed agent leaves no gap in any kernel.
    let agent = agents.remove(0);
    agent.kill()?;
    let restarted = Agent::lb(lone.anylb(), &lone.star.lbs[0])?;
    poll::until("sessions with the successor", SOON, async || {
        routed(routers, &["lb1", "lb2"])?;
        let peers = restarted.status()?.peers;
        ensure!(peers.iter().all(|peer| peer.established()), "{peers:?}");
        Ok(())
    })
    .await?;
    poll::holds(
        "routes after the restart",
        Duration::from_secs(2),
        async || routed(routers, &["lb1", "lb2"]),
    )
    .await?;
    // One that is stopped leaves at once.
    restarted.stop(SOON).await?;
    poll::until("the other node alone", SOON, async || {
        routed(routers, &["lb2"])
    })
    .await?;
    Ok(())
}

#[test]
fn the_edge_filter_is_one() -> Result<()> {
    if !privileged::available("the_edge_filter_is_one") {
        return Ok(());
    }
    let netns = Netns::create("anylb-edge")?;
    let file = std::env::temp_dir().join("anylb-edge.nft");
    std::fs::write(&file, block("nft")?)?;
    let loaded = shell::output(netns.command("nft").arg("-f").arg(&file));
    std::fs::remove_file(&file)?;
    loaded?;
    let rules = shell::output(netns.command("nft").args(["list", "ruleset"]))?;
    assert_eq!(rules.matches("drop").count(), 2, "{rules}");
    Ok(())
}

/// What `anylb router-config` prints on the node for a router.
fn router_config(lone: &Lone, platform: &str, peer: &[&str]) -> Result<String> {
    let node = lone.node();
    let mut command = node.netns.command(lone.anylb());
    command
        .args(["router-config", platform, "--show-secrets", "--peer"])
        .args(peer)
        .arg("-c")
        .arg(node.dir.join("anylb.toml"));
    shell::output(&mut command)
}

#[tokio::test]
async fn what_router_config_prints_makes_sessions() -> Result<()> {
    if !privileged::available("what_router_config_prints_makes_sessions") {
        return Ok(());
    }
    let prefix = "anylb-rc";
    let lone = Lone::build_with(prefix, LAB, 1, 1).await?;
    let second = SecondRouter::build(&lone.star, prefix)?;
    let routers = [&lone.star.r1, &second.r2];
    for router in routers {
        apply_sysctls(router)?;
    }
    write_node(&lone, 1)?;
    let dir = lone.star.run_dir();
    let printed = router_config(&lone, "frr", &["10.0.1.1"])?;
    let frr = format!("frr defaults datacenter\nhostname r1\n{printed}");
    let frr = Router::start(&lone.star.r1, &frr, dir).await?;
    let running = frr.vtysh("show running-config")?;
    let lines = printed.lines().map(str::trim);
    // What is a default is not shown.
    let lines = lines.filter(|line| !line.starts_with('!') && !line.is_empty());
    let missing: Vec<&str> = lines
        .filter(|line| !running.contains(line))
        .filter(|line| !line.contains("prefix-list") && *line != "exit")
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "{running}");
    let base = "log stderr all;\nrouter id 10.0.0.2;\nprotocol device {}\n\
                protocol kernel { ipv4 { export all; }; merge paths on limit 16; }\n\
                protocol kernel { ipv6 { export all; }; merge paths on limit 16; }\n";
    let printed = router_config(&lone, "bird", &["10.0.1.3"])?;
    let bird = Bird::start(&second.r2, &format!("{base}{printed}"), dir).await?;
    let agent = start(&lone, lone.node()).await?;
    poll::until("both routers with the node", SOON, async || {
        routed(routers, &["lb1"])?;
        for router in routers {
            ensure!(router.next_hops(STRAY)?.len() == 1, "it is a VIP as well");
        }
        Ok(())
    })
    .await?;

    let neighbor = frr.show("bgp neighbors 10.0.1.2")?;
    let neighbor = &neighbor["10.0.1.2"];
    assert_eq!(neighbor["bgpState"], "Established", "{neighbor}");
    assert_eq!(neighbor["externalBgpNbrMaxHopsAway"], 1, "{neighbor}");
    assert_eq!(neighbor["authenticationEnabled"], 1, "{neighbor}");
    let timers = ["bgpTimerHoldTimeMsecs", "bgpTimerKeepAliveIntervalMsecs"];
    assert_eq!(timers.map(|timer| &neighbor[timer]), [9000, 3000]);
    assert_eq!(
        neighbor["gracefulRestartInfo"]["localGrMode"], "Helper",
        "{neighbor}"
    );
    let session = bird.protocol("anylb1")?;
    for words in ["Established", "Receive limit:  16", "Action:       disable"] {
        assert!(session.contains(words), "{session}");
    }

    // A VIP that came later is in nobody's filter.
    let later = "203.0.113.201";
    let file = lone.config();
    let text = std::fs::read_to_string(&file)?
        + &format!(
            "[[service]]\nname = \"later\"\nvip = \"{later}\"\nprotocol = \"tcp\"\nports = [80]\npool = \"v4\"\n"
        );
    std::fs::write(&file, text)?;
    agent.tell(&["reload", "--wait"])?;
    let told = agent.tell(&["bgp", "routes", "--json"])?;
    assert_eq!(told.matches(&format!("\"{later}/32\"")).count(), 2);
    for router in routers {
        assert_eq!(router.next_hops(later)?, BTreeSet::new(), "filtered");
    }
    // Nothing comes back.
    let peers = agent.status()?.peers;
    assert!(peers.iter().all(|peer| peer.established()), "{peers:?}");
    let sent = frr.show("bgp ipv4 unicast neighbors 10.0.1.2 advertised-routes")?;
    assert_eq!(sent["totalPrefixCounter"], 0, "{sent}");
    agent.stop(SOON).await?;
    Ok(())
}

/// The same for a router that the node knows by its interface alone, by one daemon after the other.
#[tokio::test]
async fn router_config_makes_sessions_without_addresses() -> Result<()> {
    if !privileged::available("router_config_makes_sessions_without_addresses") {
        return Ok(());
    }
    let lone = Lone::build_with("anylb-rcu", LAB, 1, 1).await?;
    write_node(&lone, 1)?;
    let file = lone.config();
    let text = std::fs::read_to_string(&file)?;
    let (head, rest) = text.split_once("[[bgp.peer]]").context("a peer")?;
    let (_, pools) = rest.split_once("[[pool]]").context("a pool")?;
    let peer = "[[bgp.peer]]\ninterface = \"eth0\"\nasn = 65000\npassword_file = \"r1.key\"\nttl_security = 1\nbfd = {}\n";
    std::fs::write(&file, format!("{head}{peer}[[pool]]{pools}"))?;
    let (r1, dir) = (&lone.star.r1, lone.star.run_dir());
    let known = ["eth0", "--interface", "lb1"];
    let _bfd = BfdProcess::of(lone.node());
    let agent = start(&lone, lone.node()).await?;

    let printed = router_config(&lone, "frr", &known)?;
    let frr = format!("frr defaults datacenter\nhostname r1\n{printed}");
    let frr = Router::start(r1, &frr, dir).await?;
    let established = || {
        let peers = agent.status()?.peers;
        let up = |peer: &PeerStatus| {
            let bfd = peer.bfd.as_ref();
            peer.established() && bfd.is_some_and(BfdStatus::up)
        };
        ensure!(peers.iter().all(up), "{peers:?}");
        routed([r1, r1], &["lb1"])
    };
    poll::until("the node at FRR", SOON, async || established()).await?;
    let neighbor = frr.show("bgp neighbors lb1")?;
    assert_eq!(neighbor["lb1"]["authenticationEnabled"], 1, "{neighbor}");
    assert_eq!(r1.next_hops(STRAY)?, BTreeSet::from(["lb1".to_owned()]));
    frr.configure(&["no router bgp 65000"])?;
    poll::until("no routes of FRR", SOON, async || {
        for vip in VIPS {
            ensure!(r1.next_hops(vip)?.is_empty(), "{vip}");
        }
        Ok(())
    })
    .await?;
    drop(frr);

    let base = "log stderr all;\nrouter id 10.0.0.2;\nprotocol device {}\nprotocol bfd {}\n\
                protocol kernel { ipv4 { export all; }; }\nprotocol kernel { ipv6 { export all; }; }\n";
    let printed = router_config(&lone, "bird", &known)?;
    let bird = Bird::start(r1, &format!("{base}{printed}"), dir).await?;
    poll::until("the node at BIRD", SOON, async || established()).await?;
    let session = bird.protocol("\"dynbgp*\"")?;
    assert!(session.contains("Receive limit:  16"), "{session}");
    agent.stop(SOON).await?;
    Ok(())
}
