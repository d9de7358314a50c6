use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};

use aqueduct_core::Runtime;
use aqueduct_layers::{DeadLetterOptions, DeadLetters, OnExhausted};
use aqueduct_runtime::Simulation;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::flaky::resource;

/// Keeps the messages of warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            write!(self.0, "{value:?}").unwrap();
        }
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn held_keys_that_no_restart_would_know_are_warned_of_once() {
    let simulation = Simulation::new(1);
    let runtime: Runtime = simulation.runtime();
    let opening = resource("dead_letters");
    let dead_letters = simulation.block_on(opening.dead_letters(&runtime)).unwrap();
    let dead_letters = dead_letters.unwrap();
    let options = |on_exhausted| DeadLetterOptions {
        on_exhausted,
        ..DeadLetterOptions::default()
    };
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        let key = options(OnExhausted::DivertKey);
        DeadLetters::with_store(dead_letters.clone(), key.clone(), &runtime).unwrap();
        DeadLetters::new(
            dead_letters.clone(),
            options(OnExhausted::DeadLetter),
            &runtime,
        )
        .unwrap();
        assert_eq!(*warnings.0.lock().unwrap(), [""; 0]);
        DeadLetters::new(dead_letters.clone(), key, &runtime).unwrap();
    });
    let warnings = warnings.0.lock().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("divert_key"), "{warnings:?}");
}
