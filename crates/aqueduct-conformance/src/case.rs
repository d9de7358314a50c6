use aqueduct_core::Capability;
use futures::future::LocalBoxFuture;

use crate::Fault;
use crate::cases::THEMES;
use crate::context::Context;
use crate::stop::Outcome;

/// One case of the suite.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) rules: &'static [u8],
    pub(crate) needs: &'static [Need],
    pub(crate) scope: Scope,
    pub(crate) run: for<'a> fn(&'a Context<'a>) -> LocalBoxFuture<'a, Outcome>,
}

/// How layers affect a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The case tests a store or a log directly: layers change nothing.
    Store,
    /// The case tests a producer or a consumer, through any layers.
    Flow,
}

/// A requirement of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// A producer.
    Producer,
    /// A log.
    Log,
    /// A consumer: of a queue, or of a log and a lease store.
    Consumer,
    /// A group over a log and a lease store.
    Group,
    /// The backend claims the capability.
    Can(Capability),
    /// A limit on the size of an event.
    EventLimit,
    /// The subject can inject the fault.
    Fault(Fault),
    /// A stream that does not exist.
    Missing,
    /// Credentials without sufficient permissions.
    Denied,
    /// The same stream, opened as by another process.
    Peer,
}

/// The description of a case, for listings.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CaseInfo {
    /// Its name.
    pub name: &'static str,
    /// Its theme.
    pub theme: &'static str,
    /// The numbers of the rules that it tests.
    pub rules: &'static [u8],
    /// Its requirements.
    pub needs: &'static [Need],
}

/// Returns every case of the suite.
pub fn cases() -> impl Iterator<Item = CaseInfo> {
    THEMES.iter().flat_map(|&(theme, cases)| {
        cases.iter().map(move |case| CaseInfo {
            name: case.name,
            theme,
            rules: case.rules,
            needs: case.needs,
        })
    })
}

/// Defines a case named after its function.
macro_rules! case {
    ($scope:ident $run:ident, [$($rule:literal),*], [$($need:expr),* $(,)?]) => {
        $crate::case::Case {
            name: stringify!($run),
            rules: &[$($rule),*],
            needs: &[$($need),*],
            scope: $crate::case::Scope::$scope,
            run: |context| Box::pin($run(context)),
        }
    };
}

pub(crate) use case;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rule_that_a_backend_can_show_has_a_case() {
        let shown: BTreeSet<u8> = cases().flat_map(|case| case.rules).copied().collect();
        // Rule 16 is determinism, a property of the runtime that the suite runs on.
        assert_eq!(shown, (1..=15).chain([17]).collect());
    }

    #[test]
    fn no_name_comes_twice() {
        let names: BTreeSet<&str> = cases().map(|case| case.name).collect();
        assert_eq!(names.len(), cases().count());
    }
}
