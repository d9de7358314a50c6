//! Machines whose wall clocks are wrong.

use aqueduct_core::{Checkpoint, ErrorKind, Position, ReadFrom, Revocation, StreamSpec};
use aqueduct_group::Group;

use crate::common::skewed::{Skewed, Stopped, YEAR};
use crate::common::{Bench, SECOND};

#[test]
fn a_stream_created_by_a_clock_that_was_ahead_locks_no_group_out() {
    let bench = Bench::new("1");
    let wrong = Skewed::new(&bench.runtime, YEAR).runtime();
    let admin = bench.run(bench.resource.admin(&wrong)).unwrap();
    let spec = StreamSpec::with_partitions(1);
    assert!(bench.run(admin.create(&spec)).unwrap());
    bench.send(0, 3, 1);
    // The first opening stores the group's record, the second compares the stream with it.
    for expected in [vec![0, 1, 2], vec![]] {
        let consumer = bench.open(&bench.runtime, bench.options());
        assert_eq!(bench.drink(&consumer), expected);
        bench.run(consumer.close()).unwrap();
    }
}

#[test]
fn a_stream_recreated_by_a_clock_that_is_behind_is_noticed() {
    let bench = Bench::new("1");
    // Kept apart from the stream, whose deletion would remove them.
    let leases = Bench::new("1").leases();
    let open = || {
        let (log, leases) = (bench.log(), leases.clone());
        bench.run(Group::open(log, leases, bench.options(), &bench.runtime))
    };
    bench.send(0, 2, 1);
    let consumer = open().unwrap();
    assert_eq!(bench.drink(&consumer), [0, 1]);
    bench.run(consumer.close()).unwrap();

    let wrong = Skewed::new(&bench.runtime, -YEAR).runtime();
    let admin = bench.run(bench.resource.admin(&wrong)).unwrap();
    bench.run(admin.delete()).unwrap();
    bench
        .run(admin.create(&StreamSpec::with_partitions(1)))
        .unwrap();
    let refused = open().err().unwrap();
    assert!(refused.is(ErrorKind::Conflict), "{refused}");
    assert!(refused.to_string().contains("recreated"), "{refused}");
}

#[test]
fn an_idle_partition_is_known_by_the_servers_time() {
    for skew in [-YEAR, YEAR] {
        let bench = Bench::new("1");
        bench.send(0, 10, 1);
        let mut options = bench.options();
        options.retention = Some(SECOND * 3_600);
        let machine = Skewed::new(&bench.runtime, skew);
        let consumer = bench.open(&machine.runtime(), options.clone());
        assert_eq!(bench.drink(&consumer).len(), 10);
        bench.sleep(SECOND * 30);
        bench.run(consumer.close()).unwrap();
        let lease = bench.run(bench.leases().list(&bench.key(), &[])).unwrap();
        let caught_up = lease[0].caught_up_at.unwrap();
        let now = bench.runtime.wall();
        assert!(caught_up <= now, "{caught_up} after {now}");
        assert!(now.since(caught_up) < SECOND * 60, "{caught_up}");

        // The clock is set right while nobody runs. All that was settled is removed meanwhile.
        machine.set(0);
        let partition = bench.run(bench.log().partitions()).unwrap().remove(0).id;
        bench.send(10, 5, 1);
        let faults = bench.backend.faults("orders");
        faults.drop_oldest(&partition, 12).unwrap();
        let consumer = bench.open(&machine.runtime(), options);
        let received = bench.run(consumer.receive_batch(10)).unwrap();
        assert_eq!(received.len(), 3, "clock off by {skew} s");
    }
}

#[test]
fn a_skipped_event_leaves_an_idle_partition_idle() {
    let bench = Bench::new("1");
    bench.send(0, 10, 1);
    let mut options = bench.options();
    options.retention = Some(SECOND * 3_600);
    let consumer = bench.open(&bench.runtime, options.clone());
    assert_eq!(bench.drink(&consumer).len(), 10);
    bench.sleep(SECOND * 30);
    bench.run(consumer.close()).unwrap();
    bench.send(10, 1, 1);
    let (log, leases) = (bench.log(), bench.leases());
    let partition = bench.run(log.partitions()).unwrap().remove(0).id;
    let caught_up = || {
        let lease = bench.run(leases.read(&bench.key(), &partition)).unwrap();
        lease.unwrap().caught_up_at
    };
    let before = caught_up();
    assert!(before.is_some());
    let position = Position::new(11);
    bench
        .run(Group::skip(
            &*log,
            &*leases,
            &partition,
            position,
            &options,
            &bench.runtime,
        ))
        .unwrap();
    assert_eq!(caught_up(), before, "what was settled then is settled now");
    let back = Checkpoint::Start(ReadFrom::Earliest);
    bench
        .run(Group::seek(
            &*log,
            &*leases,
            &partition,
            back,
            &options,
            &bench.runtime,
        ))
        .unwrap();
    assert_eq!(caught_up(), None, "nothing is settled now");
}

#[test]
fn a_process_that_stood_still_starts_nothing_under_its_old_lease() {
    let bench = Bench::new("1");
    bench.send(0, 3, 1);
    let process = Stopped::new(&bench.runtime);
    let consumer = bench.open(&process.runtime(), bench.options());
    let received = bench.run(consumer.receive_batch(10)).unwrap();
    assert!(received.iter().all(|it| it.revoked().reason().is_none()));
    process.stand_still(60);
    // Before any of its tasks runs.
    for delivery in &received {
        assert_eq!(delivery.revoked().reason(), Some(Revocation::Lost));
    }
}
