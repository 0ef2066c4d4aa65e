//! `sensor-agent install` and `sensor-agent uninstall`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;

use super::{Common, output};
use crate::install::{self, Place};
use crate::kernel::sensor::Sensor;

/// Put the agent in place as a systemd service.
#[derive(Debug, clap::Args)]
pub(super) struct Install {
    #[command(flatten)]
    place: PlaceArgs,
}

/// Remove what `install` put in place.
#[derive(Debug, clap::Args)]
pub(super) struct Uninstall {
    #[command(flatten)]
    place: PlaceArgs,
    /// Remove configuration, alerts and logs too
    #[arg(long)]
    purge: bool,
}

#[derive(Debug, clap::Args)]
struct PlaceArgs {
    /// Root of the file system, for packages and tests
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl PlaceArgs {
    fn place(&self) -> anyhow::Result<Place> {
        anyhow::ensure!(self.root.is_dir(), "`{}` is no directory", self.root.display());
        Ok(Place { root: self.root.canonicalize()?, dry_run: self.dry_run })
    }
}

impl Install {
    /// Runs the command.
    pub(super) fn run(self, common: &Common) -> anyhow::Result<ExitCode> {
        let place = self.place.place()?;
        let program = std::env::current_exe().context("the path of the running program is unknown")?;
        let mut steps = install::install(&place, &program)?;
        steps.extend(systemctl(&place, &["daemon-reload"])?);
        report(&steps, common)?;
        if !common.json && place.is_host() {
            output::say("next: `systemctl enable --now sensor`, then `sensor-agent status`")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Uninstall {
    /// Runs the command.
    pub(super) fn run(self, common: &Common) -> anyhow::Result<ExitCode> {
        let place = self.place.place()?;
        let pin_dir = common.load()?.capture.pin_dir;
        let mut steps = systemctl(&place, &["disable", "--now", "sensor.service"])?;
        if place.is_host() && !place.dry_run {
            // Takes the programs off the interfaces too; without rights or pins there is nothing to take off.
            match Sensor::remove(&pin_dir) {
                Ok(()) => steps.push("detached from every interface".to_owned()),
                Err(error) => steps.push(format!("not detached: {error:#}")),
            }
        }
        steps.extend(install::uninstall(&place, &pin_dir, self.purge)?);
        steps.extend(systemctl(&place, &["daemon-reload"])?);
        report(&steps, common)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Tells systemd, where it runs and this is its host. A unit that is unknown to it is no failure.
fn systemctl(place: &Place, arguments: &[&str]) -> anyhow::Result<Vec<String>> {
    if !place.is_host() || !sd_notify::booted().unwrap_or(false) {
        return Ok(Vec::new());
    }
    let step = format!("systemctl {}", arguments.join(" "));
    if !place.dry_run {
        let output =
            Command::new("systemctl").args(arguments).output().context("`systemctl` cannot be run")?;
        if !output.status.success() {
            let said = crate::printable::short(String::from_utf8_lossy(&output.stderr).trim(), 300);
            return Ok(vec![format!("{step} failed: {said}")]);
        }
    }
    Ok(vec![step])
}

fn report(steps: &[String], common: &Common) -> anyhow::Result<()> {
    if common.json {
        return output::json(&serde_json::json!({ "steps": steps }));
    }
    steps.iter().try_for_each(|step| output::say(step))
}
