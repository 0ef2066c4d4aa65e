//! Where the members of the kernel's structures stand, from the kernel's own type information (BTF; kernel's Documentation/bpf/btf.rst).
//! The eBPF library relocates C programs by it, not Rust's, so the few offsets that a program needs are looked up here.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// What begins the information, in the host's byte order.
const MAGIC: u16 = 0xeb9f;
/// Largest information that is read; a distribution's kernel has 5 to 10 MiB.
const MAX_BYTES: u64 = 64 << 20;
/// Unnamed members inside one another, and qualifiers of a type, that are followed.
const MAX_DEPTH: u32 = 16;

/// Kinds of types.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// Type information.
pub(super) struct Btf {
    bytes: Vec<u8>,
    strings: Range<usize>,
    /// Where each type stands; number 0 is `void`, which stands nowhere.
    types: Vec<usize>,
}

/// Bytes of a type head: name, properties, size or type.
const TYPE_BYTES: usize = 12;

impl Btf {
    /// Reads the information in a file.
    ///
    /// # Errors
    /// If it cannot be read or is no type information.
    pub(super) fn load(path: &Path) -> Result<Self> {
        use std::io::Read;
        let context = || format!("cannot read the kernel's type information `{}`", path.display());
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
            .with_context(context)?;
        Self::parse(bytes).with_context(context)
    }

    fn parse(bytes: Vec<u8>) -> Result<Self> {
        let magic = bytes.first_chunk().map(|first| u16::from_ne_bytes(*first));
        ensure!(magic == Some(MAGIC), "it does not begin like type information");
        let header = word(&bytes, 4)? as usize;
        let section = |at: usize| -> Result<Range<usize>> {
            let start = header.saturating_add(word(&bytes, at)? as usize);
            let end = start.saturating_add(word(&bytes, at + 4)? as usize);
            ensure!(end <= bytes.len(), "it is cut off");
            Ok(start..end)
        };
        let (types, strings) = (section(8)?, section(16)?);
        let types = places(&bytes, types)?;
        Ok(Self { bytes, strings, types })
    }

    /// Offset in bytes of a member, such as `("sock", "__sk_common.skc_num")`; members of unnamed members count as the structure's own.
    ///
    /// # Errors
    /// If there is no such structure or member, or it is a bit field.
    pub(super) fn offset(&self, structure: &str, path: &str) -> Result<u32> {
        let lacking = || format!("this kernel has no `{structure}.{path}`");
        let mut at = self.structure(structure).with_context(lacking)?;
        let mut bits = 0;
        for name in path.split('.') {
            let (offset, of_type) = self.member(at, name, MAX_DEPTH).with_context(lacking)?;
            (bits, at) = (bits + offset, of_type);
        }
        ensure!(bits % 8 == 0, "`{structure}.{path}` is a bit field");
        Ok(bits / 8)
    }

    /// Size of a structure in bytes.
    ///
    /// # Errors
    /// If there is no such structure.
    pub(super) fn size(&self, structure: &str) -> Result<u32> {
        let found = self.structure(structure).and_then(|number| self.head(number));
        Ok(found.with_context(|| format!("this kernel has no `{structure}`"))?.size_or_type)
    }

    fn structure(&self, wanted: &str) -> Option<u32> {
        (1..u32::try_from(self.types.len()).ok()?).find(|number| {
            self.head(*number)
                .is_some_and(|head| head.kind == kind::STRUCT && self.is_named(head.name, wanted))
        })
    }

    /// Offset in bits and type of a member.
    fn member(&self, structure: u32, wanted: &str, depth: u32) -> Option<(u32, u32)> {
        let depth = depth.checked_sub(1)?;
        let number = self.unqualified(structure)?;
        let head = self.head(number)?;
        if !matches!(head.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        let first = self.types.get(number as usize)? + TYPE_BYTES;
        (0..head.count as usize).find_map(|index| {
            let at = first + index * 12;
            let (name, of_type) = (word(&self.bytes, at).ok()?, word(&self.bytes, at + 4).ok()?);
            let offset = word(&self.bytes, at + 8).ok()?;
            // With bit fields around, the upper byte is a field's width.
            let offset = if head.bit_fields { offset & 0x00ff_ffff } else { offset };
            if name == 0 {
                let (inside, of_type) = self.member(of_type, wanted, depth)?;
                return Some((offset.checked_add(inside)?, of_type));
            }
            self.is_named(name, wanted).then_some((offset, of_type))
        })
    }

    /// The type behind names and qualifiers.
    fn unqualified(&self, mut number: u32) -> Option<u32> {
        for _ in 0..MAX_DEPTH {
            let head = self.head(number)?;
            let qualifier = matches!(
                head.kind,
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG
            );
            if !qualifier {
                return Some(number);
            }
            number = head.size_or_type;
        }
        None
    }

    fn head(&self, number: u32) -> Option<Head> {
        let place = *self.types.get(number as usize)?;
        if number == 0 { None } else { Head::read(&self.bytes, place).ok() }
    }

    fn is_named(&self, name: u32, wanted: &str) -> bool {
        let strings = self.bytes.get(self.strings.clone()).unwrap_or_default();
        let text = strings.get(name as usize..).unwrap_or_default();
        text.strip_prefix(wanted.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// The head of a type.
struct Head {
    name: u32,
    kind: u32,
    count: u32,
    bit_fields: bool,
    size_or_type: u32,
}

impl Head {
    fn read(bytes: &[u8], at: usize) -> Result<Self> {
        let properties = word(bytes, at + 4)?;
        Ok(Self {
            name: word(bytes, at)?,
            kind: (properties >> 24) & 0x1f,
            count: properties & 0xffff,
            bit_fields: properties >> 31 == 1,
            size_or_type: word(bytes, at + 8)?,
        })
    }

    /// Bytes that follow the head.
    const fn rest(&self) -> usize {
        let count = self.count as usize;
        match self.kind {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * count,
            kind::ENUM | kind::FUNC_PROTO => 8 * count,
            _ => 0,
        }
    }
}

fn places(bytes: &[u8], section: Range<usize>) -> Result<Vec<usize>> {
    let mut places = vec![0];
    let mut at = section.start;
    while at < section.end {
        places.push(at);
        at += TYPE_BYTES + Head::read(bytes, at)?.rest();
    }
    Ok(places)
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk).context("it is cut off")?;
    Ok(u32::from_ne_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int a; union { int b; struct inner c; }; }`, `struct inner { int d; int e; }`
    fn information() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0c\0inner\0d\0e\0";
        let name = |wanted: &str| {
            let text = format!("\0{wanted}\0");
            let found = strings.windows(text.len()).position(|window| window == text.as_bytes());
            found.map_or(0, |at| at as u32 + 1)
        };
        let head = |of: &str, of_kind: u32, count: u32, size: u32| [name(of), of_kind << 24 | count, size];
        let mut types: Vec<u32> = Vec::new();
        types.extend(head("int", kind::INT, 0, 4));
        types.push(32);
        types.extend(head("outer", kind::STRUCT, 2, 12));
        types.extend([name("a"), 1, 0, 0, 3, 32]);
        types.extend([0, kind::UNION << 24 | 2, 8]);
        types.extend([name("b"), 1, 0, name("c"), 5, 0]);
        types.extend(head("inner", kind::STRUCT, 2, 8));
        types.extend([name("d"), 1, 0, name("e"), 1, 32]);
        types.extend([0, kind::CONST << 24, 4]);
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let sections = [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32];
        bytes.extend(sections.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_through_unnamed_ones_and_qualifiers() {
        let btf = Btf::parse(information()).unwrap();
        assert_eq!(btf.offset("outer", "a").unwrap(), 0);
        assert_eq!(btf.offset("outer", "b").unwrap(), 4);
        assert_eq!(btf.offset("outer", "c.e").unwrap(), 8);
        assert_eq!(btf.size("inner").unwrap(), 8);
        let lacking = btf.offset("outer", "c.f").unwrap_err().to_string();
        assert_eq!(lacking, "this kernel has no `outer.c.f`");
        assert!(btf.offset("int", "a").is_err() && btf.offset("outer", "a.b").is_err());
    }

    #[test]
    fn what_is_cut_off_or_scrambled_is_an_error_and_no_panic() {
        let whole = information();
        for length in 0..whole.len() {
            let _ = Btf::parse(whole[..length].to_vec()).map(|btf| btf.offset("outer", "c.e"));
        }
        for at in 0..whole.len() {
            for flipped in [0xff, 0x01, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= flipped;
                let _ = Btf::parse(bytes).map(|btf| btf.offset("outer", "c.e"));
            }
        }
    }

    #[test]
    fn this_kernels_own_information_has_what_is_known_of_it() {
        let path = Path::new(super::super::preflight::BTF);
        if !path.exists() {
            eprintln!("skipped: this kernel has no type information");
            return;
        }
        let btf = Btf::load(path).unwrap();
        assert_eq!(btf.offset("sock", "__sk_common.skc_daddr").unwrap(), 0);
        assert_eq!(btf.size("in6_addr").unwrap(), 16);
    }
}
