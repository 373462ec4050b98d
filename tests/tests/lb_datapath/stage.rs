//! A loaded datapath, what it holds, and packets for it.

use std::net::{IpAddr, SocketAddr};

use anylb::dataplane::{Dataplane, Next, Options};
use anylb::model::{Encap, Mode, PoolName, Ports, Protocol, XdpMode};
use anylb::plan::desired::NextHop;
use anylb::plan::{
    Desired, DesiredBackend, DesiredPool, DesiredService, ServiceOptions, Slots, plan,
};
use anylb::status::Health;
use lb_common::abi;
use lb_common::flow::FlowKey;
use lb_tests::harness::bpffs::Bpffs;

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address in a test")
}

pub fn pool(backends: &[&str], hops: usize) -> DesiredPool {
    let members = backends.iter().map(|address| DesiredBackend {
        address: ip(address),
        next_hop: Some(NextHop {
            ifindex: 1,
            mtu: 1700,
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            vlan: None,
            local: false,
            on_link: true,
        }),
        health: Health::Up,
        gone: false,
    });
    let count = backends.len() as u16;
    let row = |row: u16| {
        std::array::from_fn(|hop| {
            if hop < hops.min(backends.len()) {
                (row + hop as u16) % count
            } else {
                abi::ABSENT
            }
        })
    };
    DesiredPool {
        encap: Encap::Gue,
        mode: Mode::Rows,
        members: members.collect(),
        rows: (0..abi::ROWS).map(|i| row(i as u16 % count)).collect(),
        settling: false,
    }
}

pub fn service(name: &str, vip: &str, pool: &str) -> DesiredService {
    DesiredService {
        name: name.into(),
        vip: vip.parse().expect("a VIP in a test"),
        protocol: Protocol::Tcp,
        ports: vec![Ports::one(80), Ports::one(443)],
        pool: PoolName(pool.into()),
        options: ServiceOptions::default(),
    }
}

pub fn desired() -> Desired {
    desired_with(4)
}

/// The same, with so many hops in a row.
pub fn desired_with(hops: usize) -> Desired {
    let v4 = ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"];
    let v6 = [
        "fd00:1::1",
        "fd00:1::2",
        "fd00:1::3",
        "fd00:1::4",
        "fd00:1::5",
    ];
    Desired {
        flow_key: FlowKey::new(*b"0123456789abcdef"),
        source_v4: Some([10, 0, 0, 11].into()),
        source_v6: Some("fd00::11".parse().expect("an address")),
        generation: 7,
        jiffies_per_sec: 250,
        own: v4.iter().chain(&v6).copied().map(ip).collect(),
        pools: [("four", pool(&v4, hops)), ("six", pool(&v6, hops))]
            .map(|(name, pool)| (PoolName(name.into()), pool))
            .into(),
        services: vec![
            service("web-v4", "198.51.100.1", "four"),
            service("web-v6", "2001:db8:100::1", "six"),
            udp_service("voice-v4", "198.51.100.1", "four"),
            udp_service("voice-v6", "2001:db8:100::1", "six"),
        ],
    }
}

pub fn udp_service(name: &str, vip: &str, pool: &str) -> DesiredService {
    DesiredService {
        protocol: Protocol::Udp,
        ports: ["53", "8000-8999"].map(ports).into(),
        ..service(name, vip, pool)
    }
}

pub fn ports(text: &str) -> Ports {
    text.parse().expect("ports in a test")
}

/// Flows that each CPU can remember.
pub const FLOW_TABLE: u32 = 1 << 16;

/// Pinned there, on no interface, with room for so many flows.
pub fn options(bpffs: &Bpffs, flow_table_entries: u32) -> Options {
    Options {
        pin_dir: bpffs.path().join("anylb"),
        interfaces: Vec::new(),
        mode: XdpMode::Auto,
        next: Next::Kernel,
        flow_table_entries,
    }
}

/// A loaded datapath with `desired` applied; the file system goes with it.
pub struct Loaded {
    pub plane: Option<Dataplane>,
    slots: Slots,
    pub bpffs: Bpffs,
}

impl Loaded {
    pub fn new(name: &str, desired: &Desired) -> Self {
        Self::with(name, desired, false)
    }

    /// The same on a box that may be a backend as well.
    pub fn with(name: &str, desired: &Desired, backend: bool) -> Self {
        let bpffs = Bpffs::mount(&std::env::temp_dir().join(format!("anylb-test-{name}")))
            .expect("a BPF file system");
        let next = if backend { Next::Backend } else { Next::Kernel };
        let plane = Dataplane::open(&Options {
            next,
            ..options(&bpffs, FLOW_TABLE)
        })
        .expect("the program loads");
        let mut loaded = Self {
            plane: Some(plane),
            slots: Slots::default(),
            bpffs,
        };
        loaded.apply(desired);
        loaded
    }

    /// Another agent takes over what this one has pinned.
    pub fn reopen(&mut self) {
        self.plane = None;
        let plane = Dataplane::open(&Options {
            next: Next::Kernel,
            ..options(&self.bpffs, FLOW_TABLE)
        })
        .expect("adopted");
        assert!(plane.adopted());
        self.plane = Some(plane);
    }

    /// All packets and flows of a service, and the packets of its backends that are its backends now.
    pub fn counted(&self, service: &str) -> (u64, u64, u64) {
        let (counter, block) = self.slots.of_service(service).expect("a service");
        let counters = self.plane().counters().expect("readable");
        let backends = counters.backends(block.first, block.count).iter();
        (
            counters.service(counter, block).packets,
            counters.new_flows(counter),
            backends.map(|backend| backend.packets).sum(),
        )
    }

    pub fn plane(&self) -> &Dataplane {
        self.plane.as_ref().expect("open until dropped")
    }

    /// How many operations it took.
    pub fn apply(&mut self, desired: &Desired) -> usize {
        let plane = self.plane.as_mut().expect("open until dropped");
        let (image, mut ops) = desired.image(&mut self.slots).expect("an image");
        ops.extend(plan(&image, &plane.observed().expect("readable")).expect("a plan"));
        plane.apply(&ops).expect("applied");
        assert_eq!(
            plan(&image, &plane.observed().expect("readable")).expect("a plan"),
            [],
            "what was applied is read back as the same image"
        );
        ops.len()
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.plane = None;
    }
}

/// Puts VLAN tags with these EtherTypes before the frame's own.
pub fn tagged(frame: &[u8], ethertypes: &[u16]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for ethertype in ethertypes.iter().rev() {
        let tag = [ethertype.to_be_bytes(), [0x20, 0x64]].concat();
        frame.splice(12..12, tag);
    }
    frame
}

/// What the program makes of `packet`.
pub fn probe(loaded: &Loaded, packet: &[u8]) -> Vec<u8> {
    let result = loaded.plane().probe(packet).expect("a test run");
    assert!(result.agrees, "{result:?} for {packet:02x?}");
    result.packet
}
