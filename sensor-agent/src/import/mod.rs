//! Rules of others → ours: SecLang of ModSecurity, Suricata's rules for HTTP, Sigma's rules for web servers. Each reader makes
//! drafts in our nouns; what comes out of them has passed our compiler, examples included. What cannot be said in our language is
//! listed with its place and the reason: nothing is left out in silence.
//!
//! The files are untrusted: sizes, counts and depths have limits, and nothing in them names a file outside their own folder.

mod draft;
mod fit;
mod pcre;
mod seclang;
mod sigma;
mod suricata;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

pub(crate) use draft::At;
pub(crate) use draft::quoted;
use draft::{Draft, line};

/// Largest file that is read.
pub(crate) const MAX_FILE_BYTES: u64 = 16 << 20;
/// Most rules taken out of one run.
const MAX_RULES: usize = 100_000;

/// Whose rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// ModSecurity's language, as the OWASP core rule set uses it
    Seclang,
    /// Suricata's rules for HTTP
    Suricata,
    /// Sigma's rules for the logs of web servers and proxies
    Sigma,
}

/// A file of foreign rules.
#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    /// Its name in messages, and without folders the name of what is made of it.
    pub(crate) name: String,
    /// Its content.
    pub(crate) text: String,
}

/// What became of one foreign rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A rule of ours says the same.
    Taken,
    /// A rule of ours says nearly the same.
    TakenWithLoss(Vec<String>),
    /// It is no detection, but steers the rule set it stands in.
    Control(String),
    /// It is not understood, or cannot be said in our language.
    Left(String),
}

/// One foreign rule and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at: At,
    /// As the foreign file calls it.
    pub(crate) name: String,
    /// Directives of the foreign file that it stands for.
    pub(crate) directives: usize,
    pub(crate) fate: Fate,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// Rule files by their names, as TOML.
    pub(crate) files: BTreeMap<String, String>,
    /// Every foreign rule in order.
    pub(crate) entries: Vec<Entry>,
}

/// Reads a file that stands beside a foreign one and is named in it; the reader decides where it may be.
pub(crate) type Beside<'a> = &'a dyn Fn(&str, &str) -> Result<String, String>;

/// Drafts, and what is left out, in the order of the file.
type Read = Result<Draft, Entry>;

/// Converts the rules of all files together.
pub(crate) fn import(format: Format, files: &[Foreign], beside: Beside<'_>) -> Imported {
    let read = match format {
        Format::Seclang => seclang::read(files, beside),
        Format::Suricata => suricata::read(files),
        Format::Sigma => sigma::read(files),
    };
    let mut imported = Imported::default();
    let mut ids = HashMap::new();
    let mut bodies: BTreeMap<String, String> = BTreeMap::new();
    for (number, one) in read.into_iter().enumerate() {
        let entry = match one {
            Ok(draft) if number >= MAX_RULES => {
                entry(&draft, Fate::Left(format!("more than {MAX_RULES} rules")))
            }
            Ok(draft) => take(draft, &mut ids, &mut bodies),
            Err(entry) => entry,
        };
        imported.entries.push(entry);
    }
    imported.files = bodies;
    imported
}

fn entry(draft: &Draft, fate: Fate) -> Entry {
    Entry { at: draft.at.clone(), name: draft.id.clone(), directives: draft.directives, fate }
}

/// Makes a rule of a draft, under an id that no other has.
fn take(mut draft: Draft, ids: &mut HashMap<String, u32>, bodies: &mut BTreeMap<String, String>) -> Entry {
    let base = draft.id.clone();
    let mut copy = ids.get(&base).copied().unwrap_or(0);
    while ids.contains_key(&draft.id) {
        copy += 1;
        draft.id = format!("{base}-{copy}");
    }
    match fit::fit(&mut draft) {
        Err(reason) => entry(&draft, Fate::Left(reason)),
        Ok(text) => {
            ids.insert(base, copy.max(1));
            ids.insert(draft.id.clone(), 1);
            let body = bodies.entry(file_name(&draft.at.file)).or_default();
            let _ = writeln!(body, "# {}", line(&draft.at.to_string(), 200));
            for loss in &draft.losses {
                let _ = writeln!(body, "# not quite: {}", line(loss, 300));
            }
            let _ = writeln!(body, "{text}");
            let losses = std::mem::take(&mut draft.losses);
            entry(&draft, if losses.is_empty() { Fate::Taken } else { Fate::TakenWithLoss(losses) })
        }
    }
}

/// Name of the rule file made of a foreign one.
fn file_name(foreign: &str) -> String {
    let last = foreign.rsplit(['/', '\\']).next().unwrap_or(foreign);
    let stem = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
    let name = draft::kebab(stem);
    format!("{}.toml", if name.is_empty() { "imported" } else { &name })
}
