use std::collections::BTreeSet;

use aqueduct_core::{Capability, Claim, Error, Identity, Resource, SmallStr};

use super::Client;
use crate::config::{GroupConfig, IdempotencyPlace};

/// A place that events are read from and another one that they are sent to.
pub(super) struct Edge<'a> {
    /// The group or pipeline that moves them.
    pub(super) name: &'a SmallStr,
    pub(super) from: Identity,
    pub(super) to: Identity,
}

/// Returns the edge that brings events back to a place from which `name` reads.
pub(super) fn edge_back<'a>(edges: &'a [Edge<'a>], name: &str) -> Option<&'a Edge<'a>> {
    for start in edges.iter().filter(|edge| edge.name == name) {
        let mut reached = vec![start];
        let mut seen = BTreeSet::new();
        while let Some(edge) = reached.pop() {
            if edge.to.may_be(&start.from) {
                return Some(edge);
            }
            if seen.insert(edge.name) {
                reached.extend(edges.iter().filter(|next| next.from.may_be(&edge.to)));
            }
        }
    }
    None
}

impl Client {
    /// Returns the references of a group that name a place which cannot serve: its own stream, or
    /// the memory of one process for a stream that processes share.
    pub(super) fn check_references(&self, group: &GroupConfig) -> Vec<Error> {
        let mut errors = Vec::new();
        errors.extend(self.dead_letters_in_a_circle(group));
        errors.extend(self.lease_store_of_another(group));
        let idempotency = match &group.idempotency {
            IdempotencyPlace::Target(target) => Some(target),
            _ => None,
        };
        let stores = [
            (
                "leases",
                group.leases.as_ref(),
                "each process would read every event, and a restart would start over",
            ),
            (
                "idempotency",
                idempotency,
                "other processes, and this one after a restart, would handle an event again",
            ),
            (
                "dead_letters",
                group.dead_letters.as_ref(),
                "they would be lost when the process ends",
            ),
        ];
        for (key, target, so) in stores {
            let store = target.and_then(|target| self.resource(target).ok());
            let local = store.filter(|store| is_local(store.get()));
            let shared = group.streams.iter().find(|stream| {
                let stream = self.resource(stream).ok();
                stream.is_some_and(|stream| !is_local(stream.get()))
            });
            if let (Some(store), Some(stream)) = (local, shared) {
                errors.push(Error::config(format!(
                    "groups.{}.{key}: {} belongs to one process, and stream {stream} outlives it: {so}; \
                     name a store that outlives the process",
                    group.name,
                    store.get().describe()
                )));
            }
        }
        errors
    }

    /// Returns what differs between resources that are opened as one.
    pub(super) fn check_shared_settings(&self) -> Vec<Error> {
        let settings: Vec<_> = self
            .0
            .resources
            .values()
            .filter_map(|resource| Some((resource, resource.get().shared_settings()?)))
            .collect();
        let mut errors = Vec::new();
        for (at, (resource, ours)) in settings.iter().enumerate() {
            let mut before = settings.iter().take(at);
            let Some((other, theirs)) = before.find(|(_, it)| ours.place.may_be(&it.place)) else {
                continue;
            };
            let mut pairs = ours.values.iter().zip(&theirs.values);
            if let Some(((name, value), (_, known))) = pairs.find(|(one, other)| one != other) {
                errors.push(Error::config(format!(
                    "{}.{name}: it is {value} here and {known} in {}, and both open {}: it must be the \
                     same in both",
                    resource.place(),
                    other.place(),
                    ours.described
                )));
            }
        }
        let located = errors.into_iter();
        located
            .map(|error| self.0.config.origins.locate(error))
            .collect()
    }

    /// Returns the error of dead letters that would return to the group as events of its stream.
    fn dead_letters_in_a_circle(&self, group: &GroupConfig) -> Option<Error> {
        let edges = self.dead_letter_edges();
        let back = edge_back(&edges, &group.name)?;
        let said = match *back.name == group.name {
            true => {
                "it is the group's own stream: each dead letter would be received as an event and \
                     fail again"
                    .to_owned()
            }
            false => format!(
                "group {} reads it and puts its dead letters back into this group's stream: they would \
                 circle for ever",
                back.name
            ),
        };
        Some(Error::config(format!(
            "groups.{}.dead_letters: {said}; name another stream or a store",
            group.name
        )))
    }

    fn dead_letter_edges(&self) -> Vec<Edge<'_>> {
        let mut edges = Vec::new();
        for group in self.0.config.groups.values() {
            let target = group.dead_letters.as_ref();
            let Some(target) = target.and_then(|target| self.resource(target).ok()) else {
                continue;
            };
            if !target.get().dead_letters_are_events() {
                continue;
            }
            for stream in group.streams.iter().filter_map(|it| self.resource(it).ok()) {
                edges.push(Edge {
                    name: &group.name,
                    from: stream.get().identity(),
                    to: target.get().identity(),
                });
            }
        }
        edges
    }

    /// Returns the error of a lease store that serves one group on one stream, but is used for
    /// another.
    fn lease_store_of_another(&self, group: &GroupConfig) -> Option<Error> {
        let store = self.resource(group.leases.as_ref()?).ok()?.get();
        if !store.leases_are_exclusive() {
            return None;
        }
        let place = format!("groups.{}.leases", group.name);
        if let [_, _, ..] = group.streams.as_slice() {
            return Some(Error::config(format!(
                "{place}: {} holds the leases of one stream, and the group reads {}: use a layout that \
                 is shared, or a group for each stream",
                store.describe(),
                group.streams.len()
            )));
        }
        let mine = store.identity();
        let uses_it = |other: &&GroupConfig| {
            let leases = other.leases.as_ref().and_then(|it| self.resource(it).ok());
            other.name != group.name && leases.is_some_and(|it| it.get().identity().may_be(&mine))
        };
        let other = self.0.config.groups.values().find(uses_it)?;
        Some(Error::config(format!(
            "{place}: {} holds the leases of one group, and group {} names it too: give each a table of \
             its own, or use a layout that is shared",
            store.describe(),
            other.name
        )))
    }
}

/// Returns whether it lives in the memory of one process.
fn is_local(resource: &dyn Resource) -> bool {
    matches!(resource.claims().get(Capability::Shared), Claim::No(_))
}

/// Returns the error of a group whose rejected events have no place to go.
pub(super) fn missing_on_reject(group: &GroupConfig) -> Option<Error> {
    let missing = group.dead_letters.is_none() && group.on_reject.is_none();
    missing.then(|| {
        Error::config(format!(
            "groups.{}.on_reject: a handler may reject an event, and no dead letters are configured to take \
             it: set dead_letters to a stream's name or a URL, or on_reject to \"stop\" or \"drop\"",
            group.name
        ))
    })
}
