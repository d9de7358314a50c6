use aqueduct_core::{Error, ErrorKind, GroupName, Result, SmallStr, StreamName};
use bytes::Bytes;

use super::ObjectDeadLetters;
use crate::bucket::{Content, Expect};
use crate::names::{segment, text};

/// The folder of every held key.
const FOLDER: &str = "held-keys";

impl ObjectDeadLetters {
    pub(super) async fn hold(
        &self,
        group: &GroupName,
        stream: &StreamName,
        key: &str,
    ) -> Result<()> {
        let name = format!("{}/{}", folder(group, stream), segment(key));
        let content = Content {
            body: Bytes::copy_from_slice(key.as_bytes()),
            metadata: Vec::new(),
        };
        self.bucket
            .put(&name, content, Expect::Anything)
            .await
            .map(drop)
    }

    pub(super) async fn held(
        &self,
        group: &GroupName,
        stream: &StreamName,
    ) -> Result<Vec<SmallStr>> {
        let folder = folder(group, stream);
        let mut keys = Vec::new();
        for object in self.bucket.list(&folder).await? {
            if let Some(key) = text(&object.name) {
                keys.push(SmallStr::from(key));
                continue;
            }
            // A long key has a digest for its name.
            let name = format!("{folder}/{}", object.name);
            let Some(found) = self.bucket.get(&name).await? else {
                continue;
            };
            let key = std::str::from_utf8(&found.body).map_err(|error| {
                let message = format!("{}: it is not a held key", self.bucket.shown(&name));
                Error::new(ErrorKind::Corrupt, message).with_source(error)
            })?;
            keys.push(SmallStr::from(key));
        }
        Ok(keys)
    }

    pub(super) async fn let_go(
        &self,
        group: &GroupName,
        stream: &StreamName,
        key: &str,
    ) -> Result<()> {
        let name = format!("{}/{}", folder(group, stream), segment(key));
        self.bucket.delete(&name).await
    }
}

fn folder(group: &GroupName, stream: &StreamName) -> String {
    format!(
        "{FOLDER}/{}/{}",
        segment(stream.as_str()),
        segment(group.as_str())
    )
}
