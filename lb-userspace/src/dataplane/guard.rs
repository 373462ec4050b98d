//! Whether the pinned program forwards, asked by a process that is not the agent: the agent may be dead.

use std::path::PathBuf;

use lb_common::exit::Action;
use serde::{Deserialize, Serialize};

use super::link::{Link, test_run};
use super::{probe, xdp};
use crate::bfd::Forwarding;

/// What has to work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// `node.pin_dir`.
    pub pin_dir: PathBuf,
    /// The program is on each of them.
    pub interfaces: Vec<String>,
    /// First packets of flows, from the Ethernet header on, that the program has sent to backends; it still sends one of them.
    pub packets: Vec<Vec<u8>>,
}

/// Looks at the links and runs the program that they hold.
#[derive(Debug, Default)]
pub struct Guard {
    watch: Option<Watch>,
}

impl Forwarding for Guard {
    type Watch = Watch;

    fn watch(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    fn check(&mut self) -> Result<(), String> {
        let Some(watch) = &self.watch else {
            return Ok(());
        };
        let links = watch.pin_dir.join("links");
        let mut program = None;
        for interface in &watch.interfaces {
            let link = xdp::find(&links, interface).map_err(|error| error.to_string())?;
            let link = link.ok_or_else(|| format!("the XDP program is not on {interface}"))?;
            program = program.or(Some(link));
        }
        match program {
            Some(link) => sends_one(&link, &watch.packets),
            None => Ok(()),
        }
    }
}

/// One is enough: a service may have changed since, or have a limit that is reached.
fn sends_one(link: &Link, packets: &[Vec<u8>]) -> Result<(), String> {
    let program = match link.program() {
        Ok(program) => program,
        // Without CAP_SYS_ADMIN there is no way to the program; the link alone says that it is there.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(()),
        Err(error) => return Err(format!("the XDP program cannot be opened: {error}")),
    };
    let mut outcome = Ok(());
    for packet in packets {
        let (data, context) = probe::marked(packet);
        outcome = match test_run(&program, &data, &context).map(probe::action) {
            Ok(Action::Transmit | Action::Redirect) => return Ok(()),
            Ok(action) => Err(format!("the self-probe ended in {action:?}")),
            Err(error) => Err(format!("the self-probe failed: {error}")),
        };
    }
    outcome
}
