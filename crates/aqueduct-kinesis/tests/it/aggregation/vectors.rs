//! Vectors made by Amazon's libraries for Python and Node.js; `integration-tests/interop` regenerates them.

use std::fs;
use std::path::Path;

use aqueduct_kinesis::aggregation::{Aggregate, is_aggregated, split};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

#[test]
fn aggregates_of_amazons_libraries_are_read_and_made_byte_for_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/aggregation/vectors");
    let mut makers = [("node-", 0), ("python-", 0)];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let data = Bytes::from(fs::read(&path).unwrap());
        let listed = fs::read(path.with_extension("json")).unwrap();
        check(
            &name,
            &data,
            &serde_json::from_slice::<Vec<Value>>(&listed).unwrap(),
        );
        for (maker, seen) in &mut makers {
            *seen += usize::from(name.starts_with(*maker));
        }
    }
    for (maker, seen) in makers {
        assert!(seen >= 10, "{seen} vectors of {maker}");
    }
}

fn check(name: &str, data: &Bytes, listed: &[Value]) {
    assert!(is_aggregated(data), "{name}");
    let inner = split(data).expect(name);
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
    assert_eq!(read, listed, "{name}");

    let mut again = Aggregate::new();
    for record in &inner {
        again.push(record.partition_key, record.explicit_hash_key, &record.data);
    }
    assert_eq!(
        again.finish(),
        data,
        "{name}: the same records, other bytes"
    );
}
