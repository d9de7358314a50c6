//! Compile-time checks: traits are object safe, types cross threads, and sizes of types that are
//! moved by value do not grow.

use crate::{
    Admin, Admission, Assignment, AttributeValue, Attributes, Backend, Backoff, BatchConsumer,
    BatchProducer, BlockedBy, Capabilities, Checkpoint, Claimed, ConsumerStatus, DeadLetter,
    DeadLetterQueue, DeadLetterStore, Delivery, Error, Event, EventClaim, EventId, GroupKey,
    GroupRecord, HandlerInterceptor, IdempotencyScope, IdempotencyStore, Interceptor, Layer, Lease,
    LeaseStore, Next, OpenPartition, Options, PartitionReader, PartitionedLog, Parts, Platform,
    Position, Queue, ReadBatch, RebalanceListener, Receipt, Record, Resource, Result, ResumeToken,
    Revocations, Revoked, Router, Runtime, SendReport, SettleError, Settlement, Settler, Settling,
    SmallStr, Source, Subscription, Timestamp,
};

const _: () = {
    const fn crosses_threads<T: ?Sized + Send + Sync>() {}
    crosses_threads::<dyn Admin>();
    crosses_threads::<dyn Backend>();
    crosses_threads::<dyn BatchConsumer>();
    crosses_threads::<dyn DeadLetterQueue>();
    crosses_threads::<dyn IdempotencyStore>();
    crosses_threads::<dyn HandlerInterceptor>();
    crosses_threads::<dyn Interceptor>();
    crosses_threads::<dyn Layer>();
    crosses_threads::<dyn LeaseStore>();
    crosses_threads::<dyn DeadLetterStore>();
    crosses_threads::<dyn RebalanceListener>();
    crosses_threads::<dyn PartitionedLog>();
    crosses_threads::<dyn Platform>();
    crosses_threads::<dyn BatchProducer>();
    crosses_threads::<dyn Queue>();
    crosses_threads::<dyn Subscription>();
    crosses_threads::<dyn Resource>();
    crosses_threads::<dyn Router>();
    crosses_threads::<dyn Settler>();

    crosses_threads::<Admission>();
    crosses_threads::<Assignment>();
    crosses_threads::<Attributes>();
    crosses_threads::<BlockedBy>();
    crosses_threads::<Capabilities>();
    crosses_threads::<Claimed>();
    crosses_threads::<ConsumerStatus>();
    crosses_threads::<Delivery>();
    crosses_threads::<Error>();
    crosses_threads::<Event>();
    crosses_threads::<EventClaim>();
    crosses_threads::<GroupKey>();
    crosses_threads::<GroupRecord>();
    crosses_threads::<IdempotencyScope>();
    crosses_threads::<Lease>();
    crosses_threads::<DeadLetter>();
    crosses_threads::<Next<'_>>();
    crosses_threads::<OpenPartition>();
    crosses_threads::<Options>();
    crosses_threads::<ReadBatch>();
    crosses_threads::<Revocations>();
    crosses_threads::<Revoked<'_>>();
    crosses_threads::<Runtime>();
    crosses_threads::<SendReport>();
    crosses_threads::<SettleError>();
    crosses_threads::<Settlement>();
    crosses_threads::<Source>();

    // A reader, a pending settlement and a task have one owner at a time.
    const fn moves_between_threads<T: ?Sized + Send>() {}
    moves_between_threads::<dyn PartitionReader>();
    moves_between_threads::<Settling<'_>>();
    moves_between_threads::<crate::Task<Event>>();
};

const _: () = {
    assert!(size_of::<Error>() == size_of::<usize>());
    assert!(size_of::<SmallStr>() == 24 && size_of::<Option<SmallStr>>() == 24);
    assert!(size_of::<EventId>() == 24, "a UUID is inline");
    assert!(size_of::<Attributes>() == size_of::<usize>());
    assert!(size_of::<AttributeValue>() <= 40);
    assert!(size_of::<Timestamp>() <= 16);
    assert!(size_of::<Position>() == 32, "four words, and no heap");
    assert!(size_of::<Checkpoint>() <= 40);
    assert!(
        size_of::<Event>() <= 232,
        "every queue moves events by value"
    );
    assert!(
        size_of::<Option<ResumeToken>>() == 24,
        "absent costs no heap"
    );
    assert!(size_of::<Record>() <= 312);
    assert!(size_of::<Parts>() <= 328);
    assert!(
        size_of::<Delivery>() <= 352,
        "batches move deliveries by value"
    );
    assert!(size_of::<Settlement>() <= 32, "passed through every layer");
    assert!(size_of::<Admission>() <= 32);
    assert!(
        size_of::<Settling<'_>>() <= 16,
        "returned through every layer"
    );
    assert!(size_of::<SettleError>() <= 16);
    assert!(size_of::<Receipt>() <= 64 && size_of::<Result<Receipt>>() <= 64);
    assert!(size_of::<Backoff>() <= 32);
};
