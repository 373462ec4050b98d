//! A backend's program in the kernel, in a namespace with real sockets, beside the same decision on the host.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use anylb::backend::datapath::{Datapath, Entry};
use anylb::backend::image::{Image, Wanted};
use anylb::backend::kernel_types::Offsets;
use anylb::model::XdpMode;
use lb_common::backend::{Exit, Found};
use lb_common::exit::Action;
use lb_tests::harness::flows;
use lb_tests::harness::netns::Netns;
use lb_tests::packet::Tunnel;

use crate::cases::{self, FAMILIES, Family};
use crate::host::Host;

const PATIENCE: Duration = Duration::from_secs(5);

/// Everything a test needs; made and used on one thread inside the namespace.
pub struct Stage {
    pub datapath: Datapath,
    pub host: Host,
    pub entry: Entry,
}

/// Both programs that take packets out of the tunnel: the same fixtures hold for them.
pub const ENTRIES: [Entry; 2] = [Entry::Interface(XdpMode::Auto), Entry::Tc];

/// A namespace whose `lo` has the VIPs and the real clients' addresses; what is sent to ghosts goes into the void.
pub fn namespace(test: &str) -> Result<Netns> {
    let netns = Netns::create(&format!("backend-{test}"))?;
    let local = FAMILIES
        .iter()
        .flat_map(|family| [family.vip().ip(), family.client().ip()]);
    let ghosts = FAMILIES.iter().map(|family| ghost(family, 0).ip());
    flows::lay_out(
        &netns,
        &local.collect::<Vec<_>>(),
        &ghosts.collect::<Vec<_>>(),
    )?;
    Ok(netns)
}

impl Stage {
    /// Loads the program for `entry`.
    pub fn set(wanted: &Wanted, entry: Entry) -> Result<Self> {
        let btf = std::fs::read("/sys/kernel/btf/vmlinux").context("this kernel has no BTF")?;
        Ok(Self {
            datapath: Datapath::load(&Image::new(wanted)?, Offsets::find(&btf), entry)?,
            host: Host::new(wanted),
            entry,
        })
    }

    /// Where the kernel's program leaves with `packet`, by its counters, and the bytes.
    pub fn kernel(&self, packet: &[u8]) -> Result<(Exit, Vec<u8>)> {
        let before = self.counts()?;
        let (action, bytes) = self.datapath.run(packet)?;
        let after = self.counts()?;
        let counted: Vec<Exit> = Exit::ALL
            .iter()
            .copied()
            .filter(|exit| after[&(*exit as u32)] != before[&(*exit as u32)])
            .collect();
        ensure!(counted.len() == 1, "one exit per packet: {counted:?}");
        let expected = verdict(self.entry, counted[0].action());
        ensure!(action == expected, "{:?} returned {action}", counted[0]);
        Ok((counted[0], bytes))
    }

    /// Runs `inner` in `tunnel` in the kernel, and on the host as if `found` were there: both must leave by `expected` with
    /// the same bytes.
    pub fn same(
        &mut self,
        why: &str,
        tunnel: &Tunnel,
        inner: &[u8],
        found: Found,
        expected: Exit,
    ) -> Result<()> {
        let packet = tunnel.frame(inner);
        self.host.found = found;
        let kernel = self.kernel(&packet)?;
        ensure!(kernel.0 == expected, "{why}: {:?}", kernel.0);
        ensure!(
            kernel == self.host.run(&packet),
            "{why}: not the same bytes"
        );
        Ok(())
    }

    /// Runs `inner` until the kernel's sockets have come to the state in which it leaves by `expected`.
    pub fn becomes(&self, why: &str, tunnel: &Tunnel, inner: &[u8], expected: Exit) -> Result<()> {
        let start = Instant::now();
        loop {
            let exit = self.kernel(&tunnel.frame(inner))?.0;
            if exit == expected {
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "{why}: still {exit:?}");
            std::thread::yield_now();
        }
    }

    fn counts(&self) -> Result<BTreeMap<u32, u64>> {
        let exits = self.datapath.exits()?;
        Ok(exits
            .into_iter()
            .map(|(exit, count)| (exit as u32, count.packets))
            .collect())
    }
}

/// What a program returns for an action.
fn verdict(entry: Entry, action: Action) -> u32 {
    const NEXT_PROGRAM: u32 = u32::MAX;
    let [pass, drop, transmit, redirect] = match entry {
        Entry::Tc => [NEXT_PROGRAM, 2, 7, 7],
        Entry::Interface(_) | Entry::LbNode => [2, 1, 3, 4],
    };
    match action {
        Action::Pass => pass,
        Action::Drop => drop,
        Action::Transmit => transmit,
        Action::Redirect | Action::Local => redirect,
    }
}

/// A connection over `lo` from the family's client to its VIP: client's and server's end.
pub fn connection(family: &Family) -> Result<(TcpStream, TcpStream)> {
    flows::connection(family.client(), family.vip())
}

/// A client that exists only as packets.
pub fn ghost(family: &Family, port: u16) -> SocketAddr {
    let address = match family.vip() {
        SocketAddr::V4(_) => "192.0.2.200",
        SocketAddr::V6(_) => "2001:db8:78::200",
    };
    (cases::ip(address), port).into()
}

/// Sends a SYN of a ghost to the family's VIP and returns the sequence number of the SYN-ACK.
pub fn half_open(family: &Family, ghost: SocketAddr) -> Result<u32> {
    flows::half_open(ghost, family.vip())
}
