/// The form of data, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `*/json` or `*/*+json`.
    Json,
    /// `text/*`, `*/xml` or `*/*+xml`, in UTF-8.
    Text,
    /// Anything else.
    Binary,
}

/// Returns the form that `content_type` declares.
pub(crate) fn form(content_type: &str) -> Form {
    if content_type == "application/json" {
        return Form::Json;
    }
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let Some((kind, subtype)) = essence.trim().split_once('/') else {
        return Form::Binary;
    };
    if is_or_ends_in(subtype, "json") {
        Form::Json
    } else if (kind.eq_ignore_ascii_case("text") || is_or_ends_in(subtype, "xml"))
        && is_utf8(parameters)
    {
        Form::Text
    } else {
        Form::Binary
    }
}

/// Returns whether the media type of `content_type`, without parameters, is `essence`.
pub(super) fn is(content_type: &str, essence: &str) -> bool {
    let own = content_type.split(';').next().unwrap_or_default();
    own.trim().eq_ignore_ascii_case(essence)
}

fn is_or_ends_in(subtype: &str, format: &str) -> bool {
    let suffix = subtype.rsplit('+').next().unwrap_or_default();
    suffix.eq_ignore_ascii_case(format)
}

fn is_utf8(parameters: &str) -> bool {
    parameters
        .split(';')
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, charset)| charset.trim().trim_matches('"'))
        .all(|charset| {
            charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("us-ascii")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subtype_and_the_charset_decide() {
        for (content_type, expected) in [
            ("application/json", Form::Json),
            ("text/json", Form::Json),
            ("Application/JSON; charset=utf-8", Form::Json),
            ("application/cloudevents+json", Form::Json),
            ("application/jsonx", Form::Binary),
            ("application/vnd.json.thing", Form::Binary),
            ("text/plain", Form::Text),
            ("text/plain; charset=\"UTF-8\"", Form::Text),
            ("text/plain; charset=utf-16", Form::Binary),
            ("application/xml", Form::Text),
            ("image/svg+xml", Form::Text),
            ("application/vnd.apache.thrift.binary", Form::Binary),
            ("json", Form::Binary),
            ("", Form::Binary),
        ] {
            assert_eq!(form(content_type), expected, "{content_type}");
        }
        assert!(is("application/Protobuf; x=y", "application/protobuf"));
    }
}
