//! Checks over the network, each kind its own way.

use std::net::{IpAddr, SocketAddr};

use super::deadline::Deadline;
use super::tls::Connectors;
use super::{Outcome, Probe, http, tcp};
use crate::model::{Check, CheckKind};

/// Tries backends at their own addresses.
///
/// Every connection ends with a RST (SO_LINGER 0): a check every second on thousands of backends would otherwise leave
/// a TIME_WAIT for each and use up the local ports. By then it has said all it had to say, so there is nothing the RST
/// could lose.
#[derive(Debug, Default)]
pub struct NetworkProbe {
    connectors: Connectors,
}

impl Probe for NetworkProbe {
    async fn probe(&self, address: IpAddr, check: &Check) -> Outcome {
        let deadline = Deadline::after(check.timeout);
        let tried = match &check.kind {
            CheckKind::Tcp { port } => {
                let connected = tcp::connect(SocketAddr::new(address, *port), deadline).await;
                connected.map(|_connection| ())
            }
            CheckKind::Http(request) => {
                http::ask(address, request, &self.connectors, deadline).await
            }
        };
        tried.into()
    }
}
