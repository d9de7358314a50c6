use std::time::Duration;

use aqueduct_aws::{Arn, AwsOptions};
use aqueduct_core::{Error, Options, Result, SmallStr, Timestamp, Url};

use crate::leases::Layout;

/// The parsed URL and options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The lease table.
    pub(crate) table: SmallStr,
    /// The table of group records and idempotency records.
    pub(crate) state_table: SmallStr,
    /// The prefix of a table's name in the URL's ARN; `None` if the URL names a table.
    home: Option<SmallStr>,
    pub(crate) aws: AwsOptions,
    pub(crate) create: bool,
    pub(crate) layout: Layout,
    pub(crate) idempotency_retention: Option<Duration>,
    /// How long a lease of a foreign owner must be unchanged before a member may join.
    pub(crate) kcl_watch: Duration,
    /// The start time in the KCL application's configuration.
    pub(crate) kcl_at_timestamp: Option<Timestamp>,
}

/// The default watch. KCL renews three times within its failover time, which is 10 s by default:
/// this covers two renewals even with a failover time of 30 s.
const KCL_WATCH: Duration = Duration::from_secs(20);

impl Config {
    pub(crate) fn parse(name: &str, url: &Url, mut options: Options) -> Result<Self> {
        let place = options.place().to_owned();
        let named = Named::parse(name, url, &place)?;
        options.join_query(url);
        let mut aws = AwsOptions::read(&mut options)?;
        if let Some(region) = named.region {
            match &aws.region {
                Some(other) if *other != region => {
                    let why = format!("the ARN's region is {region}: leave it out");
                    return Err(options.refuse("region", why));
                }
                _ => aws.region = Some(region),
            }
        }
        let create = options.choice("create", &["missing", "never"])?;
        let layout = layout(&mut options)?;
        let state_table = match options.text("state_table")? {
            Some(table) if is_table_name(&table) && table != named.table => table,
            Some(_) => {
                let why = format!("expected the name of another table: {TABLE_NAME}");
                return Err(options.refuse("state_table", why));
            }
            None => SmallStr::from(format!("{}-aqueduct", named.table)),
        };
        if !is_table_name(&state_table) {
            return Err(Error::config(format!(
                "{place}.url: table name {} leaves no room for that of the state table, \
                 {state_table}: set `state_table` ({TABLE_NAME})",
                named.table
            )));
        }
        let idempotency_retention = above_zero(&mut options, "idempotency_retention")?;
        let kcl_watch = options.duration("kcl_watch")?.unwrap_or(KCL_WATCH);
        let kcl_at_timestamp = match options.text("kcl_at_timestamp")? {
            None => None,
            Some(text) => match text.parse() {
                Ok(time) => Some(time),
                Err(_) => {
                    let why = "expected a time such as 2026-01-31T12:00:00Z";
                    return Err(options.refuse("kcl_at_timestamp", why));
                }
            },
        };
        options.finish()?;
        Ok(Self {
            table: named.table,
            state_table,
            home: named.home,
            aws,
            create: create != Some("never"),
            layout,
            idempotency_retention,
            kcl_watch,
            kcl_at_timestamp,
        })
    }

    /// Returns the account of the URL's ARN.
    pub(crate) fn account(&self) -> Option<SmallStr> {
        let home = self.home.as_deref()?;
        home.split(':').nth(4).map(SmallStr::from)
    }

    /// Returns the table's name or ARN for requests: both tables belong to the account of the ARN.
    pub(crate) fn address(&self, table: &SmallStr) -> SmallStr {
        match &self.home {
            Some(home) => SmallStr::from(format!("{home}{table}")),
            None => table.clone(),
        }
    }
}

/// The table of a URL, with the account and region if the URL is an ARN.
struct Named {
    table: SmallStr,
    home: Option<SmallStr>,
    region: Option<SmallStr>,
}

const TABLE_NAME: &str = "3 to 255 letters, digits or any of _.-";

impl Named {
    fn parse(name: &str, url: &Url, place: &str) -> Result<Self> {
        let refuse = |why: String| Error::config(format!("{place}.url: {why}"));
        let path = url.path().trim_matches('/');
        let host = url.host_str().unwrap_or("");
        let extra = !url.username().is_empty()
            || url.password().is_some()
            || url.port().is_some()
            || url.fragment().is_some();
        let named = match (host, path) {
            _ if extra => None,
            ("", "") => Some(name),
            ("", one) | (one, "") => Some(one),
            _ => None,
        };
        let Some(named) = named else {
            return Err(refuse(
                "expected `dynamodb://TABLE` or `dynamodb:ARN`, without user, port, path or \
                 fragment"
                    .to_owned(),
            ));
        };
        let (table, home, region) = if named.starts_with("arn:") {
            let arn = Arn::parse(named, "dynamodb")
                .and_then(|arn| Some((arn.resource.strip_prefix("table/")?, arn.region)));
            let Some((table, region)) = arn else {
                return Err(refuse(
                    "expected an ARN such as \
                     arn:aws:dynamodb:eu-west-1:123456789012:table/orders-leases"
                        .to_owned(),
                ));
            };
            let home = named.strip_suffix(table).map(SmallStr::from);
            (table, home, Some(SmallStr::from(region)))
        } else {
            (named, None, None)
        };
        if !is_table_name(table) {
            return Err(refuse(format!(
                "invalid table name `{table}` (expected {TABLE_NAME})"
            )));
        }
        Ok(Self {
            table: SmallStr::from(table),
            home,
            region,
        })
    }
}

fn layout(options: &mut Options) -> Result<Layout> {
    let layout = options.choice("layout", &["kcl", "kcl-multi", "shared"])?;
    let ids = options.text("stream_ids")?;
    match (layout, ids) {
        (Some("kcl-multi"), Some(ids)) => match Layout::multi(&ids) {
            Some(layout) => Ok(layout),
            None => Err(options.refuse(
                "stream_ids",
                "expected each stream once, as KCL names it: ACCOUNT:STREAM:CREATION_EPOCH, with \
                 commas in between",
            )),
        },
        (Some("kcl-multi"), None) => Err(options.refuse(
            "layout",
            "it needs `stream_ids`: each stream as KCL names it, ACCOUNT:STREAM:CREATION_EPOCH, \
             with commas in between",
        )),
        (_, Some(_)) => {
            let why =
                "it belongs to layout = \"kcl-multi\": set that layout, or remove this option";
            Err(options.refuse("stream_ids", why))
        }
        (Some("shared"), None) => Ok(Layout::Shared),
        _ => Ok(Layout::Kcl),
    }
}

fn is_table_name(name: &str) -> bool {
    (3..=255).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn above_zero(options: &mut Options, name: &'static str) -> Result<Option<Duration>> {
    match options.duration(name)? {
        Some(Duration::ZERO) => Err(options.refuse(name, "expected a duration above 0")),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, options: &[(&str, &str)]) -> Result<Config> {
        let all = options
            .iter()
            .fold(Options::new("streams.leases"), |all, (name, value)| {
                all.with(*name, *value)
            });
        let url = Url::parse(url).unwrap();
        Config::parse("orders_Leases", &url, all)
    }

    #[test]
    fn the_query_is_part_of_the_options() {
        let read = parse("dynamodb://orders?region=eu-west-1&create=never", &[]).unwrap();
        assert_eq!(read.aws.region.as_deref(), Some("eu-west-1"));
        assert!(!read.create);
        let refused = parse("dynamodb://orders?regoin=eu-west-1", &[]).unwrap_err();
        assert!(refused.to_string().contains("regoin"), "{refused}");
    }

    #[test]
    fn a_table_is_named_by_url_arn_or_configuration() {
        let named = |url| parse(url, &[]).unwrap().table;
        assert_eq!(named("dynamodb://Orders_x.y-1"), "Orders_x.y-1");
        assert_eq!(named("dynamodb:orders"), "orders");
        assert_eq!(named("dynamodb:"), "orders_Leases");
        let arn = "dynamodb:arn:aws:dynamodb:eu-west-1:123456789012:table/orders";
        let read = parse(arn, &[]).unwrap();
        assert_eq!(read.table, "orders");
        assert_eq!(read.state_table, "orders-aqueduct");
        assert_eq!(read.aws.region.as_deref(), Some("eu-west-1"));
        let account = "arn:aws:dynamodb:eu-west-1:123456789012:table/";
        let leases = read.address(&read.table);
        assert_eq!(leases.as_str(), format!("{account}orders"));
        let state = read.address(&read.state_table);
        assert_eq!(state.as_str(), format!("{account}orders-aqueduct"));
        let plain = parse("dynamodb://orders", &[]).unwrap();
        assert_eq!(plain.address(&plain.table), "orders");
        assert!(parse(arn, &[("region", "eu-west-1")]).is_ok());
        assert!(read.create && read.layout == Layout::Kcl);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_choices() {
        let long = "x".repeat(250);
        let long = format!("dynamodb://{long}");
        for (url, options, expected) in [
            (
                "dynamodb://a",
                &[][..],
                "invalid table name `a` (expected 3 to 255",
            ),
            ("dynamodb://orders/x", &[], "expected `dynamodb://TABLE`"),
            ("dynamodb://me:pw@orders", &[], "without user"),
            ("dynamodb:arn:aws:sqs:x:1:orders", &[], "expected an ARN"),
            (&long, &[], "leaves no room"),
            (
                "dynamodb:arn:aws:dynamodb:eu-west-1:123456789012:table/orders",
                &[("region", "us-east-1")],
                "the ARN's region is eu-west-1",
            ),
            (
                "dynamodb://orders",
                &[("layout", "other")],
                "one of kcl, kcl-multi, shared",
            ),
            (
                "dynamodb://orders",
                &[("layout", "kcl-multi")],
                "needs `stream_ids`",
            ),
            (
                "dynamodb://orders",
                &[("layout", "kcl-multi"), ("stream_ids", "orders")],
                "ACCOUNT:STREAM:CREATION_EPOCH",
            ),
            (
                "dynamodb://orders",
                &[("stream_ids", "1:orders:2")],
                "belongs to layout",
            ),
            (
                "dynamodb://orders",
                &[("state_table", "orders")],
                "the name of another table",
            ),
            (
                "dynamodb://orders",
                &[("idempotency_retention", "0s")],
                "above 0",
            ),
            (
                "dynamodb://orders",
                &[("kcl_at_timestamp", "noon")],
                "expected a time",
            ),
            (
                "dynamodb://orders",
                &[("colour", "red")],
                "colour: no such option; valid: ca_file, connect_timeout, create, dual_stack, endpoint, \
                 external_id, fips, idempotency_retention, kcl_at_timestamp, kcl_watch, layout, \
                 profile, read_timeout, region, request_timeout, role, role_session, state_table, stream_ids",
            ),
        ] {
            let error = parse(url, options).unwrap_err();
            assert_eq!(error.kind(), aqueduct_core::ErrorKind::Config);
            let said = error.to_string();
            assert!(said.contains(expected), "{url}: {said}");
            assert!(!said.contains("pw"), "{said}");
        }
    }
}
