//! Form encoding, byte for byte as the platform does it (contract 3.2).

use super::{Malformed, limits};

/// Names and values of a form, in the order they came.
pub(super) type Pairs = Vec<(String, String)>;

/// Sorted by name; values of one name keep their order.
pub(super) fn encode(mut pairs: Pairs) -> String {
    pairs.sort_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
    let fields: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    fields.join("&")
}

/// `A-Za-z0-9-_.~` as they are, a space as `+`, every other byte as `%XX`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            b' ' => escaped.push('+'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

/// Reads a form, however its writer escaped it.
pub(super) fn decode(body: &[u8]) -> Result<Pairs, Malformed> {
    let fields = body.split(|byte| *byte == b'&').filter(|field| !field.is_empty());
    if fields.clone().nth(limits::ELEMENTS).is_some() {
        return Err(limits::too_many());
    }
    fields
        .map(|field| {
            let middle = field.iter().position(|byte| *byte == b'=').unwrap_or(field.len());
            let value = field.get(middle + 1..).unwrap_or_default();
            Ok((unescape(&field[..middle])?, unescape(value)?))
        })
        .collect()
}

fn unescape(text: &[u8]) -> Result<String, Malformed> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let (byte, after) = match first {
            b'%' => hex_pair(tail)?,
            b'+' => (b' ', tail),
            other => (*other, tail),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| Malformed::new("the form holds text that is not UTF-8"))
}

fn hex_pair(text: &[u8]) -> Result<(u8, &[u8]), Malformed> {
    let broken = || Malformed::new("the form holds a \"%\" that is not followed by two hexadecimal digits");
    let (pair, rest) = text.split_at_checked(2).ok_or_else(broken)?;
    let mut byte = [0];
    hex::decode_to_slice(pair, &mut byte).map_err(|_| broken())?;
    Ok((byte[0], rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test] // contract 3.2
    fn the_platforms_alphabet_is_kept() {
        let encoded = encode(pairs(&[("tags", "b"), ("a", "~*é /"), ("tags", "a"), ("e", "")]));
        assert_eq!(encoded, "a=~%2A%C3%A9+%2F&e=&tags=b&tags=a");
    }

    #[test] // A111
    fn broken_escapes_are_refused() {
        for broken in ["a=%zz", "a=%4", "a=%", "%=1", "a=%ff"] {
            assert!(decode(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test] // SPEC T-9
    fn a_form_of_too_many_fields_is_refused() {
        assert_eq!(decode("a&".repeat(limits::ELEMENTS).as_bytes()).unwrap().len(), limits::ELEMENTS);
        assert!(
            decode("a&".repeat(limits::ELEMENTS + 1).as_bytes()).unwrap_err().to_string().contains("more than 10000")
        );
    }

    #[test]
    fn what_others_write_is_read_too() {
        let read = decode(b"&a=*&b&c=%7e%20+&&d=x=y").unwrap();
        assert_eq!(read, pairs(&[("a", "*"), ("b", ""), ("c", "~  "), ("d", "x=y")]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(name in ".{1,8}", value in ".*") {
            let pairs = vec![(name, value)];
            prop_assert_eq!(decode(encode(pairs.clone()).as_bytes()).unwrap(), pairs);
        }

        #[test]
        fn no_body_makes_the_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&body);
        }
    }
}
