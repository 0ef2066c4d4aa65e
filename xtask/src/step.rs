//! One step of a job: a line that says what happens, how long it usually takes, and how it ended. What the program prints
//! goes to a log, and its end is shown only if the step fails.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::paths;

/// Lines of the log shown when a step fails.
const LINES_OF_FAILURE: usize = 40;

/// Runs `command` as a step. `usually` is what it takes on two cores with nothing cached, in seconds.
pub(crate) fn run(title: &str, usually: u64, command: &mut Command) -> Result<()> {
    fs::create_dir_all(paths::logs())?;
    let log = paths::logs().join(format!("{}.log", file_name(title)));
    let output = File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?;
    let spinner = begin(title, usually);
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("cannot start `{}`", command.get_program().to_string_lossy()))?;
    let status = child.wait()?;
    spinner.finish_and_clear();
    let took = started.elapsed();
    if status.success() {
        println!("  ok  {title} ({})", seconds(took));
        return Ok(());
    }
    println!("FAIL  {title} ({})", seconds(took));
    let text = fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(LINES_OF_FAILURE)..] {
        println!("      {line}");
    }
    bail!("`{title}` failed ({status}); all it printed is in `{}`", log.display())
}

/// Says something between steps.
pub(crate) fn say(text: &str) {
    println!("      {text}");
}

/// A headline.
pub(crate) fn headline(text: &str) {
    println!("\n{text}");
}

fn begin(title: &str, usually: u64) -> ProgressBar {
    let hint = if usually >= 10 {
        format!(" (usually {})", seconds(Duration::from_secs(usually)))
    } else {
        String::new()
    };
    let spinner = ProgressBar::new_spinner();
    if spinner.is_hidden() {
        println!("      {title}{hint} …");
        return spinner;
    }
    let style = ProgressStyle::with_template("  {spinner}   {msg} {elapsed}");
    spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.set_message(format!("{title}{hint}"));
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

fn seconds(time: Duration) -> String {
    let total = time.as_secs();
    if total >= 60 {
        format!("{} min {:02} s", total / 60, total % 60)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

fn file_name(title: &str) -> String {
    title.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}
