use aqueduct_core::{Capability, Claim, Claims, Error, Result, SmallStr};

use super::Client;
use super::slot::Slot;
use crate::config::{GroupConfig, IdempotencyPlace};

impl Client {
    /// What speaks against opening the group, as far as is known without connecting.
    pub(super) fn check_group(&self, group: &GroupConfig) -> Vec<Error> {
        let mut errors = Vec::new();
        for stream in &group.streams {
            let slots = match self.slots_of(group, stream) {
                Ok(slots) => slots,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            errors.extend(slots.missing(group, stream));
            errors.extend(self.shared_queue(group, stream, &slots));
            let claims = slots.fold(group);
            for &capability in &group.requires {
                if let Claim::No(why) = claims.get(capability) {
                    errors.push(lacks(group, stream, capability, why));
                }
            }
        }
        let located = errors.into_iter();
        located
            .map(|error| self.0.config.origins.locate(error))
            .collect()
    }

    /// The error of a stream that hands each event to one of its groups alone, and is read by
    /// another group too.
    fn shared_queue(
        &self,
        group: &GroupConfig,
        stream: &SmallStr,
        slots: &Slots<'_>,
    ) -> Option<Error> {
        let claims = slots.stream.resource().claims();
        let (Claim::No(_), Claim::No(_)) = (
            claims.get(Capability::Groups),
            claims.get(Capability::Positions),
        ) else {
            return None;
        };
        let reads_it = |other: &&GroupConfig| other.streams.contains(stream);
        let others = self.0.config.groups.values().filter(reads_it);
        let other = others.into_iter().find(|other| other.name != group.name)?;
        Some(Error::config(format!(
            "groups.{}.stream: group {} reads {stream} too, and {} gives each event to one of them \
             alone; give each group a queue of its own",
            group.name,
            other.name,
            slots.stream.resource().describe()
        )))
    }

    /// What speaks against using the group as it was opened.
    pub(super) fn check_opened(
        &self,
        group: &GroupConfig,
        stream: &SmallStr,
        opened: &Claims,
    ) -> Result<()> {
        let promised = self.slots_of(group, stream)?.fold(group);
        let open = group
            .requires
            .iter()
            .filter(|&&capability| *promised.get(capability) == Claim::WhenOpened);
        let errors = open.filter_map(|&capability| match opened.get(capability) {
            Claim::No(why) => Some(lacks(group, stream, capability, why)),
            _ => None,
        });
        together(errors.collect())
    }

    fn slots_of<'a>(&'a self, group: &'a GroupConfig, stream: &SmallStr) -> Result<Slots<'a>> {
        let slot = |target: &Option<SmallStr>| target.as_ref().map(|id| self.slot(id)).transpose();
        let idempotency = match &group.idempotency {
            IdempotencyPlace::Target(target) => Some(self.slot(target)?),
            IdempotencyPlace::Stream => Some(self.slot(stream)?),
            IdempotencyPlace::Off => None,
        };
        Ok(Slots {
            stream: self.slot(stream)?,
            leases: slot(&group.leases)?,
            idempotency,
            dead_letters: slot(&group.dead_letters)?,
        })
    }
}

/// What one stream of a group is read with.
struct Slots<'a> {
    stream: &'a Slot,
    leases: Option<&'a Slot>,
    idempotency: Option<&'a Slot>,
    dead_letters: Option<&'a Slot>,
}

impl Slots<'_> {
    /// What the group can do with the stream: what each part contributes.
    fn fold(&self, group: &GroupConfig) -> Claims {
        use Capability::{
            DeadLetters, Durable, Idempotency, Leases, Positions, Shared, Transactions,
        };
        let base = self.stream.resource().claims();
        let mut claims = base.clone();
        let is_log = !matches!(base.get(Positions), Claim::No(_));
        if let (Some(leases), true) = (self.leases, is_log) {
            let theirs = leases.resource().claims();
            claims = claims.with(Leases, theirs.get(Leases).clone());
            for both in [Durable, Shared] {
                let weaker = base.clone().and(&theirs);
                claims = claims.with(both, weaker.get(both).clone());
            }
        }
        if let Some(dead_letters) = self.dead_letters {
            claims = claims.with(
                DeadLetters,
                dead_letters.resource().claims().get(DeadLetters).clone(),
            );
        }
        match self.idempotency {
            Some(store) => {
                let theirs = store.resource().claims();
                for of_store in [Idempotency, Transactions] {
                    claims = claims.with(of_store, theirs.get(of_store).clone());
                }
            }
            None => {
                let said = format!("groups.{}.idempotency is not set", group.name);
                for of_store in [Idempotency, Transactions] {
                    claims = claims.with(of_store, Claim::No(said.clone().into()));
                }
            }
        }
        claims
    }

    /// The parts that the group cannot do without, and that are not there.
    fn missing(&self, group: &GroupConfig, stream: &SmallStr) -> Vec<Error> {
        use Capability::{Idempotency, Leases, Positions};
        let mut errors = Vec::new();
        let is_log = self.stream.resource().claims().has(Positions);
        let leases = self.leases.unwrap_or(self.stream).resource();
        if let (true, Claim::No(why)) = (is_log, leases.claims().get(Leases)) {
            errors.push(Error::config(format!(
                "groups.{}.leases: {} stores no leases, and stream {stream} needs some: {why}; set \
                 leases to a store's name or a URL{}",
                group.name,
                leases.describe(),
                self.lease_example(stream)
            )));
        }
        if let Some(store) = self.idempotency.map(Slot::resource)
            && let Claim::No(why) = store.claims().get(Idempotency)
        {
            errors.push(Error::config(format!(
                "groups.{}.idempotency: {} stores no idempotency records: {why}",
                group.name,
                store.describe()
            )));
        }
        errors
    }

    /// A place for leases that stands beside such a stream.
    fn lease_example(&self, stream: &SmallStr) -> String {
        match self.stream.scheme() {
            "kinesis" => format!(", such as leases = \"dynamodb://{stream}-leases\""),
            _ => String::new(),
        }
    }
}

fn lacks(group: &GroupConfig, stream: &SmallStr, capability: Capability, why: &SmallStr) -> Error {
    Error::unsupported(format!(
        "groups.{}.requires = \"{capability}\": stream {stream} cannot: {why}",
        group.name
    ))
}

/// Nothing, the one error, or one error that tells all of them.
pub(super) fn together(mut errors: Vec<Error>) -> Result<()> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        count => {
            let kind = errors[0].kind();
            let all: Vec<_> = errors.iter().map(|error| format!("- {error}")).collect();
            let said = format!("{count} problems:\n{}", all.join("\n"));
            Err(Error::new(kind, said))
        }
    }
}
