use std::time::Duration;

use aqueduct_core::{Capability, ErrorKind, GroupName, Source, StreamId, StreamSpec};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::harness::Harness;
use crate::stop::{Outcome, check, check_eq};
use crate::workload::{counted, interleaved};

pub(super) const CASES: &[Case] = &[
    case!(Store stream_is_created_once, [], [Need::Can(Capability::Admin)]),
    case!(Store stream_is_described, [], [Need::Can(Capability::Admin)]),
    case!(Store lag_of_a_new_group_is_everything, [15], [Need::Can(Capability::Admin), Need::Can(Capability::Lag), Need::Producer]),
    case!(Store resharding_changes_the_partitions, [8], [Need::Can(Capability::Admin), Need::Can(Capability::Resharding)]),
    case!(Store deleted_stream_is_missing, [], [Need::Can(Capability::Admin)]),
    case!(Store recreated_stream_is_another, [9], [Need::Can(Capability::Admin), Need::Producer]),
];

async fn stream_is_created_once(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let admin = harness.admin().await?;
    let made = admin.create(&StreamSpec::with_partitions(2)).await?;
    check!(!made, "creating an existing stream reports it as created");
    Ok(())
}

async fn stream_is_described(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let described = harness.admin().await?.describe().await?;
    check_eq!(
        described.stream,
        *harness.subject.stream.stream(),
        "its name"
    );
    check!(
        !described.partitions.is_empty(),
        "the description has no partitions"
    );
    Ok(())
}

async fn lag_of_a_new_group_is_everything(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let admin = harness.admin().await?;
    harness.send(&interleaved(&["a", "b", "c", "d"], 5)).await?;
    let group = GroupName::new("never-ran");
    context
        .until("the lag to be 20 events", async || {
            let lag = admin.lag(&group).await?;
            Ok((lag.iter().map(|line| line.events).sum::<u64>() == 20).then_some(()))
        })
        .await
}

async fn resharding_changes_the_partitions(context: &Context<'_>) -> Outcome {
    use aqueduct_core::PartitionState::Open;
    let harness = context.harness(1).await?;
    let admin = harness.admin().await?;
    for wanted in [3, 2, 4] {
        context
            .within("resharding", admin.reshard(wanted))
            .await??;
        let what = format!("{wanted} open partitions");
        context
            .until(&what, async || {
                let partitions = admin.describe().await?.partitions;
                let open = partitions
                    .iter()
                    .filter(|partition| partition.state == Open);
                Ok((open.count() == wanted as usize).then_some(()))
            })
            .await?;
    }
    Ok(())
}

async fn deleted_stream_is_missing(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let admin = harness.admin().await?;
    context.within("deleting", admin.delete()).await??;
    context
        .until("the stream to be gone", async || {
            let kind = admin.describe().await.err().map(|error| error.kind());
            Ok((kind == Some(ErrorKind::NotFound)).then_some(()))
        })
        .await
}

async fn recreated_stream_is_another(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    harness.send(&[counted(0)]).await?;
    let before = identity(&harness).await?;
    check_eq!(identity(&harness).await?, before, "the identity read again");
    // An identity may be made of a time of creation in whole seconds.
    context.runtime.sleep(Duration::from_millis(1_100)).await;
    recreate(&harness).await?;
    let after = identity(&harness).await?;
    check!(
        before.is_none() || after.is_some() && after != before,
        "the recreated stream has identity {after:?}, the old one had {before:?}"
    );
    let mut observer = harness.observe().await?;
    let events = [counted(1)];
    harness.send(&events).await?;
    observer.collect(1).await?.check_complete(&events)
}

/// Returns the identity of the stream, if it is a log that has one.
async fn identity(harness: &Harness<'_>) -> Outcome<Option<StreamId>> {
    match harness.source().await? {
        Source::Log(log) => Ok(log.stream_id().await?),
        _ => Ok(None),
    }
}

/// Deletes the stream and creates it again under its name.
async fn recreate(harness: &Harness<'_>) -> Outcome {
    let (context, admin) = (harness.context, harness.admin().await?);
    context.within("deleting", admin.delete()).await??;
    context
        .until("the stream to be created again", async || {
            let made = admin.create(&StreamSpec::with_partitions(1)).await;
            Ok(matches!(made, Ok(true)).then_some(()))
        })
        .await
}
