//! What a response says: whether a login worked, and which sessions the server begins.
//!
//! A login's outcome has no standard form. It is read off the status, the way a redirect leads, what the body says in words that
//! many applications share, and whether a session begins.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::name::{is_session_name, path_holds};
use super::request::{RequestFacts, flag};
use super::{Key, Text, route};
use crate::http::message::Response;

/// What became of a login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// There was none.
    #[default]
    None,
    /// It failed.
    Failed(Why),
    /// It worked.
    Succeeded,
    /// The response does not tell.
    Unknown,
}

/// What a failed login's response says of the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Nothing but that it failed.
    Refused,
    /// There is no such user.
    User,
    /// The password is wrong.
    Password,
    /// There were too many attempts.
    Locked,
    /// The form comes again.
    Again,
}

/// Bits of [`Issued::attributes`].
pub mod attribute {
    /// `Secure`.
    pub const SECURE: u8 = 1;
    /// `HttpOnly`.
    pub const HTTP_ONLY: u8 = 1 << 1;
    /// `SameSite`.
    pub const SAME_SITE: u8 = 1 << 2;
}

/// A session that the server begins (RFC 6265 section 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Issued {
    /// The cookie's name, with the host; 0 for none.
    pub name: u64,
    /// Its name and value.
    pub value: u64,
    /// The name.
    pub name_text: Text<32>,
    /// Bits that the id can hold at most, by its length and the characters it consists of.
    pub bits: u16,
    /// The id as a number, if it consists of digits, or the last digits of a hexadecimal one.
    pub counter: Option<u64>,
    /// Bits of [`attribute`].
    pub attributes: u8,
}

/// What a response says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFacts {
    /// Status code; 0 if no response was seen.
    pub status: u16,
    /// Bytes of its body.
    pub bytes: u64,
    /// It leads to a login.
    pub to_login: bool,
    /// What became of a login.
    pub login: Login,
    /// Sessions that begin.
    pub issued: [Issued; 2],
}

/// Bytes of a body that are searched for words about a login.
const MAX_SEARCHED: usize = 8 * 1024;
/// Parts of paths that lead to a login.
const LOGINS: &[&[u8]] = &[b"login", b"signin", b"sign-in", b"sign_in", b"logon", b"/sso", b"authenticate"];
/// Parts of where a failed login leads.
const ERRORS: &[&[u8]] = &[b"error", b"fail", b"denied", b"invalid", b"incorrect"];

/// Words in bodies, and what they mean. Of words that begin at one place the longest counts, and the first meaning in this order.
const WORDS: &[(&str, Word)] = &[
    ("too many", Word::Failed(Why::Locked)),
    ("account is locked", Word::Failed(Why::Locked)),
    ("account has been locked", Word::Failed(Why::Locked)),
    ("temporarily locked", Word::Failed(Why::Locked)),
    ("invalid username or password", Word::Failed(Why::Refused)),
    ("invalid email or password", Word::Failed(Why::Refused)),
    ("incorrect username or password", Word::Failed(Why::Refused)),
    ("incorrect email or password", Word::Failed(Why::Refused)),
    ("wrong username or password", Word::Failed(Why::Refused)),
    ("username or password", Word::Failed(Why::Refused)),
    ("email or password", Word::Failed(Why::Refused)),
    ("unknown user", Word::Failed(Why::User)),
    ("no such user", Word::Failed(Why::User)),
    ("user not found", Word::Failed(Why::User)),
    ("user does not exist", Word::Failed(Why::User)),
    ("username does not exist", Word::Failed(Why::User)),
    ("account not found", Word::Failed(Why::User)),
    ("no account", Word::Failed(Why::User)),
    ("is not registered", Word::Failed(Why::User)),
    ("invalid username", Word::Failed(Why::User)),
    ("unknown email", Word::Failed(Why::User)),
    ("email not found", Word::Failed(Why::User)),
    ("wrong password", Word::Failed(Why::Password)),
    ("invalid password", Word::Failed(Why::Password)),
    ("incorrect password", Word::Failed(Why::Password)),
    ("password is incorrect", Word::Failed(Why::Password)),
    ("password incorrect", Word::Failed(Why::Password)),
    ("bad password", Word::Failed(Why::Password)),
    ("invalid credentials", Word::Failed(Why::Refused)),
    ("wrong credentials", Word::Failed(Why::Refused)),
    ("bad credentials", Word::Failed(Why::Refused)),
    ("invalid login", Word::Failed(Why::Refused)),
    ("login failed", Word::Failed(Why::Refused)),
    ("login incorrect", Word::Failed(Why::Refused)),
    ("authentication failed", Word::Failed(Why::Refused)),
    ("failed to log in", Word::Failed(Why::Refused)),
    ("could not log you in", Word::Failed(Why::Refused)),
    ("unauthorized", Word::Failed(Why::Refused)),
    ("\"success\":false", Word::Failed(Why::Refused)),
    ("\"success\": false", Word::Failed(Why::Refused)),
    ("\"authenticated\":false", Word::Failed(Why::Refused)),
    ("\"authenticated\": false", Word::Failed(Why::Refused)),
    ("\"ok\":false", Word::Failed(Why::Refused)),
    ("\"ok\": false", Word::Failed(Why::Refused)),
    ("\"error\":\"", Word::Failed(Why::Refused)),
    ("\"error\": \"", Word::Failed(Why::Refused)),
    ("\"errors\":[{", Word::Failed(Why::Refused)),
    ("\"status\":\"error\"", Word::Failed(Why::Refused)),
    ("\"status\":\"fail", Word::Failed(Why::Refused)),
    ("type=\"password\"", Word::Form),
    ("type='password'", Word::Form),
    ("type=password", Word::Form),
    ("_token\":\"", Word::Succeeded),
    ("\"token\":\"", Word::Succeeded),
    ("_token\": \"", Word::Succeeded),
    ("\"token\": \"", Word::Succeeded),
    ("\"jwt\":\"", Word::Succeeded),
    ("\"success\":true", Word::Succeeded),
    ("\"success\": true", Word::Succeeded),
    ("\"authenticated\":true", Word::Succeeded),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Failed(Why),
    Form,
    Succeeded,
}

/// The search for [`WORDS`]; `None` never, since they are fixed.
static SEARCH: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let words = WORDS.iter().map(|(word, _)| word);
    let builder = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::LeftmostLongest)
        .build(words);
    builder.ok()
});

impl ResponseFacts {
    /// What the head of a response says; `None` if no response was seen.
    #[must_use]
    pub fn of_head(key: &Key, request: &RequestFacts, response: Option<&Response>) -> Self {
        let Some(response) = response else { return Self::none(request) };
        let mut facts = Self { status: response.status, ..Self::default() };
        for (name, value) in response.headers() {
            if name.eq_ignore_ascii_case(b"set-cookie") {
                facts.cookie(key, request.host, value);
            }
        }
        let location = || response.header("location").unwrap_or_default();
        let redirects = (300..400).contains(&response.status) && response.status != 304;
        facts.to_login = redirects && path_holds(location(), LOGINS);
        if request.has(flag::LOGIN) {
            facts.login = facts.outcome(request, if redirects { location() } else { b"" });
        }
        facts
    }

    /// The facts where no response was seen.
    #[must_use]
    pub fn none(request: &RequestFacts) -> Self {
        let login = if request.has(flag::LOGIN) { Login::Unknown } else { Login::None };
        Self { login, ..Self::default() }
    }

    /// What the head says of a login.
    fn outcome(&self, request: &RequestFacts, location: &[u8]) -> Login {
        match self.status {
            401 | 403 | 407 | 423 => Login::Failed(Why::Refused),
            429 => Login::Failed(Why::Locked),
            _ if request.has(flag::BASIC) => match self.status {
                0 | 500.. => Login::Unknown,
                _ => Login::Succeeded,
            },
            400 | 404 | 409 | 422 if request.has(flag::ENTRY) => Login::Failed(Why::Refused),
            300..=399 if path_holds(location, ERRORS) => Login::Failed(Why::Again),
            300..=399 if self.to_login || path_of(location) == request.path_text.bytes() => {
                Login::Failed(Why::Again)
            }
            300..=399 => Login::Succeeded,
            200..=299 if self.issued[0].name != 0 => Login::Succeeded,
            _ => Login::Unknown,
        }
    }

    /// What the words of the body say of a login; to be called where the head leaves it open.
    pub fn note_login(&mut self, request: &RequestFacts, body: &[u8]) {
        if !request.has(flag::LOGIN) || request.has(flag::BASIC) {
            return;
        }
        let ok = (200..300).contains(&self.status);
        self.login = match (said(body), self.login) {
            (Some(Word::Failed(why)), Login::Failed(_)) => Login::Failed(why),
            (Some(Word::Failed(why)), _) if ok => Login::Failed(why),
            (Some(Word::Form), Login::Unknown) if ok => Login::Failed(Why::Again),
            (Some(Word::Succeeded), Login::Unknown) if ok => Login::Succeeded,
            // Nothing wrong is said, but without a session nobody is logged in.
            (None, Login::Unknown) if self.status == 200 && is_bare(request) && !body.is_empty() => {
                Login::Failed(Why::Refused)
            }
            (_, before) => before,
        };
    }

    fn cookie(&mut self, key: &Key, host: u64, value: &[u8]) {
        let mut parts = value.split(|&byte| byte == b';');
        let pair = parts.next().unwrap_or_default().trim_ascii();
        let Some(equals) = memchr::memchr(b'=', pair) else { return };
        let (name, id) = (&pair[..equals], pair[equals + 1..].trim_ascii());
        let Some(place) = self.issued.iter_mut().find(|issued| issued.name == 0) else { return };
        if id.is_empty() || id == b"deleted" || !is_session_name(name) {
            return;
        }
        let attributes = parts.map(|part| attribute_of(part.trim_ascii())).fold(0, |all, one| all | one);
        *place = Issued {
            name: host ^ key.number(name),
            value: key.pair(name, id),
            name_text: Text::of(name),
            bits: bits(id),
            counter: counter(id),
            attributes,
        };
    }
}

/// Whether a login brings nothing but user and password, to where people log in.
fn is_bare(request: &RequestFacts) -> bool {
    request.has(flag::ENTRY) && !request.has(flag::CREDENTIALS)
}

fn attribute_of(part: &[u8]) -> u8 {
    let name = part.split(|&byte| byte == b'=').next().unwrap_or_default();
    match () {
        () if name.eq_ignore_ascii_case(b"secure") => attribute::SECURE,
        () if name.eq_ignore_ascii_case(b"httponly") => attribute::HTTP_ONLY,
        () if name.eq_ignore_ascii_case(b"samesite") => attribute::SAME_SITE,
        () => 0,
    }
}

/// The weightiest of what a body says: a failure, then a form, then a success.
fn said(body: &[u8]) -> Option<Word> {
    let search = SEARCH.as_ref()?;
    let body = body.get(..MAX_SEARCHED).unwrap_or(body);
    let words = search.find_iter(body).filter_map(|found| WORDS.get(found.pattern().as_usize()));
    words
        .min_by_key(|(word, _)| WORDS.iter().position(|(known, _)| known == word))
        .map(|(_, meaning)| *meaning)
}

/// The path of a URL or of a reference.
fn path_of(location: &[u8]) -> &[u8] {
    let rest = match memchr::memmem::find(location, b"://") {
        Some(at) => {
            let authority = &location[at + 3..];
            memchr::memchr(b'/', authority).map_or(&b"/"[..], |slash| &authority[slash..])
        }
        None => location,
    };
    rest.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default()
}

/// Bits that an id can hold at most.
fn bits(id: &[u8]) -> u16 {
    let has = |kind: fn(&u8) -> bool| id.iter().any(kind);
    let hex = id.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    // Tenths of a bit for each character: digits, hexadecimal digits, letters of one case with digits, all of them.
    let tenths = match () {
        () if id.iter().all(u8::is_ascii_digit) => 33,
        () if hex => 40,
        () if has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) => 60,
        () => 52,
    };
    u16::try_from(id.len().saturating_mul(tenths) / 10).unwrap_or(u16::MAX)
}

/// An id as a number, as far as it fits into one.
fn counter(id: &[u8]) -> Option<u64> {
    const DIGITS: usize = 15;
    if let Some(number) = route::number(id) {
        return Some(number);
    }
    if !id.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let tail = id.get(id.len().saturating_sub(DIGITS)..)?;
    u64::from_str_radix(std::str::from_utf8(tail).ok()?, 16).ok()
}
