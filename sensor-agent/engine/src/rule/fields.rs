//! Field patterns: which fields of a request a rule looks at.

use std::fmt;
use std::ops::RangeInclusive;

use crate::field::{Field, Place};

/// Names of places a rule can give, with the places they mean.
pub(crate) const PLACES: &[(&str, &[Place])] = &[
    ("method", &[Place::Method]),
    ("target", &[Place::Target]),
    ("path.segment", &[Place::Segment]),
    ("path", &[Place::Path]),
    ("query", &[Place::Query]),
    ("header", &[Place::Header]),
    ("cookie", &[Place::Cookie]),
    ("body.form", &[Place::Form]),
    ("body.json", &[Place::Json]),
    ("body.multipart", &[Place::Multipart]),
    ("body.xml", &[Place::Xml]),
    ("body.graphql", &[Place::GraphQl]),
    ("body.websocket", &[Place::WebSocket]),
    ("body.grpc", &[Place::Grpc]),
    ("body.text", &[Place::Text]),
    ("body", BODY),
    ("name", &[Place::Name]),
    ("response.status", &[Place::ResponseStatus]),
    ("response.header", &[Place::ResponseHeader]),
    ("response.body", &[Place::ResponseBody]),
    ("args", ARGS),
];

/// Everything in a request's body.
const BODY: &[Place] = &[
    Place::Form,
    Place::Json,
    Place::Multipart,
    Place::Xml,
    Place::GraphQl,
    Place::WebSocket,
    Place::Grpc,
    Place::Text,
];

/// Query parameters of any name, and what passes for such.
const ANY_QUERY: &[Place] = &[Place::Query, Place::Segment];

/// Everything a client passes as a parameter.
const ARGS: &[Place] = &[
    Place::Query,
    Place::Segment,
    Place::Form,
    Place::Json,
    Place::Multipart,
    Place::Xml,
    Place::GraphQl,
    Place::WebSocket,
    Place::Grpc,
    Place::Text,
    Place::Cookie,
    Place::Name,
];

/// A set of fields: places, and a name within them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPattern {
    places: &'static [Place],
    name: NamePattern,
}

/// A set of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamePattern {
    Any,
    /// Equal without case.
    Exact(Box<str>),
    /// Begins so, without case.
    Prefix(Box<str>),
    /// Ends so, without case.
    Suffix(Box<str>),
    /// Has it somewhere, without case.
    Within(Box<str>),
}

impl NamePattern {
    /// Reads `*`, `name`, `begin*`, `*end` or `*within*`; `None` for an empty text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix('*').and_then(|text| text.strip_suffix('*'));
        if let Some(inner) = inner.filter(|inner| !inner.is_empty()) {
            return Some(Self::Within(inner.into()));
        }
        if let Some(suffix) = text.strip_prefix('*').filter(|suffix| !suffix.is_empty()) {
            return Some(Self::Suffix(suffix.into()));
        }
        match text.strip_suffix('*') {
            Some("") => Some(Self::Any),
            Some(prefix) => Some(Self::Prefix(prefix.into())),
            None if text.is_empty() => None,
            None => Some(Self::Exact(text.into())),
        }
    }

    /// Whether the name is one of the set.
    pub(crate) fn matches(&self, got: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => got.eq_ignore_ascii_case(name.as_bytes()),
            Self::Prefix(prefix) => {
                got.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
            }
            Self::Suffix(suffix) => got
                .len()
                .checked_sub(suffix.len())
                .and_then(|start| got.get(start..))
                .is_some_and(|tail| tail.eq_ignore_ascii_case(suffix.as_bytes())),
            Self::Within(part) => {
                got.windows(part.len()).any(|piece| piece.eq_ignore_ascii_case(part.as_bytes()))
            }
        }
    }
}

impl FieldPattern {
    /// Reads `query.id`, `header.x-*`, `body.*`, `args`, `path`; `None` if no place is named so.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let whole = |&&(place, _): &&(&str, &[Place])| {
            text.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let (place, places) = PLACES.iter().find(whole)?;
        let name = text.get(place.len()..)?.strip_prefix('.');
        let name = name.map_or(Some(NamePattern::Any), NamePattern::parse)?;
        let any_query = *places == [Place::Query] && name == NamePattern::Any;
        Some(Self { places: if any_query { ANY_QUERY } else { places }, name })
    }

    /// Whether the field is one of the set.
    #[must_use]
    pub fn matches(&self, field: &Field<'_>) -> bool {
        self.places.contains(&field.place) && self.matches_name(field.name)
    }

    /// Whether the set has fields of `place` with this name.
    pub(crate) fn matches_name(&self, got: &[u8]) -> bool {
        self.name.matches(got)
    }

    /// First letter and length of the names in the set, if it has few names; a prefix has any length from its own.
    pub(super) fn shape(&self) -> Option<(u8, RangeInclusive<usize>)> {
        let (text, most) = match &self.name {
            NamePattern::Exact(name) => (name, name.len()),
            NamePattern::Prefix(prefix) => (prefix, usize::MAX),
            NamePattern::Any | NamePattern::Suffix(_) | NamePattern::Within(_) => return None,
        };
        Some((text.bytes().next()?.to_ascii_lowercase(), text.len()..=most))
    }

    /// Whether every field of the other set is in this one, as far as their texts tell.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let named = self.name == NamePattern::Any || self.name == other.name;
        named && other.places.iter().all(|place| self.places.contains(place))
    }

    /// Whether the set has segments of the path by themselves.
    pub(super) fn names_segments(&self) -> bool {
        self.places == [Place::Segment]
    }

    /// A bit for each place of the set.
    pub(super) fn places(&self) -> u32 {
        self.places.iter().fold(0, |bits, &place| bits | bit(place))
    }

    /// Whether fields of `place` can be in the set.
    pub(crate) fn has(&self, place: Place) -> bool {
        self.places.contains(&place)
    }

    /// Whether the set is the method.
    pub(super) fn is_method(&self) -> bool {
        self.places == [Place::Method]
    }

    /// Whether the set is the method or fields of one name: few bytes a request, so that a rule without a literal
    /// may run on them.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.places, [Place::Method | Place::ResponseStatus])
            || matches!(self.name, NamePattern::Exact(_))
    }

    /// A field of the set that stands for it in examples.
    pub(crate) fn example_field(&self) -> (Place, String) {
        let preferred = if self.has(Place::Json) { Some(Place::Json) } else { self.places.first().copied() };
        let place = preferred.unwrap_or(Place::Text);
        let name = match &self.name {
            NamePattern::Exact(name) => name.to_string(),
            NamePattern::Prefix(prefix) => format!("{prefix}example"),
            NamePattern::Suffix(suffix) => format!("example{suffix}"),
            NamePattern::Within(part) => part.to_string(),
            NamePattern::Any if has_names(place) => "example".to_owned(),
            NamePattern::Any => String::new(),
        };
        (place, name)
    }
}

/// The place's bit in a set of places.
pub(super) const fn bit(place: Place) -> u32 {
    1 << place as u32
}

/// Whether fields of `place` have names.
fn has_names(place: Place) -> bool {
    !matches!(
        place,
        Place::Method
            | Place::Target
            | Place::Path
            | Place::WebSocket
            | Place::Text
            | Place::Name
            | Place::ResponseStatus
            | Place::ResponseBody
    )
}

/// Splits an example `query.id=value` into place, name and value; `None` if it does not begin with a field's name.
pub(crate) fn parse_assignment(text: &str) -> Option<(Place, &str, &str)> {
    let (field, value) = text.split_once('=')?;
    let whole = |&&(place, places): &&(&str, &'static [Place])| {
        let rest = field.strip_prefix(place);
        places.len() == 1 && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let (text, places) = PLACES.iter().find(whole)?;
    let place = *places.first()?;
    let name = field.get(text.len()..)?.trim_start_matches('.');
    let spaced = name.bytes().any(|byte| byte.is_ascii_whitespace());
    (has_names(place) != name.is_empty() && !spaced).then_some((place, name, value))
}

impl fmt::Display for FieldPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = if self.places == ANY_QUERY { &[Place::Query] } else { self.places };
        let place = PLACES.iter().find(|(_, known)| *known == places).map_or("", |(name, _)| name);
        match &self.name {
            NamePattern::Any => f.write_str(place),
            NamePattern::Exact(name) => write!(f, "{place}.{name}"),
            NamePattern::Prefix(prefix) => write!(f, "{place}.{prefix}*"),
            NamePattern::Suffix(suffix) => write!(f, "{place}.*{suffix}"),
            NamePattern::Within(part) => write!(f, "{place}.*{part}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, place: Place, name: &str) -> bool {
        let field = Field { place, name: name.as_bytes(), value: b"", offset: 0 };
        FieldPattern::parse(pattern).unwrap().matches(&field)
    }

    #[test]
    fn patterns_select_fields() {
        assert!(matches("query.id", Place::Query, "ID") && !matches("query.id", Place::Query, "ids"));
        assert!(matches("body.*", Place::Json, "a.b") && !matches("body.*", Place::Query, "a"));
        assert!(matches("body.json.user.*", Place::Json, "user.name"));
        assert!(!matches("body.json.user.*", Place::Form, "user.name"));
        assert!(matches("args", Place::Cookie, "x") && matches("args", Place::Name, ""));
        assert!(!matches("args", Place::Header, "x"));
        assert!(matches("path", Place::Path, "") && !matches("path", Place::Segment, "2"));
        assert!(
            matches("path.segment.2", Place::Segment, "2") && !matches("path.segment.2", Place::Segment, "3")
        );
        assert!(matches("query.*", Place::Segment, "2") && !matches("query.id", Place::Segment, "2"));
        assert_eq!(FieldPattern::parse("query.*").unwrap().to_string(), "query");
        assert!(matches("body.multipart.*.filename", Place::Multipart, "a.FileName"));
        assert!(!matches("body.multipart.*.filename", Place::Multipart, "filename"));
        assert!(matches("cookie.*__utm*", Place::Cookie, "x__UTMz"));
        assert!(!matches("cookie.*__utm*", Place::Cookie, "__ut"));
    }

    #[test]
    fn unknown_places_are_refused() {
        for text in ["", "querys.id", "query.", "bodys", "Query.id"] {
            assert_eq!(FieldPattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn assignments_name_one_field() {
        assert_eq!(parse_assignment("query.id=1=1"), Some((Place::Query, "id", "1=1")));
        assert_eq!(parse_assignment("method=POST"), Some((Place::Method, "", "POST")));
        assert_eq!(parse_assignment("body.json.a.b=x"), Some((Place::Json, "a.b", "x")));
        for plain in ["1=1", "query=1", "args.x=1", "no", "method.x=1", "query.a b=c"] {
            assert_eq!(parse_assignment(plain), None, "{plain}");
        }
    }
}
