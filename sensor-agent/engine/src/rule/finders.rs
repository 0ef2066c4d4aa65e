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
