//! `sensor-agent inspect`: recorded requests in, one verdict a line out, so that detection can be measured and compared on
//! any collection of requests. It runs as a filter: lines are judged as they come, and nothing is kept.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::bufread::MultiGzDecoder;
use sensor_engine::finding::Finding;
use sensor_engine::rule::RuleSet;
use serde::{Deserialize, Serialize};

use super::Common;
use crate::config::{Config, Detection};
use crate::judge::{Judge, Judgement};
use crate::{detection, request};

/// Longest line, and largest request that stands in a file of its own.
const MAX_BYTES: u64 = 64 << 20;
/// Output is written in pieces of this size.
const OUTPUT_BYTES: usize = 64 * 1024;

/// Judge recorded requests, and write one verdict a line: id, blocked, score, category, findings
#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// Files of one HTTP request as it goes over the wire, or of JSON lines with `id` and `raw_b64` (and `response_b64`), plain
    /// or gzipped; - is the standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A directory of rule files [default: the rules inside the program, or those of --config]
    #[arg(long, value_name = "DIR")]
    rules: Vec<PathBuf>,
    /// Leave the findings out
    #[arg(long)]
    brief: bool,
    /// Judge the requests again and again for so many seconds, and say how many that were
    #[arg(long, value_name = "SECS", hide = true, value_parser = clap::value_parser!(u64).range(1..=3600))]
    measure: Option<u64>,
}

/// One line of input.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    #[serde(default)]
    id: serde_json::Value,
    #[serde(borrow)]
    raw_b64: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    response_b64: Option<std::borrow::Cow<'a, str>>,
}

/// One line of output.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    id: &'a serde_json::Value,
    blocked: bool,
    score: f32,
    category: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<Shown<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    rule: &'a str,
    class: &'static str,
    category: Option<&'a str>,
    severity: &'static str,
    confidence: f32,
    field: &'a str,
    decoders: Vec<&'static str>,
    evidence: &'a str,
}

impl Inspect {
    /// Runs the command. What is found is no failure; a line that cannot be read gives a verdict with an `error`.
    pub(super) fn run(self, common: &Common) -> anyhow::Result<ExitCode> {
        let config = common.load()?;
        let dirs = match (self.rules.is_empty(), common.config.is_some()) {
            (true, true) => config.detection.rules_dirs.clone(),
            _ => self.rules.clone(),
        };
        let settings = Detection { rules_dirs: dirs, ..config.detection.clone() };
        let rules = Arc::new(detection::load_with_keys(&settings)?.rules);
        if let Some(secs) = self.measure {
            return measure(&config, &rules, &self.files, Duration::from_secs(secs));
        }
        let mut filter = Filter {
            judge: Judge::new(config.engine_settings(), rules, &config.policy()),
            output: BufWriter::with_capacity(OUTPUT_BYTES, io::stdout().lock()),
            brief: self.brief,
        };
        for file in &self.files {
            filter.file(file).with_context(|| format!("`{}` cannot be inspected", file.display()))?;
        }
        filter.output.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads every request first and then times nothing but judging. Each round has a new engine: what one round has learned to be
/// harmless does not help the next.
fn measure(
    config: &Config,
    rules: &Arc<RuleSet>,
    files: &[PathBuf],
    time: Duration,
) -> anyhow::Result<ExitCode> {
    let mut requests: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let (mut line, mut kept) = (Vec::new(), 0);
    for file in files {
        let mut input =
            BufReader::new(File::open(file).with_context(|| format!("`{}` cannot be read", file.display()))?);
        while read_line(&mut input, &mut line)? {
            let mut bytes = (Vec::new(), Vec::new());
            parse(line.trim_ascii(), &mut bytes).map_err(|(_, error)| error)?;
            kept += bytes.0.len() + bytes.1.len();
            anyhow::ensure!(
                kept <= MAX_MEASURED_BYTES,
                "the requests take more than {MAX_MEASURED_BYTES} bytes"
            );
            requests.push(bytes);
        }
    }
    anyhow::ensure!(!requests.is_empty(), "there are no requests");
    let judge = || Judge::new(config.engine_settings(), Arc::clone(rules), &config.policy());
    let mut blocked = 0;
    let mut first = judge();
    for (request, response) in &requests {
        blocked += u64::from(first.judge(request, response)?.blocked);
    }
    let (mut judged, begun) = (0_u64, Instant::now());
    while begun.elapsed() < time {
        let mut judge = judge();
        for (request, response) in requests.iter().take_while(|_| begun.elapsed() < time) {
            judge.judge(request, response)?;
            judged += 1;
        }
    }
    let ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    super::output::say(&format!("{{\"requests\": {judged}, \"ns\": {ns}, \"blocked\": {blocked}}}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Most bytes of requests that are measured.
const MAX_MEASURED_BYTES: usize = 1 << 30;

/// A judge between an input and an output.
struct Filter<W: Write> {
    judge: Judge,
    output: W,
    brief: bool,
}

impl<W: Write> Filter<W> {
    fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        if path == Path::new("-") {
            return self.input("-", io::stdin().lock());
        }
        self.input(&path.display().to_string(), BufReader::with_capacity(1 << 20, File::open(path)?))
    }

    /// Unpacks what is packed, by its first bytes.
    fn input(&mut self, name: &str, mut input: impl BufRead) -> anyhow::Result<()> {
        if input.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            return self.unpacked(name, &mut BufReader::with_capacity(1 << 20, MultiGzDecoder::new(input)));
        }
        self.unpacked(name, &mut input)
    }

    /// No request begins with a brace, and every line of JSON does.
    fn unpacked(&mut self, name: &str, input: &mut dyn BufRead) -> anyhow::Result<()> {
        let first = input.fill_buf()?;
        let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first).trim_ascii_start();
        if first.starts_with(b"{") { self.lines(input) } else { self.request(name, input) }
    }

    fn request(&mut self, name: &str, input: &mut dyn BufRead) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        input.take(MAX_BYTES).read_to_end(&mut bytes)?;
        let judged = self.judge.judge(&request::with_line_ends(&bytes), b"");
        self.write(&serde_json::Value::from(name), judged)
    }

    fn lines(&mut self, input: &mut dyn BufRead) -> anyhow::Result<()> {
        let (mut line, mut bytes) = (Vec::new(), (Vec::new(), Vec::new()));
        while read_line(input, &mut line)? {
            let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
            if text.is_empty() {
                continue;
            }
            match parse(text, &mut bytes) {
                Ok(id) => {
                    let judged = self.judge.judge(&bytes.0, &bytes.1);
                    self.write(&id, judged)?;
                }
                Err((id, error)) => self.write(&id, Err(error))?,
            }
        }
        Ok(())
    }

    fn write(&mut self, id: &serde_json::Value, judged: anyhow::Result<Judgement>) -> anyhow::Result<()> {
        let (judgement, error) = match judged {
            Ok(judgement) => (judgement, None),
            Err(error) => (Judgement::default(), Some(format!("{error:#}"))),
        };
        let verdict = Verdict {
            id,
            blocked: judgement.blocked,
            score: judgement.score,
            category: judgement.category.as_deref(),
            findings: (!self.brief).then(|| judgement.findings.iter().map(shown).collect()),
            error,
        };
        serde_json::to_writer(&mut self.output, &verdict)?;
        Ok(self.output.write_all(b"\n")?)
    }
}

fn shown(finding: &Finding) -> Shown<'_> {
    Shown {
        rule: &finding.rule.id,
        class: finding.class.name(),
        category: finding.rule.topic(),
        severity: finding.severity.name(),
        confidence: finding.confidence.get(),
        field: &finding.field,
        decoders: finding.decoders.iter().map(|decoder| decoder.name()).collect(),
        evidence: &finding.evidence,
    }
}

/// Replaces `line` by the next one; false at the end. Of a line that is too long the rest is skipped, and what is left does
/// not parse.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = input.take(MAX_BYTES).read_until(b'\n', line)?;
    if read as u64 == MAX_BYTES && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
    }
    Ok(read > 0)
}

/// The id of a line, and its bytes in `into`; or the id as far as it is known, and what is wrong.
fn parse(
    text: &[u8],
    into: &mut (Vec<u8>, Vec<u8>),
) -> Result<serde_json::Value, (serde_json::Value, anyhow::Error)> {
    let line: Line<'_> =
        serde_json::from_slice(text).map_err(|error| (id_of(text), anyhow::Error::from(error)))?;
    let mut decode = || {
        into.0.clear();
        BASE64.decode_vec(line.raw_b64.trim(), &mut into.0).context("`raw_b64` is not base64")?;
        into.1.clear();
        let response = line.response_b64.as_deref().unwrap_or_default();
        BASE64.decode_vec(response.trim(), &mut into.1).context("`response_b64` is not base64")
    };
    match decode() {
        Ok(()) => Ok(line.id),
        Err(error) => Err((line.id, error)),
    }
}

/// The id of a line that lacks something else.
fn id_of(text: &[u8]) -> serde_json::Value {
    let value: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    value.get("id").cloned().unwrap_or_default()
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_engine::engine::Settings;
    use sensor_engine::policy::Policy;

    fn inspect(input: &[u8]) -> Vec<serde_json::Value> {
        let rules = detection::load(&[]).unwrap().rules;
        let judge = Judge::new(Settings::default(), Arc::new(rules), &Policy::default());
        let mut filter = Filter { judge, output: Vec::new(), brief: false };
        filter.input("name", input).unwrap();
        let text = String::from_utf8(filter.output).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn line(id: &str, raw: &str) -> String {
        format!("{{\"id\": {id}, \"raw_b64\": \"{}\", \"label\": \"x\"}}\n", BASE64.encode(raw))
    }

    const ATTACK: &str = "GET /?q=<script>alert(1)</script> HTTP/1.1\r\nHost: a\r\n\r\n";
    const BENIGN: &str = "GET /?q=hello HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\n\r\n";

    #[test]
    fn lines_give_verdicts_in_their_order() {
        let verdicts = inspect(format!("{}\n{}", line("\"a\"", ATTACK), line("7", BENIGN)).as_bytes());
        assert_eq!(verdicts.len(), 2);
        assert_eq!((&verdicts[0]["id"], &verdicts[0]["blocked"]), (&"a".into(), &true.into()));
        assert_eq!(verdicts[0]["category"], "xss");
        assert_eq!(verdicts[0]["findings"][0]["class"], "INPUT_VALIDATION");
        assert_eq!((&verdicts[1]["id"], &verdicts[1]["blocked"]), (&7.into(), &false.into()));
        assert_eq!(
            (&verdicts[1]["score"], &verdicts[1]["category"]),
            (&0.0.into(), &serde_json::Value::Null)
        );
    }

    #[test]
    fn gzipped_lines_and_plain_requests() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(line("\"z\"", ATTACK).as_bytes()).unwrap();
        assert_eq!(inspect(&packer.finish().unwrap())[0]["blocked"], true);
        let plain = inspect(ATTACK.replace('\r', "").as_bytes());
        assert_eq!((&plain[0]["id"], &plain[0]["blocked"]), (&"name".into(), &true.into()));
    }

    #[test]
    fn lines_that_cannot_be_read_are_answered_and_passed_over() {
        let input = [
            b"{\"id\": \"no-raw\"}\n{\"id\": \"bad\", \"raw_b64\": \"*\"}\n{nonsense\n".as_slice(),
            b"\xff\xfe\n",
            line("\"last\"", ATTACK).as_bytes(),
        ]
        .concat();
        let verdicts = inspect(&input);
        let ids: Vec<_> = verdicts.iter().map(|one| one["id"].clone()).collect();
        assert_eq!(
            ids,
            ["no-raw".into(), "bad".into(), serde_json::Value::Null, serde_json::Value::Null, "last".into()]
        );
        assert!(verdicts[..4].iter().all(|one| one["error"].is_string() && one["blocked"] == false));
        assert_eq!(verdicts[4]["blocked"], true);
    }
}
