//! JSON that is safe in a header.

/// Returns JSON as ASCII: other characters only occur in its strings, where an escape stands for
/// them.
pub(crate) fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            ' '..='~' => out.push(character),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_survives_as_ascii(text in "\\PC{0,40}|[\u{0}-\u{ff}]{0,40}") {
            let json = serde_json::to_string(&text).unwrap();
            let header = ascii(&json);
            prop_assert!(header.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            prop_assert_eq!(serde_json::from_str::<String>(&header).unwrap(), text);
        }
    }
}
