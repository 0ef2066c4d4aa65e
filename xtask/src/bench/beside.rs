//! Our engine beside ModSecurity with the core rule set: the same requests, one core, in turns. ModSecurity is Debian's library with
//! Debian's rules as they come (paranoia 1), driven by a shim in C that hands requests in as a web server's connector does; ours is
//! the agent's own `inspect --measure`. Both read all requests first and time nothing but judging.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::median;
use super::mixed;
use crate::packages::{self, Needed};
use crate::{paths, step};

/// What our engine is measured beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Peer {
    /// ModSecurity 3 with the OWASP core rule set, both Debian's
    Modsecurity,
}

const SHIM: &str = include_str!("modsecurity.c");

const PACKAGES: [Needed; 3] = [
    Needed {
        file: "/usr/include/modsecurity/modsecurity.h",
        package: "libmodsecurity-dev",
        why: "the library beside which we are measured",
    },
    Needed { file: "/usr/share/modsecurity-crs/rules", package: "modsecurity-crs", why: "its rules" },
    Needed { file: "/usr/bin/cc", package: "gcc", why: "the shim that drives the library" },
];

/// The library's switches, and which bodies it reads as XML and JSON: without that it would not look into them.
const CONFIGURATION: &str = r#"SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess Off
SecAuditEngine Off
SecRequestBodyLimit 13107200
SecRequestBodyNoFilesLimit 131072
SecRule REQUEST_HEADERS:Content-Type "@contains xml" "id:1,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "@contains json" "id:2,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
Include /etc/modsecurity/crs/crs-setup.conf
Include /usr/share/modsecurity-crs/rules/*.conf
"#;

/// Turns of each.
const TURNS: usize = 3;

/// Requests of one kind in files that both sides read.
struct Kind {
    name: &'static str,
    count: u64,
    lines: PathBuf,
    packed: PathBuf,
}

/// What one side did in one turn.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Turn {
    per_second: f64,
    blocked: u64,
}

pub(super) fn run(
    peer: Peer,
    agent: &Path,
    files: &[PathBuf],
    rules: Option<&Path>,
    secs: u64,
) -> Result<()> {
    let Peer::Modsecurity = peer;
    if let Err(error) = packages::ensure(&PACKAGES, 30) {
        bail!("{error:#}\non Debian: apt-get install libmodsecurity-dev modsecurity-crs gcc");
    }
    let folder = super::folder("beside")?;
    let shim = build_shim(&folder)?;
    let configuration = folder.join("modsecurity.conf");
    fs::write(&configuration, CONFIGURATION)?;
    let kinds = [
        mixed_workload(&folder)?,
        gather(files, &folder, "ordinary", "benign")?,
        gather(files, &folder, "attacks", "attack")?,
    ];
    super::machine();
    println!("\n             requests      ours per s    flagged    ModSecurity per s    flagged    ratio");
    for kind in kinds.iter().filter(|kind| kind.count > 0) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            ours.push(turn(our_command(agent, kind, rules, secs))?);
            let mut command = on_one_core(&shim);
            command.arg(&configuration).arg(&kind.packed).arg(secs.to_string());
            theirs.push(turn(command)?);
        }
        show(kind, &ours, &theirs);
    }
    println!(
        "\none core each, in turns of {secs} s, the median of {TURNS}; `mixed` is the engine's own workload, the others are \
         the corpus' tier `core`; both judge bytes in memory"
    );
    Ok(())
}

fn show(kind: &Kind, ours: &[Turn], theirs: &[Turn]) {
    let speed = |turns: &[Turn]| median(turns.iter().map(|turn| turn.per_second).collect());
    let flagged = |turns: &[Turn]| {
        turns.first().map_or(f64::NAN, |turn| 100.0 * turn.blocked as f64 / kind.count.max(1) as f64)
    };
    println!(
        "{:<12} {:>8} {:>15.0} {:>8.2} % {:>20.0} {:>8.2} % {:>8.1}",
        kind.name,
        kind.count,
        speed(ours),
        flagged(ours),
        speed(theirs),
        flagged(theirs),
        speed(ours) / speed(theirs),
    );
}

fn build_shim(folder: &Path) -> Result<PathBuf> {
    let (source, binary) = (folder.join("modsecurity.c"), folder.join("modsecurity"));
    fs::write(&source, SHIM)?;
    let mut compiler = Command::new("/usr/bin/cc");
    compiler.args(["-O2", "-o"]).arg(&binary).arg(&source).arg("-lmodsecurity");
    step::run("Build the shim", 2, &mut compiler)?;
    Ok(binary)
}

/// The lines of the corpus with this label and the tier `core`.
fn gather(files: &[PathBuf], folder: &Path, name: &'static str, label: &str) -> Result<Kind> {
    let (lines, packed) = (folder.join(format!("{name}.jsonl")), folder.join(format!("{name}.bin")));
    let (mut text, mut bytes) =
        (BufWriter::new(File::create(&lines)?), BufWriter::new(File::create(&packed)?));
    let mut count = 0;
    for file in files {
        for line in super::detection::lines(file)? {
            let line = line?;
            let value: Value =
                serde_json::from_str(&line).with_context(|| format!("in `{}`", file.display()))?;
            let core = value["tier"].as_str().is_none_or(|tier| tier == "core");
            if value["label"] != label || !core || value["kind"] == "response" {
                continue;
            }
            let raw = STANDARD.decode(value["raw_b64"].as_str().unwrap_or_default().trim())?;
            bytes.write_all(&packed_request(&raw)?)?;
            writeln!(text, "{line}")?;
            count += 1;
        }
    }
    Ok(Kind { name, count, lines, packed })
}

/// Requests of the mixed workload, so many that it does not matter what an engine spends once.
const MIXED: u64 = 20_000;

/// The workload of `bench engine`, its requests in turn as often as their shares say.
fn mixed_workload(folder: &Path) -> Result<Kind> {
    let (lines, packed) = (folder.join("mixed.jsonl"), folder.join("mixed.bin"));
    let (mut text, mut bytes) =
        (BufWriter::new(File::create(&lines)?), BufWriter::new(File::create(&packed)?));
    let each =
        mixed::REQUESTS.iter().flat_map(|&(share, request)| std::iter::repeat_n(request, share as usize));
    let hundred: Vec<&str> = each.collect();
    for number in 0..MIXED {
        // A step that has no divisor in common with a hundred mixes the kinds.
        let request = hundred[(number * 37) as usize % hundred.len()].as_bytes();
        bytes.write_all(&packed_request(request)?)?;
        writeln!(text, "{}", serde_json::json!({ "id": number, "raw_b64": STANDARD.encode(request) }))?;
    }
    Ok(Kind { name: "mixed", count: MIXED, lines, packed })
}

/// A request behind its length.
fn packed_request(raw: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(raw.len()).context("a request of more than 4 GiB")?;
    Ok([&length.to_le_bytes()[..], raw].concat())
}

fn our_command(agent: &Path, kind: &Kind, rules: Option<&Path>, secs: u64) -> Command {
    let mut command = on_one_core(agent);
    command.arg("inspect").arg("--measure").arg(secs.to_string()).arg(&kind.lines);
    if let Some(rules) = rules {
        command.arg("--rules").arg(rules);
    }
    command
}

/// A command bound to the first processor, where that can be.
fn on_one_core(program: &Path) -> Command {
    let bind = Path::new("/usr/bin/taskset");
    if !bind.exists() {
        return Command::new(program);
    }
    let mut command = Command::new(bind);
    command.args(["--cpu-list", "0"]).arg(program);
    command
}

fn turn(mut command: Command) -> Result<Turn> {
    let output = command.current_dir(paths::root()).output().context("a side cannot be started")?;
    ensure!(
        output.status.success(),
        "a side failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    read_turn(&output.stdout)
}

fn read_turn(output: &[u8]) -> Result<Turn> {
    let value: Value = serde_json::from_slice(output).context("a side did not say what it measured")?;
    let number = |key: &str| value[key].as_u64().with_context(|| format!("`{key}` is missing"));
    let (requests, ns, blocked) = (number("requests")?, number("ns")?, number("blocked")?);
    ensure!(ns > 0, "nothing was measured");
    Ok(Turn { per_second: requests as f64 * 1e9 / ns as f64, blocked })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_side_says_is_read() {
        let turn = read_turn(b"{\"requests\": 3000, \"ns\": 1500000000, \"blocked\": 2}\n").unwrap();
        assert_eq!(turn, Turn { per_second: 2000.0, blocked: 2 });
        for wrong in [&b"{}"[..], b"", b"{\"requests\": 1, \"ns\": 0, \"blocked\": 0}"] {
            assert!(read_turn(wrong).is_err());
        }
    }

    #[test]
    fn requests_stand_behind_their_length() {
        assert_eq!(packed_request(b"GET").unwrap(), [3, 0, 0, 0, b'G', b'E', b'T']);
    }
}
