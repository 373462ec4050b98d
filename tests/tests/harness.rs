//! The harness and the load on their own, without a load balancer: a VIP routed straight to one backend. What the
//! lab counts as broken must be broken here.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::harness::filter::Filter;
use lb_tests::harness::process::Process;
use lb_tests::harness::router::Router;
use lb_tests::harness::runtime::NetnsRuntime;
use lb_tests::harness::star::{Node, Star};
use lb_tests::harness::{leftovers, poll, privileged};
use lb_tests::load::long_lived::{self, LongLived, Plan};
use lb_tests::load::stream::Stream;
use lb_tests::load::{many, upload};

const VIP_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 1);
const DEADLINE: Duration = Duration::from_secs(5);

fn vips() -> Vec<SocketAddr> {
    vec![(VIP_V4, 80).into(), (VIP_V6, 80).into()]
}

/// A star whose router sends the VIPs to `be1`.
async fn routed(prefix: &str) -> Result<(Star, PathBuf)> {
    let run_dir = Path::new("/run").join(prefix);
    leftovers::clear(prefix, &run_dir).await?;
    let star = Star::build(prefix, &run_dir, 1, 2)?;
    for backend in &star.backends {
        backend
            .netns
            .ip(&format!("address add {VIP_V4}/32 dev lo"))?;
        backend
            .netns
            .ip(&format!("address add {VIP_V6}/128 dev lo nodad"))?;
    }
    route_to(&star, &star.backends[0])?;
    Ok((star, run_dir))
}

fn route_to(star: &Star, backend: &Node) -> Result<()> {
    star.r1
        .ip(&format!("route replace {VIP_V4}/32 via {}", backend.v4))?;
    star.r1
        .ip(&format!("-6 route replace {VIP_V6}/128 via {}", backend.v6))?;
    Ok(())
}

async fn serve(backend: &Node) -> Result<Process> {
    let mut command = backend.netns.command(env!("CARGO_BIN_EXE_lab"));
    command.args(["serve", "--port", "80", "--name", &backend.name]);
    let process = Process::spawn("web", command, &backend.dir)?;
    poll::until("the web server", DEADLINE, async || {
        backend
            .netns
            .run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 80)).context("connect"))
    })
    .await?;
    Ok(process)
}

fn plan(patience: Duration) -> Plan {
    Plan {
        targets: vips(),
        per_target: 20,
        opening: Duration::from_millis(20),
        every: Duration::from_millis(20),
        patience,
    }
}

#[tokio::test]
async fn requests_reach_the_backend_with_the_clients_address() -> Result<()> {
    if !privileged::available("requests_reach_the_backend_with_the_clients_address") {
        return Ok(());
    }
    let (star, run_dir) = routed("anylb-t-req").await?;
    let _web = serve(&star.backends[0]).await?;
    let client = NetnsRuntime::start(&star.client)?;
    for vip in vips() {
        let tally = many::requests(client.handle(), vip, 50, 8, DEADLINE).await?;
        assert_eq!(
            (tally.answered(), tally.failed(), tally.foreign_peer),
            (50, 0, 0),
            "{vip}: {tally:?}"
        );
        assert_eq!(tally.by_server.get("be1"), Some(&50), "{vip}: {tally:?}");
        upload::upload(client.handle(), vip, 1 << 20, DEADLINE).await?;
    }
    drop((client, _web, star));
    assert_eq!(leftovers::namespaces("anylb-t-req")?, Vec::<String>::new());
    leftovers::clear("anylb-t-req", &run_dir).await?;
    assert!(!run_dir.exists());
    Ok(())
}

#[tokio::test]
async fn connections_survive_undisturbed_and_break_with_their_server() -> Result<()> {
    if !privileged::available("connections_survive_undisturbed_and_break_with_their_server") {
        return Ok(());
    }
    let (star, run_dir) = routed("anylb-t-long").await?;
    let web = serve(&star.backends[0]).await?;
    let client = NetnsRuntime::start(&star.client)?;

    let mut calm = LongLived::open(client.handle(), &plan(DEADLINE));
    calm.all_answering(DEADLINE).await?;
    let outcomes = calm.finish().await?;
    assert_eq!(long_lived::reasons(&outcomes).len(), 0);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.answered > 0 && outcome.server.as_deref() == Some("be1"))
    );

    let mut doomed = LongLived::open(client.handle(), &plan(DEADLINE));
    doomed.all_answering(DEADLINE).await?;
    web.kill()?;
    let outcomes = doomed.finish().await?;
    assert_eq!(long_lived::broken(&outcomes).count(), 40, "{outcomes:?}");

    let refused = many::requests(client.handle(), vips()[0], 5, 1, DEADLINE).await?;
    assert_eq!(
        (refused.answered(), refused.failed()),
        (0, 5),
        "{refused:?}"
    );
    drop((client, star));
    leftovers::clear("anylb-t-long", &run_dir).await
}

#[tokio::test]
async fn silence_counts_as_broken_and_a_moved_flow_is_reset() -> Result<()> {
    if !privileged::available("silence_counts_as_broken_and_a_moved_flow_is_reset") {
        return Ok(());
    }
    let (star, run_dir) = routed("anylb-t-mute").await?;
    let _web = (
        serve(&star.backends[0]).await?,
        serve(&star.backends[1]).await?,
    );
    let client = NetnsRuntime::start(&star.client)?;

    let mut muted = LongLived::open(client.handle(), &plan(Duration::from_millis(500)));
    muted.all_answering(DEADLINE).await?;
    let filter = Filter::dropping(&star.r1, "mute", "forward", &["iifname be1".to_owned()])?;
    let (dropped, _) = poll::until("dropped packets", DEADLINE, async || {
        let dropped = filter.dropped()?;
        ensure!(dropped >= 40, "{dropped}");
        Ok(dropped)
    })
    .await?;
    assert!(dropped >= 40);
    let outcomes = muted.finish().await?;
    assert_eq!(long_lived::broken(&outcomes).count(), 40, "{outcomes:?}");
    filter.lift();

    let mut moved = LongLived::open(client.handle(), &plan(DEADLINE));
    moved.all_answering(DEADLINE).await?;
    route_to(&star, &star.backends[1])?;
    let outcomes = moved.finish().await?;
    assert_eq!(long_lived::broken(&outcomes).count(), 40, "{outcomes:?}");
    drop((client, _web, star));
    leftovers::clear("anylb-t-mute", &run_dir).await
}

#[tokio::test]
async fn a_stream_shows_who_answers_new_connections() -> Result<()> {
    if !privileged::available("a_stream_shows_who_answers_new_connections") {
        return Ok(());
    }
    let (star, run_dir) = routed("anylb-t-new").await?;
    let _web = (
        serve(&star.backends[0]).await?,
        serve(&star.backends[1]).await?,
    );
    let client = NetnsRuntime::start(&star.client)?;
    let stream = Stream::start(client.handle(), vips(), Duration::from_millis(5), DEADLINE);
    many::requests(client.handle(), vips()[0], 20, 1, DEADLINE).await?;
    route_to(&star, &star.backends[1])?;
    many::requests(client.handle(), vips()[1], 20, 1, DEADLINE).await?;
    let samples = stream.finish().await?;
    assert_eq!(
        samples.first().map(|sample| sample.result.clone()),
        Some(Ok("be1".to_owned()))
    );
    assert_eq!(
        samples.last().map(|sample| sample.result.clone()),
        Some(Ok("be2".to_owned()))
    );
    drop((client, _web, star));
    leftovers::clear("anylb-t-new", &run_dir).await
}

#[tokio::test]
async fn the_router_runs_bgp_and_leaves_nothing() -> Result<()> {
    if !privileged::available("the_router_runs_bgp_and_leaves_nothing") {
        return Ok(());
    }
    let prefix = "anylb-t-frr";
    let run_dir = Path::new("/run").join(prefix);
    leftovers::clear(prefix, &run_dir).await?;
    let star = Star::build(prefix, &run_dir, 1, 0)?;
    let configuration =
        "router bgp 65000\n bgp router-id 10.0.0.1\n neighbor 10.0.1.2 remote-as 65001\n";
    let router = Router::start(&star.r1, configuration, &run_dir).await?;
    let summary = router.show("bgp ipv4 unicast summary")?;
    assert_eq!(summary["as"], 65000, "{summary}");
    assert!(
        summary["peers"]["10.0.1.2"]["state"].is_string(),
        "{summary}"
    );
    drop((router, star));
    assert!(!Path::new("/etc/frr/anylb-t-frr-r1").exists());
    leftovers::clear(prefix, &run_dir).await
}
