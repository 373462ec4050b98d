//! Every target, its machine, and when it is due.
//!
//! The driver asks what is due, probes, and reports back; the board never waits itself. One check per target is in
//! flight at most. The next one starts an interval after the start of the last (give or take a tenth), or at once
//! when that one took longer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{Jitter, Last, Machine, Outcome, Progress, Target, Thresholds, Verdict, Verdicts};
use crate::model::Check;
use crate::status::Health;

/// Names one check in flight, so that a late result cannot be taken for that of a later check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// A check to be made now.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// To be handed back with the result.
    pub ticket: Ticket,
    /// Whom to ask.
    pub target: Target,
    /// How.
    pub check: Check,
}

/// What a result led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// The verdict changed to this.
    pub changed: Option<Health>,
    /// What [`Board::verdicts`] returns has changed.
    pub publish: bool,
}

/// All targets.
#[derive(Debug)]
pub struct Board {
    entries: BTreeMap<Target, Entry>,
    /// Targets without a check in flight, by the time of their next one.
    due: BTreeSet<(Instant, Target)>,
    adopted: BTreeMap<Target, Health>,
    jitter: Jitter,
    tickets: u64,
}

#[derive(Debug)]
struct Entry {
    check: Check,
    machine: Machine,
    reason: Option<String>,
    since: Instant,
    last: Option<Last>,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting { due: Instant },
    InFlight { ticket: Ticket, started: Instant },
}

impl Board {
    /// `adopted` are verdicts of the process before; those that the first update does not name are forgotten.
    pub fn new(adopted: BTreeMap<Target, Health>, jitter: Jitter) -> Self {
        Board {
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            adopted,
            jitter,
            tickets: 0,
        }
    }

    /// Makes `wanted` the set of targets. Those that stay keep verdict and evidence; one whose check tries something
    /// else now keeps its verdict only, and is asked soon.
    pub fn update(&mut self, wanted: BTreeMap<Target, Check>, now: Instant) {
        let gone: Vec<Target> = self
            .entries
            .keys()
            .filter(|target| !wanted.contains_key(target))
            .cloned()
            .collect();
        for target in gone {
            self.remove(&target);
        }
        for (target, check) in wanted {
            match self.entries.get(&target) {
                None => self.insert(target, check, now),
                Some(entry) if entry.check != check => self.change(target, check, now),
                Some(_) => {}
            }
        }
        self.adopted.clear();
    }

    /// When the next target is due; none while all are in flight.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The next check that is due; the caller makes it and reports to [`Board::finish`].
    pub fn start_due(&mut self, now: Instant) -> Option<Job> {
        if self.next_due()? > now {
            return None;
        }
        let (_, target) = self.due.pop_first()?;
        // Everything in `due` has an entry: `remove` takes it out of both.
        let entry = self.entries.get_mut(&target)?;
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        entry.state = State::InFlight {
            ticket,
            started: now,
        };
        Some(Job {
            ticket,
            check: entry.check.clone(),
            target,
        })
    }

    /// Takes the result of a job. That of a target or check which is no longer wanted is ignored.
    pub fn finish(
        &mut self,
        target: &Target,
        ticket: Ticket,
        outcome: Outcome,
        now: Instant,
    ) -> Finished {
        let Some(entry) = self.entries.get_mut(target) else {
            return Finished::default();
        };
        let State::InFlight {
            ticket: current,
            started,
        } = entry.state
        else {
            return Finished::default();
        };
        if current != ticket {
            return Finished::default();
        }
        let due = (started + self.jitter.around(entry.check.interval)).max(now);
        entry.state = State::Waiting { due };
        self.due.insert((due, target.clone()));
        entry.take(outcome, now)
    }

    /// The state of all targets.
    pub fn verdicts(&self) -> Verdicts {
        let by_target = self
            .entries
            .iter()
            .map(|(target, entry)| (target.clone(), entry.verdict()))
            .collect();
        Verdicts { by_target }
    }

    /// How all targets do.
    pub fn progress(&self) -> BTreeMap<Target, Progress> {
        let entries = self.entries.iter();
        entries
            .map(|(target, entry)| (target.clone(), entry.progress()))
            .collect()
    }

    /// How a target is checked; none where it is no target.
    pub fn check(&self, target: &Target) -> Option<&Check> {
        self.entries.get(target).map(|entry| &entry.check)
    }

    fn insert(&mut self, target: Target, check: Check, now: Instant) {
        let initial = self.adopted.get(&target).copied().unwrap_or_default();
        let due = now + self.jitter.first(check.interval);
        self.due.insert((due, target.clone()));
        let state = State::Waiting { due };
        self.entries.insert(
            target,
            Entry {
                check,
                machine: Machine::new(initial),
                reason: None,
                since: now,
                last: None,
                state,
            },
        );
    }

    fn remove(&mut self, target: &Target) {
        if let Some(Entry {
            state: State::Waiting { due },
            ..
        }) = self.entries.remove(target)
        {
            self.due.remove(&(due, target.clone()));
        }
    }

    fn change(&mut self, target: Target, check: Check, now: Instant) {
        let soon = now + self.jitter.first(check.interval);
        let later = now + self.jitter.around(check.interval);
        let Some(entry) = self.entries.get_mut(&target) else {
            return;
        };
        let other_question = entry.check.kind != check.kind;
        entry.check = check;
        if other_question {
            entry.machine.void_evidence();
        }
        let due = match entry.state {
            State::Waiting { due } => {
                self.due.remove(&(due, target.clone()));
                if other_question { soon } else { due.min(later) }
            }
            State::InFlight { .. } if other_question => soon,
            State::InFlight { .. } => return,
        };
        entry.state = State::Waiting { due };
        self.due.insert((due, target));
    }
}

impl Entry {
    fn take(&mut self, outcome: Outcome, now: Instant) -> Finished {
        let thresholds = self.thresholds();
        self.last = Some(Last {
            outcome: outcome.clone(),
            at: now,
        });
        let before = (self.machine.judged(), self.reason.clone());
        let changed = match outcome {
            Outcome::Success => self.machine.observe(true, thresholds),
            Outcome::Failure(failure) => {
                let changed = self.machine.observe(false, thresholds);
                self.reason = Some(failure.to_string());
                changed
            }
            Outcome::Inconclusive(why) => {
                self.reason = Some(format!("not checked: {why}"));
                None
            }
        };
        if self.machine.health() == Health::Up {
            self.reason = None;
        }
        if changed.is_some() {
            self.since = now;
        }
        let publish = changed.is_some() || before != (self.machine.judged(), self.reason.clone());
        Finished { changed, publish }
    }

    fn thresholds(&self) -> Thresholds {
        Thresholds {
            rise: self.check.rise,
            fall: self.check.fall,
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            health: self.machine.health(),
            since: self.since,
            judged: self.machine.judged(),
            run: self.machine.run(),
            thresholds: self.thresholds(),
            last: self.last.clone(),
            next: match self.state {
                State::Waiting { due } => Some(due),
                State::InFlight { .. } => None,
            },
        }
    }

    fn verdict(&self) -> Verdict {
        Verdict {
            health: self.machine.health(),
            reason: self.reason.clone(),
            since: self.since,
            judged: self.machine.judged(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::health::Failure;
    use crate::model::{CheckKind, PoolName};

    const INTERVAL: Duration = Duration::from_secs(2);

    fn target(last: u8) -> Target {
        Target {
            pool: PoolName("web".into()),
            address: [10, 1, 0, last].into(),
        }
    }

    fn check(port: u16) -> Check {
        Check {
            kind: CheckKind::Tcp { port },
            interval: INTERVAL,
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        }
    }

    fn wanted(range: impl Iterator<Item = u8>) -> BTreeMap<Target, Check> {
        range.map(|last| (target(last), check(80))).collect()
    }

    fn board(adopted: BTreeMap<Target, Health>) -> Board {
        Board::new(adopted, Jitter::new(1))
    }

    /// Runs the board for `time` with instant answers; returns how many checks each target had.
    fn play(
        board: &mut Board,
        from: Instant,
        time: Duration,
        answer: impl Fn(&Target) -> Outcome,
    ) -> BTreeMap<Target, Vec<Instant>> {
        let mut checks = BTreeMap::<Target, Vec<Instant>>::new();
        while let Some(now) = board.next_due().filter(|due| *due < from + time) {
            let job = board.start_due(now).unwrap();
            let outcome = answer(&job.target);
            board.finish(&job.target, job.ticket, outcome, now);
            checks.entry(job.target).or_default().push(now);
        }
        checks
    }

    #[test]
    fn everybody_is_asked_once_per_interval_give_or_take_a_tenth() {
        let (mut board, start) = (board(BTreeMap::new()), Instant::now());
        board.update(wanted(0..50), start);
        let checks = play(&mut board, start, INTERVAL * 20, |_| Outcome::Success);
        assert_eq!(checks.len(), 50);
        for times in checks.values() {
            assert!(
                times[0] < start + INTERVAL / 10,
                "the first check comes soon"
            );
            for pair in times.windows(2) {
                let gap = pair[1] - pair[0];
                assert!(
                    gap >= INTERVAL * 9 / 10 && gap < INTERVAL * 11 / 10,
                    "{gap:?}"
                );
            }
        }
        assert!(board.verdicts().full_round());
    }

    #[test]
    fn progress_counts_towards_the_next_verdict() {
        let (mut board, start) = (board(BTreeMap::new()), Instant::now());
        board.update(wanted(1..2), start);
        let of = |board: &Board| board.progress().remove(&target(1)).unwrap();
        let first = of(&board);
        assert_eq!(
            (first.health, first.run, first.last),
            (Health::Unknown, None, None)
        );
        assert!(first.next.is_some_and(|next| next < start + INTERVAL / 10));

        let now = first.next.unwrap();
        let job = board.start_due(now).unwrap();
        assert_eq!(of(&board).next, None, "in flight");
        let refused = Outcome::Failure(Failure::Refused);
        board.finish(&job.target, job.ticket, refused.clone(), now);
        let after = of(&board);
        assert_eq!(after.run, Some((false, 1)));
        assert_eq!(after.thresholds, Thresholds { rise: 2, fall: 3 });
        assert_eq!(
            after.last,
            Some(Last {
                outcome: refused,
                at: now
            })
        );
        assert!(after.next.is_some_and(|next| next > now));

        let later = now + INTERVAL * 2;
        let job = board.start_due(later).unwrap();
        let unasked = Outcome::Inconclusive("no port".into());
        board.finish(&job.target, job.ticket, unasked.clone(), later);
        let after = of(&board);
        assert_eq!(
            after.run,
            Some((false, 1)),
            "says nothing about the backend"
        );
        assert_eq!(after.last.map(|last| last.outcome), Some(unasked));
    }

    #[test]
    fn a_slow_check_does_not_delay_the_next_one_and_is_alone() {
        let (mut board, start) = (board(BTreeMap::new()), Instant::now());
        board.update(wanted(1..2), start);
        let started = board.next_due().unwrap();
        let job = board.start_due(started).unwrap();
        assert_eq!(
            board.start_due(started + INTERVAL * 5),
            None,
            "one check in flight per target"
        );
        board.finish(
            &job.target,
            job.ticket,
            Outcome::Success,
            started + INTERVAL / 2,
        );
        assert!(
            board.next_due().unwrap() < started + INTERVAL * 11 / 10,
            "counted from the start of the last"
        );

        let due = board.next_due().unwrap();
        let job = board.start_due(due).unwrap();
        board.finish(
            &job.target,
            job.ticket,
            Outcome::Success,
            due + INTERVAL * 5,
        );
        assert_eq!(
            board.next_due(),
            Some(due + INTERVAL * 5),
            "overdue: at once"
        );
    }

    #[test]
    fn adopted_verdicts_hold_until_judged_and_only_for_the_first_set() {
        let start = Instant::now();
        let mut board = board(
            [
                (target(1), Health::Up),
                (target(2), Health::Up),
                (target(9), Health::Up),
            ]
            .into(),
        );
        board.update(wanted(1..3), start);
        assert_eq!(board.verdicts().health(&target(1)), Health::Up);
        assert!(!board.verdicts().full_round());
        play(&mut board, start, INTERVAL * 4, |asked| {
            if *asked == target(1) {
                Outcome::Success
            } else {
                Outcome::Failure(Failure::Refused)
            }
        });
        let verdicts = board.verdicts();
        assert!(verdicts.full_round());
        assert_eq!(verdicts.health(&target(1)), Health::Up);
        assert_eq!(verdicts.by_target[&target(2)].health, Health::Down);
        assert_eq!(
            verdicts.by_target[&target(2)].reason.as_deref(),
            Some("connection refused")
        );

        board.update(wanted(1..10), start + INTERVAL * 4);
        assert_eq!(
            board.verdicts().health(&target(9)),
            Health::Unknown,
            "a verdict that old is worth nothing"
        );
        assert_eq!(
            board.verdicts().health(&target(1)),
            Health::Up,
            "those that stay keep theirs"
        );
    }

    #[test]
    fn inconclusive_checks_change_no_verdict() {
        let (mut board, start) = (board([(target(1), Health::Up)].into()), Instant::now());
        board.update(wanted(1..3), start);
        play(&mut board, start, INTERVAL * 9, |_| {
            Outcome::Inconclusive("no file descriptor".into())
        });
        let verdicts = board.verdicts();
        assert_eq!(verdicts.health(&target(1)), Health::Up);
        assert_eq!(verdicts.health(&target(2)), Health::Unknown);
        assert_eq!(
            verdicts.by_target[&target(2)].reason.as_deref(),
            Some("not checked: no file descriptor")
        );
        assert!(!verdicts.full_round());
    }

    #[test]
    fn late_results_of_a_check_no_longer_wanted_are_ignored() {
        let (mut board, start) = (board([(target(1), Health::Up)].into()), Instant::now());
        let mut once = check(80);
        once.fall = 1;
        board.update([(target(1), once.clone())].into(), start);
        let old = board.start_due(start + INTERVAL).unwrap();

        once.kind = CheckKind::Tcp { port: 81 };
        board.update([(target(1), once.clone())].into(), start + INTERVAL);
        assert!(
            board.next_due().unwrap() < start + INTERVAL * 11 / 10,
            "the new question is asked soon"
        );
        let finished = board.finish(
            &old.target,
            old.ticket,
            Outcome::Failure(Failure::Refused),
            start + INTERVAL,
        );
        assert_eq!(finished, Finished::default());
        assert_eq!(board.verdicts().health(&target(1)), Health::Up);

        let new = board.start_due(start + INTERVAL * 2).unwrap();
        assert_eq!(new.check, once);
        let finished = board.finish(
            &old.target,
            old.ticket,
            Outcome::Failure(Failure::Refused),
            start + INTERVAL * 2,
        );
        assert_eq!(
            finished,
            Finished::default(),
            "another check of the target is in flight"
        );
        board.update(BTreeMap::new(), start + INTERVAL * 2);
        let finished = board.finish(
            &new.target,
            new.ticket,
            Outcome::Failure(Failure::Refused),
            start + INTERVAL * 2,
        );
        assert_eq!(finished, Finished::default(), "the target is gone");
        assert_eq!(board.next_due(), None);
    }

    #[test]
    fn a_shorter_interval_counts_from_now_on() {
        let (mut board, start) = (board(BTreeMap::new()), Instant::now());
        board.update(wanted(1..2), start);
        let job = board.start_due(start + INTERVAL / 10).unwrap();
        board.finish(
            &job.target,
            job.ticket,
            Outcome::Success,
            start + INTERVAL / 10,
        );
        let quick = Check {
            interval: INTERVAL / 20,
            ..check(80)
        };
        board.update([(target(1), quick)].into(), start + INTERVAL / 10);
        assert!(board.next_due().unwrap() < start + INTERVAL / 10 + INTERVAL / 15);
    }

    #[test]
    fn the_reason_is_kept_while_down_and_goes_when_up() {
        let (mut board, start) = (board(BTreeMap::new()), Instant::now());
        board.update(wanted(1..2), start);
        let mut say = |outcome: Outcome| {
            let now = board.next_due().unwrap();
            let job = board.start_due(now).unwrap();
            let finished = board.finish(&job.target, job.ticket, outcome, now);
            let verdict = board.verdicts().by_target[&target(1)].clone();
            (
                finished.changed,
                finished.publish,
                verdict.reason,
                verdict.since == now,
            )
        };
        let refused = || Some("connection refused".to_owned());
        assert_eq!(
            say(Outcome::Failure(Failure::Refused)),
            (None, true, refused(), false)
        );
        assert_eq!(
            say(Outcome::Failure(Failure::Refused)),
            (None, false, refused(), false)
        );
        assert_eq!(
            say(Outcome::Failure(Failure::Refused)),
            (Some(Health::Down), true, refused(), true)
        );
        assert_eq!(say(Outcome::Success), (None, false, refused(), false));
        assert_eq!(say(Outcome::Success), (Some(Health::Up), true, None, true));
        assert_eq!(
            say(Outcome::Failure(Failure::NoRoute)),
            (None, false, None, false)
        );
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Update(Vec<(u8, u16)>),
        Advance(u64),
        Start,
        Finish { nth: usize, success: bool },
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let one = prop_oneof![
            proptest::collection::vec((0u8..5, 80u16..82), 0..5).prop_map(Operation::Update),
            (0u64..3_000).prop_map(Operation::Advance),
            Just(Operation::Start),
            (any::<usize>(), any::<bool>())
                .prop_map(|(nth, success)| Operation::Finish { nth, success }),
        ];
        proptest::collection::vec(one, 0..80)
    }

    proptest! {
        /// Whatever happens, the targets are those of the last update, and each is waiting once or in flight.
        #[test]
        fn no_target_is_lost_or_doubled(operations in operations()) {
            let mut now = Instant::now();
            let mut board = board(BTreeMap::new());
            let mut wanted = BTreeMap::new();
            let mut jobs: Vec<Job> = Vec::new();
            for operation in operations {
                match operation {
                    Operation::Update(list) => {
                        wanted = list.into_iter().map(|(last, port)| (target(last), check(port))).collect();
                        board.update(wanted.clone(), now);
                    }
                    Operation::Advance(ms) => now += Duration::from_millis(ms),
                    Operation::Start => jobs.extend(board.start_due(now)),
                    Operation::Finish { nth, success } if !jobs.is_empty() => {
                        let job = jobs.swap_remove(nth % jobs.len());
                        let outcome = if success { Outcome::Success } else { Outcome::Failure(Failure::Refused) };
                        board.finish(&job.target, job.ticket, outcome, now);
                    }
                    Operation::Finish { .. } => {}
                }
                prop_assert!(board.verdicts().by_target.keys().eq(wanted.keys()));
                for (target, entry) in &board.entries {
                    let queued: Vec<Instant> =
                        board.due.iter().filter(|(_, queued)| queued == target).map(|(due, _)| *due).collect();
                    match entry.state {
                        State::Waiting { due } => prop_assert_eq!(queued, vec![due]),
                        State::InFlight { .. } => prop_assert!(queued.is_empty()),
                    }
                    prop_assert_eq!(&entry.check, &wanted[target]);
                }
                prop_assert!(board.due.iter().all(|(_, target)| wanted.contains_key(target)));
            }
        }
    }
}
