//! Suricata's rules for HTTP: contents and patterns in buffers such as `http.uri`, in the sticky way of writing and in the old one
//! with modifiers. Rules on anything but HTTP are listed as not understood. Addresses and ports in a rule's head say where to look
//! for an application, which the sensor finds by itself.

mod buffer;
mod lex;

use sensor_engine::finding::{Class, Severity};

use super::draft::{Ask, At, Draft, Test, line};
use super::{Entry, Fate, Foreign, Read, pcre};
use buffer::{Buffer, Piece};
use lex::{Rule, bytes, quoted};

/// Options that say nothing about what is matched, or nothing that matters here.
const NOTES: &[&str] = &[
    "msg",
    "sid",
    "rev",
    "gid",
    "classtype",
    "metadata",
    "reference",
    "priority",
    "target",
    "fast_pattern",
    "flow",
    "requires",
    "noalert",
    "app-layer-protocol",
    "http_raw_header",
    "rawbytes",
    "tag",
    "logto",
];

/// The rules of all files.
pub(super) fn read(files: &[Foreign]) -> Vec<Read> {
    files
        .iter()
        .flat_map(|file| lex::rules(&file.text).into_iter().map(|rule| one(&file.name, rule)))
        .collect()
}

fn one(file: &str, rule: Result<Rule, usize>) -> Read {
    let entry = |line, name: &str, why: String| Entry {
        at: At { file: file.to_owned(), line },
        name: name.to_owned(),
        directives: 1,
        fate: Fate::Left(why),
    };
    let rule = rule
        .map_err(|line| entry(line, "(line)", "no rule of the form `action protocol … (options)`".into()))?;
    let sid = value(&rule, "sid").unwrap_or("(no sid)").to_owned();
    draft(file, &rule).map_err(|why| entry(rule.line, &line(&sid, 40), why))
}

fn value<'r>(rule: &'r Rule, name: &str) -> Option<&'r str> {
    rule.options.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn draft(file: &str, rule: &Rule) -> Result<Draft, String> {
    let protocol = rule.head.get(1).map_or("", String::as_str);
    if !matches!(protocol, "http" | "http1" | "http2" | "tcp" | "tcp-pkt" | "tcp-stream") {
        return Err(format!("protocol `{}`", line(protocol, 30)));
    }
    let sid = value(rule, "sid").unwrap_or_default();
    let msg = value(rule, "msg").map_or("", |msg| quoted(msg).1);
    let title = line(&msg.replace('\\', ""), 200);
    let (severity, confidence) = severity(rule);
    let mut draft = Draft {
        at: At { file: file.to_owned(), line: rule.line },
        directives: 1,
        id: super::draft::kebab(&format!("suricata-{sid}")),
        number: sid.parse().ok().filter(|number| *number > 0),
        revision: value(rule, "rev").and_then(|rev| rev.parse().ok()).filter(|rev| *rev > 0).unwrap_or(1),
        title: if title.is_empty() { format!("rule {sid}") } else { title },
        class: class(rule, msg),
        severity,
        confidence,
        tags: tags(rule),
        tests: Vec::new(),
        any: Vec::new(),
        when: Vec::new(),
        client: None,
        losses: Vec::new(),
    };
    if value(rule, "noalert").is_some() {
        return Err("it only sets marks for other rules (noalert)".into());
    }
    let mut reader = Reader { draft: &mut draft, open: None, pieces: Vec::new() };
    for (name, value) in &rule.options {
        reader.option(name, value)?;
    }
    reader.close();
    if draft.tests.is_empty() {
        return Err("no buffer of HTTP is looked at".into());
    }
    Ok(draft)
}

struct Reader<'d> {
    draft: &'d mut Draft,
    /// The buffer in which contents are looked for.
    open: Option<&'static Buffer>,
    /// Contents and patterns, and the buffers in which they stand.
    pieces: Vec<(Option<&'static Buffer>, Piece)>,
}

impl Reader<'_> {
    fn option(&mut self, name: &str, value: &str) -> Result<(), String> {
        if let Some(buffer) = buffer::sticky(name) {
            self.open = Some(buffer);
            return Ok(());
        }
        if let Some(buffer) = buffer::modifier(name) {
            let last = self.pieces.last_mut().ok_or_else(|| format!("`{name}` without a content"))?;
            last.0 = Some(buffer);
            return Ok(());
        }
        match name {
            "content" => self.content(value),
            "pcre" => self.pattern(value),
            "urilen" => self.length("urilen", &["target"], value.split(',').next().unwrap_or(value)),
            "bsize" => {
                let buffer = self.open.ok_or("`bsize` in no buffer of HTTP")?;
                self.length("bsize", buffer.fields, value)
            }
            "threshold" | "detection_filter" => {
                self.draft.lose("how often it may be found is not counted");
                Ok(())
            }
            "flowbits" | "xbits" | "hostbits" | "flowint" if !value.starts_with("is") => {
                self.draft.lose("marks that it sets for other rules are not set");
                Ok(())
            }
            "pkt_data" => {
                self.open = None;
                Ok(())
            }
            known if NOTES.contains(&known) => Ok(()),
            _ => self.place(name, value),
        }
    }

    /// What says where the last content stands.
    fn place(&mut self, name: &str, value: &str) -> Result<(), String> {
        let unknown = || format!("option `{}`", line(name, 40));
        let number = value.parse::<i64>();
        let (_, piece) = self.pieces.last_mut().ok_or_else(unknown)?;
        match name {
            "nocase" => piece.nocase = true,
            "startswith" => piece.starts = true,
            "endswith" => piece.ends = true,
            "offset" => piece.offset = Some(number.map_err(|_| format!("`{name}` of a variable"))?),
            "depth" => piece.depth = Some(number.map_err(|_| format!("`{name}` of a variable"))?),
            "distance" => piece.distance = Some(number.map_err(|_| format!("`{name}` of a variable"))?),
            "within" => piece.within = Some(number.map_err(|_| format!("`{name}` of a variable"))?),
            _ => return Err(unknown()),
        }
        Ok(())
    }

    fn content(&mut self, value: &str) -> Result<(), String> {
        let (not, text) = quoted(value);
        let bytes = bytes(text).ok_or_else(|| format!("content `{}`", line(text, 60)))?;
        let piece = Piece { pattern: pcre::escape_bytes(&bytes), bytes, not, ..Piece::default() };
        self.pieces.push((self.open, piece));
        Ok(())
    }

    fn pattern(&mut self, value: &str) -> Result<(), String> {
        let (not, text) = quoted(value);
        let inner = text.strip_prefix('/').and_then(|text| text.rsplit_once('/'));
        let (pattern, flags) = inner.ok_or_else(|| format!("pattern `{}`", line(text, 60)))?;
        let done = pcre::translate(pattern)?;
        done.losses.iter().for_each(|loss| self.draft.lose(*loss));
        let mut inside = String::from("-s");
        let (mut nocase, mut relative, mut named) = (false, false, None);
        for flag in flags.chars() {
            match flag {
                'i' => nocase = true,
                's' => inside = inside.replace("-s", "s"),
                'm' | 'x' => inside.insert(0, flag),
                'R' => relative = true,
                'G' | 'A' | 'E' | 'O' | 'B' if flag != 'A' => {}
                other => match buffer::flag(other) {
                    Some(buffer) => named = Some(buffer),
                    None => return Err(format!("flag `{other}` of a pattern")),
                },
            }
        }
        let piece = Piece {
            pattern: format!("(?{inside}:{})", done.pattern),
            not,
            nocase,
            distance: relative.then_some(0),
            ..Piece::default()
        };
        self.pieces.push((named.or(self.open), piece));
        Ok(())
    }

    /// Turns contents and patterns into tests, those of one buffer together.
    fn close(&mut self) {
        let pieces = std::mem::take(&mut self.pieces);
        let mut buffers: Vec<&'static Buffer> = Vec::new();
        for (buffer, _) in &pieces {
            match buffer {
                Some(buffer) if buffers.iter().any(|known| std::ptr::eq(*known, *buffer)) => {}
                Some(buffer) => buffers.push(buffer),
                None => self.draft.lose("contents in no buffer of HTTP are not looked for"),
            }
        }
        for buffer in buffers {
            let inside = pieces.iter().filter(|(of, _)| of.is_some_and(|of| std::ptr::eq(of, buffer)));
            let mut inside: Vec<Piece> = inside.map(|(_, piece)| piece.clone()).collect();
            if is_block(buffer) {
                inside.iter_mut().for_each(in_block);
            }
            let mut losses = Vec::new();
            self.draft.tests.extend(buffer::tests(buffer, &inside, &mut losses));
            losses.into_iter().chain(buffer.loss.map(str::to_owned)).for_each(|loss| self.draft.lose(loss));
        }
    }

    /// `urilen:>100`, `bsize:5<>10`
    fn length(&mut self, name: &str, fields: &[&str], value: &str) -> Result<(), String> {
        let bounds = bounds(value).ok_or_else(|| format!("`{name}:{}`", line(value, 30)))?;
        let fields = fields.iter().map(ToString::to_string).collect();
        self.draft.tests.push(Test {
            min_length: bounds.0,
            max_length: bounds.1,
            ..Test::new(fields, Ask::Any)
        });
        Ok(())
    }
}

/// Whether the buffer is a block of headers with their names.
fn is_block(buffer: &Buffer) -> bool {
    matches!(buffer.fields, ["header"] | ["response.header"])
}

/// A content in a block of headers asks for one of them, if it names it.
fn in_block(piece: &mut Piece) {
    if let Some((name, value)) = buffer::in_header(&piece.bytes) {
        piece.header = Some(name);
        piece.pattern = value;
        (piece.offset, piece.depth, piece.distance, piece.within) = (None, None, None, None);
    }
}

/// `5`, `<10`, `>10`, `5<>10` as the least and the most.
fn bounds(value: &str) -> Option<(Option<u32>, Option<u32>)> {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let value = value.trim();
    if let Some((least, most)) = value.split_once("<>") {
        return Some((Some(number(least)?.checked_add(1)?), Some(number(most)?.checked_sub(1)?.max(1))));
    }
    if let Some(most) = value.strip_prefix('<') {
        return Some((None, Some(number(most)?.checked_sub(1)?.max(1))));
    }
    if let Some(least) = value.strip_prefix('>') {
        return Some((Some(number(least)?.checked_add(1)?), None));
    }
    let exactly = number(value)?.max(1);
    Some((Some(exactly), Some(exactly)))
}

/// How bad and how sure: what the metadata say, else the priority of the kind of rule.
fn severity(rule: &Rule) -> (Severity, f32) {
    let metadata = value(rule, "metadata").unwrap_or_default().to_ascii_lowercase();
    let kind = value(rule, "classtype").unwrap_or_default();
    let says = |text: &str| metadata.contains(text);
    let severity = match () {
        () if says("signature_severity critical") => Severity::Critical,
        () if says("signature_severity major") => Severity::High,
        () if says("signature_severity minor") => Severity::Medium,
        () if says("signature_severity informational") => Severity::Info,
        () if matches!(
            kind,
            "web-application-attack"
                | "trojan-activity"
                | "attempted-admin"
                | "exploit-kit"
                | "command-and-control"
        ) =>
        {
            Severity::High
        }
        () if matches!(kind, "not-suspicious" | "policy-violation" | "misc-activity" | "network-scan") => {
            Severity::Low
        }
        () => Severity::Medium,
    };
    let confidence = match () {
        () if says("confidence high") => 0.85,
        () if says("confidence medium") => 0.7,
        () if says("confidence low") => 0.5,
        () => 0.6,
    };
    (severity, confidence)
}

fn class(rule: &Rule, msg: &str) -> Class {
    let msg = msg.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| msg.contains(word));
    let kind = value(rule, "classtype").unwrap_or_default();
    match () {
        () if has(&["sql injection", "sqli", "union select", "select from"]) => Class::SqlInjection,
        () if has(&["auth bypass", "authentication bypass", "default credential"]) => Class::AuthBypass,
        () if kind == "successful-recon-limited" || has(&["information leak", "data leak"]) => {
            Class::DataExposure
        }
        () => Class::InputValidation,
    }
}

fn tags(rule: &Rule) -> Vec<String> {
    let references = rule.options.iter().filter(|(name, _)| name == "reference");
    let cve = references.filter_map(|(_, value)| value.strip_prefix("cve,")).map(|number| {
        let number = line(number.trim(), 20);
        if number.to_ascii_uppercase().starts_with("CVE-") { number } else { format!("CVE-{number}") }
    });
    let kind = value(rule, "classtype").map(|kind| line(kind, 40));
    kind.into_iter().chain(cve).take(8).collect()
}
