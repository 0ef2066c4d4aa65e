//! What was given out lately, and what was said otherwise of the same places. The receiver takes one reading of segments that
//! contradict each other, and which one can depend on what no tap sees: a packet that was dropped behind it, a checksum.
//! So the bytes that lost are kept, and the other readings are made of them.

use super::queue::Queued;

/// Most contradictions kept at once.
const MAX_RIVALS: usize = 16;
/// Most urgent bytes whose places are kept.
const MAX_URGENT: usize = 64;

/// Bytes that lost their place to others.
#[derive(Clone, Debug)]
struct Rival {
    start: i64,
    bytes: Box<[u8]>,
}

/// Bytes from `start` on, at most `limit`, and what is said against them.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    limit: usize,
    start: i64,
    bytes: Vec<u8>,
    /// Hardly any connection has it.
    disputed: Option<Box<Disputed>>,
}

/// The rivals for places among the bytes or still to come.
#[derive(Clone, Debug, Default)]
struct Disputed {
    /// In the order in which they came.
    rivals: Vec<Rival>,
    rival_bytes: usize,
    /// Places of bytes that were not given out because they are urgent, ascending.
    urgent: Vec<i64>,
}

impl History {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    pub(super) fn memory(&self) -> usize {
        let disputed = self.disputed.as_ref().map_or(0, |disputed| {
            let lists = disputed.rivals.capacity() * size_of::<Rival>()
                + disputed.urgent.capacity() * size_of::<i64>();
            size_of::<Disputed>() + disputed.rival_bytes + lists
        });
        self.bytes.capacity() + disputed
    }

    fn rivals(&self) -> &[Rival] {
        self.disputed.as_ref().map_or(&[], |disputed| &disputed.rivals)
    }

    fn urgent_places(&self) -> &[i64] {
        self.disputed.as_ref().map_or(&[], |disputed| &disputed.urgent)
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= self.limit
    }

    /// Readings there may be beside the one given out.
    pub(super) fn disputes(&self) -> usize {
        self.rivals().len() + self.urgent_places().len()
    }

    /// Whether a contradiction is about bytes that are still to come.
    pub(super) fn is_unsettled(&self) -> bool {
        self.rivals().iter().any(|rival| rival.start + rival.bytes.len() as i64 > self.end())
    }

    pub(super) fn wants_memory(&self) -> bool {
        self.limit > 0 && self.bytes.capacity() == 0
    }

    /// Takes other memory, which is empty, and gives back what there was.
    pub(super) fn lend(&mut self, memory: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.bytes, memory)
    }

    /// Starts anew at `next`.
    pub(super) fn restart(&mut self, next: i64) {
        self.start = next;
        self.bytes.clear();
        self.disputed = None;
    }

    /// Notes bytes that were given out at `at`.
    pub(super) fn append(&mut self, at: i64, data: &[u8]) {
        if self.bytes.is_empty() {
            self.start = at;
        }
        if at == self.end() {
            let room = self.limit.saturating_sub(self.bytes.len()).min(data.len());
            self.bytes.extend_from_slice(&data[..room]);
        }
    }

    /// Notes an urgent byte.
    pub(super) fn append_urgent(&mut self, at: i64, byte: &[u8]) {
        self.append(at, byte);
        if self.urgent_places().len() < MAX_URGENT && at < self.end() {
            self.disputed.get_or_insert_default().urgent.push(at);
        }
    }

    /// Keeps what contradicts the bytes given out before `next`. Whether there is such, and whether it was kept.
    pub(super) fn compare(&mut self, new: &Queued<'_>, next: i64) -> (bool, bool) {
        let (from, to) = (new.start.max(self.start), new.captured_end().min(self.end()));
        // A keep-alive probe repeats the last byte's place with any content (RFC 9293 section 3.8.4).
        let probe = new.wire_len == 1 && new.start == next - 1;
        if from >= to || probe {
            return (false, true);
        }
        let known = &self.bytes[(from - self.start) as usize..(to - self.start) as usize];
        let said = new.range(from, to);
        let conflict = known != said && !self.is_urgent_difference(from, known, said);
        (conflict, !conflict || self.keep(from, said))
    }

    /// Keeps both sides of a contradiction in the queue.
    pub(super) fn keep_both(&mut self, old: &Queued<'_>, new: &Queued<'_>) -> bool {
        let (from, to) = (old.start.max(new.start), old.captured_end().min(new.captured_end()));
        self.keep(from, old.range(from, to)) & self.keep(from, new.range(from, to))
    }

    /// At most `most` other readings, those that differ most first, each different from `as_read` and the others.
    pub(super) fn readings(&self, most: usize) -> Vec<Vec<u8>> {
        let as_read = self.as_read();
        let mut readings: Vec<Vec<u8>> = Vec::new();
        let rivals = self.rivals();
        let singles = rivals.iter().rev().map(std::slice::from_ref).map(<[Rival]>::iter);
        let all = [self.with(rivals.iter()), self.with(rivals.iter().rev()), self.bytes.clone()];
        let last_urgent = self.urgent_places().last().map(|&last| self.without(self.bytes.clone(), &[last]));
        for reading in all.into_iter().chain(last_urgent).chain(singles.map(|single| self.with(single))) {
            if readings.len() < most && reading != as_read && !readings.contains(&reading) {
                readings.push(reading);
            }
        }
        readings
    }

    /// The bytes as they were given out.
    pub(super) fn as_read(&self) -> Vec<u8> {
        self.with([].iter())
    }

    fn end(&self) -> i64 {
        self.start + self.bytes.len() as i64
    }

    fn is_urgent_difference(&self, from: i64, known: &[u8], said: &[u8]) -> bool {
        let differing = (from..).zip(known.iter().zip(said)).filter(|(_, (known, said))| known != said);
        let urgent = self.urgent_places();
        !urgent.is_empty() && differing.map(|(at, _)| at).all(|at| urgent.contains(&at))
    }

    fn keep(&mut self, start: i64, bytes: &[u8]) -> bool {
        let disputed = self.disputed.get_or_insert_default();
        let fits = disputed.rivals.len() < MAX_RIVALS && disputed.rival_bytes + bytes.len() <= self.limit;
        let known = disputed.rivals.iter().any(|rival| rival.start == start && *rival.bytes == *bytes);
        if fits && !known {
            disputed.rival_bytes += bytes.len();
            disputed.rivals.push(Rival { start, bytes: bytes.into() });
        }
        fits || known
    }

    /// The bytes with some rivals put in their places, each over those before it, without what is urgent.
    fn with<'a>(&'a self, rivals: impl Iterator<Item = &'a Rival>) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for rival in rivals {
            let rival_end = rival.start + rival.bytes.len() as i64;
            let (from, to) = (rival.start.max(self.start), rival_end.min(self.end()));
            if from < to {
                let said = &rival.bytes[(from - rival.start) as usize..(to - rival.start) as usize];
                bytes[(from - self.start) as usize..(to - self.start) as usize].copy_from_slice(said);
            }
        }
        self.without(bytes, self.urgent_places())
    }

    fn without(&self, mut bytes: Vec<u8>, places: &[i64]) -> Vec<u8> {
        for &at in places.iter().rev() {
            bytes.remove((at - self.start) as usize);
        }
        bytes
    }
}
