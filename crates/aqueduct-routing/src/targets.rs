use aqueduct_core::{Balance, Error, Result, Route, SmallStr};

/// The streams that a rule names.
///
/// A name or a list of names becomes [`All`](Self::All), a [`Balance`] becomes
/// [`Balanced`](Self::Balanced).
///
/// ```
/// use aqueduct_core::{Event, Route, Router};
/// use aqueduct_routing::{Rules, Targets};
///
/// let event = Event::new("cart");
/// assert_eq!(Rules::new("rest").route(&event), Route::one("rest"));
/// assert_eq!(Rules::new(Targets::Drop).route(&event), Route::Drop);
/// assert_eq!(Rules::new(Targets::Refuse).route(&event), Route::Nowhere);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Targets {
    /// Each of these.
    All(Vec<SmallStr>),
    /// One of those of the balance.
    Balanced(Balance),
    /// None, on purpose.
    Drop,
    /// None: sending the event is an error, and a pipeline makes it a dead letter.
    Refuse,
}

impl Targets {
    /// Returns every name in it.
    pub fn names(&self) -> &[SmallStr] {
        match self {
            Self::All(names) => names,
            Self::Balanced(balance) => balance.targets(),
            Self::Drop | Self::Refuse => &[],
        }
    }

    pub(crate) fn route(&self) -> Route<'_> {
        match self {
            Self::All(names) => match names.as_slice() {
                [one] => Route::one(one.as_str()),
                several => Route::all(several),
            },
            Self::Balanced(balance) => Route::Balanced(balance),
            Self::Drop => Route::Drop,
            Self::Refuse => Route::Nowhere,
        }
    }

    /// Checks that a rule has something to do.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::All(names) if names.is_empty() => Err(Error::config("the rule names no target")),
            _ => Ok(()),
        }
    }
}

impl From<&str> for Targets {
    fn from(name: &str) -> Self {
        Self::All(vec![name.into()])
    }
}

impl From<SmallStr> for Targets {
    fn from(name: SmallStr) -> Self {
        Self::All(vec![name])
    }
}

impl<S: Into<SmallStr>, const N: usize> From<[S; N]> for Targets {
    fn from(names: [S; N]) -> Self {
        Self::All(names.into_iter().map(Into::into).collect())
    }
}

impl From<Vec<SmallStr>> for Targets {
    fn from(names: Vec<SmallStr>) -> Self {
        Self::All(names)
    }
}

impl From<Balance> for Targets {
    fn from(balance: Balance) -> Self {
        Self::Balanced(balance)
    }
}
