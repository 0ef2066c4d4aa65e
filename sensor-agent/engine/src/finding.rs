//! What detection says of a transaction: classes, severities, confidences, findings.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$help:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$help])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Name in rules, configuration, events and the API.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                let found = Self::ALL.iter().find(|known| known.name().eq_ignore_ascii_case(text));
                found.copied().ok_or_else(|| UnknownName {
                    what: $what,
                    got: text.to_owned(),
                    expected: [$($text),*].join(", "),
                })
            }
        }
    };
}

named! {
    /// Attack class of a finding.
    Class, "class" {
        /// SQL and NoSQL injection.
        SqlInjection = "SQL_INJECTION",
        /// Authentication bypass.
        AuthBypass = "AUTH_BYPASS",
        /// Abuse of JSON web tokens.
        Jwt = "JWT",
        /// Cross-site request forgery.
        Csrf = "CSRF",
        /// XSS, traversal, command and template injection, SSRF, XXE, smuggling and their kin.
        InputValidation = "INPUT_VALIDATION",
        /// Session fixation, weak or shared session ids.
        Session = "SESSION",
        /// Forced browsing, enumeration, mass assignment.
        AccessControl = "ACCESS_CONTROL",
        /// Secrets and personal data in responses.
        DataExposure = "DATA_EXPOSURE",
    }
}

named! {
    /// How bad it is if the finding is true. The first is the worst.
    Severity, "severity" {
        /// Compromise of the application or its data.
        Critical = "critical",
        /// Likely harm.
        High = "high",
        /// Harm under further conditions.
        Medium = "medium",
        /// Hardly harm.
        Low = "low",
        /// For the record.
        Info = "info",
    }
}

/// A name that is not one of a fixed set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{got}`, expected one of {expected}")]
pub struct UnknownName {
    what: &'static str,
    got: String,
    expected: String,
}

/// How sure a finding is, from 0 (not at all) to 1 (certain).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Confidence(f32);

impl Confidence {
    /// No confidence at all.
    pub const ZERO: Self = Self(0.0);

    /// The confidence `value`; `None` outside 0..=1.
    #[must_use]
    pub fn new(value: f32) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// The value, from 0 to 1.
    #[must_use]
    pub const fn get(self) -> f32 {
        self.0
    }

    /// The confidence that at least one of two independent findings is true (noisy-or).
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(1.0 - (1.0 - self.0) * (1.0 - other.0))
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.0)
    }
}

named! {
    /// One decoding step on the way from a field's raw bytes to the view in which a rule matched.
    Decoder, "decoder" {
        /// Percent-encoding resolved once, `+` as a space (WHATWG URL, application/x-www-form-urlencoded).
        Percent = "percent",
        /// HTML character references resolved.
        HtmlEntities = "html",
        /// Backslash escapes of JSON and JavaScript resolved.
        JsEscapes = "js",
        /// Escapes of style sheets resolved.
        CssEscapes = "css",
        /// Overlong, fullwidth and look-alike characters, and what NFKC makes ASCII, folded to it; invisible ones and NUL removed.
        Unicode = "unicode",
        /// SQL block comments removed; the inside of MySQL's conditional ones kept.
        SqlComments = "sql-comments",
        /// Base64 resolved.
        Base64 = "base64",
        /// Hexadecimal digits resolved.
        Hex = "hex",
        /// White space folded to single spaces and letters to lower case.
        Fold = "fold",
        /// Path normalised: backslashes, dot segments, doubled slashes.
        Path = "path",
    }
}

/// Identity and words of the rule or detector behind a finding; shared by all its findings.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleInfo {
    /// Stable identifier, `sqli-union-select`.
    pub id: String,
    /// Number for systems that want one (EVE `signature_id`): derived from the id when the rule gives none.
    pub number: u32,
    /// Revision of the rule, from 1.
    pub revision: u32,
    /// One line for people.
    pub title: String,
    /// Tags such as `CWE-89`, `OWASP-A03`, `attack-sqli`.
    pub tags: Vec<String>,
    /// What a match does, where it is not what the policy says.
    pub response: Option<Response>,
}

/// What a rule wants done in place of the policy's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Report, but never block because of this rule.
    Observe,
    /// If the policy blocks, block for this long.
    BlockFor(Duration),
    /// If the policy blocks because of such rules alone, end the connection and block nobody.
    Kill,
}

impl RuleInfo {
    /// The kind of attack within the class, `xss`, `rce`: what the tag `attack-…` names.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix("attack-"))
    }
}

/// One thing found in one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The rule or detector.
    pub rule: Arc<RuleInfo>,
    /// Attack class.
    pub class: Class,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// Full name of the field, printable.
    pub field: String,
    /// Where the evidence begins in the view, in bytes, behind all `decoders`.
    pub offset: u32,
    /// Bytes of the evidence in the view.
    pub length: u32,
    /// Decoding steps from the raw value to the view, in order.
    pub decoders: Vec<Decoder>,
    /// The matching bytes with some context: redacted, printable, at most [`EVIDENCE_LEN`] characters.
    pub evidence: String,
}

/// Most characters of [`Finding::evidence`].
pub const EVIDENCE_LEN: usize = 160;

/// `bytes` as printable ASCII of at most `max_chars` characters: control characters, escape sequences and everything
/// that is not ASCII are escaped as Rust escapes bytes, quotes are not. A cut text ends in `...`.
#[must_use]
pub fn printable(bytes: &[u8], max_chars: usize) -> String {
    let mut text = String::with_capacity(bytes.len().min(max_chars));
    for &byte in bytes {
        let before = text.len();
        match byte {
            b' '..=b'~' if byte != b'\\' => text.push(char::from(byte)),
            _ => text.extend(std::ascii::escape_default(byte).map(char::from)),
        }
        if text.len() > max_chars {
            text.truncate(before.min(max_chars.saturating_sub(CUT.len())));
            text.push_str(CUT.get(..max_chars.min(CUT.len())).unwrap_or_default());
            break;
        }
    }
    text
}

/// Stands where a text was cut.
const CUT: &str = "...";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        assert!(Class::ALL.iter().all(|class| class.name().parse() == Ok(*class)));
        let error = "sqli".parse::<Class>().unwrap_err().to_string();
        assert!(error.starts_with("unknown class `sqli`, expected one of SQL_INJECTION, "), "{error}");
    }

    #[test]
    fn nothing_unprintable_gets_out() {
        let hostile = b"a'\"\\b\x1b[31m\r\n\0\xe2\x80\xae\xff";
        assert_eq!(printable(hostile, 200), r#"a'"\\b\x1b[31m\r\n\x00\xe2\x80\xae\xff"#);
    }

    #[test]
    fn long_text_is_cut_visibly_and_never_longer() {
        for max in 0..12 {
            assert!(printable(b"abcdefgh\xff\xff", max).len() <= max);
        }
        assert_eq!(printable(b"abcdefghijkl", 8), "abcde...");
        assert_eq!(printable(b"abcdefgh", 8), "abcdefgh");
    }

    #[test]
    fn confidences_combine_as_independent() {
        let half = Confidence::new(0.5).unwrap();
        assert_eq!(half.or(half).get(), 0.75);
        assert_eq!(half.or(Confidence::ZERO), half);
        assert!(Confidence::new(1.1).is_none() && Confidence::new(f32::NAN).is_none());
    }
}
