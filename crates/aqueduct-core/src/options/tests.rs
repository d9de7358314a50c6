use proptest::prelude::*;

use super::*;

#[test]
fn errors_name_the_key_the_text_as_written_and_the_choices() {
    let mut options = Options::new("streams.orders").with("sync", "sometimes");
    options.set("retention", "hunter2", "${RETENTION}");
    let error = options.choice("sync", &["full", "normal"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "streams.orders.sync = \"sometimes\": expected one of full, normal"
    );
    let error = options.duration("retention").unwrap_err().to_string();
    assert!(
        error.contains("${RETENTION}") && !error.contains("hunter2"),
        "{error}"
    );
    let error = options
        .clone()
        .with("colour", "red")
        .finish()
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "streams.orders.colour: no such option; valid: retention, sync"
    );
    assert!(!format!("{options:?}").contains("hunter2"));
}

#[test]
fn a_query_joins_what_is_set_and_leaves_it() {
    let url = Url::parse("sqlite:orders.db?sync=full&retention=7%64").unwrap();
    let mut options = Options::new("streams.orders").with("sync", "normal");
    options.join_query(&url);
    assert_eq!(options.text("sync").unwrap().as_deref(), Some("normal"));
    assert_eq!(options.text("retention").unwrap().as_deref(), Some("7d"));
    options.finish().unwrap();
}

#[test]
fn parts_of_urls_are_decoded_or_refused() {
    assert_eq!(percent_decode("a%20%C3%A9%2f").as_deref(), Some("a é/"));
    for wrong in ["%", "%4", "%zz", "%ff"] {
        assert_eq!(percent_decode(wrong), None, "{wrong}");
    }
}

#[test]
fn units_are_exact() {
    assert_eq!(parse_duration("200ms"), Some(Duration::from_millis(200)));
    assert_eq!(parse_bytes("10MiB"), Some(10 << 20));
    for wrong in ["", "ms", "5", "5 weeks", "-1s", "99999999999999999999s"] {
        assert_eq!(parse_duration(wrong), None, "{wrong}");
    }
    for wrong in [
        "",
        "B",
        "KiB",
        "1KB",
        "1 kib",
        "-1",
        "1.5MiB",
        "99999999999TiB",
    ] {
        assert_eq!(parse_bytes(wrong), None, "{wrong}");
    }
}

#[test]
fn each_reader_refuses_what_it_does_not_take_and_says_what_it_does() {
    let mut options = Options::new("streams.orders").with("it", "maybe");
    assert!(options.contains("it") && !options.contains("other"));
    let errors = [
        options.boolean("it").unwrap_err(),
        options.number("it", 1..=9u8).unwrap_err(),
        options.duration("it").unwrap_err(),
        options.bytes("it").unwrap_err(),
        options.choice("it", &["yes", "no"]).unwrap_err(),
    ];
    for (error, expected) in errors.iter().zip([
        "true or false",
        "a whole number from 1 to 9",
        "a duration such as",
        "a size such as",
        "one of yes, no",
    ]) {
        assert_eq!(error.kind(), crate::ErrorKind::Config);
        let said = error.to_string();
        assert!(
            said.starts_with("streams.orders.it = \"maybe\": expected "),
            "{said}"
        );
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(options.text("it").unwrap().as_deref(), Some("maybe"));
    assert!(
        Options::new("x")
            .with("n", "10")
            .number("n", 1..=9u8)
            .is_err()
    );
    assert!(
        Options::new("x")
            .with("n", "-1")
            .number("n", 0..=9u8)
            .is_err()
    );
    assert!(Options::new("x").finish().is_ok());
    let unread = Options::new("x").with("n", "1").finish().unwrap_err();
    assert_eq!(unread.to_string(), "x.n: no such option; valid: none");
}

proptest! {
    #[test]
    fn durations_come_back(
        number in 0..1_000_000u64,
        (unit, millis) in prop::sample::select(vec![
            ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
        ]),
    ) {
        let expected = Some(Duration::from_millis(number * millis));
        prop_assert_eq!(parse_duration(&format!("{number}{unit}")), expected);
        prop_assert_eq!(parse_duration(&format!("{number} {unit}")), expected);
    }

    #[test]
    fn sizes_come_back(
        number in 0..1_000_000u64,
        (unit, shift) in prop::sample::select(vec![
            ("", 0), ("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40),
        ]),
    ) {
        prop_assert_eq!(parse_bytes(&format!("{number}{unit}")), Some(number << shift));
    }

    #[test]
    fn any_text_is_answered(text: String, digits in "[0-9]{0,25} ?[a-zA-Z]{0,4}") {
        for text in [text, digits] {
            parse_duration(&text);
            parse_bytes(&text);
            let mut options = Options::new("x").with("n", text.clone());
            prop_assert_eq!(options.number::<u64>("n", 0..=u64::MAX).ok(),
                text.parse().ok().map(Some));
        }
    }
}
