//! `cargo xtask train`: makes the weights of the engine's linear model, and the file that says where they come from. The data are
//! values that grammars make, attacks by the engine's own test grammars and ordinary text by those beside this module, so that
//! whoever has the tree can make the weights again, byte for byte; `--check` does so and compares.

mod fit;
mod held_out;
mod provenance;
mod samples;

#[allow(
    dead_code,
    clippy::panic,
    clippy::expect_used,
    reason = "shared with the engine's tests: a mistake in a grammar stops the program"
)]
#[path = "../../../sensor-agent/engine/tests/grammar/text.rs"]
mod text;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use sensor_engine::detect::model::Model;

use crate::{paths, step};
use held_out::Report;
use provenance::Provenance;
use samples::{Plan, Samples};

/// Options of `cargo xtask train`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write nothing: fail unless the weights in the tree are what training makes
    #[arg(long)]
    check: bool,
}

/// Where the weights stand.
fn folder() -> PathBuf {
    paths::root().join("sensor-agent/engine/model")
}

pub(crate) fn command(options: &Options) -> Result<()> {
    let made = train(&Plan::default());
    made.report.print();
    if options.check {
        made.compare()?;
        step::say("the weights in the tree are what training makes");
        return Ok(());
    }
    made.write()
}

/// What training made.
struct Made {
    model: Model,
    provenance: Provenance,
    report: Report,
}

/// Weights of all families, with thresholds from families that were held out.
fn train(plan: &Plan) -> Made {
    let samples = Samples::generate(plan);
    let report = held_out::measure(&samples);
    let mut model = fit::fit(&samples, |_| true);
    (model.from, model.full) = (report.from, report.full);
    let provenance = Provenance::of(plan, &samples, &report, &model);
    Made { model, provenance, report }
}

impl Made {
    fn files(&self) -> [(PathBuf, Vec<u8>); 2] {
        [
            (folder().join("weights.bin"), self.model.to_file()),
            (folder().join("weights.toml"), self.provenance.to_text().as_bytes().to_vec()),
        ]
    }

    fn write(&self) -> Result<()> {
        fs::create_dir_all(folder())?;
        for (path, bytes) in self.files() {
            fs::write(&path, bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        Ok(())
    }

    fn compare(&self) -> Result<()> {
        for (path, bytes) in self.files() {
            let there = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            if there != bytes {
                bail!("`{}` is not what training makes: run `cargo xtask train`", path.display());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_data_give_the_same_weights() {
        let plan = Plan { values: 6, ..Plan::default() };
        let (first, second) = (train(&plan), train(&plan));
        assert_eq!(first.model, second.model);
        assert_eq!(first.provenance.to_text(), second.provenance.to_text());
        let other = train(&Plan { seed: plan.seed + 1, ..plan });
        assert_ne!(first.model, other.model);
    }

    #[test]
    fn the_weights_in_the_tree_are_what_training_makes() {
        train(&Plan::default()).compare().unwrap();
    }
}
