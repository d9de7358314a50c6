use std::path::{Path, PathBuf};
use std::time::Duration;

use aqueduct_core::{Error, Options, Result, StreamName, Url, percent_decode};

/// Options of a file. A process opens each file once: opening it again with other options fails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// Whether a missing folder, file or stream is created. Default `true`: an embedded store is not
    /// provisioned by other means.
    pub create: bool,
    /// How far a commit waits for the disk. Default [`SyncMode::Full`]: acknowledged events survive a
    /// loss of power.
    pub sync: SyncMode,
    /// The size, in bytes, that the write-ahead log stays under while no foreign reader holds a
    /// transaction open. Default 64 MiB: checkpoints of a quarter of it cost little per event, and
    /// opening after a crash reads it in well under a second.
    pub wal_limit: u64,
    /// How long a write waits for other processes' writes before it fails as `Unavailable`.
    /// Default 10 s: much longer than a normal wait, shorter than the timeouts of most callers.
    pub busy_timeout: Duration,
    /// Whether a network file system is accepted. Default `false`: see the README.
    pub allow_network: bool,
    /// How long dead letters are kept. `None`, the default, keeps them until they are purged: a person
    /// has to look at them.
    pub dead_letter_retention: Option<Duration>,
    /// How long completed idempotency records are kept. `None`, the default, keeps them for ever, at
    /// a hundred bytes or so per event: no event is handled twice.
    pub idempotency_retention: Option<Duration>,
    /// How long the claim of an event from a queue lasts without a heartbeat before another consumer
    /// takes it over. Default 30 s, like the ttl of a lease.
    pub claim_life: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            create: true,
            sync: SyncMode::Full,
            wal_limit: 64 << 20,
            busy_timeout: Duration::from_secs(10),
            allow_network: false,
            dead_letter_retention: None,
            idempotency_retention: None,
            claim_life: Duration::from_secs(30),
        }
    }
}

/// How far a commit waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Waits for the disk: acknowledged events survive a loss of power.
    Full,
    /// Waits for the operating system: acknowledged events survive the death of the process, but the
    /// last ones before a loss of power may be lost. The file is never damaged.
    Normal,
}

/// The smallest `wal_limit`: a quarter of it, at which checkpoints run, still fits a transaction.
pub(crate) const SMALLEST_WAL_LIMIT: u64 = 1 << 20;

impl SqliteOptions {
    /// Checks that the options fit together.
    ///
    /// # Errors
    /// `Config`, naming the option.
    pub fn validate(&self) -> Result<()> {
        let refuse = |name: &str, why: &str| Err(Error::config(format!("{name}: {why}")));
        if self.wal_limit < SMALLEST_WAL_LIMIT {
            return refuse("wal_limit", "must be at least 1MiB");
        }
        for (name, zero) in [
            ("busy_timeout", self.busy_timeout.is_zero()),
            ("claim_life", self.claim_life.is_zero()),
            (
                "dead_letter_retention",
                self.dead_letter_retention == Some(Duration::ZERO),
            ),
            (
                "idempotency_retention",
                self.idempotency_retention == Some(Duration::ZERO),
            ),
        ] {
            if zero {
                return refuse(name, "expected a duration above 0");
            }
        }
        Ok(())
    }
}

/// Options of one stream in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamOptions {
    pub(crate) partitions: u32,
    pub(crate) retention: Option<Duration>,
    pub(crate) max_bytes: Option<u64>,
    /// `None` keeps the limit of an existing stream and gives a new one [`Self::DEFAULT_EVENT_BYTES`].
    pub(crate) max_event_bytes: Option<usize>,
}

impl StreamOptions {
    pub(crate) const DEFAULT_PARTITIONS: u32 = 4;
    pub(crate) const DEFAULT_EVENT_BYTES: usize = 1 << 20;

    /// Returns the limit of a new stream.
    pub(crate) fn event_bytes(&self) -> usize {
        self.max_event_bytes.unwrap_or(Self::DEFAULT_EVENT_BYTES)
    }
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            partitions: Self::DEFAULT_PARTITIONS,
            retention: None,
            max_bytes: None,
            max_event_bytes: None,
        }
    }
}

/// The parsed URL and its options.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    pub(crate) stream: StreamName,
    pub(crate) file: SqliteOptions,
    pub(crate) log: StreamOptions,
}

impl Config {
    pub(crate) fn parse(name: &str, url: &Url, mut options: Options) -> Result<Self> {
        options.join_query(url);
        let path = path_of(url, &options)?;
        let stream = options.text("stream")?.unwrap_or_else(|| name.into());
        if stream.is_empty() {
            return Err(options.refuse("stream", "a stream's name must not be empty"));
        }
        let mut log = StreamOptions::default();
        if let Some(partitions) = options.number("partitions", 1..=1024)? {
            log.partitions = partitions;
        }
        log.retention = options.positive_duration("retention")?;
        if let Some(limit) = options.bytes("max_bytes")? {
            if limit == 0 {
                return Err(options.refuse(
                    "max_bytes",
                    "must be at least 1 byte; leave it out for no limit",
                ));
            }
            log.max_bytes = Some(limit);
        }
        if let Some(limit) = options.bytes("max_event_bytes")? {
            if !(1024..=256 << 20).contains(&limit) {
                return Err(options.refuse("max_event_bytes", "must be from 1KiB to 256MiB"));
            }
            log.max_event_bytes = Some(limit as usize);
        }
        if let Some(most) = log
            .max_bytes
            .filter(|most| *most < log.event_bytes() as u64)
        {
            let why = format!(
                "must be at least the size of one event (max_event_bytes, {})",
                log.event_bytes()
            );
            let _ = most;
            return Err(options.refuse("max_bytes", why));
        }
        let file = file_options(&mut options, log.retention)?;
        options.finish()?;
        Ok(Self {
            path,
            stream: StreamName::new(stream),
            file,
            log,
        })
    }
}

fn file_options(options: &mut Options, retention: Option<Duration>) -> Result<SqliteOptions> {
    let mut file = SqliteOptions::default();
    if let Some(create) = options.choice("create", &["missing", "never"])? {
        file.create = create == "missing";
    }
    if let Some(sync) = options.choice("sync", &["full", "normal"])? {
        file.sync = if sync == "full" {
            SyncMode::Full
        } else {
            SyncMode::Normal
        };
    }
    if let Some(network) = options.choice("network", &["refuse", "allow"])? {
        file.allow_network = network == "allow";
    }
    if let Some(limit) = options.bytes("wal_limit")? {
        if limit < SMALLEST_WAL_LIMIT {
            return Err(options.refuse("wal_limit", "must be at least 1MiB"));
        }
        file.wal_limit = limit;
    }
    if let Some(wait) = options.positive_duration("busy_timeout")? {
        file.busy_timeout = wait;
    }
    if let Some(life) = options.positive_duration("claim_life")? {
        file.claim_life = life;
    }
    file.dead_letter_retention = options.positive_duration("dead_letter_retention")?;
    file.idempotency_retention = options.positive_duration("idempotency_retention")?;
    if let Some(completed) = file.idempotency_retention {
        let (Some(events), Some(dead_letters)) = (retention, file.dead_letter_retention) else {
            return Err(options.refuse(
                "idempotency_retention",
                "events or dead letters are kept for ever, so completed ids must be too: \
                 set retention and dead_letter_retention, or leave it out",
            ));
        };
        if completed < events + dead_letters {
            let why = format!(
                "less than retention and dead_letter_retention together ({:?}): \
                 an event that comes again would be handled again",
                events + dead_letters
            );
            return Err(options.refuse("idempotency_retention", why));
        }
    }
    Ok(file)
}

fn path_of(url: &Url, options: &Options) -> Result<PathBuf> {
    let refuse = |why: &str| Err(options.refuse_url(why));
    if url.has_host() && url.host_str().is_some_and(|host| !host.is_empty()) {
        return refuse("a file has no host: write sqlite:PATH or, from the root, sqlite:/PATH");
    }
    if url.fragment().is_some() {
        return refuse("its path contains `#`: write it as %23");
    }
    let Some(path) = percent_decode(url.path()) else {
        return refuse(
            "its path does not decode: expected `%` and two hexadecimal digits, in UTF-8",
        );
    };
    if path.rsplit('/').next() == Some(":memory:") {
        return refuse(
            "it would create a file named `:memory:`: for a stream in memory write memory:",
        );
    }
    if path.starts_with("file:") {
        return refuse("it is a URI of SQLite's own: write sqlite:PATH, and options in the query");
    }
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return refuse("it names no file: write sqlite:PATH");
    }
    Ok(Path::new(&path).to_owned())
}

#[cfg(test)]
mod tests {
    use aqueduct_core::ErrorKind;

    use super::*;

    fn parse(url: &str) -> Result<Config> {
        Config::parse(
            "orders",
            &Url::parse(url).unwrap(),
            Options::new("streams.orders"),
        )
    }

    fn refusal(url: &str) -> String {
        let error = parse(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        error.to_string()
    }

    #[test]
    fn a_url_names_the_file_and_may_name_the_stream() {
        let plain = parse("sqlite:data/orders.db").unwrap();
        assert_eq!(plain.path, Path::new("data/orders.db"));
        assert_eq!(plain.stream.as_str(), "orders");
        assert_eq!(plain.log, StreamOptions::default());
        assert_eq!(plain.file, SqliteOptions::default());
        for rooted in ["sqlite:/var/o.db", "sqlite:///var/o.db"] {
            assert_eq!(parse(rooted).unwrap().path, Path::new("/var/o.db"));
        }
        let named = parse("sqlite:a%20b.db?stream=paid&partitions=8&sync=normal").unwrap();
        assert_eq!(named.path, Path::new("a b.db"));
        assert_eq!(named.stream.as_str(), "paid");
        assert_eq!(named.log.partitions, 8);
        assert_eq!(named.file.sync, SyncMode::Normal);
    }

    #[test]
    fn the_table_and_the_query_are_one_set() {
        let url = Url::parse("sqlite:o.db?partitions=8").unwrap();
        let options = Options::new("streams.orders")
            .with("retention", "7d")
            .with("partitions", "8");
        let config = Config::parse("orders", &url, options).unwrap();
        assert_eq!(config.log.partitions, 8);
        assert_eq!(config.log.retention, Some(Duration::from_secs(7 * 86_400)));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (url, expected) in [
            ("sqlite://host/o.db", "sqlite:PATH"),
            ("sqlite:", "names no file"),
            ("sqlite:data/", "names no file"),
            ("sqlite:%zz", "does not decode"),
            ("sqlite::memory:", "write memory:"),
            ("sqlite:data/:memory:", "write memory:"),
            ("sqlite:file:o.db", "write sqlite:PATH"),
            ("sqlite:my#data/o.db", "%23"),
            ("sqlite:o.db?partitions=0", "from 1 to 1024"),
            ("sqlite:o.db?partitions=many", "\"many\""),
            ("sqlite:o.db?colour=red", "valid: busy_timeout, claim_life"),
            ("sqlite:o.db?retention=0s", "expected a duration above 0"),
            ("sqlite:o.db?max_bytes=0", "at least 1 byte"),
            ("sqlite:o.db?max_bytes=2KiB", "max_event_bytes"),
            ("sqlite:o.db?max_event_bytes=1", "1KiB"),
            ("sqlite:o.db?sync=off", "full, normal"),
            ("sqlite:o.db?create=always", "missing, never"),
            ("sqlite:o.db?wal_limit=1KiB", "1MiB"),
            ("sqlite:o.db?idempotency_retention=1d", "for ever"),
            (
                "sqlite:o.db?retention=1d&dead_letter_retention=2d&idempotency_retention=2d",
                "together",
            ),
        ] {
            let said = refusal(url);
            assert!(
                said.contains("streams.orders") && said.contains(expected),
                "{url}: {said}"
            );
        }
        parse("sqlite:o.db?retention=1d&dead_letter_retention=2d&idempotency_retention=3d")
            .unwrap();
    }
}
