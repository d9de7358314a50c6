use aqueduct_core::ErrorKind;

use super::*;

const KEY: &str = "c2VjcmV0LWtleQ==";

fn parse_with(url: &str, options: &[(&'static str, &str)]) -> Result<Config> {
    let all = options
        .iter()
        .fold(Options::new("streams.orders"), |all, (name, value)| {
            all.with(*name, *value)
        });
    Config::parse("orders", &Url::parse(url).unwrap(), all)
}

fn string(more: &str) -> String {
    format!(
        "Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey={KEY}{more}"
    )
}

#[test]
fn a_url_names_namespace_and_hub() {
    let plain = parse_with("eventhubs://shop/Orders_1.a", &[]).unwrap();
    assert_eq!(plain.hub.as_str(), "Orders_1.a");
    assert_eq!(
        plain.namespace.as_deref(),
        Some("shop.servicebus.windows.net")
    );
    assert_eq!(plain.encoding, Encoding::CloudEvents);
    assert_eq!(plain.partitioner, Partitioner::Client);
    let whole = parse_with("eventhubs://shop.servicebus.chinacloudapi.cn/paid", &[]).unwrap();
    assert_eq!(
        whole.namespace.as_deref(),
        Some("shop.servicebus.chinacloudapi.cn")
    );
    for url in [
        "eventhubs:",
        "eventhubs://",
        "eventhubs://shop",
        "eventhubs://shop/",
    ] {
        assert_eq!(
            parse_with(url, &[]).unwrap().hub.as_str(),
            "orders",
            "{url}"
        );
    }
    assert_eq!(
        parse_with("eventhubs:paid", &[]).unwrap().hub.as_str(),
        "paid"
    );
}

#[test]
fn a_connection_string_names_them_too() {
    let text = string(";EntityPath=paid");
    let config = parse_with("eventhubs:", &[("connection_string", &text)]).unwrap();
    assert_eq!(config.hub.as_str(), "paid");
    let found = config.connection_string.unwrap();
    assert_eq!(found.host, "shop.servicebus.windows.net");
    assert!(!found.emulator);
    assert!(!format!("{found:?}{:?}", found.access).contains(KEY));

    let local = "endpoint=sb://localhost:7777; SharedAccessKeyName=root;SharedAccessKey=k;UseDevelopmentEmulator=TRUE;";
    let found = ConnectionString::parse(local).unwrap();
    assert_eq!((found.host.as_str(), found.port), ("localhost", Some(7777)));
    assert!(found.emulator);
}

#[test]
fn options_are_read() {
    let config = parse_with(
        "eventhubs://shop/orders?encoding=raw&partitioner=service&links=8&timeout=5s&idle_timeout=3s\
         &prefetch=50&consumer_group=$Default&endpoint=amqp://127.0.0.1:5672&ca_file=/tmp/ca.pem",
        &[],
    )
    .unwrap();
    assert_eq!(config.encoding, Encoding::Raw);
    assert_eq!(config.partitioner, Partitioner::Service);
    assert_eq!((config.links, config.prefetch), (8, 50));
    assert_eq!(config.timing.request, Duration::from_secs(5));
    assert_eq!(config.timing.idle, Duration::from_secs(3));
    assert_eq!(config.consumer_group("billing", 1), "$Default");
    let endpoint = config.endpoint.unwrap();
    assert_eq!(
        (endpoint.port(Transport::Amqp), endpoint.tls),
        (5672, false)
    );
    let plain = parse_with("eventhubs://shop/orders", &[]).unwrap();
    assert_eq!(plain.consumer_group("billing", 1), "billing");
    assert_eq!(plain.consumer_group("reader", 0), "$Default");
}

#[test]
fn a_malformed_connection_string_says_which_part() {
    let without = |part: &str| {
        let parts: Vec<_> = string("")
            .split(';')
            .filter(|it| !it.starts_with(part))
            .map(str::to_owned)
            .collect();
        parts.join(";")
    };
    for (text, expected) in [
        (String::new(), "`Endpoint` is missing"),
        (without("Endpoint"), "`Endpoint` is missing"),
        (
            without("SharedAccessKeyName"),
            "`SharedAccessKeyName` is missing",
        ),
        (without("SharedAccessKey="), "`SharedAccessKey` is missing"),
        (without("SharedAccess"), "are missing"),
        (string(";EntityPath=a/b"), "`EntityPath`"),
        (
            string(";EntityPath=a;EntityPath=b"),
            "`EntityPath` is given twice",
        ),
        (
            string(";UseDevelopmentEmulator=maybe"),
            "`UseDevelopmentEmulator`",
        ),
        (
            string(";SharedAccessSignature=SharedAccessSignature sr=x"),
            "both",
        ),
        (string(&format!(";{KEY}x")), "part 4 has an unknown name"),
        (string(";nonsense"), "part 4 has no `=`"),
        (
            string("").replace("sb://", "http://"),
            "`Endpoint` is invalid",
        ),
        (string("").replace("sb://", ""), "`Endpoint` is invalid"),
        (
            string("").replace(".net/", ".net:x/"),
            "`Endpoint` is invalid",
        ),
        (
            string("").replace("=send", "="),
            "`SharedAccessKeyName` is empty",
        ),
        (string("").replace(KEY, ""), "`SharedAccessKey` is empty"),
    ] {
        let error = parse_with("eventhubs:", &[("connection_string", &text)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let shown = error.to_string();
        assert!(
            shown.starts_with("streams.orders.connection_string: "),
            "{shown}"
        );
        assert!(shown.contains(expected), "{shown}");
        assert!(!shown.contains(KEY), "{shown}");
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (url, expected) in [
        ("eventhubs://user@shop/orders", "connection_string"),
        ("eventhubs://shop:5671/orders", "endpoint"),
        ("eventhubs://shop/orders#x", "fragment"),
        ("eventhubs://shop/a/b", "too many parts"),
        ("eventhubs://shop/%zz", "%"),
        ("eventhubs://shop/-x", "event hub name"),
        ("eventhubs://shop/orders?endpoint=http://x", "endpoint"),
        ("eventhubs://shop/orders?endpoint=amqp://x:0", "endpoint"),
        ("eventhubs://shop/orders?encoding=json", "cloudevents, raw"),
        ("eventhubs://shop/orders?links=0", "links"),
        ("eventhubs://shop/orders?timeout=1ms", "timeout"),
        ("eventhubs://shop/orders?idle_timeout=1h", "idle_timeout"),
        (
            "eventhubs://shop/orders?consumer_group=a+b",
            "consumer_group",
        ),
        (
            "eventhubs://shop/orders?nonsense=1",
            "valid: ca_file, connection_string, consumer_group",
        ),
    ] {
        let error = parse_with(url, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        assert!(error.to_string().contains(expected), "{url}: {error}");
    }
    let text = string(";EntityPath=paid");
    for (url, expected) in [
        ("eventhubs://shop/orders", "`EntityPath` is paid"),
        (
            "eventhubs://other/paid",
            "`Endpoint` is shop.servicebus.windows.net",
        ),
    ] {
        let error = parse_with(url, &[("connection_string", &text)]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
