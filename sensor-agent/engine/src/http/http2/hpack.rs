//! HPACK (RFC 7541): header blocks to fields. The decoder forgives what it has not seen: an index whose entry went by in a
//! gap gives a field without name and value, which is counted, and the rest of the block is read on.

use std::collections::VecDeque;

use super::huffman;
use super::table::STATIC;

/// Size of the dynamic table before anybody sets another.
const DEFAULT_TABLE: usize = 4096;
/// Largest dynamic table that is kept, whatever the ends agree on.
const MAX_TABLE: usize = 64 * 1024;
/// What an entry counts beside its bytes (RFC 7541 section 4.1).
const OVERHEAD: usize = 32;
/// Most fields of one block that are kept apart; further ones are part of the last.
const MAX_FIELDS: usize = 1024;
/// Most bytes of names and values kept of one block: a few bytes can name long entries many times.
const MAX_LIST: usize = 64 * 1024;
/// Longest name or value that is decoded.
const MAX_STRING: usize = 64 * 1024;

/// The fields of a block.
#[derive(Debug, Default)]
pub struct FieldList {
    bytes: Vec<u8>,
    /// End of the name and end of the value in `bytes`.
    ends: Vec<(usize, usize)>,
    /// Fields whose table entry was not seen.
    pub undecoded: u32,
    /// Whether fields were left out because there were too many.
    pub cut: bool,
    /// Whether the block was malformed behind the fields that are here.
    pub broken: bool,
}

impl FieldList {
    /// Forgets all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        (self.undecoded, self.cut, self.broken) = (0, false, false);
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = [0].into_iter().chain(self.ends.iter().map(|&(_, end)| end));
        starts.zip(&self.ends).map(|(start, &(name, end))| (&self.bytes[start..name], &self.bytes[name..end]))
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        const COMMA: &[u8] = b", ";
        if self.bytes.len() + COMMA.len() + name.len() + 1 + value.len() > MAX_LIST {
            self.cut = true;
            return;
        }
        if self.ends.len() >= MAX_FIELDS
            && let Some((_, last)) = self.ends.last_mut()
        {
            for part in [COMMA, name, b"=", value] {
                self.bytes.extend_from_slice(part);
            }
            *last = self.bytes.len();
            return;
        }
        self.bytes.extend_from_slice(name);
        let end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((end, self.bytes.len()));
    }
}

/// Decoder of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    /// Dynamic entries, the newest first; the length of the name, then name and value.
    entries: VecDeque<(usize, Vec<u8>)>,
    /// `size <= max`, as the standard counts it.
    size: usize,
    max: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        let (name, value) = (Vec::new(), Vec::new());
        Self { entries: VecDeque::new(), size: 0, max: DEFAULT_TABLE, name, value }
    }
}

/// The block is malformed.
struct Malformed;

impl Decoder {
    /// Decodes a whole block.
    pub fn decode(&mut self, mut block: &[u8], list: &mut FieldList) {
        list.clear();
        while !block.is_empty() {
            match self.field(&mut block, list) {
                Ok(()) => {}
                Err(Malformed) => {
                    list.broken = true;
                    self.forget();
                    return;
                }
            }
        }
    }

    /// Forgets the dynamic table: what was inserted meanwhile is not known.
    pub fn forget(&mut self) {
        self.entries.clear();
        self.size = 0;
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.size + self.name.capacity() + self.value.capacity()
    }

    fn field(&mut self, block: &mut &[u8], list: &mut FieldList) -> Result<(), Malformed> {
        let first = *block.first().ok_or(Malformed)?;
        match first {
            0x80.. => {
                let index = integer(block, 7)?;
                self.indexed(index, list)
            }
            0x40..=0x7f => {
                let index = integer(block, 6)?;
                self.literal(index, true, block, list)
            }
            0x20..=0x3f => {
                let size = integer(block, 5)?;
                self.resize(size);
                Ok(())
            }
            _ => {
                let index = integer(block, 4)?;
                self.literal(index, false, block, list)
            }
        }
    }

    fn indexed(&mut self, index: usize, list: &mut FieldList) -> Result<(), Malformed> {
        match self.entry(index.checked_sub(1).ok_or(Malformed)?) {
            Some((name, value)) => list.push(name, value),
            None => list.undecoded += 1,
        }
        Ok(())
    }

    fn literal(
        &mut self,
        index: usize,
        insert: bool,
        block: &mut &[u8],
        list: &mut FieldList,
    ) -> Result<(), Malformed> {
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        let mut known = true;
        if let Some(index) = index.checked_sub(1) {
            match self.entry(index) {
                Some((found, _)) => name.extend_from_slice(found),
                None => known = false,
            }
        } else if string(block, &mut name).is_err() {
            self.name = name;
            return Err(Malformed);
        }
        self.name = name;
        self.value.clear();
        string(block, &mut self.value)?;
        list.undecoded += u32::from(!known);
        list.push(&self.name, &self.value);
        if insert {
            self.insert();
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Option<(&[u8], &[u8])> {
        match STATIC.get(index) {
            Some(&entry) => Some(entry),
            None => {
                let (name, bytes) = self.entries.get(index - STATIC.len())?;
                bytes.split_at_checked(*name)
            }
        }
    }

    fn insert(&mut self) {
        let size = self.name.len() + self.value.len() + OVERHEAD;
        self.evict(self.max.saturating_sub(size));
        if size <= self.max {
            self.entries.push_front((self.name.len(), [&self.name[..], &self.value].concat()));
            self.size += size;
        }
    }

    fn resize(&mut self, size: usize) {
        self.max = size.min(MAX_TABLE);
        self.evict(self.max);
    }

    fn evict(&mut self, size: usize) {
        while self.size > size {
            let Some((_, bytes)) = self.entries.pop_back() else { return };
            self.size = self.size.saturating_sub(bytes.len() + OVERHEAD);
        }
    }
}

/// An integer with a prefix of `bits` bits (RFC 7541 section 5.1).
fn integer(block: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    const MAX_BYTES: u32 = 4;
    let (&first, mut rest) = block.split_first().ok_or(Malformed)?;
    let mask = (1usize << bits) - 1;
    let mut value = usize::from(first) & mask;
    if value == mask {
        for number in 0.. {
            let (&byte, after) = rest.split_first().ok_or(Malformed)?;
            rest = after;
            value += usize::from(byte & 0x7f) << (7 * number);
            if byte & 0x80 == 0 {
                break;
            }
            if number + 1 >= MAX_BYTES {
                return Err(Malformed);
            }
        }
    }
    *block = rest;
    Ok(value)
}

/// A string, in Huffman code or plain (RFC 7541 section 5.2).
fn string(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let coded = block.first().ok_or(Malformed)? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Malformed)?;
    *block = rest;
    if coded {
        return if huffman::decode(text, MAX_STRING, out) { Ok(()) } else { Err(Malformed) };
    }
    out.extend_from_slice(text.get(..MAX_STRING).unwrap_or(text));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.bytes().filter_map(|byte| char::from(byte).to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[track_caller]
    fn check(decoder: &mut Decoder, block: &str, expected: &str) {
        let mut list = FieldList::default();
        decoder.decode(&hex(block), &mut list);
        let mut shown: Vec<_> = list
            .iter()
            .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
            .collect();
        shown.extend(list.broken.then(|| "BROKEN".to_owned()));
        shown.extend((list.undecoded > 0).then(|| format!("UNDECODED {}", list.undecoded)));
        assert_eq!(shown.join(" "), expected, "{block}");
    }

    /// RFC 7541 appendices C.3 and C.4.
    #[test]
    fn examples_of_the_standard() {
        let get = ":method=GET :scheme=http :path=/ :authority=www.example.com";
        let third =
            ":method=GET :scheme=https :path=/index.html :authority=www.example.com custom-key=custom-value";
        let plain = &mut Decoder::default();
        check(plain, "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", get);
        check(plain, "8286 84be 5808 6e6f 2d63 6163 6865", &format!("{get} cache-control=no-cache"));
        check(plain, "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", third);
        assert_eq!(plain.size, 164);
        let coded = &mut Decoder::default();
        check(coded, "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", get);
        check(coded, "8286 84be 5886 a8eb 1064 9cbf", &format!("{get} cache-control=no-cache"));
        check(coded, "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", third);
    }

    #[test]
    fn entries_that_were_not_seen() {
        let decoder = &mut Decoder::default();
        check(decoder, "82 be 84", ":method=GET :path=/ UNDECODED 1");
        check(decoder, "7e 01 61 04 01 62", "=a :path=b UNDECODED 1");
        check(decoder, "be", "=a");
        decoder.forget();
        check(decoder, "be", "UNDECODED 1");
    }

    #[test]
    fn tables_keep_to_their_size() {
        let decoder = &mut Decoder::default();
        check(decoder, "20 40 01 61 01 62 be", "a=b UNDECODED 1");
        check(decoder, "3f e1 ff ff 7f 40 01 61 01 62 be", "a=b a=b");
        assert_eq!(decoder.max, MAX_TABLE);
    }

    #[test]
    fn what_is_malformed_is_said() {
        for block in ["80", "40", "0005 61", "ff ff ff ff ff ff 7f", "41 83 ff ff ff"] {
            check(&mut Decoder::default(), block, "BROKEN");
        }
    }

    /// A few bytes that stand for long fields many times.
    #[test]
    fn lists_keep_to_their_size() {
        let mut decoder = Decoder::default();
        let value = vec![b'x'; 3900];
        let block = [&[0x40, 1, b'a', 0x7f, 0xbd, 0x1d][..], &value, &[0xbe; 5000]].concat();
        let mut list = FieldList::default();
        decoder.decode(&block, &mut list);
        assert!(list.cut && list.bytes.len() <= MAX_LIST && list.iter().count() > 10);
    }

    proptest! {
        #[test]
        fn any_bytes_end(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..8)) {
            let (mut decoder, mut list) = (Decoder::default(), FieldList::default());
            for block in &blocks {
                decoder.decode(block, &mut list);
                prop_assert!(decoder.size <= decoder.max && decoder.max <= MAX_TABLE);
            }
        }
    }
}
