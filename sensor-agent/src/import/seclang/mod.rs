//! SecLang, the language of ModSecurity and Coraza, as the OWASP core rule set uses it: `SecRule VARIABLES "OPERATOR" "ACTIONS"`,
//! chains of them, and around them directives that steer the rule set (paranoia levels, scores, exclusions). The latter are no
//! detections and are listed as such: what is done on a finding is the policy's business here.

mod actions;
mod lex;
mod operator;
mod variables;

use std::collections::HashMap;

use sensor_engine::finding::Decoder;

use super::draft::{Ask, At, Draft, Test, client_in, kebab, line};
use super::fit::is_single;
use super::{Beside, Entry, Fate, Foreign, Read};
use actions::Actions;
use lex::Directive;
use operator::{Macros, Operator};
use variables::Target;

/// Most rules of one chain.
const MAX_CHAIN: usize = 16;
/// Most variables of a file that are followed.
const MAX_FLAGS: usize = 1000;

/// The rules of all files: variables that one file sets are known in the others.
pub(super) fn read(files: &[Foreign], beside: Beside<'_>) -> Vec<Read> {
    let read: Vec<(&Foreign, Vec<Directive>)> =
        files.iter().map(|file| (file, lex::directives(&file.text))).collect();
    let macros = macros(read.iter().flat_map(|(_, directives)| directives));
    let mut found = Vec::new();
    for (file, directives) in &read {
        let mut reader = Reader { file: &file.name, macros: &macros, beside, flags: HashMap::new() };
        reader.all(directives, &mut found);
    }
    found
}

/// What `setvar` gives to variables of the rule set, where it is a fixed text.
fn macros<'d>(directives: impl Iterator<Item = &'d Directive>) -> Macros {
    let mut macros = Macros::new();
    let acting =
        directives.filter(|one| one.name.starts_with("SecAction") || one.name.starts_with("SecRule"));
    for actions in acting.filter_map(|one| one.arguments.last()).map(|text| Actions::parse(text)) {
        for set in actions.all("setvar") {
            let Some((name, value)) = set.split_once('=') else { continue };
            let fixed = !value.contains("%{") && !value.starts_with(['+', '-']);
            let setting = name.to_ascii_lowercase();
            // Scores are set and reset all the time; settings have words in them.
            if fixed && value.contains(|one: char| one.is_ascii_alphabetic())
                || setting.contains("max")
                || setting.contains("limit")
            {
                macros.entry(setting).or_insert_with(|| value.to_owned());
            }
        }
    }
    macros
}

struct Reader<'a> {
    file: &'a str,
    macros: &'a Macros,
    beside: Beside<'a>,
    /// Variables with values, and the tests that set them.
    flags: HashMap<(String, String), Vec<Test>>,
}

impl Reader<'_> {
    fn all(&mut self, directives: &[Directive], found: &mut Vec<Read>) {
        let mut rest = directives;
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            match first.name.to_ascii_lowercase().as_str() {
                "secrule" => {
                    let length = 1 + rest.iter().take(MAX_CHAIN - 1).take(chain_length(first, rest)).count();
                    let chain = &directives[directives.len() - rest.len() - 1..][..length];
                    rest = rest.get(length - 1..).unwrap_or_default();
                    found.push(self.rule(chain));
                }
                "secaction" | "secmarker" => found.push(Err(self.steering(first))),
                name if name.starts_with("sec") => {
                    let reason = format!(
                        "directive `{}` is a setting of the engine it is written for",
                        line(&first.name, 60)
                    );
                    found.push(Err(self.entry(first, 1, Fate::Control(reason))));
                }
                _ => {
                    let reason = format!("directive `{}`", line(&first.name, 60));
                    found.push(Err(self.entry(first, 1, Fate::Left(reason))));
                }
            }
        }
    }

    fn at(&self, directive: &Directive) -> At {
        At { file: self.file.to_owned(), line: directive.line }
    }

    fn entry(&self, directive: &Directive, directives: usize, fate: Fate) -> Entry {
        let actions = actions_of(directive);
        let name = match (actions.get("id"), directive.arguments.first()) {
            (Some(id), _) => id.to_owned(),
            (None, Some(first)) if directive.name == "SecMarker" => first.clone(),
            _ => directive.name.clone(),
        };
        Entry { at: self.at(directive), name: line(&name, 80), directives, fate }
    }

    fn steering(&self, directive: &Directive) -> Entry {
        let why = actions_of(directive).steers().unwrap_or("it does something for every request");
        let why = if directive.name.eq_ignore_ascii_case("SecMarker") { "a place to skip to" } else { why };
        self.entry(directive, 1, Fate::Control(why.to_owned()))
    }

    fn rule(&mut self, chain: &[Directive]) -> Read {
        let Some(head) = chain.first() else {
            return Err(self.entry(&nothing(), 0, Fate::Left("no rule".into())));
        };
        let targets: Vec<Target> = chain
            .iter()
            .map(|one| variables::target(one.arguments.first().map_or("", String::as_str)))
            .collect();
        let read = self.draft(head, chain, &targets);
        if let Ok(draft) = &read {
            self.set_flags(chain, draft);
        }
        let control = control(&actions_of(head), chain, &targets).map(Fate::Control);
        control.map_or(read, Err).map_err(|fate| self.entry(head, chain.len(), fate))
    }

    fn draft(&self, head: &Directive, chain: &[Directive], targets: &[Target]) -> Result<Draft, Fate> {
        let actions = actions_of(head);
        if chain.last().is_some_and(|last| actions_of(last).has("chain")) {
            return Err(Fate::Left(format!("a chain without its end, or of more than {MAX_CHAIN} rules")));
        }
        let (class, tags) = actions::class(&actions.tags());
        let (severity, confidence) = actions.severity();
        let id = actions.get("id").unwrap_or_default();
        let title = actions.get("msg").map_or_else(|| format!("rule {id}"), |msg| line(msg, 200));
        let mut draft = Draft {
            at: self.at(head),
            directives: chain.len(),
            id: kebab(&format!("seclang-{id}")),
            number: id.parse().ok().filter(|number| *number > 0),
            revision: 1,
            title: if title.is_empty() { format!("rule {id}") } else { title },
            class,
            severity,
            confidence,
            tags,
            tests: Vec::new(),
            any: Vec::new(),
            when: Vec::new(),
            client: None,
            losses: Vec::new(),
        };
        for (one, target) in chain.iter().zip(targets) {
            self.test(one, target, &mut draft).map_err(|reason| match chain.len() {
                1 => Fate::Left(reason),
                _ => Fate::Left(format!("{reason} (line {} of its chain)", one.line)),
            })?;
        }
        note_phase(&mut draft, &actions);
        Ok(draft)
    }

    /// Adds what one rule of a chain asks.
    fn test(&self, directive: &Directive, target: &Target, draft: &mut Draft) -> Result<(), String> {
        if let Some(tests) = self.flag(target, directive) {
            draft.tests.extend(tests);
            return Ok(());
        }
        if let [name] = &target.unknown[..]
            && name == "REMOTE_ADDR"
            && target.fields.is_empty()
            && target.own.is_empty()
        {
            return client(directive, draft);
        }
        let own = target.own.first().map(|name| format!("variable `{}` of the rule set", line(name, 60)));
        let unknown = target.unknown.first().map(|name| format!("variable `{}`", line(name, 60)));
        if let Some(reason) = own.or(unknown) {
            return Err(reason);
        }
        let operator = Operator::parse(directive.arguments.get(1).map_or("", String::as_str));
        let actions = actions_of(directive);
        let passed = actions::transformations(&actions);
        if let Some(name) = passed.unknown.first() {
            return Err(format!("transformation `{}`", line(name, 40)));
        }
        let mut target = target.clone();
        if target.matched {
            let first = draft.tests.first().ok_or("`MATCHED_VAR` without a rule in front of it")?;
            target.fields.extend(
                first
                    .fields
                    .iter()
                    .filter(|field| !target.fields.contains(field))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            draft.lose("`MATCHED_VAR` is read as any value of the rule in front of it");
        }
        if target.fields.is_empty() {
            return Err("no variable that is looked at".into());
        }
        let mut test = if target.counted {
            self.counting(&operator, &target)?
        } else if passed.length {
            self.length(&operator, &target)?
        } else {
            let asked = operator.ask(!passed.ignores_case, self.macros, self.file, self.beside)?;
            asked.losses.into_iter().for_each(|loss| draft.lose(loss));
            Test { not: operator.not, ..Test::new(target.fields.clone(), asked.ask) }
        };
        coded_fields(&mut test, draft)?;
        negated(&test, draft)?;
        test.except.clone_from(&target.except);
        test.decoders = decoders(&test, passed.decoders);
        target.losses.iter().for_each(|loss| draft.lose(*loss));
        passed.losses.into_iter().for_each(|loss| draft.lose(loss));
        draft.tests.push(test);
        Ok(())
    }

    /// The tests of the rule that sets the variable that is asked for.
    fn flag(&self, target: &Target, directive: &Directive) -> Option<Vec<Test>> {
        let [name] = &target.own[..] else { return None };
        let operator = Operator::parse(directive.arguments.get(1)?);
        let key = (name.to_ascii_lowercase().replace(':', "."), operator.argument.trim().to_owned());
        let asked =
            matches!(operator.name.as_str(), "eq" | "streq") && !operator.not && target.fields.is_empty();
        self.flags.get(&key).filter(|_| asked).cloned()
    }

    /// Variables that a rule without a chain sets when it matches, for rules behind it that ask for them.
    fn set_flags(&mut self, chain: &[Directive], draft: &Draft) {
        let ([rule], [_]) = (chain, &draft.tests[..]) else { return };
        for set in actions_of(rule).all("setvar") {
            let Some((name, value)) = set.split_once('=') else { continue };
            if self.flags.len() < MAX_FLAGS && !value.contains("%{") && !value.starts_with(['+', '-']) {
                self.flags.insert((name.to_ascii_lowercase(), value.to_owned()), draft.tests.clone());
            }
        }
    }

    /// `&ARGS "@gt 255"`
    fn counting(&self, operator: &Operator<'_>, target: &Target) -> Result<Test, String> {
        let (from, to) = operator.range(self.macros)?;
        let bound = |bound: Option<i64>| bound.map(|bound| u32::try_from(bound.max(0)).unwrap_or(u32::MAX));
        let test = Test::new(target.fields.clone(), Ask::Any);
        if operator.not && (from, to) == (Some(0), Some(0)) {
            return Ok(Test { at_least: Some(1), ..test });
        }
        Ok(Test { not: operator.not, at_least: bound(from).or(Some(0)), at_most: bound(to), ..test })
    }

    /// `t:length` and a comparison.
    fn length(&self, operator: &Operator<'_>, target: &Target) -> Result<Test, String> {
        let (from, to) = operator.range(self.macros)?;
        let bound = |bound: Option<i64>| bound.map(|bound| u32::try_from(bound.max(1)).unwrap_or(u32::MAX));
        let test = Test::new(target.fields.clone(), Ask::Any);
        Ok(Test { not: operator.not, min_length: bound(from), max_length: bound(to), ..test })
    }
}

/// Who sends a request is no field but a condition.
fn client(directive: &Directive, draft: &mut Draft) -> Result<(), String> {
    let operator = Operator::parse(directive.arguments.get(1).map_or("", String::as_str));
    if !matches!(operator.name.as_str(), "ipmatch" | "streq") || operator.argument.contains("%{") {
        return Err(format!("operator `@{}` on `REMOTE_ADDR`", line(&operator.name, 40)));
    }
    let networks: Vec<String> = operator.argument.split(',').map(|one| one.trim().to_owned()).collect();
    let inside = networks.first().and_then(|network| network.split('/').next()).unwrap_or_default();
    draft.client = Some(if operator.not { OUTSIDE.to_owned() } else { inside.to_owned() });
    draft.when.push(client_in(&networks, operator.not));
    Ok(())
}

/// An address that hardly any list has: it is reserved for documentation.
const OUTSIDE: &str = "198.51.100.77";

fn nothing() -> Directive {
    Directive { line: 0, name: String::new(), arguments: Vec::new() }
}

fn actions_of(directive: &Directive) -> Actions {
    let last = directive.arguments.len().checked_sub(1);
    let has = !directive.name.eq_ignore_ascii_case("SecRule") || directive.arguments.len() > 2;
    Actions::parse(last.filter(|_| has).and_then(|at| directive.arguments.get(at)).map_or("", String::as_str))
}

/// How many of the directives behind `first` belong to its chain.
fn chain_length(first: &Directive, behind: &[Directive]) -> usize {
    let chains = |one: &Directive| actions_of(one).has("chain");
    if !chains(first) {
        return 0;
    }
    let rules = behind.iter().take(MAX_CHAIN).take_while(|one| one.name.eq_ignore_ascii_case("SecRule"));
    let end = rules.clone().position(|one| !chains(one));
    end.map_or_else(|| rules.count(), |end| end + 1)
}

/// Why a rule is no detection.
fn control(actions: &Actions, chain: &[Directive], targets: &[Target]) -> Option<String> {
    let own = |target: &Target| target.fields.is_empty() && !target.own.is_empty();
    if targets.iter().all(own) {
        let name = targets.first().and_then(|target| target.own.first()).map_or("", String::as_str);
        return Some(format!("it looks at variables of the rule set only (`{}`)", line(name, 60)));
    }
    let silent = actions.has("pass") || actions.has("nolog");
    let detects = |one: &Actions| one.has("msg") || one.has("severity") || one.has("log");
    let members = || chain.iter().map(actions_of);
    if !silent || members().any(|one| detects(&one)) {
        return actions.steers().map(str::to_owned);
    }
    members().find_map(|one| one.does()).map(str::to_owned)
}

/// The coded detectors pass over some places.
fn coded_fields(test: &mut Test, draft: &mut Draft) -> Result<(), String> {
    if !matches!(test.ask, Ask::Coded(_)) {
        return Ok(());
    }
    let before = test.fields.len();
    test.fields
        .retain(|field| !matches!(field.as_str(), "method" | "target") && !field.starts_with("response"));
    if test.fields.is_empty() {
        return Err("the coded detectors do not look there".into());
    }
    if test.fields.len() < before {
        draft.lose("the coded detectors look at the parts of the target in place of the target");
    }
    draft.lose("our own detector of SQL or script is asked in place of the other one");
    Ok(())
}

/// There, a negation holds if some value does not match, and none holds where there is no value; ours holds if no value matches.
/// The two are the same for a field that has one value.
fn negated(test: &Test, draft: &mut Draft) -> Result<(), String> {
    if !test.not || test.counts() {
        return Ok(());
    }
    let one_value =
        |field: &String| is_single(field) || matches!(field.as_str(), "target" | "path" | "response.body");
    if !test.fields.iter().all(one_value) || test.fields.len() > 1 {
        return Err("negated over many fields: each value that does not match would count".into());
    }
    if !draft.tests.is_empty() {
        draft.tests.push(Test { at_least: Some(1), ..Test::new(test.fields.clone(), Ask::Any) });
    }
    Ok(())
}

/// Decoders between the wire and what the rule sees. Parameters are percent-decoded before rules see them there.
fn decoders(test: &Test, mut passed: Vec<Decoder>) -> Option<Vec<Decoder>> {
    if matches!(test.ask, Ask::Coded(_)) || test.fields.iter().any(|field| field.starts_with("response")) {
        return None;
    }
    let decoded = ["query", "body", "name", "cookie", "path"];
    let is_decoded = test.fields.iter().any(|field| decoded.iter().any(|place| field.starts_with(place)));
    if is_decoded && !passed.contains(&Decoder::Percent) {
        passed.insert(0, Decoder::Percent);
    }
    Some(passed)
}

fn note_phase(draft: &mut Draft, actions: &Actions) {
    let response =
        draft.tests.iter().any(|test| test.fields.iter().any(|field| field.starts_with("response")));
    let counts_arguments = draft
        .tests
        .iter()
        .any(|test| test.counts() && test.fields.iter().any(|field| field.starts_with("body")));
    if counts_arguments && actions.get("phase").is_some_and(|phase| !matches!(phase, "1" | "request_headers"))
    {
        draft.lose("fields of the query and of the body are counted apart");
    }
    if response
        && draft
            .tests
            .iter()
            .any(|test| test.fields.iter().any(|field| field == "query" || field.starts_with("body")))
    {
        draft.lose("of the request, a rule on responses sees the head only");
    }
}
