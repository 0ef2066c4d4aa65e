//! A rule's examples: small requests that are run through the matcher that runs on traffic.

use crate::field::{Fields, Place};
use crate::http::message::{HeaderSpan, Request, Span};

use super::compile::RuleExamples;
use super::doubt::Matched;
use super::error::RuleError;
use super::matcher::{Hit, Matcher, Scope};
use super::source::Example;
use super::{CodedDetectors, RuleSet, Views};

/// Reports every example that does not do what it says; the result is what matched in those that should match.
pub(super) fn run(
    set: &RuleSet,
    coded: &CodedDetectors,
    rules: &[RuleExamples<'_>],
    errors: &mut Vec<RuleError>,
) -> Vec<Matched> {
    let mut matcher = Matcher::new(set);
    let mut matched = Vec::new();
    for RuleExamples { source, rule, examples, .. } in rules {
        let Some(info) = set.rules.get(*rule).map(|rule| &rule.info) else { continue };
        for example in examples {
            let hits = matches(set, coded, &mut matcher, example);
            let own = hits.iter().find(|hit| hit.rule == *rule).map(|hit| hit.confidence);
            if own.is_some() == example.matches {
                let surer = |hit: &&Hit| own.is_some_and(|own| hit.confidence >= own);
                let by = hits.iter().filter(surer).map(|hit| hit.rule).collect();
                let plain = example.matches && is_plain(set, *rule, example, &hits);
                matched.extend(example.matches.then_some(Matched { rule: *rule, by, plain }));
                continue;
            }
            let reason = match example.matches {
                true => format!("example `{}` does not match, expected a match", example.text),
                false => format!("example `{}` matches, expected none", example.text),
            };
            errors.push(RuleError::at(source.name, source.text, example.at, Some(&info.id), reason));
        }
    }
    matched
}

/// Whether a rule matches in nothing but values that are too plain to be looked at in traffic.
fn is_plain(set: &RuleSet, rule: usize, example: &Example, hits: &[Hit]) -> bool {
    let (_, fields) = request(example);
    let plain = |hit: &Hit| fields.iter().nth(hit.field).is_some_and(|field| set.needs_no_look(&field));
    hits.iter().filter(|hit| hit.rule == rule).all(plain)
}

/// The hits of all rules in an example.
fn matches(set: &RuleSet, coded: &CodedDetectors, matcher: &mut Matcher, example: &Example) -> Vec<Hit> {
    let (request, fields) = request(example);
    let scope = Scope {
        request: &request,
        fields: &fields,
        client: example.client,
        process: example.process.as_ref(),
        delay: example.delay,
    };
    let (mut views, mut hits) = (Views::default(), Vec::new());
    for (index, field) in fields.iter().enumerate() {
        views.fill(&field);
        matcher.search(set, scope, index, &field, &views, &mut hits);
        if !set.coded_rules.is_empty() {
            let found = (coded.find)(&field, &views, request.method());
            matcher.search_coded(set, scope, (index, &field, &views), &found.into_iter(), &mut hits);
        }
    }
    hits
}

/// The request that an example describes, as head and as fields.
fn request(example: &Example) -> (Request, Fields) {
    let (mut request, mut fields) = (Request::default(), Fields::default());
    let mut append = |bytes: &[u8]| {
        let start = request.head.len() as u32;
        request.head.extend_from_slice(bytes);
        Span { start, end: request.head.len() as u32 }
    };
    for (place, name, value) in &example.fields {
        fields.push(*place, name.as_bytes(), value.as_bytes(), 0);
        match place {
            Place::Method => request.method = append(value.as_bytes()),
            Place::Target | Place::Path => request.target = append(value.as_bytes()),
            Place::Header => {
                let (name, value) = (append(name.as_bytes()), append(value.as_bytes()));
                request.headers.push(HeaderSpan { name, value });
            }
            _ => {}
        }
    }
    (request, fields)
}
