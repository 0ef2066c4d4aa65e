//! The table of cases in `docs/cases.md`: no number is missing, and every test that it names exists.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests read the sources from disk")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Groups with how many cases each has.
const GROUPS: [(&str, u32); 4] = [("E", 35), ("H", 35), ("C", 41), ("R", 20)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Cells of each row that begins with a case.
fn rows() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/cases.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ")).map(|line| {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    });
    rows.filter(|cells| cells[0] != "case" && !cells[0].starts_with("---")).collect()
}

/// `C1 to C6` and `C13, C14` as single cases.
fn cases(cell: &str) -> Vec<(String, u32)> {
    let one = |text: &str| {
        let (group, number) = text.trim().split_at(1);
        (group.to_owned(), number.parse().unwrap())
    };
    if let Some((first, last)) = cell.split_once(" to ") {
        let ((group, first), (_, last)) = (one(first), one(last));
        return (first..=last).map(|number| (group.clone(), number)).collect();
    }
    cell.split(',').map(one).collect()
}

#[test]
fn every_case_has_a_row() {
    let mut seen: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for (group, number) in rows().iter().flat_map(|cells| cases(&cells[0])) {
        assert!(seen.entry(group.clone()).or_default().insert(number), "{group}{number} stands there twice");
    }
    for (group, most) in GROUPS {
        let missing: Vec<_> = (1..=most).filter(|number| !seen[group].contains(number)).collect();
        assert!(missing.is_empty(), "{group}: {missing:?}");
    }
}

/// Every Rust file below the root with its path.
fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The names in backticks.
fn named(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Whether a name is a test, a module of tests or a file.
fn exists(name: &str, files: &[(PathBuf, String)]) -> bool {
    let (folder, last) = name.rsplit_once("::").unwrap_or(("", name));
    if last.contains('/') || last.ends_with(".rs") {
        return files.iter().any(|(path, _)| path.ends_with(last.rsplit("../").next().unwrap()));
    }
    // The file or module that a test stands in, as far as its name says.
    let module = folder.rsplit("::").find(|part| *part != "tests").unwrap_or_default();
    let stem = module.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    let fits = |path: &Path| stem.is_empty() || path.to_string_lossy().contains(stem);
    files.iter().any(|(path, text)| {
        fits(path) && (text.contains(&format!("fn {last}(")) || last == "tests" && text.contains("mod tests"))
    }) || files.iter().any(|(path, _)| path.file_stem().is_some_and(|stem| *stem == *last))
}

#[test]
fn every_test_that_is_named_exists() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    for cells in rows() {
        assert_eq!(cells.len(), 4, "{cells:?}");
        let (case, state, tests) = (&cells[0], &cells[2], &cells[3]);
        let known = ["holds", "partly", "not yet", "elsewhere"].iter().any(|one| state.starts_with(one));
        assert!(known, "{case}: `{state}`");
        assert!(state.starts_with("holds") || state.contains(':'), "{case}: why not?");
        for name in named(tests) {
            assert!(exists(name, &files), "{case}: `{name}` does not exist");
        }
        let of_content = case.starts_with('C');
        assert!(
            !named(tests).is_empty() || of_content || tests.starts_with("the same"),
            "{case} has no test"
        );
    }
}
