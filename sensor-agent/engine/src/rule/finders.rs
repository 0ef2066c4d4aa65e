//! Which literals are looked for in a value. Rules about short values, which are most of those with common literals, need none of
//! theirs found in a long text, nor do rules about requests in a response: what is not looked for is neither found nor compared.

use crate::field::{Field, Place};

use super::Rule;
use super::fields::bit;
use super::finder::{Finder, LONG, Literal};

/// A finder for each kind of value; `None` where no rule has a literal for it.
#[derive(Debug, Default)]
pub(super) struct Finders {
    /// For values of requests.
    request: Option<Finder>,
    /// For values of [`LONG`] bytes or more of requests' bodies.
    long: Option<Finder>,
    /// For what responses hold.
    response: Option<Finder>,
}

impl Finders {
    /// Finds the literals of these rules.
    pub(super) fn new(literals: &[Literal], rules: &[Rule]) -> Self {
        let of = |wanted: fn(&Rule) -> bool| {
            let rule = |literal: &Literal| rules.get(literal.rule as usize);
            let some: Vec<&Literal> =
                literals.iter().filter(|literal| rule(literal).is_some_and(wanted)).collect();
            (!some.is_empty()).then(|| Finder::new(&some))
        };
        Self {
            request: of(|rule| rule.places & !RESPONSE != 0),
            long: of(|rule| rule.places & BODY != 0 && *rule.length.end() >= LONG),
            response: of(|rule| rule.places & RESPONSE != 0),
        }
    }

    /// The one for values like this.
    pub(super) fn of(&self, field: &Field<'_>) -> Option<&Finder> {
        if field.place.is_response() {
            return self.response.as_ref();
        }
        let long = field.value.len() >= LONG && field.place.is_body();
        if long { self.long.as_ref() } else { self.request.as_ref() }
    }
}

/// The places of responses.
const RESPONSE: u32 = bit(Place::ResponseStatus) | bit(Place::ResponseHeader) | bit(Place::ResponseBody);
/// The places of requests that are no values of bodies.
const HEAD: u32 = bit(Place::Method)
    | bit(Place::Target)
    | bit(Place::Path)
    | bit(Place::Segment)
    | bit(Place::Query)
    | bit(Place::Header)
    | bit(Place::Cookie)
    | bit(Place::Name);
/// The places of requests' bodies.
const BODY: u32 = !(HEAD | RESPONSE);

#[cfg(test)]
mod tests {
    use super::super::finder::Seen;
    use super::super::{RuleSet, RuleSource};
    use super::*;

    /// Rules about short values, about any, about headers, and about responses, with one literal.
    const RULES: &[(&str, &str)] = &[
        ("short", "fields = [\"args\"]\nmax_length = 100"),
        ("any", "fields = [\"args\"]"),
        ("header", "fields = [\"header.x-*\"]"),
        ("response", "fields = [\"response.body\"]\nmin_length = 1"),
    ];

    fn set() -> RuleSet {
        let rule = |(id, keys): &(&str, &str)| {
            format!(
                "[[rule]]\nid = \"{id}\"\ntitle = \"x\"\nclass = \"INPUT_VALIDATION\"\nseverity = \"high\"\nconfidence = 0.9\n\
                 {keys}\npattern = 'probe'\nexamples = {{ match = [\"{0}a probe\"], no_match = [\"{0}no\"] }}\n",
                match *id {
                    "header" => "header.x-a=",
                    "response" => "response.body=",
                    _ => "",
                }
            )
        };
        let text: String = RULES.iter().map(rule).collect();
        RuleSet::compile(&[RuleSource { name: "t.toml", text: &text }]).unwrap()
    }

    #[test]
    fn values_are_searched_for_what_rules_ask_of_them() {
        let set = set();
        let rows: &[(Place, usize, &[&str])] = &[
            (Place::Query, 10, &["short", "any", "header"]),
            (Place::Json, LONG - 1, &["short", "any", "header"]),
            (Place::Json, LONG, &["any"]),
            (Place::Header, LONG, &["short", "any", "header"]),
            (Place::Name, LONG, &["short", "any", "header"]),
            (Place::ResponseBody, 10, &["response"]),
            (Place::ResponseBody, LONG, &["response"]),
        ];
        for &(place, len, expected) in rows {
            let mut value = b"probe".to_vec();
            value.resize(len, b' ');
            let mut seen = Seen::new(RULES.len());
            let field = Field { place, name: b"x", value: &value, offset: 0 };
            set.finders.of(&field).unwrap().find(&value, 0, &mut seen);
            let found: Vec<&str> = seen.rules().iter().map(|rule| RULES[*rule as usize].0).collect();
            assert_eq!(found, expected, "{place:?}, {len}");
        }
    }
}
