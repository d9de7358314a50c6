use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_core::{Backoff, Capability, Error, GroupName, Result, SmallStr, Start};
use aqueduct_group::{GroupOptions, OnGap};
use aqueduct_layers::{OnExhausted, OnReject};

use super::section::Section;
use super::target::{Target, TargetKind};
use super::{Scope, list};

/// One table of `[groups]`.
#[derive(Clone, Debug)]
pub(crate) struct GroupConfig {
    pub(crate) name: SmallStr,
    pub(crate) streams: Vec<SmallStr>,
    pub(crate) requires: Vec<Capability>,
    /// The name of a target; `None` is the stream's own store.
    pub(crate) leases: Option<SmallStr>,
    pub(crate) idempotency: IdempotencyPlace,
    /// The name of the handler set, for idempotency records.
    pub(crate) handlers: SmallStr,
    pub(crate) dead_letters: Option<SmallStr>,
    /// How long dead letters may wait before they are redriven; `None` for ever.
    pub(crate) dead_letter_retention: Option<Duration>,
    pub(crate) on_exhausted: OnExhausted,
    /// The action for a rejected event without dead letters.
    pub(crate) on_reject: Option<OnReject>,
    pub(crate) attempts: u32,
    pub(crate) redelivery: Backoff,
    pub(crate) concurrency: usize,
    /// The time-out of a handler; `None` for the default.
    pub(crate) timeout: Option<Duration>,
    pub(crate) unhandled: Option<OnUnhandled>,
    /// The layers outside of its own, the outermost first.
    pub(crate) layers: Vec<SmallStr>,
    pub(crate) options: GroupOptions,
}

/// The place of a group's idempotency records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdempotencyPlace {
    /// Nowhere: events that arrive twice are handled twice.
    Off,
    /// In each stream's own store.
    Stream,
    /// In the target of that name.
    Target(SmallStr),
}

/// The configured action for an event that no handler takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnUnhandled {
    /// It is acknowledged.
    Ack,
    /// It is rejected.
    Reject,
}

impl GroupConfig {
    pub(super) fn read(
        name: &SmallStr,
        mut section: Section,
        targets: &mut BTreeMap<SmallStr, Target>,
        scope: Scope<'_>,
    ) -> Result<Self> {
        let streams = read_streams(&mut section, targets)?;
        let mut place = |section: &mut Section, key: &'static str, suffix: &str| {
            read_place(name, section, key, suffix, targets, scope)
        };
        let leases = place(&mut section, "leases", "")?;
        let dead_letters = place(&mut section, "dead_letters", "-letters")?;
        let idempotency = match section.boolean("idempotency") {
            Ok(Some(true)) => IdempotencyPlace::Stream,
            Ok(Some(false) | None) => IdempotencyPlace::Off,
            Err(_) => match place(&mut section, "idempotency", "")? {
                Some(target) => IdempotencyPlace::Target(target),
                None => IdempotencyPlace::Off,
            },
        };
        let requires = read_requires(&mut section)?;
        let (on_exhausted, on_reject) = read_failure(&mut section, dead_letters.is_some())?;
        let (attempts, redelivery) = read_redelivery(section.table("redelivery")?)?;
        let mut options = read_group_options(name, &mut section)?;
        options.redelivery = redelivery;
        options
            .validate()
            .map_err(|error| error.context(format_args!("groups.{name}")))?;
        let group = Self {
            name: name.clone(),
            streams,
            requires,
            leases,
            idempotency,
            handlers: section
                .text("handlers")?
                .unwrap_or(SmallStr::literal("default")),
            dead_letters,
            dead_letter_retention: section.duration("dead_letter_retention")?,
            on_exhausted,
            on_reject,
            attempts,
            redelivery,
            concurrency: section.number("concurrency", 1..=65_536)?.unwrap_or(64),
            timeout: section.duration("timeout")?,
            unhandled: match section.choice("unhandled", &["ack", "reject"])? {
                Some("ack") => Some(OnUnhandled::Ack),
                Some(_) => Some(OnUnhandled::Reject),
                None => None,
            },
            layers: scope
                .layers
                .read_names(&mut section)?
                .unwrap_or_else(|| scope.client.layers.clone()),
            options,
        };
        section.finish()?;
        Ok(group)
    }
}

fn read_streams(
    section: &mut Section,
    targets: &BTreeMap<SmallStr, Target>,
) -> Result<Vec<SmallStr>> {
    let streams = section.list("stream")?.unwrap_or_default();
    let declared = || {
        let streams = targets
            .iter()
            .filter(|(_, it)| it.kind == TargetKind::Stream);
        list(streams.map(|(name, _)| name))
    };
    if streams.is_empty() {
        return Err(section.refuse(
            "stream",
            format_args!("it names no stream; declared: {}", declared()),
        ));
    }
    for (at, stream) in streams.iter().enumerate() {
        let found = targets.get(stream).map(|target| target.kind);
        let why = if found != Some(TargetKind::Stream) {
            format!("unknown stream `{stream}`; declared: {}", declared())
        } else if streams.iter().skip(at + 1).any(|other| other == stream) {
            format!("it names the stream `{stream}` twice")
        } else {
            continue;
        };
        return Err(section.refuse("stream", why));
    }
    Ok(streams)
}

/// Reads the name of a stream or store, or a URL, which becomes a target of its own.
fn read_place(
    group: &SmallStr,
    section: &mut Section,
    key: &'static str,
    suffix: &str,
    targets: &mut BTreeMap<SmallStr, Target>,
    scope: Scope<'_>,
) -> Result<Option<SmallStr>> {
    let Some(text) = section.text(key)? else {
        return Ok(None);
    };
    if targets.contains_key(&text) {
        return Ok(Some(text));
    }
    if !text.contains(':') {
        return Err(section.refuse(
            key,
            format_args!(
                "unknown stream or store; declared: {}; or write a URL",
                list(targets.keys())
            ),
        ));
    }
    let Some(leaf) = section.leaf(key) else {
        return Ok(None);
    };
    let name = SmallStr::from(format!("{group}{suffix}"));
    let place = format!("groups.{group}");
    let target = Target::inline(&place, key, name, &leaf, scope)?;
    let id = SmallStr::from(format!("groups.{group}.{key}"));
    targets.insert(id.clone(), target);
    Ok(Some(id))
}

fn read_requires(section: &mut Section) -> Result<Vec<Capability>> {
    let names = section.list("requires")?.unwrap_or_default();
    names
        .iter()
        .map(|name| {
            Capability::from_name(name).ok_or_else(|| {
                let valid = Capability::ALL.map(Capability::as_str).join(", ");
                section.refuse(
                    "requires",
                    format_args!("unknown capability `{name}`; valid: {valid}"),
                )
            })
        })
        .collect()
}

fn read_failure(
    section: &mut Section,
    has_dead_letters: bool,
) -> Result<(OnExhausted, Option<OnReject>)> {
    let exhausted = section.choice("on_exhausted", &["dead_letter", "divert_key", "block"])?;
    let on_exhausted = match exhausted {
        Some("dead_letter") => OnExhausted::DeadLetter,
        Some("divert_key") => OnExhausted::DivertKey,
        Some(_) => OnExhausted::Block,
        None if has_dead_letters => OnExhausted::DeadLetter,
        None => OnExhausted::Block,
    };
    if !has_dead_letters && on_exhausted != OnExhausted::Block {
        return Err(section.refuse(
            "on_exhausted",
            "it needs dead_letters, a stream's name or a URL; without them only block is possible",
        ));
    }
    let on_reject = match section.choice("on_reject", &["stop", "drop"])? {
        Some("stop") => Some(OnReject::Stop),
        Some(_) => Some(OnReject::Drop),
        None => None,
    };
    if has_dead_letters && on_reject.is_some() {
        return Err(section.refuse(
            "on_reject",
            "dead_letters is set too and would take rejected events: set only one of the two",
        ));
    }
    Ok((on_exhausted, on_reject))
}

fn read_redelivery(mut section: Section) -> Result<(u32, Backoff)> {
    let attempts = section.number("attempts", 1..=1_000_000)?.unwrap_or(5);
    let first = section
        .duration("first")?
        .unwrap_or(Duration::from_millis(200));
    let max = section.duration("max")?.unwrap_or(Duration::from_secs(30));
    if first > max {
        let key = if section.contains("first") {
            "first"
        } else {
            "max"
        };
        return Err(section.refuse(
            key,
            format_args!("first, {first:?}, is longer than max, {max:?}"),
        ));
    }
    section.finish()?;
    Ok((attempts, Backoff::new(first, max)))
}

fn read_group_options(name: &SmallStr, section: &mut Section) -> Result<GroupOptions> {
    let mut options = GroupOptions::new(GroupName::new(name.clone()));
    if let Some(start) = section.text("start")? {
        options.start = match start.as_str() {
            "earliest" => Start::Earliest,
            "latest" => Start::Latest,
            time => Start::Time(time.parse().map_err(|_: Error| {
                section.refuse(
                    "start",
                    "expected earliest, latest or a time such as 2026-01-31T12:00:00Z",
                )
            })?),
        };
    }
    if let Some(ttl) = section.duration("lease_ttl")? {
        options = options.with_lease_ttl(ttl);
    }
    for (key, value) in [
        ("renew_every", &mut options.renew_every),
        ("lease_margin", &mut options.lease_margin),
        ("commit_interval", &mut options.commit_interval),
        ("commit_min", &mut options.commit_min),
        ("drain", &mut options.drain),
    ] {
        *value = section.duration(key)?.unwrap_or(*value);
    }
    for (key, value) in [
        ("commit_count", &mut options.commit_count),
        ("max_unsettled", &mut options.max_unsettled),
        ("max_parked", &mut options.max_parked),
        ("fetch_events", &mut options.fetch_events),
    ] {
        *value = section.number(key, 1..=10_000_000)?.unwrap_or(*value);
    }
    for (key, value) in [
        ("max_unsettled_bytes", &mut options.max_unsettled_bytes),
        ("fetch_bytes", &mut options.fetch_bytes),
    ] {
        *value = section.bytes(key)?.unwrap_or(*value);
    }
    options.max_span = section
        .number("max_span", 1..=1_000_000_000)?
        .unwrap_or(options.max_span);
    options.max_partitions = section.number("max_partitions", 1..=100_000)?;
    options.on_gap = match section.choice("on_gap", &["fail", "earliest", "latest"])? {
        Some("earliest") => OnGap::Earliest,
        Some("latest") => OnGap::Latest,
        _ => OnGap::Fail,
    };
    Ok(options)
}
