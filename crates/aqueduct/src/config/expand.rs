/// The reason why a text with references cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The environment has no such variable.
    Missing(String),
    /// A reference that does not end, or names nothing.
    Malformed,
}

/// Replaces `${NAME}` by the result of `lookup`; `$${` stands for `${`.
pub(super) fn expand(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<String, Refused> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let reference = from.get(2..).unwrap_or_default();
        if let Some(literal) = before.strip_suffix('$') {
            expanded.push_str(literal);
            expanded.push_str("${");
            rest = reference;
            continue;
        }
        let (name, after) = reference.split_once('}').ok_or(Refused::Malformed)?;
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(valid) {
            return Err(Refused::Malformed);
        }
        expanded.push_str(before);
        expanded.push_str(&lookup(name).ok_or_else(|| Refused::Missing(name.into()))?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Returns whether the text consists only of references and so contains no secret.
pub(super) fn is_reference(text: &str) -> bool {
    let mut rest = text;
    while let Some(name) = rest.strip_prefix("${") {
        match name.split_once('}') {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.is_empty() && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_once_and_escapes_stay() {
        let lookup = |name: &str| (name == "A").then(|| "${A}".to_string());
        assert_eq!(expand("x-${A}-y", lookup), Ok("x-${A}-y".into()));
        assert_eq!(expand("$${A} costs 5$", lookup), Ok("${A} costs 5$".into()));
        assert_eq!(expand("${B}", lookup), Err(Refused::Missing("B".into())));
        for malformed in ["${", "${}", "${A", "${A-B}", "${A B}"] {
            assert_eq!(
                expand(malformed, lookup),
                Err(Refused::Malformed),
                "{malformed}"
            );
        }
        assert!(is_reference("${A}${B}") && !is_reference("a${B}") && !is_reference(""));
    }
}
