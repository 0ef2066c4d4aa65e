//! Buffers of Suricata → fields, and contents in a buffer → patterns. Contents that say where they stand to one another become one
//! pattern; those that do not, several that must all hold.

use crate::import::draft::{Ask, Test};
use crate::import::pcre;

/// What a buffer is here.
pub(super) struct Buffer {
    pub(super) names: &'static [&'static str],
    /// Modifier of a content in front of it, in the old way of writing.
    pub(super) modifier: &'static str,
    pub(super) fields: &'static [&'static str],
    /// Decoders may stand between the value and the match.
    pub(super) decoded: bool,
    pub(super) loss: Option<&'static str>,
}

const fn buffer(
    names: &'static [&'static str],
    modifier: &'static str,
    fields: &'static [&'static str],
    decoded: bool,
    loss: Option<&'static str>,
) -> Buffer {
    Buffer { names, modifier, fields, decoded, loss }
}

const IN_PARTS: Option<&str> = Some("values in the body are looked at in place of the body as a whole");
const NO_LINE: Option<&str> = Some("the target is looked at in place of the request line");

const BUFFERS: &[Buffer] = &[
    buffer(&["http.uri"], "http_uri", &["target"], true, None),
    buffer(&["http.uri.raw"], "http_raw_uri", &["target"], false, None),
    buffer(&["http.method"], "http_method", &["method"], false, None),
    buffer(&["http.request_line"], "http_request_line", &["target"], false, NO_LINE),
    buffer(
        &["http.header", "http.header.raw", "http.request_header"],
        "http_header",
        &["header"],
        false,
        None,
    ),
    buffer(&["http.cookie"], "http_cookie", &["header.cookie"], false, None),
    buffer(&["http.user_agent"], "http_user_agent", &["header.user-agent"], false, None),
    buffer(&["http.host", "http.host.raw"], "http_host", &["header.host"], false, None),
    buffer(&["http.referer"], "http_referer", &["header.referer"], false, None),
    buffer(&["http.content_type"], "http_content_type", &["header.content-type"], false, None),
    buffer(&["http.content_len"], "http_content_len", &["header.content-length"], false, None),
    buffer(&["http.accept"], "http_accept", &["header.accept"], false, None),
    buffer(&["http.accept_enc"], "http_accept_enc", &["header.accept-encoding"], false, None),
    buffer(&["http.accept_lang"], "http_accept_lang", &["header.accept-language"], false, None),
    buffer(&["http.connection"], "http_connection", &["header.connection"], false, None),
    buffer(&["http.request_body"], "http_client_body", &["body"], false, IN_PARTS),
    buffer(
        &["http.response_body", "file.data", "file_data"],
        "http_server_body",
        &["response.body"],
        false,
        None,
    ),
    buffer(&["http.stat_code"], "http_stat_code", &["response.status"], false, None),
    buffer(&["http.server"], "http_server", &["response.header.server"], false, None),
    buffer(&["http.location"], "http_location", &["response.header.location"], false, None),
    buffer(&["http.response_header"], "http_response_header", &["response.header"], false, None),
];

/// The buffer that a sticky keyword names.
pub(super) fn sticky(name: &str) -> Option<&'static Buffer> {
    BUFFERS.iter().find(|buffer| buffer.names.contains(&name))
}

/// The buffer that a modifier of the old kind names.
pub(super) fn modifier(name: &str) -> Option<&'static Buffer> {
    BUFFERS.iter().find(|buffer| buffer.modifier == name)
}

/// The buffer that a flag of a pattern of the old kind names.
pub(super) fn flag(flag: char) -> Option<&'static Buffer> {
    let name = match flag {
        'U' => "http.uri",
        'I' => "http.uri.raw",
        'P' => "http.request_body",
        'Q' => "http.response_body",
        'H' | 'D' => "http.header",
        'M' => "http.method",
        'C' => "http.cookie",
        'S' => "http.stat_code",
        'V' => "http.user_agent",
        'W' | 'Z' => "http.host",
        _ => return None,
    };
    sticky(name)
}

/// One content or pattern, and where it stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Piece {
    /// In the syntax of our patterns.
    pub(super) pattern: String,
    /// Those of a content; empty for a pattern.
    pub(super) bytes: Vec<u8>,
    pub(super) not: bool,
    pub(super) nocase: bool,
    pub(super) starts: bool,
    pub(super) ends: bool,
    pub(super) offset: Option<i64>,
    pub(super) depth: Option<i64>,
    pub(super) distance: Option<i64>,
    pub(super) within: Option<i64>,
    /// Header that a content names, `name: value`.
    pub(super) header: Option<String>,
}

/// Furthest that a place can be bounded; beyond it the bound is left out.
const MAX_BOUND: i64 = 1000;

impl Piece {
    fn is_relative(&self) -> bool {
        self.distance.is_some() || self.within.is_some()
    }

    /// The pattern, whose letters count unless the piece says otherwise.
    fn text(&self) -> String {
        let case = if self.nocase { "i" } else { "-i" };
        format!("(?{case}:{})", self.pattern)
    }

    /// What stands in front of it, from the beginning of the buffer.
    fn absolute(&self, losses: &mut Vec<String>) -> String {
        let last = self.depth.map(|depth| (depth - self.bytes.len() as i64).max(0));
        let gap = gap(self.offset.unwrap_or(0), last.map(|last| last.max(self.offset.unwrap_or(0))), losses);
        match (self.starts, self.offset, self.depth) {
            (true, ..) => "^".to_owned(),
            (_, None, None) => String::new(),
            _ => format!("^{gap}"),
        }
    }

    /// What stands between it and the piece in front of it.
    fn relative(&self, losses: &mut Vec<String>) -> String {
        let least = self.distance.unwrap_or(0);
        if least < 0 {
            losses.push("a distance to the left is read as none".to_owned());
        }
        let most = self.within.map(|within| (within - self.bytes.len() as i64).max(0));
        gap(least.max(0), most.map(|most| most.max(least.max(0))), losses)
    }
}

/// `.{least,most}`, with bounds that are too far left out.
fn gap(least: i64, most: Option<i64>, losses: &mut Vec<String>) -> String {
    let least = least.max(0);
    let bounded = most.filter(|most| *most <= MAX_BOUND);
    if most.is_some() != bounded.is_some() || least > MAX_BOUND {
        losses.push(format!("places beyond {MAX_BOUND} bytes are not bounded"));
    }
    let least = least.min(MAX_BOUND);
    match bounded {
        Some(most) => format!(".{{{least},{}}}", most.max(least)),
        None if least == 0 => ".*?".to_owned(),
        None => format!(".{{{least},}}"),
    }
}

/// What the pieces of one buffer ask.
pub(super) fn tests(buffer: &Buffer, pieces: &[Piece], losses: &mut Vec<String>) -> Vec<Test> {
    let mut tests = Vec::new();
    let mut group = String::new();
    let mut name: Option<String> = None;
    for piece in pieces {
        if piece.not {
            if piece.is_relative() {
                losses.push("a negated content may stand anywhere".to_owned());
            }
            let text =
                format!("{}{}{}", piece.absolute(losses), piece.text(), if piece.ends { "$" } else { "" });
            tests.push(Test { not: true, ..test(buffer, piece.header.as_deref(), text) });
            continue;
        }
        if piece.is_relative() && !group.is_empty() {
            group.push_str(&piece.relative(losses));
        } else {
            flush(&mut tests, buffer, name.take().as_deref(), &mut group);
            group.push_str(&piece.absolute(losses));
            name.clone_from(&piece.header);
        }
        group.push_str(&piece.text());
        if piece.ends {
            group.push('$');
        }
    }
    flush(&mut tests, buffer, name.as_deref(), &mut group);
    tests
}

fn flush(tests: &mut Vec<Test>, buffer: &Buffer, header: Option<&str>, group: &mut String) {
    if !group.is_empty() {
        tests.push(test(buffer, header, std::mem::take(group)));
    }
}

fn test(buffer: &Buffer, header: Option<&str>, text: String) -> Test {
    let fields = match header {
        Some(name) => buffer.fields.iter().map(|place| format!("{place}.{name}")).collect(),
        None => buffer.fields.iter().map(ToString::to_string).collect(),
    };
    // Each piece says itself whether letters count.
    let ask = Ask::Pattern { text, case_sensitive: true };
    Test { decoders: (!buffer.decoded).then(Vec::new), ..Test::new(fields, ask) }
}

/// `Name: value` as it stands in a block of headers → the name, and a pattern for what is there of the value.
pub(super) fn in_header(bytes: &[u8]) -> Option<(String, String)> {
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let colon = bytes.iter().position(|&byte| byte == b':')?;
    let (name, value) = (bytes.get(..colon)?, bytes.get(colon + 1..)?);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    if name.len() < 2 || !name.iter().all(is_name) {
        return None;
    }
    let (value, ends) = value.strip_suffix(b"\r\n").map_or((value, false), |value| (value, true));
    let value = value.strip_prefix(b" ").unwrap_or(value);
    if value.contains(&b'\n') || value.is_empty() {
        return None;
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Some((name, format!("^{}{}", pcre::escape_bytes(value), if ends { "$" } else { "" })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str) -> Piece {
        Piece { pattern: text.into(), bytes: text.into(), ..Piece::default() }
    }

    fn check(pieces: &[Piece]) -> Vec<String> {
        let shown = |test: Test| match test.ask {
            Ask::Pattern { text, .. } => format!("{}{text}", if test.not { "!" } else { "" }),
            other => format!("{other:?}"),
        };
        tests(&BUFFERS[0], pieces, &mut Vec::new()).into_iter().map(shown).collect()
    }

    #[test]
    fn contents_with_places_are_patterns() {
        let at = |distance, within, text| Piece { distance, within, ..piece(text) };
        assert_eq!(check(&[piece("ab"), at(Some(0), None, "cd")]), ["(?-i:ab).*?(?-i:cd)"]);
        assert_eq!(check(&[piece("ab"), at(Some(1), Some(5), "cd")]), ["(?-i:ab).{1,3}(?-i:cd)"]);
        assert_eq!(check(&[piece("ab"), piece("cd")]), ["(?-i:ab)", "(?-i:cd)"]);
        let bounded = Piece { offset: Some(2), depth: Some(6), nocase: true, ..piece("ab") };
        assert_eq!(check(&[bounded]), ["^.{2,4}(?i:ab)"]);
        let start = Piece { starts: true, ends: true, ..piece("/x") };
        assert_eq!(check(&[start, Piece { not: true, ..piece("y") }]), ["!(?-i:y)", "^(?-i:/x)$"]);
    }

    #[test]
    fn contents_of_headers_name_them() {
        let of = |text: &[u8]| in_header(text).map(|(name, value)| format!("{name} {value}"));
        assert_eq!(of(b"\r\nX-Kind: a.b\r\n").as_deref(), Some(r"x-kind ^a\.b$"));
        assert_eq!(of(b"Accept: text").as_deref(), Some("accept ^text"));
        assert_eq!((of(b"no colon"), of(b"A: b\r\nC: d"), of(b"a:")), (None, None, None));
    }
}
