use aqueduct_core::{GroupKey, PartitionId, SmallStr};

use crate::names::{segment, text};

/// Where leases are stored, and in what form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Our own: the fields are the body of an object.
    Own,
    /// That of Microsoft's event processors: the fields are metadata of an empty blob.
    Processor(Processor),
}

/// The names that Microsoft's event processors derive their blobs' names from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Processor {
    /// The fully qualified namespace, in lower case.
    pub(crate) namespace: SmallStr,
    /// The event hub, if it is not the group's stream.
    pub(crate) hub: Option<SmallStr>,
    /// The consumer group, if it is not the group.
    pub(crate) consumer_group: Option<SmallStr>,
}

/// The folder of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    path: String,
    is_processor: bool,
}

/// The kind of an object of the folder; `String` is its file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Record,
    Lease(String),
    Checkpoint(String),
}

impl Layout {
    pub(super) fn folder(&self, key: &GroupKey) -> Folder {
        match self {
            Self::Own => Folder {
                path: format!(
                    "leases/{}/{}",
                    segment(key.stream.as_str()),
                    segment(key.group.as_str())
                ),
                is_processor: false,
            },
            Self::Processor(names) => {
                let hub = names.hub.as_ref().unwrap_or(key.stream.text());
                let group = names.consumer_group.as_ref().unwrap_or(key.group.text());
                let lower = |name: &SmallStr| segment(&name.to_lowercase());
                Folder {
                    path: format!(
                        "{}/{}/{}",
                        lower(&names.namespace),
                        lower(hub),
                        lower(group)
                    ),
                    is_processor: true,
                }
            }
        }
    }

    pub(super) fn is_processor(&self) -> bool {
        matches!(self, Self::Processor(_))
    }
}

impl Folder {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn record(&self) -> String {
        let file = if self.is_processor {
            "aqueduct/group"
        } else {
            "group"
        };
        format!("{}/{file}", self.path)
    }

    pub(super) fn lease(&self, partition: &PartitionId) -> String {
        self.lease_at(&self.file(partition))
    }

    pub(super) fn lease_at(&self, file: &str) -> String {
        let folder = if self.is_processor {
            "ownership"
        } else {
            "partitions"
        };
        format!("{}/{folder}/{file}", self.path)
    }

    pub(super) fn checkpoint(&self, partition: &PartitionId) -> String {
        self.checkpoint_at(&self.file(partition))
    }

    pub(super) fn checkpoint_at(&self, file: &str) -> String {
        format!("{}/checkpoint/{file}", self.path)
    }

    /// Returns what the object `name` below the folder is; `None` if it is not of this layout.
    pub(super) fn entry(&self, name: &str) -> Option<Entry> {
        if let Some(record) = self.record().strip_prefix(&self.path)
            && record.strip_prefix('/') == Some(name)
        {
            return Some(Entry::Record);
        }
        let (folder, file) = name.split_once('/')?;
        if file.contains('/') {
            return None;
        }
        match (folder, self.is_processor) {
            ("ownership", true) | ("partitions", false) => Some(Entry::Lease(file.to_owned())),
            ("checkpoint", true) => Some(Entry::Checkpoint(file.to_owned())),
            _ => None,
        }
    }

    fn file(&self, partition: &PartitionId) -> String {
        match self.is_processor {
            true => segment(&partition.as_str().to_lowercase()),
            false => segment(partition.as_str()),
        }
    }
}

/// Returns the partition that a foreign blob names.
pub(super) fn partition_of(file: &str) -> Option<PartitionId> {
    text(file).map(PartitionId::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processor() -> Layout {
        Layout::Processor(Processor {
            namespace: "Shop.servicebus.windows.net".into(),
            hub: None,
            consumer_group: None,
        })
    }

    #[test]
    fn blobs_have_the_names_that_microsoft_gives_them() {
        let folder = processor().folder(&GroupKey::new("$Default", "Orders"));
        let zero = PartitionId::new("0");
        let place = "shop.servicebus.windows.net/orders/$default";
        assert_eq!(folder.lease(&zero), format!("{place}/ownership/0"));
        assert_eq!(folder.checkpoint(&zero), format!("{place}/checkpoint/0"));
        assert_eq!(folder.entry("ownership/0"), Some(Entry::Lease("0".into())));
        assert_eq!(folder.entry("aqueduct/group"), Some(Entry::Record));
        assert_eq!(folder.entry("ownership/0/x"), None);
        assert_eq!(partition_of("0"), Some(zero));
    }

    #[test]
    fn hub_and_consumer_group_may_have_names_of_their_own() {
        let Layout::Processor(mut names) = processor() else {
            unreachable!()
        };
        names.hub = Some("Events".into());
        names.consumer_group = Some("$Default".into());
        let folder = Layout::Processor(names).folder(&GroupKey::new("billing", "orders"));
        assert!(folder.path().ends_with("/events/$default"));
    }

    #[test]
    fn groups_have_folders_of_their_own() {
        let a = Layout::Own.folder(&GroupKey::new("g", "s"));
        let b = Layout::Own.folder(&GroupKey::new("g", "s/x"));
        assert_eq!(a.path(), "leases/s/g");
        assert_eq!(b.path(), "leases/s=2fx/g");
        assert_eq!(a.entry("group"), Some(Entry::Record));
        assert_eq!(a.entry("partitions/0"), Some(Entry::Lease("0".into())));
        assert_eq!(a.entry("checkpoint/0"), None);
    }
}
