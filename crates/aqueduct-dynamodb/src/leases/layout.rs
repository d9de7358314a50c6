use aqueduct_core::{Error, ErrorKind, GroupKey, PartitionId, Result, Retry, SmallStr};

use crate::expression::Expression;
use crate::item::{Item, Row, text};

use super::columns as col;

/// Maps the rows of a table to groups and streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The table belongs to one group on one stream, and a row's key is the shard's id, as for a KCL
    /// application that reads one stream.
    Kcl,
    /// The table belongs to one group, and a row's key is the stream's identifier and the shard's id,
    /// as for a KCL application that reads several streams.
    KclMulti(Vec<StreamId>),
    /// Any number of groups and streams share the table, by a prefix of the key. KCL cannot read it.
    Shared,
}

/// A stream's identifier in KCL's multi-stream mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamId {
    /// `ACCOUNT:STREAM:CREATION_EPOCH`
    pub(crate) id: SmallStr,
    stream: SmallStr,
}

impl Layout {
    /// Parses comma-separated stream identifiers; `None` if one of them is invalid.
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

    /// Returns the place of a group's rows.
    pub(crate) fn place(&self, key: &GroupKey) -> Result<Place> {
        let (prefix, stream_id) = match self {
            Self::Kcl => (String::new(), None),
            Self::KclMulti(streams) => {
                let known = streams.iter().find(|it| it.stream == key.stream.as_str());
                let Some(known) = known else {
                    return Err(Error::config(format!(
                        "stream_ids: stream {} is not listed: add ACCOUNT:{}:CREATION_EPOCH",
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

    /// Returns the key of a group's record in the state table.
    pub(crate) fn record_key(&self, table: &str, key: &GroupKey) -> String {
        let (group, stream) = (escape(key.group.as_str()), escape(key.stream.as_str()));
        match self {
            // One key for every group, so that a second group conflicts with the first.
            Self::Kcl => format!("group/{table}"),
            Self::KclMulti(_) => format!("group/{table}/{stream}"),
            Self::Shared => format!("group/{table}/{group}/{stream}"),
        }
    }
}

/// The place of the rows of one group on one stream.
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

    /// Returns the filter for a scan; `None` in KCL's layouts, which scan all rows to detect foreign ones.
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

    /// Returns the partition of a row of this group and stream; `None` for another group's row and for a
    /// row that is not a lease.
    ///
    /// # Errors
    /// `Conflict` if the table belongs to another group or stream.
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

/// Returns whether a row is a lease. Rows of older KCL versions have no entity type.
pub(crate) fn is_lease(item: &Item) -> bool {
    match item.get(col::ENTITY_TYPE) {
        None => true,
        Some(kind) => kind.as_s().is_ok_and(|kind| kind == col::ENTITY_LEASE),
    }
}

/// Returns the error for a table that belongs to another group or stream.
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

/// Escapes a part of a key, so that it does not contain the separator `/`.
pub(crate) fn escape(part: &str) -> String {
    part.replace('%', "%25").replace('/', "%2F")
}
