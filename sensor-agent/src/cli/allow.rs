//! `sensor-agent allow`: exemptions, straight in the kernel's pinned maps. They count at once.

use std::process::ExitCode;

use ipnet::IpNet;

use super::{Common, output};
use crate::blocklist::Book;
use crate::blocklist::view::ExemptionView;
use crate::target;

/// The exemption list.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Allow {
    /// Exempt an address or prefix from every block
    Add {
        /// Address or prefix
        #[arg(value_parser = target::parse)]
        target: IpNet,
        /// Exempt even a prefix shorter than /8 (IPv4) or /16 (IPv6)
        #[arg(long)]
        wide: bool,
    },
    /// Remove an operator's exemption
    Remove {
        /// Address or prefix
        #[arg(value_parser = target::parse)]
        target: IpNet,
    },
    /// Show all exemptions
    List,
}

impl Allow {
    /// Runs the command.
    pub(super) fn run(self, common: &Common) -> anyhow::Result<ExitCode> {
        let mut book = Book::open(&common.load()?.capture.pin_dir)?;
        match self {
            Self::Add { target, wide } => add(&mut book, target, wide, common),
            Self::Remove { target } => remove(&mut book, target, common),
            Self::List => list(&book, common),
        }
    }
}

fn add(book: &mut Book, target: IpNet, wide: bool, common: &Common) -> anyhow::Result<ExitCode> {
    let shown = target::show(target);
    anyhow::ensure!(
        wide || !is_wide(target),
        "`{shown}` would exempt a large part of the internet; say `--wide` if that is meant"
    );
    book.exempt(target)?;
    if common.json {
        output::json(&serde_json::json!({ "target": shown, "exempt": true }))?;
    } else {
        output::say(&format!("exempt {shown}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_wide(target: IpNet) -> bool {
    match target {
        IpNet::V4(net) => net.prefix_len() < 8,
        IpNet::V6(net) => net.prefix_len() < 16,
    }
}

fn remove(book: &mut Book, target: IpNet, common: &Common) -> anyhow::Result<ExitCode> {
    let (removed, shown) = (book.unexempt(target)?, target::show(target));
    anyhow::ensure!(
        removed,
        "`{shown}` is no exemption of an operator; `sensor-agent allow list` shows where each exemption comes from"
    );
    if common.json {
        output::json(&serde_json::json!({ "target": shown, "removed": true }))?;
    } else {
        output::say(&format!("removed {shown}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(book: &Book, common: &Common) -> anyhow::Result<ExitCode> {
    let views: Vec<_> = book.exemptions()?.iter().map(ExemptionView::from).collect();
    if common.json {
        output::json(&views)?;
    } else if views.is_empty() {
        output::say("nothing is exempt")?;
    } else {
        let rows: Vec<_> =
            views.iter().map(|view| vec![view.target.clone(), view.origin.to_owned()]).collect();
        output::table(&["target", "origin"], &rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exempting_half_the_internet_needs_a_second_word() {
        let mut book = Book::in_memory();
        let common = Common { config: None, json: true, log: String::new() };
        for (net, wide, done) in [
            ("0.0.0.0/0", false, false),
            ("0.0.0.0/0", true, true),
            ("10.0.0.0/8", false, true),
            ("::/0", false, false),
        ] {
            assert_eq!(add(&mut book, net.parse().unwrap(), wide, &common).is_ok(), done, "{net} {wide}");
        }
    }
}
