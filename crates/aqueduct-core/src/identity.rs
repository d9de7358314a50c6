use crate::SmallStr;

/// The place that a resource names in its service, so that two of them can be compared before they
/// are opened.
///
/// A part that only the environment knows, such as the default region, is `None`. It may be equal to any
/// other.
///
/// ```
/// use aqueduct_core::Identity;
///
/// let by_default = Identity::new("sqs://orders").with("region", None);
/// let ireland = Identity::new("sqs://orders").with("region", Some("eu-west-1".into()));
/// let ohio = Identity::new("sqs://orders").with("region", Some("us-east-2".into()));
/// assert!(by_default.may_be(&ireland));
/// assert!(!ireland.may_be(&ohio));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: SmallStr,
    parts: Vec<(&'static str, Option<SmallStr>)>,
}

impl Identity {
    /// Returns the identity of a name that is equal only to itself, such as a file's absolute path.
    pub fn new(name: impl Into<SmallStr>) -> Self {
        Self {
            name: name.into(),
            parts: Vec::new(),
        }
    }

    /// Adds a part, such as a region; `None` if it is not known yet.
    #[must_use]
    pub fn with(mut self, part: &'static str, value: Option<SmallStr>) -> Self {
        self.parts.push((part, value));
        self
    }

    /// Returns whether both may be one place.
    pub fn may_be(&self, other: &Self) -> bool {
        let agrees = |(part, value): &(&'static str, Option<SmallStr>)| {
            let theirs = other.parts.iter().find(|(name, _)| name == part);
            match (value, theirs.and_then(|(_, value)| value.as_ref())) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => true,
            }
        };
        self.name == other.name && self.parts.iter().all(agrees)
    }
}

/// Settings that must be the same for all resources of one place, since it is opened once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedSettings {
    /// The place, such as a file.
    pub place: Identity,
    /// How errors name the place.
    pub described: String,
    /// The option names and their values, in a fixed order.
    pub values: Vec<(&'static str, String)>,
}
