//~ is not a handler
//~ not a handler of these arguments
//~ each argument implements `Extract` (`Json<T>`, `Event`, `Key`, `Meta`, `State<T>`, ...)
//~ it returns `()`, `Outcome`, or a `Result` of either whose error is a `HandlerError`
fn handlers(worker: aqueduct::Worker) -> aqueduct::Worker {
    worker.on("order.placed", |_: u32| async {})
}

fn main() {}
