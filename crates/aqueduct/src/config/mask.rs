use super::expand::is_reference;

const MASK: &str = "***";

/// The text of `key` as errors may print it: as written, without what could be a secret.
/// References such as `${SAS_KEY}` tell nothing and stay.
pub(crate) fn mask(key: &str, written: &str) -> String {
    if is_reference(written) {
        return written.into();
    }
    if is_secret(key) {
        return MASK.into();
    }
    if looks_like_connection_string(written) {
        return mask_connection_string(written);
    }
    mask_url(written)
}

/// The text of a URL without user info and without the values of its query.
pub(crate) fn mask_url(written: &str) -> String {
    let (base, query) = match written.split_once('?') {
        Some((base, query)) => (base, Some(query)),
        None => (written, None),
    };
    let mut masked = mask_user_info(base);
    if let Some(query) = query {
        masked.push('?');
        masked.push_str(&mask_pairs(query, '&', |_| true));
    }
    masked
}

/// Whether a key of that name holds a secret.
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

fn mask_user_info(base: &str) -> String {
    let start = base
        .find("://")
        .map(|at| at + 3)
        .or_else(|| base.find(':').map(|at| at + 1));
    let (Some(start), Some(at)) = (start, base.rfind('@')) else {
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

fn mask_connection_string(text: &str) -> String {
    mask_pairs(text, ';', is_secret)
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
        ] {
            assert_eq!(mask(key, written), expected);
        }
    }
}
