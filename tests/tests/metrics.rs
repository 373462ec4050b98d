//! The metrics of running agents, as promtool and a real Prometheus see them.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::harness::prometheus::{self, Prometheus};
use lb_tests::harness::runtime::NetnsRuntime;
use lb_tests::harness::{poll, privileged};
use lb_tests::lab::agent::Agent;
use lb_tests::lone::{self, File, Lone};
use tokio::net::TcpStream;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);
const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Where agents answer scrapes, on loopback.
const PORT: u16 = 9488;

/// A node with this many backends whose agent answers scrapes.
async fn scraped(prefix: &str, backends: &[u8]) -> Result<(Lone, Agent)> {
    let count = u8::try_from(backends.len())?;
    let lone = Lone::build(prefix, LAB, count).await?;
    let mut file = File::with(backends);
    file.node += &metrics_section();
    lone.write(&file)?;
    let agent = lone.start().await?;
    poll::until("the VIP announced", SOON, async || {
        let status = agent.status()?;
        let announced = status.services.first().is_some_and(|web| web.announced);
        ensure!(announced, "{status:?}");
        Ok(())
    })
    .await?;
    Ok((lone, agent))
}

fn metrics_section() -> String {
    format!("\n[metrics]\nlisten = \"127.0.0.1:{PORT}\"\n")
}

/// The kernel's word for the families of programs.
fn bpf_stats_enabled() -> Result<bool> {
    let switch = std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled")?;
    Ok(switch.trim() == "1")
}

#[tokio::test]
async fn expositions_of_both_roles_are_clean() -> Result<()> {
    if !privileged::available("expositions_of_both_roles_are_clean") {
        return Ok(());
    }
    let (lone, agent) = scraped("anylb-m-tool", &[1]).await?;
    let node = prometheus::get(&lone.node().netns, PORT, "/metrics")?;
    prometheus::check_metrics(&node)?;
    let has = |line: &str| node.lines().any(|found| found.starts_with(line));
    for line in [
        "anylb_up 1",
        "anylb_xdp_attached{interface=\"eth0\",mode=\"native\"} 1",
        "anylb_xdp_actions_total{action=\"redirect\"} 0",
        "anylb_bpf_map_memory_bytes{map=\"tables\"} ",
        "anylb_bgp_session_up{peer=\"10.0.1.1\"} 0",
        "process_resident_memory_bytes ",
    ] {
        ensure!(has(line), "no {line} in\n{node}");
    }
    let counted = has("anylb_bpf_program_runs_total{program=\"lb\"} ");
    ensure!(counted == bpf_stats_enabled()?, "{node}");

    let backend = &lone.star.backends[0];
    let role = lone.start_backend(1, &metrics_section()).await?;
    let text = prometheus::get(&backend.netns, PORT, "/metrics")?;
    prometheus::check_metrics(&text)?;
    for line in [
        "anylb_up 1",
        "anylb_decap_packets_total 0",
        "anylb_vip_connections{service=\"web\"} 0",
        "anylb_bpf_map_memory_bytes{map=\"",
    ] {
        let found = text.lines().any(|found| found.starts_with(line));
        ensure!(found, "no {line} in\n{text}");
    }
    role.stop(SOON).await?;
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn prometheus_scrapes_a_node_and_sees_it_work_and_end() -> Result<()> {
    if !privileged::available("prometheus_scrapes_a_node_and_sees_it_work_and_end") {
        return Ok(());
    }
    let (lone, agent) = scraped("anylb-m-scrape", &[1, 2]).await?;
    let netns = &lone.node().netns;
    let target = format!("127.0.0.1:{PORT}");
    let prometheus = Prometheus::start(netns, &target, &lone.node().dir).await?;
    let value = |query: &str| prometheus.value(netns, query);
    let until = async |query: &str, wanted: f64| {
        poll::until(query, SOON, async || {
            let found = value(query)?;
            ensure!(found >= wanted, "{found} and not {wanted}");
            Ok(found)
        })
        .await
    };
    for query in [
        "up",
        "anylb_up",
        "anylb_vip_announced{service=\"web\"}",
        "sum(anylb_backend_up) / 2",
        "anylb_xdp_attached{interface=\"eth0\"}",
    ] {
        let (found, _) = until(query, 1.0).await?;
        ensure!(found == 1.0, "{query}: {found}");
    }

    let (checks, _) = until("sum(anylb_health_checks_total{result=\"success\"})", 2.0).await?;
    let (packets, _) = until("anylb_vip_packets_total", 0.0).await?;
    let via = lone.node().v4;
    lone.star.r1.ip(&format!("route add {VIP}/32 via {via}"))?;
    let client = NetnsRuntime::start(&lone.star.client)?;
    let traffic = client.handle().spawn(async {
        // SYNs that nobody answers are packets as well.
        let connect = TcpStream::connect((VIP, lone::PORT));
        let _ = tokio::time::timeout(SOON, connect).await;
    });
    until("anylb_vip_packets_total", packets + 1.0).await?;
    until("anylb_vip_new_flows_total", 1.0).await?;
    until("sum(anylb_backend_packets_total)", 1.0).await?;
    until("anylb_xdp_actions_total{action=\"tx\"}", 1.0).await?;
    until(
        "sum(anylb_health_checks_total{result=\"success\"})",
        checks + 2.0,
    )
    .await?;
    until("rate(anylb_xdp_received_packets_total[5s])", 0.1).await?;
    traffic.abort();

    agent.stop(SOON).await?;
    poll::until("the end of the agent in Prometheus", SOON, async || {
        ensure!(value("up")? == 0.0, "it is up");
        Ok(())
    })
    .await?;
    prometheus.stop().await?;
    Ok(())
}
