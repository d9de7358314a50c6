use aqueduct_core::{ErrorKind, Event};

use super::*;

type Named = Inbox<String>;

fn inbox() -> Named {
    Inbox::new(Limits {
        messages: 4,
        bytes: 1_000,
        ordered: true,
    })
}

fn at(seconds: u64) -> Instant {
    Instant::after_origin(Duration::from_secs(seconds))
}

fn message(key: &str, id: &str, handle: &str) -> (QueueMessage, String) {
    let mut message = QueueMessage::new(id.into(), "".into(), Event::new("t"));
    message.order_key = Some(key.into()).filter(|key: &SmallStr| !key.is_empty());
    message.bytes = 10;
    (message, handle.to_owned())
}

fn receive(inbox: &Named) -> Vec<(String, SmallStr)> {
    let taken = inbox.take(10, at(0)).unwrap_or(Ok(Vec::new())).unwrap();
    taken
        .into_iter()
        .map(|it| (it.id.to_string(), it.receipt))
        .collect()
}

fn handles(held: Vec<Held<String>>) -> Vec<String> {
    held.into_iter().map(|it| it.handle).collect()
}

#[test]
fn a_receipt_is_its_number() {
    for number in [0, 7, 10, 4_096, u64::MAX] {
        assert_eq!(receipt_of(number).as_str(), number.to_string());
    }
}

#[test]
fn count_and_bytes_limit_what_is_taken_from_streams() {
    let inbox = inbox();
    assert_eq!(inbox.room(), 4);
    inbox.push(vec![message("a", "1", "h1"), message("", "2", "h2")], at(0));
    assert_eq!(inbox.room(), 2);
    let mut heavy = message("b", "3", "h3");
    heavy.0.bytes = 990;
    inbox.push(vec![heavy], at(0));
    assert_eq!(inbox.room(), 0, "by bytes");
    let taken = receive(&inbox);
    assert_eq!(inbox.room(), 0, "what is handled counts");
    let receipts: Vec<&SmallStr> = taken.iter().map(|it| &it.1).collect();
    assert!(
        inbox
            .settle(receipts.into_iter())
            .iter()
            .all(Option::is_some)
    );
    assert_eq!(inbox.room(), 4);
}

#[test]
fn a_message_that_comes_again_has_one_receipt() {
    let inbox = inbox();
    inbox.push(vec![message("a", "1", "first")], at(0));
    let before = receive(&inbox);
    inbox.push(vec![message("a", "1", "second")], at(1));
    let again = receive(&inbox);
    assert_ne!(before[0].1, again[0].1);
    assert!(inbox.settle([&before[0].1].into_iter())[0].is_none());
    let held = inbox
        .settle([&again[0].1].into_iter())
        .pop()
        .flatten()
        .unwrap();
    assert_eq!(
        (held.handle, held.older),
        ("second".into(), vec!["first".into()])
    );
    inbox.push(vec![message("a", "2", "x"), message("a", "2", "y")], at(1));
    assert_eq!(receive(&inbox).len(), 1, "while it waits, too");
}

#[test]
fn later_messages_of_a_key_that_was_given_back_wait_for_its_first() {
    let inbox = inbox();
    let of_a = |n: &str| message("a", n, n);
    inbox.push(vec![of_a("1"), of_a("2")], at(0));
    let seen = receive(&inbox);
    inbox.push(vec![of_a("3"), message("b", "4", "4")], at(0));
    let (known, released) = inbox.release(seen.iter().map(|it| &it.1), at(0));
    assert_eq!(known, [true, true]);
    assert_eq!(
        handles(released),
        ["1", "2", "3"],
        "what the engine has not seen as well"
    );
    assert_eq!(receive(&inbox)[0].0, "4");
    // Handed out before the service knew.
    assert_eq!(inbox.push(vec![of_a("5")], at(1)), ["5"]);
    assert!(inbox.push(vec![of_a("1"), of_a("2")], at(1)).is_empty());
    let again: Vec<_> = receive(&inbox).into_iter().map(|it| it.0).collect();
    assert_eq!(again, ["1", "2"]);
    // The first may come to another consumer.
    let (_, released) = inbox.release([&SmallStr::from("x")].into_iter(), at(1));
    assert!(released.is_empty());
}

#[test]
fn a_key_whose_first_message_stays_away_flows_again() {
    let inbox = inbox();
    inbox.push(vec![message("a", "1", "1")], at(0));
    let seen = receive(&inbox);
    inbox.release([&seen[0].1].into_iter(), at(0));
    assert_eq!(inbox.push(vec![message("a", "2", "2")], at(4)).len(), 1);
    assert!(inbox.push(vec![message("a", "2", "2")], at(6)).is_empty());
}

#[test]
fn what_is_behind_a_message_that_is_handled_stays_at_the_stop() {
    let inbox = inbox();
    inbox.push(vec![message("a", "1", "1")], at(0));
    receive(&inbox);
    let waiting = [("a", "2"), ("b", "3"), ("", "4")];
    inbox.push(waiting.map(|(key, id)| message(key, id, id)).into(), at(0));
    inbox.stop();
    assert!(inbox.is_stopped());
    assert_eq!(handles(inbox.take_unseen()), ["3", "4"]);
    assert_eq!(handles(inbox.take_all()), ["1", "2"]);
}

#[test]
fn a_failure_is_reported_once_nothing_waits() {
    let inbox = inbox();
    inbox.fail(Error::new(ErrorKind::Denied, "no"));
    assert!(inbox.take(1, at(0)).unwrap().is_err());
    assert!(inbox.take(1, at(0)).is_none());
    inbox.fail(Error::new(ErrorKind::Denied, "no"));
    inbox.push(vec![message("a", "1", "1")], at(0));
    assert!(inbox.take(1, at(0)).unwrap().is_ok());
    assert!(inbox.take(1, at(0)).is_none(), "a stream works again");
}

#[test]
fn a_message_that_comes_again_while_it_waits_keeps_its_place() {
    let inbox = inbox();
    inbox.push(vec![message("a", "1", "x"), message("a", "2", "y")], at(0));
    inbox.push(vec![message("a", "1", "z")], at(1));
    let taken = receive(&inbox);
    let order: Vec<_> = taken.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(order, ["1", "2"], "before the later one of its key");
    let held = inbox.settle([&taken[0].1].into_iter());
    assert_eq!(held[0].as_ref().unwrap().handle, "z");
}
