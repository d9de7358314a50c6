use std::sync::Arc;

use aqueduct_core::{Effect, PartitionId, Result};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::Shared;
use crate::member::{Command, Input, Listing, WriteKind, call_limit};

/// Returns the call for a command, which resolves to its input; `None` if it needs no call.
pub(super) fn call(shared: &Arc<Shared>, command: Command) -> Option<BoxFuture<'static, Input>> {
    let shared = shared.clone();
    let (leases, key) = (shared.member.leases.clone(), shared.member.key.clone());
    let call = match command {
        Command::List(known) => async move {
            let log = shared.member.log.clone();
            let listing = async {
                let (partitions, leases) =
                    futures::future::try_join(log.partitions(), leases.list(&key, &known)).await?;
                Ok(Listing { partitions, leases })
            };
            Input::Listed(shared.limited("list", listing).await)
        }
        .boxed(),
        Command::Group => {
            async move { Input::Group(shared.limited("group", leases.group(&key)).await) }.boxed()
        }
        Command::Create(lease) => async move {
            let partition = lease.partition.clone();
            let answer = shared.limited("create", leases.create(&key, lease)).await;
            Input::Created(partition, answer)
        }
        .boxed(),
        Command::Write {
            op,
            kind,
            current,
            next,
        } => async move {
            let partition = current.partition.clone();
            let answer = match kind {
                WriteKind::Swap => {
                    let call = leases.swap(&key, &current, *next);
                    shared.limited("swap", call).await
                }
                WriteKind::Commit => {
                    let call = leases.commit(&key, &current, *next);
                    shared.limited("commit", call).await
                }
            };
            Input::Written(partition, op, answer)
        }
        .boxed(),
        Command::Read(partition, op) => read(shared, partition, op).boxed(),
        Command::Request(lease) => async move {
            let partition = lease.partition.clone();
            let by = shared.member.owner.clone();
            let call = leases.request(&key, &lease, &by);
            Input::Requested(partition, shared.limited("request", call).await)
        }
        .boxed(),
        Command::Withdraw(lease, op) => async move {
            let partition = lease.partition.clone();
            let by = shared.member.owner.clone();
            let call = leases.withdraw(&key, &lease, &by);
            Input::Read(partition, op, shared.limited("withdraw", call).await)
        }
        .boxed(),
        Command::Delete(lease) => async move {
            let partition = lease.partition.clone();
            let answer = shared.limited("delete", leases.delete(&key, &lease)).await;
            Input::Deleted(partition, answer)
        }
        .boxed(),
        _ => return None,
    };
    Some(call)
}

async fn read(shared: Arc<Shared>, partition: PartitionId, op: u64) -> Input {
    let call = shared.member.leases.read(&shared.member.key, &partition);
    let answer = shared.limited("read", call).await;
    Input::Read(partition, op, answer)
}

impl Shared {
    /// Makes one counted call to the store. It times out after a part of the lease ttl; its effect
    /// is then unknown.
    async fn limited<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let limit = call_limit(self.options.lease_ttl);
        metrics::counter!("aqueduct_group_store_calls_total", "call" => what).increment(1);
        let answer = self
            .runtime
            .timeout(limit, what, call)
            .await
            .unwrap_or_else(|late| Err(late.with_effect(Effect::Unknown)));
        if answer.is_err() {
            metrics::counter!("aqueduct_group_store_failures_total", "call" => what).increment(1);
        }
        answer
    }
}
