use aqueduct_core::ResumeToken;

use super::*;

#[test]
fn a_take_follows_the_log_and_a_run_belongs_to_one_take() {
    let mut tracker = tracker();
    tracker.fetched(records("abab-a"), at(0));
    let first = take(&mut tracker, 3, at(0));
    assert_eq!(positions(&first), [1, 2, 3]);
    let second = take(&mut tracker, 9, at(0));
    assert_eq!(positions(&second), [5], "a and b are out");
    ack(&mut tracker, &first[0]).unwrap();
    assert!(take(&mut tracker, 9, at(0)).is_empty());
    let settled = ack(&mut tracker, &first[2]).unwrap();
    assert!(settled.deliverable);
    assert_eq!(positions(&take(&mut tracker, 9, at(0))), [6]);
}

#[test]
fn acks_in_any_order_move_the_ack_floor_over_the_settled_prefix() {
    let mut tracker = tracker();
    tracker.fetched(records("abcd"), at(0));
    let out = take(&mut tracker, 9, at(0));
    ack(&mut tracker, &out[1]).unwrap();
    ack(&mut tracker, &out[2]).unwrap();
    assert_eq!(tracker.progress().ack_floor, START);
    assert!(!tracker.progress().dirty);
    ack(&mut tracker, &out[0]).unwrap();
    assert_eq!(ack_floor(&tracker), Some(3));
    let progress = tracker.progress();
    assert!(progress.dirty && !progress.urgent);
    assert_eq!(progress.settled, 3);
    assert_eq!(progress.handed_out, Some(Position::new(4)));
    ack(&mut tracker, &out[3]).unwrap();
    tracker.committed(&progress);
    assert_eq!(tracker.progress().settled, 1);
    assert_eq!(ack_floor(&tracker), Some(4));
}

#[test]
fn a_nack_supersedes_what_follows_it_and_lets_other_keys_flow() {
    let mut tracker = tracker();
    tracker.fetched(records("aaab"), at(0));
    let out = take(&mut tracker, 9, at(0));
    assert_eq!(positions(&out), [1, 2, 3, 4]);
    let settled = nack(&mut tracker, &out[1], at(0), 500);
    assert!(settled.superseded && settled.planned);
    assert_eq!(
        tracker.revocation(out[2].ticket),
        Some(Revocation::Superseded)
    );
    assert_eq!(
        ack(&mut tracker, &out[2]).unwrap_err(),
        Revocation::Superseded
    );
    assert_eq!(tracker.revocation(out[0].ticket), None);
    ack(&mut tracker, &out[0]).unwrap();
    ack(&mut tracker, &out[3]).unwrap();
    assert_eq!(tracker.next_due(), Some(at(500)));
    assert!(take(&mut tracker, 9, at(499)).is_empty());
    let again = take(&mut tracker, 9, at(500));
    assert_eq!(
        positions(&again),
        [2],
        "alone, until it is known to succeed"
    );
    assert_eq!(again[0].attempt, 2);
    let settled = ack(&mut tracker, &again[0]).unwrap();
    assert!(settled.deliverable);
    let last = take(&mut tracker, 9, at(500));
    assert_eq!(positions(&last), [3]);
    assert_eq!(
        last[0].attempt, 1,
        "a superseded delivery counts no attempt"
    );
}

#[test]
fn a_stale_ticket_stays_stale_after_the_event_is_out_again() {
    let mut tracker = tracker();
    tracker.fetched(records("aa"), at(0));
    let out = take(&mut tracker, 9, at(0));
    nack(&mut tracker, &out[0], at(0), 0);
    let again = take(&mut tracker, 9, at(0));
    ack(&mut tracker, &again[0]).unwrap();
    let second = take(&mut tracker, 9, at(0));
    assert_eq!(positions(&second), [2]);
    assert_eq!(
        ack(&mut tracker, &out[1]).unwrap_err(),
        Revocation::Superseded
    );
    assert_eq!(
        tracker.abandon(&out[1], at(0), || 0),
        Settled::default(),
        "dropping what is stale counts as no attempt"
    );
    assert_eq!(tracker.revocation(second[0].ticket), None);
    ack(&mut tracker, &second[0]).unwrap();
    assert_eq!(ack_floor(&tracker), Some(2));
    tracker.fetched(records_from(3, "bc"), at(0));
    let others = take(&mut tracker, 9, at(0));
    assert_eq!(others.len(), 2, "they use the same slots");
    assert_eq!(
        ack(&mut tracker, &out[1]).unwrap_err(),
        Revocation::Superseded
    );
}

#[test]
fn a_retry_due_waits_for_the_members_of_its_run_that_are_still_out() {
    let mut tracker = tracker();
    tracker.fetched(records("aaa"), at(0));
    let out = take(&mut tracker, 9, at(0));
    nack(&mut tracker, &out[1], at(0), 10);
    assert!(take(&mut tracker, 9, at(20)).is_empty());
    assert!(ack(&mut tracker, &out[0]).unwrap().deliverable);
    assert_eq!(positions(&take(&mut tracker, 9, at(20))), [2]);
}

#[test]
fn only_failures_count_as_attempts() {
    let mut tracker = tracker();
    tracker.fetched(records("a"), at(0));
    let out = take(&mut tracker, 1, at(0));
    let defer = Settlement::Defer {
        delay: Duration::from_millis(5),
    };
    tracker.settle(&out[0], &defer, at(0), || 0).unwrap();
    assert_eq!(tracker.progress().attempts, None);
    assert_eq!(tracker.in_flight(), 0);
    let out = take(&mut tracker, 1, at(5));
    assert_eq!(out[0].attempt, 1);
    let settled = tracker.abandon(&out[0], at(5), || u64::MAX);
    assert!(settled.planned);
    let due = tracker.next_due().unwrap();
    assert!(due > at(5) && due <= at(205), "{due:?}");
    let attempts = tracker.progress().attempts.unwrap();
    assert_eq!((attempts.count, attempts.started), (1, false));
    assert_eq!(take(&mut tracker, 1, due)[0].attempt, 2);
}

#[test]
fn a_reader_that_reconnects_brings_nothing_twice() {
    let mut tracker = Tracker::new(
        OPTIONS,
        Checkpoint::At(Position::new(2)),
        None,
        Takeover::default(),
    );
    tracker.fetched(records("abcd"), at(0));
    tracker.fetched(records("abcde"), at(0));
    assert_eq!(positions(&take(&mut tracker, 9, at(0))), [3, 4, 5]);
    assert_eq!(tracker.read_from(), Some(ReadFrom::After(Position::new(5))));
}

#[test]
fn the_end_is_reached_when_all_is_settled() {
    let mut tracker = tracker();
    tracker.fetched(records("a"), at(0));
    tracker.reader_ended(vec!["child".into()]);
    assert_eq!(tracker.room(), 0);
    assert_eq!(tracker.read_from(), None);
    let out = take(&mut tracker, 9, at(0));
    assert!(!tracker.is_settled_to_end());
    ack(&mut tracker, &out[0]).unwrap();
    assert!(tracker.is_settled_to_end());
    assert_eq!(tracker.progress().ack_floor, Checkpoint::End);
    assert_eq!(tracker.children().map(<[_]>::len), Some(1));
    tracker.revoke_all(Revocation::Ended);
    assert_eq!(tracker.progress().ack_floor, Checkpoint::End);
}

#[test]
fn revoking_all_leaves_the_progress_and_nothing_else() {
    let mut tracker = tracker();
    tracker.fetched(records("abc"), at(0));
    let out = take(&mut tracker, 3, at(0));
    ack(&mut tracker, &out[0]).unwrap();
    nack(&mut tracker, &out[1], at(0), 0);
    assert!(tracker.revoke_all(Revocation::HandedOff) > 0);
    let progress = tracker.progress();
    assert_eq!(progress.ack_floor, Checkpoint::At(Position::new(1)));
    assert_eq!(progress.attempts.unwrap().count, 1);
    assert_eq!(
        ack(&mut tracker, &out[2]).unwrap_err(),
        Revocation::HandedOff
    );
    assert_eq!(
        tracker.revocation(out[2].ticket),
        Some(Revocation::HandedOff)
    );
    assert_eq!(tracker.abandon(&out[2], at(0), || 0), Settled::default());
    assert_eq!(tracker.fetched(records_from(9, "z"), at(0)), 0);
    assert!(take(&mut tracker, 9, at(1000)).is_empty());
    assert_eq!((tracker.in_flight(), tracker.bytes()), (0, 0));
}

#[test]
fn the_token_committed_is_that_of_the_ack_floor() {
    let token = |position: u64| ResumeToken::new(format!("t{}", 100 - position));
    let with_tokens = |keys: &str| {
        let plain = records(keys).into_iter().zip(1..);
        plain.map(|(record, at)| record.with_resume_token(token(at)))
    };
    let mut tracker = tracker();
    tracker.fetched(with_tokens("----").collect(), at(0));
    assert_eq!(tracker.progress().resume_token, None);
    let parts = take(&mut tracker, 10, at(0));
    ack(&mut tracker, &parts[1]).unwrap();
    assert_eq!(tracker.progress().resume_token, None, "1 is not settled");
    ack(&mut tracker, &parts[0]).unwrap();
    assert_eq!(tracker.progress().resume_token, Some(token(2)));
    assert_eq!(
        tracker.read_token(),
        Some(&token(4)),
        "reading goes on behind 4"
    );
    tracker.revoke_all(Revocation::Lost);
    assert_eq!(tracker.progress().resume_token, Some(token(2)));
}

#[test]
fn a_new_owner_starts_with_the_token_of_the_lease() {
    let takeover = Takeover {
        resume_token: Some(ResumeToken::new("x")),
        ..Takeover::default()
    };
    let start = Checkpoint::At(Position::new(5));
    let mut tracker = Tracker::new(OPTIONS, start, None, takeover);
    assert_eq!(tracker.read_token().map(ResumeToken::as_str), Some("x"));
    tracker.fetched(records_from(6, "-"), at(0));
    assert_eq!(tracker.read_token(), None, "the record at 6 has none");
    let stored = tracker.progress().resume_token;
    assert_eq!(stored, Some(ResumeToken::new("x")), "the floor is still 5");
    let parts = take(&mut tracker, 1, at(0));
    ack(&mut tracker, &parts[0]).unwrap();
    assert_eq!(tracker.progress().resume_token, None);
}
