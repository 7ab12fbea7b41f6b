//! What the platform says while it works: read piece by piece, shown line by line (contract sections 1.6 to 1.8).

use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use chrono::{DateTime, Utc};
use platform_wire::{DEPLOY_OK, LogEntry, StreamMessage};
use serde_json::Deserializer;

use crate::{client::Answer, render::Screen, render::stamp};

/// Says that the platform still works; of no use to people who watch.
const KEEP_ALIVE: &str = "please wait...";

/// Shows a JSON progress stream to its end.
///
/// # Errors
///
/// The reason the platform gives, a line that is no message, or a stream that breaks off.
pub(crate) async fn progress(screen: Screen, answer: Answer) -> Result<()> {
    messages(screen, answer, true).await
}

/// Shows the output of an app's own command: no times in front.
///
/// # Errors
///
/// As [`progress`].
pub(crate) async fn output(screen: Screen, answer: Answer) -> Result<()> {
    messages(screen, answer, false).await
}

async fn messages(screen: Screen, mut answer: Answer, timed: bool) -> Result<()> {
    let mut printer = Printer::new(screen);
    let mut buffer = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            show(&mut printer, text, timed, || anyhow!("Unparseable chunk: {text:?}"))?;
        }
    }
    let rest = String::from_utf8_lossy(&buffer);
    let rest = rest.trim();
    show(&mut printer, rest, timed, || anyhow!("unparsed message error: {rest}"))?;
    printer.end()
}

/// Shows one line of a progress stream.
fn show(printer: &mut Printer, line: &str, timed: bool, unreadable: impl Fn() -> anyhow::Error) -> Result<()> {
    if line.is_empty() {
        return Ok(());
    }
    let message: StreamMessage = serde_json::from_str(line).map_err(|_| unreadable())?;
    if timed {
        printer.print(&message.message, message.timestamp.0)?;
    } else {
        printer.print_as_it_is(&message.message)?;
    }
    if message.error.is_empty() {
        return Ok(());
    }
    printer.end()?;
    Err(anyhow!(message.error.trim_end().to_owned()))
}

/// Shows the text of a deploy to its end. Whether it went well shows in the last words alone.
///
/// # Errors
///
/// When these words are missing, or the stream breaks off.
pub(crate) async fn deploy(screen: Screen, mut answer: Answer) -> Result<()> {
    let mut printer = Printer::new(screen);
    let mut text = TextDecoder::default();
    let mut tail = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        printer.print(&text.decode(&chunk), Some(Utc::now()))?;
        tail.extend_from_slice(&chunk);
        let keep = tail.len().saturating_sub(DEPLOY_OK.len());
        tail.drain(..keep);
    }
    printer.end()?;
    if tail != DEPLOY_OK.as_bytes() {
        bail!("the deploy failed; what went wrong is in the output above");
    }
    Ok(())
}

/// Bytes that arrive in pieces, as text: a character may be cut by the end of a piece.
#[derive(Debug, Default)]
struct TextDecoder(Vec<u8>);

impl TextDecoder {
    fn decode(&mut self, chunk: &[u8]) -> String {
        self.0.extend_from_slice(chunk);
        let whole = match std::str::from_utf8(&self.0) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.0.len(),
        };
        let text: Vec<u8> = self.0.drain(..whole).collect();
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Shows an app's log: arrays of entries, as they come.
///
/// # Errors
///
/// When the stream breaks off or holds something else.
pub(crate) async fn log(mut answer: Answer, mut show: impl FnMut(&LogEntry) -> Result<()>) -> Result<()> {
    let mut buffer = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        buffer.extend_from_slice(&chunk);
        let used = show_entries(&buffer, &mut show)?;
        buffer.drain(..used);
    }
    if !buffer.trim_ascii().is_empty() {
        bail!("the log ends in the middle of a line");
    }
    Ok(())
}

/// Shows the whole arrays in `buffer`, and says how many bytes these were.
fn show_entries(buffer: &[u8], show: &mut impl FnMut(&LogEntry) -> Result<()>) -> Result<usize> {
    let mut arrays = Deserializer::from_slice(buffer).into_iter::<Vec<LogEntry>>();
    loop {
        let before = arrays.byte_offset();
        match arrays.next() {
            Some(Ok(entries)) => entries.iter().try_for_each(&mut *show)?,
            Some(Err(error)) if error.is_eof() => return Ok(before),
            Some(Err(error)) => bail!("the server's log cannot be read: {error}"),
            None => return Ok(arrays.byte_offset()),
        }
    }
}

/// Puts text on the screen line by line: with its time in front, or restyled where colours show.
#[derive(Debug)]
struct Printer {
    screen: Screen,
    started: Instant,
    /// Nothing was printed on this line yet.
    fresh: bool,
    /// The line so far, kept back until it is known what it will be.
    held: String,
}

impl Printer {
    fn new(screen: Screen) -> Self {
        Self { screen, started: Instant::now(), fresh: true, held: String::new() }
    }

    fn print(&mut self, text: &str, at: Option<DateTime<Utc>>) -> Result<()> {
        for piece in text.split_inclusive('\n') {
            if self.screen.modern {
                self.print_styled(piece, at.is_some())?;
            } else {
                self.print_dated(piece, at)?;
            }
        }
        Ok(())
    }

    fn print_as_it_is(&mut self, text: &str) -> Result<()> {
        if !text.is_empty() {
            self.fresh = text.ends_with('\n');
        }
        self.screen.write(text)
    }

    fn print_dated(&mut self, piece: &str, at: Option<DateTime<Utc>>) -> Result<()> {
        let prefix = at.filter(|_| self.fresh).map(|at| format!("{}: ", stamp(at))).unwrap_or_default();
        self.print_as_it_is(&format!("{prefix}{piece}"))
    }

    /// A line is restyled as a whole, so it is kept back while it may be one of those that are.
    fn print_styled(&mut self, piece: &str, timed: bool) -> Result<()> {
        self.held.push_str(piece);
        let whole = self.held.ends_with('\n');
        if !whole && (!self.fresh || self.held.trim_start().starts_with(['-', '*']) || self.held.trim().is_empty()) {
            return Ok(());
        }
        let line = std::mem::take(&mut self.held);
        if self.fresh && (line.trim().is_empty() || line.trim() == KEEP_ALIVE) {
            return Ok(());
        }
        let prefix = if self.fresh && timed {
            self.screen.blue(&format!("[{:4}s] ", self.started.elapsed().as_secs()))
        } else {
            String::new()
        };
        self.fresh = whole;
        self.screen.write(&format!("{prefix}{}", restyle(&line)))
    }

    /// Ends the last line, if it has no end yet.
    fn end(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.screen.write(&restyle(&held))?;
            self.fresh = false;
        }
        if self.fresh { Ok(()) } else { self.print_as_it_is("\n") }
    }
}

/// The three shapes a platform's line may have, as they look in colour (contract section 1.6).
fn restyle(line: &str) -> String {
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    let between = |mark: &str| text.strip_prefix(mark)?.strip_suffix(mark)?.strip_prefix(' ')?.strip_suffix(' ');
    if let Some(section) = between("----") {
        format!("\x1b[1m── {section}\x1b[0m{end}")
    } else if let Some(error) = between("****") {
        format!("\x1b[31m❌❌ {error}\x1b[0m{end}")
    } else if let Some(action) = text.strip_prefix(" ---> ") {
        format!("→ {action}{end}")
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_shapes_are_restyled_and_nothing_else() {
        assert_eq!(restyle("---- Building ----\n"), "\x1b[1m── Building\x1b[0m\n");
        assert_eq!(restyle(" ---> 1 of 1 units\n"), "→ 1 of 1 units\n");
        assert_eq!(restyle("**** no ****\n"), "\x1b[31m❌❌ no\x1b[0m\n");
        assert_eq!(restyle("--------\n"), "--------\n");
        assert_eq!(restyle("---- x"), "---- x");
    }

    #[test]
    fn a_character_may_be_cut_in_two() {
        let mut text = TextDecoder::default();
        let bytes = "é!".as_bytes();

        assert_eq!(text.decode(&bytes[..1]), "");
        assert_eq!(text.decode(&bytes[1..]), "é!");
        assert_eq!(text.decode(b"\xff."), "\u{fffd}.");
    }

    #[test]
    fn log_arrays_are_shown_when_they_are_whole() {
        let mut seen = Vec::new();
        let mut show = |entry: &LogEntry| {
            seen.push(entry.message.clone());
            Ok(())
        };

        let body = br#"[{"Message":"a"},{"Message":"b"}]
[{"Message":"c"}][{"Mess"#;
        let used = show_entries(body, &mut show).unwrap();

        assert_eq!(&body[used..], br#"[{"Mess"#);
        assert_eq!(seen, ["a", "b", "c"]);
    }
}
