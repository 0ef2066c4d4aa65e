//! What commands print: aligned tables, JSON, colours on a terminal. Cells may hold hostile text and are escaped here, in
//! the one place that all of them pass.

use std::io::Write;

use anyhow::Context;
use serde::Serialize;

/// Colours; removed where the output is no terminal.
pub(super) const RED: &str = "\u{1b}[31m";
/// Good news.
pub(super) const GREEN: &str = "\u{1b}[32m";
/// A warning.
pub(super) const YELLOW: &str = "\u{1b}[33m";
/// Column heads.
pub(super) const BOLD: &str = "\u{1b}[1m";
/// The end of a colour.
pub(super) const PLAIN: &str = "\u{1b}[0m";

/// Prints one line of our own words.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    writeln!(anstream::stdout(), "{text}").context("the output cannot be written")
}

/// Many lines in a row, written in large pieces.
#[derive(Debug)]
pub(super) struct Lines(std::io::BufWriter<std::io::Stdout>);

impl Lines {
    /// No lines yet.
    pub(super) fn new() -> Self {
        Self(std::io::BufWriter::with_capacity(1 << 16, std::io::stdout()))
    }

    /// Adds a line of plain text.
    pub(super) fn say(&mut self, text: &str) -> anyhow::Result<()> {
        writeln!(self.0, "{text}").context("the output cannot be written")
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.0.flush().context("the output cannot be written")
    }
}

/// Prints a value as JSON.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string_pretty(value)?)
}

/// Prints rows below their heads, columns aligned.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    write!(anstream::stdout(), "{}", aligned(heads, rows)).context("the output cannot be written")
}

fn aligned(heads: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| safe(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<_> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut text = format!("{BOLD}{}{PLAIN}\n", line(&mut heads.iter().copied()));
    for row in &rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
        text.push('\n');
    }
    text
}

/// Longest cell.
const MAX_CELL: usize = 200;

fn safe(cell: &str) -> String {
    if cell.is_empty() { "-".to_owned() } else { crate::printable::short(cell, MAX_CELL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_hostile_cells_escaped() {
        let rows =
            [vec!["192.0.2.1".to_owned(), "a\u{1b}[2Jb".to_owned()], vec!["::1".to_owned(), String::new()]];
        let text = aligned(&["target", "reason"], &rows);
        assert_eq!(text, "\u{1b}[1mtarget     reason\u{1b}[0m\n192.0.2.1  a\\u{1b}[2Jb\n::1        -\n");
    }
}
