//! `anylb trace` on a node with traffic: what it shows, what it writes, and that nothing of it stays.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::harness::process::Process;
use lb_tests::harness::star::CLIENT_V4;
use lb_tests::harness::{poll, privileged, raw, shell};
use lb_tests::lab::agent::Agent;
use lb_tests::lone::{self, File, Lone};
use serde_json::Value;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);
/// The agent takes a trace for over after 5 s.
const ABANDONED: Duration = Duration::from_secs(15);
const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

async fn serving(prefix: &str) -> Result<(Lone, Agent)> {
    let lone = Lone::build(prefix, LAB, 1).await?;
    lone.write(&File::with(&[1]))?;
    let agent = lone.start().await?;
    agent
        .until("announcing", SOON, |status| {
            status.services.iter().any(|service| service.announced)
        })
        .await?;
    lone.settled().await?;
    let route = format!("route add {VIP} via {}", lone.node().v4);
    lone.star.r1.ip(&route)?;
    Ok((lone, agent))
}

fn program(lone: &Lone) -> Result<u64> {
    lone::program(lone.node())?.context("a program on the interface")
}

/// Waits until the interface carries another program than `before`.
async fn replaced(lone: &Lone, before: u64) -> Result<u64> {
    let (now, _) = poll::until("another program", SOON, async || {
        let now = program(lone)?;
        ensure!(now != before, "still {now}");
        Ok(now)
    })
    .await?;
    Ok(now)
}

/// One datagram of so many bytes to a port of an address, from the client; its source.
fn send(lone: &Lone, to: Ipv4Addr, port: u16, bytes: usize) -> Result<SocketAddr> {
    lone.star.client.run(|| {
        let socket = UdpSocket::bind((CLIENT_V4, 0))?;
        socket.send_to(&vec![7; bytes], SocketAddr::from((to, port)))?;
        Ok(socket.local_addr()?)
    })
}

/// Begins to trace into a file of the node's folder.
fn begin(lone: &Lone, name: &str, arguments: &str) -> Result<Process> {
    let mut command = lone.command();
    command.arg("trace").args(arguments.split(' '));
    Process::spawn(name, command, &lone.node().dir)
}

fn lines(lone: &Lone, name: &str) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(lone.node().dir.join(format!("{name}.log")))?;
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[tokio::test]
async fn packets_are_shown_with_their_exits() -> Result<()> {
    if !privileged::available("packets_are_shown_with_their_exits") {
        return Ok(());
    }
    let (lone, agent) = serving("anylb-t-show").await?;
    let plain = program(&lone)?;
    let mut trace = begin(
        &lone,
        "trace",
        "--json --vip 198.51.100.1 --src 192.0.2.0/24 --count 2",
    )?;
    replaced(&lone, plain).await?;
    let second = agent.tell(&["trace", "--count", "1"]);
    ensure!(second.is_err(), "one at a time: {second:?}");
    send(&lone, lone.node().v4, 9, 10)?;
    let first = send(&lone, VIP, 81, 600)?;
    let second = send(&lone, VIP, 82, 10)?;
    ensure!(trace.wait(SOON).await?.success(), "it ends after two");

    let lines = lines(&lone, "trace")?;
    let field = |line: usize, name: &str| lines[line][name].to_string();
    assert_eq!(lines.len(), 3, "two of the VIP, and the totals: {lines:?}");
    for (line, source, port, length) in [(0, first, 81, 642), (1, second, 82, 52)] {
        assert_eq!(field(line, "exit"), "\"no_service\"");
        assert_eq!(field(line, "action"), "\"drop\"");
        assert_eq!(field(line, "interface"), "\"eth0\"");
        assert_eq!(field(line, "source"), format!("\"{source}\""));
        assert_eq!(
            field(line, "destination"),
            format!("\"198.51.100.1:{port}\"")
        );
        assert_eq!(field(line, "length"), length.to_string());
    }
    let bytes = |line: usize| lines[line]["bytes"].as_str().map_or(0, str::len) / 2;
    assert_eq!((bytes(0), bytes(1)), (256, 52), "the first 256");
    assert_eq!(
        (&lines[2]["packets"], &lines[2]["lost"]),
        (&2.into(), &0.into())
    );
    assert_eq!(program(&lone)?, plain, "the agent's own program is back");
    let verified = agent.tell(&["bpf", "verify"])?;
    assert!(
        verified.starts_with("the kernel holds what it should"),
        "{verified}"
    );
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_file_is_what_tshark_reads() -> Result<()> {
    if !privileged::available("a_file_is_what_tshark_reads") {
        return Ok(());
    }
    let (lone, agent) = serving("anylb-t-pcap").await?;
    let plain = program(&lone)?;
    let file = lone.node().dir.join("trace.pcapng");
    let arguments = format!("--exit no_service --count 3 --pcap {}", file.display());
    let mut trace = begin(&lone, "trace", &arguments)?;
    replaced(&lone, plain).await?;
    for bytes in [10, 600, 20] {
        send(&lone, VIP, 81, bytes)?;
    }
    ensure!(trace.wait(SOON).await?.success(), "it ends after three");
    let fields = [
        "frame.len",
        "frame.cap_len",
        "frame.interface_name",
        "frame.comment",
        "frame.verdict.ebpf_xdp",
        "ip.src",
        "udp.dstport",
    ];
    let mut command = Command::new("tshark");
    command
        .arg("-r")
        .arg(&file)
        .args(["-T", "fields", "-E", "separator=,"]);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    command.stderr(Stdio::null());
    let told = shell::output(&mut command)?;
    let expected = [(52, 52), (642, 256), (62, 62)].map(|(length, captured)| {
        format!("{length},{captured},eth0,drop no_service,1,192.0.2.2,81\n")
    });
    assert_eq!(told, expected.concat());
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_trace_that_is_killed_ends_and_so_does_one_of_a_killed_agent() -> Result<()> {
    if !privileged::available("a_trace_that_is_killed_ends_and_so_does_one_of_a_killed_agent") {
        return Ok(());
    }
    let (lone, agent) = serving("anylb-t-kill").await?;
    let plain = program(&lone)?;
    let trace = begin(&lone, "trace", "--json")?;
    replaced(&lone, plain).await?;
    trace.kill()?;
    poll::until("the agent's own program", ABANDONED, async || {
        ensure!(program(&lone)? == plain, "not yet");
        Ok(())
    })
    .await?;

    let trace = begin(&lone, "again", "--json")?;
    let watched = replaced(&lone, plain).await?;
    agent.kill()?;
    assert_eq!(program(&lone)?, watched, "nothing comes off");
    let agent = lone.start().await?;
    let own = replaced(&lone, watched).await?;
    drop(trace);
    // The program is replaced before the first round has applied anything.
    poll::until("what it should hold", SOON, async || {
        let verified = agent.tell(&["bpf", "verify"])?;
        ensure!(
            verified.starts_with("the kernel holds what it should"),
            "{own}: {verified}"
        );
        Ok(())
    })
    .await?;
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn rare_exits_are_logged_where_that_is_wanted() -> Result<()> {
    if !privileged::available("rare_exits_are_logged_where_that_is_wanted") {
        return Ok(());
    }
    let lone = Lone::build("anylb-t-log", LAB, 1).await?;
    lone.write(&File::with(&[1]))?;
    let role = ["run", "--bpf-log", "info"];
    let mut agent = Agent::start(lone.anylb(), lone.node(), &role)?;
    agent.ready().await?;
    agent
        .until("announcing", SOON, |status| {
            status.services.iter().any(|service| service.announced)
        })
        .await?;
    // From the VIP, to the VIP.
    let mut frame = vec![0; 12];
    frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    frame.extend([VIP.octets(), VIP.octets()].concat());
    frame.extend([
        0x0f, 0xa1, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0,
    ]);
    let log = lone.node().dir.join("agent.log");
    let lines = |text: &str| text.matches("bad_source: interface").count();
    for expected in [1, 2] {
        raw::send(&lone.star.r1, "lb1", &frame)?;
        poll::until("a line", SOON, async || {
            let text = std::fs::read_to_string(&log)?;
            ensure!(lines(&text) == expected, "{text}");
            ensure!(text.contains(", 54 bytes"), "{text}");
            Ok(())
        })
        .await?;
        // The program of a trace logs as well.
        agent.tell(&["trace", "--duration", "1s"])?;
    }
    for _ in 0..1000 {
        raw::send(&lone.star.r1, "lb1", &frame)?;
    }
    poll::until("all of them counted", SOON, async || {
        let drops = agent.tell(&["drops", "--json"])?;
        let drops: Value = serde_json::from_str(&drops)?;
        let named = |drop: &&Value| drop["name"] == "bad_source";
        let counted = drops["drops"]
            .as_array()
            .and_then(|all| all.iter().find(named));
        ensure!(
            counted.is_some_and(|drop| drop["packets"] == 1002),
            "{drops}"
        );
        Ok(())
    })
    .await?;
    let text = std::fs::read_to_string(&log)?;
    assert!(
        lines(&text) < 500,
        "a flood is not logged line by line: {}",
        lines(&text)
    );
    agent.stop(SOON).await?;
    Ok(())
}
