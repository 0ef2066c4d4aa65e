//! `sensor-agent rules schema`: a JSON schema of rule files, for editors. It is made of the table of keys by which the reader
//! itself goes, and is shipped beside the rules.

use sensor_engine::rule::{
    BEHAVIOUR_KEYS, BEHAVIOUR_RULE_KEYS, CONDITION_KEYS, EXCEPTION_KEYS, Key, Kind, RULE_KEYS, STEP_KEYS,
};
use serde_json::{Map, Value, json};

/// Keys of which a rule, and of which a condition, has one.
const ASKS: &[&str] = &[
    "pattern",
    "phrases",
    "number_from",
    "number_to",
    "entropy_from",
    "entropy_to",
    "addresses",
    "coded",
    "min_length",
    "at_least",
    "at_most",
];

/// The schema, for people to read too.
pub(super) fn text() -> String {
    let mut text = serde_json::to_string_pretty(&schema()).unwrap_or_default();
    text.push('\n');
    text
}

fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sensor rules",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "rule": { "type": "array", "items": { "anyOf": [asking(RULE_KEYS), table(BEHAVIOUR_RULE_KEYS)] } },
            "exception": { "type": "array", "items": exception() },
        },
        "$defs": { "condition": asking(CONDITION_KEYS) },
    })
}

/// A table that asks something of values.
fn asking(keys: &[Key]) -> Value {
    let known = |name: &&&str| keys.iter().any(|key| key.name == **name);
    let choices: Vec<Value> = ASKS.iter().filter(known).map(|name| json!({ "required": [name] })).collect();
    let mut schema = table(keys);
    schema.insert("anyOf".to_owned(), Value::from(choices));
    schema.into()
}

fn exception() -> Value {
    let mut schema = table(EXCEPTION_KEYS);
    schema.insert("anyOf".to_owned(), json!([{ "required": ["path"] }, { "required": ["field"] }]));
    schema.into()
}

fn table(keys: &[Key]) -> Map<String, Value> {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let schema = json!({
        "type": "object", "additionalProperties": false, "properties": properties, "required": required,
    });
    if let Value::Object(schema) = schema { schema } else { Map::new() }
}

fn property(key: &Key) -> Value {
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let mut schema = match key.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::OneOf(names) => json!({ "enum": names }),
        Kind::Texts => texts,
        Kind::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Kind::Bits => json!({ "type": "number", "minimum": 0, "maximum": 8 }),
        Kind::Whole(i64::MIN) => json!({ "type": "integer" }),
        Kind::Whole(least) => json!({ "type": "integer", "minimum": least }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Conditions => json!({ "type": "array", "items": { "$ref": "#/$defs/condition" } }),
        Kind::Behaviour => table(BEHAVIOUR_KEYS).into(),
        Kind::Steps => json!({ "type": "array", "minItems": 1, "items": table(STEP_KEYS) }),
        Kind::Response => json!({ "oneOf": [
            { "const": "score" },
            { "const": "observe" },
            { "const": "kill" },
            { "type": "object", "additionalProperties": false, "required": ["block_secs"],
              "properties": { "block_secs": { "type": "integer", "minimum": 1 } } },
        ] }),
        Kind::Examples => examples(&json!({ "oneOf": [{ "type": "string" }, texts] })),
        Kind::Dialogs => examples(&texts),
    };
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".to_owned(), key.help.into());
    }
    schema
}

/// Both lists of examples, each of `example`.
fn examples(example: &Value) -> Value {
    let list = json!({ "type": "array", "minItems": 1, "items": example });
    json!({ "type": "object", "additionalProperties": false, "required": ["match", "no_match"],
            "properties": { "match": list, "no_match": list } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// `SENSOR_REFRESH=1` writes it anew.
    #[test]
    fn the_shipped_schema_is_that_of_the_reader() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/schema.json");
        if std::env::var_os("SENSOR_REFRESH").is_some() {
            std::fs::write(&path, text()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), text(), "run with SENSOR_REFRESH=1");
    }

    /// Checks a value against the parts of the language of schemas that ours uses.
    fn fits(value: &Value, schema: &Value, root: &Value) -> bool {
        if schema.get("$ref").is_some() {
            return fits(value, &root["$defs"]["condition"], root);
        }
        let of_type = match schema["type"].as_str() {
            Some("string") => value.is_string(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            Some("integer") => value.is_i64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            _ => true,
        };
        let listed = schema["enum"].as_array().is_none_or(|list| list.contains(value));
        let constant = schema.get("const").is_none_or(|one| one == value);
        let branch = |key: &str| {
            schema[key].as_array().is_none_or(|list| list.iter().any(|one| fits(value, one, root)))
        };
        let items = value.as_array().is_none_or(|list| {
            list.iter().all(|one| schema.get("items").is_none_or(|items| fits(one, items, root)))
        });
        let properties = value.as_object().is_none_or(|table| {
            let known = table.iter().all(|(key, value)| match schema["properties"].get(key) {
                Some(property) => fits(value, property, root),
                None => schema["additionalProperties"] != false,
            });
            let has = |key: &Value| key.as_str().is_some_and(|key| table.contains_key(key));
            known && schema["required"].as_array().is_none_or(|list| list.iter().all(has))
        });
        let within = value.as_f64().is_none_or(|number| {
            schema["minimum"].as_f64().is_none_or(|least| number >= least)
                && schema["maximum"].as_f64().is_none_or(|most| number <= most)
        });
        of_type && listed && constant && branch("anyOf") && branch("oneOf") && items && properties && within
    }

    #[test]
    fn shipped_rules_fit_and_broken_ones_do_not() {
        let root = schema();
        for (name, text) in crate::detection::shipped() {
            let value: Value = toml::from_str(&text).unwrap();
            assert!(fits(&value, &root, &root), "{name}");
        }
        let rule = "id = 'a'\ntitle = 't'\nclass = 'JWT'\nseverity = 'low'\nconfidence = 0.5\nfields = ['args']\npattern = 'abcd'\nexamples = { match = ['abcd'], no_match = ['x'] }\n";
        let check = |from: &str, to: &str| {
            let value: Value = toml::from_str(&format!("[[rule]]\n{}", rule.replacen(from, to, 1))).unwrap();
            fits(&value, &root, &root)
        };
        assert!(check("", ""));
        for (from, to) in [
            ("0.5", "2"),
            ("'JWT'", "'jwt?'"),
            ("pattern", "patern"),
            ("['x']", "[1]"),
            ("title = 't'\n", ""),
        ] {
            assert!(!check(from, to), "{to}");
        }
    }
}
