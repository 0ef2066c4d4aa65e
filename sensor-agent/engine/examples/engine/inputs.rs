//! The slowest and the heaviest input of each fuzz target, among those that fuzzing has found and those in the tree: none may take a second
//! or 64 MiB, whatever it is.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sensor_engine::fuzzing::TARGETS;

use super::allocations;

/// Longest time of an input.
const MOST_TIME: Duration = Duration::from_secs(1);
/// Most memory that an input makes the engine hold, in MiB.
const MOST_MIB: f64 = 64.0;

/// Where the tree keeps what the targets start from.
const CORPUS: &str = "fuzz/corpus";

/// The worst of a target.
#[derive(Default)]
struct Worst {
    inputs: usize,
    time: Duration,
    bytes: u64,
}

/// Tells them, and ends the program if one is beyond the limits.
pub(crate) fn report() {
    println!("\ninputs of fuzzing: at most {MOST_TIME:?} and {MOST_MIB} MiB");
    let mut beyond = Vec::new();
    for (name, body) in TARGETS {
        let folders = [root().join(CORPUS).join(name), root().join("target/fuzz-corpus").join(name)];
        let mut worst = Worst::default();
        for input in folders.iter().flat_map(|folder| inputs(folder)) {
            run(*body, &input, &mut worst);
        }
        let mib = worst.bytes as f64 / 1024.0 / 1024.0;
        println!(
            "  {name:<14} {:>7} inputs  slowest {:>9.1?}  heaviest {mib:>6.2} MiB",
            worst.inputs, worst.time
        );
        if worst.time > MOST_TIME || mib > MOST_MIB {
            beyond.push(*name);
        }
    }
    if !beyond.is_empty() {
        eprintln!("beyond the limits: {}", beyond.join(", "));
        std::process::exit(1);
    }
}

/// What the targets start from, read so many times.
pub(crate) fn each(times: usize) {
    for (name, body) in TARGETS {
        let files = inputs(&root().join(CORPUS).join(name));
        for text in files.iter().filter_map(|file| std::fs::read(file).ok()) {
            (0..times).for_each(|_| body(&text));
        }
    }
}

/// The workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn run(body: fn(&[u8]), file: &Path, worst: &mut Worst) {
    let Ok(data) = std::fs::read(file) else { return };
    let (before, from) = (allocations::begin_peak(), Instant::now());
    body(&data);
    worst.time = worst.time.max(from.elapsed());
    worst.bytes = worst.bytes.max(allocations::peak().saturating_sub(before));
    worst.inputs += 1;
}
