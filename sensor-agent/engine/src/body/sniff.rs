//! What a body is: by its declared type, or by its first bytes.

use super::graphql;

/// What a body is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form<'a> {
    UrlEncoded,
    Json,
    Xml,
    GraphQl,
    /// With the whole Content-Type, if there is one.
    Multipart(&'a [u8]),
    Text,
}

impl<'a> Form<'a> {
    /// The form of a Content-Type.
    pub(super) fn declared(content_type: &'a [u8]) -> Self {
        let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
        if is("application/x-www-form-urlencoded") {
            Self::UrlEncoded
        } else if is("application/json") || is("text/json") || ends_with_ignore_case(essence, b"+json") {
            Self::Json
        } else if is("application/xml") || is("text/xml") || ends_with_ignore_case(essence, b"+xml") {
            Self::Xml
        } else if is("application/graphql") {
            Self::GraphQl
        } else if essence.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/")) {
            Self::Multipart(content_type)
        } else {
            Self::Text
        }
    }

    pub(super) fn same_kind(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// Whether a body that looks like this is hardly anything else.
    pub(super) fn is_sure(self) -> bool {
        matches!(self, Self::Json | Self::Xml | Self::Multipart(_))
    }
}

fn ends_with_ignore_case(text: &[u8], end: &[u8]) -> bool {
    text.len() >= end.len() && text[text.len() - end.len()..].eq_ignore_ascii_case(end)
}

/// What a body looks like whose type is not given, or not believed.
pub(super) fn sniff(body: &[u8]) -> Form<'_> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    if is_json(body) {
        return Form::Json;
    }
    if is_xml(body) {
        return Form::Xml;
    }
    if super::multipart::first_boundary(body).is_some() {
        return Form::Multipart(b"");
    }
    let name = body.iter().take_while(|&&byte| !matches!(byte, b'=' | b'&')).count();
    let named = name > 0 && body.get(name) == Some(&b'=') && body[..name].iter().all(u8::is_ascii_graphic);
    if named && body[0] != b'<' {
        Form::UrlEncoded
    } else if graphql::looks_like(body) && body.starts_with(b"{") {
        Form::GraphQl
    } else {
        Form::Text
    }
}

/// Whether a text begins an object or array.
pub(super) fn is_json(text: &[u8]) -> bool {
    match text {
        [b'{', rest @ ..] => {
            matches!(rest.trim_ascii_start(), [b'"' | b'}' | b'\'', ..] | [b'/', b'*' | b'/', ..])
        }
        [b'[', rest @ ..] => {
            matches!(
                rest.trim_ascii_start(),
                [b'"' | b'{' | b'[' | b'0'..=b'9', ..] | [b'/', b'*' | b'/', ..]
            )
        }
        _ => false,
    }
}

/// Whether a text begins a document or an element.
pub(super) fn is_xml(text: &[u8]) -> bool {
    matches!(text, [b'<', b'?' | b'!' | b'_' | b'a'..=b'z' | b'A'..=b'Z', ..])
}
