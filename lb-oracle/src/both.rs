//! A box that is LB node and backend: what the LB node's program does not send is the backend's.

use lb_common::exit::Action;
use lb_common::packet::{Packet as _, Transit as _};
use lb_common::wire::Ethernet;
use lb_common::{backend, lb};

use crate::host::Host;
use crate::node::{Arrival, Node};

/// Where a packet has left each program.
pub struct Left {
    /// The LB node's.
    pub node: lb::Exit,
    /// The backend's, where it went on.
    pub host: Option<backend::Exit>,
    /// As what.
    pub bytes: Vec<u8>,
}

/// Decides about one frame; without a `host` the backend's program is gone. None where it is longer than a frame can be.
pub fn run(node: &Node, host: Option<&Host>, packet: &[u8], arrival: Arrival) -> Option<Left> {
    let crate::node::Left { exit, mut frame } = node.run_beside_backend(packet, arrival)?;
    let goes_on = !arrival.probe && matches!(exit.action(), Action::Pass | Action::Local);
    if goes_on && exit.action() == Action::Local {
        // The backend's program may have to send it back to where it came from.
        frame.unskip();
        let arrived = packet.get(..size_of::<Ethernet>() - 2);
        if let (Some(macs), Some(ethernet)) = (arrived, frame.get_mut::<[u8; 12]>(0)) {
            ethernet.copy_from_slice(macs);
        }
    }
    let left = match host {
        Some(host) if goes_on => {
            frame.unskip();
            let left = host.run_on(frame);
            (Some(left.exit), left.bytes().to_vec())
        }
        _ => (None, frame.bytes().to_vec()),
    };
    Some(Left {
        node: exit,
        host: left.0,
        bytes: left.1,
    })
}
