use aqueduct_core::{Assignment, DeadLetter, Event};

/// Whether `event` is a dead letter that was redriven for another group than the one that reads it.
pub(crate) fn is_for_another_group(assignment: &Assignment, event: &Event) -> bool {
    DeadLetter::target_group(event).is_some_and(|group| group != assignment.group.as_str())
}
