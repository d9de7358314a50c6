use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aqueduct_core::{Error, ErrorKind, Result, SmallStr, Timestamp};
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{
    Attribute, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    PutPayload, UpdateVersion,
};

use crate::error::{Operation, failed, is_missing_container};

/// The objects below one prefix of a container.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// Without a slash at either end; empty for the whole container.
    prefix: SmallStr,
    /// Scheme, container and prefix, for errors.
    place: SmallStr,
}

/// An object as read.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// Empty if only the head was read.
    pub(crate) body: Bytes,
    /// Names in lower case.
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) version: Version,
    pub(crate) modified: Timestamp,
}

/// An object as listed.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// The name below the listed folder.
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) modified: Timestamp,
}

/// The content of a write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) body: Bytes,
    pub(crate) metadata: Vec<(&'static str, String)>,
}

/// The condition of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect<'a> {
    Absent,
    Version(&'a Version),
    Anything,
}

/// The result of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Done(Version),
    /// The condition did not hold.
    Refused,
}

impl Bucket {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, prefix: &str, place: SmallStr) -> Self {
        Self {
            store,
            prefix: prefix.into(),
            place,
        }
    }

    /// Returns scheme, container and prefix.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Returns the object with its body.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Object>> {
        let options = GetOptions::default();
        let Some(found) = self.open(Operation::Get, name, options).await? else {
            return Ok(None);
        };
        let (mut object, result) = found;
        let body = result.bytes().await;
        object.body = body.map_err(|error| failed(Operation::Get, self.shown(name), error))?;
        Ok(Some(object))
    }

    /// Returns the object without its body.
    pub(crate) async fn head(&self, name: &str) -> Result<Option<Object>> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let found = self.open(Operation::Head, name, options).await?;
        Ok(found.map(|(object, _)| object))
    }

    async fn open(
        &self,
        operation: Operation,
        name: &str,
        options: GetOptions,
    ) -> Result<Option<(Object, object_store::GetResult)>> {
        count(operation);
        let path = self.path(name)?;
        match self.store.get_opts(&path, options).await {
            Ok(result) => {
                let object = Object {
                    body: Bytes::new(),
                    metadata: metadata(&result.attributes),
                    version: Version::of(&result.meta),
                    modified: modified(&result.meta),
                };
                Ok(Some((object, result)))
            }
            Err(error @ object_store::Error::NotFound { .. }) if !is_missing_container(&error) => {
                Ok(None)
            }
            Err(error) => Err(failed(operation, self.shown(name), error)),
        }
    }

    /// Writes an object if `expect` holds.
    pub(crate) async fn put(
        &self,
        name: &str,
        content: Content,
        expect: Expect<'_>,
    ) -> Result<Put> {
        count(Operation::Put);
        let path = self.path(name)?;
        let mut options = PutOptions {
            mode: match expect {
                Expect::Absent => PutMode::Create,
                Expect::Version(version) => PutMode::Update(version.to_update()),
                Expect::Anything => PutMode::Overwrite,
            },
            ..PutOptions::default()
        };
        for (name, value) in content.metadata {
            let attribute = Attribute::Metadata(name.into());
            options.attributes.insert(attribute, value.into());
        }
        let payload = PutPayload::from(content.body);
        match self.store.put_opts(&path, payload, options).await {
            Ok(put) => Ok(Put::Done(Version {
                tag: put.e_tag.unwrap_or_default().into(),
                generation: put.version.map(SmallStr::from),
            })),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. }
                | object_store::Error::NotModified { .. },
            ) if !matches!(expect, Expect::Anything) => {
                metrics::counter!("aqueduct_object_store_refused_writes_total").increment(1);
                Ok(Put::Refused)
            }
            Err(error) => Err(failed(Operation::Put, self.shown(name), error)),
        }
    }

    /// Deletes an object. Returns without an error if there is none.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        count(Operation::Delete);
        match self.store.delete(&self.path(name)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(Operation::Delete, self.shown(name), error)),
        }
    }

    /// Returns every object below `folder`.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        count(Operation::List);
        let path = self.path(folder)?;
        let all: Result<Vec<ObjectMeta>, _> = self.store.list(Some(&path)).try_collect().await;
        let all = all.map_err(|error| failed(Operation::List, self.shown(folder), error))?;
        let below = |meta: &ObjectMeta| {
            let name = meta.location.as_ref().strip_prefix(path.as_ref())?;
            Some(Listed {
                name: name.strip_prefix('/')?.to_owned(),
                version: Version::of(meta),
                modified: modified(meta),
            })
        };
        Ok(all.iter().filter_map(below).collect())
    }

    /// Returns how errors name an object.
    pub(crate) fn shown(&self, name: &str) -> String {
        format!("{}/{name}", self.place)
    }

    fn path(&self, name: &str) -> Result<Path> {
        let path = match self.prefix.is_empty() {
            true => Path::parse(name),
            false => Path::parse(format!("{}/{name}", self.prefix)),
        };
        path.map_err(|error| {
            let message = format!("{}: invalid object name", self.shown(name));
            Error::new(ErrorKind::Invalid, message).with_source(error)
        })
    }
}

/// The version of an object, which every write changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    tag: SmallStr,
    /// The generation on Google Cloud Storage, which conditions compare there. Listings lack it.
    generation: Option<SmallStr>,
}

impl Version {
    fn of(meta: &ObjectMeta) -> Self {
        Self {
            tag: meta.e_tag.as_deref().unwrap_or_default().into(),
            generation: meta.version.as_deref().map(SmallStr::from),
        }
    }

    fn to_update(&self) -> UpdateVersion {
        UpdateVersion {
            e_tag: Some(self.tag.to_string()),
            version: self.generation.as_ref().map(SmallStr::to_string),
        }
    }

    /// Whether both are of the same content. Listings of some services leave out the quotes.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        !self.tag.is_empty() && self.bare() == other.bare()
    }

    /// Returns the tag without quotes.
    pub(crate) fn bare(&self) -> &str {
        self.tag.trim_matches('"')
    }

    /// Parses what [`Display`](fmt::Display) writes; `None` if it is empty.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (tag, generation) = match text.split_once('\t') {
            Some((tag, generation)) => (tag, Some(SmallStr::from(generation))),
            None => (text, None),
        };
        (!tag.is_empty()).then(|| Self {
            tag: tag.into(),
            generation,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tag)?;
        match &self.generation {
            Some(generation) => write!(f, "\t{generation}"),
            None => Ok(()),
        }
    }
}

fn metadata(attributes: &object_store::Attributes) -> BTreeMap<String, String> {
    let named = attributes.iter().filter_map(|(attribute, value)| {
        let Attribute::Metadata(name) = attribute else {
            return None;
        };
        Some((name.to_ascii_lowercase(), value.as_ref().to_owned()))
    });
    named.collect()
}

fn modified(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_millis(meta.last_modified.timestamp_millis())
}

fn count(operation: Operation) {
    metrics::counter!("aqueduct_object_store_requests_total", "operation" => operation.as_str())
        .increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_survives_its_text() {
        for (tag, generation) in [("\"0x8D\"", None), ("\"a b\"", Some("1700000000000001"))] {
            let version = Version {
                tag: tag.into(),
                generation: generation.map(SmallStr::from),
            };
            assert_eq!(Version::parse(&version.to_string()), Some(version));
        }
        assert_eq!(Version::parse(""), None);
        let quoted = Version::parse("\"0x8D\"").unwrap();
        let listed = Version::parse("0x8D").unwrap();
        assert!(quoted.is_same(&listed));
        assert!(!Version::default().is_same(&Version::default()));
    }
}
