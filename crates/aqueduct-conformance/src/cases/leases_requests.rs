use aqueduct_core::{Capability, Checkpoint, OwnerId, PartitionId, Position, Swap};

use super::leases::{lease, owned, partition, store, swapped, taken};
use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::stop::{Outcome, Stop, check, check_eq};

pub(super) const CASES: &[Case] = &[
    case!(Store request_does_not_disturb_the_owner, [6], [Need::Can(Capability::Leases)]),
    case!(Store request_is_bound_to_its_generation, [6], [Need::Can(Capability::Leases)]),
    case!(Store request_is_withdrawn_by_its_asker, [6], [Need::Can(Capability::Leases)]),
    case!(Store transfer_to_a_member_that_withdrew_is_lost, [6], [Need::Can(Capability::Leases)]),
    case!(Store transfer_ends_the_request, [6], [Need::Can(Capability::Leases)]),
];

async fn request_does_not_disturb_the_owner(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let mine = owned(&*leases, &key, "me").await?;
    let (guest, other) = (OwnerId::new("guest"), OwnerId::new("other"));
    let asked = leases.request(&key, &mine, &guest).await?;
    let wanted = asked.clone().and_then(|row| row.wanted_by);
    check_eq!(wanted.as_ref(), Some(&guest), "who requested it");
    let row = asked.ok_or_else(|| Stop::failed("the request returned no row"))?;
    check!(
        mine.is_same_row(&row),
        "a request changed what the owner's condition compares"
    );

    let mut next = mine.clone();
    next.counter += 1;
    next.nonce = 30;
    next.checkpoint = Checkpoint::At(Position::new(4));
    let renewed = swapped(leases.commit(&key, &mine, next).await?)?;
    check_eq!(
        renewed.wanted_by.as_ref(),
        Some(&guest),
        "who requested it, after a renewal"
    );
    check_eq!(
        renewed.checkpoint,
        Checkpoint::At(Position::new(4)),
        "what was committed"
    );

    let again = leases.request(&key, &renewed, &other).await?;
    let wanted = again.and_then(|row| row.wanted_by);
    check_eq!(wanted.as_ref(), Some(&guest), "who requested it first");
    Ok(())
}

async fn request_is_bound_to_its_generation(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let mine = owned(&*leases, &key, "me").await?;
    let next = swapped(leases.swap(&key, &mine, taken(&mine, "next", 40)).await?)?;
    let asked = leases.request(&key, &mine, &OwnerId::new("late")).await?;
    check_eq!(asked, Some(next), "a request to a previous owner");
    Ok(())
}

async fn request_is_withdrawn_by_its_asker(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let mine = owned(&*leases, &key, "me").await?;
    let (guest, other) = (OwnerId::new("guest"), OwnerId::new("other"));
    let none = leases.withdraw(&key, &mine, &guest).await?;
    check_eq!(none.as_ref(), Some(&mine), "withdrawing without a request");
    let asked = leases.request(&key, &mine, &guest).await?;
    let asked = asked.ok_or_else(|| Stop::failed("the request returned no row"))?;

    let row = leases.withdraw(&key, &asked, &other).await?;
    let wanted = row.and_then(|row| row.wanted_by);
    check_eq!(
        wanted.as_ref(),
        Some(&guest),
        "a withdrawal by another member"
    );

    let mut renewed = asked.clone();
    renewed.counter += 1;
    renewed.nonce = 31;
    let row = leases.withdraw(&key, &mine, &guest).await?;
    let row = row.ok_or_else(|| Stop::failed("the withdrawal returned no row"))?;
    check_eq!(
        row.wanted_by,
        None,
        "who requested it, after the withdrawal"
    );
    check!(
        mine.is_same_row(&row) && row.nonce == mine.nonce,
        "a withdrawal changed what the owner's condition compares, or its nonce"
    );
    // The owner read the row before the withdrawal: its renewal must neither fail nor restore the
    // request.
    let row = swapped(leases.commit(&key, &asked, renewed).await?)?;
    check_eq!(row.wanted_by, None, "who requested it, after a renewal");

    let again = leases.request(&key, &row, &other).await?;
    let wanted = again.and_then(|row| row.wanted_by);
    check_eq!(wanted.as_ref(), Some(&other), "who requests it next");
    let mut elsewhere = lease();
    elsewhere.partition = PartitionId::new("never-made");
    let gone = leases.withdraw(&key, &elsewhere, &guest).await?;
    check_eq!(gone, None, "withdrawing from a row that does not exist");
    Ok(())
}

async fn transfer_to_a_member_that_withdrew_is_lost(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let mine = owned(&*leases, &key, "me").await?;
    let guest = OwnerId::new("guest");
    let asked = leases.request(&key, &mine, &guest).await?;
    let asked = asked.ok_or_else(|| Stop::failed("the request returned no row"))?;
    let row = leases.withdraw(&key, &asked, &guest).await?;
    match leases
        .swap(&key, &asked, taken(&asked, "guest", 51))
        .await?
    {
        Swap::Lost(found) => check_eq!(found, row, "the row that the owner is shown"),
        other => check!(
            false,
            "a transfer to a member that withdrew returned {other:?}"
        ),
    }
    let stored = leases.read(&key, &partition()).await?;
    let owner = stored.and_then(|row| row.owner);
    check_eq!(owner, Some(OwnerId::new("me")), "its owner");

    // Withdrawn too late: the row already belongs to the requester, which has to release it.
    let asked = leases.request(&key, &mine, &guest).await?;
    let asked = asked.ok_or_else(|| Stop::failed("the request returned no row"))?;
    let given = swapped(
        leases
            .swap(&key, &asked, taken(&asked, "guest", 52))
            .await?,
    )?;
    let late = leases.withdraw(&key, &asked, &guest).await?;
    check_eq!(late, Some(given), "a withdrawal after the transfer");
    Ok(())
}

async fn transfer_ends_the_request(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let mine = owned(&*leases, &key, "me").await?;
    leases.request(&key, &mine, &OwnerId::new("guest")).await?;
    let mut next = taken(&mine, "guest", 50);
    next.checkpoint = Checkpoint::At(Position::new(12));
    let row = swapped(leases.swap(&key, &mine, next).await?)?;
    check_eq!(row.wanted_by, None, "who requested it, after the transfer");
    check_eq!(row.owner, Some(OwnerId::new("guest")), "its owner");
    check_eq!(
        row.checkpoint,
        Checkpoint::At(Position::new(12)),
        "what was committed with it"
    );
    Ok(())
}
