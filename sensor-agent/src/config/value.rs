//! Readers of single values. Each says what it got and what it expects.

use std::path::PathBuf;
use std::str::FromStr;

use toml::Spanned;
use toml::de::DeValue;

use super::reader::{Fault, Parsed, kind};

/// A value and where it stands.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

fn refuse<T>(value: &Value<'_>, expected: &str) -> Parsed<T> {
    Err(Fault::new(value, format!("got {}, expected {expected}", kind(value))))
}

/// `true` or `false`.
pub(super) fn flag(value: &Value<'_>) -> Parsed<bool> {
    value.get_ref().as_bool().map_or_else(|| refuse(value, "`true` or `false`"), Ok)
}

/// An integer from `least` to `most`.
pub(super) fn integer(least: u64, most: u64) -> impl Fn(&Value<'_>) -> Parsed<u64> {
    move |value| {
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|i| u64::from_str_radix(&i.as_str().replace('_', ""), i.radix()).ok());
        match number {
            Some(number) if (least..=most).contains(&number) => Ok(number),
            _ => refuse(value, &format!("an integer from {least} to {most}")),
        }
    }
}

/// A power of two from `least` to `most`.
pub(super) fn power_of_two(least: u64, most: u64) -> impl Fn(&Value<'_>) -> Parsed<u64> {
    move |value| match integer(least, most)(value) {
        Ok(number) if number.is_power_of_two() => Ok(number),
        _ => refuse(value, &format!("a power of two from {least} to {most}")),
    }
}

/// A number from 0 to 1.
pub(super) fn fraction(value: &Value<'_>) -> Parsed<f64> {
    let text = match value.get_ref() {
        DeValue::Float(number) => number.as_str().replace('_', ""),
        DeValue::Integer(number) => number.as_str().to_owned(),
        _ => String::new(),
    };
    match text.parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => refuse(value, "a number from 0.0 to 1.0"),
    }
}

/// A text.
pub(super) fn text(value: &Value<'_>) -> Parsed<String> {
    value.get_ref().as_str().map_or_else(|| refuse(value, "a text in quotes"), |text| Ok(text.to_owned()))
}

/// A path that is not empty.
pub(super) fn path(value: &Value<'_>) -> Parsed<PathBuf> {
    match value.get_ref().as_str() {
        Some(path) if !path.is_empty() => Ok(path.into()),
        _ => refuse(value, "a path in quotes"),
    }
}

/// A path, or nothing for an empty text.
pub(super) fn optional_path(value: &Value<'_>) -> Parsed<Option<PathBuf>> {
    let path = text(value)?;
    Ok((!path.is_empty()).then(|| path.into()))
}

/// One path, or a list of paths.
pub(super) fn paths(value: &Value<'_>) -> Parsed<Vec<PathBuf>> {
    if value.get_ref().is_array() { list(path)(value) } else { Ok(vec![path(value)?]) }
}

/// A list whose items `item` reads; all wrong items are reported.
pub(super) fn list<T>(item: impl Fn(&Value<'_>) -> Parsed<T>) -> impl Fn(&Value<'_>) -> Parsed<Vec<T>> {
    move |value| {
        let Some(items) = value.get_ref().as_array() else { return refuse(value, "a list in brackets") };
        let mut read = Vec::with_capacity(items.len());
        let mut faults = Vec::new();
        for value in items.iter() {
            match item(value) {
                Ok(value) => read.push(value),
                Err(mut more) => faults.append(&mut more),
            }
        }
        if faults.is_empty() { Ok(read) } else { Err(faults) }
    }
}

/// A text that [`FromStr`] takes; `expected` says what that is.
pub(super) fn parsed<T: FromStr>(expected: &'static str) -> impl Fn(&Value<'_>) -> Parsed<T> {
    move |value| {
        let parsed = value.get_ref().as_str().and_then(|text| text.parse().ok());
        parsed.map_or_else(|| refuse(value, expected), Ok)
    }
}

/// A text that `parse` takes; `parse` says what is wrong with others.
pub(super) fn with<T>(parse: fn(&str) -> Result<T, String>) -> impl Fn(&Value<'_>) -> Parsed<T> {
    move |value| parse(&text(value)?).map_err(|reason| Fault::new(value, reason))
}
