//! A configuration's way into force: shown, refused, forced, by command and by signal, and told to the routers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::status::{ConfigDiff, Envelope, NodeStatus, RouteList};
use lb_tests::harness::bird::Bird;
use lb_tests::harness::{poll, privileged};
use lb_tests::lab::agent::Agent;
use lb_tests::lone::{File, Lone};

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);

/// Exit code and what was printed, to standard output or to standard error.
fn anylb(lone: &Lone, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let output = lone.command().args(arguments).output().context("anylb")?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(text)?))
}

fn diff(lone: &Lone, arguments: &[&str]) -> Result<(Option<i32>, ConfigDiff)> {
    let arguments = [&["diff", "--json"], arguments].concat();
    let (code, text) = anylb(lone, &arguments)?;
    let envelope: Envelope<ConfigDiff> =
        serde_json::from_str(&text).with_context(|| text.clone())?;
    Ok((code, envelope.body))
}

/// Writes a configuration whose pool has no second chance.
fn write_without_hops(lone: &Lone, file: &File) -> Result<()> {
    lone.write(file)?;
    let text = std::fs::read_to_string(lone.config())?;
    let text = text.replace("[[pool]]\n", "[[pool]]\nhops = 1\n");
    Ok(std::fs::write(lone.config(), text)?)
}

async fn serving(lone: &Lone) -> Result<Agent> {
    let agent = lone.start().await?;
    // Before its first round an agent tells of no service.
    let announced = |status: &NodeStatus| {
        let mut services = status.services.iter();
        !status.services.is_empty() && services.all(|service| service.announced)
    };
    agent.until("announcing", SOON, announced).await?;
    Ok(agent)
}

#[tokio::test]
async fn what_would_change_is_shown_and_what_would_break_is_refused_until_forced() -> Result<()> {
    if !privileged::available(
        "what_would_change_is_shown_and_what_would_break_is_refused_until_forced",
    ) {
        return Ok(());
    }
    let lone = Lone::build("anylb-rl-diff", LAB, 3).await?;
    write_without_hops(&lone, &File::with(&[1, 2]))?;
    let agent = serving(&lone).await?;
    let before = lone.settled().await?;
    assert_eq!(
        anylb(&lone, &["diff"])?,
        (Some(0), "nothing differs\n".into())
    );

    // The agent's own file, and one that it may never see again.
    let next = lone.node().dir.join("next.toml");
    let name = next.to_string_lossy().into_owned();
    write_without_hops(&lone, &File::with(&[1, 2, 3]))?;
    std::fs::copy(lone.config(), &next)?;
    let (code, own) = diff(&lone, &[])?;
    let (_, other) = diff(&lone, &[&name])?;
    assert_eq!((code, &own), (Some(10), &other));
    let rows = own.pools[0].rows.context("rows")?;
    assert!((20_000..24_000).contains(&rows.newly_uncovered), "{rows:?}");
    std::fs::write(&next, "version = 1\nvipp = 2\n")?;
    let (code, text) = anylb(&lone, &["diff", &name])?;
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("vipp") && text.contains("^^^^"), "{text}");

    let (code, text) = anylb(&lone, &["reload"])?;
    assert_eq!(code, Some(6), "{text}");
    assert!(text.starts_with("anylb: pool web: up to 3"), "{text}");
    assert!(text.contains("`anylb reload --force`"), "{text}");
    agent.hang_up()?;
    let status = agent
        .until("both refused", SOON, |status| {
            status.config.reloads_rejected == 2
        })
        .await?;
    let log = std::fs::read_to_string(lone.node().dir.join("agent.log"))?;
    let line = log
        .lines()
        .find(|line| line.contains("reload: pool web: up to 3"));
    assert!(line.is_some_and(|line| line.contains("ERROR")), "{log}");
    assert_eq!(
        status.pools.values().next().map(|pool| pool.backends.len()),
        Some(2)
    );
    assert_eq!(lone.footprint()?, before, "nothing was touched");

    let (code, text) = anylb(&lone, &["reload", "--force", "--wait"])?;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("  + 10.1.3.2 be3\n"), "{text}");
    assert!(text.ends_with("\napplied: 1 services\n"), "{text}");
    let status = agent.status()?;
    assert_eq!(status.config.reloads_applied, 1);
    assert_eq!(
        status.pools.values().next().map(|pool| pool.backends.len()),
        Some(3)
    );
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_file_without_any_vip_that_can_be_announced_is_refused() -> Result<()> {
    if !privileged::available("a_file_without_any_vip_that_can_be_announced_is_refused") {
        return Ok(());
    }
    let lone = Lone::build("anylb-rl-none", LAB, 2).await?;
    let mut file = File::with(&[1]);
    lone.write(&file)?;
    let agent = serving(&lone).await?;
    let everything = "every VIP that is announced would be withdrawn";
    file.services.clear();
    lone.write(&file)?;
    let (code, text) = anylb(&lone, &["reload"])?;
    assert_eq!(code, Some(6), "{text}");
    let why = format!("anylb: {everything} (it leaves the configuration); nothing changed");
    assert!(text.starts_with(&why), "{text}");

    // A backend that nobody has checked yet is no backend: it comes beside the one that is to go.
    lone.write(&File::with(&[2]))?;
    let (code, text) = anylb(&lone, &["reload"])?;
    assert_eq!(code, Some(6), "{text}");
    let why = format!("anylb: {everything} (web: 0 of 1 backends healthy, 1 needed)");
    assert!(text.starts_with(&why), "{text}");
    for backends in [&[1, 2][..], &[2]] {
        lone.write(&File::with(backends))?;
        agent.hang_up()?;
        agent
            .until("the new backends", SOON, |status| {
                let pool = status.pools.values().next();
                let up = |pool: &anylb::status::PoolStatus| {
                    let health = |b: &anylb::status::BackendStatus| b.health;
                    pool.backends
                        .iter()
                        .filter(|b| health(b) == anylb::status::Health::Up)
                        .count()
                };
                pool.is_some_and(|pool| up(pool) == backends.len()) && status.services[0].announced
            })
            .await?;
    }
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn whoever_waits_finds_the_routers_told() -> Result<()> {
    if !privileged::available("whoever_waits_finds_the_routers_told") {
        return Ok(());
    }
    let lone = Lone::build("anylb-rl-wait", LAB, 1).await?;
    let router = "log stderr all;\nrouter id 10.0.0.10;\nprotocol device {}\nprotocol bgp lb1 {\n local as 65000;\n \
                  neighbor 10.0.1.2 as 65001;\n direct;\n connect delay time 1;\n error wait time 1, 2;\n \
                  ipv4 { import all; export none; };\n}\n";
    let bird = Bird::start(&lone.star.r1, router, lone.star.run_dir()).await?;
    let mut file = File::with(&[1]);
    lone.write(&file)?;
    let agent = serving(&lone).await?;
    poll::until("a session", SOON, async || {
        ensure!(bird.established("lb1")?, "{}", bird.protocol("lb1")?);
        ensure!(routes(&lone)? == ["198.51.100.1/32"], "not told");
        Ok(())
    })
    .await?;
    for (services, told) in [
        (
            vec![("web", "198.51.100.1"), ("more", "198.51.100.2")],
            vec!["198.51.100.1/32", "198.51.100.2/32"],
        ),
        (vec![("more", "198.51.100.2")], vec!["198.51.100.2/32"]),
    ] {
        file.services = services;
        lone.write(&file)?;
        let (code, text) = anylb(&lone, &["reload", "--wait", "10"])?;
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(routes(&lone)?, told, "at once");
    }
    agent.stop(SOON).await?;
    bird.stop().await
}

/// What the router has been told.
fn routes(lone: &Lone) -> Result<Vec<String>> {
    let (_, text) = anylb(lone, &["bgp", "routes", "--json"])?;
    let list: Envelope<RouteList> = serde_json::from_str(&text).with_context(|| text.clone())?;
    let routes = list.body.peers.into_iter().flat_map(|peer| peer.routes);
    Ok(routes.map(|route| route.prefix.to_string()).collect())
}
