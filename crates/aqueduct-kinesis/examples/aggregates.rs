//! Aggregates in files, to exchange with other libraries: `NAME.bin` is an aggregate, `NAME.json`
//! lists what it holds.
//!
//! `aggregates write DIR` writes some; `aggregates check DIR` reads all, and writes their records
//! again: the same bytes.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use aqueduct_kinesis::aggregation::{Aggregate, split};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() -> Fallible<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", folder] => write(Path::new(folder)),
        ["check", folder] => check(Path::new(folder)),
        _ => Err("usage: aggregates write|check DIR".into()),
    }
}

struct Record {
    key: String,
    hash: Option<u128>,
    data: Vec<u8>,
}

fn write(folder: &Path) -> Fallible<()> {
    let cases = cases();
    for (name, records) in &cases {
        let listed: Vec<Value> = records
            .iter()
            .map(|record| {
                json!({
                    "key": record.key,
                    "hash": record.hash.map(|hash| hash.to_string()),
                    "data": STANDARD.encode(&record.data),
                })
            })
            .collect();
        fs::write(
            folder.join(format!("{name}.json")),
            serde_json::to_vec(&listed)?,
        )?;
        fs::write(folder.join(format!("{name}.bin")), aggregate(records))?;
    }
    println!("aqueduct: {} aggregates written", cases.len());
    Ok(())
}

fn check(folder: &Path) -> Fallible<()> {
    let mut checked = 0;
    for path in aggregates(folder)? {
        let shown = path.display();
        let data = Bytes::from(fs::read(&path)?);
        let listed: Vec<Value> = serde_json::from_slice(&fs::read(path.with_extension("json"))?)?;
        let inner = split(&data).map_err(|error| format!("{shown}: {error}"))?;
        let read: Vec<Value> = inner
            .iter()
            .map(|record| {
                json!({
                    "key": record.partition_key,
                    "hash": record.explicit_hash_key.map(|hash| hash.to_string()),
                    "data": STANDARD.encode(&record.data),
                })
            })
            .collect();
        if read != listed {
            return Err(format!("{shown}: other records than listed").into());
        }
        let mut again = Aggregate::new();
        for record in &inner {
            again.push(record.partition_key, record.explicit_hash_key, &record.data);
        }
        if again.finish() != data {
            return Err(format!("{shown}: other bytes of the same records").into());
        }
        checked += 1;
    }
    if checked == 0 {
        return Err(format!("no aggregate in {}", folder.display()).into());
    }
    println!("aqueduct: {checked} aggregates read, and written again byte for byte");
    Ok(())
}

fn aggregates(folder: &Path) -> Fallible<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "bin") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn aggregate(records: &[Record]) -> Bytes {
    let mut aggregate = Aggregate::new();
    for record in records {
        aggregate.push(&record.key, record.hash, &record.data);
    }
    aggregate.finish()
}

/// Sizes on both sides of each length that needs a byte more, keys that return, and hash keys at
/// the ends of their range.
fn cases() -> Vec<(&'static str, Vec<Record>)> {
    let sizes = [
        0, 1, 120, 121, 122, 123, 127, 128, 129, 16_376, 16_383, 16_384, 100_000,
    ];
    let hashes = [
        Some(0),
        Some(u128::MAX),
        None,
        Some(1 << 127),
        Some(9),
        Some(10),
    ];
    vec![
        ("one", records(1, |_| ("a".into(), None, 100))),
        (
            "sizes",
            records(sizes.len(), |at| {
                (format!("key-{}", at % 3), None, sizes[at])
            }),
        ),
        (
            "keys",
            records(20_000, |at| {
                (format!("key-{}", at * 7919 % 17_000), None, at % 9)
            }),
        ),
        (
            "hashes",
            records(60, |at| (format!("key-{}", at % 7), hashes[at % 6], 20)),
        ),
        (
            "many-hashes",
            records(2_000, |at| {
                ("key".into(), Some(u128::MAX / 2_000 * at as u128), 10)
            }),
        ),
        (
            "long-keys",
            records(20, |at| ("ключ".repeat(at * 3 + 1), None, 5)),
        ),
    ]
}

fn records(number: usize, make: impl Fn(usize) -> (String, Option<u128>, usize)) -> Vec<Record> {
    (0..number)
        .map(|at| {
            let (key, hash, size) = make(at);
            let data = (0..size).map(|byte| (byte * 31 + at) as u8).collect();
            Record { key, hash, data }
        })
        .collect()
}
