use std::collections::HashMap;

use super::Filter;

fn attributes(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

#[track_caller]
fn check(filter: &str, pairs: &[(&str, &str)], expected: bool) {
    let parsed = Filter::parse(filter).unwrap();
    assert_eq!(
        parsed.matches(&attributes(pairs)),
        expected,
        "{filter} on {pairs:?}"
    );
}

#[test]
fn filters_of_the_documentation_match() {
    check("attributes:domain", &[("domain", "x")], true);
    check("attributes:domain", &[("host", "x")], false);
    check(r#"attributes.domain = "com""#, &[("domain", "com")], true);
    check(r#"attributes.domain="com""#, &[("domain", "org")], false);
    check(r#"attributes.domain != "com""#, &[("domain", "org")], true);
    check(r#"attributes.domain != "com""#, &[], true);
    check(
        r#"attributes."iana.org/language_tag" = "en""#,
        &[("iana.org/language_tag", "en")],
        true,
    );
    check(
        r#"hasPrefix(attributes.domain, "co")"#,
        &[("domain", "com")],
        true,
    );
    check(
        r#"hasPrefix(attributes.domain, "co")"#,
        &[("domain", "org")],
        false,
    );
    check("NOT attributes:name", &[("name", "1")], false);
    check("-attributes:name", &[], true);
    check(
        "attributes:a AND attributes:b",
        &[("a", ""), ("b", "")],
        true,
    );
    check("attributes:a AND attributes:b", &[("a", "")], false);
    check("attributes:a OR attributes:b", &[("b", "")], true);
    let mixed = r#"attributes:a AND (attributes:b OR NOT attributes.c = "\x41\u00e9\101\"")"#;
    check(mixed, &[("a", ""), ("c", "AéA\"")], false);
    check(mixed, &[("a", ""), ("c", "other")], true);
    check("attributes:with-hyphen", &[("with-hyphen", "")], true);
}

#[test]
fn invalid_filters_are_refused_with_the_place() {
    for filter in [
        "attributes",
        "attributes.domain",
        "attributes.domain = com",
        "attributes:a AND attributes:b OR attributes:c",
        "attributes:a attributes:b",
        "attributes:a and attributes:b",
        "data = \"x\"",
        "hasPrefix(attributes:a, \"x\")",
        "hasPrefix(attributes.a)",
        "(attributes:a",
        "attributes:a)",
        "attributes.a = \"x",
        "attributes.a ! \"x\"",
        "attributes.a = \"\\q\"",
        "attributes.iana.org = \"x\"",
        "attributes:a AND",
        "attributes.a > \"1\"",
    ] {
        let problem = Filter::parse(filter).unwrap_err();
        assert!(problem.contains("at"), "{filter}: {problem}");
    }
    let long = format!("attributes:{}", "a".repeat(256));
    assert!(Filter::parse(&long).unwrap_err().contains("256"));
}

#[test]
fn no_input_makes_the_parser_panic() {
    let pieces = [
        "attributes",
        ":",
        ".",
        "a",
        "\"",
        "(",
        ")",
        "NOT",
        "-",
        "OR",
        "é",
        "\\u12",
        "!=",
    ];
    let mut state = 1u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..8 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
        }
        drop(Filter::parse(&text));
    }
}
