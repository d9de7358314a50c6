use aqueduct_core::PartitionStatus;

use super::*;

#[test]
fn it_stops_at_the_number_of_events_and_refills_by_the_quarter() {
    let mut tracker = tracker();
    assert_eq!(tracker.room(), 100);
    tracker.fetched(records(&"-".repeat(100)), at(3));
    assert_eq!(tracker.room(), 0);
    let blocked = tracker.blocked_by().unwrap();
    assert_eq!((blocked.position, blocked.since), (Position::new(1), at(3)));
    let out = take(&mut tracker, 30, at(4));
    for parts in &out[..24] {
        ack(&mut tracker, parts).unwrap();
    }
    assert_eq!(tracker.room(), 0, "24 is less than a quarter");
    assert_eq!(tracker.blocked_by(), None);
    ack(&mut tracker, &out[24]).unwrap();
    assert_eq!(tracker.room(), 25);
}

#[test]
fn a_small_refill_is_better_than_an_idle_receiver() {
    let mut tracker = tracker();
    tracker.fetched(records(&"-".repeat(100)), at(0));
    let out = take(&mut tracker, 100, at(0));
    ack(&mut tracker, &out[50]).unwrap();
    assert_eq!(tracker.room(), 1);
}

#[test]
fn it_stops_at_the_bytes_and_gives_them_back() {
    let mut tracker = tracker();
    let large = Event::new("test").with_id("1").with_data(vec![0; 1 << 20]);
    let held = tracker.fetched(vec![Record::new(large, Position::new(1), None)], at(0));
    assert!(held > 1 << 20);
    assert_eq!((tracker.room(), tracker.bytes()), (0, held));
    let out = take(&mut tracker, 1, at(0));
    assert_eq!(ack(&mut tracker, &out[0]).unwrap().released, held);
    assert_eq!((tracker.room(), tracker.bytes()), (100, 0));
}

#[test]
fn parked_events_do_not_use_up_the_room_of_others_but_have_a_limit() {
    let mut tracker = tracker();
    tracker.fetched(records("ab"), at(0));
    let out = take(&mut tracker, 2, at(0));
    nack(&mut tracker, &out[1], at(0), 1000);
    tracker.fetched(records_from(3, &"b".repeat(49)), at(1));
    assert_eq!(tracker.room(), 98, "the failing one and a");
    tracker.fetched(records_from(52, "b"), at(2));
    assert_eq!(tracker.room(), 0);
    let blocked = tracker.blocked_by().unwrap();
    assert_eq!(blocked.key.as_deref(), Some("b"), "a is older, b fails");
    assert_eq!((blocked.position, blocked.since), (Position::new(2), at(2)));
    let mut status = PartitionStatus::new("s".into(), "0".into(), 1, START);
    tracker.fill_status(at(10), &mut status);
    assert_eq!((status.unsettled, status.parked), (2, 50));
    assert_eq!(status.oldest_unsettled, Some(Duration::from_millis(10)));
    assert_eq!(status.blocked_by, Some(blocked));
    let again = take(&mut tracker, 9, at(1000));
    assert_eq!(positions(&again), [2]);
    ack(&mut tracker, &again[0]).unwrap();
    assert_eq!(tracker.blocked_by(), None, "it goes on by itself");
    assert_eq!(take(&mut tracker, 99, at(1000)).len(), 50);
}

#[test]
fn settled_events_behind_an_unsettled_one_count_for_the_span() {
    let mut tracker = tracker();
    tracker.fetched(records("a"), at(0));
    let first = take(&mut tracker, 1, at(0));
    let mut next = 2;
    while tracker.room() > 0 {
        let count = tracker.room().min(10);
        tracker.fetched(records_from(next, &"-".repeat(count)), at(next));
        next += count as u64;
        for parts in take(&mut tracker, 10, at(0)) {
            ack(&mut tracker, &parts).unwrap();
        }
    }
    assert_eq!(next, 1001);
    let blocked = tracker.blocked_by().unwrap();
    assert_eq!(blocked.key.as_deref(), Some("a"));
    assert_eq!(blocked.position, Position::new(1));
    ack(&mut tracker, &first[0]).unwrap();
    assert_eq!(ack_floor(&tracker), Some(1000));
    assert_eq!(tracker.room(), 100);
}
