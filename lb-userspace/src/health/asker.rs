//! Questions to a running checker: how its targets do, and one check out of turn.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Outcome, Probe, Progress, Target};
use crate::model::Check;

/// Checks out of turn that run at once; more wait.
pub(super) const ASKED_MAX: usize = 4;

/// Asks a [`Checker`](super::Checker), as long as it is there.
#[derive(Clone, Debug)]
pub struct Asker {
    questions: mpsc::Sender<Question>,
}

/// The result of a check out of turn. It has no part in any verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// What it was.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
    /// How long it might have taken.
    pub timeout: Duration,
}

/// What is asked, and where the answer goes.
#[derive(Debug)]
pub(super) enum Question {
    /// How all targets do.
    Progress(oneshot::Sender<BTreeMap<Target, Progress>>),
    /// A check of this target, now; none where it is no target.
    Probe(Target, oneshot::Sender<Option<Probed>>),
}

impl Asker {
    pub(super) fn new() -> (Self, mpsc::Receiver<Question>) {
        let (questions, asked) = mpsc::channel(ASKED_MAX);
        (Self { questions }, asked)
    }

    /// How all targets do; none where the checker has ended.
    pub async fn progress(&self) -> Option<BTreeMap<Target, Progress>> {
        let (reply, answer) = oneshot::channel();
        self.questions.send(Question::Progress(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Checks `target` once, as the checker itself does; none where it is no target (any more).
    pub async fn probe(&self, target: Target) -> Option<Probed> {
        let (reply, answer) = oneshot::channel();
        let question = Question::Probe(target, reply);
        self.questions.send(question).await.ok()?;
        answer.await.ok()?
    }
}

/// One check out of turn; it ends early when nobody waits for it any more.
pub(super) async fn once(
    probe: &impl Probe,
    target: Target,
    check: Check,
    mut reply: oneshot::Sender<Option<Probed>>,
) {
    let started = Instant::now();
    // Cancel-safe: a check that is dropped leaves nothing behind.
    let outcome = tokio::select! {
        outcome = probe.probe(target.address, &check) => outcome,
        () = reply.closed() => return,
    };
    let probed = Probed {
        outcome,
        duration: started.elapsed(),
        timeout: check.timeout,
    };
    // Whoever asked may have left in this moment.
    let _ = reply.send(Some(probed));
}
