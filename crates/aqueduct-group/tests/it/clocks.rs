//! Machines whose wall clocks are wrong.

use aqueduct_core::{Checkpoint, ErrorKind, Position, ReadFrom, Revocation, StreamSpec};
use aqueduct_group::Group;

use crate::common::skewed::{Skewed, Stopped, YEAR};
use crate::common::{Harness, SECOND};

#[test]
fn a_stream_created_by_a_clock_that_was_ahead_locks_no_group_out() {
    let harness = Harness::new("1");
    let wrong = Skewed::new(&harness.runtime, YEAR).runtime();
    let admin = harness.run(harness.resource.admin(&wrong)).unwrap();
    let spec = StreamSpec::with_partitions(1);
    assert!(harness.run(admin.create(&spec)).unwrap());
    harness.send(0, 3, 1);
    // The first opening stores the group's record, the second compares the stream with it.
    for expected in [vec![0, 1, 2], vec![]] {
        let consumer = harness.open(&harness.runtime, harness.options());
        assert_eq!(harness.drink(&consumer), expected);
        harness.run(consumer.close()).unwrap();
    }
}

#[test]
fn a_stream_recreated_by_a_clock_that_is_behind_is_noticed() {
    let harness = Harness::new("1");
    // Kept apart from the stream, whose deletion would remove them.
    let leases = Harness::new("1").leases();
    let open = || {
        let (log, leases) = (harness.log(), leases.clone());
        harness.run(Group::open(
            log,
            leases,
            harness.options(),
            &harness.runtime,
        ))
    };
    harness.send(0, 2, 1);
    let consumer = open().unwrap();
    assert_eq!(harness.drink(&consumer), [0, 1]);
    harness.run(consumer.close()).unwrap();

    let wrong = Skewed::new(&harness.runtime, -YEAR).runtime();
    let admin = harness.run(harness.resource.admin(&wrong)).unwrap();
    harness.run(admin.delete()).unwrap();
    harness
        .run(admin.create(&StreamSpec::with_partitions(1)))
        .unwrap();
    let refused = open().err().unwrap();
    assert!(refused.is(ErrorKind::Conflict), "{refused}");
    assert!(refused.to_string().contains("recreated"), "{refused}");
}

#[test]
fn an_idle_partition_is_known_by_the_servers_time() {
    for skew in [-YEAR, YEAR] {
        let harness = Harness::new("1");
        harness.send(0, 10, 1);
        let mut options = harness.options();
        options.retention = Some(SECOND * 3_600);
        let machine = Skewed::new(&harness.runtime, skew);
        let consumer = harness.open(&machine.runtime(), options.clone());
        assert_eq!(harness.drink(&consumer).len(), 10);
        harness.sleep(SECOND * 30);
        harness.run(consumer.close()).unwrap();
        let lease = harness
            .run(harness.leases().list(&harness.key(), &[]))
            .unwrap();
        let caught_up = lease[0].caught_up_at.unwrap();
        let now = harness.runtime.wall();
        assert!(caught_up <= now, "{caught_up} after {now}");
        assert!(now.since(caught_up) < SECOND * 60, "{caught_up}");

        // The clock is set right while no member runs. All that was settled is removed meanwhile.
        machine.set(0);
        let partition = harness
            .run(harness.log().partitions())
            .unwrap()
            .remove(0)
            .id;
        harness.send(10, 5, 1);
        let faults = harness.backend.faults("orders");
        faults.drop_oldest(&partition, 12).unwrap();
        let consumer = harness.open(&machine.runtime(), options);
        let received = harness.run(consumer.receive_batch(10)).unwrap();
        assert_eq!(received.len(), 3, "clock off by {skew} s");
    }
}

#[test]
fn a_skipped_event_leaves_an_idle_partition_idle() {
    let harness = Harness::new("1");
    harness.send(0, 10, 1);
    let mut options = harness.options();
    options.retention = Some(SECOND * 3_600);
    let consumer = harness.open(&harness.runtime, options.clone());
    assert_eq!(harness.drink(&consumer).len(), 10);
    harness.sleep(SECOND * 30);
    harness.run(consumer.close()).unwrap();
    harness.send(10, 1, 1);
    let (log, leases) = (harness.log(), harness.leases());
    let partition = harness.run(log.partitions()).unwrap().remove(0).id;
    let caught_up = || {
        let lease = harness
            .run(leases.read(&harness.key(), &partition))
            .unwrap();
        lease.unwrap().caught_up_at
    };
    let before = caught_up();
    assert!(before.is_some());
    let position = Position::new(11);
    harness
        .run(Group::skip(
            &*log,
            &*leases,
            &partition,
            position,
            &options,
            &harness.runtime,
        ))
        .unwrap();
    assert_eq!(caught_up(), before, "what was settled then is settled now");
    let back = Checkpoint::Start(ReadFrom::Earliest);
    harness
        .run(Group::seek(
            &*log,
            &*leases,
            &partition,
            back,
            &options,
            &harness.runtime,
        ))
        .unwrap();
    assert_eq!(caught_up(), None, "nothing is settled now");
}

#[test]
fn a_process_that_stood_still_starts_nothing_under_its_old_lease() {
    let harness = Harness::new("1");
    harness.send(0, 3, 1);
    let process = Stopped::new(&harness.runtime);
    let consumer = harness.open(&process.runtime(), harness.options());
    let received = harness.run(consumer.receive_batch(10)).unwrap();
    assert!(received.iter().all(|it| it.revoked().reason().is_none()));
    process.stand_still(60);
    // Before any of its tasks runs.
    for delivery in &received {
        assert_eq!(delivery.revoked().reason(), Some(Revocation::Lost));
    }
}
