//! The condition of a rule, `selection and not 1 of filter_*`, as alternatives of which each is a list of tests.

use std::collections::BTreeMap;

use crate::import::draft::{Ask, Test};

/// Most words of a condition.
const MAX_TOKENS: usize = 1000;
/// Deepest nesting.
const MAX_DEPTH: usize = 32;
/// Most alternatives; each becomes a rule.
const MAX_ALTERNATIVES: usize = 64;
/// Most tests of one alternative.
const MAX_TESTS: usize = 64;

/// A combination of tests.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
    Test(Test),
}

/// Reads a condition over named selections.
pub(super) fn parse(text: &str, selections: &BTreeMap<String, Expression>) -> Result<Expression, String> {
    if text.contains('|') {
        return Err("condition with an aggregation, which counts over several requests".into());
    }
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().take(MAX_TOKENS + 1).collect();
    if tokens.len() > MAX_TOKENS {
        return Err(format!("condition of more than {MAX_TOKENS} words"));
    }
    let mut reader = Reader { tokens: &tokens, selections };
    let whole = reader.or(0)?;
    match reader.tokens {
        [] => Ok(whole),
        [next, ..] => Err(format!("condition: `{}` is not expected there", short(next))),
    }
}

struct Reader<'t> {
    tokens: &'t [&'t str],
    selections: &'t BTreeMap<String, Expression>,
}

impl Reader<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let is = self.tokens.first().is_some_and(|token| token.eq_ignore_ascii_case(word));
        if is {
            self.tokens = self.tokens.get(1..).unwrap_or_default();
        }
        is
    }

    fn or(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > MAX_DEPTH {
            return Err(format!("condition nested more than {MAX_DEPTH} deep"));
        }
        let mut parts = vec![self.and(depth)?];
        while self.next_is("or") {
            parts.push(self.and(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Or(parts) })
    }

    fn and(&mut self, depth: usize) -> Result<Expression, String> {
        let mut parts = vec![self.not(depth)?];
        while self.next_is("and") {
            parts.push(self.not(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::And(parts) })
    }

    fn not(&mut self, depth: usize) -> Result<Expression, String> {
        if self.next_is("not") {
            return match depth < MAX_DEPTH {
                true => Ok(Expression::Not(Box::new(self.not(depth + 1)?))),
                false => Err(format!("condition nested more than {MAX_DEPTH} deep")),
            };
        }
        if self.next_is("(") {
            let inner = self.or(depth + 1)?;
            return if self.next_is(")") {
                Ok(inner)
            } else {
                Err("condition: a parenthesis is not closed".into())
            };
        }
        let Some((&first, rest)) = self.tokens.split_first() else {
            return Err("condition ends too early".into());
        };
        self.tokens = rest;
        match first.to_ascii_lowercase().as_str() {
            "1" | "any" if self.next_is("of") => self.of(false),
            "all" if self.next_is("of") => self.of(true),
            number if number.parse::<u32>().is_ok() => Err(format!("condition: `{} of`", short(first))),
            _ => self
                .selections
                .get(first)
                .cloned()
                .ok_or_else(|| format!("condition: no selection `{}`", short(first))),
        }
    }

    /// `them`, or `name_*`.
    fn of(&mut self, all: bool) -> Result<Expression, String> {
        let Some((&pattern, rest)) = self.tokens.split_first() else {
            return Err("condition ends too early".into());
        };
        self.tokens = rest;
        let fits = |name: &str| match pattern.strip_suffix('*') {
            _ if pattern.eq_ignore_ascii_case("them") => !name.starts_with('_'),
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        let parts: Vec<Expression> =
            self.selections.iter().filter(|(name, _)| fits(name)).map(|(_, part)| part.clone()).collect();
        match (parts.is_empty(), all) {
            (true, _) => Err(format!("condition: no selection is named `{}`", short(pattern))),
            (_, true) => Ok(Expression::And(parts)),
            (_, false) => Ok(Expression::Or(parts)),
        }
    }
}

fn short(text: &str) -> String {
    crate::import::draft::line(text, 40)
}

/// The alternatives of an expression, each a list of tests that must all hold.
pub(super) fn alternatives(expression: &Expression) -> Result<Vec<Vec<Test>>, String> {
    spread(expression, false)
}

fn spread(expression: &Expression, not: bool) -> Result<Vec<Vec<Test>>, String> {
    match expression {
        Expression::Test(test) => Ok(vec![vec![Test { not: test.not != not, ..test.clone() }]]),
        Expression::Not(inner) => spread(inner, !not),
        Expression::And(parts) if not => sum(parts, not),
        Expression::Or(parts) if !not => sum(parts, not),
        Expression::And(parts) | Expression::Or(parts) => {
            let mut all = vec![Vec::new()];
            for part in parts {
                let some = spread(part, not)?;
                all =
                    all.iter().flat_map(|one| some.iter().map(|other| [&one[..], other].concat())).collect();
                check(&all)?;
            }
            Ok(all)
        }
    }
}

fn sum(parts: &[Expression], not: bool) -> Result<Vec<Vec<Test>>, String> {
    let mut all = Vec::new();
    for part in parts {
        all.extend(spread(part, not)?);
        merge(&mut all);
        check(&all)?;
    }
    Ok(all)
}

fn check(all: &[Vec<Test>]) -> Result<(), String> {
    if all.len() > MAX_ALTERNATIVES || all.iter().any(|one| one.len() > MAX_TESTS) {
        return Err(format!(
            "condition of more than {MAX_ALTERNATIVES} alternatives or {MAX_TESTS} tests each"
        ));
    }
    Ok(())
}

/// Joins the last alternative with one that asks the same field for another pattern.
fn merge(all: &mut Vec<Vec<Test>>) {
    let Some(last) = all.pop() else { return };
    let [Test { ask: Ask::Pattern { text, case_sensitive }, fields, not: false, .. }] = &last[..] else {
        return all.push(last);
    };
    for one in all.iter_mut() {
        let [
            Test {
                ask: Ask::Pattern { text: known, case_sensitive: cased }, fields: same, not: false, ..
            },
        ] = &mut one[..]
        else {
            continue;
        };
        if *same == *fields && *cased == *case_sensitive && known.len() + text.len() < MAX_MERGED {
            *known = format!("(?:{known}|{text})");
            return;
        }
    }
    all.push(last);
}

/// Longest pattern that is made by joining.
const MAX_MERGED: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(condition: &str) -> String {
        let test = |field: &str| {
            let ask = Ask::Pattern { text: field.to_owned(), case_sensitive: false };
            Expression::Test(Test::new(vec![field.to_owned()], ask))
        };
        let names = ["a", "b", "filter_1", "filter_2", "_hidden"];
        let selections = names.iter().map(|name| ((*name).to_owned(), test(name))).collect();
        let shown = |test: &Test| format!("{}{}", if test.not { "!" } else { "" }, test.fields.join(","));
        let all = parse(condition, &selections).and_then(|whole| alternatives(&whole));
        match all {
            Ok(all) => all
                .iter()
                .map(|one| one.iter().map(shown).collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
                .join(" | "),
            Err(reason) => format!("refused: {reason}"),
        }
    }

    #[test]
    fn conditions_are_alternatives() {
        let rows = [
            ("a", "a"),
            ("a and not b", "a !b"),
            ("a and not 1 of filter_*", "a !filter_1 !filter_2"),
            ("a and not all of filter_*", "a !filter_1 | a !filter_2"),
            ("not (a or b) and filter_1", "!a !b filter_1"),
            ("(a or b) and filter_1", "a filter_1 | b filter_1"),
            ("all of them", "a b filter_1 filter_2"),
            ("NOT NOT a", "a"),
        ];
        for (condition, expected) in rows {
            assert_eq!(check(condition), expected, "{condition}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        let deep = "(".repeat(100);
        let rows = [
            ("a | count() > 5", "aggregation"),
            ("a and", "ends too early"),
            ("(a", "not closed"),
            ("a b", "`b` is not expected there"),
            ("c", "no selection `c`"),
            ("1 of x*", "no selection is named `x*`"),
            ("2 of filter_*", "`2 of`"),
            (&deep, "nested more than"),
        ];
        for (condition, expected) in rows {
            assert!(check(condition).contains(expected), "{condition}: {}", check(condition));
        }
        let many = ["(a or b or filter_1 or filter_2)"; 5].join(" and ");
        assert!(check(&many).contains("more than 64 alternatives"));
    }
}
