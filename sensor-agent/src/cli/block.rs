//! `sensor-agent block`: the block list, straight in the kernel's pinned maps, so that it works while the agent is down.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;

use super::{Common, output};
use crate::blocklist::view::BlockView;
use crate::blocklist::{BlockError, Book, exchange};
use crate::kernel::lists::{Blocked, Exemption, NewBlock, Origin, Scope};
use crate::{duration, target};

/// The block list.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Block {
    /// Block an address or prefix
    Add {
        /// Address or prefix, such as 192.0.2.7 or 2001:db8::/64
        #[arg(value_parser = target::parse_blockable)]
        target: IpNet,
        #[command(flatten)]
        scope: ScopeOptions,
        /// How long, such as 10m or 1h30m [default: for good]
        #[arg(long, value_parser = duration::parse)]
        ttl: Option<Duration>,
        /// Why, in one line
        #[arg(long, default_value = "")]
        reason: String,
        /// Only count what would be dropped
        #[arg(long)]
        shadow: bool,
    },
    /// Remove an entry
    Remove {
        /// Address or prefix
        #[arg(value_parser = target::parse)]
        target: IpNet,
        #[command(flatten)]
        scope: ScopeOptions,
    },
    /// Show all entries
    List,
    /// Block what a list names: one `target [port N] [# reason]` a line
    Import {
        /// The list; - is the standard input
        file: PathBuf,
        /// How long each entry lasts [default: for good]
        #[arg(long, value_parser = duration::parse)]
        ttl: Option<Duration>,
        /// Leave out bad lines instead of importing nothing
        #[arg(long)]
        skip_bad: bool,
    },
    /// Write all entries as a list that `import` reads
    Export {
        /// The file; - is the standard output
        #[arg(default_value = "-")]
        file: PathBuf,
    },
}

/// What of the host is closed; all of it without any of these.
#[derive(Debug, clap::Args)]
pub(super) struct ScopeOptions {
    /// Only this destination port
    #[arg(long, value_parser = target::port)]
    port: Option<u16>,
    /// Only one connection: the target's port, then the host's address and port
    #[arg(long, num_args = 2, value_names = ["SOURCE_PORT", "DESTINATION"], conflicts_with = "port")]
    connection: Option<Vec<String>>,
}

impl ScopeOptions {
    fn scope(&self, target: IpNet) -> anyhow::Result<Scope> {
        let scope = match (self.port, self.connection.as_deref()) {
            (Some(port), _) => Scope::Port(port),
            (None, Some([source_port, destination])) => {
                target::connection(source_port, destination).map_err(anyhow::Error::msg)?
            }
            _ => Scope::Host,
        };
        target::check_scope(target, scope).map_err(anyhow::Error::msg)?;
        Ok(scope)
    }
}

impl Block {
    /// Runs the command.
    pub(super) fn run(self, common: &Common) -> anyhow::Result<ExitCode> {
        let mut book = Book::open(&common.load()?.capture.pin_dir)?;
        match self {
            Self::Add { target, scope, ttl, reason, shadow } => {
                let (scope, reason) = (scope.scope(target)?, exchange::reason_line(&reason));
                let new = NewBlock { target, scope, lasts: ttl, shadow, origin: Origin::Operator, reason };
                add(&mut book, &new, common)
            }
            Self::Remove { target, scope } => remove(&mut book, target, scope.scope(target)?, common),
            Self::List => list(&book, common),
            Self::Import { file, ttl, skip_bad } => import(&mut book, &read(&file)?, ttl, skip_bad, common),
            Self::Export { file } => export(&book, &file),
        }
    }
}

fn add(book: &mut Book, new: &NewBlock, common: &Common) -> anyhow::Result<ExitCode> {
    book.block(new)?;
    let made = book.find(new.target, new.scope)?;
    let made = made.context("the entry was made and is not there any more")?;
    if common.json {
        output::json(&BlockView::from(&made))?;
    } else {
        let target = target::show_entry(new.target, new.scope);
        let (target, verb) = (target, if new.shadow { "counting" } else { "blocked" });
        let span = new.lasts.map_or("for good".to_owned(), |lasts| format!("for {}", duration::human(lasts)));
        output::say(&format!("{verb} {target} {span}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(book: &mut Book, target: IpNet, scope: Scope, common: &Common) -> anyhow::Result<ExitCode> {
    let (removed, shown) = (book.unblock(target, scope)?, target::show_entry(target, scope));
    if common.json {
        output::json(&serde_json::json!({ "target": shown, "removed": removed }))?;
    } else if removed {
        output::say(&format!("removed {shown}"))?;
    }
    anyhow::ensure!(removed, "`{shown}` is not blocked; `sensor-agent block list` shows what is");
    Ok(ExitCode::SUCCESS)
}

fn list(book: &Book, common: &Common) -> anyhow::Result<ExitCode> {
    let entries = book.blocked()?;
    if common.json {
        output::json(&entries.iter().map(BlockView::from).collect::<Vec<_>>())?;
    } else if entries.is_empty() {
        output::say("nothing is blocked")?;
    } else {
        let heads = ["target", "left", "hits", "last hit", "origin", "mode", "reason"];
        output::table(&heads, &entries.iter().map(row).collect::<Vec<_>>())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(entry: &Blocked) -> Vec<String> {
    let view = BlockView::from(entry);
    vec![
        target::show_entry(entry.target, entry.scope),
        entry.remaining.map_or("for good".to_owned(), duration::human),
        view.hits.to_string(),
        entry.last_hit_ago.map(|ago| format!("{} ago", duration::human(ago))).unwrap_or_default(),
        view.origin.to_owned(),
        if entry.shadow { "shadow" } else { "drop" }.to_owned(),
        view.reason,
    ]
}

fn import(
    book: &mut Book,
    text: &str,
    ttl: Option<Duration>,
    skip_bad: bool,
    common: &Common,
) -> anyhow::Result<ExitCode> {
    let (mut lines, mut bad) = exchange::read(text);
    let exemptions = book.exemptions()?;
    lines.retain(|line| match covering(&exemptions, line.target) {
        Some(exemption) => {
            let reason = BlockError::Exempt(line.target, exemption).to_string();
            bad.push(exchange::BadLine { number: line.number, reason });
            false
        }
        None => true,
    });
    bad.sort_by_key(|line| line.number);
    for line in &bad {
        anstream::eprintln!("line {}: {}", line.number, line.reason);
    }
    let skipped = bad.len();
    anyhow::ensure!(
        skipped == 0 || skip_bad,
        "nothing was imported: {skipped} bad lines; mend them, or leave them out with `--skip-bad`"
    );
    let imported = lines.len();
    let new: Vec<NewBlock> = lines
        .into_iter()
        .map(|line| NewBlock {
            target: line.target,
            scope: line.scope,
            lasts: ttl,
            shadow: false,
            origin: Origin::Import,
            reason: line.reason,
        })
        .collect();
    book.block_many_checked(&new).context("the import stopped; what was imported stays")?;
    if common.json {
        output::json(&serde_json::json!({ "imported": imported, "skipped": skipped }))?;
    } else {
        output::say(&format!("imported {imported}, skipped {skipped}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn covering(exemptions: &[Exemption], target: IpNet) -> Option<Exemption> {
    exemptions.iter().find(|exemption| exemption.target.contains(&target)).cloned()
}

fn export(book: &Book, file: &Path) -> anyhow::Result<ExitCode> {
    let text = exchange::write(&book.blocked()?);
    if file == Path::new("-") {
        use std::io::Write;
        std::io::stdout().write_all(text.as_bytes()).context("the output cannot be written")?;
    } else {
        crate::install::atomic::write(file, text.as_bytes(), 0o600)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<String> {
    let source = if file == Path::new("-") { Path::new("/dev/stdin") } else { file };
    crate::config::read_bounded(source, exchange::MAX_LIST_BYTES)
        .with_context(|| format!("the list `{}` cannot be read", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Common {
        Common { config: None, json: true, log: String::new() }
    }

    #[test]
    fn an_import_is_all_or_nothing_unless_asked() {
        let mut book = Book::in_memory();
        book.exempt("10.0.0.0/8".parse().unwrap()).unwrap();
        let text = "192.0.2.1 # scanner\n10.1.1.1\nnonsense\n2001:db8::/48\n";
        let error = import(&mut book, text, None, false, &quiet()).unwrap_err();
        assert!(error.to_string().starts_with("nothing was imported: 2 bad lines"), "{error}");
        assert_eq!(book.blocked().unwrap().len(), 0);
        import(&mut book, text, Some(Duration::from_secs(60)), true, &quiet()).unwrap();
        let entries = book.blocked().unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].origin, entries[0].reason.as_str()), (Origin::Import, "scanner"));
    }

    #[test]
    fn an_export_imports_again() {
        let dir = tempfile::tempdir().unwrap();
        let (file, mut book) = (dir.path().join("list"), Book::in_memory());
        import(&mut book, "192.0.2.1 # x\n2001:db8::/48\n", None, false, &quiet()).unwrap();
        export(&book, &file).unwrap();
        let mut again = Book::in_memory();
        import(&mut again, &read(&file).unwrap(), None, false, &quiet()).unwrap();
        assert_eq!(exchange::write(&again.blocked().unwrap()), "192.0.2.1 # x\n2001:db8::/48\n");
    }

    #[test]
    fn removing_what_is_not_blocked_fails() {
        let mut book = Book::in_memory();
        let error = remove(&mut book, "192.0.2.1/32".parse().unwrap(), Scope::Host, &quiet()).unwrap_err();
        assert!(error.to_string().contains("`192.0.2.1` is not blocked"));
    }
}
