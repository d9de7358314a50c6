//! Names that the services accept.

/// Returns whether it may be part of a prefix.
pub(crate) fn is_name(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._=$-".contains(&byte))
        && !matches!(name, "." | "..")
}

/// Returns whether it may name a storage account.
pub(crate) fn is_account(name: &str) -> bool {
    (3..=24).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Returns whether it may name a container of Blob Storage.
pub(crate) fn is_container(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

/// Returns whether it may name a bucket of S3 or Google Cloud Storage, which has up to 222 bytes with dots.
pub(crate) fn is_bucket(name: &str) -> bool {
    (3..=222).contains(&name.len())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte)
        })
}

/// Returns whether it may name an Event Hubs namespace.
pub(crate) fn is_namespace(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
}
