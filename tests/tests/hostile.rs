//! A router that means harm, at a live agent: it gets the answer that RFC 4271 and its updates have for it, and a good router beside
//! notices nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use anylb::bgp::codec::{Message, encode_keepalive};
use anylb::status::PeerStatus;
use lb_oracle::hostile::{self, Vector, message, update};
use lb_tests::harness::scripted::{Heard, Neighbor, Scripted, connect};
use lb_tests::harness::{poll, privileged};
use lb_tests::lab::agent::Agent;
use lb_tests::lone::{File, Lone};

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(20);
const GOOD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1));
/// Addresses of the bad one; each is a peer of its own, as whoever was refused has to wait before he is heard again.
const BAD: std::ops::Range<u8> = 100..200;
const AGENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 1, 2)), 179);
const VIP: &str = "198.51.100.1/32";

/// No peer at all.
const STRANGER: u8 = 250;

fn bad(host: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 1, host).into()
}

/// An agent, its good router, and room for a bad one.
struct Site {
    lone: Lone,
    agent: Agent,
    good: Neighbor,
}

impl Site {
    async fn build(prefix: &str) -> Result<Self> {
        let lone = Lone::build(prefix, LAB, 1).await?;
        let r1 = &lone.star.r1;
        for host in BAD.chain([STRANGER]) {
            r1.ip(&format!("address add {}/24 dev lb1", bad(host)))?;
        }
        let listener = r1.run(|| Ok(TcpListener::bind((GOOD, 179))?))?;
        let good = Neighbor::start(listener, 65000, 9)?;
        let mut peers = format!("listen = [\"{AGENT}\"]\n");
        for host in BAD {
            let address = bad(host);
            peers +=
                &format!("[[bgp.peer]]\naddress = \"{address}\"\nasn = 65000\npassive = true\n");
        }
        let file = File {
            bgp: peers,
            ..File::with(&[1])
        };
        lone.write(&file)?;
        let agent = lone.start().await?;
        let site = Self { lone, agent, good };
        site.good_has(true).await?;
        Ok(site)
    }

    /// The good router knows of the VIP, or does not.
    async fn good_has(&self, vip: bool) -> Result<()> {
        poll::until("the good router's routes", SOON, async || {
            let known = self.good.known();
            let has = known.routes.contains(&VIP.parse()?);
            ensure!(known.complete && has == vip, "{known:?}");
            Ok(())
        })
        .await?;
        Ok(())
    }

    fn connect(&self, host: u8) -> Result<Scripted> {
        let r1 = &self.lone.star.r1;
        r1.run(|| connect(bad(host), AGENT, None))
    }

    /// Established, and past what the agent announces.
    fn session(&self, host: u8) -> Result<Scripted> {
        self.settled(self.connect(host)?)
    }

    fn settled(&self, mut bad: Scripted) -> Result<Scripted> {
        bad.establish(&hostile::open())?;
        loop {
            // The body of End-of-RIB.
            if bad.hear()? == Heard::Update(vec![0; 4]) {
                return Ok(bad);
            }
        }
    }

    fn peer(&self, address: IpAddr) -> Result<PeerStatus> {
        let peers = self.agent.status()?.peers;
        let mut peers = peers.into_iter();
        peers
            .find(|peer| peer.address == address.into())
            .context("a peer")
    }

    /// What the good router has is as it was, and it hears what is new.
    async fn undisturbed(&mut self) -> Result<()> {
        self.agent.tell(&["service", "withdraw", "web"])?;
        self.good_has(false).await?;
        self.agent.tell(&["service", "announce", "web"])?;
        self.good_has(true).await?;
        let peer = self.peer(GOOD)?;
        ensure!(peer.established() && peer.flaps.is_empty(), "{peer:?}");
        let known = self.good.known().clone();
        ensure!(known.sessions == 1 && known.ends.is_empty(), "{known:?}");
        ensure!(known.longest_silence < Duration::from_secs(9), "{known:?}");
        ensure!(self.agent.is_running()?);
        let log = std::fs::read_to_string(self.lone.node().dir.join("agent.log"))?;
        ensure!(!log.contains("panicked"), "{log}");
        Ok(())
    }
}

#[tokio::test]
async fn rfc4271_6_each_gets_its_answer() -> Result<()> {
    if !privileged::available("rfc4271_6_each_gets_its_answer") {
        return Ok(());
    }
    let mut site = Site::build("anylb-hostile").await?;
    let mut hosts = BAD;
    for Vector {
        name,
        bytes,
        answer,
    } in hostile::opening()
    {
        let mut bad = site.connect(hosts.next().context("an address")?)?;
        answered(&mut bad, &bytes, answer, true).with_context(|| format!("opening: {name}"))?;
    }
    let (harmless, ending): (Vec<_>, Vec<_>) = hostile::established()
        .into_iter()
        .partition(|vector| vector.answer.is_none());
    for Vector {
        name,
        bytes,
        answer,
    } in ending
    {
        let host = hosts.next().context("an address")?;
        let mut bad = site
            .session(host)
            .with_context(|| format!("before: {name}"))?;
        answered(&mut bad, &bytes, answer, false).with_context(|| name)?;
    }
    let mut bad = site.session(hosts.next().context("an address")?)?;
    for vector in &harmless {
        bad.say(&vector.bytes)?;
    }
    // The answer to a request comes after all of them.
    bad.say(&message(5, &[0, 1, 0, 1]))?;
    loop {
        match bad.hear()? {
            Heard::Other(Message::Keepalive) => {}
            Heard::Update(_) => break,
            other => anyhow::bail!("one of {} is not harmless: {other:?}", harmless.len()),
        }
    }
    site.undisturbed().await
}

/// Sends it and compares the answer.
fn answered(
    bad: &mut Scripted,
    bytes: &[u8],
    answer: Option<(u8, u8)>,
    opening: bool,
) -> Result<()> {
    bad.say(bytes)?;
    let Some(expected) = answer else {
        ensure!(opening, "a session that goes on");
        bad.say(&encode_keepalive())?;
        while !matches!(bad.hear()?, Heard::Update(_)) {}
        return Ok(());
    };
    let told = bad.last_word()?.context("closed without a word")?;
    ensure!((told.code, told.subcode) == expected, "{told}");
    ensure!(bad.hear()? == Heard::End, "not closed");
    Ok(())
}

/// An OPEN octet by octet, connections that end at once, strangers, NOTIFICATIONs, refreshes.
#[tokio::test]
async fn a_router_in_a_hurry_and_one_that_is_slow() -> Result<()> {
    if !privileged::available("a_router_in_a_hurry_and_one_that_is_slow") {
        return Ok(());
    }
    let mut site = Site::build("anylb-hurry").await?;
    let mut slow = site.connect(101)?;
    for octet in [hostile::open(), encode_keepalive()].concat() {
        slow.say(&[octet])?;
    }
    while !matches!(slow.hear()?, Heard::Update(_)) {}
    drop(slow);
    for host in [102, STRANGER] {
        site.lone.star.r1.run(|| {
            for number in 0..500 {
                let end = connect(bad(host), AGENT, None)?;
                if number % 2 == 0 {
                    // A reset in place of a FIN.
                    socket2::SockRef::from(end.stream()).set_linger(Some(Duration::ZERO))?;
                }
            }
            Ok(())
        })?;
    }
    for number in 0..100 {
        let mut bad = site.connect(103 + number / 2)?;
        bad.say(&message(3, &[6, number, 255, 0xff]))?;
        let told = bad.last_word()?;
        ensure!(told.is_none(), "a NOTIFICATION is never answered: {told:?}");
    }
    let mut bad = site.session(190)?;
    bad.say(&message(5, &[0, 1, 0, 1]).repeat(20_000))?;
    bad.say(&message(3, &[6, 4]).repeat(1000))?;
    while bad.hear()? != Heard::End {}
    drop(site.session(191)?);
    site.undisturbed().await
}

/// RFC 9687: it says that it is there, and takes nothing.
#[tokio::test]
async fn rfc9687_3_a_window_of_zero_ends_by_the_send_hold_timer() -> Result<()> {
    if !privileged::available("rfc9687_3_a_window_of_zero_ends_by_the_send_hold_timer") {
        return Ok(());
    }
    let mut site = Site::build("anylb-zero").await?;
    // A kernel whose window is overrun drops acknowledgements as well, so that the peer falls silent; then again.
    let mut ended = Vec::new();
    while !ended.contains(&"send_hold_timer_expired".to_owned()) {
        ensure!(ended.len() < 3, "{ended:?}");
        ended = no_window(&mut site).await?;
        let known = ["send_hold_timer_expired", "hold_timer_expired"];
        ensure!(
            ended.iter().all(|why| known.contains(&why.as_str())),
            "{ended:?}"
        );
    }
    site.undisturbed().await
}

/// A session with a peer that talks and takes nothing, to its end: why sessions with it have ended, one word each.
async fn no_window(site: &mut Site) -> Result<Vec<String>> {
    let r1 = &site.lone.star.r1;
    let mut zero = site.settled(r1.run(|| connect(bad(101), AGENT, Some(1)))?)?;
    let begin = Instant::now();
    // The answers are more than it takes.
    let refresh = message(5, &[0, 1, 0, 1]);
    poll::until("the end of the session", 3 * SOON, async || {
        zero.say(&[&refresh[..], &encode_keepalive()].concat())?;
        let peer = site.peer(bad(101))?;
        ensure!(!peer.established(), "{peer:?}");
        Ok(())
    })
    .await?;
    let peer = site.peer(bad(101))?;
    println!("ended after {:?}: {:?}", begin.elapsed(), peer.last_reset);
    let times = |(why, count): (&String, &u64)| std::iter::repeat_n(why.clone(), *count as usize);
    Ok(peer.flaps.iter().flat_map(times).collect())
}

/// The part of the agent's memory that is no file's may grow by so much.
const GROWTH_MAX: u64 = 5 << 20;

#[tokio::test]
async fn a_flood_of_a_million_prefixes_costs_no_memory_and_no_keepalive() -> Result<()> {
    if !privileged::available("a_flood_of_a_million_prefixes_costs_no_memory_and_no_keepalive") {
        return Ok(());
    }
    let mut site = Site::build("anylb-flood").await?;
    let mut flood = site.session(101)?;
    let before = site.agent.anonymous_bytes()?;
    let mut most = before;
    let begin = Instant::now();
    for number in 0..1250_u32 {
        let nlri: Vec<u8> = (800 * number..800 * (number + 1))
            .flat_map(|n| {
                let [_, b, c, d] = n.to_be_bytes();
                [32, 11, b, c, d]
            })
            .collect();
        flood.say(&update(&[], &hostile::ATTRIBUTES, &nlri))?;
        if number % 50 == 0 {
            most = most.max(site.agent.anonymous_bytes()?);
        }
    }
    poll::until("all of them", SOON, async || {
        let peer = site.peer(bad(101))?;
        ensure!(peer.received.get("update") == Some(&1250), "{peer:?}");
        Ok(())
    })
    .await?;
    most = most.max(site.agent.anonymous_bytes()?);
    println!(
        "a million prefixes in {:?}: {} KiB before, at most {} KiB",
        begin.elapsed(),
        before >> 10,
        most >> 10
    );
    ensure!(most <= before + GROWTH_MAX, "from {before} to {most} bytes");
    ensure!(site.peer(bad(101))?.established());
    site.undisturbed().await
}
