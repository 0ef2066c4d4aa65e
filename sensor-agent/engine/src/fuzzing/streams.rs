//! Reassembly, against a model.

use crate::stream::{Chunk, Outcome, Piece, Stream};

/// Bytes of the model's stream.
const LENGTH: usize = 256;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Honest,
    Hostile,
    Acknowledge,
    GiveUp,
}

/// What comes out keeps the count; what honest pieces alone bring out is what was sent; and what came first stays.
pub(super) fn stream(data: &[u8]) {
    const INITIAL: u32 = u32::MAX - 100;
    let text: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    let mut stream = Stream::starting_at(INITIAL);
    stream.remember(if data.len().is_multiple_of(2) { 0 } else { 128 });
    let (mut honest, mut position) = (true, 0i64);
    for step in data.chunks_exact(4) {
        let start = usize::from(step[1]) % LENGTH;
        let length = (usize::from(step[2]) % 48).min(LENGTH - start);
        let kind = match step[0] % 16 {
            0 => Kind::GiveUp,
            1 => Kind::Acknowledge,
            2..=4 => Kind::Hostile,
            _ => Kind::Honest,
        };
        honest &= kind != Kind::Hostile;
        let payload = match kind {
            Kind::Hostile => vec![step[3]; length],
            _ => text[start..start + length].to_vec(),
        };
        let urgent = (kind == Kind::Hostile && step[3] & 1 != 0).then_some(u16::from(step[3]) % 32);
        let before = position;
        let mut out = |chunk: Chunk<'_>| match chunk {
            Chunk::Data(bytes) => {
                assert!(!bytes.is_empty());
                if honest {
                    assert_eq!(bytes, &text[position as usize..position as usize + bytes.len()]);
                }
                position += bytes.len() as i64;
            }
            Chunk::Gap(bytes) => position += bytes as i64,
            Chunk::Urgent => position += 1,
            Chunk::End => {}
        };
        let sequence = INITIAL.wrapping_add(start as u32);
        match kind {
            Kind::GiveUp => stream.skip_hole(&mut out),
            Kind::Acknowledge => stream.acknowledge(sequence, &mut out),
            Kind::Honest | Kind::Hostile => {
                let piece = Piece {
                    sequence,
                    payload: &payload,
                    wire_len: length as u32,
                    urgent,
                    ..Piece::default()
                };
                let pushed = stream.push(piece, &mut out);
                assert!(!honest || pushed.conflict.is_none());
                let end = (start + length) as i64;
                if pushed.outcome == Outcome::Delivered {
                    assert!(start as i64 <= before && position >= end);
                }
            }
        }
        assert_eq!(stream.position(), position);
        assert!(stream.queued_pieces() <= data.len() / 4);
    }
    // One piece over everything leaves nothing to wait for.
    let mut ignore = |_: Chunk<'_>| {};
    let whole = Piece { sequence: INITIAL, payload: &text, wire_len: LENGTH as u32, ..Piece::default() };
    stream.push(whole, &mut ignore);
    assert_eq!((stream.position(), stream.queue_memory()), (LENGTH as i64, 0));
}
