//! Signs of what a response should not hold, and the short pieces by which a text is known to hold none of them.

use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
use aho_corasick::packed::{Config, Searcher};

use super::Kind;

/// How what follows a sign is checked.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// The sign says it all.
    None,
    /// At least so many characters of a token follow.
    Token(usize),
    /// At least so many characters of a token follow what begins a value.
    Value(usize),
    /// `PRIVATE KEY-----` follows on the same line.
    PrivateKey,
    /// A white space or `=` follows.
    Blank,
    /// The rest of a class's name stands in front: `HttpParseException: `.
    Class,
    /// The name of a class stands in front, with its package: `java.lang.NullPointerException`.
    Package,
    /// A drive or a path's separator stands in front, and a blank or separator behind.
    Drive,
    /// Digits follow, and a blank.
    Digits,
    /// One of these stands within the next hundred bytes.
    Near(&'static [&'static str]),
}

/// Signs, what they mean, how what follows is checked, and how sure they are then.
pub(super) const SIGNS: &[(&str, Kind, Check, f32)] = &[
    ("-----BEGIN ", Kind::PrivateKey, Check::PrivateKey, 0.97),
    ("AKIA", Kind::Token, Check::Token(16), 0.9),
    ("ASIA", Kind::Token, Check::Token(16), 0.85),
    ("AIza", Kind::Token, Check::Token(35), 0.9),
    ("ghp_", Kind::Token, Check::Token(36), 0.95),
    ("gho_", Kind::Token, Check::Token(36), 0.95),
    ("ghs_", Kind::Token, Check::Token(36), 0.95),
    ("github_pat_", Kind::Token, Check::Token(40), 0.95),
    ("glpat-", Kind::Token, Check::Token(20), 0.92),
    ("xoxb-", Kind::Token, Check::Token(20), 0.92),
    ("xoxp-", Kind::Token, Check::Token(20), 0.92),
    ("sk_live_", Kind::Token, Check::Token(16), 0.95),
    ("rk_live_", Kind::Token, Check::Token(16), 0.95),
    ("\"SG.", Kind::Token, Check::Value(60), 0.85),
    ("=SG.", Kind::Token, Check::Value(60), 0.85),
    (" SG.", Kind::Token, Check::Value(60), 0.85),
    ("npm_", Kind::Token, Check::Token(36), 0.9),
    ("hooks.slack.com/services/T", Kind::Token, Check::Token(20), 0.9),
    ("$2a$", Kind::PasswordHash, Check::Token(50), 0.92),
    ("$2b$", Kind::PasswordHash, Check::Token(50), 0.92),
    ("$2y$", Kind::PasswordHash, Check::Token(50), 0.92),
    ("$argon2", Kind::PasswordHash, Check::Token(30), 0.92),
    (":$6$", Kind::PasswordHash, Check::Value(60), 0.9),
    ("\"$6$", Kind::PasswordHash, Check::Value(60), 0.9),
    (">$6$", Kind::PasswordHash, Check::Value(60), 0.9),
    ("root:x:0:0:", Kind::PasswordHash, Check::None, 0.92),
    ("You have an error in your SQL syntax", Kind::SqlError, Check::None, 0.9),
    ("the used select statements have different number of columns", Kind::SqlError, Check::None, 0.9),
    ("The used SELECT statements have a different number of columns", Kind::SqlError, Check::None, 0.9),
    ("supplied argument is not a valid MySQL", Kind::SqlError, Check::None, 0.9),
    ("Unclosed quotation mark after the character string", Kind::SqlError, Check::None, 0.9),
    ("quoted string not properly terminated", Kind::SqlError, Check::None, 0.85),
    ("SQL command not properly ended", Kind::SqlError, Check::None, 0.9),
    ("ORA-0", Kind::SqlError, Check::Token(4), 0.85),
    ("ERROR:  syntax error at or near", Kind::SqlError, Check::None, 0.9),
    ("invalid input syntax for ", Kind::SqlError, Check::Near(&["integer", "type", "uuid"]), 0.85),
    ("SQLSTATE", Kind::SqlError, Check::Near(&["HY000", "42", "22", "23", "syntax", "error"]), 0.85),
    ("(HY000):", Kind::SqlError, Check::None, 0.85),
    ("org.hsqldb.", Kind::SqlError, Check::None, 0.8),
    ("java.sql.SQL", Kind::SqlError, Check::None, 0.85),
    ("PG::SyntaxError", Kind::SqlError, Check::None, 0.9),
    ("sqlite3.OperationalError", Kind::SqlError, Check::None, 0.9),
    ("SQLite3::query()", Kind::SqlError, Check::None, 0.85),
    ("][ODBC ", Kind::SqlError, Check::Near(&["rror", "river"]), 0.85),
    (" ODBC Driver][", Kind::SqlError, Check::None, 0.85),
    ("Conversion failed when converting the", Kind::SqlError, Check::None, 0.85),
    ("Dynamic SQL Error", Kind::SqlError, Check::None, 0.85),
    ("DB2 SQL ", Kind::SqlError, Check::Near(&["SQLCODE", "rror"]), 0.85),
    ("Warning: pg_", Kind::SqlError, Check::None, 0.85),
    ("Warning: mysql", Kind::SqlError, Check::None, 0.85),
    ("Traceback (most recent call last)", Kind::StackTrace, Check::None, 0.85),
    ("Exception in thread \"", Kind::StackTrace, Check::None, 0.85),
    (".java:", Kind::StackTrace, Check::Token(1), 0.75),
    ("Fatal error</b>: ", Kind::StackTrace, Check::None, 0.85),
    ("PHP Fatal error: ", Kind::StackTrace, Check::None, 0.85),
    ("Server Error in '/", Kind::StackTrace, Check::None, 0.85),
    ("ActionView::Template::Error", Kind::StackTrace, Check::None, 0.85),
    ("ActionController::", Kind::StackTrace, Check::Near(&["Error", "Missing"]), 0.8),
    ("ActiveRecord::", Kind::StackTrace, Check::Near(&["Error", "NotFound", "Invalid"]), 0.8),
    ("NoMethodError", Kind::StackTrace, Check::Near(&["undefined method"]), 0.8),
    ("at System.Web.", Kind::StackTrace, Check::None, 0.8),
    ("<?php", Kind::SourceCode, Check::Blank, 0.85),
    ("<title>Index of /", Kind::Listing, Check::None, 0.85),
    ("<title>Directory listing for /", Kind::Listing, Check::None, 0.85),
    ("[To Parent Directory]", Kind::Listing, Check::None, 0.85),
    (" - WSO ", Kind::WebShell, Check::None, 0.85),
    ("r57 Shell", Kind::WebShell, Check::None, 0.9),
    ("c99shell", Kind::WebShell, Check::None, 0.9),
    ("b374k", Kind::WebShell, Check::None, 0.85),
    ("Simple PHP backdoor", Kind::WebShell, Check::None, 0.9),
    ("<title>ASPYDrvsInfo", Kind::WebShell, Check::None, 0.9),
    ("xoxa-", Kind::Token, Check::Token(20), 0.92),
    ("ya29.", Kind::Token, Check::Token(40), 0.9),
    ("shpat_", Kind::Token, Check::Token(30), 0.92),
    ("sk-ant-", Kind::Token, Check::Token(40), 0.95),
    ("sk-proj-", Kind::Token, Check::Token(40), 0.95),
    ("AccountKey=", Kind::Token, Check::Token(60), 0.95),
    (": SQL Error", Kind::SqlError, Check::None, 0.8),
    ("SQL Error:", Kind::SqlError, Check::None, 0.8),
    ("SqlException", Kind::SqlError, Check::None, 0.85),
    ("SQLException", Kind::SqlError, Check::None, 0.85),
    ("SQLSyntaxError", Kind::SqlError, Check::None, 0.9),
    ("Npgsql.", Kind::SqlError, Check::Near(&["xception"]), 0.85),
    ("psycopg2.", Kind::SqlError, Check::Near(&["rror"]), 0.85),
    ("PDOException", Kind::SqlError, Check::None, 0.85),
    ("Incorrect syntax near ", Kind::SqlError, Check::None, 0.85),
    ("unterminated quoted string at or near", Kind::SqlError, Check::None, 0.9),
    ("Unexpected end of command in statement", Kind::SqlError, Check::None, 0.85),
    ("Sybase: Server message", Kind::SqlError, Check::None, 0.9),
    ("SQL-status: ", Kind::SqlError, Check::None, 0.85),
    ("Warning: maxdb", Kind::SqlError, Check::None, 0.85),
    ("Warning: SQLite3", Kind::SqlError, Check::None, 0.85),
    ("mssql_query()", Kind::SqlError, Check::None, 0.85),
    ("[DM_QUERY_E_SYNTAX]", Kind::SqlError, Check::None, 0.9),
    ("Microsoft OLE DB Provider", Kind::SqlError, Check::Near(&["rror"]), 0.85),
    ("Exception: ", Kind::StackTrace, Check::Class, 0.75),
    ("Exception\n", Kind::StackTrace, Check::Class, 0.7),
    ("Exception", Kind::StackTrace, Check::Package, 0.8),
    ("(undefined method ", Kind::StackTrace, Check::None, 0.8),
    (": undefined method ", Kind::StackTrace, Check::None, 0.75),
    ("undefined local variable or method", Kind::StackTrace, Check::None, 0.8),
    ("wrong number of arguments (given ", Kind::StackTrace, Check::None, 0.8),
    ("no implicit conversion of ", Kind::StackTrace, Check::Near(&[" into "]), 0.8),
    ("/app/controllers/", Kind::StackTrace, Check::Near(&[".rb:"]), 0.8),
    ("goroutine ", Kind::StackTrace, Check::Near(&[" [running]:"]), 0.9),
    ("at Object.<anonymous> (/", Kind::StackTrace, Check::None, 0.85),
    ("/node_modules/", Kind::StackTrace, Check::Near(&[".js:"]), 0.75),
    ("Werkzeug Debugger", Kind::StackTrace, Check::None, 0.9),
    ("Django Version:", Kind::StackTrace, Check::None, 0.85),
    ("Parse error</b>: ", Kind::StackTrace, Check::None, 0.85),
    ("Warning</b>: ", Kind::StackTrace, Check::None, 0.8),
    (" on line <b>", Kind::StackTrace, Check::None, 0.8),
    ("inetpub", Kind::StackTrace, Check::Drive, 0.75),
    ("<title>404.", Kind::StackTrace, Check::Digits, 0.7),
    ("<title>500.", Kind::StackTrace, Check::Digits, 0.7),
    ("<?= ", Kind::SourceCode, Check::None, 0.75),
    ("<?=$", Kind::SourceCode, Check::None, 0.75),
    ("<? $", Kind::SourceCode, Check::None, 0.75),
    ("<? if", Kind::SourceCode, Check::None, 0.75),
    ("<? ec", Kind::SourceCode, Check::None, 0.75),
    ("<? in", Kind::SourceCode, Check::None, 0.75),
    ("<%= ", Kind::SourceCode, Check::Near(&["%>"]), 0.75),
    ("<% end %>", Kind::SourceCode, Check::None, 0.75),
    ("WinX Shell", Kind::WebShell, Check::None, 0.9),
    (" - Wso ", Kind::WebShell, Check::None, 0.85),
    ("title>Webshell ", Kind::WebShell, Check::None, 0.9),
    ("<title>RHTOOLS", Kind::WebShell, Check::None, 0.9),
    ("WebShell -", Kind::WebShell, Check::None, 0.9),
    (".:NCC:.", Kind::WebShell, Check::None, 0.9),
    ("FilesMan", Kind::WebShell, Check::None, 0.8),
    ("uid=", Kind::CommandOutput, Check::Near(&[") gid="]), 0.9),
    ("Volume Serial Number is ", Kind::CommandOutput, Check::None, 0.85),
];

/// Pieces of the signs: each sign holds one of them or of [`SHORT_PIECES`], and ordinary pages hold hardly any. Of seven bytes, four stand at a
/// multiple of four wherever the piece begins.
const PIECES: &[&str] = &[
    "--BEGIN ",
    "github_pat_",
    "k_live_",
    "s.slack.",
    "sk-ant-",
    "sk-proj-",
    "AccountKey=",
    "$argon2",
    "root:x:",
    "our SQL syntax",
    "SQL comm",
    "SQLSTATE",
    "SQLSyntax",
    "java.sql",
    "SQL Erro",
    "SQLite3",
    "SQL-status",
    "lid MySQL",
    "of columns",
    "uoted st",
    "Unclosed q",
    "nput syntax",
    "rect syntax",
    "R:  syntax",
    "(HY000)",
    "hsqldb.",
    "PG::Synt",
    "sqlite3.O",
    "][ODBC ",
    "ODBC Driver",
    "Conversion f",
    "DB2 SQL ",
    "ning: pg_",
    "ning: mysql",
    "ning: maxdb",
    "ng</b>: ",
    "ror</b>: ",
    " line <b>",
    "PHP Fatal",
    "mssql_query",
    "DM_QUERY_E",
    "OLE DB P",
    "Sybase:",
    "psycopg2.",
    "Npgsql.",
    "Unexpected end",
    "Traceback",
    "Exception",
    "Error in '/",
    "View::Templ",
    "Controller::",
    "Record::",
    "NoMethodError",
    "undefined method",
    "undefined local",
    "(given ",
    "licit conv",
    "/app/contr",
    "oroutine ",
    "Object.<an",
    "/node_mod",
    "Werkzeug",
    "Django V",
    "System.Web.",
    "<% end %>",
    "inetpub",
    "le>404.",
    "le>500.",
    "Index of /",
    "Directory l",
    "[To Par",
    " - WSO ",
    " - Wso ",
    "r57 Shell",
    "WinX Shell",
    "WebShell -",
    ">Webshell ",
    "99shell",
    "P backd",
    "ASPYDrvs",
    "RHTOOLS",
    ".:NCC:.",
    "FilesMan",
    "Volume S",
];

/// Pieces of signs that hold no longer one.
const SHORT_PIECES: &[&str] = &[
    "AKIA", "ASIA", "AIza", "ghp_", "gho_", "ghs_", "glpat-", "xoxa-", "xoxb-", "xoxp-", "\"SG.", "=SG.",
    " SG.", "npm_", "ya29.", "shpat_", "$2a$", "$2b$", "$2y$", ":$6$", "\"$6$", ">$6$", "ORA-0", ".java:",
    "<?php", "<?= ", "<?=$", "<? $", "<? if", "<? ec", "<? in", "<%= ", "b374k", "uid=",
];

/// Whether a text could hold a sign.
pub(super) fn may_be_in(text: &[u8]) -> bool {
    grams().are_in(text) || short_pieces().is_none_or(|pieces| pieces.find(text).is_some())
}

/// A packed search is fast for few texts, and slow for a hundred.
fn short_pieces() -> Option<&'static Searcher> {
    static BUILT: OnceLock<Option<Searcher>> = OnceLock::new();
    let build = || Config::new().heuristic_pattern_limits(false).builder().extend(SHORT_PIECES).build();
    BUILT.get_or_init(build).as_ref()
}

fn grams() -> &'static Grams {
    static BUILT: OnceLock<Grams> = OnceLock::new();
    BUILT.get_or_init(Grams::new)
}

/// Bytes of which one look is made, and bits of their hash.
const GRAM: usize = 4;
const HASH_BITS: u32 = 15;
const WORDS: usize = (1 << HASH_BITS) / 64;

/// The four bytes of each piece that may stand at a multiple of four: a text is looked at in every fourth place only.
struct Grams {
    /// A bit for each hash of a gram.
    bits: Box<[u64; WORDS]>,
    /// Gram, piece, and where in the piece it stands, in the order of grams.
    known: Vec<(u32, &'static str, usize)>,
}

impl Grams {
    fn new() -> Self {
        let mut grams = Self { bits: Box::new([0; WORDS]), known: Vec::new() };
        for &piece in PIECES {
            for (at, gram) in piece.as_bytes().windows(GRAM).take(GRAM).enumerate() {
                let Some(gram) = gram.first_chunk().map(|gram| u32::from_le_bytes(*gram)) else { continue };
                let (word, bit) = Self::place(gram);
                grams.bits[word % WORDS] |= 1 << bit;
                grams.known.push((gram, piece, at));
            }
        }
        grams.known.sort_unstable();
        grams
    }

    /// Word and bit of a gram.
    fn place(gram: u32) -> (usize, u32) {
        let hash = gram.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS);
        ((hash / 64) as usize, hash % 64)
    }

    /// Whether one of the pieces is in the text.
    fn are_in(&self, text: &[u8]) -> bool {
        let (grams, _) = text.as_chunks::<GRAM>();
        grams.iter().enumerate().any(|(number, gram)| {
            let gram = u32::from_le_bytes(*gram);
            let (word, bit) = Self::place(gram);
            self.bits[word % WORDS] >> bit & 1 != 0 && self.is_at(text, number * GRAM, gram)
        })
    }

    /// Whether a piece that holds the gram stands around it.
    fn is_at(&self, text: &[u8], at: usize, gram: u32) -> bool {
        let first = self.known.partition_point(|(known, ..)| *known < gram);
        let same = self.known.iter().skip(first).take_while(|(known, ..)| *known == gram);
        same.into_iter().any(|(_, piece, within)| {
            at.checked_sub(*within)
                .and_then(|start| text.get(start..))
                .is_some_and(|rest| rest.starts_with(piece.as_bytes()))
        })
    }
}

/// Finds the signs.
pub(super) fn signs() -> Option<&'static AhoCorasick> {
    static BUILT: OnceLock<Option<AhoCorasick>> = OnceLock::new();
    BUILT.get_or_init(|| AhoCorasick::new(SIGNS.iter().map(|(sign, ..)| sign)).ok()).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_holds_a_piece() {
        for (sign, ..) in SIGNS {
            // Wherever it stands.
            for ahead in 0..8 {
                let text = format!("{}{sign}{}", "-".repeat(ahead), "~".repeat(8 - ahead));
                assert!(
                    may_be_in(text.as_bytes()) && may_be_in(&text.as_bytes()[..ahead + sign.len()]),
                    "{sign} {ahead}"
                );
            }
        }
        assert!(PIECES.iter().all(|piece| piece.len() >= 2 * GRAM - 1));
        assert!(
            !may_be_in(b"<p>It is a page of a shop, with words, and an undefined state.</p>")
                && short_pieces().is_some()
        );
    }
}
