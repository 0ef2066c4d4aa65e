//! Spans of time as people write them: `90`, `10m`, `1h30m`. One notation for the command line and the API, so that a
//! value can be copied from one to the other.

use std::time::Duration;

const UNITS: &[(char, u64)] = &[('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Longest span taken: ten years. Longer ones are mistakes; what shall last for good has no span.
const LONGEST_SECS: u64 = 315_360_000;

/// Reads `600` (seconds), `10m`, `1h30m`, `2d`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let secs = seconds(text).ok_or_else(|| {
        format!("`{}` is no duration, expected one like `600`, `10m` or `1h30m`", safe(text))
    })?;
    match secs {
        0 => Err(format!("`{text}` is no time at all, expected at least `1s`")),
        1..=LONGEST_SECS => Ok(Duration::from_secs(secs)),
        _ => {
            Err(format!("`{text}` is longer than ten years, leave the duration out for an entry without end"))
        }
    }
}

fn seconds(text: &str) -> Option<u64> {
    if let Ok(secs) = text.parse() {
        return text.bytes().all(|b| b.is_ascii_digit()).then_some(secs);
    }
    let mut total = 0u64;
    let mut rest = text;
    let mut units = UNITS;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let at = units.iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(units[at].1)?)?;
        units = &units[at + 1..];
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(total)
}

fn safe(text: &str) -> String {
    crate::printable::short(text, 40)
}

/// Writes a span in at most two units: `1h 30m`, `45s`.
pub(crate) fn human(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut parts = Vec::new();
    for (unit, secs) in UNITS {
        if rest >= *secs && parts.len() < 2 {
            parts.push(format!("{}{unit}", rest / secs));
            rest %= secs;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, secs) in [("600", 600), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("1w1s", 604_801)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(secs)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in
            ["", "m", "10x", "1m1h", "1m1m", "-5", "+5", "1.5h", "99999999999999999999w", "1h 30m", "5é"]
        {
            let error = parse(text).unwrap_err();
            assert!(error.contains("expected one like"), "{text}: {error}");
        }
        assert_eq!(parse("0").unwrap_err(), "`0` is no time at all, expected at least `1s`");
        assert!(parse("11y").is_err());
        assert!(parse("600w").unwrap_err().contains("longer than ten years"));
    }

    #[test]
    fn durations_are_written_in_two_units() {
        for (secs, text) in [(0, "0s"), (59, "59s"), (5400, "1h 30m"), (90_061, "1d 1h"), (604_800, "1w")] {
            assert_eq!(human(Duration::from_secs(secs)), text);
        }
    }
}
