use std::time::Duration;

use aqueduct_core::{Options, Result, SmallStr, Url, percent_decode};

use crate::leases::{Layout, Processor};
use crate::service_names::{is_account, is_bucket, is_container, is_name, is_namespace};

/// The schemes of object stores.
pub(crate) const SCHEMES: &[&str] = &["az", "s3", "gs", "file"];

/// The parsed URL and options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) container: Container,
    /// Without a slash at either end; empty for the whole container.
    pub(crate) prefix: SmallStr,
    pub(crate) access: Access,
    pub(crate) layout: Layout,
    /// The least time between two writes of a processor's checkpoint blob.
    pub(crate) checkpoint_blobs: Duration,
    /// How long an ownership blob of a processor must be unchanged before a member may join.
    pub(crate) processor_watch: Duration,
    pub(crate) idempotency_retention: Option<Duration>,
}

/// Where objects are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    Azure {
        account: SmallStr,
        container: SmallStr,
    },
    S3 {
        bucket: SmallStr,
    },
    Gcs {
        bucket: SmallStr,
    },
    /// An absolute path.
    Folder {
        path: SmallStr,
    },
}

/// Address and credentials of the service. Those that are `None` come from the environment.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) endpoint: Option<SmallStr>,
    pub(crate) access_key: Option<SmallStr>,
    pub(crate) sas_token: Option<SmallStr>,
    pub(crate) region: Option<SmallStr>,
    pub(crate) service_account: Option<SmallStr>,
    /// The limit for one request.
    pub(crate) timeout: Duration,
}

/// Never prints a secret.
impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The default limit for one request: several fit into a lease's ttl of 30 s.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The default interval of checkpoint blobs: one more write a minute than renewals. Only a processor
/// that goes on after a crash of the group repeats what is settled since.
const CHECKPOINT_BLOBS: Duration = Duration::from_secs(60);

/// The default watch. Processors renew every 10 s (.NET, Java, JavaScript) or 30 s (Python).
const WATCH: Duration = Duration::from_secs(40);

impl Config {
    pub(crate) fn parse(url: &Url, mut options: Options) -> Result<Self> {
        options.join_query(url);
        let (container, prefix) = place(url, &options)?;
        let access = access(&mut options, &container)?;
        let layout = layout(&mut options, &container)?;
        let of_processors = ["checkpoint_blobs", "processor_watch"];
        let mut given = of_processors.iter().filter(|name| options.contains(name));
        if let (Layout::Own, Some(name)) = (&layout, given.next()) {
            return Err(options.refuse(name, "it belongs to `event_hubs`: set that too"));
        }
        let checkpoint_blobs = options.duration("checkpoint_blobs")?;
        let processor_watch = options.duration("processor_watch")?;
        let idempotency_retention = options.positive_duration("idempotency_retention")?;
        options.finish()?;
        Ok(Self {
            container,
            prefix,
            access,
            layout,
            checkpoint_blobs: checkpoint_blobs.unwrap_or(CHECKPOINT_BLOBS),
            processor_watch: processor_watch.unwrap_or(WATCH),
            idempotency_retention,
        })
    }

    /// Returns scheme, container and prefix, without secrets.
    pub(crate) fn describe(&self) -> String {
        let place = match &self.container {
            Container::Azure { account, container } => format!("az://{account}/{container}"),
            Container::S3 { bucket } => format!("s3://{bucket}"),
            Container::Gcs { bucket } => format!("gs://{bucket}"),
            Container::Folder { path } => format!("file://{path}"),
        };
        match self.prefix.is_empty() {
            true => place,
            false => format!("{place}/{}", self.prefix),
        }
    }
}

fn place(url: &Url, options: &Options) -> Result<(Container, SmallStr)> {
    let extra = !url.username().is_empty()
        || url.password().is_some()
        || url.port().is_some()
        || url.fragment().is_some();
    if extra {
        let why = "it must not have a user, password, port or fragment: `endpoint` names another \
                   server, and credentials have options of their own";
        return Err(options.refuse_url(why));
    }
    let host = url.host_str().unwrap_or_default();
    let Some(path) = percent_decode(url.path().trim_matches('/')) else {
        return Err(options.refuse_url("the path is not UTF-8"));
    };
    let path = path.as_str();
    if url.scheme() == "file" {
        if !host.is_empty() || path.is_empty() {
            return Err(options.refuse_url("expected `file:///FOLDER`, an absolute path"));
        }
        let path = format!("/{path}").into();
        return Ok((Container::Folder { path }, SmallStr::default()));
    }
    if !path.is_empty()
        && !path
            .split('/')
            .all(|name| !name.is_empty() && is_name(name))
    {
        let why =
            "each name in the path needs letters, digits or any of `._=$-`, and not `.` or `..`";
        return Err(options.refuse_url(why));
    }
    match url.scheme() {
        "az" => {
            let (container, prefix) = path.split_once('/').unwrap_or((path, ""));
            if !is_account(host) || !is_container(container) {
                let why = "expected `az://ACCOUNT/CONTAINER` or `az://ACCOUNT/CONTAINER/PREFIX`: an \
                           account has 3 to 24 lower-case letters and digits, a container 3 to 63 \
                           lower-case letters, digits and single hyphens";
                return Err(options.refuse_url(why));
            }
            let (account, container) = (host.into(), container.into());
            Ok((Container::Azure { account, container }, prefix.into()))
        }
        scheme => {
            if !is_bucket(host) {
                let why = format!(
                    "expected `{scheme}://BUCKET` or `{scheme}://BUCKET/PREFIX`: a bucket has 3 to \
                     63 lower-case letters, digits, hyphens, dots and underscores"
                );
                return Err(options.refuse_url(why));
            }
            let bucket = host.into();
            let container = match scheme {
                "s3" => Container::S3 { bucket },
                _ => Container::Gcs { bucket },
            };
            Ok((container, path.into()))
        }
    }
}

fn access(options: &mut Options, container: &Container) -> Result<Access> {
    let endpoint = options.text("endpoint")?;
    let is_http = |text: &str| {
        Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.host_str().is_some()
                && url.username().is_empty()
                && url.password().is_none()
        })
    };
    if endpoint.as_deref().is_some_and(|text| !is_http(text)) {
        let why = "expected an address such as http://127.0.0.1:10000/devstoreaccount1";
        return Err(options.refuse("endpoint", why));
    }
    let access = Access {
        endpoint,
        access_key: options.text("access_key")?,
        sas_token: options.text("sas_token")?,
        region: options.text("region")?,
        service_account: options.text("service_account")?,
        timeout: options.positive_duration("timeout")?.unwrap_or(TIMEOUT),
    };
    if access.access_key.is_some() && access.sas_token.is_some() {
        return Err(options.refuse("sas_token", "set either this or `access_key`"));
    }
    let allowed: &[&str] = match container {
        Container::Azure { .. } => &["endpoint", "access_key", "sas_token"],
        Container::S3 { .. } => &["endpoint", "region"],
        Container::Gcs { .. } => &["endpoint", "service_account"],
        Container::Folder { .. } => &[],
    };
    for (name, of) in [
        ("endpoint", "az, s3 and gs"),
        ("access_key", "az"),
        ("sas_token", "az"),
        ("region", "s3"),
        ("service_account", "gs"),
    ] {
        if options.contains(name) && !allowed.contains(&name) {
            return Err(options.refuse(name, format_args!("it is an option of {of}")));
        }
    }
    Ok(access)
}

fn layout(options: &mut Options, container: &Container) -> Result<Layout> {
    let namespace = options.text("event_hubs")?;
    let hub = options.text("hub")?;
    let consumer_group = options.text("consumer_group")?;
    let Some(namespace) = namespace else {
        for (name, value) in [("hub", hub), ("consumer_group", consumer_group)] {
            if value.is_some() {
                return Err(options.refuse(name, "it belongs to `event_hubs`: set that too"));
            }
        }
        return Ok(Layout::Own);
    };
    if !matches!(container, Container::Azure { .. }) {
        let why = "Microsoft's layout keeps its state in metadata, whose changes only Azure Blob \
                   Storage shows in a blob's version: use an az:// URL, or leave this out";
        return Err(options.refuse("event_hubs", why));
    }
    if !is_namespace(&namespace) {
        let why = "expected the fully qualified namespace, such as orders.servicebus.windows.net";
        return Err(options.refuse("event_hubs", why));
    }
    for (name, value) in [("hub", &hub), ("consumer_group", &consumer_group)] {
        if value.as_ref().is_some_and(|value| value.is_empty()) {
            return Err(options.refuse(name, "expected a name"));
        }
    }
    Ok(Layout::Processor(Processor {
        namespace,
        hub,
        consumer_group,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, options: &[(&str, &str)]) -> Result<Config> {
        let all = options
            .iter()
            .fold(Options::new("groups.g.leases"), |all, (name, value)| {
                all.with(*name, *value)
            });
        Config::parse(&Url::parse(url).unwrap(), all)
    }

    #[test]
    fn each_scheme_names_its_container() {
        let read = parse("az://shop/leases/a/b?timeout=2s", &[]).unwrap();
        assert_eq!(read.describe(), "az://shop/leases/a/b");
        assert_eq!(read.prefix, "a/b");
        assert_eq!(read.access.timeout, Duration::from_secs(2));
        assert_eq!(parse("az://shop/leases/", &[]).unwrap().prefix, "");
        assert_eq!(
            parse("s3://shop.eu/x", &[]).unwrap().describe(),
            "s3://shop.eu/x"
        );
        assert_eq!(
            parse("gs://shop_eu", &[]).unwrap().describe(),
            "gs://shop_eu"
        );
        let folder = parse("file:///var/lib/a%20b", &[]).unwrap();
        assert_eq!(folder.describe(), "file:///var/lib/a b");
    }

    #[test]
    fn what_names_no_container_is_refused() {
        for url in [
            "az://shop",
            "az://Shop-1/leases",
            "az://shop/A",
            "az://shop/a--b",
            "az://user:hunter2@shop/leases",
            "az://shop:99/leases",
            "az://shop/leases#hunter2",
            "az://shop/leases/a//b",
            "s3://shop/;key=hunter2",
            "s3://",
            "s3://x",
            "gs://SHOP/..",
            "file:///",
        ] {
            let Ok(url) = Url::parse(url) else {
                continue;
            };
            let refused = Config::parse(&url, Options::new("streams.a"));
            let said = refused.unwrap_err().to_string();
            assert!(said.contains("streams.a.url"), "{url}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn an_option_of_another_store_is_refused() {
        for (url, name, value, says) in [
            ("s3://shop", "access_key", "hunter2", "option of az"),
            ("az://shop/leases", "region", "eu-west-1", "option of s3"),
            (
                "file:///tmp/x",
                "endpoint",
                "http://a",
                "option of az, s3 and gs",
            ),
            (
                "az://shop/leases",
                "endpoint",
                "localhost:1",
                "expected an address",
            ),
            ("az://shop/leases", "hub", "orders", "`event_hubs`"),
            ("az://shop/leases", "checkpoint_blobs", "5s", "`event_hubs`"),
            ("s3://shop", "event_hubs", "a.b", "only Azure"),
            (
                "az://shop/leases",
                "event_hubs",
                "sb://a/",
                "fully qualified",
            ),
            ("az://shop/leases", "timeout", "0s", "above 0"),
            ("az://shop/leases", "colour", "red", "no such option"),
        ] {
            let said = parse(url, &[(name, value)]).unwrap_err().to_string();
            assert!(said.contains(says), "{url} {name}: {said}");
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let both = [("access_key", "hunter2"), ("sas_token", "a")];
        let said = parse("az://shop/leases", &both).unwrap_err().to_string();
        assert!(
            said.contains("either") && !said.contains("hunter2"),
            "{said}"
        );
        let read = parse("az://shop/leases", &[("access_key", "hunter2")]).unwrap();
        assert!(!format!("{read:?}").contains("hunter2"));
    }
}
