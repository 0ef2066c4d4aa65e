//! Finding the rules whose literals stand in a text, in one pass. Four bytes at a time are looked up in a filter, which the processor's
//! first cache holds, and no look depends on the one before, as the steps of an automaton do; only where the filter says maybe are literals
//! compared. Of each literal the filter knows the four bytes (of short ones the two) that are rarest in what people write, so that text
//! hardly ever makes it say maybe.
//!
//! The filter is one of masks rather than of single bits, because picking a bit takes a processor longer than an AND: a hash of the four
//! bytes says which first bytes they may have, and the first of two bytes says which groups of pairs they may be of, as the second does.

use std::ops::Range;

use super::view;

/// Shortest literal that is looked for by four of its bytes.
const WIDE: usize = 4;
/// Bytes of the filter for four bytes, as a power of two: 16 KiB.
const WIDE_BITS: u32 = 14;
/// Groups of first bytes that it tells apart: the lower bits of a mask.
const CLASSES: u32 = 8;
/// Groups of pairs, by their first byte: the upper bits of a mask.
const GROUPS: u32 = u64::BITS - CLASSES;
/// Bytes that are looked up before any match is compared.
const BLOCK: usize = 32;
/// Bytes that are looked up side by side.
const RUN: usize = 8;
/// Lists of literals, as a power of two; a few thousand literals have hardly two in a list.
const LIST_BITS: u32 = 12;
/// Folds letters to lower case. Other bytes fall together too, for which the comparison is there.
const FOLD: u32 = 0x2020_2020;
/// Multiplier of the hash: the golden ratio, whose products spread over the upper bits.
const SPREAD: u32 = 0x9e37_79b1;

/// Values of fewer bytes are searched whole by every rule of which a literal stands there.
pub(super) const LONG: usize = 2048;
/// Places of literals of one rule that are kept in one scan; a rule with more of them searches the whole value.
const MAX_PLACES: u8 = 64;

/// A literal of a rule.
#[derive(Debug)]
pub(super) struct Literal {
    /// In lower case, not empty; of more than one byte if it is placed.
    pub(super) text: Vec<u8>,
    pub(super) rule: u32,
    /// Whether it is to be known where in a long value it stands; the same for all literals of a rule.
    pub(super) placed: bool,
}

/// Literals of rules, searched without case.
#[derive(Debug)]
pub(super) struct Finder {
    /// By the hash of four bytes, the groups of which their first byte can be.
    wide: Box<[u8; 1 << WIDE_BITS]>,
    /// By a byte.
    masks: Box<[Masks; 256]>,
    /// Where each list begins in `entries`, and at last where they end.
    lists: Vec<u32>,
    entries: Vec<Entry>,
    /// Per byte the rules with a literal of this one byte.
    singles: Vec<Vec<u32>>,
    /// The marks among these bytes, of which a view tells whether it has them.
    marks: u32,
    /// Per mark the rules.
    of_marks: [Vec<u32>; 32],
    /// All literals, one behind the other.
    texts: Vec<u8>,
}

/// What the filter knows of a byte.
#[derive(Clone, Copy, Debug, Default)]
struct Masks {
    /// As the first: its group among the first of four bytes, and the groups of pairs that begin with it.
    first: u64,
    /// As the second: the groups of pairs that it ends.
    second: u64,
}

/// A literal in a list.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The folded bytes by which it is found; of two bytes the upper half is `u16::MAX`.
    key: u32,
    rule: u32,
    /// Where it begins in `texts`, and its length.
    text: u32,
    len: u16,
    /// Bytes in front of the key.
    before: u16,
    placed: bool,
    /// Its last byte, folded: most of what does not stand there differs in it.
    last: u8,
}

/// Which rules were seen in a scan; scratch memory of one worker.
#[derive(Debug, Default)]
pub(super) struct Seen {
    marks: Vec<Mark>,
    scan: u64,
    /// Whether places are kept in this scan.
    long: bool,
    /// Rules seen in this scan, in the order of their literals.
    rules: Vec<u32>,
    places: Vec<Place>,
}

/// What is known of a rule.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// The last scan in which it was seen.
    scan: u64,
    /// Places kept in this scan; more than [`MAX_PLACES`] if they were too many.
    places: u8,
}

/// Where a literal of a rule stands: `start < end`.
#[derive(Clone, Copy, Debug)]
struct Place {
    rule: u32,
    start: usize,
    end: usize,
}

impl Seen {
    /// For a set of so many rules.
    pub(super) fn new(rules: usize) -> Self {
        Self { marks: vec![Mark::default(); rules], ..Self::default() }
    }

    /// The rules that were seen in the last scan.
    pub(super) fn rules(&self) -> &[u32] {
        &self.rules
    }

    /// Parts of the value of `len` bytes that was scanned last in which every match of the rule lies that is not longer than `reach`;
    /// `None` if they are not known, or no less than the value.
    pub(super) fn parts(
        &self,
        rule: usize,
        reach: usize,
        len: usize,
    ) -> Option<impl Iterator<Item = Range<usize>>> {
        let mark = self.marks.get(rule)?;
        let few = self.long && mark.scan == self.scan && (1..=MAX_PLACES).contains(&mark.places);
        if !few || usize::from(mark.places) * 2 * reach > len / 2 {
            return None;
        }
        let places = self.places.iter().filter(move |place| place.rule as usize == rule);
        Some(places.map(move |place| place.start.saturating_sub(reach)..(place.end + reach).min(len)))
    }

    fn begin(&mut self, len: usize) {
        self.scan += 1;
        self.long = len >= LONG;
        self.rules.clear();
        self.places.clear();
    }

    /// Whether it matters that the entry's literal stands somewhere.
    fn wants(&self, entry: &Entry) -> bool {
        let placed = self.long && entry.placed;
        self.marks
            .get(entry.rule as usize)
            .is_some_and(|mark| mark.scan != self.scan || placed && mark.places <= MAX_PLACES)
    }

    fn add(&mut self, rule: u32) {
        if let Some(mark) = self.marks.get_mut(rule as usize).filter(|mark| mark.scan != self.scan) {
            *mark = Mark { scan: self.scan, places: 0 };
            self.rules.push(rule);
        }
    }

    fn place(&mut self, rule: u32, start: usize, end: usize) {
        let Some(mark) = self.marks.get_mut(rule as usize).filter(|_| self.long) else { return };
        mark.places = mark.places.saturating_add(1);
        if mark.places <= MAX_PLACES {
            self.places.push(Place { rule, start, end });
        }
    }
}

impl Finder {
    /// Finds these literals.
    pub(super) fn new(literals: &[&Literal]) -> Self {
        let mut finder = Self {
            wide: Box::new([0; 1 << WIDE_BITS]),
            masks: Box::new([Masks::default(); 256]),
            lists: Vec::new(),
            entries: Vec::new(),
            singles: vec![Vec::new(); 256],
            marks: 0,
            of_marks: Default::default(),
            texts: Vec::new(),
        };
        for literal in literals {
            finder.add(literal);
        }
        finder.arrange();
        finder
    }

    /// Notes in `seen` every rule of which a literal stands in `text`, whose marks of punctuation are `marks`.
    pub(super) fn find(&self, text: &[u8], marks: u32, seen: &mut Seen) {
        seen.begin(text.len());
        let mut marks = marks & self.marks;
        while marks != 0 {
            let rules = self.of_marks.get(marks.trailing_zeros() as usize);
            rules.into_iter().flatten().for_each(|rule| seen.add(*rule));
            marks &= marks - 1;
        }
        let mut at = 0;
        // Whether there is a match is gathered for a block before any is looked at: that is nothing to guess wrong about.
        while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk::<{ BLOCK + WIDE - 1 }>) {
            let runs =
                (0..BLOCK).step_by(RUN).filter_map(|from| Some((from, block.get(from..)?.first_chunk()?)));
            let mut hits = runs.fold(0, |hits, (from, run)| hits | self.hits(run) << from);
            while hits != 0 {
                self.look(text, at + hits.trailing_zeros() as usize, seen);
                hits &= hits - 1;
            }
            at += BLOCK;
        }
        for (number, window) in text.get(at..).unwrap_or_default().windows(WIDE).enumerate() {
            if self.may_be(folded(window)) != 0 {
                self.look(text, at + number, seen);
            }
        }
        for at in text.len().saturating_sub(WIDE - 1)..text.len() {
            self.look(text, at, seen);
        }
    }

    /// Whether a literal may be found at each of the bytes, the first in the lowest bit.
    fn hits(&self, run: &[u8; RUN + WIDE - 1]) -> u32 {
        let mut hits = 0;
        for (at, window) in run.array_windows().enumerate() {
            let may = self.may_be(u32::from_le_bytes(*window) | FOLD);
            hits |= u32::from(may != 0) << at;
        }
        hits
    }

    /// What the folded bytes may be the key of: the lower [`CLASSES`] bits are about four of them, the others about two.
    fn may_be(&self, folded: u32) -> u64 {
        let [first, second, ..] = folded.to_le_bytes().map(usize::from);
        (u64::from(self.wide[wide_index(folded)]) | self.masks[second].second) & self.masks[first].first
    }

    /// Compares what may stand around `at`.
    fn look(&self, text: &[u8], at: usize, seen: &mut Seen) {
        let rest = text.get(at..).unwrap_or_default();
        let folded = folded(rest);
        let may = self.may_be(folded);
        if may & ((1 << CLASSES) - 1) != 0 {
            self.compare(text, at, folded, seen);
        }
        if may >> CLASSES != 0 {
            let single =
                rest.first().and_then(|byte| self.singles.get(usize::from(byte.to_ascii_lowercase())));
            single.into_iter().flatten().for_each(|rule| seen.add(*rule));
            self.compare(text, at, pair_key(folded), seen);
        }
    }

    /// Notes the literals with this key that stand around `at`.
    fn compare(&self, text: &[u8], at: usize, key: u32, seen: &mut Seen) {
        let list = list_of(key);
        let range = self.lists.get(list).zip(self.lists.get(list + 1));
        let entries = range.and_then(|(from, to)| self.entries.get(*from as usize..*to as usize));
        for entry in entries.into_iter().flatten().filter(|entry| entry.key == key) {
            if !seen.wants(entry) || !self.stands(entry, text, at) {
                continue;
            }
            seen.add(entry.rule);
            if entry.placed {
                let start = at - usize::from(entry.before);
                seen.place(entry.rule, start, start + usize::from(entry.len));
            }
        }
    }

    fn stands(&self, entry: &Entry, text: &[u8], at: usize) -> bool {
        let start = at.checked_sub(usize::from(entry.before));
        let there = start.and_then(|start| text.get(start..start + usize::from(entry.len)));
        let there = there.filter(|there| there.last().is_some_and(|last| last | FOLD as u8 == entry.last));
        let literal = self.texts.get(entry.text as usize..entry.text as usize + usize::from(entry.len));
        literal.zip(there).is_some_and(|(literal, there)| there.eq_ignore_ascii_case(literal))
    }

    fn add(&mut self, literal: &Literal) {
        let &Literal { ref text, rule, placed } = literal;
        if let [byte] = **text {
            let mark = view::mark(byte);
            if mark != 0 {
                self.marks |= mark;
                self.of_marks[mark.trailing_zeros() as usize].push(rule);
                return;
            }
            self.singles[usize::from(byte)].push(rule);
            return;
        }
        // Of a very long literal only the beginning is compared: the pattern says the rest.
        let literal = text.get(..usize::from(u16::MAX)).unwrap_or(text);
        let width = if literal.len() >= WIDE { WIDE } else { 2 };
        let before = rarest(literal, width);
        let folded = folded(literal.get(before..).unwrap_or_default());
        let key = if width == WIDE { folded } else { pair_key(folded) };
        let text = self.texts.len() as u32;
        self.texts.extend_from_slice(literal);
        self.entries.push(Entry {
            key,
            rule,
            text,
            len: literal.len() as u16,
            before: before as u16,
            placed,
            last: literal.last().map_or(0, |last| last | FOLD as u8),
        });
    }

    /// Sorts the entries into their lists, and makes the filter of them.
    fn arrange(&mut self) {
        self.entries.sort_by_key(|entry| list_of(entry.key));
        let ends =
            (0..=1 << LIST_BITS).map(|list| self.entries.partition_point(|entry| list_of(entry.key) < list));
        self.lists = ends.map(|end| end as u32).collect();
        for (byte, masks) in self.masks.iter_mut().enumerate() {
            masks.first = class(byte as u8);
        }
        let (pairs, wide): (Vec<u32>, _) =
            self.entries.iter().map(|entry| entry.key).partition(|&key| is_pair(key));
        for key in wide {
            self.wide[wide_index(key)] |= class(key as u8) as u8;
        }
        self.group(&pairs);
    }

    /// The most common first bytes get a group of pairs of their own, so that only what is rare is told less exactly.
    fn group(&mut self, pairs: &[u32]) {
        let singles = (0..=u8::MAX).filter(|byte| !self.singles[usize::from(*byte)].is_empty());
        let singles: Vec<u8> = singles.map(|byte| byte | FOLD as u8).collect();
        let mut firsts: Vec<u8> =
            pairs.iter().map(|&pair| pair as u8).chain(singles.iter().copied()).collect();
        firsts.sort_unstable_by_key(|&byte| (u32::MAX - commonness(byte), byte));
        firsts.dedup();
        for (number, &first) in firsts.iter().enumerate() {
            let group = 1_u64 << (CLASSES + (number as u32).min(GROUPS - 1));
            let seconds = pairs.iter().filter(|&&pair| pair as u8 == first).map(|pair| (pair >> 8) as u8);
            let seconds: Vec<u8> =
                if singles.contains(&first) { (0..=u8::MAX).collect() } else { seconds.collect() };
            for (byte, masks) in (0..=u8::MAX).zip(self.masks.iter_mut()) {
                let folded = byte | FOLD as u8;
                masks.first |= if folded == first { group } else { 0 };
                masks.second |= if seconds.contains(&folded) { group } else { 0 };
            }
        }
    }
}

/// The group of a byte among the first of four.
const fn class(byte: u8) -> u64 {
    1 << ((byte | FOLD as u8) % CLASSES as u8)
}

/// Where the filter has what it knows of four folded bytes.
const fn wide_index(folded: u32) -> usize {
    (folded.wrapping_mul(SPREAD) >> (32 - WIDE_BITS)) as usize
}

/// The first four bytes in lower case; zeros stand for what is not there.
fn folded(text: &[u8]) -> u32 {
    let bytes = text.first_chunk().copied().unwrap_or_else(|| {
        let byte = |at: usize| text.get(at).copied().unwrap_or(0);
        [byte(0), byte(1), byte(2), 0]
    });
    u32::from_le_bytes(bytes) | FOLD
}

fn pair_key(folded: u32) -> u32 {
    folded & 0xffff | 0xffff_0000
}

/// Whether a key is of two bytes.
const fn is_pair(key: u32) -> bool {
    key >> 16 == 0xffff
}

fn list_of(key: u32) -> usize {
    // Other bits of the product than those of the filter.
    (key.wrapping_mul(SPREAD) >> (32 - WIDE_BITS - LIST_BITS)) as usize & ((1 << LIST_BITS) - 1)
}

/// Where the `width` bytes of `literal` begin that are rarest in text and in what browsers send.
fn rarest(literal: &[u8], width: usize) -> usize {
    let cost = |window: &[u8]| window.iter().map(|byte| commonness(*byte)).sum::<u32>();
    let windows = literal.windows(width).enumerate();
    windows.min_by_key(|(at, window)| (cost(window), *at)).map_or(0, |(at, _)| at)
}

/// How common a byte is, roughly, from 0 to 6.
fn commonness(byte: u8) -> u32 {
    match byte {
        b' ' | b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 6,
        b'h' | b'l' | b'd' | b'c' | b'u' | b'm' | b'p' | b'f' => 5,
        b'a'..=b'z' => 4,
        b'0' | b'1' | b'2' | b'/' | b'.' | b'=' | b'-' | b'"' => 4,
        b'0'..=b'9' | b'%' | b'&' | b':' | b',' | b';' | b'_' | b'\n' | b'(' | b')' | b'\'' => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of the literals that stand in `text`.
    fn find(literals: &[&[u8]], text: &[u8]) -> Vec<u32> {
        let literal =
            |(text, rule): (&&[u8], u32)| Literal { text: text.to_vec(), rule, placed: text.len() > 1 };
        let literals: Vec<Literal> = literals.iter().zip(0..).map(literal).collect();
        let finder = Finder::new(&literals.iter().collect::<Vec<_>>());
        let mut seen = Seen::new(literals.len());
        let marks = |text: &[u8]| text.iter().fold(0, |marks, byte| marks | view::mark(*byte));
        for text in [&b"what was before is forgotten: <script>"[..], text] {
            finder.find(text, marks(text), &mut seen);
        }
        let mut found = seen.rules().to_vec();
        found.sort_unstable();
        found
    }

    #[test]
    fn literals_of_any_length_anywhere_in_any_case() {
        let literals: &[&[u8]] = &[b"<", b"](", b"../", b"eval", b"union select", b"\x00\xff", b"`"];
        let rows: &[(&[u8], &[u32])] = &[
            (b"", &[]),
            (b"<", &[0]),
            (b"a<", &[0]),
            (b"a](", &[1]),
            (b"]", &[]),
            (b"x/../", &[2]),
            (b"EVAL", &[3]),
            (b"medieval", &[3]),
            (b"eva", &[]),
            (b"1 UNION  SELECT UnIoN SeLeCt", &[4]),
            (b"union selec", &[]),
            (b"\x00\xff", &[5]),
            (b" \xff", &[]),
            (b"@", &[]),
            (b"<a](../eval union select\x00\xff`", &[0, 1, 2, 3, 4, 5, 6]),
        ];
        for (text, expected) in rows {
            assert_eq!(find(literals, text), *expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn it_finds_what_stands_there_and_nothing_else() {
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        for round in 0..2000 {
            let mut text = |len: usize| (0..len).map(|_| b"aAbB@`\x00 \xe1"[random(9)]).collect::<Vec<u8>>();
            let literals: Vec<_> = (1..8).map(|len| text(len).to_ascii_lowercase()).collect();
            let text = text(round % 100).to_ascii_lowercase();
            let literals: Vec<_> = literals.iter().map(Vec::as_slice).collect();
            let stands = |literal: &[u8]| memchr::memmem::find(&text, literal).is_some();
            let expected: Vec<_> = literals
                .iter()
                .zip(0..)
                .filter(|(literal, _)| stands(literal))
                .map(|(_, rule)| rule)
                .collect();
            assert_eq!(find(&literals, &text), expected, "{literals:?} in {text:?}");
        }
    }
}
