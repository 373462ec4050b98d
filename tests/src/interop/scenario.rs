//! What is tried with each router, and what must come of it.

mod bfd;
mod unnumbered;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::daemon::{self, Daemon, Kind, Route, Side};
use super::limits;
use super::report::{Check, Outcome};
use super::site::{
    File, LINK_LOCAL, NODE, NODE_ASN, ROUTER, ROUTER_ASN, ROUTER_LINK, ROUTER_LOOPBACK, SOON, Site,
    VIPS,
};
use crate::harness::poll;
use crate::lab::agent::Agent;

/// What a scenario does with a router; what it finds is in the trial.
pub type Scenario =
    for<'s> fn(&'s mut Site, &'s mut Trial) -> Pin<Box<dyn Future<Output = Result<()>> + 's>>;

/// All of them by name.
pub const SCENARIOS: [(&str, Scenario); 28] = [
    ("dial over IPv4", |site, trial| {
        Box::pin(dial_v4(site, trial))
    }),
    ("accept over IPv4", |site, trial| {
        Box::pin(accept_v4(site, trial))
    }),
    ("dial over IPv6", |site, trial| {
        Box::pin(dial_v6(site, trial))
    }),
    ("accept over IPv6, iBGP", |site, trial| {
        Box::pin(accept_v6_internal(site, trial))
    }),
    ("dial, iBGP", |site, trial| {
        Box::pin(dial_internal(site, trial))
    }),
    ("TCP MD5", |site, trial| Box::pin(md5(site, trial))),
    ("TCP MD5, accept", |site, trial| {
        Box::pin(md5_accept(site, trial))
    }),
    ("range", |site, trial| Box::pin(range(site, trial, None))),
    ("range, TCP MD5", |site, trial| {
        Box::pin(range(site, trial, Some("correct-horse")))
    }),
    ("another password", |site, trial| {
        Box::pin(another_password(site, trial))
    }),
    ("link-local", |site, trial| {
        Box::pin(link_local(site, trial, false))
    }),
    ("link-local, accept", |site, trial| {
        Box::pin(link_local(site, trial, true))
    }),
    ("unnumbered", |site, trial| {
        Box::pin(unnumbered::by_link(site, trial, false, None))
    }),
    ("unnumbered, accept", |site, trial| {
        Box::pin(unnumbered::by_link(site, trial, true, None))
    }),
    ("unnumbered, TCP MD5", |site, trial| {
        Box::pin(unnumbered::by_link(
            site,
            trial,
            false,
            Some("correct-horse"),
        ))
    }),
    ("unnumbered, no IPv4 there", |site, trial| {
        Box::pin(unnumbered::without_v4(site, trial))
    }),
    ("TTL security", |site, trial| {
        Box::pin(ttl_security(site, trial))
    }),
    ("TTL security, accept", |site, trial| {
        Box::pin(ttl_security_accept(site, trial))
    }),
    ("VIPs that are prefixes", |site, trial| {
        Box::pin(prefixes(site, trial))
    }),
    ("bandwidth and aggregate", |site, trial| {
        Box::pin(bandwidth_and_aggregate(site, trial))
    }),
    ("multihop", |site, trial| Box::pin(multihop(site, trial))),
    ("two-octet peer", |site, trial| {
        Box::pin(two_octets(site, trial))
    }),
    ("graceful restart", |site, trial| {
        Box::pin(graceful_restart(site, trial))
    }),
    ("BFD", |site, trial| {
        Box::pin(bfd::watched(site, trial, side(0, false), false))
    }),
    ("BFD, link-local", |site, trial| {
        Box::pin(bfd::watched(site, trial, on_link(false), true))
    }),
    ("BFD, unnumbered", |site, trial| {
        Box::pin(bfd::watched(
            site,
            trial,
            unnumbered::by_interface(false),
            false,
        ))
    }),
    ("BFD, unnumbered, another router", |site, trial| {
        Box::pin(bfd::another_router(site, trial))
    }),
    ("graceful shutdown", |site, trial| {
        Box::pin(graceful_shutdown(site, trial))
    }),
];

/// A scenario with one router.
#[derive(Debug)]
pub struct Trial {
    kind: Kind,
    scenario: &'static str,
    /// What was found.
    pub checks: Vec<Check>,
}

impl Trial {
    /// Nothing found yet.
    pub fn new(kind: Kind, scenario: &'static str) -> Self {
        Self {
            kind,
            scenario,
            checks: Vec::new(),
        }
    }

    /// Notes what a check found; false where it did not hold.
    fn note(&mut self, what: &str, found: Result<(f64, &'static str)>) -> bool {
        let outcome = match found {
            Ok((value, unit)) => Outcome::Passed { value, unit },
            Err(error) => match limits::of(self.kind, self.scenario, what) {
                Some(limit) => Outcome::Limit(limit),
                None => Outcome::Failed(format!("{error:#}")),
            },
        };
        let held = matches!(outcome, Outcome::Passed { .. });
        self.put(what, outcome);
        held
    }

    /// Notes how long something took that had to come.
    fn took(&mut self, what: &str, found: Result<Duration>) -> bool {
        self.note(what, found.map(|time| (time.as_secs_f64() * 1000.0, "ms")))
    }

    /// Whether the router cannot even be set up for it, which is noted.
    fn is_limited(&mut self, what: &str) -> bool {
        let limit = limits::of(self.kind, self.scenario, what);
        if let Some(limit) = limit {
            self.put(what, Outcome::Limit(limit));
        }
        limit.is_some()
    }

    fn put(&mut self, what: &str, outcome: Outcome) {
        self.checks.push(Check {
            name: format!("{}: {what}", self.scenario),
            outcome,
        });
    }

    /// The scenario could not be tried to its end.
    pub fn broken(&mut self, error: &anyhow::Error) {
        let error = Err(anyhow::anyhow!("{error:#}"));
        self.note("tried to the end", error);
    }
}

/// A node and a router with a session between them.
struct Pair {
    router: Box<dyn Daemon>,
    agent: Agent,
    file: File,
}

const POLICY: &str = "announce = { med = 4294967295, prepend = 2, \
     communities = [\"65001:1\", \"0:65535\", \"no-export\", \"65001:0:4294967295\", \"4200000001:1:0\"] }";

/// As routers are asked for them: sorted as text.
const COMMUNITIES: [&str; 3] = ["0:65535", "65001:1", "65535:65281"];
/// See [`COMMUNITIES`].
const LARGE_COMMUNITIES: [&str; 2] = ["4200000001:1:0", "65001:0:4294967295"];

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address of this program")
}

/// A router of another AS, over this family.
fn side(family: usize, dials: bool) -> Side {
    Side {
        dials,
        ..Side::plain(
            address(ROUTER[family]),
            ROUTER_ASN,
            address(NODE[family]),
            NODE_ASN,
        )
    }
}

/// A router of another AS, over the addresses of the link alone.
fn on_link(dials: bool) -> Side {
    let [router, node] = LINK_LOCAL.map(address);
    Side {
        dials,
        link: Some(ROUTER_LINK),
        ..Side::plain(router, ROUTER_ASN, node, NODE_ASN)
    }
}

impl Pair {
    /// Starts both, the one that listens first.
    async fn bring_up(site: &Site, trial: &Trial, side: &Side, file: File) -> Result<Self> {
        let start = || daemon::start(trial.kind, &site.lone.star.r1, side, site.dir());
        let (router, agent) = if side.dials {
            let agent = site.start(&file).await?;
            (start().await?, agent)
        } else {
            (start().await?, site.start(&file).await?)
        };
        Ok(Self {
            router,
            agent,
            file,
        })
    }

    /// The same, and waits for the session and for the routes.
    async fn start(site: &Site, trial: &mut Trial, side: &Side, file: File) -> Result<Self> {
        let mut pair = Self::bring_up(site, trial, side, file).await?;
        pair.get_session(trial).await?;
        let expected = pair.expected(side);
        for (family, expected) in ["IPv4", "IPv6"].iter().zip(expected) {
            let what = format!("{family} route");
            trial.took(&what, pair.heard(&expected).await);
        }
        Ok(pair)
    }

    /// Without a session there is nothing else to wait for.
    async fn get_session(&self, trial: &mut Trial) -> Result<()> {
        let held = trial.took("session", self.established().await);
        ensure!(held, "no session");
        Ok(())
    }

    async fn established(&self) -> Result<Duration> {
        let (_, time) =
            poll::until("Established", SOON, async || self.router.established()).await?;
        Ok(time)
    }

    /// Waits until the router has exactly this route to its prefix.
    async fn heard(&mut self, expected: &Route) -> Result<Duration> {
        let (_, time) = poll::until("the route", SOON, async || {
            let routes = self.router.routes()?;
            let found: Vec<_> = routes
                .iter()
                .filter(|r| r.prefix == expected.prefix)
                .collect();
            ensure!(found == [expected], "{found:?}, not {expected:?}");
            Ok(())
        })
        .await?;
        Ok(time)
    }

    /// Waits until the router has these prefixes from the node.
    async fn has(&mut self, prefixes: &[&str]) -> Result<Duration> {
        let what = format!("the router with {prefixes:?}");
        let (_, time) = poll::until(&what, SOON, async || {
            let routes = self.router.routes()?;
            let found: Vec<_> = routes.iter().map(|route| route.prefix.as_str()).collect();
            ensure!(found == prefixes, "{found:?}");
            Ok(())
        })
        .await?;
        Ok(time)
    }

    /// Both routes as the configuration makes them.
    fn expected(&self, side: &Side) -> [Route; 2] {
        let with_policy = !self.file.announce.is_empty();
        let length = if with_policy { 3 } else { 1 };
        let listed = |list: &[&str]| match with_policy {
            true => list.iter().map(|one| (*one).to_owned()).collect(),
            false => Vec::new(),
        };
        [0, 1].map(|family| Route {
            prefix: self.file.vips[family].to_owned(),
            next_hop: NODE[family].to_owned(),
            link_local: (side.link.is_some() && family == 1).then(|| LINK_LOCAL[1].to_owned()),
            origin: "igp".to_owned(),
            path: if side.internal() {
                Vec::new()
            } else {
                vec![side.node_asn; length]
            },
            med: (with_policy && !side.internal()).then_some(u32::MAX),
            local_pref: None,
            bandwidth: None,
            communities: listed(&COMMUNITIES),
            large: listed(&LARGE_COMMUNITIES),
        })
    }

    async fn stop(self) -> Result<()> {
        self.agent.stop(SOON).await.map(drop)
    }
}

async fn dial_v4(site: &mut Site, trial: &mut Trial) -> Result<()> {
    let side = side(0, false);
    let file = File {
        announce: POLICY,
        ..File::opposite(&side)
    };
    let mut pair = Pair::start(site, trial, &side, file).await?;
    let before = updates(&pair.agent)?;
    pair.router.refresh()?;
    let refreshed = poll::until("the routes again", SOON, async || {
        let asked = refreshes(&pair.agent)?;
        let sent = updates(&pair.agent)?;
        ensure!(
            asked > 0 && sent > before,
            "asked {asked} times, {sent} UPDATEs, {before} before"
        );
        Ok(())
    });
    let refreshed = refreshed.await.map(|(_, time)| time);
    trial.took("route refresh", refreshed);
    pair.agent.tell(&["service", "withdraw", "v4"])?;
    trial.took("withdraw", pair.has(&VIPS[1..]).await);
    pair.agent.tell(&["service", "announce", "v4"])?;
    trial.took("announce again", pair.has(&VIPS).await);
    let begin = Instant::now();
    let Pair { router, agent, .. } = pair;
    agent.stop(SOON).await?;
    let gone = poll::until("no route of the node", SOON, async || {
        let routes = router.routes()?;
        ensure!(routes.is_empty(), "{routes:?}");
        Ok(())
    });
    let gone = gone.await.map(|_| begin.elapsed());
    trial.took("stop leaves nothing", gone);
    Ok(())
}

async fn plain(site: &mut Site, trial: &mut Trial, side: Side) -> Result<()> {
    let file = File {
        announce: POLICY,
        ..File::opposite(&side)
    };
    Pair::start(site, trial, &side, file).await?.stop().await
}

async fn accept_v4(site: &mut Site, trial: &mut Trial) -> Result<()> {
    plain(site, trial, side(0, true)).await
}

async fn dial_v6(site: &mut Site, trial: &mut Trial) -> Result<()> {
    plain(site, trial, side(1, false)).await
}

/// iBGP: LOCAL_PREF, no AS in the path, no MED.
async fn internal(site: &mut Site, trial: &mut Trial, side: Side) -> Result<()> {
    let side = Side {
        asn: NODE_ASN,
        ..side
    };
    let file = File {
        announce: POLICY,
        ..File::opposite(&side)
    };
    let mut pair = Pair::bring_up(site, trial, &side, file).await?;
    pair.get_session(trial).await?;
    for (family, expected) in ["IPv4", "IPv6"].iter().zip(pair.expected(&side)) {
        let expected = Route {
            local_pref: Some(100),
            ..expected
        };
        trial.took(&format!("{family} route"), pair.heard(&expected).await);
    }
    pair.stop().await
}

async fn accept_v6_internal(site: &mut Site, trial: &mut Trial) -> Result<()> {
    internal(site, trial, side(1, true)).await
}

async fn dial_internal(site: &mut Site, trial: &mut Trial) -> Result<()> {
    internal(site, trial, side(0, false)).await
}

async fn md5(site: &mut Site, trial: &mut Trial) -> Result<()> {
    let side = Side {
        password: Some("correct-horse"),
        ..side(0, false)
    };
    plain(site, trial, side).await
}

async fn md5_accept(site: &mut Site, trial: &mut Trial) -> Result<()> {
    let side = Side {
        password: Some("correct-horse"),
        ..side(0, true)
    };
    plain(site, trial, side).await
}

/// Over the addresses of the link alone: IPv6 with the global next hop and the link-local one beside it (RFC 2545).
async fn link_local(site: &mut Site, trial: &mut Trial, dials: bool) -> Result<()> {
    // The others are not set up for it here.
    if !matches!(trial.kind, Kind::Frr | Kind::Bird) {
        return Ok(());
    }
    plain(site, trial, on_link(dials)).await
}

/// The node knows the router by a prefix alone, and forgets it with its session.
async fn range(site: &mut Site, trial: &mut Trial, password: Option<&'static str>) -> Result<()> {
    let side = Side {
        password,
        ..side(0, true)
    };
    let file = File {
        router: ("range = \"10.0.1.0/24\"".into(), side.asn),
        announce: POLICY,
        ..File::opposite(&side)
    };
    let Pair { router, agent, .. } = Pair::start(site, trial, &side, file).await?;
    let status = agent.status()?;
    let members: Vec<String> = status.peers.iter().map(|p| p.address.to_string()).collect();
    let named = match members == [side.own.to_string()] {
        true => Ok((1.0, "members")),
        false => Err(anyhow::anyhow!("{members:?}")),
    };
    trial.note("known by its address", named);
    drop(router);
    let gone = poll::until("no member", SOON, async || {
        let status = agent.status()?;
        ensure!(status.peers.is_empty(), "{:?}", status.peers);
        let members: Vec<usize> = status.ranges.iter().map(|range| range.members).collect();
        ensure!(members == [0], "{members:?}");
        Ok(())
    });
    trial.took("forgotten", gone.await.map(|(_, time)| time));
    agent.stop(SOON).await.map(drop)
}

/// Both sides change the secret, the node first; its agent goes on.
async fn another_password(site: &mut Site, trial: &mut Trial) -> Result<()> {
    const NEXT: &str = "battery-staple";
    if trial.is_limited("routes") {
        return Ok(());
    }
    let side = Side {
        password: Some("correct-horse"),
        ..side(0, false)
    };
    let mut pair = Pair::start(site, trial, &side, File::opposite(&side)).await?;
    pair.file.password = Some(NEXT);
    pair.file.write(site.node())?;
    pair.agent.tell(&["reload", "--wait"])?;
    pair.router.rekey(NEXT)?;
    let begin = Instant::now();
    // Longer than the hold time: what the router signs in another way is not heard.
    let kept = poll::holds("the session", Duration::from_secs(12), async || {
        let peers = pair.agent.status()?.peers;
        let peer = peers.first().context("a peer")?;
        ensure!(
            peer.established() && peer.flaps.values().all(|count| *count == 0),
            "{peer:?}"
        );
        Ok(())
    });
    let kept = kept.await.map(|()| (0.0, "resets"));
    trial.note("session kept", kept);
    pair.established().await?;
    let routes = pair.has(&VIPS).await.map(|_| begin.elapsed());
    trial.took("routes", routes);
    pair.stop().await
}

async fn ttl_security_accept(site: &mut Site, trial: &mut Trial) -> Result<()> {
    let side = Side {
        ttl_security: true,
        ..side(0, true)
    };
    plain(site, trial, side).await
}

async fn ttl_security(site: &mut Site, trial: &mut Trial) -> Result<()> {
    let side = Side {
        ttl_security: true,
        ..side(0, false)
    };
    plain(site, trial, side).await
}

async fn prefixes(site: &mut Site, trial: &mut Trial) -> Result<()> {
    let side = side(0, false);
    let file = File {
        vips: ["198.51.100.16/28", "2001:db8:200::/64"],
        ..File::opposite(&side)
    };
    let mut pair = Pair::start(site, trial, &side, file).await?;
    pair.agent.tell(&["service", "withdraw", "v4"])?;
    trial.took("withdraw", pair.has(&["2001:db8:200::/64"]).await);
    pair.agent.tell(&["service", "announce", "v4"])?;
    pair.stop().await
}

/// Each VIP wants as much as its backends can carry; beside them the prefix that they are from, while one is served.
async fn bandwidth_and_aggregate(site: &mut Site, trial: &mut Trial) -> Result<()> {
    const AGGREGATE: &str = "198.51.100.0/24";
    let side = side(0, false);
    let file = File {
        bgp: format!("link_bandwidth = \"10G\"\naggregate = [{{ prefix = \"{AGGREGATE}\" }}]\n"),
        ..File::opposite(&side)
    };
    let mut pair = Pair::bring_up(site, trial, &side, file).await?;
    pair.get_session(trial).await?;
    for (family, expected) in ["IPv4", "IPv6"].iter().zip(pair.expected(&side)) {
        let expected = Route {
            bandwidth: Some(1_250_000_000),
            ..expected
        };
        let what = format!("{family} route with its bandwidth");
        if trial.is_limited(&what) {
            continue;
        }
        trial.took(&what, pair.heard(&expected).await);
    }
    let [vip, _] = pair.expected(&side);
    let aggregate = Route {
        prefix: AGGREGATE.into(),
        ..vip
    };
    trial.took("aggregate", pair.heard(&aggregate).await);
    pair.agent.tell(&["service", "withdraw", "v4"])?;
    let gone = pair.has(&VIPS[1..]).await;
    trial.took("aggregate gone with its VIP", gone);
    pair.agent.tell(&["service", "announce", "v4"])?;
    pair.stop().await
}

async fn multihop(site: &mut Site, trial: &mut Trial) -> Result<()> {
    let side = Side {
        own: address(ROUTER_LOOPBACK),
        multihop: true,
        ..side(0, false)
    };
    plain(site, trial, side).await
}

/// The node's AS does not fit two octets: the path has AS_TRANS in its place, and beside it the path in four octets, of which
/// a router that knows them makes the whole again (RFC 6793).
async fn two_octets(site: &mut Site, trial: &mut Trial) -> Result<()> {
    const LARGE: u32 = 4_200_000_001;
    const AS_TRANS: u32 = 23456;
    if trial.is_limited("session") {
        return Ok(());
    }
    // The node's AS, as which the router knows it, and what the router makes of the path.
    let (asn, known, path) = match trial.kind {
        Kind::Openbgpd | Kind::Gobgp => (LARGE, LARGE, LARGE),
        Kind::Exabgp => (LARGE, AS_TRANS, LARGE),
        // Without capabilities it is a router from before.
        Kind::Frr => (LARGE, LARGE, AS_TRANS),
        // It wants an AS of two octets of a neighbor, and compares the one of the capability.
        Kind::Bird => (NODE_ASN, NODE_ASN, NODE_ASN),
    };
    let side = Side {
        as4: false,
        node_asn: known,
        ..side(0, false)
    };
    let file = File {
        asn,
        ..File::opposite(&side)
    };
    let mut pair = Pair::bring_up(site, trial, &side, file).await?;
    pair.get_session(trial).await?;
    for (family, expected) in ["IPv4", "IPv6"].iter().zip(pair.expected(&side)) {
        let what = format!("{family} route");
        if trial.is_limited(&what) {
            continue;
        }
        let expected = Route {
            path: vec![path],
            ..expected
        };
        trial.took(&what, pair.heard(&expected).await);
    }
    pair.stop().await
}

/// A killed agent: the router keeps the routes until its successor has announced them again.
async fn graceful_restart(site: &mut Site, trial: &mut Trial) -> Result<()> {
    let side = Side {
        graceful_restart: true,
        ..side(0, false)
    };
    let file = File {
        bgp: "graceful_restart = \"always\"\n".into(),
        ..File::opposite(&side)
    };
    let Pair {
        router,
        agent,
        file,
    } = Pair::start(site, trial, &side, file).await?;
    agent.kill()?;
    let kept = || -> Result<()> {
        let routes = router.routes()?;
        let found: Vec<_> = routes.iter().map(|route| route.prefix.as_str()).collect();
        ensure!(found == VIPS, "the router has {found:?}");
        Ok(())
    };
    let fallen = poll::until("the end of the session at the router", SOON, async || {
        ensure!(router.established().is_err(), "Established");
        Ok(())
    });
    fallen.await?;
    let mut lost = kept().err();
    let begin = Instant::now();
    let agent = site.start(&file).await?;
    let back = poll::until("the session again", SOON, async || {
        if lost.is_none() {
            lost = kept().err();
        }
        router.established()
    });
    let back = back.await;
    trial.took("session after a kill", back.map(|_| begin.elapsed()));
    let still = poll::holds(
        "routes after the restart",
        Duration::from_secs(1),
        async || kept(),
    );
    let still = still.await;
    let found = match lost {
        Some(lost) => Err(lost),
        None => still.map(|()| (0.0, "routes lost")),
    };
    trial.note("routes kept", found);
    agent.stop(SOON).await.map(drop)
}

/// A node that is stopped asks to be avoided before it withdraws (RFC 8326).
async fn graceful_shutdown(site: &mut Site, trial: &mut Trial) -> Result<()> {
    let side = side(0, false);
    let file = File {
        drain_wait: "20s",
        ..File::opposite(&side)
    };
    let mut pair = Pair::start(site, trial, &side, file).await?;
    pair.agent.terminate()?;
    let begin = Instant::now();
    let asked = poll::until("the community of graceful shutdown", SOON, async || {
        let routes = pair.router.routes()?;
        let asking = |route: &&Route| route.communities.contains(&"65535:0".to_owned());
        let count = routes.iter().filter(asking).count();
        ensure!(count == VIPS.len(), "{routes:?}");
        Ok(())
    });
    let asked = asked.await.map(|_| begin.elapsed());
    trial.took("community 65535:0", asked);
    trial.took("withdrawn after it", pair.has(&[]).await);
    Ok(())
}

/// ROUTE-REFRESH messages that the agent has received.
fn refreshes(agent: &Agent) -> Result<u64> {
    let peers = agent.status()?.peers;
    let peer = peers.first().context("a peer")?;
    Ok(peer
        .received
        .get("route_refresh")
        .copied()
        .unwrap_or_default())
}

/// UPDATE messages that it has sent.
fn updates(agent: &Agent) -> Result<u64> {
    let peers = agent.status()?.peers;
    let peer = peers.first().context("a peer")?;
    Ok(peer.sent.get("update").copied().unwrap_or_default())
}
