//! Data on a SYN (TCP fast open, RFC 7413). Most applications never get such data; those that do got what the SYN-ACK acknowledges, which the
//! next segment tells: there the client's stream begins behind it. Until then the data is kept, in small bounds: anybody can send a SYN.

use std::collections::VecDeque;
use std::net::SocketAddr;

use sensor_common::record::tcp;

use crate::capture::Segment;
use crate::flow::{Key, Side};
use crate::time::Timestamp;

/// Most SYNs whose data is kept, however small: they are searched one by one.
const MAX_KEPT: usize = 128;

/// Data of SYNs whose connections have not gone on yet, the oldest first.
#[derive(Debug, Default)]
pub(super) struct EarlyData {
    kept: VecDeque<Early>,
    bytes: usize,
}

#[derive(Debug)]
struct Early {
    key: Key,
    from: Side,
    time: Timestamp,
    source: SocketAddr,
    destination: SocketAddr,
    interface: u32,
    /// Sequence number of the first byte.
    sequence: u32,
    data: Box<[u8]>,
}

/// Data that the application got before the rest of its stream.
#[derive(Debug)]
pub(super) struct Taken {
    early: Early,
    /// What the connection's other segments say of where the streams begin.
    initial: u32,
    peer_initial: u32,
    len: usize,
}

impl EarlyData {
    /// Keeps a SYN's data; returns how many older ones made room to keep within `most` bytes and [`MAX_KEPT`].
    pub(super) fn keep(&mut self, segment: &Segment<'_>, most: usize) -> u64 {
        let (key, from) = Key::of(segment);
        let early = Early {
            key,
            from,
            time: segment.time,
            source: segment.source,
            destination: segment.destination,
            interface: segment.interface,
            sequence: segment.sequence.wrapping_add(1),
            data: segment.payload.into(),
        };
        self.bytes += early.memory();
        self.kept.push_back(early);
        let mut evicted = 0;
        while (self.bytes > most || self.kept.len() > MAX_KEPT)
            && let Some(oldest) = self.kept.pop_front()
        {
            self.bytes -= oldest.memory();
            evicted += 1;
        }
        evicted
    }

    /// Whether nothing is kept: nearly always.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// What the application got of a connection's early data, by the connection's next segment. The data is no longer kept.
    pub(super) fn take(&mut self, key: &Key, from: Side, segment: &Segment<'_>) -> Option<Taken> {
        let at = self.kept.iter().rposition(|early| early.key == *key)?;
        let early = self.kept.remove(at)?;
        self.bytes -= early.memory();
        let (own, peer) = (segment.initial_sequence?, segment.peer_initial_sequence?);
        let (initial, peer_initial) = if from == early.from { (own, peer) } else { (peer, own) };
        let len = initial.wrapping_sub(early.sequence) as usize;
        (1..=early.data.len()).contains(&len).then_some(Taken { early, initial, peer_initial, len })
    }
}

impl Early {
    fn memory(&self) -> usize {
        size_of::<Self>() + self.data.len()
    }
}

impl Taken {
    /// The end that sent it.
    pub(super) const fn from(&self) -> Side {
        self.early.from
    }

    /// The data as the segment that it would have been behind a handshake.
    pub(super) fn segment(&self) -> Segment<'_> {
        Segment {
            time: self.early.time,
            source: self.early.source,
            destination: self.early.destination,
            sequence: self.early.sequence,
            acknowledgement: self.peer_initial,
            initial_sequence: Some(self.initial),
            peer_initial_sequence: Some(self.peer_initial),
            flags: tcp::ACK,
            ingress: true,
            from_opener: Some(true),
            handshake: false,
            timestamp: None,
            signed: false,
            urgent: None,
            wire_len: self.len as u32,
            interface: self.early.interface,
            payload: self.early.data.get(..self.len).unwrap_or_default(),
        }
    }
}
