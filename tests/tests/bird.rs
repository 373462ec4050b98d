//! BGP with BIRD: what the configuration says is what a router hears, in sessions over both transports.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::status::{Envelope, PeerList, PeerStatus, RouteList};
use lb_tests::harness::bird::{Bird, Route};
use lb_tests::harness::counters::Counters;
use lb_tests::harness::star::Star;
use lb_tests::harness::{poll, privileged, secret, shell};
use lb_tests::lab::agent::Agent;
use lb_tests::lone::Lone;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(20);
const NODE_ASN: u32 = 65001;
const ROUTER_ASN: u32 = 65010;
const VIPS: [&str; 3] = ["198.51.100.1/32", "198.51.100.2/32", "2001:db8:100::1/128"];

/// The node's file: three VIPs over one backend, in sessions over IPv4 and over IPv6.
struct File {
    /// The routers' AS.
    peer_asn: u32,
    /// `node.drain_wait`.
    drain_wait: &'static str,
    /// Lines of `[bgp]`.
    bgp: &'static str,
    /// Lines of the peer that is reached over IPv4, of the one over IPv6.
    peers: [&'static str; 2],
    /// Lines of services `web`, `shop`, `web6`.
    services: [&'static str; 3],
}

impl File {
    fn plain() -> Self {
        Self {
            peer_asn: ROUTER_ASN,
            drain_wait: "0s",
            bgp: "",
            peers: ["", ""],
            services: ["", "", ""],
        }
    }

    fn write(&self, lone: &Lone) -> Result<()> {
        let node = lone.node();
        let dir = node.dir.display();
        let pins = node.bpffs.path().join("anylb");
        let mut text = format!(
            "version = 1\n[node]\nname = \"lb1\"\nrouter_id = \"10.0.1.2\"\ninterfaces = [\"eth0\"]\n\
             hash_key_file = \"hash.key\"\nstate_dir = \"{dir}/state\"\nruntime_dir = \"{dir}/run\"\npin_dir = \"{}\"\n\
             drain_wait = \"{}\"\nlinger = \"0s\"\n[bgp]\nasn = {NODE_ASN}\n{}\n",
            pins.display(),
            self.drain_wait,
            self.bgp
        );
        for (address, lines) in ["10.0.1.1", "fd00:0:1::1"].iter().zip(self.peers) {
            text += &format!(
                "[[bgp.peer]]\naddress = \"{address}\"\nasn = {}\n{lines}\n",
                self.peer_asn
            );
        }
        for (pool, backend) in [("v4", "10.1.1.2"), ("v6", "fd00:1:1::2")] {
            text += &format!(
                "[[pool]]\nname = \"{pool}\"\n\
                 check = {{ type = \"tcp\", port = 80, interval = \"200ms\", timeout = \"150ms\" }}\n\
                 backend = [{{ address = \"{backend}\" }}]\n"
            );
        }
        let services = [("web", "v4"), ("shop", "v4"), ("web6", "v6")];
        for (((name, pool), vip), lines) in services.iter().zip(VIPS).zip(self.services) {
            let (vip, _) = vip.split_once('/').context("a prefix")?;
            text += &format!(
                "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nports = [80]\n\
                 pool = \"{pool}\"\nhold_up = \"0s\"\n{lines}\n"
            );
        }
        Ok(std::fs::write(lone.config(), text)?)
    }
}

/// BIRD's file: `lines` stand in both of its sessions, `over4` and `over6`. It gives up soon what leads nowhere.
fn router(lines: &str) -> String {
    router_of(ROUTER_ASN, lines)
}

fn router_of(asn: u32, lines: &str) -> String {
    let session = |name: &str, neighbor: &str| {
        format!(
            "protocol bgp {name} {{\n local as {asn};\n neighbor {neighbor} as {NODE_ASN};\n direct;\n connect delay time 1;\n \
             startup hold time 3;\n error wait time 1, 2;\n \
             graceful restart on;\n {lines}\n ipv4 {{ import all; export none; }};\n ipv6 {{ import all; export none; }};\n}}\n"
        )
    };
    format!(
        "log stderr all;\nrouter id 10.0.0.10;\nprotocol device {{}}\n\
         protocol kernel {{ ipv4 {{ export all; }}; merge paths on; }}\n\
         protocol kernel {{ ipv6 {{ export all; }}; merge paths on; }}\n{}{}",
        session("over4", "10.0.1.2"),
        session("over6", "fd00:0:1::2")
    )
}

const SESSIONS: [&str; 2] = ["over4", "over6"];
/// So that only the agent dials.
const PASSIVE: &str = "passive on;";

async fn established(bird: &Bird) -> Result<()> {
    poll::until("both sessions", SOON, async || {
        for name in SESSIONS {
            ensure!(bird.established(name)?, "{}", bird.protocol(name)?);
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// Polls the routes of a session until there are these, and returns them in this order.
async fn heard(bird: &Bird, session: &str, prefixes: &[&str]) -> Result<Vec<Route>> {
    let what = format!("{prefixes:?} by {session}");
    let (routes, _) = poll::until(&what, SOON, async || {
        let mut routes = bird.routes(session)?;
        routes.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        let found: Vec<&str> = routes.iter().map(|r| r.prefix.as_str()).collect();
        ensure!(found == prefixes, "{found:?}");
        Ok(routes)
    })
    .await?;
    Ok(routes)
}

/// Next hops of a prefix in the router's kernel, of those that BIRD put there.
fn kernel(star: &Star, prefix: &str) -> Result<Vec<String>> {
    let family = if prefix.contains(':') { "-6" } else { "-4" };
    let address = prefix.split('/').next().unwrap_or_default();
    let routes = star
        .r1
        .ip_json(&format!("{family} route show {address} proto bird"))?;
    let routes = routes.as_array().into_iter().flatten();
    let hops = routes.flat_map(|route| match route["nexthops"].as_array() {
        Some(hops) => hops.clone(),
        None => vec![route.clone()],
    });
    Ok(hops
        .filter_map(|hop| hop["gateway"].as_str().map(str::to_owned))
        .collect())
}

fn told(agent: &Agent, peer: &str) -> Result<RouteList> {
    let text = agent.tell(&["bgp", "routes", peer, "--json"])?;
    let envelope: Envelope<RouteList> = serde_json::from_str(&text)?;
    Ok(envelope.body)
}

/// The named attributes of each route.
fn attributes<'r>(routes: &'r [Route], names: &[&str]) -> Vec<Vec<&'r str>> {
    let of = |route: &'r Route| names.iter().map(|name| route.attribute(name)).collect();
    routes.iter().map(of).collect()
}

#[tokio::test]
async fn policies_arrive_as_configured_and_change_without_a_reset() -> Result<()> {
    if !privileged::available("policies_arrive_as_configured_and_change_without_a_reset") {
        return Ok(());
    }
    let lone = Lone::build("anylb-b-pol", LAB, 1).await?;
    let bird = Bird::start(&lone.star.r1, &router(PASSIVE), lone.star.run_dir()).await?;
    let mut file = File {
        bgp: "communities = [\"65001:100\"]",
        peers: [
            "",
            "communities = [\"no-export\"]\nmed = 20\nprepend = 2\nservices = [\"web\", \"web6\"]",
        ],
        services: [
            "announce = { communities = [\"65001:1\", \"65001:0:4294967295\"], med = 10, prepend = 1 }",
            "announce = { peers = [\"10.0.1.1\"] }",
            "",
        ],
        ..File::plain()
    };
    file.write(&lone)?;
    let agent = lone.start().await?;
    established(&bird).await?;

    let names = ["as_path", "med", "community", "large_community", "next_hop"];
    let over4 = heard(&bird, "over4", &VIPS).await?;
    let own = "(65001,100)";
    assert_eq!(
        attributes(&over4, &names),
        [
            [
                "65001 65001",
                "10",
                "(65001,1) (65001,100)",
                "(65001, 0, 4294967295)",
                "10.0.1.2"
            ],
            ["65001", "", own, "", "10.0.1.2"],
            ["65001", "", own, "", "fd00:0:1::2"],
        ]
    );
    let over6 = heard(&bird, "over6", &[VIPS[0], VIPS[2]]).await?;
    assert_eq!(
        attributes(&over6, &names),
        [
            [
                "65001 65001 65001 65001",
                "10",
                "(65001,1) (65001,100) (65535,65281)",
                "(65001, 0, 4294967295)",
                "10.0.1.2",
            ],
            [
                "65001 65001 65001",
                "20",
                "(65001,100) (65535,65281)",
                "",
                "fd00:0:1::2"
            ],
        ]
    );
    let (_, _) = poll::until("kernel routes", SOON, async || {
        for (vip, hop) in VIPS.iter().zip(["10.0.1.2", "10.0.1.2", "fd00:0:1::2"]) {
            let hops = kernel(&lone.star, vip)?;
            ensure!(hops == [hop], "{vip}: {hops:?}");
        }
        Ok(())
    })
    .await?;
    let list = told(&agent, "fd00:0:1::1")?;
    let [peer] = list.peers.as_slice() else {
        panic!("{list:?}")
    };
    let sent: Vec<_> = peer
        .routes
        .iter()
        .map(|route| (route.med, route.as_path.len()))
        .collect();
    assert_eq!(sent, [(Some(10), 4), (Some(20), 3)]);

    let since = sessions(&bird)?;
    file.bgp = "";
    file.peers = ["med = 7", "services = [\"web6\"]"];
    file.services = [
        "announce = { peers = [\"10.0.1.1\"] }",
        "announce = { peers = [\"10.0.1.1\"] }",
        "",
    ];
    file.write(&lone)?;
    agent.tell(&["reload"])?;
    let over6 = heard(&bird, "over6", &VIPS[2..]).await?;
    assert_eq!(
        attributes(&over6, &names),
        [["65001", "", "", "", "fd00:0:1::2"]]
    );
    let over4 = heard(&bird, "over4", &VIPS).await?;
    let expected = ["65001", "7", "", ""];
    for found in attributes(&over4, &names[..4]) {
        assert_eq!(found, expected);
    }
    assert_eq!(sessions(&bird)?, since, "the sessions are the same");

    agent.stop(SOON).await?;
    for session in SESSIONS {
        heard(&bird, session, &[]).await?;
        let state = bird.protocol(session)?;
        assert!(
            state.contains("Administrative shutdown"),
            "the reason reaches the router:\n{state}"
        );
    }
    for vip in VIPS {
        assert_eq!(kernel(&lone.star, vip)?, [""; 0], "{vip}");
    }
    bird.stop().await
}

/// Since when each session is up, as BIRD's table of protocols has it.
fn sessions(bird: &Bird) -> Result<Vec<String>> {
    let line = |name: &&str| -> Result<String> {
        let table = bird.birdc(&format!("show protocols {name}"))?;
        table.lines().last().map(str::to_owned).context("a line")
    };
    SESSIONS.iter().map(line).collect()
}

#[tokio::test]
async fn a_router_of_our_own_as_gets_local_pref_and_a_drained_node_asks_to_be_avoided() -> Result<()>
{
    if !privileged::available(
        "a_router_of_our_own_as_gets_local_pref_and_a_drained_node_asks_to_be_avoided",
    ) {
        return Ok(());
    }
    let lone = Lone::build("anylb-b-int", LAB, 1).await?;
    let configuration = router_of(NODE_ASN, PASSIVE);
    let bird = Bird::start(&lone.star.r1, &configuration, lone.star.run_dir()).await?;
    let said = "announce = { communities = [\"65001:1\"], med = 10, prepend = 3 }";
    File {
        peer_asn: NODE_ASN,
        // A second of silence ends it.
        drain_wait: "20s",
        services: [said, said, said],
        ..File::plain()
    }
    .write(&lone)?;
    let agent = lone.start().await?;
    established(&bird).await?;
    let names = ["as_path", "med", "local_pref", "community"];
    for session in SESSIONS {
        for found in attributes(&heard(&bird, session, &VIPS).await?, &names) {
            assert_eq!(found, ["", "", "100", "(65001,1)"], "RFC 4271 5.1");
        }
    }
    agent.terminate()?;
    poll::until("the request to be avoided", SOON, async || {
        for session in SESSIONS {
            let routes = bird.routes(session)?;
            let asked = |route: &&Route| {
                route.attribute("community") == "(65001,1) (65535,0)"
                    && route.attribute("local_pref") == "0"
            };
            let asking = routes.iter().filter(asked).count();
            ensure!(asking == VIPS.len(), "{routes:?}");
        }
        Ok(())
    })
    .await?;
    for session in SESSIONS {
        heard(&bird, session, &[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn graceful_restart_keeps_the_routes_of_a_killed_agent() -> Result<()> {
    if !privileged::available("graceful_restart_keeps_the_routes_of_a_killed_agent") {
        return Ok(());
    }
    let lone = Lone::build("anylb-b-gr", LAB, 1).await?;
    let bird = Bird::start(&lone.star.r1, &router(PASSIVE), lone.star.run_dir()).await?;
    let file = File {
        bgp: "graceful_restart = \"always\"",
        ..File::plain()
    };
    file.write(&lone)?;
    let agent = lone.start().await?;
    established(&bird).await?;
    for session in SESSIONS {
        heard(&bird, session, &VIPS).await?;
        let state = bird.protocol(session)?;
        for line in ["Restart time: 15", "AF supported: ipv4 ipv6"] {
            assert!(state.contains(line), "no {line:?} in\n{state}");
        }
    }
    agent.kill()?;
    poll::until("BIRD waiting for the restart", SOON, async || {
        for session in SESSIONS {
            let state = bird.protocol(session)?;
            ensure!(
                state.contains("Neighbor graceful restart active"),
                "{state}"
            );
        }
        Ok(())
    })
    .await?;
    // From the death to the new sessions every packet has a way.
    let _agent = Agent::lb(lone.anylb(), lone.node())?;
    poll::until(
        "both sessions again, and the restart over",
        SOON,
        async || {
            for vip in VIPS {
                assert_eq!(kernel(&lone.star, vip)?.len(), 1, "{vip} is kept");
            }
            for session in SESSIONS {
                ensure!(bird.established(session)?, "{session}");
                let state = bird.protocol(session)?;
                ensure!(!state.contains("graceful restart active"), "{state}");
            }
            Ok(())
        },
    )
    .await?;
    for session in SESSIONS {
        heard(&bird, session, &VIPS).await?;
    }
    Ok(())
}

#[tokio::test]
async fn passwords_and_ttl_security_are_kept_and_a_router_may_dial() -> Result<()> {
    if !privileged::available("passwords_and_ttl_security_are_kept_and_a_router_may_dial") {
        return Ok(());
    }
    let lone = Lone::build("anylb-b-sec", LAB, 1).await?;
    let key = lone.node().dir.join("bgp.key");
    secret::write(&key, "correct horse\n")?;
    let secured = "password \"correct horse\"; ttl security on;";
    let bird = Bird::start(
        &lone.star.r1,
        &router(&format!("{PASSIVE} {secured}")),
        lone.star.run_dir(),
    )
    .await?;

    // Without the password the router's kernel drops what it is sent.
    File::plain().write(&lone)?;
    let agent = lone.start().await?;
    refused(&lone, &bird, "TcpExt.TCPMD5NotFound").await?;
    agent.stop(SOON).await?;

    // With it, but from too far away: the TTL is no 255.
    let password = "password_file = \"bgp.key\"";
    File {
        peers: [password, password],
        ..File::plain()
    }
    .write(&lone)?;
    let agent = lone.start().await?;
    refused(&lone, &bird, "TcpExt.TCPMinTTLDrop").await?;
    agent.stop(SOON).await?;

    let both = "password_file = \"bgp.key\"\nttl_security = 1";
    File {
        peers: [both, both],
        ..File::plain()
    }
    .write(&lone)?;
    let agent = lone.start().await?;
    established(&bird).await?;
    for session in SESSIONS {
        heard(&bird, session, &VIPS).await?;
    }
    agent.stop(SOON).await?;

    // The other way round: BIRD dials.
    let passive = "password_file = \"bgp.key\"\nttl_security = 1\npassive = true";
    File {
        bgp: "listen = [\"0.0.0.0:179\", \"[::]:179\"]",
        peers: [passive, passive],
        ..File::plain()
    }
    .write(&lone)?;
    bird.configure(&router(secured))?;
    let _agent = lone.start().await?;
    established(&bird).await?;
    for session in SESSIONS {
        heard(&bird, session, &VIPS).await?;
    }
    Ok(())
}

/// Waits until the router's kernel has dropped segments for that reason, and no session is there.
async fn refused(lone: &Lone, bird: &Bird, counter: &str) -> Result<()> {
    let count = || Ok::<_, anyhow::Error>(Counters::read(&lone.star.r1)?.value(counter));
    let before = count()?;
    poll::until(counter, SOON, async || {
        ensure!(count()? > before + 1, "none more than {before}");
        Ok(())
    })
    .await?;
    for session in SESSIONS {
        ensure!(!bird.established(session)?, "{session} is there");
    }
    Ok(())
}

#[tokio::test]
async fn rfc9003_a_session_that_is_shut_down_stays_down_until_it_is_enabled() -> Result<()> {
    if !privileged::available("rfc9003_a_session_that_is_shut_down_stays_down_until_it_is_enabled")
    {
        return Ok(());
    }
    let lone = Lone::build("anylb-b-down", LAB, 1).await?;
    let bird = Bird::start(&lone.star.r1, &router(PASSIVE), lone.star.run_dir()).await?;
    File::plain().write(&lone)?;
    let agent = lone.start().await?;
    established(&bird).await?;
    heard(&bird, "over4", &VIPS).await?;
    let is_down = || -> Result<()> {
        let [over4, over6] = &agent_peers(&lone)?[..] else {
            anyhow::bail!("two peers")
        };
        ensure!(over6.established(), "the other goes on: {over6:?}");
        ensure!(over4.state == "Idle", "{over4:?}");
        ensure!(over4.shutdown.as_deref() == Some("new cables"), "{over4:?}");
        Ok(())
    };

    let long = "x".repeat(256);
    let refused = ask(&lone, &["bgp", "shutdown", "10.0.1.1", "-m", &long])?;
    assert_eq!(refused.0, Some(6), "{}", refused.1);
    let unknown = ask(&lone, &["bgp", "shutdown", "10.0.1.9"])?;
    assert_eq!(unknown.0, Some(5), "{}", unknown.1);
    let (code, said) = ask(&lone, &["bgp", "shutdown", "10.0.1.1", "-m", "new cables"])?;
    assert_eq!(code, Some(0), "{said}");
    is_down()?;
    heard(&bird, "over4", &[]).await?;
    let state = bird.protocol("over4")?;
    assert!(state.contains("Administrative shutdown"), "{state}");
    let refresh = ask(&lone, &["bgp", "refresh", "10.0.1.1"])?;
    assert_eq!(refresh.0, Some(6), "no session: {}", refresh.1);

    // Who comes after the agent knows of it.
    agent.stop(SOON).await?;
    let agent = lone.start().await?;
    heard(&bird, "over6", &VIPS).await?;
    is_down()?;
    poll::holds("no session", Duration::from_secs(2), async || is_down()).await?;

    let (code, said) = ask(&lone, &["bgp", "enable", "10.0.1.1"])?;
    assert_eq!(code, Some(0), "{said}");
    heard(&bird, "over4", &VIPS).await?;
    let since = sessions(&bird)?;
    let updates = sent_updates(&lone)?;
    let (code, said) = ask(&lone, &["bgp", "refresh", "10.0.1.1"])?;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("3 routes are sent again"), "{said}");
    poll::until("the routes again", SOON, async || {
        ensure!(sent_updates(&lone)? >= updates + 2, "both families");
        Ok(())
    })
    .await?;
    assert_eq!(sessions(&bird)?, since, "the sessions are the same");
    agent.stop(SOON).await?;
    Ok(())
}

#[tokio::test]
async fn rfc2385_a_reload_takes_another_password() -> Result<()> {
    if !privileged::available("rfc2385_a_reload_takes_another_password") {
        return Ok(());
    }
    let lone = Lone::build("anylb-b-key", LAB, 1).await?;
    let key = lone.node().dir.join("bgp.key");
    secret::write(&key, "first\n")?;
    let signed = |password: &str| router(&format!("{PASSIVE} password \"{password}\";"));
    let bird = Bird::start(&lone.star.r1, &signed("first"), lone.star.run_dir()).await?;
    let password = "password_file = \"bgp.key\"";
    File {
        peers: [password, password],
        ..File::plain()
    }
    .write(&lone)?;
    let agent = lone.start().await?;
    established(&bird).await?;

    std::fs::write(&key, "second\n")?;
    agent.tell(&["reload"])?;
    let peers = agent_peers(&lone)?;
    assert!(
        peers.iter().all(|peer| peer.established()),
        "the node ends nothing: {peers:?}"
    );
    // BIRD itself makes its sessions anew when its password changes.
    bird.configure(&signed("second"))?;
    for session in SESSIONS {
        heard(&bird, session, &VIPS).await?;
    }
    established(&bird).await?;
    agent.stop(SOON).await?;
    Ok(())
}

/// A node that has no IPv4 address towards its router.
#[tokio::test]
async fn rfc8950_ipv4_vips_go_over_an_ipv6_next_hop() -> Result<()> {
    if !privileged::available("rfc8950_ipv4_vips_go_over_an_ipv6_next_hop") {
        return Ok(());
    }
    let lone = Lone::build("anylb-b-v6", LAB, 1).await?;
    let flush = ["-4", "address", "flush", "dev", "eth0"];
    shell::output(lone.node().netns.command("ip").args(flush))?;
    let with = router(PASSIVE).replace("ipv4 { import", "ipv4 { extended next hop on; import");
    let bird = Bird::start(&lone.star.r1, &with, lone.star.run_dir()).await?;
    let node = lone.node();
    let mut text = format!(
        "{}[bgp]\nasn = {NODE_ASN}\n[[bgp.peer]]\naddress = \"fd00:0:1::1\"\nasn = {ROUTER_ASN}\n\
         [[pool]]\nname = \"v6\"\n\
         check = {{ type = \"tcp\", port = 80, interval = \"200ms\", timeout = \"150ms\" }}\n\
         backend = [{{ address = \"fd00:1:1::2\" }}]\n",
        node.lb_section()
    );
    for (name, vip) in [("web", VIPS[0]), ("web6", VIPS[2])] {
        let (vip, _) = vip.split_once('/').context("a prefix")?;
        text += &format!(
            "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nports = [80]\npool = \"v6\"\n"
        );
    }
    std::fs::write(lone.config(), text)?;
    let agent = lone.start().await?;
    let over6 = heard(&bird, "over6", &[VIPS[0], VIPS[2]]).await?;
    let hop = "fd00:0:1::2";
    assert_eq!(attributes(&over6, &["next_hop"]), [[hop], [hop]]);
    poll::until("the kernel's route", SOON, async || {
        let (vip, _) = VIPS[0].split_once('/').context("a prefix")?;
        let show = ["-4", "route", "show", vip, "proto", "bird"];
        let route = shell::output(lone.star.r1.command("ip").args(show))?;
        ensure!(route.contains(&format!("via inet6 {hop}")), "{route}");
        Ok(())
    })
    .await?;
    let peers = agent_peers(&lone)?;
    let capabilities = &peers[0].capabilities;
    assert!(
        capabilities.contains(&"extended-next-hop".to_owned()),
        "{capabilities:?}"
    );

    // A router without the capability hears of IPv6 alone.
    bird.configure(&router(PASSIVE))?;
    heard(&bird, "over6", &VIPS[2..]).await?;
    agent.stop(SOON).await?;
    Ok(())
}

/// Exit code and everything that a command prints.
fn ask(lone: &Lone, line: &[&str]) -> Result<(Option<i32>, String)> {
    let output = lone.command().args(line).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

fn agent_peers(lone: &Lone) -> Result<Vec<PeerStatus>> {
    let (_, text) = ask(lone, &["bgp", "peers", "--json"])?;
    let envelope: Envelope<PeerList> = serde_json::from_str(&text)?;
    Ok(envelope.body.peers)
}

/// UPDATEs to the peer over IPv4.
fn sent_updates(lone: &Lone) -> Result<u64> {
    let peers = agent_peers(lone)?;
    let sent = peers.first().and_then(|peer| peer.sent.get("update"));
    Ok(sent.copied().unwrap_or(0))
}
