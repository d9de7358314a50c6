use aqueduct_core::{Capability, ErrorKind};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::stop::{Outcome, check, check_eq};

pub(super) const CASES: &[Case] = &[
    case!(Store claims_hold_when_opened, [], []),
    case!(Store missing_stream_says_so, [], [Need::Missing]),
    case!(Store wrong_credentials_say_so, [], [Need::Denied]),
];

async fn claims_hold_when_opened(context: &Context<'_>) -> Outcome {
    use aqueduct_core::{Claim, Source};
    let harness = context.harness(1).await?;
    let (stream, runtime) = (&harness.subject.stream, context.runtime);
    let claims = stream.claims();
    let mut opened = Vec::new();
    match stream.producer(runtime).await {
        Ok(producer) => opened.push(("producer", producer.capabilities().claims)),
        Err(error) => check_eq!(error.kind(), ErrorKind::Unsupported, "a producer"),
    }
    match stream.source(runtime).await {
        Ok(Source::Log(log)) => opened.push(("log", log.capabilities().claims)),
        Ok(_) => {}
        Err(error) => check_eq!(error.kind(), ErrorKind::Unsupported, "a source"),
    }
    for (what, told) in &opened {
        for capability in Capability::ALL {
            let (before, after) = (claims.get(capability), told.get(capability));
            check!(
                *after != Claim::WhenOpened,
                "the {what} leaves {capability} open"
            );
            let kept = *before != Claim::Yes || *after == Claim::Yes;
            check!(
                kept,
                "{capability} was claimed, and the {what} denies it: {after:?}"
            );
        }
    }
    let offers = [
        (Capability::Leases, stream.leases(runtime).await.err()),
        (
            Capability::Idempotency,
            stream.idempotency(runtime).await.err(),
        ),
        (
            Capability::DeadLetters,
            stream.dead_letters(runtime).await.err(),
        ),
        (Capability::Admin, stream.admin(runtime).await.err()),
    ];
    for (capability, refused) in offers {
        match (claims.has(capability), refused) {
            (true, Some(error)) => check!(false, "{capability} is claimed, and refused: {error}"),
            (false, Some(error)) => {
                check_eq!(error.kind(), ErrorKind::Unsupported, "{capability}");
            }
            (_, None) => {}
        }
    }
    Ok(())
}

async fn missing_stream_says_so(context: &Context<'_>) -> Outcome {
    match context.fixture.missing().await {
        Some(missing) => opens_to(context, &*missing, ErrorKind::NotFound).await,
        None => Ok(()),
    }
}

async fn wrong_credentials_say_so(context: &Context<'_>) -> Outcome {
    match context.fixture.denied().await {
        Some(denied) => opens_to(context, &*denied, ErrorKind::Denied).await,
        None => Ok(()),
    }
}

async fn opens_to(
    context: &Context<'_>,
    resource: &dyn aqueduct_core::Resource,
    kind: ErrorKind,
) -> Outcome {
    let runtime = context.runtime;
    let producer = context
        .within("a producer", resource.producer(runtime))
        .await?
        .err();
    let source = context
        .within("a source", resource.source(runtime))
        .await?
        .err();
    for (what, error) in [("a producer", producer), ("a source", source)] {
        let told = error.map(|error| error.kind());
        let other = told == Some(ErrorKind::Unsupported) && kind != ErrorKind::Unsupported;
        check!(
            other || told == Some(kind),
            "opening {what} returned {told:?}, expected {kind}"
        );
    }
    Ok(())
}
