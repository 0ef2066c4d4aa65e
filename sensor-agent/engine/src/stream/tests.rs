//! Pieces as text in, what the application reads as text out.

use proptest::prelude::*;

use super::*;

/// `@4 BBBB` is a piece at offset 4, `@4 BB+3` lost three captured bytes, a `$` at the end is a FIN, `ack 8` is an
/// acknowledgement, `give-up` the end of patience. The result shows gaps as `<3>`, the end as `$`, and a contradiction
/// as a leading `!`.
fn read(isn: u32, steps: &str) -> String {
    let mut stream = Stream::starting_at(isn);
    let (mut text, mut conflict) = (String::new(), false);
    let mut out = |chunk: Chunk<'_>| match chunk {
        Chunk::Data(data) => text.push_str(std::str::from_utf8(data).unwrap()),
        Chunk::Gap(bytes) => text.push_str(&format!("<{bytes}>")),
        Chunk::Urgent => text.push('^'),
        Chunk::End => text.push('$'),
    };
    for step in steps.split(", ") {
        if step == "give-up" {
            stream.skip_hole(&mut out);
        } else if let Some(ack) = step.strip_prefix("ack ") {
            stream.acknowledge(isn.wrapping_add(ack.parse().unwrap()), &mut out);
        } else {
            let (at, data) = step.strip_prefix('@').unwrap().split_once(' ').unwrap();
            let (data, fin) = data.strip_suffix('$').map_or((data, false), |data| (data, true));
            let (data, lost) = data.split_once('+').unwrap_or((data, "0"));
            let sequence = isn.wrapping_add_signed(at.parse().unwrap());
            let wire_len = data.len() as u32 + lost.parse::<u32>().unwrap();
            let piece = Piece { sequence, payload: data.as_bytes(), wire_len, fin, ..Piece::default() };
            conflict |= stream.push(piece, &mut out).conflict.is_some();
        }
    }
    if conflict { format!("!{text}") } else { text }
}

#[track_caller]
fn check(steps: &str, expected: &str) {
    for isn in [0, 1000, 0xFFFF_FFFE, 0x7FFF_FFFD] {
        assert_eq!(read(isn, steps), expected, "{steps} from {isn:#x}");
    }
}

#[test]
fn data_in_order_passes() {
    check("@0 GET , @4 /", "GET /");
    check("@0 GET, @0 GET, @3 x, @1 ET", "GETx");
    check("@0 GET, @1 ETx", "GETx");
}

#[test]
fn pieces_wait_for_the_one_before() {
    check("@3 d, @2 c, @1 b, @0 a", "abcd");
    check("@2 c, @0 a, @3 d, @1 b", "abcd");
}

/// What a Linux socket reads when the overlap sits in the queue and the hole at byte 0 is filled last.
#[test]
fn queued_overlaps_follow_linux() {
    check("@1 AAAA, @1 BBBB, @0 x", "!xAAAA");
    check("@1 AAAA, @1 BBBBBB, @0 x", "!xBBBBBB");
    check("@1 AAAA, @1 BB, @0 x", "!xAAAA");
    check("@4 AAAA, @2 BBBB, @0 xx", "!xxBBBBAA");
    check("@1 AAAA, @3 BBBB, @0 x", "!xAAAABB");
    check("@2 AA, @6 CC, @1 BBBBBBBB, @0 x", "!xBBBBBBBB");
    check("@1 AAAA, @3 AABB, @0 x", "xAAAABB");
}

#[test]
fn what_fills_the_hole_wins() {
    check("@4 AAAA, @0 xxxxyy", "!xxxxyyAA");
    check("@4 AAAA, @0 xxxxyyyyy", "!xxxxyyyyy");
    check("@4 AAAA, @9 CC, @0 xxxxyyyyyyyy", "!xxxxyyyyyyyy");
}

#[test]
fn a_fin_ends_the_stream_at_its_place() {
    check("@0 ab$, @2 cd, @3 e", "ab$");
    check("@2 $, @0 ab", "ab$");
    check("@2 cd$, @4 ef, @0 ab", "abcd$");
}

/// A FIN in the queue has no effect when data covers it (the kernel drops it as old).
#[test]
fn a_covered_fin_is_none() {
    check("@4 $, @0 abcdefgh", "abcdefgh");
    check("@4 $, @0 abcdefgh, @8 ij$", "abcdefghij$");
}

#[test]
fn bytes_that_were_not_captured_are_a_gap() {
    check("@0 ab+3, @5 f", "ab<3>f");
    check("@0 ab+3, @2 cde, @5 f", "ab<3>f");
    check("@2 c+2, @0 ab, @5 f", "abc<2>f");
    check("@0 ab+3$", "ab<3>$");
}

#[test]
fn an_acknowledged_hole_is_given_up() {
    check("@0 a, ack 3, @3 d", "a<2>d");
    check("@0 a, @3 d, ack 3", "a<2>d");
    check("@0 a, @3 d, ack 2, @1 bc", "abcd");
    check("@0 a, @3 d, @6 g, ack 7", "a<2>d<2>g");
}

#[test]
fn patience_ends_at_the_first_piece() {
    check("@0 a, @3 d, give-up, @4 e", "a<2>de");
    check("@0 a, give-up, @1 b", "ab");
}

#[test]
fn probes_and_far_away_pieces_change_nothing() {
    check("@0 ab, @1 X, @1 , @2 c", "abc");
    check("@0 ab, @1073741900 X, @2 c", "abc");
    check("@0 ab, @-5 XXX, @2 c", "abc");
}

#[test]
fn memory_returns_to_zero() {
    let mut stream = Stream::starting_at(0);
    for at in (1..300u32).rev() {
        stream.push(Piece { sequence: at, payload: b"x", wire_len: 1, ..Piece::default() }, &mut |_| {});
    }
    assert!(stream.queued_pieces() == 299 && stream.memory() > 299);
    stream.push(Piece { sequence: 0, payload: b"x", wire_len: 1, ..Piece::default() }, &mut |_| {});
    assert_eq!((stream.queued_pieces(), stream.memory(), stream.position()), (0, 0, 300));
}

proptest! {
    #[test]
    fn any_order_of_consistent_pieces_gives_the_stream(
        isn in any::<u32>(),
        cuts in proptest::collection::vec((0usize..60, 1usize..20), 0..30),
    ) {
        let text: Vec<u8> = (0..80).map(|n| b'!' + n).collect();
        let mut stream = Stream::starting_at(isn);
        let mut got = Vec::new();
        for (start, len) in cuts.into_iter().chain([(0, 80)]) {
            let payload = &text[start..start + len];
            let sequence = isn.wrapping_add(start as u32);
            let piece = Piece { sequence, payload, wire_len: len as u32, ..Piece::default() };
            let Pushed { conflict, .. } = stream.push(piece, &mut |chunk| match chunk {
                Chunk::Data(data) => got.extend_from_slice(data),
                other => panic!("{other:?}"),
            });
            prop_assert_eq!(conflict, None);
        }
        prop_assert_eq!(got, text);
        prop_assert_eq!(stream.memory(), 0);
    }

    #[test]
    fn hostile_pieces_keep_the_count(
        pieces in proptest::collection::vec((any::<u32>(), 0usize..9, 0u32..9, any::<bool>(), any::<bool>()), 0..60),
        near in any::<bool>(),
    ) {
        let mut stream = Stream::starting_at(u32::MAX - 20);
        for (sequence, len, lost, fin, ack) in pieces {
            let sequence = if near { (u32::MAX - 20).wrapping_add(sequence % 64) } else { sequence };
            let before = stream.position();
            let mut moved = 0;
            let mut out = |chunk: Chunk<'_>| match chunk {
                Chunk::Data(data) => moved += data.len() as i64,
                Chunk::Gap(bytes) => moved += bytes as i64,
                Chunk::Urgent => moved += 1,
                Chunk::End => {}
            };
            if ack {
                stream.acknowledge(sequence, &mut out);
            } else {
                let piece = Piece { sequence, payload: &b"abcdefghi"[..len], wire_len: len as u32 + lost, fin, ..Piece::default() };
                stream.push(piece, &mut out);
            }
            prop_assert_eq!(stream.position() - before, moved);
        }
    }
}
