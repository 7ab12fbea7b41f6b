//! A prefix as a range of keys, so that a listing walks the index and no character is special.

/// The lowest text above all that start with `prefix`, in the order of their bytes. None: there is
/// no such text.
pub(crate) fn end_of(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        if let Some(next) = successor(last) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// UTF-8 keeps the order of characters; the range of the surrogates holds none.
fn successor(character: char) -> Option<char> {
    match character {
        '\u{d7ff}' => Some('\u{e000}'),
        char::MAX => None,
        other => char::from_u32(u32::from(other) + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC D-4
    fn a_prefix_ends_where_its_last_character_grows() {
        for (prefix, end) in [
            ("redis/", Some("redis0")),
            ("a\u{d7ff}", Some("a\u{e000}")),
            ("a\u{10ffff}", Some("b")),
            ("\u{7f}", Some("\u{80}")),
            ("\u{10ffff}", None),
            ("", None),
        ] {
            assert_eq!(end_of(prefix).as_deref(), end, "{prefix:?}");
        }
    }
}
