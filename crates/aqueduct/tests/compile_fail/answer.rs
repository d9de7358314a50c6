//~ a handler cannot return `u32`
//~ a handler returns `()`, `Outcome`, `Result<(), E>` or `Result<Outcome, E>`
fn outcome() -> aqueduct::Outcome {
    aqueduct::worker::IntoOutcome::into_outcome(5u32)
}

fn main() {}
