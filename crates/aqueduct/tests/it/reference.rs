//! The README's reference has every key that the configuration knows, and no other.

use std::collections::BTreeSet;

use aqueduct::{Client, Environment};

/// The keys that an error lists as valid.
async fn valid(toml: &str) -> BTreeSet<String> {
    let builder = Client::builder()
        .toml(toml)
        .environment(Environment::empty());
    let error = builder.build().await.unwrap_err().to_string();
    let (_, names) = error.split_once("valid: ").unwrap();
    names.split(", ").map(String::from).collect()
}

/// The keys in the first column of the tables under a heading; `first`, `.max` belong to a table.
fn documented(heading: &str) -> BTreeSet<String> {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once(heading).unwrap();
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| row.split('|').nth(1).unwrap().split(','))
        .map(|key| key.trim().trim_matches('`').to_string())
        .map(|key| {
            key.split('.')
                .next()
                .filter(|it| !it.is_empty())
                .map_or(key.clone(), String::from)
        })
        .filter(|key| !key.starts_with('.'))
        .collect()
}

#[tokio::test]
async fn the_reference_is_complete() {
    assert_eq!(
        documented("### `[client]`"),
        valid("[client]\nnope = 1").await
    );
    let route = "[routes.r]\ndefault = \"refuse\"\nnope = 1";
    assert_eq!(documented("### `[routes.NAME]`"), valid(route).await);
    assert_eq!(
        documented("### `[layers.NAME]`"),
        valid("[layers.nope]").await
    );
    let group = "[streams.a]\nurl = \"memory:\"\n[groups.b]\nstream = \"a\"\nnope = 1";
    assert_eq!(documented("### `[groups.NAME]`"), valid(group).await);
    let producer = "[streams.a]\nurl = \"memory:\"\nproducer = { nope = 1 }";
    assert_eq!(documented("### `[streams.NAME]`"), valid(producer).await);
}
