//! Where weights come from, as a text beside them: which data, which numbers by chance, and how well held-out families were told.

use std::fmt::Write as _;

use sensor_engine::detect::model::Model;
use sensor_engine::detect::model::features::{BUCKETS, LONGEST, VERSION};
use sha2::{Digest, Sha256};

use super::fit::{DECAY, ROUNDS, STEP};
use super::held_out::{Count, PARTS, Report};
use super::samples::{self, Plan, Samples};

/// Raised with every change of the way in which data are made or weights are fitted.
const GENERATOR: u32 = 1;

/// The text of `weights.toml`.
pub(super) struct Provenance(String);

impl Provenance {
    pub(super) fn of(plan: &Plan, samples: &Samples, report: &Report, model: &Model) -> Self {
        let mut text = String::from(
            "# Where weights.bin comes from. Made by `cargo xtask train`, which makes both files again, byte for byte;\n\
             # `cargo xtask train --check` compares. All data are made by the grammars in the tree.\n\n",
        );
        let mut line = |key: &str, value: String| text.push_str(&format!("{key} = {value}\n"));
        line("generator", GENERATOR.to_string());
        line("features", VERSION.to_string());
        line("buckets", BUCKETS.to_string());
        line("longest_sequence", LONGEST.to_string());
        line("seed", plan.seed.to_string());
        line("values_of_each_family", plan.values.to_string());
        line("rounds", ROUNDS.to_string());
        line("step", format!("{STEP:?}"));
        line("decay", format!("{DECAY:?}"));
        line("attack_families", samples.families.iter().filter(|family| family.attack).count().to_string());
        line(
            "ordinary_families",
            samples.families.iter().filter(|family| !family.attack).count().to_string(),
        );
        line("attack_values", samples.count(true).to_string());
        line("ordinary_values", samples.count(false).to_string());
        line("grammars_sha256", quoted(&sha256(samples::inputs().as_bytes())));
        line("weights_sha256", quoted(&sha256(&model.to_file())));
        text.push_str(&held_out(report));
        Self(text)
    }

    pub(super) fn to_text(&self) -> &str {
        &self.0
    }
}

/// The section about families that the model was not made of.
fn held_out(report: &Report) -> String {
    let mut text = format!(
        "\n# Every family judged by a model of the families of the other {} of {PARTS} parts: percent beyond `from`.\n\
         [held_out]\n",
        PARTS - 1
    );
    let percent = |count: &Count| format!("{:.2}", 100.0 * count.share());
    let _ = writeln!(text, "from = {:?}\nfull = {:?}", report.from, report.full);
    let _ = writeln!(text, "right_side_of_zero = {:.2}", 100.0 * report.accuracy);
    let _ =
        writeln!(text, "attacks = {}\nordinary = {}", percent(&report.attacks), percent(&report.ordinary));
    text.push_str("\n[held_out.kinds]\n");
    for (kind, count) in &report.kinds {
        let _ = writeln!(text, "{kind} = {}", percent(count));
    }
    text
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
