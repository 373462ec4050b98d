//! Faults of the machine around a running agent, under connections and with routers that have its routes: no connection breaks, the
//! agent recovers by itself, and says what was wrong.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::model::PoolName;
use anylb::status::{NodeStatus, PoolStatus};
use lb_tests::failover::watch::Watch;
use lb_tests::harness::bird::Bird;
use lb_tests::harness::runtime::NetnsRuntime;
use lb_tests::harness::second_router::SecondRouter;
use lb_tests::harness::tmpfs::Tmpfs;
use lb_tests::harness::{poll, privileged, shell};
use lb_tests::interop::daemon::{self, Daemon, Kind, Side};
use lb_tests::lab::agent::Agent;
use lb_tests::load::long_lived::{LongLived, Plan, broken, worst_stall};
use lb_tests::lone::{Lone, PORT};

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(30);
/// Rounds of the agent's loop, which come every second.
const ROUNDS: Duration = Duration::from_millis(2_500);
const VIP: &str = "198.51.100.1";
const NODE_ASN: u32 = 65001;
/// FRR, whose hold time is 9 s.
const FRR: (&str, u32) = ("10.0.1.1", 65000);
/// BIRD, which takes the node's hold time.
const BIRD: (&str, u32) = ("10.0.1.3", 65010);
const CONNECTIONS: usize = 50;

/// A node that serves, a router with its route, and connections.
struct Scene {
    connections: LongLived,
    watch: Watch,
    agent: Agent,
    _runtime: NetnsRuntime,
    _backends: Vec<Agent>,
    _frr: Box<dyn Daemon>,
    lone: Lone,
}

impl Scene {
    /// `section`: lines of `[node]` beside the usual ones; `second`: a router that the connections come by, with BIRD; `program`: the
    /// agent's, none: the usual one.
    async fn set(
        lone: Lone,
        section: &str,
        second: Option<&SecondRouter>,
        program: Option<&Path>,
    ) -> Result<Self> {
        let side = Side {
            graceful_restart: true,
            ..Side::plain(FRR.0.parse()?, FRR.1, "10.0.1.2".parse()?, NODE_ASN)
        };
        let dir = lone.star.run_dir();
        let frr = daemon::start(Kind::Frr, &lone.star.r1, &side, dir).await?;
        let backends = vec![
            lone.start_backend(1, "").await?,
            lone.start_backend(2, "").await?,
        ];
        std::fs::write(
            lone.config(),
            configuration(&lone, section, second.is_some()),
        )?;
        let mut agent = Agent::lb(program.unwrap_or(lone.anylb()), lone.node())?;
        agent.ready().await?;
        serving(&agent).await?;
        let routers = [Some(&lone.star.r1), second.map(|second| &second.r2)];
        poll::until("the routers' routes", SOON, async || {
            for router in routers.into_iter().flatten() {
                ensure!(!router.next_hops(VIP)?.is_empty(), "{}", router.name());
            }
            Ok(())
        })
        .await?;
        let plan = Plan {
            targets: vec![format!("{VIP}:{PORT}").parse()?],
            per_target: CONNECTIONS,
            opening: Duration::from_secs(1),
            every: Duration::from_millis(200),
            patience: SOON,
        };
        let runtime =
            NetnsRuntime::start(second.map_or(&lone.star.client, |second| &second.client))?;
        let mut connections = LongLived::open(runtime.handle(), &plan);
        connections.all_answering(SOON).await?;
        Ok(Self {
            connections,
            watch: Watch::start(&lone.star.r1, VIP)?,
            agent,
            _runtime: runtime,
            _backends: backends,
            _frr: frr,
            lone,
        })
    }

    /// No connection has broken. How often the router's kernel has lost the route, and the longest wait of a connection.
    async fn intact(mut self) -> Result<(usize, Duration)> {
        serving(&self.agent).await?;
        let outcomes = self.connections.finish().await?;
        let reasons: Vec<_> = broken(&outcomes).collect();
        ensure!(reasons.is_empty(), "{reasons:?}");
        let withdrawn = self.watch.forget();
        self.agent.stop(SOON).await?;
        Ok((withdrawn, worst_stall(&outcomes)))
    }

    /// Waits for a line of the agent's log that has all of these words.
    async fn logged(&self, words: &[&str]) -> Result<()> {
        poll::until("a line of the log", SOON, async || {
            let log = self.agent.log();
            let said = log
                .lines()
                .any(|line| words.iter().all(|word| line.contains(word)));
            ensure!(said, "no {words:?} in {log}");
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// What the agent refuses to do, in its words.
    fn refused(&self, command: &[&str]) -> Result<String> {
        match self.agent.tell(command) {
            Err(refusal) => Ok(format!("{refusal:#}")),
            Ok(done) => anyhow::bail!("{command:?} was done: {done}"),
        }
    }
}

fn configuration(lone: &Lone, section: &str, two_routers: bool) -> String {
    let mut text = lone.node().lb_section();
    text += &format!(
        "{section}\n[bgp]\nasn = {NODE_ASN}\nhold_time = \"90s\"\ngraceful_restart = \"always\"\n"
    );
    for (address, asn) in [FRR, BIRD].into_iter().take(1 + usize::from(two_routers)) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "[[bgp.peer]]\naddress = \"{address}\"\nasn = {asn}");
    }
    text += &format!(
        "[[pool]]\nname = \"web\"\n\
         check = {{ type = \"tcp\", port = {PORT}, interval = \"500ms\", timeout = \"400ms\" }}\n\
         backend = [{{ address = \"10.1.1.2\", name = \"be1\" }}, {{ address = \"10.1.2.2\", name = \"be2\" }}]\n\
         [[service]]\nname = \"web\"\nvip = \"{VIP}\"\nprotocol = \"tcp\"\nports = [{PORT}]\npool = \"web\"\nneed = 1\nhold_up = \"0s\"\n"
    );
    text
}

/// Waits until every peer has heard of every service.
async fn serving(agent: &Agent) -> Result<()> {
    agent
        .until("peers and services", SOON, |status| {
            status.peers.iter().all(|peer| peer.established())
                && status.services.iter().all(|service| service.announced)
                && status.problems.is_empty()
        })
        .await?;
    Ok(())
}

fn web(status: &NodeStatus) -> &PoolStatus {
    &status.pools[&PoolName("web".into())]
}

async fn lone(prefix: &str) -> Result<Lone> {
    Lone::build(prefix, LAB, 2).await
}

/// FRR hears nothing for longer than its hold time, and lets go of a node that may be dead; BIRD's is longer, and so it sees nothing.
#[tokio::test]
async fn an_agent_that_stands_still_for_half_a_minute() -> Result<()> {
    if !privileged::available("an_agent_that_stands_still_for_half_a_minute") {
        return Ok(());
    }
    const STILL: Duration = Duration::from_secs(30);
    let prefix = "anylb-f-still";
    let lone = lone(prefix).await?;
    let second = SecondRouter::build(&lone.star, prefix)?;
    let bird = format!(
        "log stderr all;\nrouter id 10.0.0.3;\nprotocol device {{}}\nprotocol kernel {{ ipv4 {{ export all; }}; }}\n\
         protocol bgp node {{\n local {} as {};\n neighbor 10.0.1.2 as {NODE_ASN};\n passive on;\n graceful restart on;\n \
         ipv4 {{ import all; export none; }};\n}}\n",
        BIRD.0, BIRD.1
    );
    let _bird = Bird::start(&second.r2, &bird, lone.star.run_dir()).await?;
    let scene = Scene::set(lone, "", Some(&second), None).await?;
    let mut watch = Watch::start(&second.r2, VIP)?;
    let flaps = |status: &NodeStatus| -> Vec<u64> {
        let peers = status.peers.iter();
        peers.map(|peer| peer.flaps.values().sum()).collect()
    };
    let before = flaps(&scene.agent.status()?);

    scene.agent.halt()?;
    let state = format!("/proc/{}/stat", scene.agent.id());
    let stands_still = || -> Result<()> {
        let state = std::fs::read_to_string(&state)?;
        ensure!(state.contains(") T "), "{state}");
        Ok(())
    };
    poll::until("a stop", SOON, async || stands_still()).await?;
    poll::holds("it stands still", STILL, async || stands_still()).await?;
    scene.agent.go_on()?;
    poll::until("FRR again", SOON, async || {
        let now = flaps(&scene.agent.status()?);
        ensure!(now[0] > before[0], "{now:?}");
        Ok(())
    })
    .await?;
    serving(&scene.agent).await?;
    let after = flaps(&scene.agent.status()?);
    assert_eq!(after[1], before[1], "BIRD has seen nothing");
    let at_bird = watch.forget();
    let (at_frr, stall) = scene.intact().await?;
    println!("routes withdrawn: {at_frr} and {at_bird}; worst stall {stall:?}");
    assert_eq!((at_frr, at_bird), (1, 0), "routes withdrawn");
    assert!(stall < STILL / 3, "packets of BIRD's clients: {stall:?}");
    Ok(())
}

#[tokio::test]
async fn a_state_directory_that_takes_nothing_more() -> Result<()> {
    if !privileged::available("a_state_directory_that_takes_nothing_more") {
        return Ok(());
    }
    let lone = lone("anylb-f-full").await?;
    let disk = Tmpfs::mount(&lone.node().dir.join("state"))?;
    let scene = Scene::set(lone, "", None, None).await?;
    let before = scene.lone.settled().await?;
    let file = std::fs::read_to_string(scene.lone.config())?;
    let more = file.clone() + &file[file.find("[[service]]").context("a service")?..];
    let more = more.replacen("name = \"web\"\nvip", "name = \"web2\"\nvip", 1);
    let more = more.replacen(&format!("ports = [{PORT}]"), "ports = [81]", 1);

    for (what, words) in [
        ("full", "No space left on device"),
        ("read-only", "Read-only file system"),
    ] {
        match what {
            "full" => disk.fill()?,
            _ => disk.set_read_only(true)?,
        }
        std::fs::write(scene.lone.config(), &more)?;
        for command in [
            &["backend", "drain", "be1"][..],
            &["backend", "weight", "be1", "7", "--persist"],
            &["service", "withdraw", "web"],
            &["bgp", "shutdown", FRR.0, "-m", "upgrade"],
            &["reload"],
        ] {
            let said = scene.refused(command)?;
            assert!(
                said.contains(words) && said.contains("nothing changed"),
                "{what}: {command:?}: {said}"
            );
        }
        let status = scene.agent.status()?;
        assert!(
            status.problems.iter().any(|line| line.contains(words)),
            "{what}: {:?}",
            status.problems
        );
        scene.logged(&["WARN", words]).await?;
        poll::holds("nothing half-applied", ROUNDS, async || {
            ensure!(scene.lone.footprint()? == before, "the datapath changed");
            Ok(())
        })
        .await?;
        std::fs::write(scene.lone.config(), &file)?;
        match what {
            "full" => disk.make_room()?,
            _ => disk.set_read_only(false)?,
        }
        // By itself.
        serving(&scene.agent).await?;
    }
    scene.agent.tell(&["backend", "weight", "be1", "7"])?;
    let status = scene.agent.status()?;
    assert_eq!(web(&status).backends[0].weight, 7, "taken again");
    let (withdrawn, _) = scene.intact().await?;
    assert_eq!(withdrawn, 0, "routes");
    drop(disk);
    Ok(())
}

/// Says the wall clock's time plus what is in a file.
const CLOCK: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    int answer = syscall(SYS_clock_gettime, clock, time);
    if (answer == 0 && clock == CLOCK_REALTIME) {
        long jump = 0;
        FILE *file = fopen(getenv("ANYLB_TEST_JUMP"), "r");
        if (file) {
            if (fscanf(file, "%ld", &jump) == 1) time->tv_sec += jump;
            fclose(file);
        }
    }
    return answer;
}
"#;

/// A wall clock of its own for the agent: the program to start, and the file with the jump in seconds.
fn with_own_clock(lone: &Lone) -> Result<(PathBuf, PathBuf)> {
    let dir = lone.star.run_dir();
    let [source, library, jump, program] =
        ["clock.c", "clock.so", "jump", "anylb-clock"].map(|name| dir.join(name));
    std::fs::write(&source, CLOCK)?;
    let mut compiler = Command::new("cc");
    compiler.args(["-D_GNU_SOURCE", "-shared", "-fPIC", "-o"]);
    shell::output(compiler.arg(&library).arg(&source))?;
    std::fs::write(&jump, "0")?;
    let script = format!(
        "#!/bin/sh\nexport ANYLB_TEST_JUMP={}\nLD_PRELOAD={} exec {} \"$@\"\n",
        jump.display(),
        library.display(),
        lone.anylb().display()
    );
    std::fs::write(&program, script)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    Ok((program, jump))
}

/// What the node remembers of its inputs for half an hour outlives a clock that is set by a whole one.
#[tokio::test]
async fn a_wall_clock_that_is_set() -> Result<()> {
    if !privileged::available("a_wall_clock_that_is_set") {
        return Ok(());
    }
    let lone = lone("anylb-f-clock").await?;
    let (program, jump) = with_own_clock(&lone)?;
    let memory = "flow_memory = \"30m\"";
    let scene = Scene::set(lone, memory, None, Some(&program)).await?;
    scene.agent.tell(&["backend", "drain", "be1"])?;
    let remembered = |status: &NodeStatus| web(status).remembered_inputs;
    scene
        .agent
        .until("an input to remember", SOON, |status| {
            remembered(status) == 1
        })
        .await?;
    // Each from where the one before has left it.
    for (set_to, by) in [(3_600, 3_600_i64), (0, -3_600), (-3_600, -3_600)] {
        let told = || {
            let log = scene.agent.log();
            log.matches("the clock was set").count()
        };
        let before = told();
        std::fs::write(&jump, set_to.to_string())?;
        poll::until("a word about the jump", SOON, async || {
            ensure!(told() == before + 1, "{}", scene.agent.log());
            Ok(())
        })
        .await?;
        let log = scene.agent.log();
        let (_, secs) = log.rsplit_once("by_secs=").context("by how much")?;
        let secs: i64 = secs.lines().next().context("a number")?.trim().parse()?;
        assert!((secs - by).abs() <= 2, "{secs}, not {by}");
        poll::holds("what was remembered", ROUNDS, async || {
            let status = scene.agent.status()?;
            ensure!(remembered(&status) == 1, "{:?}", web(&status));
            Ok(())
        })
        .await?;
        let shown = shell::output_with_codes(
            Command::new(&program)
                .arg("--socket")
                .arg(scene.lone.node().dir.join("run/admin.sock"))
                .arg("status"),
            &[0],
        )?;
        assert!(shown.contains("up "), "{shown}");
    }
    let (withdrawn, _) = scene.intact().await?;
    assert_eq!(withdrawn, 0, "routes");
    Ok(())
}

/// Thousands of routes come and go while the agent does not read, and among them the one that it needs changes.
#[tokio::test]
async fn changes_of_routes_that_nobody_could_read_in_time() -> Result<()> {
    if !privileged::available("changes_of_routes_that_nobody_could_read_in_time") {
        return Ok(());
    }
    let scene = Scene::set(lone("anylb-f-netlink").await?, "", None, None).await?;
    let node = scene.lone.node();
    let batch = node.dir.join("routes");
    for (verb, mtu) in [("add", "1650"), ("replace", "1640")] {
        let mut lines = String::new();
        for number in 0..5_000 {
            let (high, low) = (number / 250, number % 250);
            let _ = writeln!(lines, "route {verb} 10.77.{high}.{low}/32 via 10.0.1.1");
        }
        let _ = writeln!(lines, "route replace 10.1.2.2/32 via 10.0.1.1 mtu {mtu}");
        std::fs::write(&batch, lines)?;
        scene.agent.halt()?;
        let done = shell::output(node.netns.command("ip").arg("-batch").arg(&batch));
        scene.agent.go_on()?;
        done?;
        scene
            .logged(&["WARN", "dropped some: everything is asked for anew"])
            .await?;
        scene
            .logged(&["next hop", "target=10.1.2.2", &format!("mtu={mtu}")])
            .await?;
    }
    let (withdrawn, stall) = scene.intact().await?;
    println!("worst stall {stall:?}");
    assert_eq!(withdrawn, 0, "routes");
    Ok(())
}

#[tokio::test]
async fn a_link_that_flaps() -> Result<()> {
    if !privileged::available("a_link_that_flaps") {
        return Ok(());
    }
    let scene = Scene::set(lone("anylb-f-flap").await?, "", None, None).await?;
    for _ in 0..2 {
        let star = &scene.lone.star;
        star.set_link(scene.lone.node(), false)?;
        scene
            .agent
            .until("a node without a way", SOON, |status| {
                web(status).backends.iter().all(|one| !one.reachable)
                    && status.services.iter().all(|one| one.reason.is_some())
            })
            .await?;
        scene
            .logged(&["no next hop", "interface eth0 is down"])
            .await?;
        star.set_link(scene.lone.node(), true)?;
        serving(&scene.agent).await?;
    }
    let (_, stall) = scene.intact().await?;
    println!("worst stall {stall:?}");
    Ok(())
}

#[tokio::test]
async fn a_neighbour_that_is_lost() -> Result<()> {
    if !privileged::available("a_neighbour_that_is_lost") {
        return Ok(());
    }
    let mut scene = Scene::set(lone("anylb-f-neigh").await?, "", None, None).await?;
    let node = &scene.lone.node().netns;
    let entry = || -> Result<String> {
        let found = node.ip_json("neigh show 10.0.1.1 dev eth0")?;
        Ok(found.to_string())
    };
    // Taken away: what is known of the way stays in force, and the kernel is asked again.
    for _ in 0..5 {
        node.ip("neigh del 10.0.1.1 dev eth0")?;
        poll::until("the entry again", SOON, async || {
            let found = entry()?;
            ensure!(found.contains("lladdr"), "{found}");
            Ok(())
        })
        .await?;
    }
    let status = scene.agent.status()?;
    assert!(web(&status).backends.iter().all(|one| one.reachable));
    assert_eq!(scene.watch.forget(), 0, "routes withdrawn");

    // It does not answer any more.
    let answers = |yes: bool| {
        let ignore = if yes { "0" } else { "8" };
        scene
            .lone
            .star
            .r1
            .sysctl("net.ipv4.conf.lb1.arp_ignore", ignore)
    };
    answers(false)?;
    node.ip("neigh del 10.0.1.1 dev eth0")?;
    scene
        .agent
        .until("a node without a way", SOON, |status| {
            web(status).backends.iter().all(|one| !one.reachable)
        })
        .await?;
    scene
        .logged(&["no next hop", "neighbour 10.0.1.1 does not answer"])
        .await?;
    answers(true)?;
    serving(&scene.agent).await?;
    let (_, stall) = scene.intact().await?;
    println!("worst stall {stall:?}");
    Ok(())
}
