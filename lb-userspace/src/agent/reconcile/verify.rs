//! `anylb bpf verify`: the kernel read anew, against what the agent wants of it.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

use lb_common::lb::Exit;

use super::{PROBE_PORT, Reconciler};
use crate::dataplane::{Dataplane, release_heap};
use crate::model::Service;
use crate::plan::{Image, differences, plan};
use crate::status::{Compared, KernelDifference, Refusal, Verification};

impl Reconciler {
    /// Compares everything that the datapath holds; nothing is written, so that what is wrong stays to be looked at.
    pub(super) fn verify(&self) -> Result<Verification, Refusal> {
        let plane = self.datapath()?;
        let wanted = self.wanted()?;
        let found = plane.observed().map_err(failed)?;
        let mut all: Vec<KernelDifference> = differences(&wanted, &found)
            .into_iter()
            .map(|one| difference(one.subject, one.what))
            .collect();
        // Tables are megabytes.
        drop(found);
        release_heap();
        all.extend(self.attachments(plane));
        let mut compared = Compared {
            addresses: wanted.vips.len(),
            services: wanted.services.len(),
            backends: wanted.backends.len(),
            tables: wanted.tables.len(),
            probes: 0,
        };
        for service in &self.parts.core.settings.services {
            let (probes, found) = self.probe_all(plane, service)?;
            compared.probes += probes;
            all.extend(found);
        }
        Ok(Verification {
            compared,
            differences: all,
        })
    }

    /// What the kernel should hold now: the desired image, or while a change of that waits for its round, what the last
    /// round has left there.
    fn wanted(&self) -> Result<Image, Refusal> {
        let starting =
            || Refusal::refused("the agent has applied nothing yet: try again in a moment");
        let said = self.said();
        let world = self.world(&said);
        let desired = self.parts.core.desired(world).filter(|_| self.ready);
        // Numbers that a plan would give out are not given out here.
        let mut slots = self.parts.core.state.slots.clone();
        let desired = desired.ok_or_else(starting)?;
        let (image, _) = desired.image(&mut slots).map_err(failed)?;
        let applied = &self.parts.observed;
        match plan(&image, applied).map_err(failed)?.is_empty() {
            true => Ok(image),
            false => applied.image.clone().ok_or_else(starting),
        }
    }

    fn attachments(&self, plane: &Dataplane) -> Vec<KernelDifference> {
        let wrong = |interface: &String| {
            let what = match plane.attached_to(interface) {
                true => plane.misattached(interface)?,
                false => "the program is not attached".to_owned(),
            };
            Some(difference(interface.clone(), what))
        };
        let interfaces = &self.parts.core.settings.node.interfaces;
        interfaces.iter().filter_map(wrong).collect()
    }

    /// Runs the loaded program on a packet for every port or range of a service: how many, and where it does not know them or decides
    /// otherwise than the same code on the host. That no backend can be reached is no difference.
    fn probe_all(
        &self,
        plane: &Dataplane,
        service: &Service,
    ) -> Result<(usize, Vec<KernelDifference>), Refusal> {
        let (source_v4, source_v6) = self.parts.core.probe_sources();
        let Some(target) = self.parts.core.probe_target(service) else {
            return Ok((0, Vec::new()));
        };
        let source = match target {
            IpAddr::V4(_) => SocketAddr::from((source_v4, PROBE_PORT)),
            IpAddr::V6(_) => SocketAddr::from((source_v6, PROBE_PORT)),
        };
        let mut all = Vec::new();
        for ports in &service.ports {
            // Port 0 belongs to "any" and to nobody's traffic.
            let port = ports.first().max(1);
            let destination = SocketAddr::new(target, port);
            let packet = Dataplane::probe_packet(service.protocol, source, destination);
            let result = plane.probe(&packet).map_err(failed)?;
            let unknown = matches!(result.exit, Exit::NotVip | Exit::NoService);
            let what = match (result.agrees, unknown) {
                (false, _) => "the loaded program and the agent's copy of it disagree".to_owned(),
                (true, true) => format!("a packet for port {port} ends in {}", result.exit.name()),
                (true, false) => continue,
            };
            all.push(difference(format!("service {}", service.name), what));
        }
        Ok((service.ports.len(), all))
    }
}

fn difference(subject: String, difference: String) -> KernelDifference {
    KernelDifference {
        subject,
        difference,
    }
}

fn failed(error: impl Display) -> Refusal {
    Refusal::failed(error.to_string())
}
