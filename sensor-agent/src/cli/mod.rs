//! The command line. One file a command; each parses its arguments, calls what does the work, and shows the result.
//! Exit codes: 0 done, 1 failed, 2 wrong usage.

mod alerts;
mod allow;
mod block;
mod client;
mod doctor;
mod inspect;
mod install;
mod kernel_time;
mod output;
mod panic;
mod replay;
mod rules;
mod run;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::Config;

/// A host-level traffic sensor: sees the HTTP traffic of this host, recognises attacks, drops attackers in the kernel.
#[derive(Debug, Parser)]
#[command(name = "sensor-agent", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Common {
    /// Configuration file [default: /etc/sensor/sensor.toml, or the built-in defaults without it]
    #[arg(long, global = true, env = "SENSOR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    /// What is logged: a level (info) or filters per module, as in RUST_LOG
    #[arg(long, global = true, env = "RUST_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

impl Common {
    /// The configuration in force.
    fn load(&self) -> anyhow::Result<Config> {
        Config::load(self.config.as_deref())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent
    Run(run::Run),
    /// Block addresses and prefixes, with or without a running agent
    #[command(subcommand)]
    Block(block::Block),
    /// Exempt addresses and prefixes: an exemption beats every block
    #[command(subcommand)]
    Allow(allow::Allow),
    /// Suspend and lift every automatic block at once
    Panic(panic::Panic),
    /// Show how the agent is, and how full the kernel's maps are
    Status(status::Status),
    /// Show alerts, newest last
    Alerts(alerts::Alerts),
    /// Check and try detection rules
    #[command(subcommand)]
    Rules(rules::Rules),
    /// Run a capture, an HTTP archive or a request through the engine
    Replay(replay::Replay),
    /// Judge recorded requests, one verdict a line
    Inspect(inspect::Inspect),
    /// Look for what this host lacks, and say how to get it
    Doctor,
    /// Put the agent in place as a systemd service
    Install(install::Install),
    /// Remove what `install` put in place
    Uninstall(install::Uninstall),
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Parses the arguments and runs the command.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("{}error{}: {error:#}", output::RED, output::PLAIN);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let common = &cli.common;
    match cli.command {
        Command::Run(run) => run.run(common),
        Command::Block(block) => block.run(common),
        Command::Allow(allow) => allow.run(common),
        Command::Panic(panic) => panic.run(common),
        Command::Status(status) => status.run(common),
        Command::Alerts(alerts) => alerts.run(common),
        Command::Rules(rules) => rules.run(common),
        Command::Replay(replay) => replay.run(common),
        Command::Inspect(inspect) => inspect.run(common),
        Command::Doctor => doctor::run(common),
        Command::Install(install) => install.run(common),
        Command::Uninstall(uninstall) => uninstall.run(common),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "sensor-agent", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The reader of the output went away, as `head` does.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn targets_and_durations_are_checked_as_usage() {
        for wrong in [
            &["sensor-agent", "block", "add", "0.0.0.0/0"][..],
            &["sensor-agent", "block", "add", "192.0.2.1/24"],
            &["sensor-agent", "block", "add", "192.0.2.1", "--ttl", "soon"],
            &["sensor-agent", "alerts", "--class", "WORSE"],
            &["sensor"],
        ] {
            assert_eq!(Cli::try_parse_from(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
        assert!(
            Cli::try_parse_from([
                "sensor-agent",
                "block",
                "add",
                "2001:db8::/64",
                "--ttl",
                "1h30m",
                "--json"
            ])
            .is_ok()
        );
    }
}
