use aqueduct_core::{Assignment, Event, Letter};

/// Whether `event` is a letter that was redriven for another group than the one that reads it.
pub(crate) fn is_for_another_group(assignment: &Assignment, event: &Event) -> bool {
    Letter::target_group(event).is_some_and(|group| group != assignment.group.as_str())
}
