//! Long texts: articles, source code, mails. They quote what attacks consist of, so that a match in one of them is
//! something to report, and hardly ever something to block for.

use super::Place;
use crate::field::Field;

/// Shorter values are no documents.
const MIN_BYTES: usize = 120;
/// Fewest line ends of a text in lines.
const MIN_LINES: usize = 3;
/// Fewest bytes of a text without line ends.
const MIN_PROSE: usize = 240;
/// Shares of letters and of blanks in prose and most source code, in percent.
const MIN_LETTERS: usize = 55;
const MIN_BLANKS: usize = 8;
/// Bytes that are looked at: a document shows early that it is one.
const SAMPLE: usize = 4096;
/// Most confidence of a match in a document: enough to be reported, not to block.
pub(super) const MOST: f32 = 0.6;

/// Bytes of a value that are its beginning.
pub(super) const BEGINNING: usize = 24;

/// Whether a value, decoded as far as its place is encoded, is a document.
pub(super) fn is_document(field: &Field<'_>, decoded: &[u8]) -> bool {
    if decoded.len() < MIN_BYTES || !(field.place.is_body() || field.place == Place::Query) {
        return false;
    }
    let sample = decoded.get(..SAMPLE).unwrap_or(decoded);
    let count = |wanted: fn(&u8) -> bool| sample.iter().filter(|byte| wanted(byte)).count();
    let blanks = count(|byte| matches!(byte, b' ' | b'\n' | b'\t'));
    let lines = count(|byte| *byte == b'\n');
    let letters = count(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80);
    let share = |part: usize| part * 100 / sample.len().max(1);
    let wordy = share(letters) >= MIN_LETTERS && share(blanks) >= MIN_BLANKS;
    lines >= MIN_LINES || wordy && (decoded.len() >= MIN_PROSE || lines > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(value: &str) -> bool {
        is_document(&Field { place: Place::Json, name: b"x", value: b"", offset: 0 }, value.as_bytes())
    }

    #[test]
    fn articles_and_source_code_are_documents() {
        assert!(document(&"The quick brown fox jumps over the lazy dog. ".repeat(8)));
        assert!(document(&"fn main() {\n    println!(\"{}\", 1);\n}\n".repeat(4)));
    }

    #[test]
    fn parameters_and_payloads_are_none() {
        for value in [
            "a short text\nin\nlines\n",
            "1' AND 1=2 UNION ALL SELECT CHR(65)||CHR(66)||CHR(67)||CHR(68)||CHR(69)||CHR(70),NULL,NULL,NULL,NULL,\
             CHR(113)||CHR(120)||CHR(118)||CHR(98),NULL,NULL,NULL FROM DUAL WHERE 5=5 AND 'x'='x' OR '1'='1' -- ",
        ] {
            assert!(!document(value), "{value}");
        }
    }
}
