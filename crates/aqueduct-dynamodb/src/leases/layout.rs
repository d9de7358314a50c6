use aqueduct_core::{Error, ErrorKind, GroupKey, PartitionId, Result, Retry, SmallStr};

use crate::expression::Expression;
use crate::item::{Item, Row, text};

use super::columns as col;

/// Which rows of a table belong to which group and stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One group on one stream has the table, and a row's key is the shard's id: as KCL keeps an
    /// application that reads one stream.
    Kcl,
    /// One group has the table, and a row's key is the stream's identifier and the shard's id: as
    /// KCL keeps an application that reads several streams.
    KclMulti(Vec<StreamId>),
    /// Any number of groups and streams share the table, by a prefix of the key. Not for KCL.
    Shared,
}

/// A stream as KCL names it among several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamId {
    /// `ACCOUNT:STREAM:CREATION_EPOCH`
    pub(crate) id: SmallStr,
    stream: SmallStr,
}

impl Layout {
    /// The layout of these identifiers, with commas in between; `None` where one is none.
    pub(crate) fn multi(ids: &str) -> Option<Self> {
        let mut streams: Vec<StreamId> = Vec::new();
        for id in ids.split(',').map(str::trim) {
            let parts: Vec<&str> = id.split(':').collect();
            let digits =
                |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            match parts[..] {
                [account, stream, epoch]
                    if digits(account)
                        && digits(epoch)
                        && !stream.is_empty()
                        && streams.iter().all(|known| known.stream != stream) =>
                {
                    streams.push(StreamId {
                        id: SmallStr::from(id),
                        stream: SmallStr::from(stream),
                    });
                }
                _ => return None,
            }
        }
        Some(Self::KclMulti(streams))
    }

    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Kcl => "kcl",
            Self::KclMulti(_) => "kcl-multi",
            Self::Shared => "shared",
        }
    }

    /// Where a group's rows are.
    pub(crate) fn place(&self, key: &GroupKey) -> Result<Place> {
        let (prefix, stream_id) = match self {
            Self::Kcl => (String::new(), None),
            Self::KclMulti(streams) => {
                let known = streams.iter().find(|it| it.stream == key.stream.as_str());
                let Some(known) = known else {
                    return Err(Error::config(format!(
                        "stream_ids: stream {} is not among them, as ACCOUNT:{}:CREATION_EPOCH",
                        key.stream, key.stream
                    )));
                };
                (format!("{}:", known.id), Some(known.id.clone()))
            }
            Self::Shared => {
                let (group, stream) = (escape(key.group.as_str()), escape(key.stream.as_str()));
                (format!("{group}/{stream}/"), None)
            }
        };
        Ok(Place {
            layout: self.as_str(),
            key: key.clone(),
            prefix,
            stream_id,
        })
    }

    /// The key of a group's record in the state table.
    pub(crate) fn record_key(&self, table: &str, key: &GroupKey) -> String {
        let (group, stream) = (escape(key.group.as_str()), escape(key.stream.as_str()));
        match self {
            // The same for all, so that there can only be one.
            Self::Kcl => format!("group/{table}"),
            Self::KclMulti(_) => format!("group/{table}/{stream}"),
            Self::Shared => format!("group/{table}/{group}/{stream}"),
        }
    }
}

/// Where the rows of one group on one stream are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    layout: &'static str,
    pub(crate) key: GroupKey,
    prefix: String,
    pub(crate) stream_id: Option<SmallStr>,
}

impl Place {
    pub(crate) fn lease_key(&self, partition: &PartitionId) -> String {
        format!("{}{partition}", self.prefix)
    }

    /// Which rows to ask the table for; KCL's layouts ask for all, to see what does not belong.
    pub(crate) fn filter(&self) -> Option<Expression> {
        if self.prefix.is_empty() || self.stream_id.is_some() {
            return None;
        }
        let mut filter = Expression::default();
        let name = filter.name(col::LEASE_KEY);
        let prefix = filter.value(text(self.prefix.as_str()));
        filter.expect(format!("begins_with({name}, {prefix})"));
        Some(filter)
    }

    /// The partition of a row of this group and stream; `None` for another's, and for what is no
    /// lease.
    ///
    /// # Errors
    /// `Conflict` where the table belongs to others.
    pub(crate) fn partition(&self, row: Row<'_>) -> Result<Option<PartitionId>> {
        if !is_lease(row.item) {
            return Ok(None);
        }
        let lease_key = row.need_text(col::LEASE_KEY)?;
        let Some(partition) = lease_key.strip_prefix(self.prefix.as_str()) else {
            return match self.layout {
                "kcl-multi" => {
                    self.check_group(row)?;
                    match row.has(col::STREAM_NAME) {
                        true => Ok(None),
                        false => Err(self.other_layout(row, "kcl")),
                    }
                }
                _ => Ok(None),
            };
        };
        if self.layout == "kcl" && row.has(col::STREAM_NAME) {
            return Err(self.other_layout(row, "kcl-multi"));
        }
        self.check_group(row)?;
        if let Some(stream) = row.text(col::STREAM)?
            && stream != self.key.stream.as_str()
        {
            return Err(self.not_ours(row));
        }
        Ok(Some(PartitionId::new(partition)))
    }

    fn check_group(&self, row: Row<'_>) -> Result<()> {
        match row.text(col::GROUP)? {
            Some(group) if group != self.key.group.as_str() => Err(self.not_ours(row)),
            _ => Ok(()),
        }
    }

    fn not_ours(&self, row: Row<'_>) -> Error {
        let named = |name| row.text(name).ok().flatten().unwrap_or("?");
        occupied(
            row.table,
            self.layout,
            named(col::GROUP),
            named(col::STREAM),
            &self.key,
        )
    }

    fn other_layout(&self, row: Row<'_>, found: &str) -> Error {
        Error::new(
            ErrorKind::Conflict,
            format!(
                "table {} holds leases of layout \"{found}\", and layout = \"{}\" is configured",
                row.table, self.layout
            ),
        )
        .with_retry(Retry::Never)
    }
}

/// Whether a row is a lease; rows from before there were other entities do not say so.
pub(crate) fn is_lease(item: &Item) -> bool {
    match item.get(col::ENTITY_TYPE) {
        None => true,
        Some(kind) => kind.as_s().is_ok_and(|kind| kind == col::ENTITY_LEASE),
    }
}

/// The error where a table belongs to another group, or to the same group on another stream.
pub(crate) fn occupied(
    table: &str,
    layout: &str,
    group: &str,
    stream: &str,
    asked: &GroupKey,
) -> Error {
    let several = match layout {
        "kcl" => {
            "; name another table, or layout = \"shared\" for a new one (\"kcl-multi\" for one \
             group on several streams)"
        }
        "kcl-multi" => "; name another table, or layout = \"shared\" for a new one",
        _ => "",
    };
    Error::new(
        ErrorKind::Conflict,
        format!(
            "table {table} belongs to group {group} on stream {stream}, and {asked} asks for it\
             {several}"
        ),
    )
    .with_retry(Retry::Never)
}

/// A part of a key, without the `/` that ends it.
pub(crate) fn escape(part: &str) -> String {
    part.replace('%', "%25").replace('/', "%2F")
}
