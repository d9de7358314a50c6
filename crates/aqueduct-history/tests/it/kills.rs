use aqueduct_history::{Kind, check, read};

/// `m0` dies while `running` run in it; `m1` takes the partition and starts `a` with that attempt.
fn death(running: &[&str], by: Option<&str>, attempt: u32) -> Vec<Kind> {
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
        r#""time":4,"process":"m0","op":"kill","phase":"ok"{by}"#
    ));
    line(lease(5, "m1", 2));
    for (event, attempt) in [("a", attempt), ("b", 1)] {
        line(handle(6, "m1", "invoke", event, 2, attempt));
        line(handle(7, "m1", "ok", event, 2, attempt));
        line(format!(
            r#""time":8,"process":"m1","op":"ack","phase":"ok","event":"{event}","partition":"p","generation":2"#
        ));
    }
    line(r#""time":9,"process":"run","op":"run","phase":"ok""#.to_owned());
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
