//! Actions of a rule: its identity and words, what its values pass first, how bad it is, and what steers the rule set.

use sensor_engine::finding::{Class, Decoder, Severity};

use super::lex::split;

/// Most actions of one rule.
const MAX_ACTIONS: usize = 400;

/// The actions, in order, as name and value.
#[derive(Clone, Debug, Default)]
pub(super) struct Actions(Vec<(String, String)>);

impl Actions {
    pub(super) fn parse(text: &str) -> Self {
        let read = |part: &str| {
            let (name, value) = part.split_once(':').unwrap_or((part, ""));
            let value = value.trim();
            let inner = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value);
            (name.trim().to_ascii_lowercase(), inner.replace("\\'", "'"))
        };
        Self(
            split(text, ',')
                .into_iter()
                .filter(|part| !part.trim().is_empty())
                .take(MAX_ACTIONS)
                .map(read)
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn tags(&self) -> Vec<&str> {
        self.all("tag").collect()
    }

    /// The level of strictness from which the rule set runs the rule, from 1.
    pub(super) fn paranoia(&self) -> u32 {
        let level = self.all("tag").find_map(|tag| tag.strip_prefix("paranoia-level/")?.parse().ok());
        level.unwrap_or(1)
    }

    /// How bad, and how sure. Severity alone says both in that language: what adds five points is enough to block on the lowest
    /// level of paranoia, what runs on higher ones only is known to be wrong at times.
    pub(super) fn severity(&self) -> (Severity, f32) {
        let name = self.get("severity").unwrap_or_default().to_ascii_uppercase();
        let (severity, confidence) = match name.as_str() {
            "EMERGENCY" | "ALERT" | "0" | "1" => (Severity::Critical, 0.85),
            "CRITICAL" | "2" => (Severity::High, 0.8),
            "ERROR" | "3" => (Severity::Medium, 0.65),
            "WARNING" | "4" => (Severity::Low, 0.5),
            "NOTICE" | "5" => (Severity::Low, 0.4),
            "INFO" | "DEBUG" | "6" | "7" => (Severity::Info, 0.3),
            _ => (Severity::Medium, 0.6),
        };
        let most = match self.paranoia() {
            0 | 1 => 1.0,
            2 => 0.6,
            3 => 0.45,
            _ => 0.3,
        };
        (severity, f32::min(confidence, most))
    }

    /// Whether the rule only changes what other rules do.
    pub(super) fn steers(&self) -> Option<&'static str> {
        let silent = self.has("nolog") || self.has("pass");
        let blocks = ["block", "deny", "drop", "redirect"].iter().any(|name| self.has(name));
        let detects = blocks || self.has("log") || self.has("severity");
        self.does().filter(|_| silent && !detects)
    }

    /// What it does to the rule set.
    pub(super) fn does(&self) -> Option<&'static str> {
        let kinds = [
            ("ctl", "it changes which rules look at a request (ctl)"),
            ("skipafter", "it skips other rules (skipAfter)"),
            ("skip", "it skips other rules (skip)"),
            ("setvar", "it sets variables of the rule set (setvar)"),
            ("initcol", "it opens a collection of the rule set (initcol)"),
            ("allow", "it lets a request pass (allow)"),
        ];
        kinds.into_iter().find(|(name, _)| self.has(name)).map(|(_, why)| why)
    }
}

/// Attack class and our tags, from the rule's own.
pub(super) fn class(tags: &[&str]) -> (Class, Vec<String>) {
    let has = |part: &str| tags.iter().any(|tag| tag.contains(part));
    let class = match () {
        () if has("attack-sqli") => Class::SqlInjection,
        () if has("attack-fixation") => Class::Session,
        () if has("attack-disclosure") || has("disclosure") => Class::DataExposure,
        () => Class::InputValidation,
    };
    let mut ours = Vec::new();
    for tag in tags {
        let kept = tag
            .strip_prefix("attack-")
            .map(|kind| format!("attack-{}", kind.trim_start_matches("injection-")));
        let other = || {
            let skipped = ["paranoia-level/", "OWASP_CRS", "PCI/", "application-", "language-", "platform-"];
            (!skipped.iter().any(|start| tag.starts_with(start))).then(|| (*tag).to_owned())
        };
        if let Some(tag) = kept.or_else(other)
            && !ours.contains(&tag)
        {
            ours.push(crate::import::draft::line(&tag, 60));
        }
    }
    (class, ours)
}

/// What values pass before they are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Transformations {
    pub(super) decoders: Vec<Decoder>,
    pub(super) ignores_case: bool,
    /// The operator compares the length of the value.
    pub(super) length: bool,
    pub(super) unknown: Vec<String>,
    pub(super) losses: Vec<String>,
}

/// The transformations of a rule; the last `none` forgets those in front of it.
pub(super) fn transformations(actions: &Actions) -> Transformations {
    let all: Vec<String> = actions.all("t").map(str::to_ascii_lowercase).collect();
    let from = all.iter().rposition(|name| name == "none").map_or(0, |at| at + 1);
    let mut found = Transformations::default();
    for name in all.get(from..).unwrap_or_default() {
        add(&mut found, name);
    }
    found.decoders.sort_unstable();
    found.decoders.dedup();
    found
}

fn add(found: &mut Transformations, name: &str) {
    let decoder = match name {
        "urldecode" | "urldecodeuni" => Some(Decoder::Percent),
        "htmlentitydecode" => Some(Decoder::HtmlEntities),
        "jsdecode" | "escapeseqdecode" => Some(Decoder::JsEscapes),
        "cssdecode" => Some(Decoder::CssEscapes),
        "utf8tounicode" | "removenulls" | "replacenulls" => Some(Decoder::Unicode),
        "base64decode" | "base64decodeext" => Some(Decoder::Base64),
        "hexdecode" | "sqlhexdecode" => Some(Decoder::Hex),
        "normalisepath" | "normalizepath" | "normalisepathwin" | "normalizepathwin" => Some(Decoder::Path),
        "replacecomments" | "removecomments" => Some(Decoder::SqlComments),
        _ => None,
    };
    found.decoders.extend(decoder);
    match name {
        "lowercase" | "uppercase" => found.ignores_case = true,
        "compresswhitespace" => {}
        "trim" | "trimleft" | "trimright" | "none" => {}
        "length" => found.length = true,
        "cssdecode" | "removewhitespace" | "cmdline" | "removecommentschar" | "parityeven7bit" => {
            found.losses.push(format!("transformation `{name}` has no exact counterpart"));
        }
        _ if decoder.is_some() => {}
        other => found.unknown.push(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_keep_commas_in_quotes() {
        let actions = Actions::parse(
            "id:1, msg:'a, b\\'s', severity:'CRITICAL',tag:'x',tag:'paranoia-level/2',t:none,chain",
        );
        assert_eq!((actions.get("id"), actions.get("msg")), (Some("1"), Some("a, b's")));
        assert!(actions.has("chain") && actions.tags().len() == 2);
        assert_eq!(actions.severity(), (Severity::High, 0.6));
    }

    #[test]
    fn what_only_steers_is_told_from_what_detects() {
        let steers = |text: &str| Actions::parse(text).steers();
        assert!(steers("id:1,phase:1,pass,nolog,skipAfter:END").is_some_and(|why| why.contains("skipAfter")));
        assert!(steers("id:1,pass,nolog,ctl:ruleRemoveById=1").is_some_and(|why| why.contains("ctl")));
        assert!(steers("id:1,block,setvar:tx.a=1").is_none());
    }

    #[test]
    fn transformations_are_decoders() {
        let of = |text: &str| transformations(&Actions::parse(text));
        let found = of("t:urlDecode,t:none,t:urlDecodeUni,t:htmlEntityDecode,t:lowercase,t:sha1");
        assert_eq!(found.decoders, [Decoder::Percent, Decoder::HtmlEntities]);
        assert!(found.ignores_case && found.unknown == ["sha1"]);
        assert_eq!(of("t:base64Decode,t:none"), Transformations::default());
    }

    #[test]
    fn tags_name_the_class() {
        let (class, tags) = class(&["attack-sqli", "paranoia-level/1", "OWASP_CRS", "capec/1000"]);
        assert_eq!((class, tags), (Class::SqlInjection, vec!["attack-sqli".to_owned(), "capec/1000".into()]));
    }
}
