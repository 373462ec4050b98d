//! The LB program on two interfaces: what comes in by one leaves by the other, with the tag of its VLAN.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use anylb::bfd::Forwarding as _;
use anylb::dataplane::guard::{Guard, Watch};
use anylb::dataplane::{Dataplane, Next, Options};
use anylb::model::{Encap, Mode, PoolName, Ports, Protocol, Vlan, XdpMode};
use anylb::plan::desired::NextHop;
use anylb::plan::{
    Desired, DesiredBackend, DesiredPool, DesiredService, ServiceOptions, Slots, plan,
};
use anylb::status::Health;
use lb_common::abi;
use lb_common::flow::FlowKey;
use lb_common::lb::Exit;
use lb_tests::harness::{
    bpffs::Bpffs, netns::Netns, privileged, raw, raw::Tap, shell, xdp_pass::XdpPass,
};

const PATIENCE: Duration = Duration::from_secs(5);
const MTU: u32 = 1500;
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const VLAN: Vlan = Vlan {
    ethertype: 0x8100,
    id: 100,
};

/// `client` (c0) -- (eth0) `lb` (eth1) -- (b0) `backs`.
struct Stage {
    lb: Netns,
    client: Netns,
    backs: Netns,
    _pass: XdpPass,
    bpffs: Bpffs,
}

impl Stage {
    fn set(prefix: &str) -> Result<Self> {
        let netns = |name: &str| Netns::create(&format!("anylb-{prefix}-{name}"));
        let bpffs = Bpffs::mount(&std::env::temp_dir().join(format!("anylb-test-{prefix}")))?;
        let stage = Self {
            lb: netns("lb")?,
            client: netns("client")?,
            backs: netns("backs")?,
            _pass: XdpPass::load(bpffs.path())?,
            bpffs,
        };
        for (ours, theirs, peer) in [("eth0", "c0", &stage.client), ("eth1", "b0", &stage.backs)] {
            let name = peer.name();
            stage.lb.ip(&format!(
                "link add {ours} type veth peer name {theirs} netns {name}"
            ))?;
            stage.lb.ip(&format!("link set {ours} up"))?;
            peer.ip(&format!("link set {theirs} up"))?;
            stage._pass.attach(peer, theirs)?;
        }
        Ok(stage)
    }

    fn index_of(&self, interface: &str) -> Result<u32> {
        self.lb
            .run(|| Ok(nix::net::if_::if_nametoindex(interface)?))
    }

    /// Opens, fills and attaches the datapath.
    fn datapath(&self, mode: XdpMode, desired: &Desired) -> Result<Dataplane> {
        let options = Options {
            pin_dir: self.bpffs.path().join("anylb"),
            interfaces: vec!["eth0".into(), "eth1".into()],
            mode,
            next: Next::Kernel,
            flow_table_entries: 1024,
        };
        self.lb.run(|| {
            let mut plane = Dataplane::open(&options)?;
            let (image, mut ops) = desired.image(&mut Slots::default())?;
            ops.extend(plan(&image, &plane.observed()?)?);
            plane.apply(&ops)?;
            plane.attach()?;
            ensure!(plane.attached(), "both interfaces carry the program");
            Ok(plane)
        })
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

/// One backend per port: port 1 by eth1, port 2 by a VLAN on it, port 3 by eth0.
fn desired(stage: &Stage) -> Result<Desired> {
    let mut state = Desired {
        flow_key: FlowKey::new(*b"0123456789abcdef"),
        source_v4: Some([10, 0, 0, 11].into()),
        source_v6: None,
        generation: 1,
        jiffies_per_sec: 250,
        own: Default::default(),
        pools: Default::default(),
        services: Vec::new(),
    };
    let ways = [("eth1", None), ("eth1", Some(VLAN)), ("eth0", None)];
    for (port, (interface, vlan)) in (1..).zip(ways) {
        let name = PoolName(format!("pool{port}"));
        let member = DesiredBackend {
            address: ip(&format!("10.1.0.{port}")),
            next_hop: Some(NextHop {
                ifindex: stage.index_of(interface)?,
                mtu: MTU,
                source_mac: OUR_MAC,
                destination_mac: BACKEND_MAC,
                vlan,
                local: false,
                on_link: true,
            }),
            health: Health::Up,
            gone: false,
        };
        let row = [0, abi::ABSENT, abi::ABSENT, abi::ABSENT];
        let pool = DesiredPool {
            encap: Encap::Gue,
            mode: Mode::Rows,
            members: vec![member],
            rows: Arc::from(vec![row; abi::ROWS as usize]),
            settling: false,
        };
        state.pools.insert(name.clone(), pool);
        state.services.push(DesiredService {
            name: format!("service{port}"),
            vip: ip("198.51.100.1").into(),
            protocol: Protocol::Tcp,
            ports: vec![Ports::one(port)],
            pool: name,
            options: ServiceOptions::default(),
        });
    }
    Ok(state)
}

/// What the program makes of a probe, without the flag that says so.
fn expected(plane: &Dataplane, syn: &[u8]) -> Result<Vec<u8>> {
    const FLAGS: usize = 14 + 20 + 8 + 6;
    let mut packet = plane.probe(syn)?.packet;
    if packet[12..14] == [0x81, 0] {
        // As the tap shows it.
        packet.drain(12..16);
    }
    packet[FLAGS] &= !lb_common::tunnel::flags::PROBE;
    Ok(packet)
}

#[test]
fn a_frame_leaves_by_the_interface_of_its_next_hop() {
    if !privileged::available("a_frame_leaves_by_the_interface_of_its_next_hop") {
        return;
    }
    for (mode, words) in [(XdpMode::Native, "native"), (XdpMode::Generic, "generic")] {
        run(mode, words).unwrap_or_else(|error| panic!("{words}: {error:#}"));
    }
}

fn run(mode: XdpMode, words: &str) -> Result<()> {
    let stage = Stage::set("if")?;
    let plane = stage.datapath(mode, &desired(&stage)?)?;
    assert_eq!(plane.mode_on("eth1"), Some(words));
    for (port, to) in [(1, &stage.backs), (2, &stage.backs), (3, &stage.client)] {
        let vip = SocketAddr::new(ip("198.51.100.1"), port);
        let client = SocketAddr::new(ip("192.0.2.7"), 4001);
        let syn = Dataplane::probe_packet(Protocol::Tcp, client, vip);
        let mut tagged = syn.clone();
        tagged.splice(12..12, [0x81, 0, 0, 77]);
        for frame in [&syn, &tagged] {
            let tap = Tap::open(to)?;
            raw::send(&stage.client, "c0", frame)?;
            let received = tap.next_to(BACKEND_MAC, PATIENCE)?;
            assert_eq!(received.frame, expected(&plane, &syn)?, "port {port}");
            let tag = (port == 2).then_some((VLAN.ethertype, VLAN.id));
            assert_eq!(received.tag, tag, "port {port}");
        }
    }
    let counters = plane.counters()?;
    let count = |wanted: Exit| {
        let found = counters.exits.iter().find(|(exit, _)| *exit == wanted);
        found.map(|(_, count)| count.packets)
    };
    assert_eq!(
        (count(Exit::Redirected), count(Exit::Sent)),
        (Some(4), Some(2))
    );
    let received = &counters.received;
    assert!(received["eth0"].packets >= 6, "{received:?}");
    assert!(received.contains_key("eth1"), "{received:?}");
    plane.remove()?;
    Ok(())
}

/// As the BFD process looks at it, which is not the agent.
#[test]
fn another_process_sees_whether_the_program_forwards() {
    if !privileged::available("another_process_sees_whether_the_program_forwards") {
        return;
    }
    guard().unwrap_or_else(|error| panic!("{error:#}"));
}

fn guard() -> Result<()> {
    let stage = Stage::set("guard")?;
    let plane = stage.datapath(XdpMode::Auto, &desired(&stage)?)?;
    let pin_dir = stage.bpffs.path().join("anylb");
    let client = SocketAddr::new(ip("192.0.2.7"), 4001);
    let syn = |port| {
        let vip = SocketAddr::new(ip("198.51.100.1"), port);
        Dataplane::probe_packet(Protocol::Tcp, client, vip)
    };
    let check = |interfaces: [&str; 2], packets: Vec<Vec<u8>>| {
        let watch = Watch {
            pin_dir: pin_dir.clone(),
            interfaces: interfaces.map(str::to_owned).into(),
            packets,
        };
        stage.lb.run(|| {
            let mut guard = Guard::default();
            guard.watch(watch);
            Ok(guard.check())
        })
    };
    let both = ["eth0", "eth1"];
    for (about, packets) in [
        ("by another interface", vec![syn(1)]),
        ("by the same", vec![syn(3)]),
        ("one of two", vec![syn(9), syn(3)]),
        ("none known", vec![]),
    ] {
        assert_eq!(check(both, packets)?, Ok(()), "{about}");
    }
    let dropped = Err("the self-probe ended in Drop".to_owned());
    assert_eq!(check(both, vec![syn(9)])?, dropped);
    let elsewhere = Err("the XDP program is not on lo".to_owned());
    assert_eq!(check(["eth0", "lo"], vec![syn(3)])?, elsewhere);
    std::fs::remove_file(pin_dir.join("links/eth1"))?;
    let gone = Err("the XDP program is not on eth1".to_owned());
    assert_eq!(check(both, vec![syn(3)])?, gone);
    plane.remove()?;
    Ok(())
}

/// The former link goes where it hangs as the new configuration does not have it, and stays where it does.
#[test]
fn a_mode_may_change_and_joined_packets_are_refused() {
    if !privileged::available("a_mode_may_change_and_joined_packets_are_refused") {
        return;
    }
    modes().unwrap_or_else(|error| panic!("{error:#}"));
}

fn modes() -> Result<()> {
    let stage = Stage::set("mode")?;
    let desired = desired(&stage)?;
    for (mode, words) in [
        (XdpMode::Auto, "native"),
        (XdpMode::Generic, "generic"),
        (XdpMode::Auto, "generic"),
        (XdpMode::Native, "native"),
    ] {
        let plane = stage.datapath(mode, &desired)?;
        assert_eq!(plane.mode_on("eth0"), Some(words), "{mode:?}");
        let links = stage.lb.ip_json("link show eth0")?;
        let attached = if words == "native" { 1 } else { 2 };
        assert_eq!(links[0]["xdp"]["mode"], attached, "as the kernel has it");
    }
    shell::run(&format!(
        "ip netns exec {} ethtool -K eth1 gro on",
        stage.lb.name()
    ))?;
    let refused = stage
        .datapath(XdpMode::Generic, &desired)
        .err()
        .context("no error")?;
    assert_eq!(
        format!("{refused:#}"),
        "eth1: generic XDP cannot tunnel packets that the kernel has joined; run `ethtool -K eth1 gro off`"
    );
    Ok(())
}
