//! Hostile text made fit for a terminal, a log line or a table cell. Everything that can move a cursor, start an escape
//! sequence, reorder text or end a line is written as an escape: what an attacker sent is shown, and does nothing.

use std::borrow::Cow;

/// `text` with every control, format and bidirectional character escaped.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hostile(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// [`line`], cut to `most` characters with an ellipsis.
pub(crate) fn short(text: &str, most: usize) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(most).collect();
    let mut shown = line(&head).into_owned();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_cursors_or_reorders_text_is_escaped() {
        assert_eq!(line("a\u{1b}]0;x\u{7}b"), "a\\u{1b}]0;x\\u{7}b");
        assert_eq!(line("one\ntwo\r\0"), "one\\u{a}two\\u{d}\\u{0}");
        assert_eq!(line("\u{202e}gpj.exe\u{9b}"), "\\u{202e}gpj.exe\\u{9b}");
        assert!(matches!(line("/search?q=größe"), Cow::Borrowed(_)));
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        assert_eq!(short("größe", 3), "grö…");
        assert_eq!(short("abc", 3), "abc");
    }
}
