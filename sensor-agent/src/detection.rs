//! Rule files → a compiled [`RuleSet`]. All directories are loaded together and all or nothing counts: a set with a
//! broken file is refused with every mistake, and whatever rules are running stay in force.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rust_embed::RustEmbed;
use sensor_engine::detect::Detector;
use sensor_engine::rule::{RuleError, RuleSet, RuleSource};

use crate::config::{Detection, OWN_RULES, SHIPPED_RULES, read_bounded};
use crate::token_keys::Keys;

/// Largest rule file.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Most rule files in one directory and those within it.
const MAX_FILES: usize = 1000;

/// The rules that come with the program.
#[derive(RustEmbed)]
#[folder = "../rules"]
#[allow_missing = true]
struct Shipped;

/// Name and content of every rule file in the program, in the order of names.
pub(crate) fn shipped() -> Vec<(String, String)> {
    let mut files: Vec<_> = Shipped::iter()
        .filter(|name| name.ends_with(".toml"))
        .filter_map(|name| Some((name.to_string(), Shipped::get(&name)?)))
        .map(|(name, file)| (name, String::from_utf8_lossy(&file.data).into_owned()))
        .collect();
    files.sort();
    files
}

/// Name and content of what tells people and editors how rules are written: it is installed beside them.
pub(crate) fn about_rules() -> impl Iterator<Item = (&'static str, String)> {
    ["README.md", "schema.json"].into_iter().filter_map(|name| {
        let file = Shipped::get(name)?;
        Some((name, String::from_utf8_lossy(&file.data).into_owned()))
    })
}

/// The content of one rule file, and what it is called in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Path, or `(built in) name`.
    pub(crate) name: String,
    /// TOML.
    pub(crate) text: String,
}

/// Rules that were loaded, and from where.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The compiled rules.
    pub(crate) rules: RuleSet,
    /// Files that they came from.
    pub(crate) files: usize,
    /// What an operator should know at every start, such as missing directories.
    pub(crate) notes: Vec<String>,
    /// What is doubtful about single rules.
    pub(crate) doubts: Vec<String>,
}

/// Why no rules were loaded: every mistake, one a line.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Vec<String>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rules are refused")?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {}", crate::printable::line(mistake)))
    }
}

impl std::error::Error for Refused {}

/// Loads and compiles the rules of all `dirs`.
pub(crate) fn load(dirs: &[PathBuf]) -> Result<Loaded, Refused> {
    let mut notes = Vec::new();
    let mut mistakes = Vec::new();
    let mut sources = Vec::new();
    for dir in dirs {
        match directory(dir, &mut notes) {
            Ok(mut more) => sources.append(&mut more),
            Err(mut more) => mistakes.append(&mut more),
        }
    }
    if dirs.is_empty() {
        notes.push("no rules directory is configured, the rules inside the program are in force".to_owned());
        sources = built_in();
    }
    if !mistakes.is_empty() {
        return Err(Refused(mistakes));
    }
    let (rules, mut doubts) = compile(&sources).map_err(Refused)?;
    doubts.extend(Detector::idle_exceptions(&rules).map(|exception| exception.idle().to_string()));
    Ok(Loaded { rules, files: sources.len(), notes, doubts })
}

/// As [`load`], with the keys that tokens are checked against.
pub(crate) fn load_with_keys(settings: &Detection) -> Result<Loaded, Refused> {
    let keys = Keys::read(&settings.jwt_keys);
    let rules = load(&settings.rules_dirs);
    match (rules, keys) {
        (Ok(loaded), Ok(keys)) => {
            Ok(Loaded { rules: loaded.rules.with_token_keys(Arc::new(keys)), ..loaded })
        }
        (rules, keys) => {
            let mistakes = rules.err().into_iter().flat_map(|Refused(mistakes)| mistakes);
            Err(Refused(mistakes.chain(keys.err().into_iter().flatten()).collect()))
        }
    }
}

fn built_in() -> Vec<Source> {
    let named = |(name, text)| Source { name: format!("(built in) {name}"), text };
    shipped().into_iter().map(named).collect()
}

/// The rule files of `dir`, in the order of names. The shipped directory may be missing (the program has a copy), and
/// so may the operator's own; any other that is configured must exist.
fn directory(dir: &Path, notes: &mut Vec<String>) -> Result<Vec<Source>, Vec<String>> {
    if !dir.exists() {
        if dir == Path::new(SHIPPED_RULES) {
            notes.push(format!(
                "`{}` does not exist, the rules inside the program are in force",
                dir.display()
            ));
            return Ok(built_in());
        }
        if dir == Path::new(OWN_RULES) {
            return Ok(Vec::new());
        }
    }
    let paths = rule_files(dir)
        .map_err(|error| vec![format!("{}: the rules directory cannot be read: {error}", dir.display())])?;
    if paths.len() > MAX_FILES {
        return Err(vec![format!(
            "{}: {} rule files, expected at most {MAX_FILES}",
            dir.display(),
            paths.len()
        )]);
    }
    let (read, failed): (Vec<_>, Vec<_>) = paths.iter().map(|path| file(path)).partition(Result::is_ok);
    let failed: Vec<_> = failed.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() { Ok(read.into_iter().flatten().collect()) } else { Err(failed) }
}

/// The rule files in a directory and in those within it, one level down.
pub(crate) fn rule_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (mut paths, within) = visible(dir)?;
    for dir in within {
        paths.extend(visible(&dir)?.0);
    }
    paths.sort();
    Ok(paths)
}

/// The rule files and the directories in a directory that are not hidden.
fn visible(dir: &Path) -> std::io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            directories.push(path);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok((files, directories))
}

fn file(path: &Path) -> Result<Source, String> {
    let name = path.display().to_string();
    match read_bounded(path, MAX_FILE_BYTES) {
        Ok(text) => Ok(Source { name, text }),
        Err(error) => Err(format!("{name}: {error:#}")),
    }
}

/// The engine's compiler: rules and warnings, or every mistake.
fn compile(sources: &[Source]) -> Result<(RuleSet, Vec<String>), Vec<String>> {
    let sources: Vec<_> =
        sources.iter().map(|source| RuleSource { name: &source.name, text: &source.text }).collect();
    let said = |errors: &[RuleError]| errors.iter().map(RuleError::to_string).collect();
    match RuleSet::compile(&sources) {
        Ok(rules) => {
            let warnings = said(rules.warnings());
            Ok((rules, warnings))
        }
        Err(errors) => Err(said(&errors)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_refused_unless_it_may_be_missing() {
        let Refused(mistakes) = load(&["/nonexistent/rules".into()]).unwrap_err();
        assert!(
            mistakes[0].starts_with("/nonexistent/rules: the rules directory cannot be read: "),
            "{mistakes:?}"
        );
        assert!(load(&[]).unwrap().notes[0].contains("inside the program"));
    }

    #[test]
    fn only_visible_toml_files_are_read_in_the_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["shop", ".git", "shop/deeper"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for name in [
            "b.toml",
            "a.toml",
            ".hidden.toml",
            "a.toml.new",
            "README.md",
            "shop/c.toml",
            ".git/d.toml",
            "shop/deeper/e.toml",
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let sources = directory(dir.path(), &mut Vec::new()).unwrap();
        let root = format!("{}/", dir.path().display());
        let names: Vec<_> = sources.iter().map(|source| source.name.strip_prefix(&root).unwrap()).collect();
        assert_eq!(names, ["a.toml", "b.toml", "shop/c.toml"]);
    }

    #[test]
    fn a_file_that_is_no_text_or_too_large_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("bad.toml"), b"a = \"\xff\"").unwrap();
        std::fs::write(dir.path().join("big.toml"), vec![b'#'; MAX_FILE_BYTES as usize + 1]).unwrap();
        let Refused(mistakes) = load(&[dir.path().into()]).unwrap_err();
        assert_eq!(mistakes.len(), 2);
        assert!(
            mistakes[0].contains("bad.toml: the file is not UTF-8 text: byte 6 is wrong"),
            "{mistakes:?}"
        );
        assert!(mistakes[1].contains("big.toml: the file is larger than 4194304 bytes"), "{mistakes:?}");
    }

    #[test]
    fn the_shipped_rules_are_in_the_program_and_compile() {
        assert!(!shipped().is_empty());
        let loaded = load(&[]).unwrap();
        assert!(!loaded.rules.rules().is_empty());
        assert_eq!(loaded.files, shipped().len());
    }

    #[test]
    fn a_broken_rule_is_refused_with_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.toml"), "[[rule]]\nid = \"x\"\npattern = '(unclosed'\n").unwrap();
        let Refused(mistakes) = load(&[dir.path().into()]).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.contains("x.toml:1:1: rule `x`")), "{mistakes:?}");
    }
}
