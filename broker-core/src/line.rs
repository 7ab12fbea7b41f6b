//! Texts of others as one line of bounded length: for a user's terminal, a log, a record.

/// The longest line, in characters.
#[cfg(feature = "server")]
const LONGEST: usize = 1000;

/// Line breaks and other control characters become spaces, one between two words; what is too long is cut.
#[cfg(feature = "server")]
pub(crate) fn one_line(text: &str) -> String {
    cut(text, LONGEST)
}

/// The same, with at most that many characters.
pub(crate) fn cut(text: &str, longest: usize) -> String {
    let words = text.split(|c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}').map(str::trim);
    let mut line = String::new();
    // Bounded before it is joined: the text may be an author's whole log.
    let mut left = longest;
    for word in words.filter(|word| !word.is_empty()) {
        if left == 0 {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
            left -= 1;
        }
        let taken: String = word.chars().take(left).collect();
        left -= taken.chars().count();
        let is_whole = taken.len() == word.len();
        line.push_str(&taken);
        if !is_whole {
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    #[test] // SPEC E-1
    fn a_text_of_several_lines_becomes_one() {
        assert_eq!(one_line("a\n  b\r\n\nc\n"), "a b c");
        assert_eq!(one_line("a\rb\u{1b}[31mc\u{2028}d\0"), "a b [31mc d");
    }

    #[test] // SPEC E-4
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(one_line(&"é".repeat(1000)).chars().count(), 1000);
        let line = one_line(&"é".repeat(5000));
        assert!(line.ends_with("é…") && line.chars().count() == 1001);
        assert!(one_line(&"a\n".repeat(100_000)).chars().count() <= 1001);
    }
}
