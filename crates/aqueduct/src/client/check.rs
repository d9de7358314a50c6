use aqueduct_core::{Capability, Claim, Claims, Error, Result, SmallStr};

use super::resource::NamedResource;
use super::{Client, references};
use crate::config::{GroupConfig, IdempotencyPlace};

impl Client {
    /// Returns the reasons not to open the group, as far as they are known without connecting.
    pub(super) fn check_group(&self, group: &GroupConfig) -> Vec<Error> {
        let mut errors = Vec::new();
        for stream in &group.streams {
            let resources = match self.resources_of(group, stream) {
                Ok(resources) => resources,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            errors.extend(resources.missing(group, stream));
            errors.extend(self.shared_queue(group, stream, &resources));
            let claims = resources.fold(group);
            for &capability in &group.requires {
                if let Claim::No(why) = claims.get(capability) {
                    errors.push(lacks(group, stream, capability, why));
                }
            }
        }
        errors.extend(self.check_references(group));
        errors.extend(references::missing_on_reject(group));
        let located = errors.into_iter();
        located
            .map(|error| self.0.config.origins.locate(error))
            .collect()
    }

    /// Returns the error of a stream that hands each event to only one group, but is read by
    /// several.
    fn shared_queue(
        &self,
        group: &GroupConfig,
        stream: &SmallStr,
        resources: &GroupResources<'_>,
    ) -> Option<Error> {
        let claims = resources.stream.get().claims();
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
            resources.stream.get().describe()
        )))
    }

    /// Compares the opened consumer with what the group requires.
    pub(super) fn check_opened(
        &self,
        group: &GroupConfig,
        stream: &SmallStr,
        opened: &Claims,
    ) -> Result<()> {
        let promised = self.resources_of(group, stream)?.fold(group);
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

    fn resources_of<'a>(
        &'a self,
        group: &'a GroupConfig,
        stream: &SmallStr,
    ) -> Result<GroupResources<'a>> {
        let resource =
            |target: &Option<SmallStr>| target.as_ref().map(|id| self.resource(id)).transpose();
        let idempotency = match &group.idempotency {
            IdempotencyPlace::Target(target) => Some(self.resource(target)?),
            IdempotencyPlace::Stream => Some(self.resource(stream)?),
            IdempotencyPlace::Off => None,
        };
        Ok(GroupResources {
            stream: self.resource(stream)?,
            leases: resource(&group.leases)?,
            idempotency,
            dead_letters: resource(&group.dead_letters)?,
        })
    }
}

/// The resources that one stream of a group is read with.
struct GroupResources<'a> {
    stream: &'a NamedResource,
    leases: Option<&'a NamedResource>,
    idempotency: Option<&'a NamedResource>,
    dead_letters: Option<&'a NamedResource>,
}

impl GroupResources<'_> {
    /// Returns the claims of the group on the stream: each resource contributes its own.
    fn fold(&self, group: &GroupConfig) -> Claims {
        use Capability::{
            DeadLetters, Durable, Idempotency, Leases, Positions, Shared, Transactions,
        };
        let base = self.stream.get().claims();
        let mut claims = base.clone();
        let is_log = !matches!(base.get(Positions), Claim::No(_));
        if let (Some(leases), true) = (self.leases, is_log) {
            let theirs = leases.get().claims();
            claims = claims.with(Leases, theirs.get(Leases).clone());
            for both in [Durable, Shared] {
                let weaker = base.clone().and(&theirs);
                claims = claims.with(both, weaker.get(both).clone());
            }
        }
        if let Some(dead_letters) = self.dead_letters {
            claims = claims.with(
                DeadLetters,
                dead_letters.get().claims().get(DeadLetters).clone(),
            );
        }
        match self.idempotency {
            Some(store) => {
                let theirs = store.get().claims();
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

    /// Returns errors for the required parts that are missing.
    fn missing(&self, group: &GroupConfig, stream: &SmallStr) -> Vec<Error> {
        use Capability::{Idempotency, Leases, Positions};
        let mut errors = Vec::new();
        let is_log = self.stream.get().claims().has(Positions);
        let leases = self.leases.unwrap_or(self.stream).get();
        if let (true, Claim::No(why)) = (is_log, leases.claims().get(Leases)) {
            errors.push(Error::config(format!(
                "groups.{}.leases: {} stores no leases, and stream {stream} needs some: {why}; set \
                 leases to a store's name or a URL{}",
                group.name,
                leases.describe(),
                self.lease_example(stream)
            )));
        }
        if let Some(store) = self.idempotency.map(NamedResource::get)
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

    /// Returns an example of a lease store for such a stream.
    fn lease_example(&self, stream: &SmallStr) -> String {
        match self.stream.scheme() {
            "kinesis" => format!(", such as leases = \"dynamodb://{stream}-leases\""),
            "eventhubs" => ", such as leases = \"az://ACCOUNT/CONTAINER?event_hubs=NAMESPACE.servicebus.windows.net\""
                .to_owned(),
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

/// Combines the errors: none, the single one, or one error that lists all of them.
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
