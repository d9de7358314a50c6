use aqueduct_history::{ReadError, Recorder, read};

use super::{RIGHT, with};

#[test]
fn a_history_is_read_as_it_was_written() {
    let records = read(RIGHT.as_bytes()).unwrap();
    let mut recorder = Recorder::new(Some(2)).with_effects_once();
    for record in &records[1..records.len() - 1] {
        recorder.add(record.clone());
    }
    recorder.end(60, Ok(()));
    let end = recorder.last_mut().unwrap();
    (end.writes, end.most_writes) = (Some(4), Some(9));
    let mut written = Vec::new();
    recorder.write(&mut written).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), RIGHT);
}

#[test]
fn a_cut_file_is_refused() {
    for bytes in 0..RIGHT.len() - 1 {
        let error = read(&RIGHT.as_bytes()[..bytes]).unwrap_err();
        let said = error.to_string();
        match error {
            ReadError::Line { .. } => assert!(said.contains("is not a record"), "{said}"),
            ReadError::NotBegun { .. } => assert!(said.contains("no line"), "{said}"),
            ReadError::Cut { lines } => assert!(said.contains(&format!("line {lines}:")), "{said}"),
            other => panic!("{bytes}: {other}"),
        }
    }
}

#[test]
fn a_line_that_is_no_record_is_named() {
    for (before, after) in [
        (
            r#""op":"flush","phase":"invoke""#,
            r#""op":"flsh","phase":"invoke""#,
        ),
        (r#""op":"ask","phase":"ok""#, r#""op":"ask","phase":"good""#),
        (r#""time":23,"#, r#""time":"soon","#),
        (r#""time":24,"#, r#""time":24,"colour":"red","#),
        (
            r#""generation":1,"position":"3""#,
            r#""generation":1,"position":"two""#,
        ),
    ] {
        let history = with(before, after);
        let line = history.lines().position(|it| it.contains(after)).unwrap() + 1;
        let said = read(history.as_bytes()).unwrap_err().to_string();
        assert!(
            said.starts_with(&format!("line {line} is not a record")),
            "{said}"
        );
    }
    let said = read("\n".as_bytes()).unwrap_err().to_string();
    assert!(said.starts_with("line 1 is not a record"), "{said}");
}

#[test]
fn another_format_is_refused() {
    let said = read(with(r#""format":1"#, r#""format":2"#).as_bytes());
    assert!(said.unwrap_err().to_string().ends_with("found format 2"));
    let headless = RIGHT.split_once('\n').unwrap().1;
    let said = read(headless.as_bytes()).unwrap_err().to_string();
    assert!(said.ends_with("found `Send`"), "{said}");
}

#[test]
fn nothing_may_follow_the_end() {
    let twice = format!("{RIGHT}{RIGHT}");
    let said = read(twice.as_bytes()).unwrap_err().to_string();
    assert_eq!(said, "line 34 follows the end of the run");
}
