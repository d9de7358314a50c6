use crate::{DeadLetter, DeadLetterId, GroupName, SmallStr, StreamName};

/// Selects the dead letters to list.
///
/// ```
/// use aqueduct_core::DeadLetterQuery;
///
/// let query = DeadLetterQuery::new().of_group("billing").of_key("VINET").with_limit(10);
/// assert_eq!(query.limit, 10);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetterQuery {
    /// Matches this group only.
    pub group: Option<GroupName>,
    /// Matches this stream only.
    pub stream: Option<StreamName>,
    /// Matches this key only.
    pub key: Option<SmallStr>,
    /// Matches dead letters after this one, for the next page.
    pub after: Option<DeadLetterId>,
    /// The maximum number of dead letters to return.
    pub limit: usize,
}

impl DeadLetterQuery {
    /// Creates a query for all dead letters, 100 per page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects the dead letters of `group` only.
    #[must_use]
    pub fn of_group(mut self, group: impl Into<GroupName>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Selects the dead letters from `stream` only.
    #[must_use]
    pub fn of_stream(mut self, stream: impl Into<StreamName>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// Selects the dead letters of `key` only.
    #[must_use]
    pub fn of_key(mut self, key: impl Into<SmallStr>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Returns whether group, stream and key of `dead_letter` are selected. `after` and `limit` are about
    /// the whole list and are not checked.
    pub fn matches(&self, dead_letter: &DeadLetter) -> bool {
        let (group, stream, key) = (&self.group, &self.stream, &self.key);
        group.as_ref().is_none_or(|it| *it == dead_letter.group)
            && stream.as_ref().is_none_or(|it| *it == dead_letter.stream)
            && key
                .as_ref()
                .is_none_or(|it| Some(it) == dead_letter.event.key_text())
    }

    /// Selects the dead letters after `id`, the last one of the previous page.
    #[must_use]
    pub fn after(mut self, id: DeadLetterId) -> Self {
        self.after = Some(id);
        self
    }

    /// Sets the maximum number of dead letters to return.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

impl Default for DeadLetterQuery {
    /// All dead letters, 100 per page.
    fn default() -> Self {
        Self {
            group: None,
            stream: None,
            key: None,
            after: None,
            limit: 100,
        }
    }
}
