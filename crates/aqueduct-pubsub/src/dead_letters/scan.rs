use std::collections::BTreeMap;

use aqueduct_core::{DeadLetterId, Error, ErrorKind, Result, Runtime, SmallStr};
use futures::future::{Either, join_all, select};
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::handler::Handler;

use super::Reader;
use super::stored::{Place, Stored};
use crate::connection::CALL;
use crate::error::{failed, not_confirmed};
use crate::subscription::nack_all;

/// The most dead letters of one scan: they are all in memory.
const MOST: usize = 50_000;

/// How much longer than for a further dead letter a scan waits for the first: its stream opens
/// meanwhile.
const OPENING: u32 = 4;

/// Dead letters that are held, and so hidden from other readers, until the scan ends.
pub(super) struct Scan<'a> {
    reader: &'a Reader,
    runtime: &'a Runtime,
    stream: MessageStream,
    found: BTreeMap<SmallStr, Found>,
    /// Further copies of a dead letter that was stored twice, by the message id of the first.
    copies: BTreeMap<SmallStr, Vec<Found>>,
}

struct Found {
    stored: Stored,
    handler: Handler,
}

impl<'a> Scan<'a> {
    pub(super) async fn open(reader: &'a Reader, runtime: &'a Runtime) -> Result<Self> {
        let subscriber = reader.connection.subscriber().await?;
        let most = i64::try_from(MOST).unwrap_or(i64::MAX);
        let _tokio = reader.connection.enter();
        let stream = subscriber
            .subscribe(reader.path.as_str())
            .set_max_outstanding_messages(most)
            .set_max_outstanding_bytes(1_i64 << 30)
            .build();
        Ok(Self {
            reader,
            runtime,
            stream,
            found: BTreeMap::new(),
            copies: BTreeMap::new(),
        })
    }

    pub(super) fn found(&self) -> impl Iterator<Item = &Stored> {
        self.found.values().map(|found| &found.stored)
    }

    pub(super) fn get(&self, message: &SmallStr) -> Option<&Stored> {
        self.found.get(message).map(|found| &found.stored)
    }

    /// Receives dead letters until the wanted messages are found, or until none comes if `wanted` is
    /// `None`.
    pub(super) async fn look_for(&mut self, wanted: Option<&[SmallStr]>) -> Result<()> {
        let mut wait = self.reader.wait * OPENING;
        loop {
            if wanted.is_some_and(|it| it.iter().all(|id| self.found.contains_key(id))) {
                return Ok(());
            }
            let next = self.stream.next();
            futures::pin_mut!(next);
            let (message, handler) = match select(next, self.runtime.sleep(wait)).await {
                Either::Left((Some(Ok(next)), _)) => next,
                Either::Left((Some(Err(error)), _)) => {
                    return Err(failed(
                        format_args!("subscription {}", self.reader.name),
                        error,
                    ));
                }
                Either::Left((None, _)) | Either::Right(_) => break,
            };
            wait = self.reader.wait;
            let stored = Stored::read(message, &self.reader.event_source);
            let id = stored.place.message.clone();
            // One that comes again replaces its handle.
            self.found.insert(id, Found { stored, handler });
            if self.found.len() >= MOST {
                return Err(Error::new(
                    ErrorKind::Full,
                    format!(
                        "subscription {}: more than {MOST} dead letters cannot be listed; redrive or purge \
                         some by a subscription of your own",
                        self.reader.name
                    ),
                ));
            }
        }
        self.set_copies_aside();
        Ok(())
    }

    /// Deletes those messages; returns one outcome for each, in order.
    pub(super) async fn delete(&mut self, messages: &[SmallStr]) -> Vec<Result<()>> {
        // Copies first: if this is interrupted, the dead letter itself is still listed.
        let copies = messages.iter().filter_map(|id| self.copies.remove(id));
        let copies: Vec<Found> = copies.flatten().collect();
        for outcome in join_all(copies.into_iter().map(|it| self.confirm(it))).await {
            if let Err(error) = outcome {
                tracing::warn!(%error, "cannot delete a copy of a dead letter that was stored twice");
            }
        }
        let found: Vec<_> = messages.iter().map(|id| self.found.remove(id)).collect();
        let deleted = found.into_iter().map(|found| async {
            match found {
                Some(found) => self.confirm(found).await,
                None => Err(aqueduct_core::outcomes::no_outcome()),
            }
        });
        join_all(deleted).await
    }

    async fn confirm(&self, found: Found) -> Result<()> {
        let what = || {
            format!(
                "deleting a dead letter of subscription {}",
                self.reader.name
            )
        };
        let Handler::ExactlyOnce(handler) = found.handler else {
            found.handler.ack();
            return Ok(());
        };
        match self
            .runtime
            .timeout(CALL, "ack", handler.confirmed_ack())
            .await
        {
            Ok(outcome) => outcome.map_err(|error| not_confirmed(what(), error)),
            Err(_) => Err(crate::error::timed_out(what(), CALL)),
        }
    }

    /// Gives the remaining dead letters back, and waits until the service knows.
    pub(super) async fn end(self) {
        let token = self.stream.shutdown_token();
        // The stream ends first: it would receive what is given back.
        drop(self.stream);
        let found = self.found.into_values();
        let all = found.chain(self.copies.into_values().flatten());
        let ended = async {
            nack_all(all.map(|found| found.handler)).await;
            token.shutdown().await;
        };
        if self.runtime.timeout(CALL, "end", ended).await.is_err() {
            tracing::debug!("dead letters stay hidden until their deadline");
        }
    }

    /// Keeps the first of each dead letter that was stored twice, and moves the others to `copies`.
    fn set_copies_aside(&mut self) {
        let mut firsts: BTreeMap<DeadLetterId, Place> = BTreeMap::new();
        for stored in self.found() {
            if let Some(same) = &stored.same {
                let first = firsts.entry(same.clone()).or_insert(stored.place.clone());
                *first = stored.place.clone().min(first.clone());
            }
        }
        let copies: Vec<(SmallStr, SmallStr)> = self
            .found()
            .filter_map(|stored| {
                let first = firsts.get(stored.same.as_ref()?)?;
                let is_copy = *first != stored.place;
                is_copy.then(|| (stored.place.message.clone(), first.message.clone()))
            })
            .collect();
        for (message, first) in copies {
            if let Some(copy) = self.found.remove(&message) {
                self.copies.entry(first).or_default().push(copy);
            }
        }
    }
}
