//! `anylb backend drain --wait`: a node asks the backend's own agent for the connections it has.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::harness::process::Process;
use lb_tests::harness::{poll, privileged};
use lb_tests::lone::{self, File, Lone};
use serde_json::Value;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);
const VIP: &str = "198.51.100.1";

/// A connection from the client to the VIP, and the number of the backend that answers on it.
fn connect(lone: &Lone) -> Result<(TcpStream, u8)> {
    let mut stream = lone
        .star
        .client
        .run(|| Ok(TcpStream::connect((VIP, lone::PORT))?))?;
    stream.set_read_timeout(Some(SOON))?;
    let answer = lone::ask(&mut stream)?;
    let (_, name) = answer.split_once("\"name\":\"be").context("a name")?;
    let number = name.get(..1).context("a number")?.parse()?;
    Ok((stream, number))
}

/// `anylb backend drain BACKEND --wait`, asked inside the node's network.
fn drain(lone: &Lone, backend: u8, options: &str) -> std::process::Command {
    let mut command = lone.node().netns.command(lone.anylb());
    command
        .arg("--socket")
        .arg(lone.node().dir.join("run/admin.sock"))
        .args(["backend", "drain", &format!("be{backend}"), "--wait"])
        .args(options.split(' '));
    command
}

/// The answer as JSON, and the exit code.
fn outcome(mut command: std::process::Command) -> Result<(Value, Option<i32>)> {
    let output = command.arg("--json").output()?;
    let answer = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    Ok((answer, output.status.code()))
}

#[tokio::test]
async fn drain_waits_for_the_last_connection_and_says_unknown_without_the_backends_agent()
-> Result<()> {
    if !privileged::available(
        "drain_waits_for_the_last_connection_and_says_unknown_without_the_backends_agent",
    ) {
        return Ok(());
    }
    let lone = Lone::build("anylb-drain", LAB, 2).await?;
    lone.write(&File::with(&[1, 2]))?;
    let mut roles = Vec::new();
    for number in [1, 2] {
        let metrics = format!("[metrics]\nlisten = \"10.1.{number}.2:9488\"");
        roles.push(lone.start_backend(number, &metrics).await?);
    }
    let agent = lone.start().await?;
    agent
        .until("both backends up", SOON, |status| {
            status.services.iter().any(|web| web.healthy == 2)
        })
        .await?;
    lone.settled().await?;
    let via = lone.node().v4;
    lone.star.r1.ip(&format!("route add {VIP}/32 via {via}"))?;

    let (connection, drained) = connect(&lone)?;
    let (answer, code) = outcome(drain(&lone, drained, "--timeout 1"))?;
    ensure!(code == Some(8), "{answer}");
    ensure!(
        answer["outcome"] == "timeout" && answer["connections"] == 1,
        "{answer}"
    );

    let command = drain(&lone, drained, "--timeout 60");
    let mut waiting = Process::spawn("drain", command, &lone.node().dir)?;
    poll::until("its count", SOON, async || {
        let log = waiting.log_tail(5);
        ensure!(log.contains("1 connection after"), "{log}");
        Ok(())
    })
    .await?;
    lone.settled().await?;
    let others = (0..16).map(|_| Ok(connect(&lone)?.1));
    let others = others.collect::<Result<Vec<u8>>>()?;
    ensure!(
        others.iter().all(|&other| other != drained),
        "be{drained} drains: {others:?}"
    );
    ensure!(waiting.ended()?.is_none(), "{}", waiting.log_tail(5));
    drop(connection);
    let status = waiting.wait(SOON).await?;
    let log = waiting.log_tail(5);
    ensure!(status.code() == Some(0), "{status}: {log}");
    ensure!(log.contains("has no connections"), "{log}");

    for role in roles {
        role.stop(SOON).await?;
    }
    let (answer, code) = outcome(drain(&lone, drained, "--timeout 60"))?;
    ensure!(
        code == Some(7) && answer["outcome"] == "unknown",
        "{answer}"
    );
    let reason = answer["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("Connection refused"), "{answer}");
    agent.stop(SOON).await?;
    Ok(())
}
