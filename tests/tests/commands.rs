//! What an operator asks of a running node, by the program's own commands: answers, and exit codes.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::dataplane::layout;
use aya::maps::MapData;
use lb_common::abi::Table;
use lb_tests::bench::bpf;
use lb_tests::harness::{poll, privileged};
use lb_tests::lab::agent::Agent;
use lb_tests::lone::{File, Lone};
use serde_json::Value;
use zerocopy::FromBytes as _;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);

/// `anylb LINE --json` on the node: the answer and the exit code.
fn ask(lone: &Lone, line: &str) -> Result<(Value, Option<i32>)> {
    let output = lone
        .command()
        .args(line.split(' '))
        .arg("--json")
        .output()?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer =
        serde_json::from_slice(&output.stdout).with_context(|| format!("{line}: {complaint}"))?;
    Ok((answer, output.status.code()))
}

/// Starts the agent and waits until the kernel holds what it should, and nothing more is to be changed there.
async fn serving(lone: &Lone) -> Result<Agent> {
    let agent = lone.start().await?;
    poll::until("the datapath", SOON, async || {
        let (answer, code) = ask(lone, "bpf verify")?;
        ensure!(code == Some(0), "{answer}");
        Ok(())
    })
    .await?;
    lone.settled().await?;
    Ok(agent)
}

#[tokio::test]
async fn verify_finds_a_row_that_somebody_has_changed_and_changes_nothing() -> Result<()> {
    if !privileged::available("verify_finds_a_row_that_somebody_has_changed_and_changes_nothing") {
        return Ok(());
    }
    let lone = Lone::build("anylb-c-verify", LAB, 2).await?;
    lone.write(&File::with(&[1, 2]))?;
    let agent = serving(&lone).await?;
    let (answer, _) = ask(&lone, "bpf verify")?;
    let compared = &answer["compared"];
    ensure!(
        compared["tables"] == 1 && compared["backends"] == 2 && compared["probes"] == 1,
        "{answer}"
    );

    // Whichever of the pair is in use.
    let pins = lone.node().bpffs.path().join("anylb");
    let tables = layout::directory(&pins).join("tables");
    let spoil = || -> Result<()> {
        for table in ["0", "1"] {
            let map = MapData::from_pin(tables.join(table))?;
            let mut rows = bpf::lookup(map.fd().as_fd(), 0, size_of::<Table>())?;
            let table = Table::mut_from_bytes(&mut rows)
                .map_err(|error| anyhow::anyhow!("a table: {error}"))?;
            table.set(7, !table.row(7).packed());
            bpf::update(map.fd().as_fd(), &0_u32, &rows[..])?;
        }
        Ok(())
    };
    spoil()?;
    let (answer, code) = ask(&lone, "bpf verify")?;
    ensure!(code == Some(10), "{answer}");
    let differences = answer["differences"].as_array().context("a list")?;
    ensure!(differences.len() == 1, "{answer}");
    ensure!(
        differences[0]["difference"] == "1 of 65536 rows differ",
        "{answer}"
    );
    let (again, code) = ask(&lone, "bpf verify")?;
    ensure!(
        code == Some(10) && again == answer,
        "looking changes nothing: {again}"
    );
    // Once more, and all is as before.
    spoil()?;
    ensure!(ask(&lone, "bpf verify")?.1 == Some(0));

    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn maps_and_programs_are_those_of_the_kernel() -> Result<()> {
    if !privileged::available("maps_and_programs_are_those_of_the_kernel") {
        return Ok(());
    }
    let lone = Lone::build("anylb-c-maps", LAB, 1).await?;
    lone.write(&File::with(&[1]))?;
    let agent = serving(&lone).await?;
    let (answer, code) = ask(&lone, "bpf maps")?;
    ensure!(code == Some(0), "{answer}");
    let maps = answer["maps"].as_array().context("a list")?;
    let names: Vec<&str> = maps.iter().filter_map(|map| map["name"].as_str()).collect();
    let expected = [
        "ROOT",
        "BANKS",
        "TABLES",
        "FILTERS",
        "BUCKETS",
        "COUNTS",
        "BY_OUTCOME",
        "FLOWS",
        "table 0",
        "table 1",
    ];
    assert_eq!(names, expected);
    let named = |name: &str| maps.iter().find(|map| map["name"] == name);
    let table = named("table 0").context("a table")?;
    ensure!(
        table["entries"] == 1 && table["value_bytes"] == 65_536 * 10 && table["kind"] == "array",
        "{table}"
    );
    ensure!(
        table["memory_bytes"].as_u64() >= Some(65_536 * 10),
        "{table}"
    );
    let programs = answer["programs"].as_array().context("a list")?;
    let link = lone.node().netns.ip_json("link show eth0")?;
    ensure!(
        programs[0]["id"] == link[0]["xdp"]["prog"]["id"],
        "{programs:?}"
    );
    ensure!(
        programs[0]["tag"] == link[0]["xdp"]["prog"]["tag"],
        "{programs:?}"
    );
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_probe_and_the_verdict_say_what_is() -> Result<()> {
    if !privileged::available("a_probe_and_the_verdict_say_what_is") {
        return Ok(());
    }
    let mut lone = Lone::build("anylb-c-probe", LAB, 1).await?;
    lone.write(&File::with(&[1]))?;
    let agent = serving(&lone).await?;
    poll::until("the backend is up", SOON, async || {
        let (answer, _) = ask(&lone, "health show be1")?;
        ensure!(answer["backends"][0]["health"] == "up", "{answer}");
        ensure!(
            answer["backends"][0]["last"]["result"] == "success",
            "{answer}"
        );
        Ok(())
    })
    .await?;
    let (answer, code) = ask(&lone, "health probe web be1")?;
    ensure!(code == Some(0) && answer["result"] == "success", "{answer}");
    lone.kill_web(1)?;
    // A killed process keeps its socket for a moment.
    poll::until("the probe fails", SOON, async || {
        let (answer, code) = ask(&lone, "health probe web be1")?;
        ensure!(
            code == Some(7) && answer["reason"] == "connection refused",
            "{answer}"
        );
        Ok(())
    })
    .await?;
    poll::until("the backend is down", SOON, async || {
        let (answer, _) = ask(&lone, "health show")?;
        ensure!(answer["backends"][0]["health"] == "down", "{answer}");
        Ok(())
    })
    .await?;
    let unknown = lone
        .command()
        .args(["health", "probe", "web", "be9"])
        .output()?;
    ensure!(unknown.status.code() == Some(5), "{unknown:?}");
    agent.stop(SOON).await?;
    Ok(())
}

/// `anylb doctor --json` in the node's network: verdicts by check, and the exit code.
fn doctor(lone: &Lone) -> Result<(BTreeMap<String, String>, Option<i32>)> {
    let output = lone
        .node()
        .netns
        .command(lone.anylb())
        .arg("--socket")
        .arg(lone.node().dir.join("run/admin.sock"))
        .args(["doctor", "--json", "-c"])
        .arg(lone.config())
        .output()?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let findings = answer["findings"].as_array().context("a list")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let verdicts = findings
        .iter()
        .map(|finding| (text(&finding["check"]), text(&finding["verdict"])));
    Ok((verdicts.collect(), output.status.code()))
}

#[tokio::test]
async fn the_doctor_sees_what_is_there_and_changes_nothing() -> Result<()> {
    if !privileged::available("the_doctor_sees_what_is_there_and_changes_nothing") {
        return Ok(());
    }
    let mut lone = Lone::build("anylb-c-doctor", LAB, 2).await?;
    lone.write(&File::with(&[1, 2]))?;
    let before = lone.footprint()?;
    let (verdicts, code) = doctor(&lone)?;
    for check in [
        "kernel",
        "privileges",
        "BPF",
        "BPF file system",
        "configuration",
        "eth0",
        "pool web",
    ] {
        ensure!(verdicts[check] == "ok", "{check}: {verdicts:?}");
    }
    ensure!(
        verdicts["peer 10.0.1.1"] == "fail",
        "nobody is there: {verdicts:?}"
    );
    ensure!(code == Some(7), "{code:?}");
    ensure!(lone.footprint()? == before, "nothing is attached or pinned");

    lone.kill_web(1)?;
    let agent = serving(&lone).await?;
    let before = lone.footprint()?;
    let (verdicts, _) = doctor(&lone)?;
    ensure!(verdicts["backend 10.1.1.2"] == "warn", "{verdicts:?}");
    ensure!(
        lone.footprint()? == before,
        "and the agent's own datapath stays"
    );
    agent.stop(SOON).await?;
    Ok(())
}
