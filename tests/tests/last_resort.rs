//! `below_need = "last-resort"`: of two sites the one that lacks backends gets no traffic, and where both lack some, traffic goes on.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::harness::router::Router;
use lb_tests::harness::star::Node;
use lb_tests::harness::{hash_key, poll, privileged};
use lb_tests::lab::agent::Agent;
use lb_tests::load::server::Answer;
use lb_tests::lone::{Lone, PORT, ask};

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(20);
const VIP: &str = "198.51.100.1";
const CONNECTIONS: usize = 10;

/// Two sites of one AS; the router prefers neither.
const ROUTER: &str = "frr defaults datacenter\nno zebra nexthop kernel enable\nrouter bgp 65000\n bgp router-id 10.0.0.1\n \
    no bgp ebgp-requires-policy\n neighbor 10.0.1.2 remote-as 65001\n neighbor 10.0.2.2 remote-as 65001\n \
    address-family ipv4 unicast\n  maximum-paths 16\n exit-address-family\n";

/// A site that needs both of its backends.
fn write(node: &Node, router: &str, backends: [u8; 2]) -> Result<()> {
    hash_key::write_into(&node.dir)?;
    let mut text = node.lb_section()
        + &format!(
            "[bgp]\nasn = 65001\n[[bgp.peer]]\naddress = \"{router}\"\nasn = 65000\n[[pool]]\nname = \"web\"\n\
             check = {{ type = \"tcp\", port = {PORT}, interval = \"200ms\", timeout = \"150ms\" }}\n"
        );
    for number in backends {
        text += &format!("[[pool.backend]]\naddress = \"10.1.{number}.2\"\n");
    }
    text += &format!(
        "[[service]]\nname = \"web\"\nvip = \"{VIP}\"\nprotocol = \"tcp\"\nports = [{PORT}]\npool = \"web\"\n\
         need = 2\nbelow_need = \"last-resort\"\n"
    );
    Ok(std::fs::write(node.dir.join("anylb.toml"), text)?)
}

/// Waits until the router sends packets for the VIP to these nodes, and asks through whatever it chooses.
async fn served_by(lone: &Lone, nodes: &[&str]) -> Result<BTreeSet<String>> {
    let wanted: BTreeSet<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
    poll::until(&format!("routes to {nodes:?}"), SOON, async || {
        let found = lone.star.r1.next_hops(VIP)?;
        ensure!(found == wanted, "{found:?}");
        Ok(())
    })
    .await?;
    let answers = lone.star.client.run(|| {
        (0..CONNECTIONS)
            .map(|_| {
                let mut stream = TcpStream::connect((VIP, PORT)).context("connect")?;
                stream.set_read_timeout(Some(SOON))?;
                ask(&mut stream)
            })
            .collect::<Result<Vec<String>>>()
    })?;
    answers
        .iter()
        .map(|answer| {
            let (_, body) = answer.split_once("\r\n\r\n").context("a body")?;
            let answer: Answer = serde_json::from_str(body).with_context(|| answer.clone())?;
            Ok(answer.name)
        })
        .collect()
}

#[tokio::test]
async fn a_site_below_need_gets_nothing_unless_all_are() -> Result<()> {
    if !privileged::available("a_site_below_need_gets_nothing_unless_all_are") {
        return Ok(());
    }
    let mut lone = Lone::build_with("anylb-last", LAB, 2, 4).await?;
    let _router = Router::start(&lone.star.r1, ROUTER, lone.star.run_dir()).await?;
    let mut backends = Vec::new();
    for number in 1..=4 {
        backends.push(lone.start_backend(number, "").await?);
    }
    let mut agents = Vec::new();
    for (node, (router, backends)) in lone
        .star
        .lbs
        .iter()
        .zip([("10.0.1.1", [1, 2]), ("10.0.2.1", [3, 4])])
    {
        write(node, router, backends)?;
        let mut agent = Agent::lb(lone.anylb(), node)?;
        agent.ready().await?;
        agents.push(agent);
    }
    served_by(&lone, &["lb1", "lb2"]).await?;

    lone.kill_web(1)?;
    let by = served_by(&lone, &["lb2"]).await?;
    assert!(
        by.iter()
            .all(|name| ["be3", "be4"].contains(&name.as_str())),
        "{by:?}"
    );
    let status = agents[0].status()?;
    let service = &status.services[0];
    assert!(service.announced, "{service:?}");
    assert_eq!(
        service.reason.as_deref(),
        Some("web: 1 of 2 backends healthy, 2 needed")
    );

    lone.kill_web(3)?;
    let by = served_by(&lone, &["lb1", "lb2"]).await?;
    assert!(
        by.iter()
            .all(|name| ["be2", "be4"].contains(&name.as_str())),
        "{by:?}"
    );

    // Nothing was withdrawn, so that nothing waits.
    lone.start_web(1).await?;
    let by = served_by(&lone, &["lb1"]).await?;
    assert!(
        by.iter()
            .all(|name| ["be1", "be2"].contains(&name.as_str())),
        "{by:?}"
    );
    for agent in agents {
        agent.stop(SOON).await?;
    }
    Ok(())
}
