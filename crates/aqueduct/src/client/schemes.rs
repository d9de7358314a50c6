use std::collections::BTreeMap;
use std::sync::Arc;

use aqueduct_core::{Backend, Error, Options, Resource, Result, SmallStr, Url};
use aqueduct_memory::MemoryBackend;

use crate::config::{Target, list};

/// The backends by scheme: those compiled in, and those added by code.
pub(super) enum Schemes {
    ByName(BTreeMap<SmallStr, Arc<dyn Backend>>),
    /// Whether every scheme is in memory, for tests of applications.
    Only(MemoryBackend),
}

/// The schemes whose backend is behind the cargo feature of the same name.
const FEATURES: [&str; 6] = [
    "dynamodb",
    "eventhubs",
    "kinesis",
    "pubsub",
    "sqlite",
    "sqs",
];

/// The schemes behind the cargo feature `object-store`.
const OBJECT_STORES: [&str; 4] = ["az", "file", "gs", "s3"];

/// Returns the name that OpenTelemetry's conventions have for the system behind a scheme; the
/// scheme itself if they have none.
pub(super) fn messaging_system(scheme: &str) -> SmallStr {
    match scheme {
        "kinesis" => SmallStr::literal("aws_kinesis"),
        "sqs" => SmallStr::literal("aws_sqs"),
        "pubsub" => SmallStr::literal("gcp_pubsub"),
        other => other.into(),
    }
}

impl Schemes {
    pub(super) fn new(brought: BTreeMap<SmallStr, Arc<dyn Backend>>) -> Self {
        let mut schemes = BTreeMap::new();
        let compiled: Vec<Arc<dyn Backend>> = vec![
            Arc::new(MemoryBackend::new()),
            #[cfg(feature = "dynamodb")]
            Arc::new(aqueduct_dynamodb::DynamoDbBackend::new()),
            #[cfg(feature = "eventhubs")]
            Arc::new(aqueduct_eventhubs::EventHubsBackend::new()),
            #[cfg(feature = "kinesis")]
            Arc::new(aqueduct_kinesis::KinesisBackend::new()),
            #[cfg(feature = "object-store")]
            Arc::new(aqueduct_object_store::ObjectStoreBackend::new()),
            #[cfg(feature = "pubsub")]
            Arc::new(aqueduct_pubsub::PubSubBackend::new()),
            #[cfg(feature = "sqlite")]
            Arc::new(aqueduct_sqlite::SqliteBackend::new()),
            #[cfg(feature = "sqs")]
            Arc::new(aqueduct_sqs::SqsBackend::new()),
        ];
        for backend in compiled {
            for scheme in backend.schemes() {
                schemes.insert(SmallStr::literal(scheme), backend.clone());
            }
        }
        schemes.extend(brought);
        Self::ByName(schemes)
    }

    pub(super) fn only(memory: MemoryBackend) -> Self {
        Self::Only(memory)
    }

    /// Returns the resource of a target. `id` is its place in the configuration.
    pub(super) fn parse(
        &self,
        id: &SmallStr,
        target: &Target,
        source: Option<&SmallStr>,
    ) -> Result<Arc<dyn Resource>> {
        let scheme = target.url.scheme();
        let place = target.options.place();
        let schemes = match self {
            Self::ByName(schemes) => schemes,
            Self::Only(memory) => return in_memory(memory, target),
        };
        let Some(backend) = schemes.get(scheme) else {
            // An inline URL has its own key; a table's is under `url`.
            let key = match id.strip_prefix("groups.") {
                Some(_) => id.to_string(),
                None => format!("{place}.url"),
            };
            return Err(Error::config(format!(
                "{key} = \"{}\": {}; compiled in: {}",
                target.shown,
                missing(scheme),
                list(schemes.keys())
            )));
        };
        let mut options = target.options.clone();
        if let Some(source) = source {
            options.set_default_source(source.clone());
        }
        backend
            .parse(&target.name, &target.url, options)
            .map_err(|error| match error.message().contains("no such option") {
                true if !target.common.is_empty() => {
                    let said = format!("{}, {}", error.message(), target.common.join(", "));
                    Error::new(error.kind(), said)
                }
                _ => error,
            })
    }
}

/// Returns the target in memory. It keeps only the number of partitions, the one common option.
fn in_memory(memory: &MemoryBackend, target: &Target) -> Result<Arc<dyn Resource>> {
    let mut given = target.options.clone();
    let mut options = Options::new(given.place());
    if let Some(partitions) = given.text("partitions")? {
        options = options.with("partitions", partitions);
    }
    let url = Url::parse("memory:").map_err(|error| Error::config(error.to_string()))?;
    memory.parse(&target.name, &url, options)
}

fn missing(scheme: &str) -> String {
    let feature = match OBJECT_STORES.contains(&scheme) {
        true => Some("object-store"),
        false => FEATURES.contains(&scheme).then_some(scheme),
    };
    if let Some(feature) = feature {
        return format!(
            "the scheme `{scheme}` is not compiled in: enable the cargo feature `{feature}` of aqueduct"
        );
    }
    format!("no backend has the scheme `{scheme}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_names_a_feature_only_if_it_exists() {
        let manifest = include_str!("../../Cargo.toml");
        for scheme in FEATURES {
            assert!(missing(scheme).contains(&format!("feature `{scheme}`")));
            assert!(manifest.contains(&format!("\n{scheme} = [\"dep:aqueduct-{scheme}\"]")));
        }
        assert!(manifest.contains("\nobject-store = [\"dep:aqueduct-object-store\"]"));
        for scheme in OBJECT_STORES {
            assert!(missing(scheme).contains("feature `object-store`"));
        }
        let said = missing("kafka");
        assert!(
            said.contains("no backend") && !said.contains("feature"),
            "{said}"
        );
    }
}
