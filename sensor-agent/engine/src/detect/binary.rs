//! Files in bodies that are no text: images, archives, documents. Nothing in them is read as a parameter, so that decoders and
//! grammars have no business there; but a picture may carry a script for the server. So such a value is walked block by block: blocks
//! of text are looked at as ever, and of the others what follows a sign of code.

use std::sync::OnceLock;

use aho_corasick::packed::Searcher;

use crate::field::{Field, Place};

/// Shorter values are looked at as a whole.
const MIN_BYTES: usize = 4096;
/// Bytes that are text or not together.
const BLOCK: usize = 2048;
/// Least shares of control characters and of bytes beyond ASCII in what is no text, in percent. Text in any encoding has few of
/// one of the two.
const CONTROLS: usize = 5;
const HIGH: usize = 20;
/// Bytes before a sign of code and behind it that are looked at.
const BEFORE: usize = 32;
const BEHIND: usize = 1024;

/// What begins code that a server runs, or stands in nearly all of it.
const SIGNS: &[&str] = &[
    "<?ph",
    "<?PH",
    "<?Ph",
    "<?pH",
    "<?= ",
    "<?=$",
    "<?=`",
    "<scr",
    "<SCR",
    "<Scr",
    "<% e",
    "<% r",
    "<%= ",
    "<%@ ",
    "<%@p",
    "<jsp:",
    "eval(",
    "exec(",
    "system(",
    "passthru(",
    "base64_decode",
    "$_GET",
    "$_POST",
    "$_REQUEST",
    "$_COOKIE",
    "Runtime.get",
    "/bin/sh",
    "/bin/bash",
    "/etc/passwd",
    "${jndi:",
    "<!ENTITY",
    "<!DOCTYPE",
    "__import__",
    "child_process",
    "powershell",
];

/// Whether a value is long enough to be a file, and begins, ends or goes on as no text does.
pub(super) fn is_file(field: &Field<'_>) -> bool {
    let value = field.value;
    matches!(field.place, Place::Text | Place::Multipart | Place::Form)
        && value.len() >= MIN_BYTES
        && value.chunks(BLOCK).any(is_no_text)
}

/// The parts of a file that are looked at.
pub(super) fn pieces(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < value.len() {
            let start = at;
            let rest = value.get(at..)?;
            let block = rest.get(..BLOCK).unwrap_or(rest);
            if !is_no_text(block) {
                at +=
                    rest.chunks(BLOCK).take_while(|block| !is_no_text(block)).map(<[u8]>::len).sum::<usize>();
                return value.get(start..at);
            }
            let Some(sign) = sign(rest.get(..BLOCK + BEFORE).unwrap_or(rest)).filter(|sign| *sign < BLOCK)
            else {
                at += block.len();
                continue;
            };
            let end = value.len().min(start + sign + BEHIND);
            at = end;
            return value.get((start + sign).saturating_sub(BEFORE)..end);
        }
        None
    })
}

fn is_no_text(block: &[u8]) -> bool {
    let control =
        |byte: u8| u8::from(byte < 9) | u8::from(byte.wrapping_sub(14) < 13) | u8::from(byte == 0x7f);
    let (mut controls, mut high) = (0, 0);
    // Sums that wrap, of bytes in runs too short for it, are what a processor's vectors do at once.
    for run in block.chunks(128) {
        let sum =
            |of: fn(u8) -> u8| usize::from(run.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(of(byte))));
        controls += sum(control);
        high += sum(|byte| byte >> 7);
    }
    controls * 100 >= block.len() * CONTROLS && high * 100 >= block.len() * HIGH
}

/// Where the first sign of code stands.
fn sign(text: &[u8]) -> Option<usize> {
    static BUILT: OnceLock<Option<Searcher>> = OnceLock::new();
    // Without the packed search all of the block is looked at.
    BUILT
        .get_or_init(|| Searcher::new(SIGNS))
        .as_ref()
        .map_or(Some(0), |signs| Some(signs.find(text)?.start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    fn field(value: &[u8]) -> Field<'_> {
        Field { place: Place::Multipart, name: b"file", value, offset: 0 }
    }

    #[test]
    fn a_file_is_told_from_text_in_any_encoding() {
        assert!(is_file(&field(&image(8192))));
        let words = "Привет мир, 世界 hello ".repeat(400);
        let wide: Vec<u8> = words.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for text in [words.as_bytes(), &wide, "plain text, ".repeat(900).as_bytes(), &image(4000)] {
            assert!(!is_file(&field(text)));
        }
    }

    #[test]
    fn code_in_a_file_is_looked_at_and_the_rest_is_not() {
        assert_eq!(pieces(&image(1 << 20)).count(), 0);
        for at in [0, 100, BLOCK - 2, 3 * BLOCK - 3, 50_000, 99_990] {
            let mut file = image(100_000);
            let code = b"<?php system($_GET[1]);?>";
            file.splice(at..at, code.iter().copied());
            let found = pieces(&file).any(|piece| memchr::memmem::find(piece, b"<?php system").is_some());
            assert!(found, "{at}");
        }
        let (mut file, text) = (image(10 * BLOCK), b"and 1=1 -- ".repeat(800));
        file.extend_from_slice(&text);
        assert!(pieces(&file).map(<[u8]>::len).sum::<usize>() >= text.len() - BLOCK, "text behind it");
    }
}
