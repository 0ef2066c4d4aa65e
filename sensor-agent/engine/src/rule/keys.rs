//! The keys of rule files, in one table: the reader knows no others, and the schema for editors is made of it.

/// What stands under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// An array of strings.
    Texts,
    /// A number from 0 to 1.
    Share,
    /// A number of bits, from 0 to 8.
    Bits,
    /// A whole number from this one.
    Whole(i64),
    /// `true` or `false`.
    Flag,
    /// An array of tables with [`CONDITION_KEYS`].
    Conditions,
    /// A table with [`BEHAVIOUR_KEYS`].
    Behaviour,
    /// An array of tables with [`STEP_KEYS`].
    Steps,
    /// A table with `match` and `no_match`, each an array of arrays of lines.
    Dialogs,
    /// `"observe"`, `"kill"` or `{ block_secs = … }`.
    Response,
    /// A table with `match` and `no_match`.
    Examples,
}

/// A key of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What stands under it.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
    /// What it means, in one line.
    pub help: &'static str,
}

const fn needed(name: &'static str, kind: Kind, help: &'static str) -> Key {
    Key { name, kind, required: true, help }
}

const fn key(name: &'static str, kind: Kind, help: &'static str) -> Key {
    Key { name, kind, required: false, help }
}

const CLASSES: &[&str] = &[
    "SQL_INJECTION",
    "AUTH_BYPASS",
    "JWT",
    "CSRF",
    "INPUT_VALIDATION",
    "SESSION",
    "ACCESS_CONTROL",
    "DATA_EXPOSURE",
];
const SEVERITIES: &[&str] = &["critical", "high", "medium", "low", "info"];

/// Keys of `[[rule]]`.
pub const RULE_KEYS: &[Key] = &[
    needed("id", Kind::Text, "stable identifier, kebab-case, used once in all files"),
    key("number", Kind::Whole(1), "number for systems that want one; by default derived from the id"),
    key("revision", Kind::Whole(1), "raised with every change"),
    needed("title", Kind::Text, "one line for people"),
    needed("class", Kind::OneOf(CLASSES), "attack class"),
    needed("severity", Kind::OneOf(SEVERITIES), "how bad it is if it is true"),
    needed("confidence", Kind::Share, "how sure a match is; 0.5 is reported and 0.7 blocks by default"),
    key("tags", Kind::Texts, "CWE-…, OWASP-A01 …; attack-… names the kind of attack within the class"),
    needed("fields", Kind::Texts, "where to look: query.id, body.json.*, header.x-*, args"),
    key("except", Kind::Texts, "fields that are left out although `fields` has them"),
    key("decoders", Kind::Texts, "the only decoders that may stand between the value and the match"),
    key("literals", Kind::Texts, "strings of which every match contains one, if the linter finds none"),
    key("pattern", Kind::Text, "regular expression"),
    key("phrases", Kind::Texts, "texts of which one stands in the value"),
    key("number_from", Kind::Whole(i64::MIN), "the value is a whole number from this one"),
    key("number_to", Kind::Whole(i64::MIN), "the value is a whole number up to this one"),
    key("addresses", Kind::Texts, "the value is an address in one of these networks"),
    key("entropy_from", Kind::Bits, "a byte of the value tells so many bits at least: 6 is random base64"),
    key("entropy_to", Kind::Bits, "a byte of the value tells so many bits at most: 0 is one byte repeated"),
    key("coded", Kind::Texts, "a detection in code shows in the value, sql-* or xss-markup"),
    key("coded_from", Kind::Share, "how sure the detection in code must be"),
    key("short_field", Kind::Flag, "needs no literal, because all fields name one short field each"),
    key("case_sensitive", Kind::Flag, "letters' case counts"),
    key("also", Kind::Conditions, "further conditions, of which all must hold"),
    key("any", Kind::Conditions, "further conditions, of which one must hold"),
    key("when", Kind::Text, "condition in CEL over request, response, client and process, asked last"),
    key("min_length", Kind::Whole(1), "least bytes of a value that is looked at"),
    key("max_length", Kind::Whole(1), "most bytes of a value that is looked at"),
    key("documents", Kind::Flag, "a match counts fully in long texts too"),
    key("plain", Kind::Flag, "values that are plain words are looked at too"),
    key("response", Kind::Response, "what a match does, where it is not what the policy says"),
    needed("examples", Kind::Examples, "requests in miniature that must and must not match"),
];

/// Keys of a further condition.
pub const CONDITION_KEYS: &[Key] = &[
    needed("fields", Kind::Texts, "where to look"),
    key("except", Kind::Texts, "fields that are left out"),
    key("pattern", Kind::Text, "regular expression"),
    key("phrases", Kind::Texts, "texts of which one stands in the value"),
    key("number_from", Kind::Whole(i64::MIN), "the value is a whole number from this one"),
    key("number_to", Kind::Whole(i64::MIN), "the value is a whole number up to this one"),
    key("addresses", Kind::Texts, "the value is an address in one of these networks"),
    key("entropy_from", Kind::Bits, "a byte of the value tells so many bits at least: 6 is random base64"),
    key("entropy_to", Kind::Bits, "a byte of the value tells so many bits at most: 0 is one byte repeated"),
    key("min_length", Kind::Whole(1), "least bytes of a value that is looked at"),
    key("max_length", Kind::Whole(1), "most bytes of a value that is looked at"),
    key("at_least", Kind::Whole(0), "least fields that must fulfil it"),
    key("at_most", Kind::Whole(0), "most fields that may fulfil it"),
    key("not", Kind::Flag, "it must not hold"),
];

/// Keys of a `[[rule]]` about behaviour.
pub const BEHAVIOUR_RULE_KEYS: &[Key] = &[
    needed("id", Kind::Text, "stable identifier, kebab-case, used once in all files"),
    key("number", Kind::Whole(1), "number for systems that want one; by default derived from the id"),
    key("revision", Kind::Whole(1), "raised with every change"),
    needed("title", Kind::Text, "one line for people"),
    needed("class", Kind::OneOf(CLASSES), "attack class"),
    needed("severity", Kind::OneOf(SEVERITIES), "how bad it is if it is true"),
    needed("confidence", Kind::Share, "how sure it is; 0.5 is reported and 0.7 blocks by default"),
    key("tags", Kind::Texts, "CWE-…, OWASP-A01 …; attack-… names the kind of attack within the class"),
    key("response", Kind::Response, "what a match does, where it is not what the policy says"),
    needed("behaviour", Kind::Behaviour, "what clients do across transactions"),
    needed("examples", Kind::Dialogs, "rows of requests in miniature that must and must not match"),
];

/// Keys of a rule's `behaviour`.
pub const BEHAVIOUR_KEYS: &[Key] = &[
    needed("key", Kind::Texts, "whose transactions are counted together: client, session, user, route, …"),
    needed("window_secs", Kind::Whole(1), "seconds within which it happens"),
    needed("steps", Kind::Steps, "what happens, one after another"),
];

/// Keys of a step.
pub const STEP_KEYS: &[Key] = &[
    key("method", Kind::Texts, "one of these methods, in upper case"),
    key("path", Kind::Text, "regular expression on the path"),
    key("host", Kind::Text, "regular expression on the host"),
    key("status", Kind::Texts, "one of these: 404, 4xx, none"),
    key("login", Kind::OneOf(&["failed", "succeeded"]), "what became of a login"),
    key("is", Kind::Texts, "all of these words"),
    key("is_not", Kind::Texts, "none of these words"),
    key("min_bytes", Kind::Whole(1), "least bytes of the response's body"),
    key("max_bytes", Kind::Whole(1), "most bytes of the response's body"),
    key("count", Kind::Whole(1), "how often; 1 by default"),
    key("distinct", Kind::Text, "what must differ among those counted"),
];

/// Keys of `[[exception]]`.
pub const EXCEPTION_KEYS: &[Key] = &[
    needed("rule", Kind::Text, "a rule's id, or a beginning of ids and `*`"),
    key("path", Kind::Text, "path as it stands on the wire, or its beginning and `*`"),
    key("field", Kind::Text, "a field as in rules"),
    needed("reason", Kind::Text, "why the findings are harmless"),
];

/// Their names, in order.
pub(super) fn names(keys: &[Key]) -> Vec<&'static str> {
    keys.iter().map(|key| key.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Class, Severity};
    use crate::rule::{RuleSet, RuleSource};

    #[test]
    fn names_of_fixed_sets_are_all_of_them() {
        assert_eq!(CLASSES, Class::ALL.iter().map(|class| class.name()).collect::<Vec<_>>());
        assert_eq!(SEVERITIES, Severity::ALL.iter().map(|severity| severity.name()).collect::<Vec<_>>());
    }

    fn reasons(text: &str) -> String {
        let errors = RuleSet::compile(&[RuleSource { name: "t", text }]).unwrap_err();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_reader_wants_of_each_key_what_the_table_says() {
        for key in RULE_KEYS {
            let wrong = if key.kind == Kind::Flag { "'x'" } else { "true" };
            let beside = if key.name == "coded_from" { "coded = ['sql-*']\n" } else { "" };
            let got = reasons(&format!("[[rule]]\n{beside}{} = {wrong}\n", key.name));
            let expected = format!(
                "`{}` is of type {}",
                key.name,
                if key.kind == Kind::Flag { "string" } else { "boolean" }
            );
            assert!(got.contains(&expected), "{expected}\n{got}");
            let missing = format!("missing key `{}`", key.name);
            assert_eq!(
                reasons("[[rule]]\n").contains(&missing),
                key.required || key.name == "pattern",
                "{}",
                key.name
            );
        }
    }
}
