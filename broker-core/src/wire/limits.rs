//! How large what a body says may be (SPEC T-9). What is larger is refused before it costs anything: a body of 1 MiB
//! could otherwise ask for hundreds of times as much memory.

use serde_json::Value;

use super::Malformed;

/// Fields of a form; members and items of JSON, all levels together; members of the parameters in a form.
pub(super) const ELEMENTS: usize = 10_000;
/// Levels of objects and lists within parameters.
pub(super) const DEPTH: usize = 64;
/// The name of a parameter, on any level, in bytes.
const NAME: usize = 256;
/// A text that is no parameter, such as a description, in bytes.
const TEXT: usize = 4096;
/// Texts in a list, such as tags.
const LISTED: usize = 1000;

pub(super) fn too_many() -> Malformed {
    Malformed::new(format!("the body has more than {ELEMENTS} fields, members and items"))
}

pub(super) fn too_deep() -> Malformed {
    Malformed::new(format!("a parameter is nested more than {DEPTH} levels deep"))
}

pub(super) fn parameter_name(name: &str) -> Result<(), Malformed> {
    if name.len() <= NAME {
        return Ok(());
    }
    Err(Malformed::new(format!("the name of a parameter is longer than {NAME} bytes")))
}

/// A field's text. `field` is the name in the contract, not what was sent.
pub(crate) fn text(field: &str, text: &str) -> Result<(), Malformed> {
    if text.len() <= TEXT {
        return Ok(());
    }
    Err(Malformed::new(format!("\"{field}\" is longer than {TEXT} bytes")))
}

pub(super) fn listed(field: &str, texts: usize) -> Result<(), Malformed> {
    if texts <= LISTED {
        return Ok(());
    }
    Err(Malformed::new(format!("\"{field}\" has more than {LISTED} entries")))
}

/// JSON as a value, if it has few enough elements and levels and no long names. They are counted before it is read.
pub(crate) fn read_json(body: &[u8]) -> Result<Value, Malformed> {
    weigh(body)?;
    let value =
        serde_json::from_slice(body).map_err(|error| Malformed::new(format!("the body is not JSON: {error}")))?;
    names(&value)?;
    Ok(value)
}

/// Counts what would be made of a text if it is JSON; what it is counted as if it is not does not matter.
fn weigh(body: &[u8]) -> Result<(), Malformed> {
    let (mut elements, mut depth, mut in_text, mut is_escaped) = (0, 0_usize, false, false);
    for byte in body {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => (elements, depth) = (elements + 1, depth + 1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => elements += 1,
            _ => {}
        }
        if elements > ELEMENTS {
            return Err(too_many());
        }
        // One level is the body's own.
        if depth > DEPTH + 1 {
            return Err(too_deep());
        }
    }
    Ok(())
}

/// Whether all names of members are short enough.
fn names(value: &Value) -> Result<(), Malformed> {
    match value {
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            parameter_name(name)?;
            names(value)
        }),
        Value::Array(items) => items.iter().try_for_each(names),
        _ => Ok(()),
    }
}

/// What holds for all parameters that were let in.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn is_within_limits(bag: &Value) -> bool {
    fn size(value: &Value) -> (usize, usize) {
        let inner: Vec<(usize, usize)> = match value {
            Value::Object(members) => members.values().map(size).collect(),
            Value::Array(items) => items.iter().map(size).collect(),
            _ => return (1, 0),
        };
        (
            1 + inner.iter().map(|(count, _)| count).sum::<usize>(),
            1 + inner.iter().map(|(_, depth)| *depth).max().unwrap_or(0),
        )
    }
    let (count, depth) = size(bag);
    // The bag itself is not counted.
    count <= ELEMENTS + 1 && depth <= DEPTH && names(bag).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> String {
        read_json(body.as_bytes()).unwrap_err().to_string()
    }

    #[test] // SPEC T-9
    fn json_beyond_the_limits_is_refused_before_it_is_read() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let listed = |items: usize| format!("[{}0]", "0,".repeat(items - 1));

        assert!(read_json(nested(DEPTH + 1).as_bytes()).is_ok());
        assert!(refusal(&nested(DEPTH + 2)).contains("more than 64 levels"));
        assert!(refusal(&"[".repeat(1_000_000)).contains("more than 64 levels"));
        assert!(read_json(listed(ELEMENTS).as_bytes()).is_ok());
        assert!(refusal(&listed(ELEMENTS + 1)).contains("more than 10000 fields"));
        assert!(refusal(&format!("{{\"{}\":0}}", "k".repeat(257))).contains("longer than 256 bytes"));
    }

    #[test] // SPEC T-9
    fn what_stands_in_texts_is_not_counted() {
        let text = format!("{{\"list\":\"{}\"}}", "[,{\\\"".repeat(20_000));
        assert!(read_json(text.as_bytes()).is_ok());
    }
}
