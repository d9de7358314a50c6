use std::collections::BTreeMap;
use std::sync::Arc;

use aqueduct_core::{Backend, Error, Options, Resource, Result, SmallStr, Url};
use aqueduct_memory::MemoryBackend;

use crate::config::{Target, list};

/// The backends by scheme: those compiled in, and those that code brought.
pub(super) enum Schemes {
    ByName(BTreeMap<SmallStr, Arc<dyn Backend>>),
    /// Everything is in memory, for tests of applications.
    Only(MemoryBackend),
}

/// Schemes of backends that exist, and the cargo feature that compiles each in.
const FEATURES: [(&str, &str); 9] = [
    ("sqlite", "sqlite"),
    ("kinesis", "kinesis"),
    ("dynamodb", "dynamodb"),
    ("sqs", "sqs"),
    ("eventhubs", "eventhubs"),
    ("pubsub", "pubsub"),
    ("s3", "object-store"),
    ("gs", "object-store"),
    ("az", "object-store"),
];

impl Schemes {
    pub(super) fn new(brought: BTreeMap<SmallStr, Arc<dyn Backend>>) -> Self {
        let mut schemes = BTreeMap::new();
        let compiled: Vec<Arc<dyn Backend>> = vec![
            Arc::new(MemoryBackend::new()),
            #[cfg(feature = "dynamodb")]
            Arc::new(aqueduct_dynamodb::DynamoDbBackend::new()),
            #[cfg(feature = "kinesis")]
            Arc::new(aqueduct_kinesis::KinesisBackend::new()),
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

    /// The resource of a target. `id` is where the configuration has it.
    pub(super) fn parse(&self, id: &SmallStr, target: &Target) -> Result<Arc<dyn Resource>> {
        let scheme = target.url.scheme();
        let place = target.options.place();
        let schemes = match self {
            Self::ByName(schemes) => schemes,
            Self::Only(memory) => return in_memory(memory, target),
        };
        let Some(backend) = schemes.get(scheme) else {
            // An inline URL stands under its own key, a table's under `url`.
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
        backend
            .parse(&target.name, &target.url, target.options.clone())
            .map_err(|error| match error.message().contains("no such option") {
                true if !target.common.is_empty() => {
                    let said = format!("{}, {}", error.message(), target.common.join(", "));
                    Error::new(error.kind(), said)
                }
                _ => error,
            })
    }
}

/// The target in memory. Of its options only the number of partitions means the same everywhere.
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
    match FEATURES.iter().find(|(known, _)| *known == scheme) {
        Some((_, feature)) => format!(
            "the scheme `{scheme}` is not compiled in: enable the cargo feature `{feature}` of aqueduct"
        ),
        None => format!("no backend has the scheme `{scheme}`"),
    }
}
