//! Output that arrives in pieces.

/// Turns bytes into text without breaking the characters that lie across two pieces.
#[derive(Default)]
pub(crate) struct Text {
    rest: Vec<u8>,
}

impl Text {
    /// As much text as is whole by now. Bytes that are no text are replaced.
    pub(crate) fn push(&mut self, piece: &[u8]) -> String {
        self.rest.extend_from_slice(piece);
        let whole = match std::str::from_utf8(&self.rest) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.rest.len(),
        };
        let text = String::from_utf8_lossy(&self.rest[..whole]).into_owned();
        self.rest.drain(..whole);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_across_two_pieces_stays_whole() {
        let mut text = Text::default();
        let bytes = "häuser".as_bytes();
        assert_eq!(text.push(&bytes[..2]) + &text.push(&bytes[2..]), "häuser");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(Text::default().push(b"a\xffb"), "a\u{fffd}b");
    }
}
