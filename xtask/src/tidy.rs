//! Rules of the project that no lint knows: who may name which library, which way imports go, how a module begins.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::paths;

/// A library, and the only folder below `sensor-agent/src` that may name it.
const OWNED: [(&str, &str); 4] =
    [("aya", "kernel"), ("aya_obj", "kernel"), ("rusqlite", "store"), ("axum", "api")];

/// Longest file, tests included: beyond it is hardly one idea.
const MAX_LINES: usize = 900;

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    file: String,
    line: usize,
    rule: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

/// All broken rules of the tree.
pub(crate) fn violations() -> Result<Vec<Violation>> {
    let root = paths::root();
    let order = engine_order(&fs::read_to_string(root.join("sensor-agent/engine/src/lib.rs"))?);
    let mut found = Vec::new();
    for file in sources(&root)? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let name = file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().into_owned();
        found.extend(opening(&name, &text));
        found.extend(length(&name, &text));
        found.extend(owners(&name, &text));
        found.extend(imports(&name, &text, &order));
    }
    Ok(found)
}

fn opening(file: &str, text: &str) -> Option<Violation> {
    let begins_well = text.lines().next().is_some_and(|line| line.starts_with("//!"));
    (!begins_well)
        .then(|| broken(file, 1, "a module opens with `//!`: what it is for and the decision behind it"))
}

fn length(file: &str, text: &str) -> Option<Violation> {
    let lines = text.lines().count();
    (lines > MAX_LINES)
        .then(|| broken(file, lines, &format!("{lines} lines, at most {MAX_LINES}: split it by ideas")))
}

fn owners(file: &str, text: &str) -> Vec<Violation> {
    let Some(inside) = file.strip_prefix("sensor-agent/src/") else { return Vec::new() };
    let naming = |library: &str, line: &str| {
        line.contains(&format!("{library}::")) && !line.trim_start().starts_with("//")
            || line.trim_start().starts_with(&format!("use {library};"))
    };
    let outside = OWNED.iter().filter(|(_, owner)| !inside.starts_with(owner));
    outside
        .flat_map(|(library, owner)| {
            let lines = text
                .lines()
                .enumerate()
                .filter(move |(_, line)| names_whole_word(line, library) && naming(library, line));
            lines.map(move |(at, _)| broken(file, at + 1, &format!("only `{owner}` names `{library}`")))
        })
        .collect()
}

fn names_whole_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// Modules of the engine in the order in which `lib.rs` has them.
fn engine_order(lib: &str) -> Vec<String> {
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    modules.map(str::to_owned).collect()
}

fn imports(file: &str, text: &str, order: &[String]) -> Vec<Violation> {
    let Some(inside) = file.strip_prefix("sensor-agent/engine/src/") else { return Vec::new() };
    let own = inside.split(['/', '.']).next().unwrap_or_default();
    let rank = |module: &str| order.iter().position(|known| known == module);
    let Some(own_rank) = rank(own) else { return Vec::new() };
    let code = text.lines().take_while(|line| !line.contains("#[cfg(test)]"));
    let used = code.enumerate().filter_map(|(at, line)| {
        let (_, path) = line.trim_start().split_once("crate::")?;
        Some((at, path.split(|c: char| !c.is_alphanumeric() && c != '_').next()?))
    });
    used.filter(|(_, module)| rank(module).is_some_and(|used| used > own_rank))
        .map(|(at, module)| {
            broken(file, at + 1, &format!("`{own}` imports `{module}`, which stands below it in lib.rs"))
        })
        .collect()
}

fn broken(file: &str, line: usize, rule: &str) -> Violation {
    Violation { file: file.to_owned(), line, rule: rule.to_owned() }
}

fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in ["sensor-common", "sensor-ebpf", "sensor-agent", "tests", "xtask"] {
        walk(&root.join(folder), &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_keeps_the_projects_rules() {
        let found: Vec<_> = violations().unwrap().iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "\n{}", found.join("\n"));
    }

    #[test]
    fn each_rule_finds_what_breaks_it() {
        let order = engine_order("pub mod time;\n\npub mod capture;\npub mod http;\n");
        assert_eq!(order, ["time", "capture", "http"]);
        assert!(opening("a.rs", "use std::fs;\n").is_some());
        assert_eq!(owners("sensor-agent/src/cli/x.rs", "//! x\nuse aya::Ebpf;\n").len(), 1);
        assert!(owners("sensor-agent/src/kernel/x.rs", "use aya::Ebpf;\n").is_empty());
        let below = imports("sensor-agent/engine/src/capture/mod.rs", "use crate::http::x;\n", &order);
        assert_eq!(below.len(), 1);
        assert!(imports("sensor-agent/engine/src/http/mod.rs", "use crate::time::T;\n", &order).is_empty());
    }
}
