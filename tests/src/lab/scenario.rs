//! The list of scenarios, in the order in which they run.

use anyhow::Result;
use clap::ValueEnum;

use super::report::Report;
use super::site::Site;
use super::{basics, boxes, health, nodes, path_mtu, servers, sessions, tables, udp, upload};

/// Something that happens to the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Thousands of requests, nothing changes.
    Requests,
    /// Two routers of two ASes hear what is meant for each, and both send traffic.
    Sessions,
    /// Three backends are added at once.
    BackendsAdded,
    /// Two backends are drained.
    BackendsDrained,
    /// Weights are changed.
    WeightsChanged,
    /// SYN-ACKs are lost while the table is swapped.
    SynackLoss,
    /// One node's checks of a live backend fail while the router moves flows between the nodes.
    HealthDisagreement,
    /// A web server is stopped and started.
    ServerRestarted,
    /// One LB node's link is cut and restored.
    NodeLinkCut,
    /// One LB node's agent is stopped and started.
    NodeRestarted,
    /// A backend goes silent.
    BackendDies,
    /// All backends go silent and come back.
    AllBackendsDie,
    /// Both agents are killed and started again.
    AgentsKilled,
    /// A large upload over a 1500-byte underlay without ICMP.
    Upload,
    /// Servers send what is too big for the client's link, and the router complains to a node that never saw the flow.
    PathMtu,
    /// UDP with and without a socket per flow: where new flows go, and that they stay there.
    Udp,
    /// UDP flows while backends are added and drained and a node's link is cut.
    UdpSurvival,
    /// A site of its own: three boxes, each LB node and backend.
    Combined,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 18] = [
        Scenario::Requests,
        Scenario::Sessions,
        Scenario::BackendsAdded,
        Scenario::BackendsDrained,
        Scenario::WeightsChanged,
        Scenario::SynackLoss,
        Scenario::HealthDisagreement,
        Scenario::ServerRestarted,
        Scenario::NodeLinkCut,
        Scenario::NodeRestarted,
        Scenario::BackendDies,
        Scenario::AllBackendsDie,
        Scenario::AgentsKilled,
        Scenario::Upload,
        Scenario::PathMtu,
        Scenario::Udp,
        Scenario::UdpSurvival,
        Scenario::Combined,
    ];

    /// As `--only` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Requests => "requests",
            Scenario::Sessions => "sessions",
            Scenario::BackendsAdded => "backends-added",
            Scenario::BackendsDrained => "backends-drained",
            Scenario::WeightsChanged => "weights-changed",
            Scenario::SynackLoss => "synack-loss",
            Scenario::HealthDisagreement => "health-disagreement",
            Scenario::ServerRestarted => "server-restarted",
            Scenario::NodeLinkCut => "node-link-cut",
            Scenario::NodeRestarted => "node-restarted",
            Scenario::BackendDies => "backend-dies",
            Scenario::AllBackendsDie => "all-backends-die",
            Scenario::AgentsKilled => "agents-killed",
            Scenario::Upload => "upload",
            Scenario::PathMtu => "path-mtu",
            Scenario::Udp => "udp",
            Scenario::UdpSurvival => "udp-survival",
            Scenario::Combined => "combined",
        }
    }

    /// Runs it and puts the site back as it was.
    pub(super) async fn run(self, site: &mut Site, report: &mut Report) -> Result<()> {
        match self {
            Scenario::Requests => basics::requests(site, report).await,
            Scenario::Sessions => sessions::sessions(site, report).await,
            Scenario::BackendsAdded => tables::added(site, report).await,
            Scenario::BackendsDrained => tables::drained(site, report).await,
            Scenario::WeightsChanged => tables::weights_changed(site, report).await,
            Scenario::SynackLoss => servers::synack_loss(site, report).await,
            Scenario::HealthDisagreement => health::disagreement(site, report).await,
            Scenario::ServerRestarted => servers::restarted(site, report).await,
            Scenario::NodeLinkCut => nodes::link_cut(site, report).await,
            Scenario::NodeRestarted => nodes::restarted(site, report).await,
            Scenario::BackendDies => health::backend_dies(site, report).await,
            Scenario::AllBackendsDie => health::all_backends_die(site, report).await,
            Scenario::AgentsKilled => nodes::agents_killed(site, report).await,
            Scenario::Upload => upload::upload(site, report).await,
            Scenario::PathMtu => path_mtu::path_mtu(site, report).await,
            Scenario::Udp => udp::flows(site, report).await,
            Scenario::UdpSurvival => udp::survival(site, report).await,
            Scenario::Combined => boxes::combined(site, report).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for scenario in Scenario::ALL {
            let value = scenario.to_possible_value().expect("no scenario is hidden");
            assert_eq!(value.get_name(), scenario.name());
        }
        assert_eq!(Scenario::ALL.len(), Scenario::value_variants().len());
    }
}
