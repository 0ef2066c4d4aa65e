//! IP datagrams put together of their parts, as Linux does (net/ipv4/ip_fragment.c, inet_fragment.c): of a range the first copy wins,
//! and a part that overlaps another in part drops the whole datagram, since no honest sender writes one (RFC 5722). What an attacker
//! can make grow is bounded by datagrams, bytes, parts and time.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use ahash::RandomState;
use hashbrown::HashMap;

use super::packet::Fragment;
use crate::time::Timestamp;

/// Largest payload of a datagram.
const MAX_DATAGRAM: u32 = 65_535;

/// Limits of a [`Fragments`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Incomplete datagrams kept; the oldest makes room (`evicted`).
    pub max_datagrams: usize,
    /// Bytes kept of all of them; the oldest makes room (`evicted`).
    pub max_bytes: usize,
    /// Stretches of one datagram that do not touch; one with more is dropped (`scattered`).
    pub max_runs: usize,
    /// Time after its first part when a datagram is given up (`expired`); Linux has 30 s for IPv4 and 60 s for IPv6.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_datagrams: 1024, max_bytes: 4 << 20, max_runs: 128, patience: Duration::from_secs(30) }
    }
}

/// What was counted. Every part ends in one of the outcomes: `parts = kept + duplicates + overlaps + malformed + scattered + cut`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Parts handed in.
    pub parts: u64,
    /// Parts that brought something new.
    pub kept: u64,
    /// Parts that brought nothing new.
    pub duplicates: u64,
    /// Parts that overlap others in part: their datagrams were dropped.
    pub overlaps: u64,
    /// Parts with a place or length that cannot be.
    pub malformed: u64,
    /// Parts that made too many stretches: their datagrams were dropped.
    pub scattered: u64,
    /// Parts that were not captured whole: their datagrams were dropped.
    pub cut: u64,
    /// Datagrams that became complete.
    pub datagrams: u64,
    /// Incomplete datagrams that made room.
    pub evicted: u64,
    /// Incomplete datagrams whose time was over.
    pub expired: u64,
}

/// A datagram that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// What it carries.
    pub protocol: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

type Key = (IpAddr, IpAddr, u32, u8);

/// Datagrams of which parts are missing.
#[derive(Debug, Default)]
pub struct Fragments {
    limits: Limits,
    open: HashMap<Key, Incomplete, RandomState>,
    /// When which datagram began, oldest first; one may be gone since.
    order: VecDeque<(Key, Timestamp)>,
    bytes: usize,
    counts: Counts,
}

#[derive(Debug)]
struct Incomplete {
    began: Timestamp,
    /// Stretches of bytes in order, none touching the next.
    runs: Vec<Run>,
    /// Length of the payload, once the last part is there.
    length: Option<u32>,
    /// What the first part says that is carried; others may say something else, and do not count.
    protocol: u8,
}

#[derive(Debug)]
struct Run {
    start: u32,
    /// Grows at both ends, so that parts that come last one first cost no more than in order.
    bytes: VecDeque<u8>,
}

impl Run {
    fn end(&self) -> u32 {
        self.start + self.bytes.len() as u32
    }

    /// Takes in the run that begins where this one ends; the shorter of both is moved.
    fn join(&mut self, mut next: Run) {
        if self.bytes.len() >= next.bytes.len() {
            self.bytes.append(&mut next.bytes);
            return;
        }
        let moved = self.bytes.len();
        next.bytes.append(&mut self.bytes);
        next.bytes.rotate_right(moved);
        self.bytes = next.bytes;
    }
}

/// What becomes of a datagram with a new part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Kept,
    Duplicate,
    Overlap,
    Malformed,
    Scattered,
}

impl Fragments {
    /// Without any parts.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Incomplete datagrams there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Bytes kept of incomplete datagrams.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a part; the datagram if it completes one.
    pub fn push(&mut self, part: &Fragment<'_>, now: Timestamp) -> Option<Datagram> {
        self.counts.parts += 1;
        self.expire(now);
        // In IPv6 only the first part's header says what is carried (RFC 8200 section 4.5).
        let protocol = if part.source.is_ipv4() { part.protocol } else { 0 };
        let key = (part.source, part.destination, part.id, protocol);
        if part.payload.len() < part.wire_len as usize {
            self.counts.cut += 1;
            self.drop(&key);
            return None;
        }
        self.make_room(&key, part.payload.len());
        let datagram = self.open.entry(key).or_insert_with(|| {
            self.order.push_back((key, now));
            Incomplete { began: now, runs: Vec::new(), length: None, protocol: part.protocol }
        });
        let before = datagram.memory();
        let taken = datagram.take(part, self.limits.max_runs);
        self.bytes = self.bytes - before + datagram.memory();
        let complete = datagram.is_complete();
        self.count(taken);
        if taken == Taken::Overlap || taken == Taken::Malformed || taken == Taken::Scattered {
            self.drop(&key);
        }
        if !complete || taken != Taken::Kept {
            return None;
        }
        let (protocol, payload) = self.drop(&key)?;
        self.counts.datagrams += 1;
        Some(Datagram { source: part.source, destination: part.destination, protocol, payload })
    }

    fn count(&mut self, taken: Taken) {
        let counts = &mut self.counts;
        *match taken {
            Taken::Kept => &mut counts.kept,
            Taken::Duplicate => &mut counts.duplicates,
            Taken::Overlap => &mut counts.overlaps,
            Taken::Malformed => &mut counts.malformed,
            Taken::Scattered => &mut counts.scattered,
        } += 1;
    }

    /// Takes a datagram out: what it carries, and its first bytes.
    fn drop(&mut self, key: &Key) -> Option<(u8, Vec<u8>)> {
        let mut gone = self.open.remove(key)?;
        self.bytes -= gone.memory();
        let first = if gone.runs.is_empty() { VecDeque::new() } else { gone.runs.swap_remove(0).bytes };
        Some((gone.protocol, first.into()))
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((key, began)) = self.order.front().copied() {
            if began + self.limits.patience > now && self.order.len() <= 2 * self.limits.max_datagrams {
                return;
            }
            self.order.pop_front();
            if self.open.get(&key).is_some_and(|datagram| datagram.began == began) {
                self.counts.expired += 1;
                self.drop(&key);
            }
        }
    }

    /// The oldest datagrams make room for one more part.
    fn make_room(&mut self, key: &Key, more: usize) {
        while self.bytes + more > self.limits.max_bytes
            || self.open.len() >= self.limits.max_datagrams && !self.open.contains_key(key)
        {
            let Some((oldest, began)) = self.order.pop_front() else { return };
            if self.open.get(&oldest).is_some_and(|datagram| datagram.began == began) {
                self.counts.evicted += 1;
                self.drop(&oldest);
            }
        }
    }
}

impl Incomplete {
    fn memory(&self) -> usize {
        self.runs.iter().map(|run| run.bytes.len()).sum()
    }

    fn is_complete(&self) -> bool {
        match (&self.runs[..], self.length) {
            ([only], Some(length)) => only.start == 0 && only.end() == length,
            _ => false,
        }
    }

    fn take(&mut self, part: &Fragment<'_>, max_runs: usize) -> Taken {
        // A part that others follow ends at a multiple of eight; Linux cuts IPv4 parts there.
        let length = if part.more { part.payload.len() & !7 } else { part.payload.len() };
        let bytes = part.payload.get(..length).unwrap_or_default();
        let (start, end) = (part.offset, part.offset.saturating_add(length as u32));
        if bytes.is_empty() || end > MAX_DATAGRAM {
            return Taken::Malformed;
        }
        let reached = self.runs.last().map_or(0, Run::end);
        let contradicts = match self.length {
            Some(length) => end > length || !part.more && end != length,
            None => !part.more && end < reached,
        };
        if contradicts {
            return Taken::Malformed;
        }
        let at = self.runs.partition_point(|run| run.end() <= start);
        if let Some(run) = self.runs.get(at).filter(|run| run.start < end) {
            return if run.start <= start && end <= run.end() { Taken::Duplicate } else { Taken::Overlap };
        }
        if !part.more {
            self.length = Some(end);
        }
        self.insert(at, start, bytes);
        if start == 0 {
            self.protocol = part.protocol;
        }
        if self.runs.len() > max_runs { Taken::Scattered } else { Taken::Kept }
    }

    /// Puts bytes between the runs before and from `at` on, and joins what touches.
    fn insert(&mut self, mut at: usize, start: u32, bytes: &[u8]) {
        match at.checked_sub(1).and_then(|before| self.runs.get_mut(before)).filter(|run| run.end() == start)
        {
            Some(before) => {
                before.bytes.extend(bytes);
                at -= 1;
            }
            None => self.runs.insert(at, Run { start, bytes: bytes.iter().copied().collect() }),
        }
        let end = self.runs[at].end();
        if self.runs.get(at + 1).is_some_and(|next| next.start == end) {
            let next = self.runs.remove(at + 1);
            self.runs[at].join(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::super::packet::decode_payload;
    use super::super::packet::tests::segment;
    use super::*;

    fn part(id: u32, offset: u32, more: bool, payload: &[u8]) -> Fragment<'_> {
        let (source, destination) = (Ipv4Addr::new(192, 0, 2, 7).into(), Ipv4Addr::new(10, 0, 0, 1).into());
        let wire_len = payload.len() as u32;
        Fragment { source, destination, id, protocol: 6, offset, more, wire_len, payload }
    }

    /// Pushes parts; the payloads of what becomes complete.
    fn run(fragments: &mut Fragments, parts: &[Fragment<'_>]) -> Vec<String> {
        let whole = parts.iter().filter_map(|part| fragments.push(part, Timestamp::default()));
        whole.map(|datagram| datagram.payload.escape_ascii().to_string()).collect()
    }

    #[track_caller]
    fn check(parts: &[Fragment<'_>], expected: &[&str]) {
        let mut fragments = Fragments::default();
        assert_eq!(run(&mut fragments, parts), expected);
        let c = fragments.counts();
        assert_eq!(c.parts, c.kept + c.duplicates + c.overlaps + c.malformed + c.scattered + c.cut);
    }

    /// Case E22: in any order, duplicated, and with a TCP header in pieces of eight bytes.
    #[test]
    fn e22_parts_in_any_order() {
        let (a, b, c) =
            (part(1, 0, true, b"01234567"), part(1, 8, true, b"89abcdef"), part(1, 16, false, b"xyz"));
        for parts in [[a, b, c], [c, b, a], [b, a, c], [c, a, b]] {
            check(&parts, &["0123456789abcdefxyz"]);
        }
        check(&[a, a, part(1, 0, true, b"EVIL____"), b, b, c], &["0123456789abcdefxyz"]);
        let request = segment(b"GET /?q=EVIL HTTP/1.1\r\nHost: h\r\n\r\n");
        let count = request.len().div_ceil(8);
        let pieces: Vec<_> = request.chunks(8).enumerate().collect();
        let mut fragments = Fragments::default();
        let mut whole = None;
        for (number, piece) in pieces.into_iter().rev() {
            let part = part(2, number as u32 * 8, number + 1 < count, piece);
            whole = whole.or(fragments.push(&part, Timestamp::default()));
        }
        let whole = whole.unwrap();
        let tcp = decode_payload(whole.source, whole.destination, whole.protocol, &whole.payload).unwrap();
        assert!(tcp.payload.starts_with(b"GET /?q=EVIL") && fragments.is_empty() && fragments.bytes() == 0);
    }

    /// Case E23: what overlaps in part drops the datagram, numbers are used again, and holes give nothing.
    #[test]
    fn e23_overlaps_reused_numbers_and_holes() {
        let (a, c) = (part(1, 0, true, b"01234567"), part(1, 8, false, b"89"));
        check(&[a, part(1, 0, true, b"0123456789abcdef"), c], &[]);
        check(&[part(1, 8, true, b"89abcdef"), part(1, 0, true, b"0123456789ab____"), a], &[]);
        check(&[a, c, a, c], &["0123456789", "0123456789"]);
        check(&[a, part(2, 8, false, b"89")], &[]);
        check(&[a, part(1, 16, false, b"x")], &[]);
        check(&[a, part(1, 16, false, b"x"), part(1, 24, false, b"y")], &[]);
        check(&[a, part(1, 8, true, b""), c], &[]);
        check(&[part(1, 65_528, true, b"01234567")], &[]);
        let other = Fragment { protocol: 17, ..c };
        check(&[a, other], &[]);
    }

    /// Case E24: in IPv6 the first part says what is carried.
    #[test]
    fn e24_parts_of_ipv6() {
        let six = |part: Fragment<'static>, protocol| Fragment {
            source: Ipv6Addr::LOCALHOST.into(),
            destination: Ipv6Addr::LOCALHOST.into(),
            protocol,
            ..part
        };
        let mut fragments = Fragments::default();
        fragments.push(&six(part(1, 8, false, b"89"), 17), Timestamp::default());
        let whole = fragments.push(&six(part(1, 0, true, b"01234567"), 6), Timestamp::default()).unwrap();
        assert_eq!((whole.protocol, &whole.payload[..]), (6, &b"0123456789"[..]));
    }

    /// Case R12: a flood of parts of datagrams that never become complete.
    #[test]
    fn r12_floods_are_bounded_in_datagrams_bytes_parts_and_time() {
        let limits =
            Limits { max_datagrams: 10, max_bytes: 400, max_runs: 4, patience: Duration::from_secs(1) };
        let mut fragments = Fragments::new(limits);
        for id in 0..1000 {
            fragments.push(&part(id, 8, true, &[b'x'; 80]), Timestamp::default());
            assert!(fragments.len() <= 10 && fragments.bytes() <= 400);
        }
        assert!(fragments.counts().evicted > 900);
        for at in 0..5 {
            fragments.push(&part(5000, at * 16, true, b"12345678"), Timestamp::default());
        }
        assert_eq!(fragments.counts().scattered, 1);
        let later = Timestamp::default() + Duration::from_secs(2);
        fragments.push(&part(6000, 0, true, b"12345678"), later);
        assert!(fragments.len() == 1 && fragments.order.len() == 1 && fragments.counts().expired > 0);
        fragments.push(&Fragment { wire_len: 100, ..part(6000, 8, true, b"1") }, later);
        assert_eq!((fragments.len(), fragments.counts().cut), (0, 1));
    }

    proptest! {
        #[test]
        fn consistent_parts_give_the_datagram_in_any_order(
            cuts in proptest::collection::btree_set(1u32..40, 0..12),
            order in any::<u64>(),
        ) {
            let text: Vec<u8> = (0..=255u8).cycle().take(325).collect();
            let mut ends: Vec<u32> = cuts.into_iter().map(|cut| cut * 8).collect();
            ends.push(325);
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let mut parts: Vec<_> = starts.zip(&ends)
                .map(|(start, &end)| part(1, start, end < 325, &text[start as usize..end as usize])).collect();
            let mut state = order;
            for at in (1..parts.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                parts.swap(at, (state >> 33) as usize % (at + 1));
            }
            let mut fragments = Fragments::default();
            let whole: Vec<_> = parts.iter().filter_map(|part| fragments.push(part, Timestamp::default())).collect();
            if parts.len() > 1 || parts[0].more {
                prop_assert_eq!(whole.len(), 1);
                prop_assert_eq!(&whole[0].payload, &text);
            }
            prop_assert_eq!(fragments.bytes(), 0);
        }
    }
}
