//! Processes that stand still, as after ctrl-Z, under a debugger or in a frozen container.

use std::fs::{File, TryLockError};
use std::path::PathBuf;

use aqueduct_core::{Effect, ErrorKind, Timestamp};

use crate::child::Process;
use crate::support::*;

/// One for all that opens a file: long enough that a busy machine does not make it give up.
const PATIENT: [(&str, &str); 1] = [("busy_timeout", "60s")];
/// Soon enough to see what a writer is told.
const BRIEF: [(&str, &str); 1] = [("busy_timeout", "1s")];

/// Returns the file of a lock that all processes of `place` share.
fn lock_file(place: &Place, name: &str) -> File {
    let mut folder = place.file().into_os_string();
    folder.push("-locks");
    File::options()
        .read(true)
        .write(true)
        .open(PathBuf::from(folder).join(name))
        .unwrap()
}

fn is_taken(lock: &File) -> bool {
    match lock.try_lock() {
        Ok(()) => {
            lock.unlock().unwrap();
            false
        }
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(error)) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_stopped_while_it_waits_to_write_stops_no_other() {
    let place = Place::new();
    let producer = place.producer(&PATIENT).await;
    let mut other = Process::start("produce", &place.file(), "other");
    assert!(other.said().is_some());
    let (queue, write) = (lock_file(&place, "queue"), lock_file(&place, "write"));
    // While this test keeps the write lock, the other process waits for it at the head of the queue.
    write.lock().unwrap();
    until("the other process to wait", || async { is_taken(&queue) }).await;
    other.stop();
    write.unlock().unwrap();
    assert!(
        is_taken(&queue),
        "it has stopped with the queue in its hands"
    );
    for n in 0..3 {
        send(&*producer, &[event("mine", n)]).await;
    }
    assert!(is_taken(&queue), "it has not moved meanwhile");
    other.resume();
    let goes_on = other.said();
    assert!(goes_on.is_some(), "it goes on where it stood");
    other.kill();
    let log = place.log(&PATIENT).await;
    let records = read_stream(&*log).await;
    let of_key = |key: &str| {
        let of = |record: &&aqueduct_core::Record| record.event.key() == Some(key);
        records.iter().filter(of).map(number).collect::<Vec<_>>()
    };
    assert_eq!(of_key("mine"), [0, 1, 2]);
    let theirs = of_key("other-0");
    assert!(
        theirs.iter().copied().eq(0..theirs.len() as u64),
        "{theirs:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_stopped_while_it_writes_is_named_and_survived() {
    let place = Place::new();
    let begun = Timestamp::now();
    let producer = place.producer(&BRIEF).await;
    send(&*producer, &[event("a", 0)]).await;
    let go = place.file().with_extension("go");
    std::fs::write(&go, "").unwrap();
    let mut stopped = Process::start("write_slowly", &place.file(), "theirs");
    let pid = stopped.said().unwrap();
    stopped.stop();
    // Twice: the first failure must leave nothing behind that makes the next one worse.
    for _ in 0..2 {
        let refused = producer.send_batch(&[event("a", 1)]).await;
        let refused = refused.into_result().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert_eq!(refused.effect(), Effect::None);
        assert!(refused.is_retryable(), "{refused}");
        let message = refused.message();
        let since = message.split_once(&format!("process {pid} has held the write lock since "));
        let since = since.and_then(|(_, rest)| rest.split_once(','));
        let since: Timestamp = since
            .unwrap_or_else(|| panic!("{message}"))
            .0
            .parse()
            .unwrap();
        assert!(since.as_millis() >= begun.as_millis(), "{since}");
        assert!(since <= Timestamp::now(), "{since}");
    }
    let log = place.log(&BRIEF).await;
    let readable = read_stream(&*log).await;
    assert_eq!(readable.len(), 1, "reading goes on meanwhile");
    stopped.resume();
    std::fs::remove_file(go).unwrap();
    assert_eq!(stopped.said().as_deref(), Some("written"));
    send(&*producer, &[event("a", 1)]).await;
    let stored: Vec<u64> = read_stream(&*log).await.iter().map(number).collect();
    assert_eq!(stored, [0, 1], "what was refused is not stored");
}
