//! Response bodies → one field of text. Pages, data and scripts are text that a client reads; pictures, fonts, archives and style
//! sheets are what most bytes of a site are, and nothing of interest stands in them, so that they are not even decoded.

use std::borrow::Cow;

use super::charset::Charset;
use super::parameter;
use crate::field::{Fields, Place};

/// First bytes in which a NUL says that a body without a type is no text.
const SAMPLE: usize = 512;

/// Whether a response of this Content-Type is inspected. Without one, clients look at the bytes, and so must the sensor.
#[must_use]
pub fn is_inspected(content_type: Option<&[u8]>) -> bool {
    let Some(content_type) = content_type else { return true };
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let starts = |word: &[u8]| essence.get(..word.len()).is_some_and(|text| text.eq_ignore_ascii_case(word));
    let holds = |word: &[u8]| essence.windows(word.len()).any(|text| text.eq_ignore_ascii_case(word));
    if starts(b"text/") {
        return !essence.eq_ignore_ascii_case(b"text/css");
    }
    essence.is_empty()
        || holds(b"json")
        || holds(b"javascript")
        || holds(b"xml") && !starts(b"application/vnd.openxml")
        || starts(b"application/x-www-form-urlencoded")
        || starts(b"application/graphql")
        || starts(b"application/problem")
        || starts(b"multipart/")
}

/// Adds a body without codings as text in UTF-8, as a client reads it by its declared character set or its first bytes.
pub fn push_text(content_type: Option<&[u8]>, body: &[u8], fields: &mut Fields) {
    let unnamed = content_type.is_none_or(|one| one.trim_ascii().is_empty());
    let charset = content_type.and_then(|one| Charset::of(parameter::parameter(one, b"charset")?));
    let charset = charset.or_else(|| Charset::sniff(body));
    if body.is_empty() || unnamed && charset.is_none() && body.iter().take(SAMPLE).any(|&byte| byte == 0) {
        return;
    }
    let text = match charset {
        Some(charset) => Cow::Owned(charset.decode(body)),
        None => Cow::Borrowed(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)),
    };
    fields.push(Place::ResponseBody, b"", &text, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_are_text() {
        for (content_type, expected) in [
            ("text/html; charset=utf-8", true),
            ("TEXT/HTML", true),
            ("application/json", true),
            ("application/hal+json", true),
            ("application/xhtml+xml", true),
            ("application/javascript", true),
            ("image/svg+xml", true),
            ("", true),
            ("text/css", false),
            ("image/png", false),
            ("font/woff2", false),
            ("application/octet-stream", false),
            ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", false),
            ("video/mp4", false),
        ] {
            assert_eq!(is_inspected(Some(content_type.as_bytes())), expected, "{content_type}");
        }
        assert!(is_inspected(None));
    }

    #[track_caller]
    fn check(content_type: Option<&str>, body: &[u8], expected: Option<&str>) {
        let mut fields = Fields::default();
        push_text(content_type.map(str::as_bytes), body, &mut fields);
        let got = fields.at(0).map(|field| String::from_utf8_lossy(field.value).into_owned());
        assert_eq!(got.as_deref(), expected, "{content_type:?}");
    }

    #[test]
    fn bodies_become_text() {
        check(Some("text/html"), b"<p>a", Some("<p>a"));
        check(Some("text/html"), b"\xef\xbb\xbf<p>", Some("<p>"));
        check(Some("text/html; charset=utf-16le"), b"a\0b\0", Some("ab"));
        check(Some("text/html; charset=shift_jis"), b"\x83\x65", Some("\u{30c6}"));
        check(None, b"\xff\xfe<\0p\0>\0", Some("<p>"));
        check(None, b"\x89PNG\0\0", None);
        check(None, b"plain", Some("plain"));
        check(Some("text/plain"), b"", None);
    }
}
