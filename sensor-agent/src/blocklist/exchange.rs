//! Lists as text, one `target [port N] [# reason]` a line: what other tools write, and what a person can edit. Everything is
//! read and checked before the first entry is made.

use std::fmt::Write as _;

use ipnet::IpNet;

use crate::kernel::lists::{Blocked, Scope};

/// Largest list that is imported: a million addresses with short reasons.
pub(crate) const MAX_LIST_BYTES: u64 = 256 << 20;
/// Bytes kept of a reason.
pub(crate) const MAX_REASON_BYTES: usize = sensor_common::block::REASON_LEN;

/// A line that names a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Number of the line, from 1.
    pub(crate) number: usize,
    /// The target.
    pub(crate) target: IpNet,
    /// What is closed to it.
    pub(crate) scope: Scope,
    /// What stood behind `#`.
    pub(crate) reason: String,
}

/// A line that does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    /// Number of the line, from 1.
    pub(crate) number: usize,
    /// What is wrong.
    pub(crate) reason: String,
}

/// Reads a list: good lines and bad ones. Empty lines and lines of comment count as neither.
pub(crate) fn read(text: &str) -> (Vec<Line>, Vec<BadLine>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let (target, reason) = line.split_once('#').unwrap_or((line, ""));
        if target.trim().is_empty() {
            continue;
        }
        let number = index + 1;
        match crate::target::parse_entry(target.trim()) {
            Ok((target, scope)) => good.push(Line { number, target, scope, reason: reason_line(reason) }),
            Err(reason) => bad.push(BadLine { number, reason }),
        }
    }
    (good, bad)
}

/// A reason as it is kept: one printable line of at most [`MAX_REASON_BYTES`].
pub(crate) fn reason_line(text: &str) -> String {
    let text = crate::printable::line(text.trim());
    let mut end = text.len().min(MAX_REASON_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].trim_end().to_owned()
}

/// Writes a list that [`read`] reads back.
pub(crate) fn write(entries: &[Blocked]) -> String {
    let mut text = String::new();
    for entry in entries {
        text.push_str(&crate::target::show_entry(entry.target, entry.scope));
        let reason = crate::printable::line(&entry.reason);
        if !reason.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(text, " # {reason}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocklist::Book;
    use crate::kernel::lists::{NewBlock, Origin};

    #[test]
    fn lines_are_read_with_their_reasons() {
        let (good, bad) =
            read("\u{feff}# list of today\n\n192.0.2.1\r\n 2001:db8::/64  # scanner # twice\n10.0.0.0/8#x\n");
        assert_eq!(bad, []);
        let found: Vec<_> =
            good.iter().map(|l| (l.number, l.target.to_string(), l.reason.as_str())).collect();
        assert_eq!(
            found,
            [
                (3, "192.0.2.1/32".to_owned(), ""),
                (4, "2001:db8::/64".to_owned(), "scanner # twice"),
                (5, "10.0.0.0/8".to_owned(), "x"),
            ]
        );
    }

    #[test]
    fn bad_lines_are_reported_with_their_numbers() {
        let (good, bad) = read("192.0.2.1\n0.0.0.0/0\n::/0\n<html>\n192.0.2.1/24\n");
        assert_eq!(good.len(), 1);
        assert_eq!(bad.iter().map(|line| line.number).collect::<Vec<_>>(), [2, 3, 4, 5]);
    }

    #[test]
    fn an_exported_list_reads_back_the_same() {
        let mut book = Book::in_memory();
        for (target, reason) in [("192.0.2.1", "a\u{1b}b\nc"), ("2001:db8::/48", ""), ("10.0.0.0/9", "x # y")]
        {
            let target = crate::target::parse(target).unwrap();
            let reason = reason_line(reason);
            book.block(&NewBlock {
                target,
                scope: Scope::Port(22),
                lasts: None,
                shadow: false,
                origin: Origin::Import,
                reason,
            })
            .unwrap();
        }
        let text = write(&book.blocked().unwrap());
        let (good, bad) = read(&text);
        assert_eq!((good.len(), bad.len()), (3, 0), "{text}");
        let mut again = Book::in_memory();
        for line in good {
            let new = NewBlock {
                target: line.target,
                scope: line.scope,
                lasts: None,
                shadow: false,
                origin: Origin::Import,
                reason: line.reason,
            };
            again.block(&new).unwrap();
        }
        assert_eq!(write(&again.blocked().unwrap()), text);
    }

    #[test]
    fn reasons_are_one_line_of_bounded_length() {
        assert_eq!(reason_line(" a\nb "), "a\\u{a}b");
        let long = reason_line(&"ö".repeat(200));
        assert!(long.len() <= MAX_REASON_BYTES && long.chars().all(|c| c == 'ö'));
    }
}
