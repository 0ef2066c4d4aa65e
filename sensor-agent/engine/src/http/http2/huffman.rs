//! The Huffman code of HPACK (RFC 7541 appendix B). It is canonical, so that the lengths of its codes say all.

const SYMBOLS: usize = 256;
const MAX_LENGTH: usize = 30;

/// Length of each byte's code in bits. The end of string, 30 bits of ones, must not occur.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// Codes of one length are consecutive numbers for ascending bytes.
struct Table {
    /// For each length, the first code.
    first: [u32; MAX_LENGTH + 1],
    /// For each length, how many codes there are.
    count: [u16; MAX_LENGTH + 1],
    /// For each length, where its bytes begin in `symbols`.
    start: [u16; MAX_LENGTH + 1],
    symbols: [u8; SYMBOLS],
}

static TABLE: Table = table();

const fn table() -> Table {
    let mut table = Table {
        first: [0; MAX_LENGTH + 1],
        count: [0; MAX_LENGTH + 1],
        start: [0; MAX_LENGTH + 1],
        symbols: [0; SYMBOLS],
    };
    let (mut length, mut code, mut filled) = (1, 0, 0);
    while length <= MAX_LENGTH {
        code <<= 1;
        (table.first[length], table.start[length]) = (code, filled as u16);
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                table.symbols[filled] = symbol as u8;
                table.count[length] += 1;
                filled += 1;
                code += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    table
}

/// Appends what `input` stands for, at most `max` bytes; false if it is no valid code.
pub(super) fn decode(input: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
    let (mut code, mut length, mut left) = (0u32, 0, max);
    for bit in input.iter().flat_map(|byte| (0..8).rev().map(move |shift| u32::from(byte >> shift) & 1)) {
        code = code << 1 | bit;
        length += 1;
        if length > MAX_LENGTH {
            return false;
        }
        let Some(index) = code.checked_sub(TABLE.first[length]) else { continue };
        if index < u32::from(TABLE.count[length]) {
            if left > 0 {
                out.push(TABLE.symbols[usize::from(TABLE.start[length]) + index as usize]);
                left -= 1;
            }
            (code, length) = (0, 0);
        }
    }
    // Padding is the beginning of the end of string: fewer than eight ones.
    length < 8 && code == (1 << length) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(input: &[u8], expected: Option<&str>) {
        let mut out = Vec::new();
        let valid = decode(input, 1000, &mut out);
        assert_eq!(valid.then_some(&*String::from_utf8_lossy(&out)), expected, "{input:x?}");
    }

    /// RFC 7541 appendices C.4 and C.6.
    #[test]
    fn examples_of_the_standard() {
        check(b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", Some("www.example.com"));
        check(b"\xa8\xeb\x10\x64\x9c\xbf", Some("no-cache"));
        check(b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", Some("custom-value"));
        check(b"\x64\x02", Some("302"));
        check(b"", Some(""));
        check(b"\xff\xff\xff\xff", None);
        check(b"\xa8\xeb\x10\x64\x9c\xbf\xff", None);
    }

    proptest! {
        #[test]
        fn any_bytes_end(input in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut out = Vec::new();
            decode(&input, 10, &mut out);
            prop_assert!(out.len() <= 10);
        }
    }
}
