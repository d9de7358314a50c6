use std::collections::BTreeMap;

use md5::{Digest as _, Md5};

use super::message::{AttributeData, MessageAttribute};

/// Returns the MD5 of a body in hexadecimal digits.
pub(super) fn of_body(body: &str) -> String {
    hex(&Md5::digest(body.as_bytes()))
}

/// Returns the MD5 of attributes as the service computes it; `None` if there are none.
pub(super) fn of_attributes(attributes: &BTreeMap<String, MessageAttribute>) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut digest = Md5::new();
    for (name, attribute) in attributes {
        put(&mut digest, name.as_bytes());
        put(&mut digest, attribute.data_type.as_bytes());
        let (transport, value) = match &attribute.data {
            AttributeData::Text(text) => (1u8, text.as_bytes()),
            AttributeData::Binary(bytes) => (2u8, bytes.as_slice()),
        };
        digest.update([transport]);
        put(&mut digest, value);
    }
    Some(hex(&digest.finalize()))
}

fn put(digest: &mut Md5, bytes: &[u8]) {
    digest.update((bytes.len() as u32).to_be_bytes());
    digest.update(bytes);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
