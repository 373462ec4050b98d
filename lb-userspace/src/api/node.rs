//! What the servers need of an agent.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::status::{
    BpfState, Command, ConfigDiff, Counters, DiffRequest, Envelope, ExplainRequest, Explanation,
    HealthList, NodeStatus, ProbeReport, ProbeRequest, Refusal, Reloaded, RouteList, TraceBatch,
    TraceNext, TraceRequest, TraceStarted, Verification,
};

/// The side of an agent (LB node or backend) that the admin API and the metrics listener see.
///
/// The futures may be dropped before they end, when a client goes away or a request takes too long.
pub trait Node: Send + Sync + 'static {
    /// The last published status. Cheap: no waiting, no system call.
    fn status(&self) -> Arc<Envelope<NodeStatus>>;

    /// What every BGP peer has been told. Cheap as well.
    fn routes(&self) -> RouteList;

    /// Reads the counters of the datapath and of the agent.
    fn counters(&self) -> impl Future<Output = Result<Counters, Refusal>> + Send;

    /// Runs the loaded program with the live maps on a packet made from `request`; changes nothing.
    fn explain(
        &self,
        request: ExplainRequest,
    ) -> impl Future<Output = Result<Explanation, Refusal>> + Send;

    /// How the checks of every backend do.
    fn health(&self) -> impl Future<Output = Result<HealthList, Refusal>> + Send;

    /// Checks one backend once, out of turn; no verdict changes.
    fn probe(
        &self,
        request: ProbeRequest,
    ) -> impl Future<Output = Result<ProbeReport, Refusal>> + Send;

    /// Maps and programs in the kernel.
    fn bpf(&self) -> impl Future<Output = Result<BpfState, Refusal>> + Send;

    /// Reads the kernel anew and compares it with what it should hold.
    fn verify(&self) -> impl Future<Output = Result<Verification, Refusal>> + Send;

    /// From now on the datapath tells of packets, to whoever asks for them with [`Node::trace_next`]; one at a time.
    fn trace(
        &self,
        request: TraceRequest,
    ) -> impl Future<Output = Result<TraceStarted, Refusal>> + Send;

    /// The packets since the last time. A trace that nobody asks about ends.
    fn trace_next(
        &self,
        request: TraceNext,
    ) -> impl Future<Output = Result<TraceBatch, Refusal>> + Send;

    /// What another configuration would change; changes nothing.
    fn diff(
        &self,
        request: DiffRequest,
    ) -> impl Future<Output = Result<ConfigDiff, Refusal>> + Send;

    /// Reads the configuration file again and puts it in force, like [`Node::command`]; with `force` whatever it breaks.
    fn reload(&self, force: bool) -> impl Future<Output = Result<Reloaded, Refusal>> + Send;

    /// Waits until every BGP peer has been told what is to be announced now, for at most `time`.
    fn told(&self, time: Duration) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Carries a command out and says in one line what was done and where it holds.
    ///
    /// What it changed is in [`Node::status`] before it answers: the check of `If-Match` rests on that.
    /// [`Command::Handover`] is answered before the agent ends.
    fn command(&self, command: Command) -> impl Future<Output = Result<String, Refusal>> + Send;
}
