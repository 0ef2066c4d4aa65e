//! Capture files, pcap and pcapng, piece by piece: bytes in, packets out. It reads no file itself, so that it runs on whatever has the
//! bytes; a packet borrows them.

use super::packet::Link;
use crate::time::Timestamp;

/// Largest block or packet that is believed: more than any tool captures.
pub const MAX_BLOCK: usize = 1 << 20;

/// A captured packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Since 1970.
    pub time: Timestamp,
    /// What the bytes begin with; `None` if nobody here reads it.
    pub link: Option<Link>,
    /// Number of the interface in the capture.
    pub interface: u32,
    /// What was captured.
    pub bytes: &'a [u8],
}

/// What the next bytes of a file are. The number says how many of them are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// More bytes are needed to tell. At the end of a file there should be none left.
    NeedMore,
    /// Something that is no packet.
    Skip(usize),
    /// A packet.
    Frame(Frame<'a>, usize),
    /// It cannot be read from here on.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self == Self::Little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self == Self::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn u64(self, bytes: &[u8], at: usize) -> Option<u64> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self == Self::Little { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) })
    }
}

/// What is known of a file so far.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    format: Option<Format>,
}

#[derive(Clone, Debug)]
enum Format {
    Pcap { order: Order, nanos: bool, link: Option<Link> },
    PcapNg { order: Order, interfaces: Vec<Interface> },
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Option<Link>,
    /// Units of time a second.
    resolution: u64,
    /// Seconds to add.
    offset: i64,
    /// Bytes kept of each packet; 0 says all.
    snap_len: u32,
}

/// Most interfaces of a section that are told apart.
const MAX_INTERFACES: usize = 4096;
const SECTION: u32 = 0x0a0d_0d0a;
const ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Whether a file that begins with these bytes is a capture.
#[must_use]
pub fn is_capture(first: &[u8]) -> bool {
    pcap_magic(first).is_some() || first.starts_with(&SECTION.to_be_bytes())
}

fn pcap_magic(first: &[u8]) -> Option<(Order, bool)> {
    match first.first_chunk()? {
        [0xa1, 0xb2, 0xc3, 0xd4] => Some((Order::Big, false)),
        [0xd4, 0xc3, 0xb2, 0xa1] => Some((Order::Little, false)),
        [0xa1, 0xb2, 0x3c, 0x4d] => Some((Order::Big, true)),
        [0x4d, 0x3c, 0xb2, 0xa1] => Some((Order::Little, true)),
        _ => None,
    }
}

impl Reader {
    /// Reads what `data`, the rest of the file or its beginning, starts with.
    pub fn next<'a>(&mut self, data: &'a [u8]) -> Step<'a> {
        let read = match &mut self.format {
            None => self.begin(data),
            Some(Format::Pcap { order, nanos, link }) => pcap_packet(*order, *nanos, *link, data),
            Some(Format::PcapNg { order, interfaces }) => block(order, interfaces, data),
        };
        read.unwrap_or(Step::NeedMore)
    }

    fn begin<'a>(&mut self, data: &'a [u8]) -> Option<Step<'a>> {
        const PCAP_HEADER: usize = 24;
        data.first_chunk::<4>()?;
        if let Some((order, nanos)) = pcap_magic(data) {
            // The upper bits say how frames end.
            let link = Link::of(order.u32(data, 20)? & 0x0fff_ffff);
            self.format = Some(Format::Pcap { order, nanos, link });
            return Some(Step::Skip(PCAP_HEADER));
        }
        if !is_capture(data) {
            return Some(Step::Broken);
        }
        self.format = Some(Format::PcapNg { order: Order::Little, interfaces: Vec::new() });
        Some(Step::Skip(0))
    }
}

fn pcap_packet<'a>(order: Order, nanos: bool, link: Option<Link>, data: &'a [u8]) -> Option<Step<'a>> {
    const HEADER: usize = 16;
    let captured = order.u32(data, 8)? as usize;
    if captured > MAX_BLOCK {
        return Some(Step::Broken);
    }
    let bytes = data.get(HEADER..HEADER + captured)?;
    let (secs, fraction) = (u64::from(order.u32(data, 0)?), u64::from(order.u32(data, 4)?));
    let nanos = secs * 1_000_000_000 + fraction * if nanos { 1 } else { 1_000 };
    let time = Timestamp::from_nanos(nanos);
    Some(Step::Frame(Frame { time, link, interface: 0, bytes }, HEADER + captured))
}

fn block<'a>(order: &mut Order, interfaces: &mut Vec<Interface>, data: &'a [u8]) -> Option<Step<'a>> {
    const FRAME: usize = 12;
    let kind = order.u32(data, 0)?;
    if kind == SECTION {
        *order = match order.u32(data, 8)? {
            ORDER_MAGIC => *order,
            other if other.swap_bytes() == ORDER_MAGIC && *order == Order::Little => Order::Big,
            other if other.swap_bytes() == ORDER_MAGIC => Order::Little,
            _ => return Some(Step::Broken),
        };
        interfaces.clear();
    }
    let length = order.u32(data, 4)? as usize;
    if length < FRAME || !length.is_multiple_of(4) || length > MAX_BLOCK {
        return Some(Step::Broken);
    }
    let body = data.get(8..length)?.get(..length - FRAME)?;
    let frame = match kind {
        1 => {
            if interfaces.len() < MAX_INTERFACES {
                interfaces.extend(interface(*order, body));
            }
            None
        }
        2 => packet(*order, interfaces, u32::from(order.u16(body, 0)?), body),
        3 => simple_packet(*order, interfaces, body),
        6 => order.u32(body, 0).and_then(|number| packet(*order, interfaces, number, body)),
        _ => None,
    };
    Some(frame.map_or(Step::Skip(length), |frame| Step::Frame(frame, length)))
}

fn interface(order: Order, body: &[u8]) -> Option<Interface> {
    const END: u16 = 0;
    const RESOLUTION: u16 = 9;
    const OFFSET: u16 = 14;
    let link = Link::of(u32::from(order.u16(body, 0)?));
    let mut interface = Interface { link, resolution: 1_000_000, offset: 0, snap_len: order.u32(body, 4)? };
    let mut rest = body.get(8..)?;
    while let (Some(code), Some(length)) = (order.u16(rest, 0), order.u16(rest, 2)) {
        let Some(value) = rest.get(4..4 + usize::from(length)) else { break };
        match code {
            END => break,
            RESOLUTION => interface.resolution = value.first().map_or(1_000_000, |&base| resolution(base)),
            OFFSET => interface.offset = order.u64(value, 0).unwrap_or(0).cast_signed(),
            _ => {}
        }
        rest = rest.get(4 + usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(interface)
}

/// Units a second: a power of ten, or of two if the highest bit is set.
fn resolution(base: u8) -> u64 {
    let exponent = u32::from(base & 0x7f);
    let power = if base & 0x80 == 0 { 10u64.checked_pow(exponent) } else { 2u64.checked_pow(exponent) };
    power.unwrap_or(u64::MAX)
}

/// Enhanced packets, and obsolete ones, which have the same shape.
fn packet<'a>(order: Order, interfaces: &[Interface], number: u32, body: &'a [u8]) -> Option<Frame<'a>> {
    const HEADER: usize = 20;
    let interface = interfaces.get(number as usize)?;
    let units = u128::from(order.u32(body, 4)?) << 32 | u128::from(order.u32(body, 8)?);
    let nanos = i128::try_from(units * 1_000_000_000 / u128::from(interface.resolution)).ok()?;
    let nanos = nanos + i128::from(interface.offset) * 1_000_000_000;
    let captured = order.u32(body, 12)? as usize;
    let bytes = body.get(HEADER..)?;
    let bytes = bytes.get(..captured).unwrap_or(bytes);
    let time = Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(0));
    Some(Frame { time, link: interface.link, interface: number, bytes })
}

fn simple_packet<'a>(order: Order, interfaces: &[Interface], body: &'a [u8]) -> Option<Frame<'a>> {
    let interface = interfaces.first()?;
    let length = order.u32(body, 0)?;
    let kept = if interface.snap_len == 0 { length } else { length.min(interface.snap_len) };
    let bytes = body.get(4..)?;
    let bytes = bytes.get(..kept as usize).unwrap_or(bytes);
    Some(Frame { time: Timestamp::default(), link: interface.link, interface: 0, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All packets of a file that comes in pieces of `piece` bytes, and whether it ends as it should.
    fn read(file: &[u8], piece: usize) -> (Vec<String>, bool) {
        let (mut reader, mut have, mut shown) = (Reader::default(), 0, Vec::new());
        let mut at = 0;
        loop {
            match reader.next(&file[at..have]) {
                Step::NeedMore if have == file.len() => return (shown, at == have),
                Step::NeedMore => have = (have + piece).min(file.len()),
                Step::Skip(used) => at += used,
                Step::Frame(frame, used) => {
                    let nanos = frame.time.as_nanos();
                    shown.push(format!(
                        "{nanos} {:?} {} {}",
                        frame.link,
                        frame.interface,
                        frame.bytes.escape_ascii()
                    ));
                    at += used;
                }
                Step::Broken => return (shown, false),
            }
        }
    }

    #[track_caller]
    fn check(file: &[u8], expected: &[&str], whole: bool) {
        for piece in [1, 7, 1000] {
            let (shown, ended) = read(file, piece);
            assert_eq!(
                (shown.iter().map(String::as_str).collect::<Vec<_>>(), ended),
                (expected.to_vec(), whole)
            );
        }
    }

    fn words(order: Order, words: &[u32]) -> Vec<u8> {
        let bytes = |word: &u32| if order == Order::Little { word.to_le_bytes() } else { word.to_be_bytes() };
        words.iter().flat_map(bytes).collect()
    }

    #[test]
    fn pcap_files() {
        for (order, magic, expected) in [
            (Order::Little, 0xa1b2_c3d4, "1000002000 Some(Raw) 0 abc"),
            (Order::Big, 0xa1b2_c3d4, "1000002000 Some(Raw) 0 abc"),
            (Order::Big, 0xa1b2_3c4d, "1000000002 Some(Raw) 0 abc"),
        ] {
            let head = words(order, &[magic, 0x0002_0004, 0, 0, 65_535, 101]);
            let file = [head, words(order, &[1, 2, 3, 99]), b"abc".to_vec()].concat();
            check(&file, &[expected], true);
            check(&file[..file.len() - 1], &[], false);
        }
        let huge =
            [words(Order::Little, &[0xa1b2_c3d4, 4, 0, 0, 0, 1]), words(Order::Little, &[1, 2, 1 << 30, 0])];
        check(&huge.concat(), &[], false);
        check(b"no capture", &[], false);
    }

    fn framed(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = [body, &vec![0; body.len().next_multiple_of(4) - body.len()]].concat();
        let length = padded.len() as u32 + 12;
        [words(order, &[kind, length]), padded, words(order, &[length])].concat()
    }

    #[test]
    fn pcapng_files() {
        for order in [Order::Little, Order::Big] {
            let section = framed(order, SECTION, &words(order, &[ORDER_MAGIC, 1, u32::MAX, u32::MAX]));
            let u16s = |a: u16, b: u16| match order {
                Order::Little => [a.to_le_bytes(), b.to_le_bytes()].concat(),
                Order::Big => [a.to_be_bytes(), b.to_be_bytes()].concat(),
            };
            let plain = framed(order, 1, &[u16s(1, 0), words(order, &[0])].concat());
            let nanos = framed(
                order,
                1,
                &[u16s(101, 0), words(order, &[2]), u16s(9, 1), vec![9, 0, 0, 0], u16s(0, 0)].concat(),
            );
            let enhanced = framed(order, 6, &[words(order, &[1, 0, 5, 3, 3]), b"abc".to_vec()].concat());
            let simple = framed(order, 3, &[words(order, &[3]), b"xyz".to_vec()].concat());
            let other = framed(order, 0x1234, b"whatever");
            let file = [&section, &plain, &nanos, &enhanced, &other, &simple].map(|b| b.clone()).concat();
            check(&file, &["5 Some(Raw) 1 abc", "0 Some(Ethernet) 0 xyz"], true);
            let unknown = [section.clone(), enhanced.clone()].concat();
            check(&unknown, &[], true);
            check(&[section, framed(order, 6, b"")].concat(), &[], true);
        }
    }

    #[test]
    fn lengths_that_lie_break_the_file() {
        let section = framed(Order::Little, SECTION, &words(Order::Little, &[ORDER_MAGIC, 1, 0, 0]));
        for length in [0, 8, 13, 1 << 28] {
            check(&[section.clone(), words(Order::Little, &[6, length, 0, 0])].concat(), &[], false);
        }
    }
}
