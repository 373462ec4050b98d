//! Two XDP programs on one hook: the LB node's, and behind it one of somebody else's.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::harness::star::CLIENT_V4;
use lb_tests::harness::{privileged, xdp_drop};
use lb_tests::lab::agent::Agent;
use lb_tests::lone::{File, Lone};

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);
const PORT: u16 = 9;
/// Payload of the datagrams that the other program drops, and their frames.
const DROPPED: usize = 77;
const FRAME: u16 = 14 + 20 + 8 + 77;

/// Sends a datagram that the other program drops, and one that it does not: which of them the node's own socket gets.
fn arrives(lone: &Lone) -> Result<Vec<usize>> {
    let node = lone.node();
    let socket = node.netns.run(|| {
        let socket = UdpSocket::bind((node.v4, PORT))?;
        socket.set_read_timeout(Some(SOON))?;
        Ok(socket)
    })?;
    lone.star.client.run(|| {
        let client = UdpSocket::bind((CLIENT_V4, 0))?;
        for bytes in [DROPPED, DROPPED + 1] {
            client.send_to(&vec![7; bytes], (node.v4, PORT))?;
        }
        Ok(())
    })?;
    let mut all = Vec::new();
    // They come in the order in which they were sent.
    while all.last() != Some(&(DROPPED + 1)) {
        match socket.recv(&mut [0; 1500]) {
            Ok(bytes) => all.push(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all)
}

async fn announcing(agent: &Agent) -> Result<()> {
    agent
        .until("announcing", SOON, |status| {
            status.services.iter().any(|service| service.announced)
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn another_program_gets_what_is_not_for_a_vip() -> Result<()> {
    if !privileged::available("another_program_gets_what_is_not_for_a_vip") {
        return Ok(());
    }
    let lone = Lone::build("anylb-x-chain", LAB, 1).await?;
    let pin = lone.node().bpffs.path().join("firewall");
    let plain = File::with(&[1]);
    let chained = File {
        node: format!("{}\nxdp_chain = \"{}\"", plain.node, pin.display()),
        ..plain.clone()
    };
    lone.write(&chained)?;
    let (code, said) = lone.refused(&[]).await?;
    ensure!(
        code == Some(1) && said.contains("node.xdp_chain names no pinned program"),
        "{code:?} {said}"
    );
    assert_eq!(lone.footprint()?.pins.len(), 0, "a refusal leaves nothing");

    xdp_drop::pin(FRAME, &pin)?;
    let agent = lone.start().await?;
    announcing(&agent).await?;
    assert_eq!(arrives(&lone)?, [DROPPED + 1]);
    let explained = agent.tell(&["explain", "192.0.2.2:4001", "198.51.100.1:80"])?;
    assert!(explained.contains("sent (tx)"), "{explained}");
    let programs = agent.tell(&["bpf", "progs"])?;
    assert!(programs.contains("lb_and_next"), "{programs}");

    agent.kill()?;
    assert_eq!(arrives(&lone)?, [DROPPED + 1], "it outlives the agent");
    let agent = lone.start().await?;
    announcing(&agent).await?;
    assert_eq!(
        arrives(&lone)?,
        [DROPPED + 1],
        "and the next agent finds it"
    );
    // A trace puts another program of the node's on the hook, with the same behind it.
    let traced = agent
        .tell(&["trace", "--duration", "1s"])
        .context("a trace")?;
    assert!(traced.starts_with("TIME"), "{traced}");
    assert_eq!(arrives(&lone)?, [DROPPED + 1]);

    lone.write(&plain)?;
    agent.tell(&["restart"])?;
    drop(agent);
    let agent = lone.start().await?;
    announcing(&agent).await?;
    assert_eq!(
        arrives(&lone)?,
        [DROPPED, DROPPED + 1],
        "nobody is behind it any more"
    );
    agent.stop(SOON).await?;
    Ok(())
}
