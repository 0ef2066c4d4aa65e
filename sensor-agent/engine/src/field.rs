//! Inspection fields: the named values of a message that rules look at. One arena per connection worker holds the
//! fields of the message in hand and is reused for the next, so that filling it allocates nothing in steady state.

use std::fmt;

/// Most fields kept of one message; further ones are counted by [`Fields::dropped`].
pub const MAX_FIELDS: usize = 2048;
/// Most bytes kept of one message's names and values together: a body that can be read in several ways is kept in each.
pub const MAX_FIELD_BYTES: usize = 4 << 20;

/// Where in a message a value stood. The variant's text is the first part of the field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The request method.
    Method,
    /// The request target as it stood on the wire.
    Target,
    /// The path part of the target, undecoded.
    Path,
    /// A segment of the path, undecoded, named by its number from 1. It is no field of its own: rules that look at parameters are shown
    /// it while they are shown the path.
    Segment,
    /// A query parameter's value, undecoded; the name is the parameter's, undecoded.
    Query,
    /// A header's value; the name is in lower case.
    Header,
    /// A cookie's value.
    Cookie,
    /// A value of an `application/x-www-form-urlencoded` body, undecoded.
    Form,
    /// A JSON string, number or literal, with escapes resolved; the name is its path, `user.roles.0`.
    Json,
    /// A part of a multipart body; a file name is `NAME.filename`, another part header `NAME.header`.
    Multipart,
    /// A text of an XML body, named by its path, `order.item`; an attribute is `order.item@id`. `doctype` is the whole
    /// declaration, `entity.NAME` what an entity stands for (never resolved), `comment` and `pi` what their names say.
    Xml,
    /// An argument's value in a GraphQL document, named by the path of its selection: `user.orders.first`.
    GraphQl,
    /// A WebSocket text message. A message that is JSON or XML gives fields of those places beside.
    WebSocket,
    /// A text of a gRPC message, named by the path of its field numbers, `1.2`.
    Grpc,
    /// A body of no known form, or the part of a body that did not parse.
    Text,
    /// The NAME of a parameter, JSON key, header or part, as a value: attacks stand there too.
    Name,
    /// The status code of a response.
    ResponseStatus,
    /// A header's value in a response, or a trailer's; the name is in lower case.
    ResponseHeader,
    /// A response's body as text, without codings, as far as it is inspected.
    ResponseBody,
}

impl Place {
    /// First part of the field's name, as rules and events spell it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Target => "target",
            Self::Path => "path",
            Self::Segment => "path.segment",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
            Self::Form => "body.form",
            Self::Json => "body.json",
            Self::Multipart => "body.multipart",
            Self::Xml => "body.xml",
            Self::GraphQl => "body.graphql",
            Self::WebSocket => "body.websocket",
            Self::Grpc => "body.grpc",
            Self::Text => "body.text",
            Self::Name => "name",
            Self::ResponseStatus => "response.status",
            Self::ResponseHeader => "response.header",
            Self::ResponseBody => "response.body",
        }
    }

    /// Whether values of this place come from a request's body.
    #[must_use]
    pub const fn is_body(self) -> bool {
        matches!(
            self,
            Self::Form
                | Self::Json
                | Self::Multipart
                | Self::Xml
                | Self::GraphQl
                | Self::WebSocket
                | Self::Grpc
                | Self::Text
        )
    }

    /// Whether values of this place come from a response.
    #[must_use]
    pub const fn is_response(self) -> bool {
        matches!(self, Self::ResponseStatus | Self::ResponseHeader | Self::ResponseBody)
    }

    /// Whether values of this place are percent-encoded on the wire as a rule.
    #[must_use]
    pub const fn is_url_encoded(self) -> bool {
        matches!(self, Self::Target | Self::Path | Self::Segment | Self::Query | Self::Form)
    }
}

/// One named value, borrowed from [`Fields`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Where it stood.
    pub place: Place,
    /// Its name within the place; hostile bytes. Empty where a place has one value.
    pub name: &'a [u8],
    /// Its value as [`Place`] says; hostile bytes.
    pub value: &'a [u8],
    /// Where the value began: bytes from the start of the head, or of the decoded body for body fields.
    pub offset: u32,
}

impl fmt::Display for Field<'_> {
    /// The full name, `query.id`; bytes that are not printable ASCII are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.place.text())?;
        if !self.name.is_empty() {
            write!(f, ".{}", self.name.escape_ascii())?;
        }
        Ok(())
    }
}

/// The fields of one message.
#[derive(Debug, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    dropped: u32,
    unopened: u32,
    pub(crate) spare: Spare,
}

/// Memory of the scanner of JSON, kept from message to message.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    pub(crate) path: Vec<u8>,
    pub(crate) string: Vec<u8>,
    pub(crate) keys: Vec<u64>,
    /// Lengths of paths, and indexes in arrays.
    pub(crate) levels: Vec<(u32, Option<u32>)>,
}

/// Elements up to which lists are kept.
const MAX_SPARE: usize = 4096;

impl Spare {
    /// What is worth keeping, emptied.
    pub(crate) fn cleared(mut self) -> Self {
        self.path.clear();
        self.string.clear();
        self.keys.clear();
        self.levels.clear();
        let large = self.string.capacity().max(self.levels.capacity()) > MAX_SPARE;
        if large { Self::default() } else { self }
    }
}

/// `name_start <= value_start <= end`, all within `Fields::bytes`.
#[derive(Clone, Copy, Debug)]
struct Entry {
    place: Place,
    name_start: u32,
    value_start: u32,
    end: u32,
    offset: u32,
}

impl Fields {
    /// Forgets all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        (self.dropped, self.unopened) = (0, 0);
    }

    /// Adds a field. Beyond [`MAX_FIELDS`] or [`MAX_FIELD_BYTES`] it is counted and left out, and the result is false.
    pub fn push(&mut self, place: Place, name: &[u8], value: &[u8], offset: usize) -> bool {
        let grown = self.bytes.len().saturating_add(name.len()).saturating_add(value.len());
        if self.entries.len() >= MAX_FIELDS || grown > MAX_FIELD_BYTES {
            self.dropped += 1;
            return false;
        }
        let name_start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name);
        let value_start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        self.entries.push(Entry { place, name_start, value_start, end: self.bytes.len() as u32, offset });
        true
    }

    /// As [`Self::push`], with the name in lower case.
    pub(crate) fn push_lower(&mut self, place: Place, name: &[u8], value: &[u8], offset: usize) -> bool {
        let pushed = self.push(place, name, value, offset);
        if let Some(entry) = self.entries.last().filter(|_| pushed) {
            self.bytes[entry.name_start as usize..entry.value_start as usize].make_ascii_lowercase();
        }
        pushed
    }

    /// Notes a document in a value that is not taken apart because there were too many.
    pub(crate) fn note_unopened(&mut self) {
        self.unopened += 1;
    }

    /// Documents in values that were not taken apart because there were too many.
    #[must_use]
    pub fn unopened(&self) -> u32 {
        self.unopened
    }

    /// The fields in the order in which they were added.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Field<'_>> + ExactSizeIterator {
        self.entries.iter().map(|entry| self.field(entry))
    }

    /// The fields of a place, in that order.
    pub(crate) fn of(&self, place: Place) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().filter(move |entry| entry.place == place).map(|entry| self.field(entry))
    }

    /// The field of this number.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<Field<'_>> {
        self.entries.get(index).map(|entry| self.field(entry))
    }

    /// The first field of `place` with this name.
    #[must_use]
    pub fn get(&self, place: Place, name: &[u8]) -> Option<Field<'_>> {
        self.of(place).find(|field| field.name == name)
    }

    /// Fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Fields left out of this message because a limit was reached.
    #[must_use]
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    fn field(&self, entry: &Entry) -> Field<'_> {
        Field {
            place: entry.place,
            name: &self.bytes[entry.name_start as usize..entry.value_start as usize],
            value: &self.bytes[entry.value_start as usize..entry.end as usize],
            offset: entry.offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_order_with_their_names() {
        let mut fields = Fields::default();
        fields.push(Place::Path, b"", b"/a", 4);
        fields.push(Place::Query, b"id", b"1'", 10);
        let shown: Vec<_> =
            fields.iter().map(|f| format!("{f}={} @{}", f.value.escape_ascii(), f.offset)).collect();
        assert_eq!(shown, [r"path=/a @4", r"query.id=1\' @10"]);
    }

    #[test]
    fn a_full_arena_counts_what_it_leaves_out() {
        let mut fields = Fields::default();
        assert!(fields.push(Place::Text, b"", &vec![b'x'; MAX_FIELD_BYTES], 0));
        assert!(!fields.push(Place::Text, b"", b"y", 0));
        assert_eq!((fields.len(), fields.dropped()), (1, 1));
        fields.clear();
        assert!(fields.is_empty() && fields.dropped() == 0);
    }
}
