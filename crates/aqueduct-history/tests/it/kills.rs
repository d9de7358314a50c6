use aqueduct_history::{Kind, check, read};

const SECOND: u64 = 1_000_000;

/// `m0` dies while `running` run in it; `m1` takes the partition and starts `a` with that attempt.
fn death(running: &[&str], by: Option<&str>, attempt: u32) -> Vec<Kind> {
    death_after(SECOND, running, by, attempt)
}

/// The same, that long after it took the partition.
fn death_after(age: u64, running: &[&str], by: Option<&str>, attempt: u32) -> Vec<Kind> {
    let mut lines = vec![
        r#"{"time":0,"process":"run","op":"run","phase":"invoke","format":1,"attempts":2}"#
            .to_owned(),
    ];
    let mut line = |text: String| lines.push(format!("{{{text}}}"));
    for (at, event) in ["a", "b"].iter().enumerate() {
        line(format!(
            r#""time":1,"process":"log","op":"store","phase":"ok","event":"{event}","partition":"p","position":"{}""#,
            at + 1
        ));
    }
    let lease = |time: u64, owner: &str, generation: u64| {
        format!(
            r#""time":{time},"process":"{owner}","op":"lease","phase":"ok","partition":"p","owner":"{owner}","generation":{generation}"#
        )
    };
    let handle = |time: u64,
                  process: &str,
                  phase: &str,
                  event: &str,
                  generation: u64,
                  attempt: u32| {
        format!(
            r#""time":{time},"process":"{process}","op":"handle","phase":"{phase}","event":"{event}","partition":"p","generation":{generation},"attempt":{attempt}"#
        )
    };
    line(lease(2, "m0", 1));
    for event in running {
        line(handle(3, "m0", "invoke", event, 1, 1));
    }
    let by = by.map_or(String::new(), |by| format!(r#","event":"{by}""#));
    line(format!(
        r#""time":{},"process":"m0","op":"kill","phase":"ok"{by}"#,
        2 + age
    ));
    line(lease(5 * SECOND, "m1", 2));
    for (event, attempt) in [("a", attempt), ("b", 1)] {
        line(handle(6 * SECOND, "m1", "invoke", event, 2, attempt));
        line(handle(7 * SECOND, "m1", "ok", event, 2, attempt));
        line(format!(
            r#""time":8000000,"process":"m1","op":"ack","phase":"ok","event":"{event}","partition":"p","generation":2"#
        ));
    }
    line(r#""time":9000000,"process":"run","op":"run","phase":"ok""#.to_owned());
    let records = read(lines.join("\n").as_bytes()).unwrap();
    let verdict = check(&records);
    verdict.findings.into_iter().map(|it| it.kind).collect()
}

#[test]
fn a_kill_excuses_the_event_that_ran_alone() {
    assert_eq!(death(&["a"], None, 2), []);
    assert_eq!(death(&["a"], None, 3), [Kind::AttemptWithoutFailure]);
}

#[test]
fn a_kill_excuses_none_of_several() {
    assert_eq!(death(&["a", "b"], None, 2), [Kind::AttemptWithoutFailure]);
    assert_eq!(death(&["b"], None, 2), [Kind::AttemptWithoutFailure]);
    assert_eq!(death(&["a", "b"], None, 1), []);
}

#[test]
fn a_kill_excuses_one_event_that_was_about_to_run() {
    assert_eq!(death(&[], None, 2), []);
    assert_eq!(death(&[], None, 3), [Kind::AttemptWithoutFailure]);
}

#[test]
fn a_handler_that_kills_counts_for_its_event_alone() {
    assert_eq!(death(&["a", "b"], Some("a"), 2), []);
    assert_eq!(
        death(&["a", "b"], Some("b"), 2),
        [Kind::AttemptWithoutFailure]
    );
}

#[test]
fn a_kill_right_after_the_partition_was_taken_excuses_nothing() {
    let early = SECOND / 2;
    assert_eq!(
        death_after(early, &["a"], None, 2),
        [Kind::AttemptWithoutFailure]
    );
    assert_eq!(
        death_after(early, &[], None, 2),
        [Kind::AttemptWithoutFailure]
    );
    assert_eq!(death_after(early, &["a"], Some("a"), 2), []);
}
