//! The task that waits, probes and publishes.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::asker::{ASKED_MAX, Question, once};
use super::{Asker, Board, Jitter, Job, NetworkProbe, Outcome, Probe, Stats, Target, Verdicts};
use crate::model::Check;
use crate::status::Health;

/// How a [`Checker`] runs, apart from what it checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Checks in flight at once; each holds a file descriptor.
    pub concurrency: usize,
    /// Of the jitter.
    pub seed: u64,
    /// Verdicts that change within so long of each other are published together.
    pub gather: Duration,
}

impl Default for Tuning {
    /// Half of the file descriptors this process may open, at most 4096; a seed of this process's own; 10 ms.
    fn default() -> Self {
        // The fallback is what Linux gives by default.
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        Tuning {
            concurrency: (descriptors / 2).clamp(16, 4096) as usize,
            seed: RandomState::new().hash_one(()),
            gather: Duration::from_millis(10),
        }
    }
}

/// Checks targets until it is dropped.
#[derive(Debug)]
pub struct Checker {
    wanted: watch::Sender<BTreeMap<Target, Check>>,
    verdicts: watch::Receiver<Arc<Verdicts>>,
    stats: Arc<Mutex<Stats>>,
    asker: Asker,
    task: JoinHandle<()>,
}

impl Checker {
    /// Starts without targets. `initial` are verdicts of the process before; they come into force for the targets
    /// that the first [`Checker::update`] names. Must be called within a tokio runtime.
    pub fn start(initial: BTreeMap<Target, Health>) -> Self {
        Checker::with(NetworkProbe::default(), initial, Tuning::default())
    }

    /// The same with another probe and tuning.
    pub fn with(probe: impl Probe, initial: BTreeMap<Target, Health>, tuning: Tuning) -> Self {
        let (wanted, wanted_seen) = watch::channel(BTreeMap::new());
        let (published, verdicts) = watch::channel(Arc::new(Verdicts::default()));
        let stats = Arc::new(Mutex::new(Stats::default()));
        let (asker, questions) = Asker::new();
        let driver = Driver {
            board: Board::new(initial, Jitter::new(tuning.seed)),
            tuning,
            wanted: wanted_seen,
            published,
            stats: Arc::clone(&stats),
            questions,
            publish_at: None,
        };
        Checker {
            wanted,
            verdicts,
            stats,
            asker,
            task: tokio::spawn(driver.run(probe)),
        }
    }

    /// Makes `targets` the set that is checked. Targets that stay keep their verdicts.
    pub fn update(&self, targets: BTreeMap<Target, Check>) {
        self.wanted.send_replace(targets);
    }

    /// The latest verdicts. After an update the old set may be seen for a moment: ask [`Verdicts::judged`] about the
    /// targets that matter.
    pub fn watch(&self) -> watch::Receiver<Arc<Verdicts>> {
        self.verdicts.clone()
    }

    /// For questions that the verdicts do not answer.
    pub fn asker(&self) -> Asker {
        self.asker.clone()
    }

    /// Counters since the start.
    pub fn stats(&self) -> Stats {
        lock(&self.stats).clone()
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Driver {
    board: Board,
    tuning: Tuning,
    wanted: watch::Receiver<BTreeMap<Target, Check>>,
    published: watch::Sender<Arc<Verdicts>>,
    stats: Arc<Mutex<Stats>>,
    questions: mpsc::Receiver<Question>,
    /// When what has changed is published; none while nothing has.
    publish_at: Option<Instant>,
}

struct Done {
    job: Job,
    outcome: Outcome,
    duration: Duration,
}

impl Driver {
    async fn run(mut self, probe: impl Probe) {
        let mut in_flight = FuturesUnordered::new();
        let mut out_of_turn = FuturesUnordered::new();
        loop {
            while in_flight.len() < self.tuning.concurrency
                && let Some(job) = self.board.start_due(Instant::now().into_std())
            {
                in_flight.push(make(&probe, job));
            }
            let room = in_flight.len() < self.tuning.concurrency;
            let due = self
                .board
                .next_due()
                .filter(|_| room)
                .map(Instant::from_std);

            // All cancel-safe: the future of a check stays in its set, a change stays marked as unseen.
            tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.board.update(self.wanted.borrow_and_update().clone(), Instant::now().into_std());
                    self.publish_soon();
                }
                Some(done) = in_flight.next() => self.finish(done),
                Some(question) = self.questions.recv(), if out_of_turn.len() < ASKED_MAX => match question {
                    // Whoever asked may have left: nobody is owed an answer, here and below.
                    Question::Progress(reply) => drop(reply.send(self.board.progress())),
                    Question::Probe(target, reply) => match self.board.check(&target).cloned() {
                        Some(check) => out_of_turn.push(once(&probe, target, check, reply)),
                        None => drop(reply.send(None)),
                    },
                },
                Some(()) = out_of_turn.next() => {}
                () = sleep_until_some(due), if due.is_some() => {}
                () = sleep_until_some(self.publish_at), if self.publish_at.is_some() => {
                    self.publish_at = None;
                    self.published.send_replace(Arc::new(self.board.verdicts()));
                }
            }
        }
    }

    fn finish(&mut self, done: Done) {
        let Done {
            job,
            outcome,
            duration,
        } = done;
        let mut stats = lock(&self.stats);
        stats.checked(&job.check.kind, &outcome, duration);
        let reason = match &outcome {
            Outcome::Failure(failure) => Some(failure.to_string()),
            Outcome::Success | Outcome::Inconclusive(_) => None,
        };
        let finished =
            self.board
                .finish(&job.target, job.ticket, outcome, Instant::now().into_std());
        if let Some(health) = finished.changed {
            stats.state_changes_total += 1;
            tracing::info!(pool = %job.target.pool, backend = %job.target.address, ?health, reason, "verdict");
        }
        drop(stats);
        if finished.publish {
            self.publish_soon();
        }
    }

    fn publish_soon(&mut self) {
        self.publish_at
            .get_or_insert_with(|| Instant::now() + self.tuning.gather);
    }
}

async fn make(probe: &impl Probe, job: Job) -> Done {
    let started = Instant::now();
    let outcome = probe.probe(job.target.address, &job.check).await;
    Done {
        job,
        outcome,
        duration: started.elapsed(),
    }
}

async fn sleep_until_some(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

fn lock(stats: &Mutex<Stats>) -> MutexGuard<'_, Stats> {
    // Counters have no invariant that a panic elsewhere could have broken.
    stats.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::health::{CheckResult, Failure, Probed};
    use crate::model::{CheckKind, PoolName};

    const INTERVAL: Duration = Duration::from_secs(2);

    /// Answers as told, after a delay; counts what is in flight.
    #[derive(Clone, Default)]
    struct Scripted(Arc<Script>);

    #[derive(Default)]
    struct Script {
        broken: Mutex<Vec<IpAddr>>,
        delay: Duration,
        in_flight: AtomicUsize,
        most: AtomicUsize,
    }

    impl Scripted {
        fn slow(delay: Duration) -> Self {
            Scripted(Arc::new(Script {
                delay,
                ..Script::default()
            }))
        }

        fn set_broken(&self, broken: &[Target]) {
            *self.0.broken.lock().unwrap() = broken.iter().map(|target| target.address).collect();
        }
    }

    impl Probe for Scripted {
        async fn probe(&self, address: IpAddr, _check: &Check) -> Outcome {
            let now = self.0.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
            self.0.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(self.0.delay).await;
            self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
            match self.0.broken.lock().unwrap().contains(&address) {
                true => Outcome::Failure(Failure::Refused),
                false => Outcome::Success,
            }
        }
    }

    fn target(last: u8) -> Target {
        Target {
            pool: PoolName("web".into()),
            address: [10, 1, 0, last].into(),
        }
    }

    fn wanted(range: impl Iterator<Item = u8>) -> BTreeMap<Target, Check> {
        let kind = CheckKind::Tcp { port: 80 };
        let check = Check {
            kind,
            interval: INTERVAL,
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        };
        range.map(|last| (target(last), check.clone())).collect()
    }

    fn tuning(concurrency: usize) -> Tuning {
        Tuning {
            concurrency,
            seed: 1,
            gather: Duration::from_millis(10),
        }
    }

    async fn wait_for(checker: &Checker, what: impl Fn(&Verdicts) -> bool) -> Arc<Verdicts> {
        let mut verdicts = checker.watch();
        let found = verdicts.wait_for(|verdicts| what(verdicts)).await.unwrap();
        Arc::clone(&found)
    }

    #[tokio::test(start_paused = true)]
    async fn rises_falls_and_rises_in_the_promised_times() {
        let probe = Scripted::default();
        let checker = Checker::with(probe.clone(), BTreeMap::new(), tuning(64));
        let start = Instant::now();
        checker.update(wanted(1..4));
        let first = wait_for(&checker, |verdicts| !verdicts.by_target.is_empty()).await;
        assert_eq!(first.health(&target(1)), Health::Unknown);
        wait_for(&checker, |verdicts| verdicts.full_round()).await;
        assert!(
            start.elapsed() < INTERVAL * 13 / 10,
            "rise 2: a tenth, then an interval and a tenth"
        );
        assert!((1..4).all(|last| checker.watch().borrow().health(&target(last)) == Health::Up));

        probe.set_broken(&[target(2)]);
        let broken_at = Instant::now();
        let down = wait_for(&checker, |verdicts| {
            verdicts.health(&target(2)) == Health::Down
        })
        .await;
        assert!(
            broken_at.elapsed() < INTERVAL * 34 / 10,
            "fall x (interval + a tenth) at most"
        );
        assert_eq!(
            down.by_target[&target(2)].reason.as_deref(),
            Some("connection refused")
        );
        assert_eq!(down.health(&target(1)), Health::Up);

        probe.set_broken(&[]);
        let up = wait_for(&checker, |verdicts| {
            verdicts.health(&target(2)) == Health::Up
        })
        .await;
        assert_eq!(up.by_target[&target(2)].reason, None);
        let stats = checker.stats();
        assert_eq!(stats.state_changes_total, 5);
        assert_eq!(stats.checks_total[&("tcp", CheckResult::Failure)], 3);
        assert!(stats.checks_total[&("tcp", CheckResult::Success)] >= 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_keeps_verdicts_and_forgets_the_removed() {
        let probe = Scripted::default();
        let checker = Checker::with(probe.clone(), BTreeMap::new(), tuning(64));
        checker.update(wanted(1..4));
        wait_for(&checker, |verdicts| {
            verdicts.by_target.len() == 3 && verdicts.full_round()
        })
        .await;
        checker.update(wanted(2..6));
        let after = wait_for(&checker, |verdicts| verdicts.by_target.len() == 4).await;
        assert_eq!(after.health(&target(1)), Health::Unknown);
        assert_eq!(after.health(&target(2)), Health::Up);
        assert!(!after.full_round());
        assert!(after.judged([&target(2), &target(3)]));
        wait_for(&checker, |verdicts| {
            verdicts.health(&target(5)) == Health::Up
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn concurrency_is_bounded_and_everybody_has_a_turn() {
        let probe = Scripted::slow(Duration::from_millis(20));
        let checker = Checker::with(probe.clone(), BTreeMap::new(), tuning(4));
        checker.update(wanted(0..100));
        wait_for(&checker, |verdicts| {
            verdicts.by_target.len() == 100 && verdicts.full_round()
        })
        .await;
        assert_eq!(probe.0.most.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn adopted_verdicts_are_in_force_at_once() {
        let probe = Scripted::default();
        let adopted = [(target(1), Health::Up), (target(2), Health::Down)].into();
        let checker = Checker::with(probe.clone(), adopted, tuning(64));
        checker.update(wanted(1..3));
        let first = wait_for(&checker, |verdicts| !verdicts.by_target.is_empty()).await;
        assert_eq!(
            (first.health(&target(1)), first.health(&target(2))),
            (Health::Up, Health::Down)
        );
        assert!(!first.full_round());
        let round = wait_for(&checker, |verdicts| verdicts.full_round()).await;
        assert_eq!(round.health(&target(2)), Health::Up);
        assert_eq!(
            round.to_keep(),
            [(target(1), Health::Up), (target(2), Health::Up)].into()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_out_of_turn_changes_nothing() {
        let probe = Scripted::slow(Duration::from_millis(20));
        let checker = Checker::with(probe.clone(), BTreeMap::new(), tuning(64));
        checker.update(wanted(1..3));
        wait_for(&checker, |verdicts| {
            verdicts.by_target.len() == 2 && verdicts.full_round()
        })
        .await;
        let asker = checker.asker();
        let before = (checker.watch().borrow().clone(), checker.stats());
        probe.set_broken(&[target(1)]);
        for (last, outcome) in [
            (1, Outcome::Failure(Failure::Refused)),
            (2, Outcome::Success),
        ] {
            let expected = Probed {
                outcome,
                duration: Duration::from_millis(20),
                timeout: Duration::from_secs(1),
            };
            assert_eq!(asker.probe(target(last)).await, Some(expected));
        }
        assert_eq!(asker.probe(target(9)).await, None, "no target");
        let progress = asker.progress().await.unwrap();
        assert_eq!(
            progress[&target(1)].run,
            Some((true, 2)),
            "none of the checker's own"
        );
        assert_eq!((checker.watch().borrow().clone(), checker.stats()), before);
        drop(checker);
        assert_eq!(asker.progress().await, None);
    }

    #[tokio::test]
    async fn real_sockets() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let checker = Checker::start(BTreeMap::new());
        let there = Target {
            pool: PoolName("web".into()),
            address: [127, 0, 0, 1].into(),
        };
        let mut check = wanted(1..2).remove(&target(1)).unwrap();
        (check.kind, check.interval) = (CheckKind::Tcp { port }, Duration::from_millis(20));
        checker.update([(there.clone(), check)].into());
        wait_for(&checker, |verdicts| verdicts.health(&there) == Health::Up).await;
        drop(listener);
        let down = wait_for(&checker, |verdicts| verdicts.health(&there) == Health::Down).await;
        assert_eq!(
            down.by_target[&there].reason.as_deref(),
            Some("connection refused")
        );
    }
}
