//! `anylb bench` against a real node at the other end of a cable: what it counts is what the node counts, what it sends is what it
//! says, and what it will not do. Speeds are asserted nowhere.

mod cable;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::harness::raw::Tap;
use lb_tests::harness::xdp_pass::XdpPass;
use lb_tests::harness::{poll, privileged};
use lb_tests::lab::agent::Agent;
use nix::sys::signal::Signal;
use serde_json::Value;

use cable::{Cable, WEB};

const SOON: Duration = Duration::from_secs(10);
/// A size that nothing else on the cable has.
const FRAME: usize = 131;
const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// VIP of each family and the way to it, and the smallest frame.
const FAMILIES: [(&str, u64); 2] = [
    ("198.51.100.1:53", 64),
    ("[2001:db8:100::1]:53 --via fd09::2", 74),
];

async fn exits(agent: &Agent, name: &str) -> Result<u64> {
    let counters = agent.counters().await?;
    let exit = counters.exits.iter().find(|exit| exit.name == name);
    Ok(exit.map_or(0, |exit| exit.packets))
}

fn number(trial: &Value, name: &str) -> Result<u64> {
    trial[name]
        .as_u64()
        .with_context(|| format!("no {name} in {trial}"))
}

#[tokio::test]
async fn what_comes_back_is_what_was_sent_and_what_the_node_counts() -> Result<()> {
    if !privileged::available("what_comes_back_is_what_was_sent_and_what_the_node_counts") {
        return Ok(());
    }
    let cable = Cable::lay("anylb-line-count").await?;
    let agent = cable.serve("53").await?;
    cable
        .generator
        .ip("route add 198.51.100.0/24 via 10.9.0.2")?;
    for (vip, least) in FAMILIES {
        let before = exits(&agent, "sent").await?;
        let (answer, code) = cable.bench(&format!(
            "--to {vip} --rate 2000 --seconds 1 --frame {least},512,1001 --flows 1000 --yes"
        ))?;
        ensure!(code == Some(0), "{answer}");
        let frames = answer["frames"].as_array().context("a list")?;
        ensure!(frames.len() == 3, "{answer}");
        let mut sent = 0;
        for (frame, size) in frames.iter().zip([least, 512, 1001]) {
            ensure!(frame["frame_bytes"] == size, "{frame}");
            let trial = &frame["trials"][0];
            let taken = number(trial, "sent")?;
            ensure!(taken > 0 && taken <= 2000, "{trial}");
            ensure!(number(trial, "offered")? == taken + number(trial, "not_taken")?);
            ensure!(number(trial, "returned")? == taken, "{trial}");
            ensure!(number(trial, "lost")? == 0 && trial["loss_percent"] == 0.0);
            sent += taken;
        }
        // The checks and neighbours of the node are no packets for a VIP.
        ensure!(exits(&agent, "sent").await? - before == sent, "{answer}");
    }
    agent.stop(SOON).await?;
    cable.take_up()
}

#[tokio::test]
async fn a_search_ends_with_a_rate_that_lost_nothing() -> Result<()> {
    if !privileged::available("a_search_ends_with_a_rate_that_lost_nothing") {
        return Ok(());
    }
    let cable = Cable::lay("anylb-line-search").await?;
    let agent = cable.serve("53").await?;
    let (answer, code) =
        cable.bench("--to 198.51.100.1:53 --via 10.9.0.2 --seconds 1 --frame 3072 --yes")?;
    ensure!(code == Some(0), "{answer}");
    ensure!(answer["line_mbps"] == 10_000, "{answer}");
    let frame = &answer["frames"][0];
    let trials = frame["trials"].as_array().context("a list")?;
    ensure!(trials[0]["asked_pps"] == 100_000, "{answer}");
    // 10 Gbit/s are 404,269 of these frames: no more is asked for.
    for trial in trials {
        ensure!(number(trial, "asked_pps")? <= 404_269, "{trial}");
    }
    let limit = frame["limit"].as_str().context("a limit")?;
    ensure!(["loss", "generator", "line"].contains(&limit), "{answer}");
    if let Some(throughput) = frame["throughput_pps"].as_u64() {
        let found = trials.iter().any(|trial| {
            trial["sent_pps"] == throughput && trial["lost"] == 0 && trial["returned"] != 0
        });
        ensure!(found, "{answer}");
    } else {
        ensure!(limit == "loss", "{answer}");
    }
    agent.stop(SOON).await?;
    cable.take_up()
}

#[tokio::test]
async fn what_the_node_drops_is_lost_and_said() -> Result<()> {
    if !privileged::available("what_the_node_drops_is_lost_and_said") {
        return Ok(());
    }
    let cable = Cable::lay("anylb-line-lost").await?;
    let agent = cable.serve("54").await?;
    let options = "--via 10.9.0.2 --seconds 1 --frame 64,512 --yes";
    let (answer, code) = cable.bench(&format!("--to 198.51.100.1:53 --rate 2000 {options}"))?;
    ensure!(code == Some(1), "{answer}");
    let frames = answer["frames"].as_array().context("a list")?;
    ensure!(frames.len() == 1, "nothing more is tried: {answer}");
    let trial = &frames[0]["trials"][0];
    ensure!(trial["loss_percent"] == 100.0 && number(trial, "returned")? == 0);
    ensure!(number(trial, "lost")? == number(trial, "sent")?, "{trial}");
    ensure!(exits(&agent, "no_service").await? == number(trial, "sent")?);
    let problem = answer["problem"].as_str().context("a problem")?;
    ensure!(
        problem.contains("anylb explain 198.18.0.1:32768 198.51.100.1:53/udp"),
        "{problem}"
    );
    // A search does not go on either.
    let (answer, code) = cable.bench(&format!("--to 198.51.100.1:53 {options}"))?;
    ensure!(code == Some(1), "{answer}");
    let trials = answer["frames"][0]["trials"].as_array().context("a list")?;
    ensure!(trials.len() == 1, "{answer}");
    agent.stop(SOON).await?;
    cable.take_up()
}

/// To an address that is no VIP: the node's program passes these, and a tap sees them.
#[tokio::test]
async fn packets_are_of_the_benchmark_networks_and_of_as_many_flows_as_asked_for() -> Result<()> {
    if !privileged::available(
        "packets_are_of_the_benchmark_networks_and_of_as_many_flows_as_asked_for",
    ) {
        return Ok(());
    }
    let cable = Cable::lay("anylb-line-flows").await?;
    let agent = cable.serve("53").await?;
    // A page each: the tap's socket holds some forty.
    for (to, network, at, width) in [
        ("203.0.113.9:53", &[198_u8, 18][..], 26, 4),
        ("[2001:db8:9::9]:53", &[0x20, 0, 0, 2, 0, 0], 22, 16),
    ] {
        let tap = Tap::open(&cable.node.netns)?;
        let (answer, code) = cable.bench(&format!(
            "--to {to} --mac 02:00:00:00:00:02 --rate 30 --seconds 1 --frame {FRAME} --flows 7 --yes"
        ))?;
        ensure!(code == Some(1), "nothing comes back: {answer}");
        let made = number(&answer["frames"][0]["trials"][0], "sent")?;
        let (mut hosts, mut ports) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..made {
            let frame = tap.next_to(NODE_MAC, SOON)?.frame;
            // The generator's own neighbours speak on the same cable.
            if frame.len() != FRAME - 4 {
                continue;
            }
            let (host, rest) = frame[at..].split_at(width);
            // The last bit of the second byte belongs to the host: a prefix of 15 bits.
            let prefix = [&[host[0], host[1] & !1], &host[2..]].concat();
            ensure!(prefix.starts_with(network), "{host:?}");
            hosts.insert(host.to_vec());
            ports.insert(rest[width..width + 2].to_vec());
        }
        ensure!((hosts.len(), ports.len()) == (7, 7), "{hosts:?} {ports:?}");
    }
    agent.stop(SOON).await?;
    cable.take_up()
}

#[tokio::test]
async fn others_go_on_using_the_interface_and_an_ended_bench_leaves_nothing() -> Result<()> {
    if !privileged::available("others_go_on_using_the_interface_and_an_ended_bench_leaves_nothing")
    {
        return Ok(());
    }
    let cable = Cable::lay("anylb-line-others").await?;
    let agent = cable.serve("53").await?;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut bench = cable.start(
            "--to 198.51.100.1:53 --via 10.9.0.2 --rate 1000 --seconds 60 --frame 64 --yes",
        )?;
        let before = exits(&agent, "sent").await?;
        poll::until("packets of the bench", SOON, async || {
            let ended = bench.ended()?;
            ensure!(ended.is_none(), "it ended:\n{}", bench.log_tail(5));
            ensure!(exits(&agent, "sent").await? > before + 100, "none yet");
            Ok(())
        })
        .await?;
        ensure!(cable.attached()?, "the program that counts");
        let generator = (Ipv4Addr::new(10, 9, 0, 1), WEB);
        for _ in 0..20 {
            cable.node.netns.run(|| {
                TcpStream::connect_timeout(&generator.into(), SOON).context("connect")?;
                Ok(())
            })?;
        }
        let status = agent.status()?;
        ensure!(status.services.iter().all(|service| service.healthy == 1));
        bench.signal(signal)?;
        let ended = bench.wait(SOON).await?;
        ensure!(ended.signal() == Some(signal as i32), "{signal}: {ended}");
        poll::until("the interface free again", SOON, async || {
            ensure!(!cable.attached()?, "{signal}: the program is still there");
            Ok(())
        })
        .await?;
    }
    agent.stop(SOON).await?;
    cable.take_up()
}

#[tokio::test]
async fn a_default_route_that_comes_later_ends_it() -> Result<()> {
    if !privileged::available("a_default_route_that_comes_later_ends_it") {
        return Ok(());
    }
    let cable = Cable::lay("anylb-line-late").await?;
    let agent = cable.serve("53").await?;
    let sizes = ["64"; 60].join(",");
    let mut bench = cable.start(&format!(
        "--to 198.51.100.1:53 --via 10.9.0.2 --rate 1000 --seconds 1 --frame {sizes} --yes"
    ))?;
    poll::until("packets of the bench", SOON, async || {
        ensure!(exits(&agent, "sent").await? > 100, "none yet");
        Ok(())
    })
    .await?;
    cable.generator.ip("route add default via 10.9.0.2")?;
    let ended = bench.wait(SOON).await?;
    let said = bench.log_tail(usize::MAX);
    ensure!(ended.code() == Some(6), "{ended}: {said}");
    ensure!(said.contains("carries the default route"), "{said}");
    agent.stop(SOON).await?;
    cable.take_up()
}

/// As a driver does that takes the link down for a program, after which the node is not itself at once.
#[tokio::test]
async fn after_the_link_was_down_the_node_is_waited_for() -> Result<()> {
    if !privileged::available("after_the_link_was_down_the_node_is_waited_for") {
        return Ok(());
    }
    let cable = Cable::lay("anylb-line-wait").await?;
    let agent = cable.serve("54").await?;
    // It looks at the link, and then for a neighbour that is not there yet.
    let mut bench = cable
        .start("--to 198.51.100.1:53 --via 10.9.0.3 --rate 2000 --seconds 1 --frame 64 --yes")?;
    poll::until("a question for the neighbour", SOON, async || {
        let asked = cable.generator.ip("neigh show to 10.9.0.3")?;
        ensure!(asked.contains("10.9.0.3"), "not yet");
        Ok(())
    })
    .await?;
    for line in ["link set eth0 down", "link set eth0 up"] {
        cable.node.netns.ip(line)?;
    }
    cable.node.netns.ip("addr add 10.9.0.3/24 dev eth0")?;
    poll::until("packets that the node cannot send", SOON, async || {
        ensure!(exits(&agent, "no_service").await? > 100, "none yet");
        Ok(())
    })
    .await?;
    cable.configure("53")?;
    agent.tell(&["reload"])?;
    let ended = bench.wait(SOON).await?;
    let said = bench.log_tail(usize::MAX);
    ensure!(ended.success(), "{ended}: {said}");
    let answer: Value = serde_json::from_str(&said)?;
    let trial = &answer["frames"][0]["trials"][0];
    ensure!(
        number(trial, "returned")? > 0 && number(trial, "lost")? == 0,
        "{trial}"
    );
    agent.stop(SOON).await?;
    cable.take_up()
}

#[tokio::test]
async fn refusals_say_why_and_touch_nothing() -> Result<()> {
    if !privileged::available("refusals_say_why_and_touch_nothing") {
        return Ok(());
    }
    let cable = Cable::lay("anylb-line-no").await?;
    let to = "--to 198.51.100.1:53 --rate 100 --seconds 1";
    let via = format!("{to} --via 10.9.0.2 --yes");
    let refused_under = |wrapper: &[&str], options: &str, words: &str| -> Result<()> {
        let said = cable.refusal(wrapper, options)?;
        ensure!(said.contains(words), "{options}: {said}");
        ensure!(said.lines().count() == 1, "{options}: {said}");
        ensure!(!cable.attached()?, "{options}");
        Ok(())
    };
    let refused = |options: &str, words: &str| refused_under(&[], options, words);
    let risks = cable.refusal(&[], &format!("{to} --via 10.9.0.2"))?;
    ensure!(risks.contains("say --yes") && !cable.attached()?, "{risks}");
    let bare = ["setpriv", "--bounding-set=-all"];
    refused_under(&bare, &via, "not permitted to run an XDP program")?;
    let pinned = ["taskset", "-c", "0"];
    let two = format!("{via} --cpus 2");
    refused_under(&pinned, &two, "this process may use 1")?;
    refused(&format!("{via} --iface eth7"), "no interface eth7")?;
    refused(&format!("{to} --yes"), "no route; name the node's address")?;
    refused(&format!("{to} --via 10.9.0.9 --yes"), "does not answer")?;
    refused(&format!("{via} --cpus 1000"), "1000 CPUs shall send")?;
    refused("--to [2001:db8:100::1]:53 --frame 64 --yes", "74 bytes")?;
    // The node has no program yet, so that its veth takes none of ours.
    refused(&via, "sends no frames of XDP programs")?;

    for route in ["default via 10.9.0.2", "default via fd09::2"] {
        cable.generator.ip(&format!("route add {route}"))?;
        refused(&via, "carries the default route")?;
        cable.generator.ip(&format!("route del {route}"))?;
    }
    for line in [
        "link add br0 type bridge",
        "link set br0 up",
        "link set eth1 master br0",
        "route add default dev br0",
    ] {
        cable.generator.ip(line)?;
    }
    refused(&via, "carries the default route")?;
    cable.generator.ip("link del br0")?;
    cable.generator.ip("link set eth1 mtu 1500")?;
    refused(&format!("{via} --frame 1519"), "1518 bytes at most")?;
    let node = &cable.node.netns;
    for (mtu, words) in [(9000, "`anylb doctor eth1`"), (1500, "sends no frames")] {
        cable.generator.ip(&format!("link set eth1 mtu {mtu}"))?;
        node.ip(&format!("link set eth0 mtu {mtu}"))?;
        refused(&via, words)?;
    }
    cable.generator.ip("link set eth1 down")?;
    refused(&via, "eth1 is down; run")?;
    cable.generator.ip("link set eth1 up")?;

    let pass = XdpPass::load(cable.bpffs.path())?;
    pass.attach(&cable.generator, "eth1")?;
    let said = cable.refusal(&[], &via)?;
    ensure!(said.contains("another XDP program is attached"), "{said}");
    drop(pass);
    cable.take_up()
}
