use super::*;
use std::vec;
use std::vec::Vec;

/// Of a service with a long timeout.
const TIMEOUT: u16 = 1000;

/// A table, and a pool whose members all may keep their flows unless they are said not to.
struct Stage {
    buckets: Vec<Bucket>,
    now: u16,
    timeout: u16,
    gone: Vec<Member>,
}

impl Stage {
    fn new(buckets: usize) -> Self {
        Self {
            buckets: vec![Bucket::default(); buckets],
            // Ticks wrap in every test.
            now: u16::MAX - 1,
            timeout: TIMEOUT,
            gone: Vec::new(),
        }
    }

    fn place(&self, flow: u64) -> Place {
        Place::new(hash(flow), self.buckets.len() as u32)
    }

    /// A packet of a flow whose row `first` has.
    fn see(&mut self, flow: u64, first: Member) -> (u16, Outcome) {
        self.sight(flow, first, false)
    }

    fn sight(&mut self, flow: u64, first: Member, closes: bool) -> (u16, Outcome) {
        let Place {
            bucket,
            fingerprint,
        } = self.place(flow);
        let sight = Sight {
            fingerprint,
            now: self.now,
            timeout: self.timeout,
            closes,
        };
        let gone = &self.gone;
        let bucket = &mut self.buckets[bucket as usize];
        match bucket.see(&sight, |member| !gone.contains(&member)) {
            Ok(member) => (member.index, Outcome::Known),
            Err(unknown) => (first.index, bucket.meet(&sight, unknown, first)),
        }
    }

    /// Two packets.
    fn begin(&mut self, flow: u64, first: Member) -> Outcome {
        self.see(flow, first);
        self.see(flow, first).1
    }

    fn owner(&self, flow: u64) -> Option<u16> {
        let place = self.place(flow);
        let bucket = &self.buckets[place.bucket as usize];
        let member = bucket.look(&Sight {
            fingerprint: place.fingerprint,
            now: self.now,
            timeout: self.timeout,
            closes: false,
        })?;
        Some(member.index)
    }

    fn entries(&self) -> usize {
        self.buckets.iter().map(Bucket::entries).sum()
    }

    fn pass(&mut self, ticks: u16) {
        self.now = self.now.wrapping_add(ticks);
    }
}

fn hash(flow: u64) -> u64 {
    let x = (flow ^ flow >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 29).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ x >> 32
}

fn member(index: u16) -> Member {
    Member {
        index,
        identity: index ^ 0x5555,
    }
}

#[test]
fn a_flow_is_entered_with_its_second_packet_and_stays_where_it_was() {
    let mut stage = Stage::new(4);
    let (old, new) = (member(3), member(7));
    assert_eq!(stage.see(1, old), (3, Outcome::Noted));
    assert_eq!(stage.entries(), 0);
    assert_eq!(stage.see(1, old), (3, Outcome::Entered));
    assert_eq!(stage.see(1, new), (3, Outcome::Known), "its row has moved");
    stage.pass(5);
    assert_eq!(stage.see(1, new), (3, Outcome::Known));
    assert_eq!(stage.owner(1), Some(3));
    assert_eq!(
        stage.see(2, new),
        (7, Outcome::Noted),
        "another flow goes by the row"
    );
}

#[test]
fn floods_of_flows_of_one_packet_evict_nothing() {
    let mut stage = Stage::new(1024);
    let flows = 0..3000;
    for flow in flows.clone() {
        stage.begin(flow, member(1));
    }
    let kept: Vec<_> = flows.filter(|flow| stage.owner(*flow).is_some()).collect();
    let before: Vec<_> = stage.buckets.iter().map(|b| b.fingerprints).collect();
    for flow in 0..10_000_000 {
        if flow % 100_000 == 0 {
            stage.pass(1);
        }
        let (_, outcome) = stage.see(flow | 1 << 40, member(2));
        assert_eq!(outcome, Outcome::Noted);
    }
    let after: Vec<_> = stage.buckets.iter().map(|b| b.fingerprints).collect();
    assert_eq!(before, after);
    assert!(kept.len() > 2800, "{}", kept.len());
    assert!(kept.into_iter().all(|flow| stage.owner(flow) == Some(1)));
}

/// A flow needs its second packet before so many others have pushed its note out: twice the buckets leaves one in three behind.
#[test]
fn flows_find_their_way_in_while_a_flood_goes_on() {
    let mut stage = Stage::new(1024);
    let mut flood = 1 << 40..;
    let mut entered = 0;
    for flow in 0..1000 {
        stage.see(flow, member(1));
        for other in flood.by_ref().take(1024) {
            stage.see(other, member(2));
        }
        entered += usize::from(stage.see(flow, member(1)).1 != Outcome::Noted);
    }
    assert!(entered > 880, "{entered}");
}

/// However many there are, a flow's second packet enters it, and what is remembered is as much as there is room for.
#[test]
fn no_load_is_a_cliff() {
    for (load, least) in [
        (0.25, 0.995),
        (0.5, 0.97),
        (1.0, 0.82),
        (2.0, 0.49),
        (4.0, 0.249),
    ] {
        let mut stage = Stage::new(2000);
        let room = 2000 * ENTRIES;
        let flows = (room as f64 * load) as u64;
        for flow in 0..flows {
            let outcome = stage.begin(flow, member(1));
            assert!(
                matches!(
                    outcome,
                    Outcome::Entered | Outcome::Replaced | Outcome::Evicted
                ),
                "{flow} of {flows}: {outcome:?}"
            );
            assert_eq!(stage.owner(flow), Some(1), "{flow} of {flows}");
        }
        let kept = (0..flows)
            .filter(|flow| stage.owner(*flow).is_some())
            .count();
        let share = kept as f64 / flows as f64;
        assert!(share >= least, "load {load}: {share}");
    }
}

#[test]
fn flows_of_a_moment_push_each_other_out_and_not_those_that_stay() {
    let mut stage = Stage::new(1);
    for flow in 0..4 {
        stage.begin(flow, member(1));
        stage.pass(1);
        stage.see(flow, member(1));
    }
    assert_eq!(stage.begin(100, member(2)), Outcome::Entered);
    for flow in 101..1000 {
        assert_eq!(stage.begin(flow, member(2)), Outcome::Evicted);
        assert_eq!(stage.owner(flow), Some(2));
    }
    assert!((0..4).all(|flow| stage.owner(flow) == Some(1)));
}

#[test]
fn who_was_silent_for_a_generation_goes_first_whatever_it_was() {
    let mut stage = Stage::new(1);
    for flow in 0..5 {
        stage.begin(flow, member(1));
        stage.pass(1);
        stage.see(flow, member(1));
    }
    stage.pass(GENERATION - 2);
    // All but the first are seen.
    (1..5).for_each(|flow| _ = stage.see(flow, member(1)));
    stage.pass(2);
    assert_eq!(stage.begin(9, member(2)), Outcome::Replaced);
    let kept: Vec<_> = (0..5).filter(|flow| stage.owner(*flow).is_some()).collect();
    assert_eq!(kept, [1, 2, 3, 4]);
}

#[test]
fn of_settled_ones_the_longest_silent_goes() {
    let mut stage = Stage::new(1);
    for flow in 0..5 {
        stage.begin(flow, member(1));
        stage.pass(1);
        stage.see(flow, member(1));
    }
    stage.see(0, member(1));
    assert_eq!(stage.begin(9, member(2)), Outcome::Evicted);
    assert_eq!(stage.owner(1), None);
    assert_eq!(stage.owner(0), Some(1));
}

#[test]
fn a_flow_that_was_silent_for_its_time_goes_by_the_row_and_keeps_its_place() {
    let mut stage = Stage::new(1);
    stage.timeout = 30;
    stage.begin(1, member(1));
    stage.pass(30);
    assert_eq!(stage.see(1, member(2)), (1, Outcome::Known));
    stage.pass(31);
    assert_eq!(stage.owner(1), None);
    assert_eq!(stage.see(1, member(2)), (2, Outcome::Expired));
    assert_eq!(
        stage.see(1, member(3)),
        (2, Outcome::Known),
        "a flow of its own from there on"
    );
    assert_eq!(stage.entries(), 1);
}

#[test]
fn a_closed_flow_is_soon_forgotten_and_the_first_to_go() {
    let mut stage = Stage::new(1);
    for flow in 0..5 {
        stage.begin(flow, member(1));
        stage.pass(1);
        stage.see(flow, member(1));
    }
    assert_eq!(stage.sight(3, member(2), true), (1, Outcome::Known));
    assert_eq!(
        stage.see(3, member(2)),
        (1, Outcome::Known),
        "the last acknowledgments"
    );
    let closed = stage.buckets.clone();
    stage.pass(CLOSED + 1);
    assert_eq!(
        stage.see(3, member(2)),
        (2, Outcome::Expired),
        "its ports used again"
    );
    assert_eq!(stage.see(3, member(4)), (2, Outcome::Known));

    stage.buckets = closed;
    assert_eq!(stage.begin(9, member(2)), Outcome::Replaced);
    assert_eq!(stage.owner(3), None);
}

#[test]
fn a_flow_whose_backend_is_not_there_goes_by_the_row() {
    let mut stage = Stage::new(1);
    stage.begin(1, member(1));
    stage.gone = vec![member(1)];
    assert_eq!(stage.see(1, member(2)), (2, Outcome::Released));
    stage.gone.clear();
    assert_eq!(
        stage.see(1, member(1)),
        (2, Outcome::Known),
        "and stays there"
    );
}

#[test]
fn who_has_the_number_of_a_backend_that_left_gets_none_of_its_flows() {
    let mut stage = Stage::new(1);
    let before = Member {
        index: 4,
        identity: identity([1, 2]),
    };
    let after = Member {
        index: 4,
        identity: identity([1, 3]),
    };
    assert_ne!(before.identity, after.identity);
    stage.begin(1, before);
    stage.gone = vec![before];
    assert_eq!(stage.see(1, member(2)), (2, Outcome::Released));
    stage.gone.clear();
    stage.begin(2, before);
    assert_eq!(
        stage.see(2, after),
        (4, Outcome::Known),
        "the same where it has not left"
    );
}

/// Random flows, members and pauses: a packet goes to the flow's backend, or the outcome says why it goes by the row.
#[test]
fn no_entry_names_another_backend_than_its_flow_had() {
    let mut stage = Stage::new(16);
    let mut owners = vec![None; 200];
    for step in 0..400_000_u64 {
        let dice = hash(step);
        let flow = dice % 200;
        let first = member((dice >> 20) as u16 % 8);
        if dice >> 32 & 0xff == 0 {
            stage.pass((dice >> 40) as u16 % 300);
        }
        if dice >> 32 & 0xfff == 1 {
            stage.gone = vec![member((dice >> 44) as u16 % 8)];
        }
        let owner = &mut owners[flow as usize];
        let closes = dice >> 50 & 63 == 0;
        let (index, outcome) = stage.sight(flow, first, closes);
        match outcome {
            Outcome::Known => assert_eq!(Some(index), *owner),
            _ => assert_eq!(index, first.index),
        }
        *owner = (outcome != Outcome::Noted).then_some(index);
        assert!(stage.entries() <= 16 * ENTRIES);
    }
}

#[test]
fn places_are_spread_evenly_and_inside_the_table() {
    let mut load = [0_u32; 100];
    for flow in 0..100_000 {
        let place = Place::new(hash(flow), 100);
        load[place.bucket as usize] += 1;
        assert_ne!(place.fingerprint, 0);
    }
    assert!(
        load.iter().all(|&flows| flows.abs_diff(1000) < 160),
        "{load:?}"
    );
    assert_eq!(Place::new(u64::MAX, 7).bucket, 6);
    assert_eq!(Place::new(0xffff_ffff_0000_0000, 7).fingerprint, 1);
}

#[test]
fn a_tick_is_about_a_second() {
    for (jiffies_per_sec, jiffies) in [(100, 128), (250, 256), (300, 256), (1000, 1024)] {
        assert_eq!(1 << tick_shift(jiffies_per_sec), jiffies);
    }
    assert_eq!(tick_shift(0), 0);
}
