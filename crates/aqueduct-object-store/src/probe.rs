//! Checks at start what the store can do: some accept a condition and ignore it.

use aqueduct_core::{Error, ErrorKind, Result, Retry, Runtime};
use bytes::Bytes;

use crate::bucket::{Bucket, Content, Expect, Put};

/// The abilities that a use of the store depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Writes that create an object only if it is absent.
    Creation,
    /// Also writes that replace one version only.
    Conditions,
    /// Also metadata, and a version that changes with it.
    Metadata,
}

const ENTRY: &str = "aqueduct";

/// Writes, replaces and deletes one object.
///
/// # Errors
/// `Unsupported` if the store lacks something; `NotFound` without the container; `Denied` without
/// the permissions.
pub(crate) async fn check(bucket: &Bucket, needs: Needs, runtime: &Runtime) -> Result<()> {
    let name = format!("aqueduct-probe/{:016x}", runtime.random());
    let checked = check_with(bucket, needs, &name).await;
    let context = |error: Error| error.context(format_args!("checking {}", bucket.place()));
    match checked {
        Ok(()) => bucket.delete(&name).await.map_err(context),
        Err(error) => {
            // The first failure is the one to report.
            if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied)
                && let Err(left) = bucket.delete(&name).await
            {
                tracing::debug!(place = bucket.place(), %left, "an object of the check is left");
            }
            Err(context(error))
        }
    }
}

async fn check_with(bucket: &Bucket, needs: Needs, name: &str) -> Result<()> {
    let content = |text: &'static str| match needs {
        Needs::Metadata => Content {
            body: Bytes::new(),
            metadata: vec![(ENTRY, text.to_owned())],
        },
        _ => Content {
            body: Bytes::from_static(text.as_bytes()),
            metadata: Vec::new(),
        },
    };
    let Put::Done(first) = bucket.put(name, content("1"), Expect::Absent).await? else {
        return Err(lacks("it refuses to create an object that does not exist"));
    };
    if bucket.put(name, content("2"), Expect::Absent).await? != Put::Refused {
        return Err(lacks(
            "it ignores the condition that an object must not exist",
        ));
    }
    if needs == Needs::Creation {
        return Ok(());
    }
    match bucket
        .put(name, content("3"), Expect::Version(&first))
        .await?
    {
        Put::Done(second) if !second.is_same(&first) => {}
        Put::Done(_) => {
            return Err(lacks(
                "an object's version does not change with its metadata, so another writer's \
                 change would go unnoticed",
            ));
        }
        Put::Refused => return Err(lacks("it refuses to replace the current version")),
    }
    if bucket
        .put(name, content("4"), Expect::Version(&first))
        .await?
        != Put::Refused
    {
        return Err(lacks("it ignores the condition that a version is current"));
    }
    let Some(read) = bucket.head(name).await? else {
        return Err(lacks("an object just written is not there"));
    };
    if bucket
        .put(name, content("5"), Expect::Version(&read.version))
        .await?
        == Put::Refused
    {
        return Err(lacks("it refuses to replace a version that was just read"));
    }
    if needs == Needs::Metadata && read.metadata.get(ENTRY).map(String::as_str) != Some("3") {
        return Err(lacks("it does not keep metadata"));
    }
    Ok(())
}

fn lacks(why: &'static str) -> Error {
    let message = format!("the store cannot be used for this: {why}");
    Error::unsupported(message).with_retry(Retry::Never)
}
