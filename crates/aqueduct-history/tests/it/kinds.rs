use aqueduct_history::{Kind, check, read};

use super::{RIGHT, behind, kinds, with, without};

#[test]
fn the_right_history_is_accepted() {
    let records = read(RIGHT.as_bytes()).unwrap();
    let verdict = check(&records);
    assert!(verdict.is_ok(), "{verdict}");
    assert_eq!(
        verdict.to_string(),
        "history: 33 records, 3 events, 4 starts of handlers, 1 dead letters, 0 kills: no rule is broken"
    );
}

#[test]
fn lost() {
    // Sent, acknowledged and not stored.
    let history = without(r#""event":"a2","partition":"p","position":"2""#);
    assert!(kinds(&history).contains(&Kind::Lost));
    // Stored and never handled.
    let line = r#"{"time":8,"process":"log","op":"store","phase":"ok","event":"c1","partition":"q","position":"1"}"#;
    assert_eq!(kinds(&behind(r#""time":7,"#, line)), [Kind::Lost]);
    // A checkpoint passes what is not settled.
    assert_eq!(kinds(&without(r#""time":25,"#)), [Kind::Lost]);
}

#[test]
fn duplicated() {
    let start = |time: u64, process: &str, generation: u64| {
        format!(
            r#"{{"time":{time},"process":"{process}","op":"handle","phase":"invoke","event":"b1","partition":"p","generation":{generation},"attempt":1}}"#
        )
    };
    let running = behind(r#""time":22,"#, &start(22, "m0", 1));
    assert_eq!(kinds(&running), [Kind::Duplicated]);
    let settled = behind(r#""time":25,"#, &start(26, "m0", 1));
    assert_eq!(kinds(&settled), [Kind::Duplicated]);
    let covered = behind(r#""time":53,"#, &start(53, "m1", 2));
    assert_eq!(kinds(&covered), [Kind::Duplicated]);
}

#[test]
fn out_of_order() {
    // Started before an earlier one of the key.
    let early = r#"{"time":12,"process":"m0","op":"handle","phase":"invoke","event":"a2","partition":"p","generation":1,"attempt":1}"#;
    assert!(kinds(&behind(r#""time":11,"#, early)).contains(&Kind::OutOfOrder));
    // Stored before one that was sent earlier.
    let swapped = with(
        r#""event":"a1","partition":"p","position":"1""#,
        r#""event":"A","partition":"p","position":"1""#,
    );
    let swapped = swapped
        .replace(
            r#""event":"a2","partition":"p","position":"2""#,
            r#""event":"a1","partition":"p","position":"2""#,
        )
        .replace(
            r#""event":"A","partition":"p","position":"1""#,
            r#""event":"a2","partition":"p","position":"1""#,
        );
    assert!(kinds(&swapped).contains(&Kind::OutOfOrder));
    // Stored behind one of the same key that is not.
    let hole = without(r#""event":"a1","partition":"p","position":"1""#).replace(
        r#""time":5,"process":"web","op":"send","phase":"ok""#,
        r#""time":5,"process":"web","op":"send","phase":"fail""#,
    );
    assert!(kinds(&hole).contains(&Kind::OutOfOrder));
}

#[test]
fn skipped_past_failure() {
    let early = r#"{"time":21,"process":"m0","op":"handle","phase":"invoke","event":"a2","partition":"p","generation":1,"attempt":1}"#;
    let found = kinds(&behind(r#""time":21,"#, early));
    assert!(found.contains(&Kind::SkippedPastFailure), "{found:?}");
    let commit = r#"{"time":26,"process":"m0","op":"lease","phase":"ok","partition":"p","owner":"m0","generation":1,"position":"1"}"#;
    let found = kinds(&behind(r#""time":25,"#, commit));
    assert!(found.contains(&Kind::SkippedPastFailure), "{found:?}");
}

#[test]
fn settled_without_effect() {
    let history = with(
        r#""time":23,"process":"m0","op":"handle","phase":"ok""#,
        r#""time":23,"process":"m0","op":"handle","phase":"unknown""#,
    );
    assert_eq!(kinds(&history), [Kind::SettledWithoutEffect]);
    let ended = without(r#""time":22,"#);
    assert!(kinds(&ended).contains(&Kind::SettledWithoutEffect));
}

#[test]
fn effect_twice() {
    let again = r#"{"time":24,"process":"m1","op":"effect","phase":"ok","event":"b1"}"#;
    let history = behind(r#""time":24,"#, again);
    assert_eq!(kinds(&history), [Kind::EffectTwice]);
    let allowed = history.replace(r#","effects_once":true"#, "");
    assert_eq!(kinds(&allowed), []);
}

#[test]
fn two_owners() {
    let other = r#"{"time":20,"process":"m1","op":"own","phase":"ok","partition":"p","generation":2,"until":90}"#;
    assert_eq!(kinds(&behind(r#""time":20,"#, other)), [Kind::TwoOwners]);
    let over = other.replace(r#""until":90"#, r#""until":21"#);
    assert_eq!(kinds(&behind(r#""time":20,"#, &over)), []);
    let same = RIGHT.replace(r#""generation":2"#, r#""generation":1"#);
    assert_eq!(kinds(&same), [Kind::TwoOwners]);
}

#[test]
fn dead_lettered_innocent() {
    let once = RIGHT.replace(r#""attempts":2"#, r#""attempts":3"#);
    assert_eq!(kinds(&once), [Kind::DeadLetteredInnocent]);
    let never = r#"{"time":24,"process":"m0","op":"dead_letter","phase":"ok","event":"b1"}"#;
    assert_eq!(
        kinds(&behind(r#""time":24,"#, never)),
        [Kind::DeadLetteredInnocent]
    );
    // What its handler refused needs no attempts.
    let refused = once.replace(
        r#""op":"dead_letter","phase":"ok","event":"a1""#,
        r#""op":"dead_letter","phase":"ok","event":"a1","why":"rejected""#,
    );
    assert_eq!(kinds(&refused), []);
}

#[test]
fn attempt_without_failure() {
    let history = with(
        r#""event":"a2","partition":"p","generation":1,"attempt":1"#,
        r#""event":"a2","partition":"p","generation":1,"attempt":2"#,
    );
    assert_eq!(kinds(&history), [Kind::AttemptWithoutFailure]);
}

#[test]
fn no_outcome() {
    for piece in [r#""time":42,"#, r#""time":55,"#, r#""time":6,"#] {
        assert_eq!(kinds(&without(piece)), [Kind::NoOutcome], "{piece}");
    }
    let hung = with(
        r#""op":"run","phase":"ok""#,
        r#""op":"run","phase":"fail","why":"p is not owned""#,
    );
    assert_eq!(kinds(&hung), [Kind::NoOutcome]);
}

#[test]
fn not_durable() {
    let history = with(
        r#""generation":1,"position":"3""#,
        r#""generation":1,"position":"2""#,
    );
    assert_eq!(kinds(&history), [Kind::NotDurable]);
}

#[test]
fn checkpoint_fell() {
    let history = with(
        r#""process":"m1","op":"lease","phase":"ok","partition":"p","owner":"m1","generation":2,"position":"3""#,
        r#""process":"m1","op":"lease","phase":"ok","partition":"p","owner":"m1","generation":2,"position":"2""#,
    );
    assert_eq!(kinds(&history), [Kind::CheckpointFell]);
}

#[test]
fn given_to_nobody() {
    assert_eq!(kinds(&without(r#""op":"ask""#)), [Kind::GivenToNobody]);
    let withdrawn = r#"{"time":51,"process":"m1","op":"withdraw","phase":"ok","partition":"p"}"#;
    assert_eq!(
        kinds(&behind(r#""op":"ask""#, withdrawn)),
        [Kind::GivenToNobody]
    );
    let stays = behind(
        r#""time":53,"#,
        r#"{"time":53,"process":"m1","op":"close","phase":"ok"}"#,
    );
    assert_eq!(kinds(&stays), [Kind::GivenToNobody]);
    let said = stays.replace(
        r#""process":"m1","op":"close","phase":"ok""#,
        r#""process":"m1","op":"close","phase":"ok","kept":["p"]"#,
    );
    assert_eq!(kinds(&said), []);
}

#[test]
fn unexpected() {
    let history = with(
        r#""time":5,"process":"web","op":"send","phase":"ok""#,
        r#""time":5,"process":"web","op":"send","phase":"fail""#,
    );
    assert_eq!(kinds(&history), [Kind::Unexpected]);
}

#[test]
fn too_many_store_writes() {
    let history = with(r#""writes":4"#, r#""writes":10"#);
    assert_eq!(kinds(&history), [Kind::TooManyStoreWrites]);
}
