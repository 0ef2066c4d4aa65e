//! A tolerant scanner of XML (XML 1.0, fifth edition). Text and attributes become fields named by their path; comments and
//! CDATA sections inside a text do not split it, as they do not for the application. A document type declaration and its
//! entities are shown and never resolved, nor is anything fetched.

use memchr::memmem;
use memchr::{memchr, memchr_iter, memchr2, memchr3};

use crate::field::{Fields, Place};
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::fields::{is_nearly_full, push_name};

/// Deepest nesting that names a value.
const MAX_DEPTH: usize = 1024;
/// Longest path that names a value.
const MAX_PATH: usize = 512;
/// Most entity declarations shown of one document.
const MAX_ENTITIES: usize = 64;

/// Adds the texts, attributes and declarations of a document; sets what is odd about it.
pub(super) fn push(text: &[u8], fields: &mut Fields, anomalies: &mut Anomalies) {
    let mut scanner = Scanner {
        text,
        at: 0,
        path: Vec::new(),
        levels: Vec::new(),
        value: Vec::new(),
        value_start: 0,
        too_deep: 0,
        fields,
    };
    let complete = scanner.run(anomalies);
    anomalies.insert_if(!complete, Anomaly::XmlInvalid);
    anomalies.insert_if(memmem::find(text, b"www.w3.org/2001/XInclude").is_some(), Anomaly::XmlInclude);
}

struct Scanner<'a> {
    text: &'a [u8],
    /// `at <= text.len()`.
    at: usize,
    path: Vec<u8>,
    /// Length of the path without each open element.
    levels: Vec<usize>,
    /// The text between the tags, as far as it was read.
    value: Vec<u8>,
    value_start: usize,
    /// Open elements beyond the deepest that is named.
    too_deep: usize,
    fields: &'a mut Fields,
}

impl<'a> Scanner<'a> {
    /// Reads to the end; whether the document was well-formed as far as that is looked at.
    fn run(&mut self, anomalies: &mut Anomalies) -> bool {
        let mut complete = true;
        while self.at < self.text.len() {
            if is_nearly_full(self.fields) {
                self.fields.push(Place::Text, b"", self.rest(), self.at);
                return complete;
            }
            complete &=
                if self.rest().starts_with(b"<") { self.markup(anomalies) } else { self.characters() };
        }
        self.flush();
        complete && self.levels.is_empty()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Text up to the next markup, with references to characters resolved.
    fn characters(&mut self) -> bool {
        if self.value.is_empty() {
            self.value_start = self.at;
        }
        let end = memchr(b'<', self.rest()).unwrap_or(self.rest().len());
        let raw = self.text.get(self.at..self.at + end).unwrap_or_default();
        resolve(raw, &mut self.value);
        self.at += end;
        true
    }

    fn markup(&mut self, anomalies: &mut Anomalies) -> bool {
        let rest = self.rest();
        if rest.starts_with(b"<!--") {
            return self.apart(4, b"-->", b"comment");
        }
        if rest.starts_with(b"<![CDATA[") {
            return self.cdata();
        }
        if rest.starts_with(b"<?") {
            return self.apart(2, b"?>", b"pi");
        }
        if rest.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"<!DOCTYPE")) {
            return self.doctype(anomalies);
        }
        match rest.get(1) {
            Some(b'/') => self.close(),
            Some(byte) if byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':' | 0x80..) => self.open(),
            _ => {
                self.value.push(b'<');
                self.at += 1;
                false
            }
        }
    }

    /// What stands within the text without being part of it: shown as a field of its own.
    fn apart(&mut self, lead: usize, end: &[u8], name: &[u8]) -> bool {
        let inside = self.text.get(self.at + lead..).unwrap_or_default();
        let found = memmem::find(inside, end);
        let length = found.unwrap_or(inside.len());
        self.fields.push(Place::Xml, name, &inside[..length], self.at + lead);
        self.at = (self.at + lead + length + end.len()).min(self.text.len());
        found.is_some()
    }

    fn cdata(&mut self) -> bool {
        const LEAD: usize = 9;
        if self.value.is_empty() {
            self.value_start = self.at + LEAD;
        }
        let inside = self.text.get(self.at + LEAD..).unwrap_or_default();
        let found = memmem::find(inside, b"]]>");
        let length = found.unwrap_or(inside.len());
        self.value.extend_from_slice(&inside[..length]);
        self.at = (self.at + LEAD + length + 3).min(self.text.len());
        found.is_some()
    }

    /// The declaration up to its `>`, which may stand behind an internal subset.
    fn doctype(&mut self, anomalies: &mut Anomalies) -> bool {
        anomalies.insert(Anomaly::XmlDoctype);
        let rest = self.rest();
        let (mut subset, mut quote, mut end) = (false, None, None);
        for (at, &byte) in rest.iter().enumerate() {
            match (byte, quote) {
                (_, Some(open)) => quote = if byte == open { None } else { quote },
                (b'"' | b'\'', None) => quote = Some(byte),
                (b'[', None) => subset = true,
                (b']', None) => subset = false,
                (b'>', None) if !subset => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let declaration = &rest[..end.map_or(rest.len(), |end| end + 1)];
        let length = declaration.len();
        self.fields.push(Place::Xml, b"doctype", declaration, self.at);
        // The name of the root element, and where the document type stands, if elsewhere.
        let mut words = declaration.split(u8::is_ascii_whitespace).skip(2).filter(|word| !word.is_empty());
        anomalies.insert_if(words.next().is_some_and(is_elsewhere), Anomaly::XmlExternal);
        push_entities(declaration, self.at, self.fields, anomalies);
        self.at += length;
        end.is_some()
    }

    fn open(&mut self) -> bool {
        self.flush();
        let start = self.at + 1;
        let name_end = self.name_end(start);
        let name = self.text.get(start..name_end).unwrap_or_default();
        push_name(name, start, self.fields);
        let before = self.path.len();
        if self.levels.len() < MAX_DEPTH {
            self.levels.push(before);
            extend(&mut self.path, b".", name);
        } else {
            self.too_deep += 1;
        }
        self.at = name_end;
        let (complete, empty) = self.attributes();
        if empty {
            self.leave();
        }
        complete
    }

    fn name_end(&self, start: usize) -> usize {
        let name = self.text.get(start..).unwrap_or_default();
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/' | b'=' | b'<');
        start + name.iter().position(is_end).unwrap_or(name.len())
    }

    /// Reads attributes up to the tag's end: whether it has one, and whether the element is empty.
    fn attributes(&mut self) -> (bool, bool) {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_ascii_start().len();
            match self.rest() {
                [] => return (false, false),
                [b'>', ..] => {
                    self.at += 1;
                    return (true, false);
                }
                [b'/', b'>', ..] => {
                    self.at += 2;
                    return (true, true);
                }
                [b'<', ..] => return (false, false),
                [b'/' | b'=', ..] => self.at += 1,
                _ if is_nearly_full(self.fields) => return (true, false),
                _ => self.attribute(),
            }
        }
    }

    fn attribute(&mut self) {
        let start = self.at;
        let end = self.name_end(start).max(start + 1).min(self.text.len());
        let name = self.text.get(start..end).unwrap_or_default();
        push_name(name, start, self.fields);
        self.at = end;
        let rest = self.rest().trim_ascii_start();
        let Some(after) = rest.strip_prefix(b"=") else { return };
        let after = after.trim_ascii_start();
        let (raw, skipped) = match after.first() {
            Some(&quote @ (b'"' | b'\'')) => {
                let raw = after.get(1..).unwrap_or_default();
                let raw = &raw[..memchr(quote, raw).unwrap_or(raw.len())];
                (raw, raw.len() + 2)
            }
            _ => {
                let is_end = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'>';
                let length = after.iter().position(is_end).unwrap_or(after.len());
                (&after[..length], length)
            }
        };
        let value_at = self.text.len() - after.len();
        let mut value = Vec::with_capacity(raw.len());
        resolve(raw, &mut value);
        let before = self.path.len();
        let full = [&self.path[..], b"@", name].concat();
        self.fields.push(Place::Xml, &full, &value, value_at);
        self.path.truncate(before);
        self.at = (value_at + skipped).min(self.text.len());
    }

    fn close(&mut self) -> bool {
        self.flush();
        let end = memchr(b'>', self.rest());
        self.at = end.map_or(self.text.len(), |end| self.at + end + 1);
        self.leave() && end.is_some()
    }

    fn leave(&mut self) -> bool {
        if self.too_deep > 0 {
            self.too_deep -= 1;
            return true;
        }
        let Some(before) = self.levels.pop() else { return false };
        self.path.truncate(before);
        true
    }

    /// Gives the text out that stands between two tags.
    fn flush(&mut self) {
        if !self.value.trim_ascii().is_empty() {
            self.fields.push(Place::Xml, &self.path, &self.value, self.value_start);
        }
        self.value.clear();
    }
}

fn extend(path: &mut Vec<u8>, separator: &[u8], part: &[u8]) {
    if path.len() + part.len() < MAX_PATH {
        if !path.is_empty() {
            path.extend_from_slice(separator);
        }
        path.extend_from_slice(part);
    }
}

/// Shows each entity declaration as `entity.NAME`: the text or the address behind the name.
fn push_entities(declaration: &[u8], offset: usize, fields: &mut Fields, anomalies: &mut Anomalies) {
    for at in memmem::find_iter(declaration, b"<!ENTITY").take(MAX_ENTITIES) {
        anomalies.insert(Anomaly::XmlEntity);
        let body = declaration.get(at + 8..).unwrap_or_default();
        let body = &body[..entity_end(body)];
        let mut words = body.trim_ascii().splitn(2, u8::is_ascii_whitespace);
        let (mut name, mut value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if name == b"%" {
            anomalies.insert(Anomaly::XmlParameterEntity);
            let mut words = value.trim_ascii().splitn(2, u8::is_ascii_whitespace);
            (name, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        }
        let value = value.trim_ascii();
        let first = value.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        anomalies.insert_if(is_elsewhere(first), Anomaly::XmlExternal);
        anomalies.insert_if(!is_elsewhere(first) && holds_entity(value), Anomaly::XmlEntityNested);
        let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value);
        let value = value.strip_suffix(b"\"").or_else(|| value.strip_suffix(b"'")).unwrap_or(value);
        let mut resolved = Vec::with_capacity(value.len());
        resolve(value, &mut resolved);
        fields.push(Place::Xml, &[b"entity.", name].concat(), &resolved, offset + at);
    }
}

/// Whether a word says that what it declares stands elsewhere.
fn is_elsewhere(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"SYSTEM") || word.eq_ignore_ascii_case(b"PUBLIC")
}

/// Whether a text refers to an entity that is none of the predefined ones.
fn holds_entity(text: &[u8]) -> bool {
    memchr_iter(b'&', text).any(|at| {
        let name = text.get(at + 1..).unwrap_or_default();
        let end = memchr(b';', name).unwrap_or(0);
        end > 0 && character(&name[..end]).is_none()
    })
}

/// Where an entity declaration ends: at its `>` outside quotes.
fn entity_end(body: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr3(b'>', b'"', b'\'', &body[at..]).map(|found| at + found) {
        let quote = body[found];
        if quote == b'>' {
            return found;
        }
        let Some(close) = memchr(quote, &body[found + 1..]) else { return body.len() };
        at = found + close + 2;
    }
    body.len()
}

/// Appends `raw` with references to characters and the five predefined entities resolved; others stay as they are.
fn resolve(mut raw: &[u8], out: &mut Vec<u8>) {
    const LONGEST: usize = 12;
    while let Some(at) = memchr(b'&', raw) {
        out.extend_from_slice(&raw[..at]);
        raw = &raw[at..];
        let end = memchr2(b';', b'<', &raw[..raw.len().min(LONGEST)]).filter(|&end| raw[end] == b';');
        match end.and_then(|end| Some((end, character(&raw[1..end])?))) {
            Some((end, character)) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                raw = &raw[end + 1..];
            }
            None => {
                out.push(b'&');
                raw = &raw[1..];
            }
        }
    }
    out.extend_from_slice(raw);
}

fn character(reference: &[u8]) -> Option<char> {
    let number = |digits: &[u8], base| {
        let digits = std::str::from_utf8(digits).ok()?;
        u32::from_str_radix(digits, base).ok().and_then(char::from_u32)
    };
    match reference {
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"amp" => Some('&'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let (mut fields, mut anomalies) = (Fields::default(), Anomalies::NONE);
        push(text.as_bytes(), &mut fields, &mut anomalies);
        let mut shown: Vec<_> = fields
            .iter()
            .map(|field| {
                let place = if field.place == Place::Xml { "" } else { "NAME " };
                format!("{place}{}={}", field.name.escape_ascii(), field.value.escape_ascii())
            })
            .collect();
        shown.extend(anomalies.iter().map(|anomaly| format!("!{anomaly}")));
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn texts_and_attributes() {
        check("<a><b c='1' d=2>x</b><b/>y</a>", &["a.b@c=1", "a.b@d=2", "a.b=x", "a=y"]);
        check(
            "<?xml version='1.0'?><a>&lt;&#39;&#x4f;&quot;</a>",
            &["pi=xml version=\\'1.0\\'", r#"a=<\'O\""#],
        );
        check("<a>1</a>\n", &["a=1"]);
        check("<é>1</é>", &[r"NAME =\xc3\xa9", r"\xc3\xa9=1"]);
    }

    /// Case C35.
    #[test]
    fn what_splits_a_text_for_scanners_only() {
        check("<a>UN<![CDATA[ION SEL]]>ECT</a>", &["a=UNION SELECT"]);
        check("<a>UN<!-- x -->ION</a>", &["comment= x ", "a=UNION"]);
        check("<a><![CDATA[<script>]]></a>", &["a=<script>"]);
    }

    /// Case C35.
    #[test]
    fn declarations_are_shown_and_not_resolved() {
        check(
            r#"<!DOCTYPE a [<!ENTITY e "' or 1>0"><!ENTITY % p SYSTEM "file:///etc/passwd">]><a>&e;%p;</a>"#,
            &[
                r#"doctype=<!DOCTYPE a [<!ENTITY e \"\' or 1>0\"><!ENTITY % p SYSTEM \"file:///etc/passwd\">]>"#,
                r"entity.e=\' or 1>0",
                r#"entity.p=SYSTEM \"file:///etc/passwd"#,
                "a=&e;%p;",
                "!xml-doctype",
                "!xml-entity",
                "!xml-external",
                "!xml-parameter-entity",
            ],
        );
        let lol = format!("<!DOCTYPE a [{}]><a>&z;</a>", "<!ENTITY z '&y;&y;'>".repeat(500));
        let (mut fields, mut anomalies) = (Fields::default(), Anomalies::NONE);
        push(lol.as_bytes(), &mut fields, &mut anomalies);
        assert_eq!(fields.len(), MAX_ENTITIES + 2);
    }

    /// Case C35: what reaches out of the document, or makes much of little.
    #[test]
    fn constructs_of_attacks_are_named() {
        let odd = |text: &str| {
            let mut anomalies = Anomalies::NONE;
            push(text.as_bytes(), &mut Fields::default(), &mut anomalies);
            anomalies.iter().map(Anomaly::name).collect::<Vec<_>>().join(",")
        };
        assert_eq!(odd("<!DOCTYPE html><a>1</a>"), "xml-doctype");
        assert_eq!(odd("<!DOCTYPE a SYSTEM 'http://h/x.dtd'><a>1</a>"), "xml-doctype,xml-external");
        assert_eq!(
            odd("<!DOCTYPE a [<!ENTITY e PUBLIC 'x' 'file:///y'>]><a>&e;</a>"),
            "xml-doctype,xml-entity,xml-external"
        );
        assert_eq!(
            odd("<!DOCTYPE a [<!ENTITY e '&lt;x'><!ENTITY f '&e;&e;'>]><a>&f;</a>"),
            "xml-doctype,xml-entity,xml-entity-nested"
        );
        assert_eq!(odd("<!DOCTYPE a [<!ENTITY e '&lt;x'>]><a>&e;</a>"), "xml-doctype,xml-entity");
        assert_eq!(
            odd("<a xmlns:xi='http://www.w3.org/2001/XInclude'><xi:include href='file:///x'/></a>"),
            "xml-include"
        );
    }

    #[test]
    fn what_is_malformed_is_read_on() {
        check("<a>1", &["a=1", "!xml-invalid"]);
        check("<a>1</a></a>junk' or 1", &["a=1", r"=junk\' or 1", "!xml-invalid"]);
        check("<a b='1><c>2</c>", &["a@b=1><c>2</c>", "!xml-invalid"]);
        check("a < b", &["=a < b", "!xml-invalid"]);
        check("<a><!-- open", &["comment= open", "!xml-invalid"]);
    }

    #[test]
    fn deep_nesting_is_survived() {
        let (mut fields, mut anomalies) = (Fields::default(), Anomalies::NONE);
        let deep = format!("{}EVIL{}", "<a>".repeat(20_000), "</a>".repeat(20_000));
        push(deep.as_bytes(), &mut fields, &mut anomalies);
        assert_eq!(fields.iter().next_back().map(|field| field.value.to_vec()), Some(b"EVIL".to_vec()));
        assert!(anomalies.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_end(text in proptest::collection::vec(proptest::sample::select(b"<>/!?-[]'\"=& a;#".to_vec()), 0..100)) {
            push(&text, &mut Fields::default(), &mut Anomalies::default());
            push(&[b"<!DOCTYPE", &text[..]].concat(), &mut Fields::default(), &mut Anomalies::default());
        }
    }
}
