//! Records, frames, capture files, fragments and whole packets.

use std::net::Ipv4Addr;

use sensor_common::record::{RecordHeader, mark};
use zerocopy::IntoBytes;

use super::{choice, pieces};
use crate::capture::file::{Reader, Step};
use crate::capture::fragments::{Fragments, Limits};
use crate::capture::packet::{self, Fragment, Link, Packet};
use crate::capture::whole::{Known, Packets};
use crate::capture::{MAX_WIRE_LEN, decode};
use crate::time::Timestamp;

/// A ring record is a segment within its bytes, or an error.
pub(super) fn record(data: &[u8]) {
    if let Ok(segment) = decode(data) {
        assert!(segment.payload.len() <= segment.wire_len as usize && segment.wire_len <= MAX_WIRE_LEN);
        assert!(segment.payload.len() <= data.len());
    }
}

/// A frame is a packet within its bytes, whatever link it is said to have.
pub(super) fn frame(data: &[u8]) {
    for number in [0, 1, 12, 101, 113, 276] {
        let Some(packet) = Link::of(number).and_then(|link| packet::decode(link, data)) else { continue };
        let (payload, wire_len) = match packet {
            Packet::Tcp(tcp) => (tcp.payload, tcp.wire_len),
            Packet::Fragment(part) => (part.payload, part.wire_len),
        };
        assert!(payload.len() <= data.len() && (payload.len() <= wire_len as usize));
    }
}

/// However a file comes in, its packets are the same.
pub(super) fn file(data: &[u8]) {
    let (seed, data) = choice(data, 256);
    let whole = read(std::iter::once(data));
    assert_eq!(whole, read(pieces(data, seed as u8)));
}

/// Times and bytes of all packets; and how it ended.
fn read<'a>(arriving: impl Iterator<Item = &'a [u8]>) -> (Vec<(u64, Vec<u8>)>, bool, usize) {
    let (mut reader, mut have, mut frames) = (Reader::default(), Vec::new(), Vec::new());
    for piece in arriving {
        have.extend_from_slice(piece);
        let mut at = 0;
        loop {
            match reader.next(&have[at..]) {
                Step::NeedMore => break,
                Step::Skip(used) => at += used,
                Step::Frame(frame, used) => {
                    frames.push((frame.time.as_nanos(), frame.bytes.to_vec()));
                    at += used;
                }
                Step::Broken => return (frames, true, 0),
            }
        }
        have.drain(..at);
    }
    (frames, false, have.len())
}

/// Units of eight bytes in the model's datagrams.
const UNITS: usize = 64;

/// What is known of a datagram, byte by byte.
#[derive(Debug)]
struct Model {
    bytes: Vec<Option<u8>>,
    length: Option<usize>,
}

/// Parts of a few datagrams, against a model that keeps each byte.
pub(super) fn fragments(data: &[u8]) {
    let mut fragments = Fragments::new(Limits { max_runs: UNITS, ..Limits::default() });
    let mut models: [Option<Model>; 4] = [None, None, None, None];
    for (number, step) in data.chunks_exact(4).enumerate() {
        let [id, unit, length, flags] = [step[0] % 4, step[1] % UNITS as u8, step[2] % 40, step[3]];
        let payload: Vec<u8> = (0..length).map(|at| at ^ number as u8).collect();
        let part = Fragment {
            source: Ipv4Addr::LOCALHOST.into(),
            destination: Ipv4Addr::LOCALHOST.into(),
            id: u32::from(id),
            protocol: 6,
            offset: u32::from(unit) * 8,
            more: flags & 1 != 0,
            wire_len: u32::from(length),
            payload: &payload,
        };
        let got = fragments.push(&part, Timestamp::default()).map(|whole| whole.payload);
        assert_eq!(got, model(&mut models[usize::from(id)], &part), "{part:?}");
    }
    let open = models.iter().flatten();
    let bytes: usize = open.map(|one| one.bytes.iter().flatten().count()).sum();
    assert_eq!(fragments.bytes(), bytes);
}

fn model(datagram: &mut Option<Model>, part: &Fragment<'_>) -> Option<Vec<u8>> {
    let length = if part.more { part.payload.len() / 8 * 8 } else { part.payload.len() };
    let (start, end) = (part.offset as usize, part.offset as usize + length);
    let known = datagram.get_or_insert_with(|| Model { bytes: vec![None; UNITS * 8 + 64], length: None });
    let reached = known.bytes.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let beyond = known.length.is_some_and(|length| end > length || !part.more && end != length);
    let covered = known.bytes[start..end].iter().flatten().count();
    let is_malformed = length == 0 || beyond || known.length.is_none() && !part.more && end < reached;
    if is_malformed || covered > 0 && covered < length {
        *datagram = None;
        return None;
    }
    if covered > 0 {
        return None;
    }
    for (place, byte) in known.bytes[start..end].iter_mut().zip(part.payload) {
        *place = Some(*byte);
    }
    if !part.more {
        known.length = Some(end);
    }
    let length = known.length?;
    let whole: Option<Vec<u8>> = known.bytes[..length].iter().copied().collect();
    if whole.is_some() {
        *datagram = None;
    }
    whole
}

/// Packets one after another, each behind a byte that is its length: each has one outcome, and a segment is no longer than what arrived.
pub(super) fn whole(data: &[u8]) {
    let (mut packets, mut rest, mut time_ns, mut arrived) = (Packets::new(Limits::default()), data, 0, 0);
    while let Some((&length, behind)) = rest.split_first() {
        let (packet, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        (time_ns, arrived) = (time_ns + u64::from(length) * 100_000_000, arrived + packet.len());
        let header = RecordHeader {
            time_ns,
            payload_len: packet.len() as u32,
            captured_len: packet.len() as u32 + u32::from(length == u8::MAX),
            marks: mark::WHOLE_PACKET,
            direction: length & 1,
            ..RecordHeader::default()
        };
        let record = [header.as_bytes(), packet].concat();
        let unwanted = |port: u16| Known { unwanted: port == 81, ..Known::default() };
        if let Some(owned) = packets.take(&record, |_, to| unwanted(to.port())) {
            let segment = owned.as_segment();
            assert!(segment.payload.len() <= arrived && segment.payload.len() <= segment.wire_len as usize);
        }
    }
    let counts = packets.counts();
    let outcomes =
        [counts.segments, counts.waiting, counts.empty, counts.other, counts.unwanted, counts.malformed];
    assert_eq!(outcomes.iter().sum::<u64>(), counts.packets, "{counts:?}");
}
