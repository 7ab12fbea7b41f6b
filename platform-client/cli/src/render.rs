//! How things look: the screen, tables, aligned lines, times and sizes (contract section 17).

use std::{
    env, fmt,
    io::{self, BufRead, IsTerminal, Write},
};

use anyhow::{Result, bail};
use chrono::{DateTime, Local, Utc};
use comfy_table::{ContentArrangement, ContentLineStyle, LineStyle, TableStyle};
use serde::Serialize;

/// Borders for files, pipes and simple terminals.
const ASCII: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('+', '-', '+', '+'))
    .header_lines(ContentLineStyle::new('|', '|', '|'))
    .header_separator(LineStyle::new('+', '-', '+', '+'))
    .content_lines(ContentLineStyle::new('|', '|', '|'))
    .bottom_border(LineStyle::new('+', '-', '+', '+'));
const ASCII_RULE: LineStyle = LineStyle::new('+', '-', '+', '+');

/// Borders for terminals that can.
const BOX: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('┌', '─', '┬', '┐'))
    .header_lines(ContentLineStyle::new('│', '│', '│'))
    .header_separator(LineStyle::new('├', '─', '┼', '┤'))
    .content_lines(ContentLineStyle::new('│', '│', '│'))
    .bottom_border(LineStyle::new('└', '─', '┴', '┘'));
const BOX_RULE: LineStyle = LineStyle::new('├', '─', '┼', '┤');

/// Where the output goes, and what it can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    /// Whether it is a terminal that shows colours and box drawing.
    pub(crate) modern: bool,
    width: Option<u16>,
}

impl Screen {
    /// This process's standard output.
    pub(crate) fn of_process() -> Self {
        let terminal = io::stdout().is_terminal();
        let unset = |name: &str| env::var_os(name).is_none_or(|value| value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let modern = terminal && !dumb && unset("NO_COLOR") && unset("TSURU_DISABLE_COLORS");
        let width = if terminal { terminal_size::terminal_size().map(|(width, _)| width.0) } else { None };
        Self { modern, width }
    }

    /// Prints a line.
    pub(crate) fn say(&self, line: impl fmt::Display) -> Result<()> {
        self.write(&format!("{line}\n"))
    }

    /// Prints text as it is, at once.
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// Prints a table.
    pub(crate) fn table(&self, table: &Table) -> Result<()> {
        self.say(table.render(*self))
    }

    /// Prints a value as JSON for programs to read.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<()> {
        self.say(serde_json::to_string_pretty(value)?)
    }

    /// Asks whether to go on; says so when the answer is no (contract section 3).
    pub(crate) fn confirm(&self, assume_yes: bool, question: impl fmt::Display) -> Result<bool> {
        if assume_yes {
            return Ok(true);
        }
        let answer = self.ask(format!("{question} (y/n) "))?;
        let yes = answer.trim() == "y";
        if !yes {
            self.say("Abort.")?;
        }
        Ok(yes)
    }

    /// Asks for a line.
    pub(crate) fn ask(&self, prompt: impl fmt::Display) -> Result<String> {
        self.write(&prompt.to_string())?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Asks for something nobody should see.
    pub(crate) fn ask_secretly(&self, prompt: &str) -> Result<broker_core::Secret> {
        let typed = if io::stdin().is_terminal() {
            self.write(prompt)?;
            rpassword::read_password()?
        } else {
            self.ask(prompt)?
        };
        if typed.is_empty() {
            bail!("nothing was given for {}", prompt.trim_end_matches([':', ' ']).to_lowercase());
        }
        Ok(typed.into())
    }

    /// Blue text where colours show.
    pub(crate) fn blue(&self, text: &str) -> String {
        if self.modern { format!("\x1b[34m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Rows under a header.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    ruled: bool,
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new<const N: usize>(header: [&str; N]) -> Self {
        Self { header: header.iter().map(ToString::to_string).collect(), rows: Vec::new(), ruled: false }
    }

    /// An empty table whose columns are known only now.
    pub(crate) fn with_columns(header: Vec<String>) -> Self {
        Self { header, rows: Vec::new(), ruled: false }
    }

    /// Draws rules between rows.
    pub(crate) fn ruled(mut self) -> Self {
        self.ruled = true;
        self
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Sorts by the first column, whatever the case.
    pub(crate) fn sort(&mut self) {
        self.rows.sort_by_key(|row| row.first().map(|cell| cell.to_lowercase()));
    }

    /// The table as it is shown on a screen; no line break at its end.
    pub(crate) fn render(&self, screen: Screen) -> String {
        let (mut style, rule) = if screen.modern { (BOX, BOX_RULE) } else { (ASCII, ASCII_RULE) };
        if self.ruled {
            style = style.row_separator(rule);
        }
        let mut table = comfy_table::Table::new();
        table.load_style(style).set_header(&self.header);
        for row in &self.rows {
            table.add_row(row);
        }
        if let Some(width) = screen.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        if self.rows.is_empty() { self.only_header(table, screen) } else { table.to_string() }
    }

    /// A table without rows still ends with two rules: under the header, and its own.
    fn only_header(&self, table: comfy_table::Table, screen: Screen) -> String {
        let drawn = table.to_string();
        if screen.modern || drawn.lines().count() > 3 {
            return drawn;
        }
        let rule = drawn.lines().next().unwrap_or_default().to_owned();
        format!("{drawn}\n{rule}")
    }
}

/// `Key:  value` lines, values aligned; lines without a value are left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts(Vec<(String, String)>);

impl Facts {
    /// Adds a line.
    pub(crate) fn add(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.0.push((format!("{key}:"), value));
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
        for (key, value) in &self.0 {
            for (index, line) in value.lines().enumerate() {
                let key = if index == 0 { key } else { "" };
                writeln!(f, "{key:width$}  {line}")?;
            }
        }
        Ok(())
    }
}

/// Bytes as `256Mi`.
pub(crate) fn mebibytes(bytes: i64) -> String {
    format!("{}Mi", bytes / (1024 * 1024))
}

/// Thousandths of a core as `10%`.
pub(crate) fn percent(milli: i64) -> String {
    if milli % 10 == 0 { format!("{}%", milli / 10) } else { format!("{}.{}%", milli / 10, (milli % 10).abs()) }
}

/// A point in time as the prefix of a line has it: local, with the offset.
pub(crate) fn stamp(at: DateTime<Utc>) -> String {
    at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S %z").to_string()
}

/// A point in time as lists have it: `02 Jan 06 15:04 UTC`.
pub(crate) fn short_date(at: DateTime<Utc>) -> String {
    let local = at.with_timezone(&Local);
    format!("{} {}", local.format("%d %b %y %H:%M"), zone(local))
}

/// The zone: by name where there is one that everybody knows.
fn zone(at: DateTime<Local>) -> String {
    if at.offset().local_minus_utc() == 0 { "UTC".to_owned() } else { at.format("%z").to_string() }
}

/// Seconds as `mm:ss`.
pub(crate) fn minutes(seconds: i64) -> String {
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// How long ago, in its largest unit: `5m`.
pub(crate) fn age(since: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - since).num_seconds().max(0);
    let (minute, hour, day) = (60, 3600, 86_400);
    match seconds {
        s if s < minute => format!("{s}s"),
        s if s < hour => format!("{}m", s / minute),
        s if s < day => format!("{}h", s / hour),
        s if s < 365 * day => format!("{}d", s / day),
        s => format!("{}y", s / (365 * day)),
    }
}

/// The address with `http://` in front if it has no scheme.
pub(crate) fn http_address(address: &str) -> String {
    crate::target::with_scheme(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Screen = Screen { modern: false, width: None };

    #[test] // SPEC C-3
    fn a_table_has_plain_borders_in_a_pipe() {
        let mut table = Table::new(["Application", "Units"]).ruled();
        table.row(["blog", "2 ready\n1 error"]);
        table.row(["shop", ""]);

        assert_eq!(
            table.render(PLAIN),
            "\
+-------------+---------+
| Application | Units   |
+-------------+---------+
| blog        | 2 ready |
|             | 1 error |
+-------------+---------+
| shop        |         |
+-------------+---------+"
        );
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let mut table = Table::new(["Name", "Text"]);
        table.row(["a", "many words that need more than one line"]);

        let drawn = table.render(Screen { modern: true, width: Some(30) });

        assert!(drawn.lines().all(|line| line.chars().count() <= 30), "{drawn}");
        assert!(drawn.starts_with('┌'), "{drawn}");
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(Table::new(["Name"]).render(PLAIN), "+------+\n| Name |\n+------+\n+------+");
    }

    #[test]
    fn facts_are_aligned_and_leave_out_what_is_empty() {
        let mut facts = Facts::default();
        facts.add("Application", "blog");
        facts.add("Description", "");
        facts.add("Addresses", "http://a\nhttp://b");

        assert_eq!(facts.to_string(), "Application:  blog\nAddresses:    http://a\n              http://b\n");
    }

    #[test]
    fn numbers_read_as_people_say_them() {
        assert_eq!(
            (percent(100), percent(105), mebibytes(268_435_456)),
            ("10%".into(), "10.5%".into(), "256Mi".into())
        );
        assert_eq!(minutes(86), "01:26");
        let now = Utc::now();
        let ago = |seconds| age(now - chrono::Duration::seconds(seconds), now);
        assert_eq!((ago(5), ago(300), ago(7200), ago(200_000)), ("5s".into(), "5m".into(), "2h".into(), "2d".into()));
    }
}
