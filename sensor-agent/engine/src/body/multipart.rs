//! Multipart bodies (RFC 2046 section 5.1, RFC 7578): part name → value, file name as a field `NAME.filename`, other part
//! headers as `NAME.header`. Servers differ about boundaries, names and line ends; every reading is shown. Lines may end in
//! LF alone, and the last boundary may be missing, as servers accept that.

use std::borrow::Cow;

use memchr::memmem::Finder;
use memchr::{memchr, memchr2};

use super::charset::Charset;
use super::parameter::{boundaries, continued, is_all_parameters, parameter, parameters, percent_decoded};
use super::transfer;
use crate::field::{Field, Fields, Place};
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::fields::push_name;
use crate::http::start::is_token_byte;

/// Most parts that are looked at, as many as common servers take; the rest is one part.
const MAX_PARTS: usize = 1100;
/// Most header lines of a part that are shown apart; the others are one field.
const MAX_PART_HEADERS: usize = 32;
/// Most lines that are taken for headers of a part.
const MAX_PART_LINES: usize = 4096;
/// Most parts in parts.
const MAX_DEPTH: usize = 2;

/// Adds the fields of a multipart body under every boundary that its Content-Type may mean; false if none occurs in it.
pub(super) fn push(content_type: &[u8], body: &[u8], fields: &mut Fields, anomalies: &mut Anomalies) -> bool {
    let first = fields.len();
    let found = push_nested(content_type, body, 0, fields, anomalies);
    push_in_charset(first, fields, anomalies);
    found
}

/// A part named `_charset_` says in which character set the others are written (HTML, section 4.10.21.5).
fn push_in_charset(first: usize, fields: &mut Fields, anomalies: &mut Anomalies) {
    let parts = || (first..fields.len()).filter_map(|at| fields.at(at));
    let named = parts().find(|field| field.name.eq_ignore_ascii_case(b"_charset_"));
    let Some(charset) = named.and_then(|field| Charset::of(field.value)).filter(|one| one.is_unusual())
    else {
        return;
    };
    anomalies.insert(Anomaly::CharsetUnusual);
    let of_part = |field: &Field<'_>| field.place == Place::Multipart;
    let decoded: Vec<_> = parts()
        .filter(of_part)
        .map(|field| (field.name.to_vec(), charset.decode(field.value), field.offset as usize))
        .collect();
    for (name, value, offset) in decoded {
        fields.push(Place::Multipart, &name, &value, offset);
    }
}

fn push_nested(
    content_type: &[u8],
    body: &[u8],
    depth: usize,
    fields: &mut Fields,
    anomalies: &mut Anomalies,
) -> bool {
    let candidates = boundaries(content_type);
    anomalies.insert_if(candidates.len() > 1, Anomaly::BoundaryAmbiguous);
    let mut found = false;
    for boundary in &candidates {
        found |= push_parts(boundary, body, depth, fields, anomalies);
    }
    let Some(seen) = first_boundary(body).filter(|_| !found) else { return found };
    anomalies.insert_if(!candidates.is_empty(), Anomaly::BoundaryAmbiguous);
    push_parts(seen, body, depth, fields, anomalies)
}

/// The boundary that the body itself begins with.
pub(super) fn first_boundary(body: &[u8]) -> Option<&[u8]> {
    let rest = body.trim_ascii_start().strip_prefix(b"--")?;
    let line = rest[..memchr(b'\n', rest)?].trim_ascii_end();
    (!line.is_empty()).then_some(line)
}

/// Adds the parts between one boundary's delimiters; false if there are none.
fn push_parts(
    boundary: &[u8],
    body: &[u8],
    depth: usize,
    fields: &mut Fields,
    anomalies: &mut Anomalies,
) -> bool {
    let delimiter = [b"--", boundary].concat();
    let finder = Finder::new(&delimiter);
    let mut delimiters = finder.find_iter(body).filter(|&at| is_delimiter(body, at, delimiter.len()));
    let Some(first) = delimiters.next() else { return false };
    push_outside(&body[..first], 0, fields);
    let (mut start, mut closed) = (first + delimiter.len(), false);
    for number in 1..=MAX_PARTS {
        closed = body.get(start..).is_some_and(|rest| rest.starts_with(b"--"));
        let next = if number < MAX_PARTS { delimiters.next() } else { None };
        let end = next.unwrap_or(body.len());
        if closed {
            // Behind the end nothing counts; who goes on reading all the same is shown what follows.
            anomalies.insert_if(next.is_some(), Anomaly::BoundaryAmbiguous);
            push_outside(body.get(start + 2..end).unwrap_or_default(), start + 2, fields);
        } else {
            push_part(body, start..end, depth, fields, anomalies);
        }
        let Some(next) = next else { break };
        start = next + delimiter.len();
    }
    anomalies.insert_if(delimiters.next().is_some(), Anomaly::TooManyParts);
    anomalies.insert_if(!closed, Anomaly::MultipartInvalid);
    true
}

/// What stands before the first delimiter or behind the last: no part, and shown all the same.
fn push_outside(text: &[u8], offset: usize, fields: &mut Fields) {
    if !text.trim_ascii().is_empty() {
        fields.push(Place::Text, b"", text, offset);
    }
}

/// A delimiter stands at the start of a line, and a blank, a line end or `--` follows.
fn is_delimiter(body: &[u8], at: usize, length: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| body.get(before));
    let starts_line = before.is_none_or(|byte| matches!(byte, b'\n' | b'\r'));
    let after = body.get(at + length..).unwrap_or_default();
    starts_line && (after.first().is_none_or(u8::is_ascii_whitespace) || after.starts_with(b"--"))
}

/// What ends the lines of a part's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Lf,
    /// CR alone too, as some servers have it.
    CrOrLf,
}

/// What the headers of a part say.
#[derive(Debug, Default)]
struct Headers<'a> {
    name: Cow<'a, [u8]>,
    names: usize,
    content_type: &'a [u8],
    transfer: &'a [u8],
}

/// Adds the part in `range`, from behind its delimiter.
fn push_part(
    body: &[u8],
    range: std::ops::Range<usize>,
    depth: usize,
    fields: &mut Fields,
    anomalies: &mut Anomalies,
) {
    let value = push_lines(body, range.clone(), Ends::Lf, depth, fields, anomalies);
    let head = body.get(range.start..value).unwrap_or_default();
    if head.windows(2).any(|pair| pair[0] == b'\r' && pair[1] != b'\n') {
        anomalies.insert(Anomaly::PartHeaderOdd);
        push_lines(body, range, Ends::CrOrLf, depth, fields, anomalies);
    }
}

/// Adds a part whose header lines end so; where its value begins.
fn push_lines(
    body: &[u8],
    range: std::ops::Range<usize>,
    ends: Ends,
    depth: usize,
    fields: &mut Fields,
    anomalies: &mut Anomalies,
) -> usize {
    let end = range.end;
    let delimiter = line_at(body, range.start, end, ends).unwrap_or_default();
    push_outside(delimiter.trim_ascii_end(), range.start, fields);
    let (mut headers, mut at) = (Headers::default(), after_line(body, range.start, end, ends));
    let mut others = None;
    for number in 0..MAX_PART_LINES {
        let Some(first) = line_at(body, at, end, ends) else { break };
        let mut next = after_line(body, at, end, ends);
        if first.trim_ascii_end().is_empty() {
            at = next;
            break;
        }
        while line_at(body, next, end, ends).is_some_and(is_folded) {
            anomalies.insert(Anomaly::PartHeaderOdd);
            next = after_line(body, next, end, ends);
        }
        let line = body.get(at..next).unwrap_or_default().trim_ascii_end();
        if number < MAX_PART_HEADERS || decides(line) {
            headers.read(line, at, fields, anomalies);
        }
        if number == MAX_PART_HEADERS {
            others = Some(at);
        }
        at = next;
    }
    if let Some(from) = others {
        anomalies.insert(Anomaly::PartHeaderOdd);
        headers.show(body.get(from..at).unwrap_or_default().trim_ascii_end(), from, fields);
    }
    let value = body.get(at..end).unwrap_or_default();
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    let value = value.strip_suffix(b"\r").unwrap_or(value);
    anomalies.insert_if(headers.names == 0, Anomaly::PartUnnamed);
    push_value(&headers, value, at, fields, anomalies);
    let nested = starts_with_ignore_case(headers.content_type, b"multipart/");
    if nested && depth < MAX_DEPTH {
        push_nested(headers.content_type, value, depth + 1, fields, anomalies);
    }
    at
}

/// Adds the value of a part as it is, without its transfer encoding, and in its own charset.
fn push_value(
    headers: &Headers<'_>,
    value: &[u8],
    at: usize,
    fields: &mut Fields,
    anomalies: &mut Anomalies,
) {
    fields.push(Place::Multipart, &headers.name, value, at);
    let decoded = transfer::decode(headers.transfer, value);
    if let Some(decoded) = &decoded {
        anomalies.insert(Anomaly::PartEncoded);
        fields.push(Place::Multipart, &headers.name, decoded, at);
    }
    let plain = decoded.as_deref().unwrap_or(value);
    let Some(charset) = parameter(headers.content_type, b"charset").and_then(Charset::of) else { return };
    anomalies.insert_if(charset.is_unusual(), Anomaly::CharsetUnusual);
    let text = charset.decode(plain);
    if text != plain {
        fields.push(Place::Multipart, &headers.name, &text, at);
    }
}

/// Whether a header line says how the part is read.
fn decides(line: &[u8]) -> bool {
    let letters = line.iter().filter(|byte| byte.is_ascii_alphabetic());
    letters.map(u8::to_ascii_lowercase).take(7).eq(*b"content")
}

fn is_folded(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t')) && !line.trim_ascii().is_empty()
}

impl<'a> Headers<'a> {
    fn read(&mut self, line: &'a [u8], at: usize, fields: &mut Fields, anomalies: &mut Anomalies) {
        let colon = memchr(b':', line).unwrap_or(line.len());
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default().trim_ascii());
        let plain = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        anomalies.insert_if(!plain || memchr(0, line).is_some(), Anomaly::PartHeaderOdd);
        let letters = name.iter().filter(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_lowercase);
        if letters.clone().eq(*b"contentdisposition") {
            return self.read_disposition(line, at, fields, anomalies);
        }
        if letters.clone().eq(*b"contenttype") {
            self.content_type = value;
            if !value.iter().all(|&byte| is_token_byte(byte) || byte == b'/') {
                self.show(line, at, fields);
            }
        } else if letters.eq(*b"contenttransferencoding") {
            self.transfer = value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
            if !value.iter().copied().all(is_token_byte) {
                self.show(line, at, fields);
            }
        } else {
            self.show(line, at, fields);
        }
    }

    /// Shows a line that is more than usual.
    fn show(&self, line: &[u8], at: usize, fields: &mut Fields) {
        fields.push(Place::Multipart, &[&self.name, &b".header"[..]].concat(), line, at);
    }

    /// A file's name as it stands there, and as who reads encoded words in it has it; some ordinary clients send such.
    fn show_file(&self, value: &[u8], at: usize, fields: &mut Fields) {
        let name = [&self.name, &b".filename"[..]].concat();
        fields.push(Place::Multipart, &name, value, at);
        if let Some(decoded) = transfer::words(value) {
            fields.push(Place::Multipart, &name, &decoded, at);
        }
    }

    /// The last name counts for what follows, as most servers have it; the others are shown as names.
    fn read_disposition(
        &mut self,
        line: &'a [u8],
        at: usize,
        fields: &mut Fields,
        anomalies: &mut Anomalies,
    ) {
        let mut all_known = is_all_parameters(line);
        for (key, value) in parameters(line) {
            let extended = key.ends_with(b"*");
            let value = if extended { Cow::Owned(percent_decoded(value)) } else { Cow::Borrowed(value) };
            let key = key.strip_suffix(b"*").unwrap_or(key);
            if key.eq_ignore_ascii_case(b"name") {
                self.note_name(value, at, fields, anomalies);
            } else if key.eq_ignore_ascii_case(b"filename") {
                anomalies.insert_if(extended || memchr(0, &value).is_some(), Anomaly::PartHeaderOdd);
                self.show_file(&value, at, fields);
            } else {
                all_known = false;
            }
        }
        if let Some(name) = continued(line, b"name") {
            self.note_name(Cow::Owned(name), at, fields, anomalies);
        }
        if let Some(file) = continued(line, b"filename") {
            anomalies.insert(Anomaly::PartHeaderOdd);
            self.show_file(&file, at, fields);
        }
        let kind = line.split(|&byte| byte == b';').next().unwrap_or_default();
        let kind = memchr(b':', kind).map_or(&[][..], |colon| kind[colon + 1..].trim_ascii());
        if !all_known || !kind.iter().copied().all(is_token_byte) {
            self.show(line, at, fields);
        }
    }

    fn note_name(&mut self, value: Cow<'a, [u8]>, at: usize, fields: &mut Fields, anomalies: &mut Anomalies) {
        push_name(&value, at, fields);
        if let Some(decoded) = transfer::words(&value) {
            push_name(&decoded, at, fields);
        }
        self.names += 1;
        anomalies.insert_if(self.names > 1, Anomaly::PartHeaderOdd);
        if self.names == 1 || !value.is_empty() {
            self.name = value;
        }
    }
}

fn line_at(body: &[u8], at: usize, end: usize, ends: Ends) -> Option<&[u8]> {
    let rest = body.get(at..end).filter(|rest| !rest.is_empty())?;
    let length = match ends {
        Ends::Lf => memchr(b'\n', rest),
        Ends::CrOrLf => memchr2(b'\r', b'\n', rest),
    };
    Some(&rest[..length.unwrap_or(rest.len())])
}

fn after_line(body: &[u8], at: usize, end: usize, ends: Ends) -> usize {
    let Some(line) = line_at(body, at, end, ends) else { return end };
    let next = at + line.len() + 1;
    let is_crlf = ends == Ends::CrOrLf && body.get(next - 1..next + 1) == Some(b"\r\n");
    (next + usize::from(is_crlf)).min(end)
}

fn starts_with_ignore_case(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(content_type: &str, body: &str, expected: &str) {
        let (mut fields, mut anomalies) = (Fields::default(), Anomalies::NONE);
        let found = push(content_type.as_bytes(), body.as_bytes(), &mut fields, &mut anomalies);
        let mut shown: Vec<_> = fields
            .iter()
            .map(|field| {
                let name =
                    if field.place == Place::Multipart { field.name } else { field.place.text().as_bytes() };
                format!("{}={}", name.escape_ascii(), field.value.escape_ascii())
            })
            .collect();
        shown.extend(anomalies.iter().map(|anomaly| format!("!{anomaly}")));
        assert_eq!(format!("{}{}", shown.join(" "), if found { "" } else { "NONE" }), expected, "{body:?}");
    }

    const TYPE: &str = "multipart/form-data; boundary=b";
    const DISPOSITION: &str = "Content-Disposition: form-data; name=";

    #[test]
    fn parts() {
        let body =
            format!("--b\r\n{DISPOSITION}\"a\"\r\n\r\n1\r\n--b\r\n{DISPOSITION}c\r\n\r\n2\r\n3\r\n--b--\r\n");
        check(TYPE, &body, r"a=1 c=2\r\n3");
        let body = format!(
            "--b\r\n{DISPOSITION}\"f\"; filename=\"x;\\\".php\"\r\nContent-Type: x/y\r\n\r\n<?\r\n--b--"
        );
        check(TYPE, &body, r#"f.filename=x;\\\".php f=<?"#);
        check(TYPE, "--b\r\nX-Odd: y\r\n\r\n1\r\n--b--", r".header=X-Odd: y =1 !multipart-part-unnamed");
        check(TYPE, "no parts", "NONE");
        check("multipart/form-data", "--\r\n", "NONE");
    }

    /// Case C32.
    #[test]
    fn boundaries_that_servers_read_differently() {
        let part =
            |boundary: &str| format!("--{boundary}\r\n{DISPOSITION}a\r\n\r\nEVIL\r\n--{boundary}--\r\n");
        for content_type in [
            "multipart/form-data; boundary=real",
            "multipart/form-data; boundary=\"real\"",
            "multipart/form-data;\tboundary=real",
            "multipart/form-data; Boundary=real; charset=x",
            "multipart/form-data; boundary = real",
        ] {
            check(content_type, &part("real"), "a=EVIL");
        }
        for content_type in [
            "multipart/form-data; boundary*0=re;boundary*1=al",
            "multipart/form-data; boundary*=utf-8''r%65al",
        ] {
            check(content_type, &part("real"), "a=EVIL");
        }
        for content_type in [
            "multipart/form-data; boundary=real; boundary=fake",
            "multipart/form-data; boundary=fake; boundary=real",
            "multipart/form-data; boundary=fake; boundary*0=re;boundary*1=al",
            "multipart/form-data; boundary=fake",
        ] {
            check(content_type, &part("real"), "a=EVIL !multipart-boundary-ambiguous");
        }
        check("multipart/form-data", &part("real"), "a=EVIL");
    }

    /// Case C32.
    #[test]
    fn line_ends_and_ends_that_servers_forgive() {
        check(TYPE, &format!("--b\n{DISPOSITION}\"a\"\n\n1\n--b--"), "a=1");
        check(TYPE, &format!("--b\r\n{DISPOSITION}\"a\"\r\n\r\ncut o"), "a=cut o !multipart-invalid");
        check(TYPE, &format!("--b \r\n{DISPOSITION}a\r\n\r\n1--b2\r\n--bc\r\n--b--"), r"a=1--b2\r\n--bc");
        check(
            TYPE,
            &format!(
                "EVIL\r\n--b\r\n{DISPOSITION}a\r\n\r\n1\r\n--b--\r\n--b\r\n{DISPOSITION}c\r\n\r\n2\r\n--b--junk"
            ),
            r"body.text=EVIL\r\n a=1 c=2 body.text=junk !multipart-boundary-ambiguous",
        );
    }

    /// Case C33.
    #[test]
    fn a_part_names_the_charset_of_the_others() {
        let part = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n")
        };
        let body = part("_charset_", "utf-7") + &part("a", "+ADw-b+AD4-") + "--b--";
        check(TYPE, &body, "_charset_=utf-7 a=+ADw-b+AD4- _charset_=utf-7 a=<b> !charset-unusual");
        let usual = part("_charset_", "utf-8") + &part("a", "+ADw-b+AD4-") + "--b--";
        check(TYPE, &usual, "_charset_=utf-8 a=+ADw-b+AD4-");
    }

    /// Case C33.
    #[test]
    fn part_headers_that_servers_read_differently() {
        let check = |headers: &str, value: &str, expected: &str| {
            check(TYPE, &format!("--b\r\n{headers}\r\n\r\n{value}\r\n--b--"), expected);
        };
        let disposition = "Content-Disposition: form-data; name=f";
        let odd = "!multipart-header-odd";
        check(
            &format!("{disposition}; filename*=UTF-8''sh%2ephp"),
            "x",
            &format!("f.filename=sh.php f=x {odd}"),
        );
        check(&format!("{disposition}; name=g"), "x", &format!("g=x {odd}"));
        check(
            &format!("conten\0t-extra: y\r\n{disposition}"),
            "x",
            &format!(r".header=conten\x00t-extra: y f=x {odd}"),
        );
        check("Content-Disposition: form-data;\r\n name=f", "x", &format!("f=x {odd}"));
        check("Content_Disposition: form-data; name=f", "x", &format!("f=x {odd}"));
        check(
            &format!("{disposition}\r\nContent-Transfer-Encoding: base64"),
            "RVZJ\r\nTA==",
            r"f=RVZJ\r\nTA== f=EVIL !multipart-part-encoded",
        );
        check(
            &format!("{disposition}\r\nContent-Transfer-Encoding: quoted-printable"),
            "E=56I=\r\nL",
            r"f=E=56I=\r\nL f=EVIL !multipart-part-encoded",
        );
        check(
            &format!("{disposition}; filename=\"a.php\0.jpg\""),
            "x",
            &format!(r"f.filename=a.php\x00.jpg f=x {odd}"),
        );
        check("Content-Disposition: form-data; name=\"f", "x", "f=x");
        check(
            &format!("{disposition}; filename*1=swd; filename*0=/etc/pas"),
            "x",
            &format!(
                "f.filename=/etc/passwd f.header={disposition}; filename*1=swd; filename*0=/etc/pas f=x {odd}"
            ),
        );
        check(
            &format!("{disposition}; filename=\"=?utf-8?B?c2guanNw?=\""),
            "x",
            "f.filename==?utf-8?B?c2guanNw?= f.filename=sh.jsp f=x",
        );
    }

    /// Case C33: what a part's headers hold beside names is shown where it is more than usual.
    #[test]
    fn everything_unusual_in_part_headers_is_shown() {
        let check = |headers: &str, expected: &str| {
            check(TYPE, &format!("--b\r\n{headers}\r\n\r\nx\r\n--b--"), expected);
        };
        let disposition = "Content-Disposition: form-data; name=f";
        for line in [
            format!("{disposition}; x=EVIL"),
            format!("{disposition}; EVIL"),
            "Content-Disposition: form-data EVIL; name=f".to_owned(),
        ] {
            check(&line, &format!("f.header={line} f=x"));
        }
        check(
            &format!("{disposition}; filename='a;EVIL'"),
            &format!(r"f.filename=\'a f.header={disposition}; filename=\'a;EVIL\' f=x"),
        );
        check(&format!("{disposition}\r\nContent-Type: image/svg+xml"), "f=x");
        check(&format!("{disposition}\r\nContent-Type: a/EVIL 1"), "f.header=Content-Type: a/EVIL 1 f=x");
        check(
            &format!("{disposition}\r\nContent-Transfer-Encoding: EVIL 1"),
            "f.header=Content-Transfer-Encoding: EVIL 1 f=x",
        );
    }

    #[test]
    fn what_many_part_headers_say_counts() {
        let many = "X: y\r\n".repeat(MAX_PART_HEADERS + 10) + "Z: EVIL\r\n";
        let body = format!(
            "--b\r\n{many}{DISPOSITION}a\r\nContent-Transfer-Encoding: base64\r\n\r\nRVZJTA==\r\n--b--"
        );
        let (mut fields, mut anomalies) = (Fields::default(), Anomalies::NONE);
        push(TYPE.as_bytes(), body.as_bytes(), &mut fields, &mut anomalies);
        let shown = |name: &[u8], value: &[u8]| {
            let holds = |text: &[u8]| memchr::memmem::find(text, value).is_some();
            fields.iter().any(|field| field.name == name && holds(field.value))
        };
        assert!(shown(b"a", b"EVIL") && shown(b"a.header", b"EVIL") && fields.len() < MAX_PART_HEADERS + 10);
        assert!(anomalies.contains(Anomaly::PartHeaderOdd));
    }

    /// Case C32: some servers end lines with CR alone, and read on behind a delimiter.
    #[test]
    fn lines_of_cr_alone_hide_nothing() {
        let odd = "!multipart-header-odd";
        check(
            TYPE,
            &format!("--b\r{DISPOSITION}a\r\rEVIL\r--b--"),
            &format!(r"body.text=\r{DISPOSITION}a\r\rEVIL = a=EVIL {odd} !multipart-part-unnamed"),
        );
        check(
            TYPE,
            &format!("--b\r\n{DISPOSITION}a\r\rEVIL\r\n--b--"),
            &format!(r"name=a\r\rEVIL a\r\rEVIL= a=EVIL {odd}"),
        );
        check(TYPE, &format!("--b EVIL\r\n{DISPOSITION}a\r\n\r\n1\r\n--b--"), "body.text= EVIL a=1");
    }

    /// Case C33.
    #[test]
    fn a_part_has_a_charset_of_its_own() {
        let part = |charset: &str, value: &str| {
            format!(
                "--b\r\n{DISPOSITION}a\r\nContent-Type: text/plain; charset={charset}\r\n\r\n{value}\r\n--b--"
            )
        };
        let header = |charset: &str| format!("a.header=Content-Type: text/plain; charset={charset}");
        check(TYPE, &part("utf-7", "+ADw-"), &format!("{} a=+ADw- a=< !charset-unusual", header("utf-7")));
        check(
            TYPE,
            &part("utf-16be", "\0<\0a"),
            &format!(r"{} a=\x00<\x00a a=<a !charset-unusual", header("utf-16be")),
        );
        check(TYPE, &part("utf-8", "x"), &format!("{} a=x", header("utf-8")));
    }

    #[test]
    fn more_parts_than_are_told_apart_are_one() {
        let body = format!("--b\r\n{DISPOSITION}a\r\n\r\n1\r\n").repeat(MAX_PARTS + 5) + "--b--";
        let (mut fields, mut anomalies) = (Fields::default(), Anomalies::NONE);
        push(TYPE.as_bytes(), body.as_bytes(), &mut fields, &mut anomalies);
        assert!(anomalies.contains(Anomaly::TooManyParts) && fields.len() <= MAX_PARTS);
        // What the last of many holds is decoded.
        let many = format!("--b\r\n{DISPOSITION}a\r\n\r\n1\r\n").repeat(1000);
        let last =
            format!("--b\r\n{DISPOSITION}z\r\nContent-Transfer-Encoding: base64\r\n\r\nRVZJTA==\r\n--b--");
        let mut fields = Fields::default();
        push(TYPE.as_bytes(), (many + &last).as_bytes(), &mut fields, &mut anomalies);
        let values = fields.iter().filter(|field| field.name == b"z").map(|field| field.value);
        assert!(values.eq([&b"RVZJTA=="[..], b"EVIL"]));
    }

    #[test]
    fn parts_in_parts() {
        let inner = format!("--c\r\n{DISPOSITION}i\r\n\r\nEVIL\r\n--c--");
        let body = format!(
            "--b\r\n{DISPOSITION}o\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n{inner}\r\n--b--"
        );
        let (mut fields, mut anomalies) = (Fields::default(), Anomalies::NONE);
        push(TYPE.as_bytes(), body.as_bytes(), &mut fields, &mut anomalies);
        assert_eq!(fields.get(Place::Multipart, b"i").map(|field| field.value), Some(&b"EVIL"[..]));
    }

    proptest! {
        #[test]
        fn any_bytes_end(body in proptest::collection::vec(proptest::sample::select(b"-b\r\n:;=\"name\\*'%".to_vec()), 0..80)) {
            push(TYPE.as_bytes(), &body, &mut Fields::default(), &mut Anomalies::default());
            push(&[b"a/b;boundary=", &body[..]].concat(), &body, &mut Fields::default(), &mut Anomalies::default());
        }
    }
}
