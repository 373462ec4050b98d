//! The first hop of a flow, as the maps in an LB node's kernel name it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use anylb::dataplane::layout;
use anylb::plan::desired::{address_of, words};
use aya::maps::MapData;
use lb_common::abi::{self, Bank, Root, ServiceEntry, Table};
use lb_common::flow::Flow;
use lb_common::frame::Frame;
use lb_common::wire::{Be16, Ports, protocol};
use zerocopy::FromBytes;

use crate::bench::bpf;
use crate::harness::star::Node;

/// The bank in use.
pub struct Rows {
    bank: Vec<u8>,
    pins: PathBuf,
}

/// The rows of one UDP service.
pub struct ServiceRows<'a> {
    bank: &'a Bank,
    entry: ServiceEntry,
    /// A [`Table`].
    table: Vec<u8>,
}

impl Rows {
    /// Reads the maps pinned by an LB node's agent.
    pub fn read(node: &Node) -> Result<Self> {
        let pins = layout::directory(&node.bpffs.path().join("anylb"));
        let root = value(&open(&pins.join("maps/ROOT"))?, 0)?;
        let root = Root::read_from_bytes(&root).map_err(|_| anyhow!("ROOT has another size"))?;
        ensure!(root.abi_version == abi::ABI_VERSION, "{root:?}");
        Ok(Self {
            bank: value(&open(&pins.join("maps/BANKS"))?, root.bank)?,
            pins,
        })
    }

    /// Of the UDP service at that address and port.
    pub fn service(&self, address: SocketAddr) -> Result<ServiceRows<'_>> {
        let bank = Bank::ref_from_bytes(&self.bank).map_err(|error| anyhow!("BANKS: {error}"))?;
        let vip = words(address.ip());
        let mixed = bank.mix(vip);
        let id = bank.find_address(vip, mixed).context("no such VIP")?.id;
        let key = abi::service_key(id, protocol::UDP, address.port());
        let entry = *bank
            .find_service::<Frame>(key, mixed)
            .context("no such service")?;
        let table = open(&self.pins.join(format!("tables/{}", entry.table)))?;
        let table = value(&table, 0)?;
        Ok(ServiceRows { bank, entry, table })
    }
}

impl ServiceRows<'_> {
    /// Address of the backend to which a client's datagram goes first.
    pub fn first_hop(&self, client: SocketAddr, service: SocketAddr) -> Result<IpAddr> {
        let flow = Flow {
            source: words(client.ip()),
            destination: words(service.ip()),
            ports: Ports {
                source: Be16::new(client.port()),
                destination: Be16::new(service.port()),
            },
            protocol: protocol::UDP,
        };
        let row = self.bank.shared.flow.hash(&flow) as u32 & (abi::ROWS - 1);
        let table =
            Table::ref_from_bytes(&self.table).map_err(|error| anyhow!("a table: {error}"))?;
        let hops = table.row(row);
        ensure!(!hops.is_absent(), "row {row} has no hop");
        let backend = self
            .bank
            .backend(u32::from(self.entry.first_backend) + hops.hop(0));
        Ok(address_of(backend.address))
    }
}

fn open(pin: &Path) -> Result<MapData> {
    MapData::from_pin(pin).with_context(|| pin.display().to_string())
}

fn value(map: &MapData, index: u32) -> Result<Vec<u8>> {
    let size = map.info()?.value_size();
    Ok(bpf::lookup(map.fd().as_fd(), index, size as usize)?)
}
