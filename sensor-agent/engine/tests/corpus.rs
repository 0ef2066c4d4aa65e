//! The fuzz targets on the corpus in the tree: seeds of our own, and what once made a target fail.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests read the corpus from disk")]

use std::path::Path;

use sensor_engine::fuzzing::TARGETS;

#[test]
fn every_target_survives_its_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    for (name, body) in TARGETS {
        assert!(root.join(format!("fuzz_targets/{name}.rs")).exists(), "`{name}` has no target");
        let folder = std::fs::read_dir(root.join("corpus").join(name)).unwrap();
        let files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 3, "`{name}` has too few seeds");
        for file in files {
            let data = std::fs::read(&file).unwrap();
            let survived = std::panic::catch_unwind(|| body(&data));
            assert!(survived.is_ok(), "{}", file.display());
        }
    }
    let targets = std::fs::read_dir(root.join("fuzz_targets")).unwrap().count();
    assert_eq!(targets, TARGETS.len(), "a target that is in no list");
}

/// Every seed cut off anywhere, and with a byte changed.
#[test]
fn damaged_seeds_are_survived() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, body) in TARGETS {
        for entry in std::fs::read_dir(root.join(name)).unwrap() {
            let data = std::fs::read(entry.unwrap().path()).unwrap();
            for at in (0..data.len()).step_by(1 + data.len() / 64) {
                body(&data[..at]);
                let mut changed = data.clone();
                changed[at] ^= 0x41;
                body(&changed);
            }
        }
    }
}
