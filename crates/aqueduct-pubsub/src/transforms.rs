//! The message transforms of a subscription: the service applies them before it hands a message out.

use aqueduct_core::{Error, Result};
use google_cloud_pubsub::model::compression::{CompressionAlgorithm, CompressionMode};
use google_cloud_pubsub::model::message_transform::Transform;
use google_cloud_pubsub::model::{Compression, MessageTransform, Subscription};

/// A subscription whose messages arrive compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compressed {
    /// It is refused. The default: handlers would not expect such data.
    Refuse,
    /// The data is decompressed with zlib before handlers see it.
    Zlib,
    /// Handlers decompress the data.
    Accept,
}

/// Reads the transforms of a subscription; returns whether its data has to be decompressed here. Warns of
/// each that can change or drop messages.
///
/// # Errors
/// `Config` if messages arrive compressed and `compressed` does not say what to do, or names another
/// algorithm.
pub(crate) fn check(
    name: &str,
    subscription: &Subscription,
    compressed: Compressed,
) -> Result<bool> {
    let applied = subscription.message_transforms.iter();
    let applied: Vec<&MessageTransform> = applied.filter(|it| !it.disabled).collect();
    for transform in &applied {
        tracing::warn!(
            subscription = name,
            transform = name_of(transform),
            "a message transform of the subscription can change or drop messages"
        );
    }
    let Some(last) = applied.iter().rev().find_map(|it| compression(it)) else {
        return Ok(false);
    };
    if last.compression_mode == CompressionMode::Decompress {
        return Ok(false);
    }
    let refuse = |why: String| Err(Error::config(format!("subscription {name}: {why}")));
    match compressed {
        Compressed::Accept => Ok(false),
        Compressed::Zlib if last.compression_algorithm == CompressionAlgorithm::Zlib => Ok(true),
        Compressed::Zlib => refuse(format!(
            "a message transform compresses the data with {:?}, which is not zlib; remove it, or decode in \
             the handlers and set compressed = \"accept\"",
            last.compression_algorithm
        )),
        Compressed::Refuse => refuse(
            "a message transform compresses the data, and no decoder is set; remove it, set compressed = \
             \"zlib\" to decompress it here, or decode in the handlers and set compressed = \"accept\""
                .into(),
        ),
    }
}

fn compression(transform: &MessageTransform) -> Option<&Compression> {
    match &transform.transform {
        Some(Transform::Compression(compression)) => Some(compression),
        _ => None,
    }
}

fn name_of(transform: &MessageTransform) -> &'static str {
    match &transform.transform {
        Some(Transform::JavascriptUdf(_)) => "a JavaScript function",
        Some(Transform::AiInference(_)) => "an AI inference",
        Some(Transform::Compression(_)) => "compression",
        _ => "a transform of a kind that is not known here",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transform(mode: CompressionMode, algorithm: CompressionAlgorithm) -> MessageTransform {
        MessageTransform::new().set_compression(
            Compression::new()
                .set_compression_mode(mode)
                .set_compression_algorithm(algorithm),
        )
    }

    fn checked(transforms: Vec<MessageTransform>, compressed: Compressed) -> Result<bool> {
        let subscription = Subscription::new().set_message_transforms(transforms);
        check("orders.billing", &subscription, compressed)
    }

    #[test]
    fn what_arrives_compressed_needs_a_decoder() {
        let zlib = || transform(CompressionMode::Compress, CompressionAlgorithm::Zlib);
        let error = checked(vec![zlib()], Compressed::Refuse).unwrap_err();
        assert!(
            error.to_string().contains("compressed = \"zlib\""),
            "{error}"
        );
        assert!(checked(vec![zlib()], Compressed::Zlib).unwrap());
        assert!(!checked(vec![zlib()], Compressed::Accept).unwrap());
        let disabled = zlib().set_disabled(true);
        assert!(!checked(vec![disabled], Compressed::Refuse).unwrap());
        let undone = transform(CompressionMode::Decompress, CompressionAlgorithm::Zlib);
        assert!(!checked(vec![zlib(), undone], Compressed::Refuse).unwrap());
        assert!(!checked(Vec::new(), Compressed::Zlib).unwrap());
    }

    #[test]
    fn an_algorithm_that_is_not_known_is_refused_by_its_name() {
        let other = transform(
            CompressionMode::Compress,
            CompressionAlgorithm::from("BROTLI"),
        );
        let error = checked(vec![other], Compressed::Zlib).unwrap_err();
        assert!(error.to_string().contains("BROTLI"), "{error}");
    }
}
