use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aqueduct::{
    Client, DeadLetterQuery, DeadLetterStore, ErrorKind, Result, SqliteBackend, Start, Worker,
};
use futures::future::BoxFuture;
use tokio::time::timeout;

use crate::audit::{Seen, Streams, Summary, audit};
use crate::cli::{Arguments, Role};
use crate::ledger::{self, Notes, Standing};
use crate::order::{Status, kind};
use crate::roles::{Shop, management, payment, placement, shipping};

/// The streams of the flow.
pub(crate) const STREAMS: [&str; 4] = ["orders", "payments", "shipments", "order-status"];

/// The silence after which the audit takes a stream as read although events are missing: longer than a
/// service takes to respond on a busy machine.
const SILENCE: Duration = Duration::from_secs(10);

/// The silence after which it takes a complete stream as read.
const EXTRA: Duration = Duration::from_millis(100);

/// Gives a worker the handlers of a role.
type Handlers = fn(Worker, Shop) -> Worker;

/// The flow, opened: the client, and the file of the roles' own tables.
pub(crate) struct Flow {
    pub(crate) client: Client,
    pub(crate) shop: Shop,
}

impl Flow {
    /// Opens streams and tables; creates what is missing.
    pub(crate) async fn open(arguments: &Arguments) -> Result<Self, String> {
        let data = &arguments.data;
        let folder = |e: std::io::Error| format!("--data {}: {e}", data.display());
        std::fs::create_dir_all(data).map_err(folder)?;
        let data = data.canonicalize().map_err(folder)?;
        let backend = SqliteBackend::new();
        let client = Client::builder()
            .backend("sqlite", backend.clone())
            .set("stores.state.url", state_url(&data)?);
        let client = match &arguments.config {
            None => client.toml(include_str!("embedded.toml")).folder(&data),
            Some(path) => client.file(path),
        };
        let say = |e: aqueduct::Error| describe(&e);
        let client = client.build().await.map_err(say)?;
        client.check().map_err(say)?;
        let runtime = client.runtime().clone();
        let store = backend
            .store(file(&data), Default::default(), &runtime)
            .await
            .map_err(say)?;
        store
            .transaction(|tx| ledger::create(tx))
            .await
            .map_err(say)?;
        let mut journal = Vec::new();
        for stream in STREAMS {
            client.producer(stream).await.map_err(say)?;
            match client.reader(stream, Start::Earliest).await {
                Err(error) if error.is(ErrorKind::Unsupported) => journal.push(stream),
                opened => drop(opened.map_err(say)?),
            }
        }
        Ok(Self {
            client,
            shop: Shop {
                store,
                credit_limit: arguments.credit_limit,
                journal: journal.into(),
            },
        })
    }

    /// The workers that `role` plays, ready to run.
    pub(crate) async fn workers(&self, role: Role) -> Result<Vec<Worker>> {
        let mut workers = Vec::new();
        let roles: [(Role, &str, Handlers); 3] = [
            (Role::Payment, "payment", payment::handlers),
            (Role::Shipping, "shipping", shipping::handlers),
            (Role::Management, "management", management::handlers),
        ];
        for (part, group, handlers) in roles {
            if role.plays(part) {
                workers.push(handlers(
                    self.client.worker(group).await?,
                    self.shop.clone(),
                ));
            }
        }
        Ok(workers)
    }

    /// Relays, for ever, the events that the roles played by `role` publish to streams outside the file.
    pub(crate) async fn relays(&self, role: Role) -> Result<Vec<BoxFuture<'static, ()>>> {
        let mut relays: Vec<BoxFuture<'static, ()>> = Vec::new();
        let parts = [
            Role::Placement,
            Role::Payment,
            Role::Shipping,
            Role::Management,
        ];
        for (part, stream) in parts.into_iter().zip(STREAMS) {
            if role.plays(part) {
                let producer = std::sync::Arc::new(self.client.producer(stream).await?);
                let outbox = self.shop.store.outbox(aqueduct::StreamName::new(stream));
                let runtime = self.client.runtime().clone();
                relays.push(Box::pin(async move { outbox.run(producer, runtime).await }));
            }
        }
        Ok(relays)
    }

    /// Returns the store of the dead letters.
    pub(crate) async fn dead_letters(&self) -> Result<std::sync::Arc<dyn DeadLetterStore>> {
        self.client.dead_letters("payment").await
    }

    /// Returns how far the flow is.
    pub(crate) async fn standing(&self) -> Result<Standing> {
        self.shop.store.read(ledger::standing).await
    }

    /// Returns whether every published event has left the outbox.
    pub(crate) async fn is_published(&self) -> Result<bool> {
        Ok(self.shop.store.outbox_streams().await?.is_empty())
    }

    /// Returns how complete management's notes on the streams that cannot be read again are; `None` if every
    /// stream can be read.
    pub(crate) async fn notes(&self) -> Result<Option<Notes>> {
        match self.shop.journal.len() {
            0 => Ok(None),
            _ => self.shop.store.read(ledger::notes).await.map(Some),
        }
    }

    /// Audits everything that is stored, against the orders of the input if they are known.
    pub(crate) async fn audit(&self, input: Option<&BTreeSet<String>>) -> Result<(Summary, usize)> {
        let books = self.shop.store.read(ledger::books).await?;
        let orders = books.intake.len();
        let declined = |seen: &[Seen]| {
            seen.iter()
                .filter(|it| it.kind == kind::PAYMENT_FAILED)
                .count()
        };
        let placed = self.read("orders", |seen| seen.len() >= orders).await?;
        let payments = self.read("payments", |seen| seen.len() >= orders).await?;
        let paid = orders.saturating_sub(declined(&payments));
        let shipments = self.read("shipments", |seen| seen.len() >= paid).await?;
        let ended = |seen: &[Seen]| {
            seen.iter()
                .filter(|it| it.status >= Some(Status::PaymentFailed))
                .count()
                >= orders
        };
        let statuses = self.read("order-status", ended).await?;
        let streams = Streams {
            orders: placed,
            payments,
            shipments,
            statuses,
        };
        let events = streams.len();
        Ok((
            audit(streams, &books, input, self.count_dead_letters().await?),
            events,
        ))
    }

    /// Reads a stream from its beginning until `enough` returns `true` and nothing follows, or until nothing
    /// has followed for long. An event that was published twice is read once. A stream that cannot be read
    /// again is what management noted of it.
    async fn read(
        &self,
        stream: &'static str,
        enough: impl Fn(&[Seen]) -> bool,
    ) -> Result<Vec<Seen>> {
        if self.shop.journal.contains(&stream) {
            let noted = self.shop.store.read(move |db| ledger::noted(db, stream));
            return noted.await;
        }
        let mut reader = self.client.reader(stream, Start::Earliest).await?;
        let mut seen = Vec::new();
        let mut known = BTreeSet::new();
        let mut at_once = false;
        loop {
            at_once = at_once || enough(&seen);
            let wait = if at_once { EXTRA } else { SILENCE };
            match timeout(wait, reader.next()).await {
                Ok(Ok(Some(read))) => {
                    if known.insert(read.event.id().to_string()) {
                        seen.push(Seen::read(&read.event)?);
                    }
                }
                Ok(Ok(None)) | Err(_) => return Ok(seen),
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Counts the events and lines that have a dead letter. A queue keeps a dead letter twice if a run that
    /// was killed and the next one both wrote it.
    async fn count_dead_letters(&self) -> Result<u64> {
        let lines = DeadLetterQuery::new().of_group(placement::GROUP);
        let mut lists = vec![(self.dead_letters().await?, lines)];
        for group in self.client.groups() {
            let dead_letters = self.client.dead_letters(group).await?;
            lists.push((dead_letters, DeadLetterQuery::new()));
        }
        let mut known = BTreeSet::new();
        for (dead_letters, mut query) in lists {
            loop {
                let page = dead_letters.list(&query).await?;
                known.extend(page.iter().map(|stored| {
                    let event = &stored.dead_letter.event;
                    (stored.dead_letter.group.clone(), event.id().to_string())
                }));
                match page.last() {
                    Some(last) => query.after = Some(last.id.clone()),
                    None => break,
                }
            }
        }
        Ok(known.len() as u64)
    }
}

/// Returns an error with its causes on one line, without causes that the message contains already.
pub(crate) fn describe(error: &aqueduct::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text += &format!(": {said}");
        }
        cause = next.source();
    }
    text
}

/// Returns the file of the embedded store in the data folder.
pub(crate) fn file(data: &Path) -> PathBuf {
    data.join("orders.db")
}

fn state_url(data: &Path) -> Result<String, String> {
    url_path(&file(data))
        .map(|path| format!("sqlite:{path}"))
        .ok_or_else(|| {
            format!(
                "--data {}: its path does not fit into a URL",
                data.display()
            )
        })
}

/// Returns the path percent-encoded, as a URL has it.
fn url_path(path: &Path) -> Option<String> {
    Some(
        aqueduct::core::Url::from_file_path(path)
            .ok()?
            .path()
            .to_owned(),
    )
}
