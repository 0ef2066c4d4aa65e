//! How much of each program the verifiers of other kernels walk through: what stands in the tree is compared with every run, since a program
//! that grows unseen is refused by some kernel one day (the limit is a million instructions).

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{paths, step};

/// Kernel series → program → instructions.
pub(super) type Counts = BTreeMap<String, BTreeMap<String, u64>>;

const HEAD: &str = "# Instructions that the verifier walks through, by kernel and program. `cargo xtask test` fails when a count has grown by more
# than a tenth; `cargo xtask test --vm --record` writes this file.
";
/// Growth that passes, in percent.
const TOLERANCE: u64 = 10;

/// What the agent's log says of the programs it has loaded.
pub(super) fn read(printed: &str) -> BTreeMap<String, u64> {
    let quoted = |line: &str| Some(line.split_once("loaded program=\"")?.1.split_once('"')?.0.to_owned());
    let counted = |line: &str| {
        let (_, count) = line.split_once("verified_instructions=")?;
        count.trim().parse().ok()
    };
    printed.lines().filter_map(|line| Some((quoted(line)?, counted(line)?))).collect()
}

/// Writes the counts into the tree.
pub(super) fn record(counts: &Counts) -> Result<()> {
    let text = toml::to_string(counts).context("the counts cannot be written")?;
    fs::write(file(), format!("{HEAD}\n{text}"))?;
    step::say(&format!("written: {}", file().display()));
    Ok(())
}

/// Compares the counts with those in the tree.
pub(super) fn compare(counts: &Counts) -> Result<()> {
    let text = fs::read_to_string(file()).with_context(|| format!("cannot read `{}`", file().display()))?;
    let recorded: Counts =
        toml::from_str(&text).with_context(|| format!("cannot read `{}`", file().display()))?;
    let grown = grown(&recorded, counts);
    if !grown.is_empty() {
        bail!(
            "{}\nIf that is meant, `cargo xtask test --vm --record` writes the new counts into the tree",
            grown.join("\n")
        );
    }
    Ok(())
}

fn grown(recorded: &Counts, counts: &Counts) -> Vec<String> {
    let mut grown = Vec::new();
    for (kernel, programs) in counts {
        if programs.is_empty() {
            grown.push(format!("kernel {kernel}: nothing said how much its verifier walked through"));
        }
        for (program, count) in programs {
            match recorded.get(kernel).and_then(|programs| programs.get(program)) {
                Some(before) if count * 100 <= before * (100 + TOLERANCE) => {}
                Some(before) => {
                    grown.push(format!("kernel {kernel}: `{program}` has grown from {before} to {count}"));
                }
                None => grown.push(format!("kernel {kernel}: `{program}` ({count}) is not recorded")),
            }
        }
    }
    grown
}

fn file() -> PathBuf {
    paths::root().join("xtask/src/vm/verified.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(count: u64) -> Counts {
        BTreeMap::from([("6.1".to_owned(), BTreeMap::from([("tap".to_owned(), count)]))])
    }

    #[test]
    fn growth_is_named_and_a_tenth_passes() {
        assert_eq!(grown(&counts(1000), &counts(1100)), Vec::<String>::new());
        assert_eq!(grown(&counts(1000), &counts(1101)), ["kernel 6.1: `tap` has grown from 1000 to 1101"]);
        assert_eq!(grown(&Counts::new(), &counts(7)), ["kernel 6.1: `tap` (7) is not recorded"]);
    }

    #[test]
    fn counts_are_read_from_the_log() {
        let log = "x  INFO loaded program=\"sensor_tap_in\" verified_instructions=84287\nother\n";
        assert_eq!(read(log), BTreeMap::from([("sensor_tap_in".to_owned(), 84_287)]));
    }
}
