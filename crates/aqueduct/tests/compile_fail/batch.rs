//~ is not a batch handler
//~ its first argument is `Batch<T>` where `T` is `Json<_>`, `Event` or another `Extract`
fn handlers(worker: aqueduct::Worker) -> aqueduct::Worker {
    let options = aqueduct::BatchOptions::default();
    worker.on_batch("order.placed", options, |_: aqueduct::Event| async {})
}

fn main() {}
