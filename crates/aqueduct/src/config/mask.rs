use super::expand::is_reference;

const MASK: &str = "***";

/// Returns the text of `key` as errors may print it: as written, without possible secrets.
/// References such as `${SAS_KEY}` are not secret and stay.
pub(crate) fn mask(key: &str, written: &str) -> String {
    if is_reference(written) {
        return written.into();
    }
    if is_secret(key) {
        return MASK.into();
    }
    mask_url(written)
}

/// Returns the text of a URL without user info and without the values of its query and fragment. A
/// connection string written in its place loses its secrets too.
pub(crate) fn mask_url(written: &str) -> String {
    let written = match looks_like_connection_string(written) {
        true => mask_pairs(written, ';', is_secret),
        false => written.to_string(),
    };
    let written = mask_user_info(&written);
    let (base, mut rest) = written.split_at(written.find(['?', '#']).unwrap_or(written.len()));
    let mut masked = base.to_string();
    while let Some(mark) = rest.chars().next() {
        let after = rest.get(1..).unwrap_or_default();
        let (part, next) = after.split_at(after.find('#').unwrap_or(after.len()));
        masked.push(mark);
        masked.push_str(&mask_pairs(part, '&', |_| true));
        rest = next;
    }
    masked
}

/// Returns whether a key of that name holds a secret.
fn is_secret(key: &str) -> bool {
    const PARTS: [&str; 9] = [
        "key",
        "keys",
        "pass",
        "pwd",
        "sas",
        "sig",
        "auth",
        "pin",
        "connection",
    ];
    const ANYWHERE: [&str; 11] = [
        "secret",
        "token",
        "password",
        "passwd",
        "credential",
        "signature",
        "connectionstring",
        "accesskey",
        "apikey",
        "accountkey",
        "sharedaccess",
    ];
    let key = key.to_ascii_lowercase();
    let mut parts = key.split(['_', '-', '.']);
    parts.any(|part| PARTS.contains(&part)) || ANYWHERE.iter().any(|word| key.contains(word))
}

/// A password may hold a `?` or a `#` that should have been written with `%`; a query has a `=`
/// before its first `@`.
fn mask_user_info(base: &str) -> String {
    let plain = base.find(['?', '#']).unwrap_or(base.len());
    let (authority, rest) = base.split_at(plain);
    let end = match rest.split_once('@') {
        Some((password, _)) if !password.contains('=') => plain + password.len() + 1,
        _ => authority.len(),
    };
    let start = base
        .find("://")
        .map(|at| at + 3)
        .or_else(|| base.find(':').map(|at| at + 1))
        .unwrap_or(0);
    let Some(at) = base.get(..end).and_then(|text| text.rfind('@')) else {
        return base.into();
    };
    match (base.get(..start), base.get(start..at), base.get(at..)) {
        (Some(scheme), Some(user_info), Some(rest)) => {
            let harmless = user_info.split(':').all(is_reference);
            format!("{scheme}{}{rest}", if harmless { user_info } else { MASK })
        }
        _ => base.into(),
    }
}

fn looks_like_connection_string(text: &str) -> bool {
    let is_word = |name: &str| {
        name.chars()
            .all(|c| c.is_alphanumeric() || c == ' ' || c == '_')
    };
    text.split(';').any(|part| {
        part.split_once('=')
            .is_some_and(|(name, _)| is_word(name) && is_secret(name.trim()))
    })
}

fn mask_pairs(text: &str, separator: char, secret: impl Fn(&str) -> bool) -> String {
    let masked = text
        .split(separator)
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if secret(name.trim()) && !is_reference(value) => {
                format!("{name}={MASK}")
            }
            _ => pair.to_string(),
        });
    masked.collect::<Vec<_>>().join(&separator.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        for (key, written, expected) in [
            ("concurrency", "many", "many"),
            ("sas_key", "hunter2", "***"),
            ("sas_key", "${SAS_KEY}", "${SAS_KEY}"),
            ("url", "amqp://me:hunter2@host/x", "amqp://***@host/x"),
            ("url", "amqp://me:hunt/er@2@host/x", "amqp://***@host/x"),
            ("url", "amqp://${U}:${P}@host/x", "amqp://${U}:${P}@host/x"),
            (
                "url",
                "k://orders?token=hunter2&b=${B}",
                "k://orders?token=***&b=${B}",
            ),
            (
                "text",
                "Endpoint=sb://ns/;SharedAccessKey=hunter2",
                "Endpoint=sb://ns/;SharedAccessKey=***",
            ),
            ("connection_string", "Endpoint=sb://x", "***"),
            (
                "url",
                "Endpoint=sb://ns/;SharedAccessKey=hun?t#er2=;EntityPath=x",
                "Endpoint=sb://ns/;SharedAccessKey=***;EntityPath=x",
            ),
            (
                "url",
                "eventhubs://me:hunter2@ns/orders;SharedAccessKey=hunter2",
                "eventhubs://***@ns/orders;SharedAccessKey=***",
            ),
            ("url", "k://host/x#sas=hunter2", "k://host/x#sas=***"),
            ("url", "k://host/x?a=${A}#b=c", "k://host/x?a=${A}#b=***"),
            ("url", "k://me:hunt?er#2@host/x", "k://***@host/x"),
            ("url", "k://host/x?mail=a@b", "k://host/x?mail=***"),
            ("url", "hunter2@host", "***@host"),
            ("source", "/shop/web", "/shop/web"),
        ] {
            assert_eq!(mask(key, written), expected);
        }
    }
}
