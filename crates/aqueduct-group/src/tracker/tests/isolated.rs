use std::collections::BTreeSet;

use aqueduct_core::StoredAttempts;
use proptest::prelude::*;

use super::*;

fn isolated(until: u64, attempts: Option<StoredAttempts>) -> Tracker {
    let takeover = Takeover {
        attempts,
        isolated_until: Some(Position::new(until)),
        ..Takeover::default()
    };
    Tracker::new(OPTIONS, START, Some(Position::new(until)), takeover)
}

fn commit(tracker: &mut Tracker) {
    let progress = tracker.progress();
    tracker.committed(&progress);
}

#[test]
fn one_event_at_a_time_each_after_a_durable_mark() {
    let mut tracker = isolated(2, None);
    tracker.fetched(records("abcd"), at(0));
    assert!(take(&mut tracker, 9, at(0)).is_empty());
    assert!(tracker.mark_needed(at(0)));
    assert!(take(&mut tracker, 9, at(0)).is_empty(), "not durable yet");
    let progress = tracker.progress();
    assert!(progress.urgent);
    let mark = progress.attempts.unwrap();
    assert_eq!(
        (mark.position, mark.count, mark.started),
        (Position::new(1), 1, true)
    );
    tracker.committed(&progress);
    assert!(!tracker.mark_needed(at(0)));
    let first = take(&mut tracker, 9, at(0));
    assert_eq!(positions(&first), [1]);
    assert!(take(&mut tracker, 9, at(0)).is_empty());
    assert_eq!(
        tracker.progress().attempts,
        Some(mark),
        "a renewal keeps the mark"
    );
    assert!(ack(&mut tracker, &first[0]).unwrap().deliverable);
    let progress = tracker.progress();
    assert!(progress.urgent && progress.attempts.is_none());
    assert!(tracker.mark_needed(at(0)));
    commit(&mut tracker);
    let second = take(&mut tracker, 9, at(0));
    assert_eq!(positions(&second), [2]);
    ack(&mut tracker, &second[0]).unwrap();
    assert!(!tracker.mark_needed(at(0)));
    assert_eq!(positions(&take(&mut tracker, 9, at(0))), [3, 4]);
}

#[test]
fn a_failing_event_lets_other_keys_run_alone_too() {
    let mut tracker = isolated(3, None);
    tracker.fetched(records("aab"), at(0));
    assert!(tracker.mark_needed(at(0)));
    commit(&mut tracker);
    let first = take(&mut tracker, 9, at(0));
    nack(&mut tracker, &first[0], at(0), 100);
    let progress = tracker.progress();
    let attempts = progress.attempts.unwrap();
    assert!(progress.urgent && !attempts.started && attempts.count == 1);
    assert!(tracker.mark_needed(at(0)));
    commit(&mut tracker);
    assert_eq!(positions(&take(&mut tracker, 9, at(0))), [3]);
    assert!(
        !tracker.mark_needed(at(200)),
        "one is due, another is running"
    );
    assert!(take(&mut tracker, 9, at(200)).is_empty());
}

#[test]
fn after_a_death_in_isolation_a_failing_event_is_settled_before_the_one_behind_it_is_tried() {
    let stored = StoredAttempts {
        position: Position::new(2),
        count: 1,
        started: true,
    };
    let mut tracker = isolated(2, Some(stored));
    tracker.fetched(records("ab"), at(0));
    for attempt in 1..=2 {
        assert!(tracker.mark_needed(at(attempt * 200)));
        commit(&mut tracker);
        let first = take(&mut tracker, 9, at(attempt * 200));
        assert_eq!(positions(&first), [1]);
        nack(&mut tracker, &first[0], at(attempt * 200), 100);
        commit(&mut tracker);
        // Its attempts would be replaced by those of the event that kills, in this life and in each other.
        assert!(!tracker.mark_needed(at(attempt * 200)));
    }
    assert!(tracker.mark_needed(at(600)));
    commit(&mut tracker);
    let first = take(&mut tracker, 9, at(600));
    ack(&mut tracker, &first[0]).unwrap();
    assert!(tracker.mark_needed(at(600)));
    commit(&mut tracker);
    let second = take(&mut tracker, 9, at(600));
    assert_eq!((position(&second[0]), second[0].attempt), (2, 2));
}

#[test]
fn a_mark_found_after_a_crash_is_an_attempt_and_a_release_takes_it_back() {
    let stored = StoredAttempts {
        position: Position::new(1),
        count: 1,
        started: true,
    };
    let mut tracker = isolated(2, Some(stored));
    assert_eq!(
        tracker.progress().attempts,
        Some(stored),
        "kept until it is read"
    );
    tracker.fetched(records("ab"), at(0));
    assert!(tracker.mark_needed(at(0)));
    commit(&mut tracker);
    let out = take(&mut tracker, 9, at(0));
    assert_eq!(out[0].attempt, 2);
    assert_eq!(tracker.progress().attempts.unwrap().count, 2);
    tracker.revoke_all(Revocation::HandedOff);
    let attempts = tracker.progress().attempts.unwrap();
    assert_eq!((attempts.count, attempts.started), (1, false));
}

#[test]
fn attempts_count_only_for_the_position_that_they_name() {
    let stored = StoredAttempts {
        position: Position::new(2),
        count: 4,
        started: true,
    };
    let mut tracker = isolated(1, Some(stored));
    tracker.fetched(vec![record(1, None), record(3, None)], at(0));
    tracker.mark_needed(at(0));
    commit(&mut tracker);
    let first = take(&mut tracker, 9, at(0));
    assert_eq!(first[0].attempt, 1);
    ack(&mut tracker, &first[0]).unwrap();
    assert_eq!(take(&mut tracker, 9, at(0))[0].attempt, 1);
}

#[test]
fn after_an_unclean_take_over_hand_outs_wait_until_they_are_announced() {
    let takeover = Takeover {
        announce: true,
        ..Takeover::default()
    };
    let mut tracker = Tracker::new(OPTIONS, START, Some(Position::new(1)), takeover);
    assert!(!tracker.progress().urgent);
    tracker.fetched(records("aab"), at(0));
    assert_eq!(positions(&take(&mut tracker, 9, at(0))), [1]);
    let progress = tracker.progress();
    assert!(progress.urgent);
    assert_eq!(progress.handed_out, Some(Position::new(3)));
    tracker.committed(&progress);
    assert!(!tracker.progress().urgent);
    let rest = take(&mut tracker, 9, at(0));
    assert_eq!(positions(&rest), [3], "a is out in another take");
}

#[test]
fn announcing_ends_once_what_was_announced_first_is_settled() {
    let takeover = Takeover {
        announce: true,
        ..Takeover::default()
    };
    let mut tracker = Tracker::new(OPTIONS, START, None, takeover);
    for first in [1, 3] {
        tracker.fetched(records_from(first, "ab"), at(0));
        assert!(tracker.progress().urgent);
        commit(&mut tracker);
    }
    for parts in take(&mut tracker, 2, at(0)) {
        ack(&mut tracker, &parts).unwrap();
    }
    tracker.fetched(records_from(5, "a"), at(0));
    assert!(!tracker.progress().urgent);
    assert_eq!(positions(&take(&mut tracker, 9, at(0))), [3, 4, 5]);
}

#[test]
fn what_lies_behind_the_doubt_flows_but_never_beside_an_event_that_runs_alone() {
    let mut tracker = isolated(1, None);
    tracker.fetched(records("abcd"), at(0));
    assert!(tracker.mark_needed(at(0)));
    commit(&mut tracker);
    let first = take(&mut tracker, 9, at(0));
    nack(&mut tracker, &first[0], at(0), 100);
    let others = take(&mut tracker, 2, at(0));
    assert_eq!(positions(&others), [2, 3]);
    assert!(!tracker.mark_needed(at(100)), "b and c are running");
    assert!(
        take(&mut tracker, 9, at(100)).is_empty(),
        "a comes before d"
    );
    assert!(!ack(&mut tracker, &others[0]).unwrap().deliverable);
    assert!(ack(&mut tracker, &others[1]).unwrap().deliverable);
    assert!(tracker.mark_needed(at(100)));
    commit(&mut tracker);
    let again = take(&mut tracker, 9, at(100));
    assert_eq!((positions(&again), again[0].attempt), (vec![1], 2));
    ack(&mut tracker, &again[0]).unwrap();
    assert_eq!(positions(&take(&mut tracker, 9, at(100))), [4]);
}

/// One owner after another, each killed by the first poison that it runs.
struct Partition {
    keys: Vec<u8>,
    poison: BTreeSet<u64>,
    ack_floor: Checkpoint,
    handed_out: Option<Position>,
    attempts: Option<StoredAttempts>,
    handled: BTreeSet<u64>,
    dead_letters: BTreeSet<u64>,
}

impl Partition {
    /// Runs one owner; returns whether it lived until everything was settled.
    fn own(&mut self, takeover: Takeover, width: usize, mut random: u64) -> bool {
        let mut tracker = Tracker::new(OPTIONS, self.ack_floor, self.handed_out, takeover);
        let all: Vec<_> = (1..)
            .zip(&self.keys)
            .map(|(position, key)| record(position, Some(&key.to_string())))
            .collect();
        let last = all.len() as u64;
        for batch in all.chunks(width * 2) {
            tracker.fetched(batch.to_vec(), at(0));
        }
        let mut held: Vec<Parts> = Vec::new();
        while ack_floor(&tracker) != Some(last) {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let draw = (random >> 33) as usize;
            if tracker.mark_needed(at(0)) || tracker.progress().urgent || draw.is_multiple_of(11) {
                self.commit(&mut tracker);
            }
            held.extend(take(&mut tracker, width, at(0)));
            assert!(!held.is_empty() || tracker.mark_needed(at(0)), "stuck");
            let next = held.iter().position(|parts| {
                !held.iter().any(|other| {
                    other.event.key() == parts.event.key() && other.position < parts.position
                })
            });
            let Some(next) = next else { continue };
            let parts = held.remove((next + draw % 2).min(next));
            if self.handle(&parts) {
                return false;
            }
            ack(&mut tracker, &parts).unwrap();
        }
        self.commit(&mut tracker);
        true
    }

    /// Returns whether it killed the process.
    fn handle(&mut self, parts: &Parts) -> bool {
        let position = position(parts);
        if parts.attempt > 3 {
            self.dead_letters.insert(position);
            return false;
        }
        if self.poison.contains(&position) {
            return true;
        }
        assert_eq!(parts.attempt, 1, "{position} never failed");
        self.handled.insert(position);
        false
    }

    fn commit(&mut self, tracker: &mut Tracker) {
        let progress = tracker.progress();
        self.ack_floor = progress.ack_floor;
        self.handed_out = progress.handed_out;
        self.attempts = progress.attempts;
        tracker.committed(&progress);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn poison_ends_as_a_dead_letter_and_no_innocent_does(
        keys in proptest::collection::vec(0..8u8, 1..60),
        poison in proptest::collection::btree_set(1..60u64, 0..4),
        width in 1..12usize,
        seed: u64,
    ) {
        let count = keys.len() as u64;
        let poison: BTreeSet<_> = poison.into_iter().filter(|it| *it <= count).collect();
        let mut partition = Partition {
            keys,
            poison: poison.clone(),
            ack_floor: START,
            handed_out: None,
            attempts: None,
            handled: BTreeSet::new(),
            dead_letters: BTreeSet::new(),
        };
        let mut takeover = Takeover::default();
        let mut deaths = 0;
        let mut before = START;
        while !partition.own(takeover, width, seed ^ deaths) {
            deaths += 1;
            prop_assert!(deaths < 40, "{:?}", partition.dead_letters);
            let progressed = std::mem::replace(&mut before, partition.ack_floor) != partition.ack_floor;
            takeover = Takeover {
                attempts: partition.attempts,
                isolated_until: partition.handed_out.filter(|_| !progressed),
                announce: true,
                ..Takeover::default()
            };
        }
        prop_assert_eq!(partition.dead_letters, poison);
        prop_assert_eq!(partition.handled.len() as u64, count - partition.poison.len() as u64);
    }
}

#[test]
fn a_mark_that_nobody_came_for_is_taken_back_at_once() {
    let mut tracker = isolated(2, None);
    tracker.fetched(records("ab"), at(0));
    assert!(tracker.may_need_mark() && tracker.mark_needed(at(0)));
    assert!(tracker.is_alone() && tracker.waits_for_mark() && !tracker.is_unclaimed());
    commit(&mut tracker);
    assert!(tracker.is_unclaimed() && !tracker.may_need_mark());
    tracker.withdraw();
    assert!(!tracker.is_alone());
    let progress = tracker.progress();
    assert!(progress.urgent && progress.attempts.is_none());
    tracker.committed(&progress);
    assert!(take(&mut tracker, 9, at(0)).is_empty());
    assert!(tracker.mark_needed(at(0)));
    commit(&mut tracker);
    assert_eq!(positions(&take(&mut tracker, 9, at(0))), [1]);
    tracker.withdraw();
    assert!(tracker.is_alone(), "it is with a receiver");
}

#[test]
fn the_last_mark_is_taken_back_at_once_although_caution_is_over() {
    let mut tracker = isolated(1, None);
    tracker.fetched(records("abc"), at(0));
    assert!(tracker.mark_needed(at(0)));
    commit(&mut tracker);
    let first = take(&mut tracker, 9, at(0));
    assert!(
        ack(&mut tracker, &first[0]).unwrap().deliverable,
        "the others may go"
    );
    assert!(!tracker.is_guarded());
    let progress = tracker.progress();
    assert!(progress.urgent && progress.attempts.is_none());
    tracker.committed(&progress);
    let rest = take(&mut tracker, 9, at(0));
    assert_eq!(positions(&rest), [2, 3]);
    ack(&mut tracker, &rest[0]).unwrap();
    assert!(!tracker.progress().urgent);
}

#[test]
fn a_commit_says_whether_it_lets_more_out() {
    let mut tracker = announcing(1);
    tracker.fetched(records("ab"), at(0));
    assert_eq!(positions(&take(&mut tracker, 9, at(0))), [1]);
    let progress = tracker.progress();
    assert!(tracker.committed(&progress), "the second is announced");
    assert!(!tracker.committed(&progress));
    let mut tracker = isolated(1, None);
    tracker.fetched(records("a"), at(0));
    assert!(tracker.mark_needed(at(0)));
    let progress = tracker.progress();
    assert!(tracker.committed(&progress));
    assert!(!tracker.committed(&progress), "a renewal changes nothing");
}

fn announcing(up_to: u64) -> Tracker {
    let takeover = Takeover {
        announce: true,
        ..Takeover::default()
    };
    Tracker::new(OPTIONS, START, Some(Position::new(up_to)), takeover)
}

#[test]
fn a_long_range_runs_in_batches_whose_marks_count_for_no_event() {
    let mut tracker = isolated(80, None);
    tracker.fetched(records(&"-".repeat(90)), at(0));
    let mut marks = 0;
    let mut sizes = Vec::new();
    while ack_floor(&tracker).is_none_or(|floor| floor < 80) {
        if tracker.mark_needed(at(0)) {
            let progress = tracker.progress();
            let mark = progress.attempts.unwrap();
            marks += 1;
            if !tracker.is_alone() {
                assert_eq!((mark.count, mark.started), (0, true));
                assert_eq!(
                    progress.handed_out,
                    Some(mark.position),
                    "the next owner looks no further"
                );
            }
            tracker.committed(&progress);
        }
        let out = take(&mut tracker, 99, at(0));
        assert!(!out.is_empty() && out.iter().all(|parts| position(parts) <= 80));
        sizes.push(out.len());
        for parts in out {
            ack(&mut tracker, &parts).unwrap();
        }
    }
    assert_eq!(sizes[0], 10, "{sizes:?}");
    assert!(marks < 30, "{marks} marks for 80 events: {sizes:?}");
    assert_eq!(take(&mut tracker, 99, at(0)).len(), 10);
}

#[test]
fn a_batch_is_handed_out_in_several_takes_under_one_mark() {
    let mut tracker = isolated(40, None);
    tracker.fetched(records(&"ab".repeat(20)), at(0));
    assert!(tracker.mark_needed(at(0)));
    commit(&mut tracker);
    for expected in 1..=5 {
        let out = take(&mut tracker, 1, at(0));
        assert_eq!(positions(&out), [expected]);
        assert!(!tracker.mark_needed(at(0)), "one is out");
        ack(&mut tracker, &out[0]).unwrap();
        assert_eq!(tracker.may_need_mark(), expected == 5);
    }
    assert!(take(&mut tracker, 9, at(0)).is_empty());
}

#[test]
fn an_event_that_failed_before_is_never_tried_in_a_batch() {
    let stored = StoredAttempts {
        position: Position::new(3),
        count: 1,
        started: true,
    };
    let mut tracker = isolated(40, Some(stored));
    tracker.fetched(records(&"-".repeat(40)), at(0));
    let mut seen = Vec::new();
    while !seen.contains(&3) {
        if tracker.mark_needed(at(0)) {
            commit(&mut tracker);
        }
        let out = take(&mut tracker, 99, at(0));
        if positions(&out).contains(&3) {
            assert!(tracker.is_alone() && out.len() == 1 && out[0].attempt == 2);
        }
        seen.extend(positions(&out));
        for parts in out {
            ack(&mut tracker, &parts).unwrap();
        }
    }
}
