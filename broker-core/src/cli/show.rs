//! Tables and lines of JSON on standard output, as they come.

use std::io::{self, Write};

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};

/// Rows under a header. A column is as wide as what has been seen of it: nothing is held back to measure it.
pub(super) struct Table<W, const N: usize> {
    out: W,
    header: [&'static str; N],
    widths: [usize; N],
    is_begun: bool,
}

impl<W: Write, const N: usize> Table<W, N> {
    pub(super) fn new(out: W, header: [&'static str; N]) -> Self {
        Self { out, header, widths: header.map(str::len), is_begun: false }
    }

    /// Writes some rows, lined up among themselves and with those before.
    pub(super) fn rows(&mut self, rows: &[[String; N]]) -> anyhow::Result<()> {
        let rows: Vec<[String; N]> = rows.iter().map(|row| row.clone().map(|cell| plain(&cell))).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if !self.is_begun {
            self.is_begun = true;
            self.line(&self.header.map(str::to_owned))?;
        }
        rows.iter().try_for_each(|row| self.line(row))
    }

    /// For what is no row.
    pub(super) fn out(&mut self) -> &mut W {
        &mut self.out
    }

    fn line(&mut self, row: &[String; N]) -> anyhow::Result<()> {
        let cells = row.iter().zip(self.widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(self.out, "{}", line.trim_end()).context("cannot print")
    }
}

/// What came from others moves no cursor.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// One object a line.
pub(super) fn json_line(mut out: impl Write, value: &impl serde::Serialize) -> anyhow::Result<()> {
    let line = serde_json::to_string(value).context("cannot print")?;
    writeln!(out, "{line}").context("cannot print")
}

/// To the second.
pub(super) fn moment(when: DateTime<Utc>) -> String {
    when.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Standard output, for much.
pub(super) fn output() -> impl Write {
    io::BufWriter::new(io::stdout().lock())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_lined_up_and_moves_no_cursor() {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, ["NAME", "STATE"]);
        table.rows(&[["a".to_owned(), "ready".to_owned()], ["long-name".to_owned(), "\x1b[2Jx".to_owned()]]).unwrap();

        assert_eq!(String::from_utf8(out).unwrap(), "NAME       STATE\na          ready\nlong-name   [2Jx\n");
    }
}
