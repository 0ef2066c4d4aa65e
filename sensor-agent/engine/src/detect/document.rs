//! Long texts: articles, source code, mails. They quote what attacks consist of, so that a match in one of them is
//! something to report, and hardly ever something to block for.

use super::{Place, basic};
use crate::field::{Field, Fields};

/// Shorter values are no documents.
const MIN_BYTES: usize = 120;
/// Unless they are a whole body of as many lines as this.
const MANY_LINES: usize = 4;
/// Fewest line ends of a text in lines.
const MIN_LINES: usize = 3;
/// Fewest bytes of a text without line ends.
const MIN_PROSE: usize = 240;
/// Shares of letters and of blanks in prose and most source code, in percent.
const MIN_LETTERS: usize = 55;
const MIN_BLANKS: usize = 8;
/// Share of letters below which lines are padding, in percent.
const FEWEST_LETTERS: usize = 30;
/// Bytes that are looked at: a document shows early that it is one.
const SAMPLE: usize = 4096;
/// Most confidence of a match in a document: enough to be reported, not to block.
pub(super) const MOST: f32 = 0.6;

/// Bytes of a value that are its beginning.
pub(super) const BEGINNING: usize = 24;

/// Fewest bytes of an article.
const MIN_ARTICLE: usize = 50;
/// Words in a row that make a sentence; those of query languages are not counted.
const SENTENCE: usize = 6;
/// Words of prose that are words of SQL too.
const SHARED_WORDS: &[&[u8]] = &[
    b"all",
    b"alter",
    b"and",
    b"as",
    b"asc",
    b"between",
    b"by",
    b"case",
    b"create",
    b"delete",
    b"desc",
    b"distinct",
    b"drop",
    b"else",
    b"end",
    b"exec",
    b"exists",
    b"from",
    b"group",
    b"having",
    b"in",
    b"inner",
    b"insert",
    b"into",
    b"is",
    b"join",
    b"left",
    b"like",
    b"limit",
    b"not",
    b"null",
    b"on",
    b"or",
    b"order",
    b"outer",
    b"right",
    b"select",
    b"set",
    b"sleep",
    b"table",
    b"then",
    b"top",
    b"union",
    b"update",
    b"user",
    b"users",
    b"values",
    b"when",
    b"where",
];

/// Fewest words of a title, and the share of all that they must be, in percent.
const TITLE_WORDS: usize = 4;
const TITLE_SHARE: usize = 60;
/// Longest title in bytes.
const MAX_TITLE: usize = 300;
/// Words that hold a sentence together and that neither commands nor query languages have.
const FUNCTION_WORDS: &[&[u8]] = &[
    b"a", b"about", b"am", b"an", b"are", b"be", b"can", b"can't", b"cannot", b"could", b"did", b"does",
    b"doesn't", b"don't", b"during", b"has", b"have", b"how", b"i", b"is", b"isn't", b"it", b"it's", b"my",
    b"no", b"of", b"should", b"such", b"than", b"that", b"the", b"there", b"this", b"to", b"using", b"via",
    b"vs", b"was", b"we", b"what", b"when", b"where", b"which", b"while", b"who", b"why", b"will", b"with",
    b"without", b"you", b"your",
];
/// Least confidence of a match that counts in a title, whatever it is.
pub(super) const CERTAIN: f32 = 0.93;

/// Bytes that begin a template, a command or markup, which work wherever in a text they stand.
const WORKING: &[u8] = b"{<;|&`$\\";
/// The same of several bytes: calls with text, ways up, addresses.
const WORKING_SIGNS: [&[u8]; 4] = [b"('", b"(\"", b"../", b"://"];

/// Whether a value is a question or a title: a line mostly of words, some of which only hold sentences together, and without anything that
/// would work among words. What it names (a file, a function, a class) it does not use.
pub(super) fn is_title(field: &Field<'_>, decoded: &[u8]) -> bool {
    let place = field.place.is_body() || matches!(field.place, Place::Query | Place::Cookie);
    if !place || decoded.len() > MAX_TITLE || decoded.contains(&b'\n') {
        return false;
    }
    let works = decoded.iter().any(|byte| WORKING.contains(byte))
        || WORKING_SIGNS.iter().any(|sign| memchr::memmem::find(decoded, sign).is_some());
    if works {
        return false;
    }
    let (mut all, mut words, mut holding) = (0, 0, 0);
    for word in decoded.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
        all += 1;
        let core = word.strip_suffix(b",").or_else(|| word.strip_suffix(b"?")).unwrap_or(word);
        let core = core.strip_suffix(b".").or_else(|| core.strip_suffix(b":")).unwrap_or(core);
        let letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte >= 0x80 || *byte == b'\'';
        let apostrophe = core.starts_with(b"'") || core.ends_with(b"'");
        let is_word = !core.is_empty() && !apostrophe && core.iter().all(letter);
        words += usize::from(is_word);
        holding +=
            usize::from(is_word && FUNCTION_WORDS.iter().any(|known| known.eq_ignore_ascii_case(core)));
    }
    words >= TITLE_WORDS && holding > 0 && words * 100 >= all * TITLE_SHARE
}

/// Whether what is found may be named in a title and not meant: of markup, queries and header lines, whoever writes them into one means
/// them.
pub(super) fn is_named_only(topic: Option<&str>, confidence: f32) -> bool {
    confidence < CERTAIN
        && matches!(
            topic,
            Some("lfi" | "php" | "java" | "nodejs" | "ssti" | "generic" | "access" | "scanner")
        )
        || confidence < SURE_COMMAND && topic == Some("rce")
}

/// Names of parameters that hold passwords, or parts of them, in lower case.
const PASSWORD_NAMES: [&[u8]; 5] = [b"passw", b"passphrase", b"pwd", b"pass", b"secret"];
/// Lengths of passwords that are made up at random, by people's programs.
const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 6..=128;
/// Longest match that comes about in such a password by chance, and least confidence of one that does not.
const MAX_CHANCE: usize = 16;
/// Letters of one case in a row that chance hardly ever brings.
const WORD: usize = 5;
const NO_CHANCE: f32 = 0.93;
/// Most confidence of one that does.
pub(super) const MOST_BY_CHANCE: f32 = 0.5;

/// Whether a value is a password as programs make them up: without blanks, with small and capital letters and signs. What stands in it
/// stands there by chance.
pub(super) fn is_password(field: &Field<'_>, decoded: &[u8]) -> bool {
    let holds = |part: &&[u8]| field.name.windows(part.len()).any(|name| name.eq_ignore_ascii_case(part));
    // A program's password comes with every request: there, even small letters and signs alone pass for one.
    let of_program = field.name == basic::PASSWORD;
    let password = if of_program { field.value } else { decoded };
    let has = |kind: fn(&u8) -> bool| password.iter().any(kind);
    PASSWORD_BYTES.contains(&password.len())
        && (field.name.ends_with(b"authorization") || PASSWORD_NAMES.iter().any(holds))
        && password.iter().all(u8::is_ascii_graphic)
        && (of_program
            || has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_punctuation))
}

/// Whether these bytes may have matched by chance: there are few, and no word is among them. An expression reaches as far as its signs do.
pub(super) fn is_by_chance(id: &str, confidence: f32, matched: &[u8]) -> bool {
    let word = |kind: fn(&u8) -> bool| matched.windows(WORD).any(|letters| letters.iter().all(kind));
    let short = matched.len() <= MAX_CHANCE && !word(u8::is_ascii_lowercase) && !word(u8::is_ascii_uppercase);
    confidence < NO_CHANCE && (short || id == "sql-expression")
}

/// Least confidence of a command that counts in a title.
const SURE_COMMAND: f32 = 0.755;

/// Least confidence of a match that counts in a single line of prose: what is less sure may be words.
pub(super) const SURE: f32 = 0.8;

/// What surrounds a match in a value that is no long document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surroundings {
    /// Nothing that explains it.
    None,
    /// A line of prose, which may hold words of a query language, and hardly ever a query.
    Sentence,
    /// Text with code in it: queries and commands in it are for its readers. Script may still be meant for their browsers.
    Article,
}

/// What a value tells about what is found in it.
pub(super) fn surroundings(field: &Field<'_>, decoded: &[u8]) -> Surroundings {
    let sample = decoded.get(..SAMPLE).unwrap_or(decoded);
    let has = |sign: &[u8]| memchr::memmem::find(sample, sign).is_some();
    if decoded.len() < MIN_ARTICLE || !field.place.is_body() {
        return Surroundings::None;
    }
    let sentence = has_sentence(sample);
    if has(b"</code>") || has(b"```\n") || has(b"\n\n    ") || sentence && has(b"\n") {
        Surroundings::Article
    } else if sentence {
        Surroundings::Sentence
    } else {
        Surroundings::None
    }
}

fn has_sentence(text: &[u8]) -> bool {
    let mut run = 0;
    for word in text.split(|byte| *byte == b' ' || *byte == b'\n') {
        let core = word.strip_suffix(b",").or_else(|| word.strip_suffix(b".")).unwrap_or(word);
        let is_word = !core.is_empty() && core.iter().all(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80);
        let shared = || SHARED_WORDS.iter().any(|known| known.eq_ignore_ascii_case(core));
        if !is_word {
            run = 0;
        } else if !shared() {
            run += 1;
        }
        if run >= SENTENCE {
            return true;
        }
    }
    false
}

/// The document or article in another field that a text of markup is a piece of: the code in an article's HTML.
pub(super) fn is_part_of_document(field: &Field<'_>, fields: &Fields) -> bool {
    let holds = |whole: &Field<'_>| {
        whole.place != Place::Xml
            && (whole.place != Place::Text || is_page(whole.value))
            && whole.value.len() > field.value.len()
            && is_markup(whole.value)
            && (is_document(whole, whole.value) || surroundings(whole, whole.value) == Surroundings::Article)
    };
    field.place == Place::Xml && fields.iter().any(|whole| holds(&whole))
}

/// Whether a value is a whole page of HTML.
fn is_page(value: &[u8]) -> bool {
    let start = value.trim_ascii_start();
    let begins = |sign: &[u8]| start.get(..sign.len()).is_some_and(|head| head.eq_ignore_ascii_case(sign));
    let xml = || start.get(..300).unwrap_or(start).windows(5).any(|five| five.eq_ignore_ascii_case(b"<html"));
    begins(b"<!doctype html") || begins(b"<html") || begins(b"<?xml") && xml()
}

/// Whether a value begins as markup does, as it stands or in percent-encoding.
fn is_markup(value: &[u8]) -> bool {
    let start = value.trim_ascii_start();
    start.starts_with(b"<") || start.get(..3).is_some_and(|head| head.eq_ignore_ascii_case(b"%3c"))
}

/// Whether a value, decoded as far as its place is encoded, is a document.
pub(super) fn is_document(field: &Field<'_>, decoded: &[u8]) -> bool {
    if field.place.is_body() && decoded.len() >= MIN_PROSE && is_page(decoded) {
        return true;
    }
    let is_in_lines = || memchr::memchr_iter(b'\n', decoded).count() >= MANY_LINES;
    let file = field.place == Place::Text && decoded.len() >= MIN_ARTICLE && is_in_lines();
    let short = decoded.len() < MIN_BYTES && !file;
    if short || !(field.place.is_body() || matches!(field.place, Place::Query | Place::Segment)) {
        return false;
    }
    let sample = decoded.get(..SAMPLE).unwrap_or(decoded);
    let count = |wanted: fn(&u8) -> bool| sample.iter().filter(|byte| wanted(byte)).count();
    let share = |part: usize| part * 100 / sample.len().max(1);
    let letters = count(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80);
    if share(letters) < FEWEST_LETTERS {
        return false;
    }
    let blanks = count(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'+'));
    let lines = count(|byte| *byte == b'\n');
    let wordy = share(letters) >= MIN_LETTERS && share(blanks) >= MIN_BLANKS;
    // Text in lines has words; where line ends and comments stand for blanks, it has few blanks besides.
    let spaced = count(|byte| matches!(byte, b' ' | b'\t')) * 2 >= lines;
    lines >= MIN_LINES && spaced && share(letters) >= FEWEST_LETTERS
        || wordy && (decoded.len() >= MIN_PROSE || lines > 0)
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

    #[test]
    fn passwords_are_made_up() {
        let password = |name: &str, value: &str| {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            is_password(&Field { place: Place::Form, name, value, offset: 0 }, value)
        };
        assert!(password("user.newPassword", "aQ9&w|id;x") && password("pwd", "$_G(t7'#"));
        assert!(!password("comment", "aQ9&w|id;x"));
        assert!(
            password("password", "aQw|id;x")
                && password(str::from_utf8(basic::PASSWORD).unwrap(), "+q'&w|id;x")
        );
        for value in ["'or'1'='1", "Secret1' or 1=1", "short", "abc;id", "Plain123"] {
            assert!(!password("password", value), "{value}");
        }
        let by_chance = |matched: &[u8]| is_by_chance("shell-command", 0.8, matched);
        assert!(by_chance(b"|id;x") && by_chance(b"&w(Sle"));
        assert!(!by_chance(b",sleep(7)#") && !by_chance(b"|id;cat /etc/hosts"));
    }

    #[test]
    fn titles_are_words_that_hold_together() {
        let title = |value: &str| {
            is_title(&Field { place: Place::Query, name: b"q", value: b"", offset: 0 }, value.as_bytes())
        };
        for value in [
            "Why is my /etc/fstab entry ignored on boot?",
            "Can't access /proc/cpuinfo in a container",
            "How to use os.system() vs subprocess.run()?",
        ] {
            assert!(title(value), "{value}");
        }
        for value in [
            "/etc/passwd",
            "cat /etc/passwd",
            "127.0.0.1; cat /etc/passwd",
            "x' or 'a'='a' -- is it",
            "system('id')",
            "echo a is the b; rm -rf / --no-preserve-root; cat /etc/shadow; uname -a",
            "words only and here nothing else",
            "this is what you should read {{7*7}}",
            "this is what you should read ${T(java.lang.Runtime).getRuntime().exec('id')}",
            "this is what you should read ; cat /etc/passwd",
            "this is what you should read new ProcessBuilder('id').start()",
            "this is what you should read ../../../etc/passwd",
            "this is what you should read php://filter/resource=index.php",
        ] {
            assert!(!title(value), "{value}");
        }
    }
}
