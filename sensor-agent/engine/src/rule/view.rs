//! Views of a value: the value as it stood, and what decoders make of it. Attacks are encoded in the hope that the
//! sensor decodes less than the application does, so every intermediate step is kept and looked at.

use crate::field::{Field, Place};
use crate::finding::Decoder;

use super::decode;

/// Percent-encodings resolved one inside the other.
pub const MAX_PERCENT_DEPTH: usize = 3;
/// Most decoders in a row.
pub const MAX_CHAIN: usize = 10;

/// Decoders in the order in which they were applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    steps: [Option<Decoder>; MAX_CHAIN],
    len: u8,
}

impl Chain {
    fn with(mut self, decoder: Decoder) -> Self {
        if let Some(free) = self.steps.get_mut(usize::from(self.len)) {
            *free = Some(decoder);
            self.len += 1;
        }
        self
    }

    /// The decoders in order.
    pub fn iter(&self) -> impl Iterator<Item = Decoder> + '_ {
        self.steps.iter().flatten().copied()
    }

    /// Whether `decoder` is among them.
    #[must_use]
    pub fn has(&self, decoder: Decoder) -> bool {
        self.iter().any(|step| step == decoder)
    }
}

/// One view, borrowed from [`Views`].
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The bytes behind the decoders.
    pub bytes: &'a [u8],
    /// A bit for each kind of byte in them.
    signs: u32,
    /// How they came to be.
    pub chain: Chain,
}

impl View<'_> {
    /// Marks of punctuation that stand in it, a bit each as [`mark`] gives them.
    pub(super) fn marks(&self) -> u32 {
        self.signs & MARKS
    }

    /// Share of a rule's confidence that is left behind the decoders: a file that is only text after base64 may never be
    /// read by the application, while a short line hardly comes to be encoded by accident.
    #[must_use]
    pub fn trust(&self) -> f32 {
        let encoded = self.chain.has(Decoder::Base64) || self.chain.has(Decoder::Hex);
        let file =
            || self.bytes.len() > MAX_ENCODED_LINE || memchr::memchr_iter(b'\n', self.bytes).nth(1).is_some();
        if encoded && file() { ENCODED_FILE } else { 1.0 }
    }
}

/// Longest text behind base64 that counts fully.
const MAX_ENCODED_LINE: usize = 400;
/// What a match in a longer one counts.
const ENCODED_FILE: f32 = 0.8;

/// `start <= end`, within `Views::bytes`.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    end: usize,
    chain: Chain,
    signs: u32,
}

/// The views of one field; reused for the next.
#[derive(Debug, Default)]
pub struct Views {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    scratch: Vec<u8>,
    /// Number of the view behind the percent decoders alone.
    decoded: usize,
}

impl Views {
    /// Replaces the views by those of `field`.
    pub fn fill(&mut self, field: &Field<'_>) {
        self.bytes.clear();
        self.entries.clear();
        self.bytes.extend_from_slice(field.value);
        let mut signs = signs(field.value);
        self.entries.push(Entry { start: 0, end: field.value.len(), chain: Chain::default(), signs });
        // What a server wrote reaches its reader as it stands.
        if field.place.is_response() {
            self.decoded = 0;
            return;
        }
        let plus =
            matches!(field.place, Place::Query | Place::Segment | Place::Form | Place::Target | Place::Name);
        for depth in 0..MAX_PERCENT_DEPTH {
            let plus = plus && depth == 0;
            let may = signs & PERCENT != 0 || plus && signs & PLUS != 0;
            if !may || !self.step(Decoder::Percent, |input, out| decode::percent(input, plus, out)) {
                break;
            }
            signs = self.last_signs();
        }
        let decoded = self.entries.len() - 1;
        self.decoded = decoded;
        let steps: [(u32, Decoder, Decode); 4] = [
            (HIGH, Decoder::Unicode, decode::unicode),
            (AMPERSAND, Decoder::HtmlEntities, decode::html),
            (BACKSLASH, Decoder::JsEscapes, decode::js),
            (SLASH, Decoder::SqlComments, decode::sql_comments),
        ];
        let (mut plain, mut plain_signs, of_decoded) = (decoded, signs, signs);
        for (sign, decoder, decode) in steps {
            if decoder == Decoder::SqlComments {
                (plain, plain_signs) = (self.entries.len() - 1, signs);
            }
            if signs & sign != 0 && self.step(decoder, decode) {
                signs = self.last_signs();
            }
        }
        if signs & BLANK != 0 {
            self.step(Decoder::Fold, decode::fold);
        }
        if plain_signs & (SLASH | BACKSLASH | SEMICOLON) != 0 {
            self.step_from(plain, Decoder::Path, normalise_path);
        }
        for (decoder, decode) in
            [(Decoder::Base64, decode::base64 as Decode), (Decoder::Hex, decode::hex_text)]
        {
            if self.step_from(decoded, decoder, decode) {
                _ = self.step(Decoder::Base64, decode::base64) || self.step(Decoder::Hex, decode::hex_text);
                self.look_behind();
            }
        }
        if of_decoded & PERCENT != 0 && self.step_from(decoded, Decoder::Percent, decode::lone_percent) {
            self.step(Decoder::SqlComments, decode::sql_comments);
        }
        if plus && of_decoded & PLUS != 0 && self.step_from(decoded, Decoder::Percent, decode::pluses) {
            self.step(Decoder::SqlComments, decode::sql_comments);
        }
        if of_decoded & BACKSLASH != 0 {
            self.step_from(decoded, Decoder::CssEscapes, decode::css);
        }
    }

    /// What the text of the newest view is to who decodes it further.
    fn look_behind(&mut self) {
        let steps: [(Decoder, Decode); 7] = [
            (Decoder::Percent, |input, out| decode::percent(input, false, out)),
            (Decoder::Unicode, decode::unicode),
            (Decoder::HtmlEntities, decode::html),
            (Decoder::JsEscapes, decode::js),
            (Decoder::SqlComments, decode::sql_comments),
            (Decoder::Fold, decode::fold),
            (Decoder::Percent, decode::lone_percent),
        ];
        for (decoder, decode) in steps {
            self.step(decoder, decode);
        }
    }

    /// The signs of the newest view.
    fn last_signs(&self) -> u32 {
        self.entries.last().map_or(0, |entry| entry.signs)
    }

    /// The views, the raw one first.
    pub fn iter(&self) -> impl Iterator<Item = View<'_>> {
        self.entries.iter().map(|entry| self.view(entry))
    }

    /// The view behind the encoding of the wire alone.
    #[must_use]
    pub fn decoded(&self) -> View<'_> {
        self.get(self.decoded).unwrap_or(View { bytes: &[], signs: 0, chain: Chain::default() })
    }

    /// The number of that view.
    #[must_use]
    pub fn decoded_number(&self) -> usize {
        self.decoded
    }

    /// The view of this number.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<View<'_>> {
        self.entries.get(index).map(|entry| self.view(entry))
    }

    fn view(&self, entry: &Entry) -> View<'_> {
        let bytes = self.bytes.get(entry.start..entry.end).unwrap_or_default();
        View { bytes, signs: entry.signs, chain: entry.chain }
    }

    fn step(&mut self, decoder: Decoder, decode: impl Fn(&[u8], &mut Vec<u8>) -> bool) -> bool {
        self.step_from(self.entries.len() - 1, decoder, decode)
    }

    /// Adds what `decode` makes of view `from`, if that is something new.
    fn step_from(
        &mut self,
        from: usize,
        decoder: Decoder,
        decode: impl Fn(&[u8], &mut Vec<u8>) -> bool,
    ) -> bool {
        let Some(&source) = self.entries.get(from) else { return false };
        self.scratch.clear();
        let input = self.bytes.get(source.start..source.end).unwrap_or_default();
        if !decode(input, &mut self.scratch) || self.scratch == input {
            return false;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&self.scratch);
        let (chain, signs) = (source.chain.with(decoder), signs(&self.scratch));
        self.entries.push(Entry { start, end: self.bytes.len(), chain, signs });
        true
    }
}

type Decode = fn(&[u8], &mut Vec<u8>) -> bool;

/// Signs of what a decoder could change, gathered in one pass, so that most decoders need not run.
const PERCENT: u32 = 1;
const PLUS: u32 = 2;
const HIGH: u32 = 4;
const AMPERSAND: u32 = 8;
const BACKSLASH: u32 = 16;
const SLASH: u32 = 32;
const BLANK: u32 = 64;
const SEMICOLON: u32 = 128;

/// Bytes that rules have as a literal of their own, the most common first, told in the same pass: the first has the ninth bit.
const MARKED: &[u8; 24] = b"\n'\"()<>=;$`{}[]?*@~\\|&#:";
/// First bit of the marks.
const FIRST_MARK: u32 = 8;
/// All marks.
const MARKS: u32 = u32::MAX << FIRST_MARK;

/// The bit that says that `byte` stands in a view; 0 for one of which views do not tell.
pub(super) const fn mark(byte: u8) -> u32 {
    let mut at = 0;
    while at < MARKED.len() {
        if MARKED[at] == byte {
            return 1 << (at as u32 + FIRST_MARK);
        }
        at += 1;
    }
    0
}

const SIGNS: [u32; 256] = {
    let mut signs = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let sign = match byte as u8 {
            b'%' => PERCENT,
            b'+' => PLUS,
            b'&' => AMPERSAND,
            b'\\' => BACKSLASH,
            b'/' => SLASH,
            b';' => SEMICOLON,
            0 => HIGH | BLANK,
            1..=b' ' => BLANK,
            0x80.. => HIGH,
            _ => 0,
        };
        signs[byte] = sign | mark(byte as u8);
        byte += 1;
    }
    signs
};

/// Bytes whose signs are gathered side by side: a processor waits for none of them.
const LANES: usize = 4;

fn signs(value: &[u8]) -> u32 {
    let (runs, rest) = value.as_chunks::<LANES>();
    let mut lanes = [0; LANES];
    for run in runs {
        for (lane, byte) in lanes.iter_mut().zip(run) {
            *lane |= SIGNS[usize::from(*byte)];
        }
    }
    let of_rest = rest.iter().fold(0, |signs, &byte| signs | SIGNS[usize::from(byte)]);
    lanes.iter().fold(of_rest, |signs, lane| signs | lane)
}

/// Path normalisation, for values in which it could reveal something.
fn normalise_path(input: &[u8], out: &mut Vec<u8>) -> bool {
    let telling = |at: usize| {
        let near = |at: Option<usize>| at.and_then(|at| input.get(at)).copied();
        let (before, behind) = (near(at.checked_sub(1)), near(Some(at + 1)));
        match input.get(at) {
            Some(b'\\') => true,
            Some(b'/') => before == Some(b'.') || behind == Some(b'/'),
            _ => before == Some(b'.'),
        }
    };
    memchr::memchr3_iter(b'/', b'\\', b';', input).any(telling) && decode::path(input, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views(place: Place, value: &[u8]) -> Vec<String> {
        let mut views = Views::default();
        views.fill(&Field { place, name: b"x", value, offset: 0 });
        let shown = |view: View<'_>| {
            let chain: Vec<_> = view.chain.iter().map(Decoder::name).collect();
            format!("{}:{}", chain.join(","), view.bytes.escape_ascii())
        };
        views.iter().map(shown).collect()
    }

    #[test]
    fn every_depth_of_percent_encoding_is_a_view() {
        assert_eq!(
            views(Place::Query, b"%25252e%252e%2fetc"),
            [
                ":%25252e%252e%2fetc",
                "percent:%252e%2e/etc",
                "percent,percent:%2e./etc",
                "percent,percent,percent:../etc"
            ]
        );
    }

    #[test]
    fn a_plus_is_a_space_in_queries_only() {
        assert_eq!(views(Place::Query, b"a+b"), [":a+b", "percent:a b"]);
        assert_eq!(views(Place::Json, b"a+b"), [":a+b"]);
    }

    #[test]
    fn comments_go_and_white_space_folds() {
        assert_eq!(
            views(Place::Json, b"1/**/UNION\tALL"),
            [":1/**/UNION\\tALL", "sql-comments:1UNION\\tALL", "sql-comments,fold:1union all"]
        );
    }

    #[test]
    fn chains_of_different_encodings() {
        let shown = views(Place::Query, b"%26%2360%3bsvg%5Cx3e");
        assert_eq!(shown.last().map(String::as_str), Some("percent,html,js:<svg>"));
    }

    #[test]
    fn escapes_of_style_sheets() {
        assert_eq!(
            views(Place::Query, br"%5c3c x%5c3e"),
            [r":%5c3c x%5c3e", r"percent:\\3c x\\3e", "percent,path:/3c x/3e", "percent,css:<x>"]
        );
    }

    #[test]
    fn what_stands_behind_base64_is_decoded_further() {
        let shown = views(Place::Json, b"Jm5ic3A7JyB1bmlvbi8qKi9zZWwAZWN0IDE=");
        assert_eq!(
            shown[1..],
            [
                r"base64:&nbsp;\' union/**/sel\x00ect 1",
                r"base64,unicode:&nbsp;\' union/**/select 1",
                r"base64,unicode,html: \' union/**/select 1",
                r"base64,unicode,html,sql-comments: \' unionselect 1",
            ]
        );
    }

    #[test]
    fn a_second_field_replaces_the_first() {
        let mut views = Views::default();
        for value in [&b"%41%2541"[..], b"b"] {
            views.fill(&Field { place: Place::Json, name: b"", value, offset: 0 });
        }
        assert_eq!(views.iter().map(|view| view.bytes.to_vec()).collect::<Vec<_>>(), [b"b"]);
    }
}
