//! Every job with more than one step: `cargo xtask <command>`.
//!
//! Each command first makes sure of what it needs (kernel toolchain, test programs) and says what it installs and why.

mod bench;
mod build;
mod check;
mod demo;
mod fuzz;
mod interrupt;
mod packages;
mod paths;
mod profiled;
mod run;
mod step;
mod test;
mod tidy;
mod toolchain;
mod train;
mod vm;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Build, run and check the sensor.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install the toolchain that compiles the kernel programs. Safe to repeat.
    Setup,
    /// Build the kernel programs and the agent with them inside.
    Build(build::Options),
    /// Show everything at once: an application, attackers, blocks, in network namespaces of its own.
    Demo(demo::Options),
    /// Build the agent and run it on this host, observing only (root).
    Run(run::Options),
    /// Run all tests: units, kernel programs, end to end in network namespaces (root for the latter two).
    Test(test::Options),
    /// Measure: `block-latency`, `detection`, `engine`, `flood`, `tap`, `xdp`.
    Bench(bench::Options),
    /// Run the fuzz targets, one or all, for a time each.
    Fuzz(fuzz::Options),
    /// Make the weights of the engine's model, or check that those in the tree are what training makes.
    Train(train::Options),
    /// Formatting, lints and the project's own rules.
    Check,
}

fn main() {
    let result = match Arguments::parse().command {
        Command::Setup => toolchain::setup().map(|_| ()),
        Command::Build(options) => build::command(options),
        Command::Demo(options) => demo::command(options),
        Command::Run(options) => run::command(&options),
        Command::Test(options) => test::command(&options),
        Command::Bench(options) => bench::command(&options),
        Command::Fuzz(options) => fuzz::command(&options),
        Command::Train(options) => train::command(&options),
        Command::Check => check::command(),
    };
    if let Err(error) = report(result) {
        std::process::exit(error);
    }
}

fn report(result: Result<()>) -> Result<(), i32> {
    result.map_err(|error| {
        eprintln!("\nerror: {error}");
        for cause in error.chain().skip(1) {
            eprintln!("  because: {cause}");
        }
        1
    })
}
