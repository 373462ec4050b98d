//! The agent of an LB node in a network of its own: cold start, adoption, stop, reload, drain. No router: what would be
//! announced is what its status says.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::model::AdminState;
use anylb::status::{Health, NodeStatus};
use lb_tests::harness::runtime::NetnsRuntime;
use lb_tests::harness::{poll, privileged};
use lb_tests::lab::agent::Agent;
use lb_tests::lone::{self, File, Footprint, Lone};
use tokio::net::TcpStream;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);
/// Long enough for a connection to be made here.
const A_MOMENT: Duration = Duration::from_millis(500);
const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

fn announced(status: &NodeStatus) -> Vec<&str> {
    let services = status.services.iter();
    let announced = services.filter(|service| service.announced);
    announced.map(|service| service.name.as_str()).collect()
}

fn health(status: &NodeStatus, backend: u8) -> Option<Health> {
    let pool = status.pools.values().next()?;
    let name = format!("be{backend}");
    let found = pool
        .backends
        .iter()
        .find(|b| b.name.as_deref() == Some(&name));
    found.map(|backend| backend.health)
}

fn ratio(status: &NodeStatus, address: &str) -> Option<f64> {
    let pool = status.pools.values().next()?;
    let found = pool
        .backends
        .iter()
        .find(|b| b.address.to_string() == address);
    found.map(|backend| backend.row_ratio)
}

/// Starts the agent and waits until it announces everything and has nothing more to change.
async fn serving(lone: &Lone, services: usize) -> Result<Agent> {
    let agent = lone.start().await?;
    agent
        .until("announcing", SOON, |status| {
            announced(status).len() == services
        })
        .await?;
    lone.settled().await?;
    Ok(agent)
}

#[tokio::test]
async fn cold_start_announces_after_the_checks_and_stop_removes_everything() -> Result<()> {
    if !privileged::available("cold_start_announces_after_the_checks_and_stop_removes_everything") {
        return Ok(());
    }
    let mut lone = Lone::build("anylb-a-cold", LAB, 2).await?;
    lone.write(&File::with(&[1, 2]))?;
    for number in [1, 2] {
        lone.kill_web(number)?;
    }
    let agent = lone.start().await?;
    let status = agent
        .until("both down", SOON, |status| {
            [1, 2]
                .iter()
                .all(|&n| health(status, n) == Some(Health::Down))
        })
        .await?;
    assert_eq!(announced(&status), [""; 0]);
    assert_eq!(
        status.services[0].reason.as_deref(),
        Some("web: 0 of 2 backends healthy, 1 needed")
    );
    assert!(!status.adopted);
    assert!(status.interfaces[0].attached);
    lone.start_web(2).await?;
    let status = agent
        .until("announced", SOON, |status| announced(status) == ["web"])
        .await?;
    assert_eq!(health(&status, 2), Some(Health::Up));
    assert_eq!(
        ratio(&status, "10.1.2.2"),
        Some(1.0),
        "all rows go to the one that is up"
    );
    let explained = agent.tell(&[
        "explain",
        "192.0.2.2:40000",
        "198.51.100.1:80/tcp",
        "--json",
    ])?;
    assert!(explained.contains("10.1.2.2"), "{explained}");

    let footprint = lone.footprint()?;
    assert!(footprint.program.is_some());
    let table_bytes = footprint.table_bytes();
    println!("a pool's pair of tables: {table_bytes} bytes");
    assert!(table_bytes <= 1280 << 10, "{table_bytes}");

    lone.kill_web(2)?;
    agent
        .until("withdrawn", SOON, |status| announced(status).is_empty())
        .await?;
    let log = log(&lone)?;
    for line in [
        "verdict pool=web backend=10.1.2.2 health=Up",
        "announced vip=198.51.100.1",
        "verdict pool=web backend=10.1.2.2 health=Down reason=\"connection refused\"",
        "not announced vip=198.51.100.1 reason=\"web: 0 of 2 backends healthy, 1 needed\"",
    ] {
        assert!(log.contains(line), "no {line:?} in\n{log}");
    }

    let ended = agent.stop(SOON).await?;
    assert!(ended.success(), "{ended}");
    let after = lone.footprint()?;
    assert_eq!(after.program, None);
    assert_eq!(after.pins, Footprint::default().pins);
    assert!(!lone.node().dir.join("run/admin.sock").exists());
    Ok(())
}

#[tokio::test]
async fn a_killed_agent_is_replaced_without_a_change_in_the_kernel() -> Result<()> {
    if !privileged::available("a_killed_agent_is_replaced_without_a_change_in_the_kernel") {
        return Ok(());
    }
    let lone = Lone::build("anylb-a-kill", LAB, 3).await?;
    lone.write(&File::with(&[1, 2, 3]))?;
    let agent = serving(&lone, 1).await?;
    // A backend that left the configuration stays an alternate: the next agent must know its way as well.
    lone.write(&File::with(&[1, 2]))?;
    agent.tell(&["reload"])?;
    agent.tell(&["backend", "drain", "be1"])?;
    let before = lone.settled().await?;
    agent.kill()?;
    assert_eq!(lone.footprint()?, before, "nothing dies with it");

    let mut agent = Agent::lb(lone.anylb(), lone.node())?;
    let link = before
        .pins
        .iter()
        .find(|(path, _)| path.ends_with("links/eth0"))
        .context("a pinned link")?;
    let mut attached = 0;
    poll::until("an answer with all verdicts", SOON, async || {
        ensure!(
            lone::program(lone.node())?.is_some(),
            "the program came off"
        );
        attached += 1;
        ensure!(agent.is_running()?, "it ended");
        let status = agent.status()?;
        ensure!(
            status.adopted && announced(&status) == ["web"],
            "{status:?}"
        );
        Ok(())
    })
    .await?;
    assert!(attached > 0);
    let after = lone.settled().await?;
    assert_eq!(after.bank(), before.bank());
    for ((name, now), (_, then)) in after.maps.iter().zip(&before.maps) {
        assert!(now == then, "{name} was written");
    }
    assert_eq!(after.pins, before.pins);
    assert!(after.pins.contains(link), "the link is the same");
    assert_ne!(
        after.program, before.program,
        "the new agent's program took its place"
    );

    let status = agent.status()?;
    let pool = &status.pools.values().next().context("a pool")?.backends;
    let admin: Vec<_> = pool.iter().map(|backend| backend.admin).collect();
    assert_eq!(
        admin,
        [
            AdminState::Draining,
            AdminState::Ready,
            AdminState::Draining
        ],
        "what the operator said, and the removed one"
    );
    assert!(pool.iter().all(|backend| backend.reachable), "{pool:?}");
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn an_adopted_datapath_keeps_its_verdicts_until_the_checks_have_spoken() -> Result<()> {
    if !privileged::available("an_adopted_datapath_keeps_its_verdicts_until_the_checks_have_spoken")
    {
        return Ok(());
    }
    let mut lone = Lone::build("anylb-a-adopt", LAB, 2).await?;
    lone.write(&File::with(&[1, 2]))?;
    let agent = serving(&lone, 1).await?;
    agent.kill()?;
    lone.kill_web(1)?;
    let agent = lone.start().await?;
    // The first answer may come before the first round; the first round has the old verdicts.
    let first = agent
        .until("the first round", SOON, |status| !status.pools.is_empty())
        .await?;
    assert_eq!(announced(&first), ["web"]);
    assert_eq!(health(&first, 2), Some(Health::Up));
    agent
        .until("the death of be1", SOON, |status| {
            health(status, 1) == Some(Health::Down)
        })
        .await?;
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_configuration_that_changed_without_an_agent_is_applied_to_the_running_datapath()
-> Result<()> {
    if !privileged::available(
        "a_configuration_that_changed_without_an_agent_is_applied_to_the_running_datapath",
    ) {
        return Ok(());
    }
    let lone = Lone::build("anylb-a-late", LAB, 3).await?;
    lone.write(&File::with(&[1, 2]))?;
    let agent = serving(&lone, 1).await?;
    agent.kill()?;
    let before = lone.footprint()?;
    lone.write(&File::with(&[2, 3]))?;
    let agent = lone.start().await?;
    let status = agent
        .until("half of the rows each", SOON, |status| {
            let share = |address| ratio(status, address).unwrap_or_default();
            share("10.1.2.2") > 0.4 && share("10.1.3.2") > 0.4
        })
        .await?;
    assert!(status.adopted);
    let pool = status.pools.values().next().context("a pool")?;
    assert_eq!(pool.remembered_inputs, 1);
    let removed = pool.backends.last().context("a backend")?;
    assert_eq!(removed.address.to_string(), "10.1.1.2");
    assert!(removed.reachable, "an alternate for the flows it has");
    let hops: Vec<String> = (1..=64)
        .map(|port| {
            let source = format!("192.0.2.2:{}", 40_000 + port);
            agent.tell(&["explain", &source, "198.51.100.1:80/tcp"])
        })
        .collect::<Result<_>>()?;
    let kept = hops.iter().filter(|text| text.contains("10.1.1.2")).count();
    assert!(
        (16..=64).contains(&kept),
        "in about half of the rows at least: {kept}"
    );
    let link = |footprint: &Footprint| {
        let mut pins = footprint.pins.iter();
        pins.find(|(path, _)| path.ends_with("links/eth0")).cloned()
    };
    assert_eq!(
        link(&lone.footprint()?),
        link(&before),
        "attached all the time"
    );
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn reload_adds_and_removes_services_and_backends() -> Result<()> {
    if !privileged::available("reload_adds_and_removes_services_and_backends") {
        return Ok(());
    }
    let lone = Lone::build("anylb-a-load", LAB, 3).await?;
    let first = File::with(&[1, 2]);
    lone.write(&first)?;
    let agent = serving(&lone, 1).await?;
    let explain = |vip: &str| {
        agent.tell(&[
            "explain",
            "192.0.2.2:40000",
            &format!("{vip}:80/tcp"),
            "--json",
        ])
    };

    let mut more = File::with(&[1, 2, 3]);
    more.services.push(("more", "198.51.100.2"));
    lone.write(&more)?;
    agent.tell(&["reload"])?;
    let status = agent
        .until("a third of the rows", SOON, |status| {
            let share = ratio(status, "10.1.3.2").unwrap_or_default();
            announced(status) == ["web", "more"] && (0.3..0.36).contains(&share)
        })
        .await?;
    assert_eq!(status.config.reloads_applied, 1);
    assert!(explain("198.51.100.2")?.contains("\"tx\""));

    lone.write(&first)?;
    agent.tell(&["reload"])?;
    let status = agent.status()?;
    assert_eq!(announced(&status), ["web"]);
    assert_eq!(ratio(&status, "10.1.3.2"), Some(0.0), "an alternate still");
    let explained = explain("198.51.100.2")?;
    assert!(explained.contains("not_vip"), "{explained}");

    std::fs::write(lone.config(), "version = 1\n")?;
    let refused = agent.tell(&["reload"]).expect_err("no [node]");
    assert!(
        refused.to_string().contains("missing key `node`"),
        "{refused:#}"
    );
    let mut elsewhere = first.clone();
    elsewhere.node.push_str("\nflow_memory = \"1h\"");
    lone.write(&elsewhere)?;
    let refused = agent.tell(&["reload"]).expect_err("[node] differs");
    assert!(
        refused
            .to_string()
            .contains("[node] cannot be changed by a reload"),
        "{refused:#}"
    );
    let status = agent
        .until("both counted", SOON, |status| {
            status.config.reloads_rejected == 2
        })
        .await?;
    assert_eq!(announced(&status), ["web"], "nothing changed");
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn an_http_check_hears_what_a_connection_does_not_say() -> Result<()> {
    if !privileged::available("an_http_check_hears_what_a_connection_does_not_say") {
        return Ok(());
    }
    let lone = Lone::build("anylb-a-http", LAB, 1).await?;
    let mut file = File::with(&[1]);
    file.check = "type = \"http\", expect = 200";
    lone.write(&file)?;
    let agent = serving(&lone, 1).await?;

    file.check = "type = \"http\", expect = [204, 503]";
    lone.write(&file)?;
    agent.tell(&["reload"])?;
    agent
        .until("down", SOON, |status| {
            health(status, 1) == Some(Health::Down)
        })
        .await?;
    let list = agent.tell(&["backend", "list"])?;
    assert!(
        list.contains("! 10.1.1.2 in web: status 200, expected 204 or 503"),
        "{list}"
    );
    assert_eq!(announced(&agent.status()?), [""; 0]);
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn drain_and_ready_move_first_hops_and_survive_a_restart() -> Result<()> {
    if !privileged::available("drain_and_ready_move_first_hops_and_survive_a_restart") {
        return Ok(());
    }
    let lone = Lone::build("anylb-a-drain", LAB, 2).await?;
    lone.write(&File::with(&[1, 2]))?;
    let agent = serving(&lone, 1).await?;
    agent.tell(&["backend", "drain", "be1"])?;
    assert_eq!(ratio(&agent.status()?, "10.1.1.2"), Some(0.0));
    assert!(agent.stop(SOON).await?.success());

    let agent = serving(&lone, 1).await?;
    assert!(!agent.status()?.adopted, "a stop leaves nothing to adopt");
    assert_eq!(
        ratio(&agent.status()?, "10.1.1.2"),
        Some(0.0),
        "but what was said"
    );
    agent.tell(&["backend", "ready", "10.1.1.2"])?;
    let share = ratio(&agent.status()?, "10.1.1.2").context("be1")?;
    assert!((0.45..0.55).contains(&share), "{share}");
    agent.tell(&["backend", "weight", "be1", "300"])?;
    let share = ratio(&agent.status()?, "10.1.1.2").context("be1")?;
    assert!((0.7..0.8).contains(&share), "{share}");

    let said = agent.tell(&["backend", "disable", "be1"])?;
    assert!(said.contains("this node only, until it reboots"), "{said}");
    let packet = ["explain", "192.0.2.2:40000", "198.51.100.1:80", "--json"];
    let explained = agent.tell(&packet)?;
    assert!(
        explained.contains("10.1.2.2") && !explained.contains("10.1.1.2"),
        "no hop of any row: {explained}"
    );
    let last = agent.tell(&["backend", "disable", "be2"]);
    let last = last.expect_err("the last one").to_string();
    assert!(last.contains("be2 is the last backend of web"), "{last}");
    agent.kill()?;
    let agent = serving(&lone, 1).await?;
    let list = agent.tell(&["backend", "list"])?;
    for kept in ["disabled", "weight 300 instead of 100"] {
        let line = format!("* 10.1.1.2 in web: {kept} on this node only, until it reboots");
        assert!(list.contains(&line), "{list}");
    }
    let unknown = agent
        .tell(&["backend", "drain", "be7"])
        .expect_err("unknown");
    assert!(
        unknown.to_string().contains("no backend be7 in any pool"),
        "{unknown:#}"
    );
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_withdrawn_service_stays_so_over_a_crash_and_its_datapath_goes_on() -> Result<()> {
    if !privileged::available("a_withdrawn_service_stays_so_over_a_crash_and_its_datapath_goes_on")
    {
        return Ok(());
    }
    let lone = Lone::build("anylb-a-wdraw", LAB, 1).await?;
    lone.write(&File::with(&[1]))?;
    let agent = serving(&lone, 1).await?;
    let withdrawn = |status: &NodeStatus| {
        status.services.first().is_some_and(|service| {
            let reason = service.reason.as_deref();
            service.withdrawn && !service.announced && reason == Some("web: withdrawn by operator")
        })
    };
    agent.tell(&["service", "withdraw", "web"])?;
    let status = agent.status()?;
    ensure!(withdrawn(&status), "at once: {status:?}");
    let vip = format!("198.51.100.1:{}", lone::PORT);
    let explained = agent.tell(&["explain", "192.0.2.9:4000", &vip])?;
    ensure!(explained.contains("(tx)"), "{explained}");

    agent.kill()?;
    let agent = lone.start().await?;
    agent
        .until("withdrawn after a crash", SOON, |status| {
            status.adopted && withdrawn(status)
        })
        .await?;
    agent.tell(&["service", "announce", "web"])?;
    assert_eq!(announced(&agent.status()?), ["web"]);
    agent.stop(SOON).await?;
    Ok(())
}

/// Connects from the client to the VIP, in a moment or not at all.
fn connect(lone: &Lone) -> Result<std::net::TcpStream> {
    let vip = SocketAddr::from((VIP, lone::PORT));
    let connect = || Ok(std::net::TcpStream::connect_timeout(&vip, A_MOMENT)?);
    let stream = lone.star.client.run(connect)?;
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

async fn dropped(agent: &Agent, name: &str) -> Result<u64> {
    let counters = agent.counters().await?;
    let exit = counters.exits.iter().find(|exit| exit.name == name);
    Ok(exit.context("no such exit")?.packets)
}

#[tokio::test]
async fn under_attack_a_connection_goes_on_and_none_begins_until_the_operator_says_so() -> Result<()>
{
    if !privileged::available(
        "under_attack_a_connection_goes_on_and_none_begins_until_the_operator_says_so",
    ) {
        return Ok(());
    }
    let lone = Lone::build("anylb-a-attack", LAB, 1).await?;
    lone.write(&File::with(&[1]))?;
    let role = lone.start_backend(1, "").await?;
    let agent = serving(&lone, 1).await?;
    let via = lone.node().v4;
    lone.star.r1.ip(&format!("route add {VIP}/32 via {via}"))?;
    let mut known = connect(&lone)?;
    lone::ask(&mut known)?;

    let attacked = |status: &NodeStatus| {
        let limits = status.services.first().map(|service| &service.limits);
        limits.is_some_and(|limits| limits.attack && !limits.attack_configured)
    };
    agent.tell(&["service", "attack", "web", "on"])?;
    let status = agent.status()?;
    ensure!(attacked(&status), "at once: {status:?}");
    ensure!(connect(&lone).is_err(), "a connection has begun");
    ensure!(dropped(&agent, "attack_syn").await? > 0, "no SYN dropped");
    lone::ask(&mut known)?;
    assert_eq!(announced(&agent.status()?), ["web"]);

    agent.kill()?;
    let agent = lone.start().await?;
    agent
        .until("under attack after a crash", SOON, |status| {
            status.adopted && attacked(status)
        })
        .await?;
    lone::ask(&mut known)?;
    ensure!(connect(&lone).is_err(), "a connection has begun");
    agent.tell(&["service", "attack", "web", "off"])?;
    lone::ask(&mut connect(&lone)?)?;
    lone::ask(&mut known)?;
    role.stop(SOON).await?;
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_handover_leaves_datapath_and_a_next_agent_adopts_it() -> Result<()> {
    if !privileged::available("a_handover_leaves_datapath_and_a_next_agent_adopts_it") {
        return Ok(());
    }
    let lone = Lone::build("anylb-a-hand", LAB, 1).await?;
    lone.write(&File::with(&[1]))?;
    let mut agent = serving(&lone, 1).await?;
    let before = lone.footprint()?;
    agent.tell(&["restart"])?;
    poll::until("the end of the agent", SOON, async || {
        ensure!(!agent.is_running()?, "it runs");
        Ok(())
    })
    .await?;
    assert_eq!(lone.footprint()?, before);
    let agent = lone.start().await?;
    agent
        .until("adoption", SOON, |status| {
            status.adopted && announced(status) == ["web"]
        })
        .await?;
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn state_that_cannot_be_read_does_not_stop_a_running_datapath() -> Result<()> {
    if !privileged::available("state_that_cannot_be_read_does_not_stop_a_running_datapath") {
        return Ok(());
    }
    let lone = Lone::build("anylb-a-state", LAB, 2).await?;
    lone.write(&File::with(&[1, 2]))?;
    let agent = serving(&lone, 1).await?;
    agent.kill()?;
    let state = lone.node().dir.join("state");
    std::fs::write(state.join("state.json"), "{\"version\":")?;
    let agent = lone.start().await?;
    let status = agent
        .until("adoption", SOON, |status| announced(status) == ["web"])
        .await?;
    assert!(status.adopted);
    assert!(
        status
            .problems
            .iter()
            .any(|line| line.contains("state.json.unusable")),
        "{:?}",
        status.problems
    );
    agent.kill()?;
    // A file where the directory was.
    std::fs::remove_dir_all(&state)?;
    std::fs::write(&state, "")?;
    let agent = lone.start().await?;
    let status = agent
        .until("adoption", SOON, |status| announced(status) == ["web"])
        .await?;
    assert!(
        status
            .problems
            .iter()
            .any(|line| line.contains("set node.state_dir")),
        "{:?}",
        status.problems
    );
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn an_interface_made_anew_gets_the_program_back() -> Result<()> {
    if !privileged::available("an_interface_made_anew_gets_the_program_back") {
        return Ok(());
    }
    let lone = Lone::build("anylb-a-link", LAB, 1).await?;
    lone.write(&File::with(&[1]))?;
    let agent = serving(&lone, 1).await?;
    let node = lone.node();
    node.netns.ip("link del eth0")?;
    agent
        .until("withdrawal", SOON, |status| announced(status).is_empty())
        .await?;
    assert!(!agent.status()?.interfaces[0].attached);
    let r1 = lone.star.r1.name();
    lone.star.r1.ip(&format!(
        "link add lb1 mtu 1700 type veth peer name eth0 mtu 1700 netns {}",
        node.netns.name()
    ))?;
    for (netns, device, address) in [
        (&lone.star.r1, "lb1", "10.0.1.1"),
        (&node.netns, "eth0", "10.0.1.2"),
    ] {
        netns.ip(&format!("address add {address}/24 dev {device}"))?;
        netns.ip(&format!("link set {device} up"))?;
    }
    node.netns
        .ip("route add default via 10.0.1.1")
        .with_context(|| r1.to_owned())?;
    let status = agent
        .until("announcing again", SOON, |status| {
            announced(status) == ["web"]
        })
        .await?;
    assert!(status.interfaces[0].attached);
    assert!(lone::program(node)?.is_some());
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_the_waiting() -> Result<()> {
    if !privileged::available("a_second_signal_ends_the_waiting") {
        return Ok(());
    }
    let lone = Lone::build("anylb-a-twice", LAB, 1).await?;
    let mut file = File::with(&[1]);
    file.node = "drain_wait = \"1h\"\nlinger = \"1h\"".into();
    lone.write(&file)?;
    let mut agent = serving(&lone, 1).await?;
    lone.star
        .r1
        .ip(&format!("route add 198.51.100.1/32 via {}", lone.node().v4))?;
    let client = NetnsRuntime::start(&lone.star.client)?;
    let traffic = client.handle().spawn(async {
        // SYNs that nobody answers are packets as well.
        loop {
            let connect = TcpStream::connect((Ipv4Addr::new(198, 51, 100, 1), lone::PORT));
            let _ = tokio::time::timeout(Duration::from_millis(100), connect).await;
        }
    });
    for waits in ["asking routers", "forwarding what still comes"] {
        agent.terminate()?;
        poll::until(waits, SOON, async || {
            ensure!(log(&lone)?.contains(waits), "{}", log(&lone)?);
            Ok(())
        })
        .await?;
        assert!(agent.is_running()?);
    }
    let ended = agent.stop(SOON).await?;
    traffic.abort();
    assert!(ended.success(), "{ended}");
    assert_eq!(log(&lone)?.matches("told again").count(), 2);
    assert_eq!(lone.footprint()?.program, None);
    Ok(())
}

fn log(lone: &Lone) -> Result<String> {
    Ok(std::fs::read_to_string(lone.node().dir.join("agent.log"))?)
}

#[tokio::test]
async fn the_agent_is_small() -> Result<()> {
    if !privileged::available("the_agent_is_small") {
        return Ok(());
    }
    let lone = Lone::build("anylb-a-small", LAB, 3).await?;
    lone.write(&File::with(&[1, 2, 3]))?;
    let agent = serving(&lone, 1).await?;
    let (resident, own) = (agent.resident_bytes()?, agent.anonymous_bytes()?);
    println!(
        "agent with one service: {} KiB resident, {} KiB its own",
        resident / 1024,
        own / 1024
    );
    assert!(own < 12 << 20, "{own} bytes");
    if cfg!(debug_assertions) {
        println!(
            "SKIPPED the limit of 24 MiB: most of an unoptimised agent is its program; test with --release"
        );
    } else {
        assert!(resident < 24 << 20, "{resident} bytes");
    }
    agent.stop(SOON).await?;
    Ok(())
}
