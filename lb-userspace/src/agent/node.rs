//! The agent as the admin API and the metrics listener see it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::bfd::Detection;
use super::both;
use super::checks;
use super::reconcile::Event;
use crate::api::Node;
use crate::backend::node::BackendNode;
use crate::bgp::{self, Speaker, State};
use crate::config::{self, ThisHost};
use crate::health::Asker;
use crate::model::Settings;
use crate::status::{
    BpfState, Command, ConfigDiff, Counters, DiffRequest, Discovery, EndedMember, Envelope,
    ExplainRequest, Explanation, FileText, HealthList, NodeStatus, PeerOpen, PeerRoutes,
    PeerSettings, PeerStatus, ProbeReport, ProbeRequest, RangeStatus, Refusal, Reloaded, RouteList,
    SentRoute, Strangers, TraceBatch, TraceNext, TraceRequest, TraceStarted, Verification,
};

/// Asks the reconcile loop; adds the BGP sessions to its status.
pub struct AgentNode {
    /// To the loop.
    pub events: mpsc::Sender<Event>,
    /// From the loop.
    pub status: watch::Receiver<Arc<Envelope<NodeStatus>>>,
    /// None without `[bgp]`, and once it has been stopped.
    pub speaker: Arc<Mutex<Option<Speaker>>>,
    /// None where no peer has BFD.
    pub bfd: Option<Detection>,
    /// To the checks.
    pub asker: Asker,
    /// The operator wants a handover.
    pub handover: Arc<Notify>,
    /// The backend on the same box.
    pub backend: Option<BackendNode>,
}

impl AgentNode {
    fn peers(&self) -> Vec<bgp::PeerStatus> {
        self.with_speaker(Speaker::status).unwrap_or_default()
    }

    /// Has the speaker do what it has to do with a command that was taken, and answered so.
    async fn tell_speaker(&self, command: &Command, answer: String) -> Result<String, Refusal> {
        match command {
            Command::ShutDownPeer { peer, message } => {
                let ask = |speaker: &Speaker| speaker.shut_down(*peer, message.clone());
                if let Some(done) = self.with_speaker(ask) {
                    done.await;
                }
                let left = self
                    .peers()
                    .iter()
                    .any(|peer| peer.state == State::Established);
                Ok(match left {
                    true => answer,
                    false => format!("{answer}; no router hears of this node now"),
                })
            }
            Command::EnablePeer { peer } => {
                if let Some(done) = self.with_speaker(|speaker| speaker.enable(*peer)) {
                    done.await;
                }
                Ok(answer)
            }
            Command::RefreshPeer { peer } => {
                let asked = self.with_speaker(|speaker| speaker.refresh(*peer));
                let routes = match asked {
                    Some(asked) => asked.await,
                    None => None,
                };
                let routes = routes.ok_or_else(|| {
                    Refusal::refused(format!(
                        "there is no session with {peer}: see `anylb bgp peer {peer}`"
                    ))
                })?;
                let noun = if routes == 1 {
                    "route is"
                } else {
                    "routes are"
                };
                Ok(format!(
                    "{peer}: {routes} {noun} sent again, in the same session; this node only"
                ))
            }
            Command::SetAdmin { .. }
            | Command::SetWeight { .. }
            | Command::Withdraw { .. }
            | Command::Announce { .. }
            | Command::Attack { .. }
            | Command::Reload
            | Command::Handover => Ok(answer),
        }
    }

    /// Nothing once the speaker has been stopped.
    fn with_speaker<T>(&self, ask: impl FnOnce(&Speaker) -> T) -> Option<T> {
        let speaker = self.speaker.lock().unwrap_or_else(PoisonError::into_inner);
        speaker.as_ref().map(ask)
    }

    /// Tells the backend on the same box what the LB node has done.
    async fn tell_backend(&self, command: Command) -> Result<(), Refusal> {
        let Some(backend) = &self.backend else {
            return Ok(());
        };
        let told = backend.command(command).await.map(drop);
        told.map_err(|refusal| Refusal {
            message: format!(
                "the LB node of this box has done so, its backend has not: {}",
                refusal.message
            ),
            ..refusal
        })
    }

    async fn ask<T>(
        &self,
        event: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Event,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.events.send(event(reply)).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }
}

impl Node for AgentNode {
    fn status(&self) -> Arc<Envelope<NodeStatus>> {
        let mut envelope = Envelope::clone(&self.status.borrow());
        envelope.body.peers = self.peers().into_iter().map(peer_status).collect();
        for (name, bfd) in self.bfd.iter().flat_map(Detection::status) {
            let mut peers = envelope.body.peers.iter_mut();
            if let Some(peer) = peers.find(|peer| peer.address == name) {
                peer.bfd = Some(bfd);
            }
        }
        let ranges = self.with_speaker(Speaker::ranges).unwrap_or_default();
        envelope.body.ranges = ranges.into_iter().map(range_status).collect();
        let strangers = self.with_speaker(Speaker::strangers).unwrap_or_default();
        envelope.body.strangers = Strangers {
            connections: strangers.connections,
            last: strangers.last,
        };
        if let Some(backend) = &self.backend {
            both::status(&mut envelope.body, &backend.status().body);
        }
        Arc::new(envelope)
    }

    fn routes(&self) -> RouteList {
        RouteList {
            peers: self.peers().iter().map(peer_routes).collect(),
        }
    }

    async fn counters(&self) -> Result<Counters, Refusal> {
        let node = self.ask(Event::Counters).await?;
        match &self.backend {
            Some(backend) => Ok(both::counters(node, backend.counters().await?)),
            None => Ok(node),
        }
    }

    async fn explain(&self, request: ExplainRequest) -> Result<Explanation, Refusal> {
        self.ask(|reply| Event::Explain(request, reply)).await
    }

    async fn health(&self) -> Result<HealthList, Refusal> {
        let progress = self.asker.progress().await.ok_or_else(ending)?;
        let now = Instant::now();
        Ok(checks::health_list(
            &self.status.borrow().body,
            &progress,
            now,
        ))
    }

    async fn probe(&self, request: ProbeRequest) -> Result<ProbeReport, Refusal> {
        let target = checks::find(&self.status.borrow().body, &request)?;
        let probed = self.asker.probe(target.clone()).await;
        let unknown = || checks::unknown(&request.pool, &request.backend);
        let probed = probed.ok_or_else(unknown)?;
        Ok(checks::report(&self.status.borrow().body, target, &probed))
    }

    async fn bpf(&self) -> Result<BpfState, Refusal> {
        let node = self.ask(Event::Bpf).await?;
        match &self.backend {
            Some(backend) => Ok(both::bpf(node, backend.bpf().await?)),
            None => Ok(node),
        }
    }

    async fn verify(&self) -> Result<Verification, Refusal> {
        let node = self.ask(Event::Verify).await?;
        match &self.backend {
            Some(backend) => Ok(both::verification(node, backend.verify().await?)),
            None => Ok(node),
        }
    }

    async fn trace(&self, request: TraceRequest) -> Result<TraceStarted, Refusal> {
        self.ask(|reply| Event::Trace(request, reply)).await
    }

    async fn trace_next(&self, request: TraceNext) -> Result<TraceBatch, Refusal> {
        self.ask(|reply| Event::TraceNext(request, reply)).await
    }

    async fn diff(&self, request: DiffRequest) -> Result<ConfigDiff, Refusal> {
        let next = match request.file {
            Some(file) => Some(Box::new(checked(file).await?)),
            None => None,
        };
        self.ask(|reply| Event::Diff(next, reply)).await
    }

    async fn reload(&self, force: bool) -> Result<Reloaded, Refusal> {
        let event = |reply: oneshot::Sender<_>| {
            // A caller that went away needs no answer.
            let tell = move |done| drop(reply.send(done));
            Event::Reload(force, Box::new(tell))
        };
        let reloaded = self.ask(event).await?;
        self.tell_backend(Command::Reload).await?;
        Ok(reloaded)
    }

    async fn told(&self, time: Duration) -> Result<(), Refusal> {
        let told = match self.with_speaker(|speaker| speaker.flushed(time)) {
            Some(flushed) => flushed.await,
            None => true,
        };
        let late = || {
            Refusal::timeout(format!(
                "applied, but within {} s not every peer was told what changed: see `anylb bgp routes`",
                time.as_secs()
            ))
        };
        told.then_some(()).ok_or_else(late)
    }

    async fn command(&self, command: Command) -> Result<String, Refusal> {
        let both = matches!(command, Command::Handover | Command::Reload);
        let asked = command.clone();
        let answer = self.ask(|reply| Event::Command(asked, reply)).await?;
        let answer = self.tell_speaker(&command, answer).await?;
        if both {
            self.tell_backend(command.clone()).await?;
        }
        if command == Command::Handover {
            self.handover.notify_one();
        }
        Ok(answer)
    }
}

/// Reads no file but those that this one names.
async fn checked(file: FileText) -> Result<Settings, Refusal> {
    // Large files take a while, and sessions must not wait for them.
    let parse = move || config::parse(&file.text, &file.path, &ThisHost);
    let parsed = tokio::task::spawn_blocking(parse).await;
    parsed
        .map_err(|error| Refusal::failed(error.to_string()))?
        .map_err(|errors| Refusal::invalid(errors.render(false)))
}

fn ending() -> Refusal {
    Refusal::failed("the agent is ending")
}

fn owned(counts: BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    let owned = |(name, count): (&str, u64)| (name.to_owned(), count);
    counts.into_iter().map(owned).collect()
}

fn peer_status(peer: bgp::PeerStatus) -> PeerStatus {
    let notifications = peer.notifications.into_iter().map(|(key, count)| {
        let direction = if key.sent { "sent" } else { "received" };
        (direction.to_owned(), key.code, key.subcode, count)
    });
    let settings = peer.settings;
    PeerStatus {
        address: peer.name,
        range: peer.range,
        asn: peer.asn,
        state: peer.state.as_str().to_owned(),
        router_id: peer.router_id,
        since_secs: peer.since.as_secs(),
        hold_time_secs: peer.hold_time.map(|time| time.as_secs()),
        keepalive_secs: peer.keepalive_time.map(|time| time.as_secs()),
        configured: PeerSettings {
            port: settings.port,
            passive: settings.passive,
            hold_time_secs: settings.hold_time.as_secs(),
            password: settings.password,
            ttl_security: settings.ttl_security,
            restart_time_secs: settings.restart_time.map(|time| time.as_secs()),
        },
        shutdown: peer.shutdown,
        discovery: peer.discovery.map(discovery),
        bfd: None,
        last_reset: peer.last_reset,
        last_failure: peer.last_failure,
        capabilities: peer.capabilities,
        offered: peer.offered,
        last_open: peer.last_open.map(|open| PeerOpen {
            asn: open.asn,
            router_id: open.identifier,
            hold_time_secs: open.hold_time_secs.into(),
            capabilities: open.capabilities.names(),
        }),
        announced: peer.announced.keys().copied().collect(),
        flaps: owned(peer.flaps),
        received: owned(peer.received),
        sent: owned(peer.sent),
        notifications: notifications.collect(),
    }
}

fn discovery(found: bgp::Discovery) -> Discovery {
    Discovery {
        router: found.router,
        sent: found.sent,
        unsent: found.unsent,
        heard: found.heard,
        others: found.others,
        last_other: found.last_other.map(Into::into),
        invalid: owned(found.invalid),
    }
}

fn range_status(range: bgp::RangeStatus) -> RangeStatus {
    RangeStatus {
        range: range.range,
        asn: range.asn,
        members: range.members,
        max_peers: range.members_max,
        refused: range.refused,
        last_refused: range.last_refused,
        ended: range.ended,
        last_ended: range
            .last_ended
            .map(|(address, reason)| EndedMember { address, reason }),
        shutdown: range.shutdown,
    }
}

fn peer_routes(peer: &bgp::PeerStatus) -> PeerRoutes {
    PeerRoutes {
        address: peer.name,
        asn: peer.asn,
        state: peer.state.as_str().to_owned(),
        routes: peer
            .announced
            .iter()
            .map(|(prefix, attributes)| sent_route(*prefix, attributes))
            .collect(),
    }
}

fn sent_route(prefix: ipnet::IpNet, attributes: &bgp::Attributes) -> SentRoute {
    let communities = &attributes.communities;
    SentRoute {
        prefix,
        next_hop: attributes.next_hop,
        as_path: attributes.as_path.clone(),
        med: attributes.med,
        local_pref: attributes.local_pref,
        communities: communities
            .standard
            .iter()
            .map(ToString::to_string)
            .collect(),
        large_communities: communities.large.iter().map(ToString::to_string).collect(),
        link_bandwidth: attributes
            .bandwidth
            .map(|(bandwidth, _)| bandwidth.to_string()),
    }
}
