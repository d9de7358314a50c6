//~ a handler cannot return `u32`
//~ a handler returns `()`, `Outcome`, `Result<(), E>` or `Result<Outcome, E>`
fn outcome() -> aqueduct::Outcome {
    aqueduct::IntoOutcome::into_outcome(5u32)
}

fn main() {}
