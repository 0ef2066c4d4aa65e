//! What a request says: its route, who sends it, and whether it tries to log somebody in. The head is looked at when it is there, the
//! body when its fields are.

use super::credential::{self, Signing};
use super::name::{self, Role, is_session_name, path_holds};
use super::{Key, Text, route};
use crate::field::{Field, Fields, Place};
use crate::http::http2;
use crate::http::message::Request;

/// Bits of [`RequestFacts::flags`].
pub mod flag {
    /// A session's cookie, an Authorization header, or a key.
    pub const CREDENTIALS: u32 = 1;
    /// Cookies.
    pub const COOKIES: u32 = 1 << 1;
    /// A user's password that is to be checked.
    pub const LOGIN: u32 = 1 << 2;
    /// The credentials of a login are an Authorization header's: they come with every request.
    pub const BASIC: u32 = 1 << 3;
    /// A user's name without a password where applications tell whether there is such a user.
    pub const NAMES_USER: u32 = 1 << 4;
    /// A token against forged requests.
    pub const ANTI_FORGERY: u32 = 1 << 5;
    /// The page that caused the request is another site's.
    pub const FOREIGN: u32 = 1 << 6;
    /// The page that caused the request is this site's.
    pub const SAME_SITE: u32 = 1 << 7;
    /// A header or parameter that replaces the method.
    pub const OVERRIDE: u32 = 1 << 8;
    /// A picture, script, style sheet or font, by its name.
    pub const STATIC: u32 = 1 << 9;
    /// A session's id in the target.
    pub const SESSION_IN_TARGET: u32 = 1 << 10;
    /// A JWT signed with a shared secret.
    pub const SYMMETRIC: u32 = 1 << 11;
    /// A JWT signed with a private key.
    pub const ASYMMETRIC: u32 = 1 << 12;
    /// A password is set, or an account made.
    pub const SETS_PASSWORD: u32 = 1 << 13;
    /// The path says that it is where people log in.
    pub const ENTRY: u32 = 1 << 14;
    /// No transaction yet: a request that does not get on, of which nothing else is known.
    pub const SLOW: u32 = 1 << 15;
}

/// A method, as far as behaviour is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of HTTP")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    Trace,
    Connect,
    #[default]
    Other,
}

impl Method {
    const NAMED: [(&'static str, Self); 9] = [
        ("GET", Self::Get),
        ("HEAD", Self::Head),
        ("POST", Self::Post),
        ("PUT", Self::Put),
        ("PATCH", Self::Patch),
        ("DELETE", Self::Delete),
        ("OPTIONS", Self::Options),
        ("TRACE", Self::Trace),
        ("CONNECT", Self::Connect),
    ];

    /// The method of this name, in upper case.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        Self::NAMED
            .iter()
            .find(|(known, _)| known.as_bytes() == name)
            .map_or(Self::Other, |(_, method)| *method)
    }

    /// Its name; `OTHER` for one that is none of HTTP's.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(_, method)| *method == self).map_or("OTHER", |(name, _)| name)
    }

    /// Whether it is meant to change something.
    #[must_use]
    pub const fn changes(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch | Self::Delete)
    }
}

/// What a request says. Numbers are 0 where there is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// Method.
    pub method: Method,
    /// Minor version, as [`Request::version`].
    pub version: u8,
    /// What is known of it: bits of [`flag`].
    pub flags: u32,
    /// Host.
    pub host: u64,
    /// Host and path, with placeholders for objects.
    pub route: u64,
    /// The objects in the path and in identifying parameters.
    pub object: u64,
    /// The last of them, if it is a number.
    pub id: Option<u64>,
    /// The path as it is.
    pub path: u64,
    /// Name of the user that is to be logged in.
    pub user: u64,
    /// The user's password.
    pub password: u64,
    /// The session's cookie.
    pub session: u64,
    /// The name of that cookie, with the host.
    pub session_name: u64,
    /// Authorization header.
    pub authorization: u64,
    /// User-Agent header.
    pub agent: u64,
    /// Issuer and key of a JWT.
    pub issuer: u64,
    /// Beginning of the path.
    pub path_text: Text<96>,
    /// Beginning of the host.
    pub host_text: Text<48>,
    /// Beginning of the User-Agent header.
    pub agent_text: Text<64>,
}

/// Shortest value of a session parameter in a target that is taken for an id.
const MIN_SESSION_ID: usize = 16;
/// Fields of a body that are looked at.
const MAX_BODY_FIELDS: usize = 64;
/// Parts of paths under which accounts are made and passwords set.
const SETTING: &[&[u8]] =
    &[b"register", b"signup", b"sign-up", b"sign_up", b"join", b"password/change", b"change-password"];
/// Parts of paths where people log in.
const ENTRIES: &[&[u8]] = &[
    b"login",
    b"signin",
    b"sign-in",
    b"sign_in",
    b"logon",
    b"/auth",
    b"/session",
    b"/token",
    b"authenticate",
    b"/sso",
];
/// Parts of paths where applications tell whether there is a user.
const TELLING: &[&[u8]] = &[
    b"forgot",
    b"reset",
    b"recover",
    b"lost",
    b"exists",
    b"available",
    b"check",
    b"lookup",
    b"register",
    b"signup",
];
/// Ends of paths that are files beside pages, behind the dot.
const STATIC: &[&[u8]] = &[
    b"css", b"js", b"png", b"jpg", b"jpeg", b"gif", b"svg", b"ico", b"webp", b"woff", b"woff2", b"ttf",
    b"map", b"mp4", b"avif",
];

/// Whether a path names a file beside pages.
fn is_static(path: &[u8]) -> bool {
    const LONGEST: usize = 6;
    let tail = path.get(path.len().saturating_sub(LONGEST)..).unwrap_or_default();
    let Some(dot) = tail.iter().rposition(|&byte| byte == b'.') else { return false };
    let end = tail.get(dot + 1..).unwrap_or_default();
    STATIC.iter().any(|known| end.eq_ignore_ascii_case(known))
}

impl RequestFacts {
    /// Whether all of these bits of [`flag`] are set.
    #[must_use]
    pub const fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    fn set(&mut self, flags: u32) {
        self.flags |= flags;
    }

    /// What the head says; `fields` are the head's.
    #[must_use]
    pub fn of_head(key: &Key, request: &Request, fields: &Fields) -> Self {
        let host = request.header("host").unwrap_or_default();
        let host_number = key.number(host);
        let path = request.path();
        let route = route::of(key, host_number, path);
        let mut facts = Self {
            method: Method::of(request.method()),
            version: request.version,
            host: host_number,
            route: route.route,
            object: route.object,
            id: route.id,
            path: key.number(path),
            path_text: Text::of(path),
            host_text: Text::of(host),
            ..Self::default()
        };
        if is_static(path) {
            facts.set(flag::STATIC);
        }
        for field in fields.iter() {
            match field.place {
                Place::Header => facts.header(key, &field, host),
                Place::Cookie => facts.cookie(key, &field),
                Place::Query => facts.query(key, &field),
                _ => {}
            }
        }
        facts.conclude(path);
        facts
    }

    /// What the body adds; `fields` are the body's.
    pub fn note_body(&mut self, key: &Key, request: &Request, fields: &Fields) {
        let named = |field: &Field<'_>| {
            matches!(field.place, Place::Form | Place::Json | Place::Multipart | Place::Xml | Place::GraphQl)
        };
        for field in fields.iter().filter(named).take(MAX_BODY_FIELDS) {
            self.credential(key, &field);
            if field.name == b"_method" {
                self.set(flag::OVERRIDE);
            }
        }
        self.conclude(request.path());
    }

    /// Bytes of a name are compared only where its length fits: this runs for every header of every request.
    fn header(&mut self, key: &Key, field: &Field<'_>, host: &[u8]) {
        let value = field.value;
        match field.name {
            b"user-agent" => {
                self.agent = key.number(value);
                self.agent_text = Text::of(value);
            }
            b"authorization" => self.authorize(key, value),
            b"x-api-key" | b"x-auth-token" | b"api-key" | b"x-access-token" => {
                self.set(flag::CREDENTIALS);
                if self.authorization == 0 {
                    self.authorization = key.number(value);
                }
            }
            b"origin" => self.caused_by(value, host),
            b"referer" if self.flags & (flag::FOREIGN | flag::SAME_SITE) == 0 => self.caused_by(value, host),
            b"x-csrf-token" | b"x-csrftoken" | b"x-xsrf-token" | b"requestverificationtoken" | b"x-csrf" => {
                self.set(flag::ANTI_FORGERY);
            }
            b"x-http-method-override" | b"x-http-method" | b"x-method-override" => self.set(flag::OVERRIDE),
            _ => {}
        }
    }

    fn authorize(&mut self, key: &Key, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        self.set(flag::CREDENTIALS);
        self.authorization = key.number(value);
        if let Some((user, password)) = credential::basic(key, value) {
            (self.user, self.password) = (user, password);
            self.set(flag::LOGIN | flag::BASIC);
        } else if let Some((signing, issuer)) = credential::token(key, value) {
            self.issuer = issuer;
            self.set(match signing {
                Signing::Symmetric => flag::SYMMETRIC,
                Signing::Asymmetric => flag::ASYMMETRIC,
            });
        }
    }

    fn caused_by(&mut self, url: &[u8], host: &[u8]) {
        let same = host_of(url).is_some_and(|from| is_related(from, host));
        self.flags &= !(flag::FOREIGN | flag::SAME_SITE);
        self.set(if same { flag::SAME_SITE } else { flag::FOREIGN });
    }

    fn cookie(&mut self, key: &Key, field: &Field<'_>) {
        self.set(flag::COOKIES);
        if self.session == 0 && !field.value.is_empty() && is_session_name(field.name) {
            self.session = key.pair(field.name, field.value);
            self.session_name = self.host ^ key.number(field.name);
            self.set(flag::CREDENTIALS);
        }
    }

    fn query(&mut self, key: &Key, field: &Field<'_>) {
        let role = self.credential(key, field);
        if field.value.len() >= MIN_SESSION_ID && is_session_name(field.name) && !is_one_time(field.name) {
            self.set(flag::SESSION_IN_TARGET);
        }
        if matches!(role, Role::Id | Role::User) && route::is_object(field.value) {
            self.object = (self.object ^ key.number(field.value)).max(1);
            self.id = route::number(field.value).or(self.id);
        }
    }

    /// Takes what a parameter says of users, passwords and tokens; returns what it is for.
    fn credential(&mut self, key: &Key, field: &Field<'_>) -> Role {
        if field.value.is_empty() {
            return Role::Other;
        }
        let role = name::role(field.name);
        match role {
            Role::User if self.user == 0 => self.user = key.number(field.value),
            Role::Password if self.password == 0 => self.password = key.number(field.value),
            Role::NewPassword => self.set(flag::SETS_PASSWORD),
            Role::AntiForgery => self.set(flag::ANTI_FORGERY),
            _ => {}
        }
        role
    }

    /// What follows from all that is known.
    fn conclude(&mut self, path: &[u8]) {
        if self.user == 0 && self.password == 0 {
            return;
        }
        if path_holds(path, SETTING) {
            self.set(flag::SETS_PASSWORD);
        }
        if path_holds(path, ENTRIES) {
            self.set(flag::ENTRY);
        }
        // Who has a token already and sends a password elsewhere administers users.
        let administers = self.authorization != 0 && !self.has(flag::ENTRY);
        if self.password != 0 && !self.has(flag::BASIC) && !administers {
            self.set(flag::LOGIN);
        }
        if self.has(flag::SETS_PASSWORD) && !self.has(flag::BASIC) {
            self.flags &= !flag::LOGIN;
        }
        if self.user != 0 && !self.has(flag::LOGIN) && path_holds(path, TELLING) {
            self.set(flag::NAMES_USER);
        }
    }
}

/// Parameters that hold a token for one use, such as a link in a mail, and no session.
fn is_one_time(name: &[u8]) -> bool {
    [&b"token"[..], b"auth", b"identity"]
        .iter()
        .any(|part| name.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part)))
}

/// Host and port of a URL.
fn host_of(url: &[u8]) -> Option<&[u8]> {
    let rest = url.get(memchr::memmem::find(url, b"://")? + 3..)?;
    rest.split(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).next()?.rsplit(|&byte| byte == b'@').next()
}

/// Whether two hosts are the same, or one is below the other.
fn is_related(a: &[u8], b: &[u8]) -> bool {
    let name = |host: &[u8]| host.split(|&byte| byte == b':').next().map_or(0, <[u8]>::len);
    let (a, b) = (&a[..name(a)], &b[..name(b)]);
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let (front, tail) = long.split_at(long.len() - short.len());
    !short.is_empty() && tail.eq_ignore_ascii_case(short) && (front.is_empty() || front.ends_with(b"."))
}

/// Whether the request speaks HTTP/2, for people.
pub(crate) fn protocol(version: u8) -> String {
    if version == http2::message::VERSION { "HTTP/2".to_owned() } else { format!("HTTP/1.{version}") }
}
