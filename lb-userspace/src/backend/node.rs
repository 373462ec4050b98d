//! The agent as the admin API and the metrics listener see it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::api::Node;
use crate::status::{
    BpfState, Command, ConfigDiff, Counters, DiffRequest, Envelope, ExplainRequest, Explanation,
    HealthList, NodeStatus, ProbeReport, ProbeRequest, Refusal, Reloaded, RouteList, TraceBatch,
    TraceNext, TraceRequest, TraceStarted, Verification,
};

/// A question to the agent's loop, and where the answer goes.
pub enum Request {
    /// The host shall be no backend any more.
    Stop,
    /// The configuration shall be read again; whether it could be is in the log.
    Hangup,
    /// [`Node::counters`].
    Counters(oneshot::Sender<Result<Counters, Refusal>>),
    /// [`Node::bpf`].
    Bpf(oneshot::Sender<Result<BpfState, Refusal>>),
    /// [`Node::verify`].
    Verify(oneshot::Sender<Result<Verification, Refusal>>),
    /// [`Node::command`].
    Command(Command, oneshot::Sender<Result<String, Refusal>>),
}

/// Asks the agent's loop.
pub struct BackendNode {
    /// To the loop.
    pub requests: mpsc::Sender<Request>,
    /// From the loop.
    pub status: watch::Receiver<Arc<Envelope<NodeStatus>>>,
}

impl BackendNode {
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Request,
    ) -> Result<T, Refusal> {
        let ending = || Refusal::failed("the agent is ending");
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(request(reply)).await;
        sent.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }
}

impl Node for BackendNode {
    fn status(&self) -> Arc<Envelope<NodeStatus>> {
        Arc::clone(&self.status.borrow())
    }

    fn routes(&self) -> RouteList {
        RouteList { peers: Vec::new() }
    }

    async fn counters(&self) -> Result<Counters, Refusal> {
        self.ask(Request::Counters).await
    }

    async fn explain(&self, _: ExplainRequest) -> Result<Explanation, Refusal> {
        Err(Refusal::refused(
            "a backend chooses no backend: ask an LB node",
        ))
    }

    async fn health(&self) -> Result<HealthList, Refusal> {
        Err(checks_nobody())
    }

    async fn probe(&self, _: ProbeRequest) -> Result<ProbeReport, Refusal> {
        Err(checks_nobody())
    }

    async fn bpf(&self) -> Result<BpfState, Refusal> {
        self.ask(Request::Bpf).await
    }

    async fn verify(&self) -> Result<Verification, Refusal> {
        self.ask(Request::Verify).await
    }

    async fn trace(&self, _: TraceRequest) -> Result<TraceStarted, Refusal> {
        Err(traces_nothing())
    }

    async fn trace_next(&self, _: TraceNext) -> Result<TraceBatch, Refusal> {
        Err(traces_nothing())
    }

    async fn diff(&self, _: DiffRequest) -> Result<ConfigDiff, Refusal> {
        Err(Refusal::refused(
            "a backend has no rows and no routes to compare: `anylb check` reads its file",
        ))
    }

    async fn reload(&self, _force: bool) -> Result<Reloaded, Refusal> {
        // Nothing that is in the file of a backend has to be forced.
        let message = self.command(Command::Reload).await?;
        Ok(Reloaded {
            message,
            diff: ConfigDiff::default(),
        })
    }

    async fn told(&self, _: Duration) -> Result<(), Refusal> {
        Ok(())
    }

    async fn command(&self, command: Command) -> Result<String, Refusal> {
        self.ask(|reply| Request::Command(command, reply)).await
    }
}

fn traces_nothing() -> Refusal {
    Refusal::refused(
        "only an LB node tells of packets: `anylb drops` says why this backend drops some",
    )
}

fn checks_nobody() -> Refusal {
    Refusal::refused("a backend checks nobody: ask an LB node")
}
