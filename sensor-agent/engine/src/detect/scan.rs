//! The coded detectors over the views of one field, and the surest hit of each.

use std::sync::Arc;

use crate::field::{Field, Place};
use crate::finding::Decoder;
use crate::rule::{View, Views};
use crate::token::TokenKeys;

use super::builtin::Code;
use super::sql::Sql;
use super::{CodeHit, auth, html, jwt, shell};

/// Bytes of a view that the coded detectors look at.
pub(crate) const MAX_VIEW_BYTES: usize = 128 * 1024;
/// Coded detections in headers count from this confidence: header values are full of punctuation.
const HEADER_FROM: f32 = 0.72;
/// Headers of fewer bytes may be a command and nothing else.
const SHORT_HEADER: usize = 60;
/// Commands in the middle of a header count from this confidence.
const COMMAND_IN_HEADER: f32 = 0.85;
/// Commands at the beginning of a User-Agent count from this confidence.
const NAMED_PROGRAM: f32 = 0.75;
/// Weaker detections are noise.
const KEEP_FROM: f32 = 0.3;

/// Headers whose values are lists of types, dates, digests and the like.
const FORMAL_HEADERS: &[&[u8]] = &[
    b"accept",
    b"accept-charset",
    b"accept-encoding",
    b"accept-language",
    b"authorization",
    b"cache-control",
    b"connection",
    b"content-disposition",
    b"content-length",
    b"content-type",
    b"cookie",
    b"date",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"keep-alive",
    b"pragma",
    b"priority",
    b"proxy-authorization",
    b"range",
    b"te",
    b"transfer-encoding",
    b"upgrade",
];

/// Scratch memory and hits of one field.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    sql: Sql,
    pub(super) tokens: jwt::Tokens,
    hits: Vec<CodeHit>,
    steps: u64,
}

impl Scanner {
    /// A scanner that asks these keys about signatures.
    pub(super) fn asking(keys: Option<&Arc<dyn TokenKeys>>) -> Self {
        let mut scanner = Self::default();
        scanner.tokens.replace_keys(keys.cloned());
        scanner
    }

    pub(super) fn clear(&mut self) {
        self.hits.clear();
        self.tokens.take_claimed();
    }

    pub(super) fn hits(&self) -> &[CodeHit] {
        &self.hits
    }

    /// What all looks together took.
    pub(super) fn steps(&self) -> u64 {
        self.steps + self.sql.steps
    }

    /// What needs no decoding: authentication headers and tokens.
    pub(super) fn raw(&mut self, field: &Field<'_>, method: &[u8]) {
        if field.place == Place::Header
            && let Some(found) = auth::in_header(field, method)
        {
            self.keep(found.code, 0, (found.start, found.end), found.confidence);
        }
        for found in self.tokens.look(field) {
            keep_hit(&mut self.hits, found.hit());
        }
    }

    /// What shows in some view. The result is the number of bytes that were left out.
    pub(super) fn views(&mut self, field: &Field<'_>, views: &Views) -> u64 {
        let formal = field.place == Place::Header
            && (FORMAL_HEADERS.contains(&field.name) || field.name.starts_with(b"sec-"));
        if formal || matches!(field.place, Place::Method | Place::Target) {
            return 0;
        }
        let mut left_out = 0;
        // Behind a percent sign everything looks like an operand: where the encoding is usual, its text says nothing.
        let encoded = field.place.is_url_encoded() || matches!(field.place, Place::Cookie | Place::Header);
        let skip = if encoded { views.decoded_number() } else { 0 };
        for (number, view) in views.iter().enumerate().skip(skip) {
            left_out += view.bytes.len().saturating_sub(MAX_VIEW_BYTES) as u64;
            self.view(field, number, view);
        }
        left_out
    }

    fn view(&mut self, field: &Field<'_>, number: usize, view: View<'_>) {
        let bytes = view.bytes.get(..MAX_VIEW_BYTES).unwrap_or(view.bytes);
        let trust = view.trust();
        if let Some(found) = auth::in_parameter(field, bytes) {
            self.keep(found.code, number, (found.start, found.end), found.confidence * trust);
        }
        // These detectors skip white space and case themselves.
        if matches!(view.chain.iter().last(), Some(Decoder::Fold | Decoder::Path)) {
            return;
        }
        let from = if field.place == Place::Header { HEADER_FROM } else { KEEP_FROM };
        // The texts and attributes of a document are values of their own; across its marks, nothing is a query or a command.
        let document = field.place == Place::Text && is_document(bytes);
        if !document
            && let Some(found) = self.sql.find(bytes).filter(|found| found.confidence * trust >= from)
        {
            let confidence = found.confidence * trust;
            let (code, start, end, breaks) = (found.code, found.start, found.end, found.breaks);
            keep_hit(&mut self.hits, CodeHit { code, view: number, start, end, confidence, breaks });
        }
        if let Some(found) =
            html::find(bytes, &mut self.steps).filter(|found| found.confidence * trust >= from)
        {
            self.keep(found.code, number, (found.start, found.end), found.confidence * trust);
        }
        // Headers are full of semicolons: a command in one of them stands at its beginning.
        let begins =
            bytes.first().is_some_and(|byte| matches!(byte, b';' | b'|' | b'&' | b'`' | b'$' | b'('));
        let text = matches!(field.name, b"user-agent" | b"referer");
        if document || field.place == Place::Path || field.place == Place::Header && !begins && !text {
            return;
        }
        // A command alone has no product and version in front of it.
        let alone = text && bytes.len() < SHORT_HEADER && !bytes.contains(&b'/');
        let from = if field.place == Place::Header && !begins && !alone { COMMAND_IN_HEADER } else { from };
        // A User-Agent names a program: without a sign in front, its name is no command.
        let named = field.place == Place::Query && field.name == b"user-agent" && !begins;
        let counts = |found: &shell::Found| {
            found.confidence * trust >= from
                && !(named && found.start == 0 && found.confidence < NAMED_PROGRAM)
        };
        if let Some(found) = shell::find(bytes, &mut self.steps).filter(counts) {
            self.keep(Code::ShellCommand, number, (found.start, found.end), found.confidence * trust);
        }
    }

    fn keep(&mut self, code: Code, view: usize, (start, end): (usize, usize), confidence: f32) {
        keep_hit(&mut self.hits, CodeHit { code, view, start, end, confidence, breaks: false });
    }
}

/// Whether a text is markup from its beginning to its end.
fn is_document(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let opens = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'?' | b'!' | b'_');
    text.first() == Some(&b'<') && text.get(1).is_some_and(opens) && text.ends_with(b">")
}

/// Keeps the surest hit of each detection, of equal ones the first.
fn keep_hit(hits: &mut Vec<CodeHit>, hit: CodeHit) {
    match hits.iter_mut().find(|known| known.code == hit.code) {
        Some(known) if known.confidence >= hit.confidence => {}
        Some(known) => *known = hit,
        None => hits.push(hit),
    }
}
