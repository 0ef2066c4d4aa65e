//! Packets that the tap hands over whole: each engine's thread takes those of its own ring apart, and hands a segment to the engine that has the
//! segment's connection. The ring of a part is that of its two addresses, since only the first part names the ports.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sensor_common::flow::{flow_hash, ring_index};
use sensor_engine::capture::fragments::{Counts, Limits};
use sensor_engine::capture::whole::{Known, OwnedSegment, Packets, WholeCounts};

use crate::kernel::flows::{FlowTable, endpoint};

/// Segments that may wait for another engine's thread; more are lost (`whole_lost`).
const WAITING: usize = 1024;

/// What one thread has counted of whole packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WholeStats {
    /// What became of the packets.
    pub(crate) packets: WholeCounts,
    /// What became of parts of datagrams.
    pub(crate) parts: Counts,
    /// Segments for other threads that found no room.
    pub(crate) lost: u64,
}

/// The ways between the threads.
pub(super) struct Exchange {
    senders: Vec<SyncSender<OwnedSegment>>,
    hash_key: u64,
}

impl Exchange {
    /// Ways between so many threads, and the end that each reads. The tap hashes flows by `hash_key`.
    pub(super) fn new(threads: usize, hash_key: u64) -> (Self, Vec<Receiver<OwnedSegment>>) {
        let (senders, receivers) = (0..threads).map(|_| sync_channel(WAITING)).unzip();
        (Self { senders, hash_key }, receivers)
    }

    /// The part of the thread that reads ring `own`.
    pub(super) fn part(&self, own: usize, inbox: Receiver<OwnedSegment>, limits: Limits) -> WholePackets {
        WholePackets {
            packets: Packets::new(limits),
            own,
            senders: self.senders.clone(),
            inbox,
            hash_key: self.hash_key,
            lost: 0,
        }
    }
}

/// One thread's part.
pub(super) struct WholePackets {
    packets: Packets,
    own: usize,
    senders: Vec<SyncSender<OwnedSegment>>,
    inbox: Receiver<OwnedSegment>,
    hash_key: u64,
    lost: u64,
}

impl WholePackets {
    /// Takes a record of a whole packet; the segment for this thread's engine, if it makes one.
    pub(super) fn take(&mut self, record: &[u8], flows: &FlowTable) -> Option<OwnedSegment> {
        let segment = self.packets.take(record, |source, destination| known(flows, source, destination))?;
        let ends = segment.as_segment();
        let ring = self.ring_of(ends.source, ends.destination);
        let Some(other) = self.senders.get(ring).filter(|_| ring != self.own) else { return Some(segment) };
        if other.try_send(segment).is_err() {
            self.lost += 1;
        }
        None
    }

    /// A segment that another thread has handed over.
    pub(super) fn next(&self) -> Option<OwnedSegment> {
        self.inbox.try_recv().ok()
    }

    pub(super) fn stats(&self) -> WholeStats {
        WholeStats { packets: self.packets.counts(), parts: self.packets.parts(), lost: self.lost }
    }

    fn ring_of(&self, source: SocketAddr, destination: SocketAddr) -> usize {
        let ((source, source_port), (destination, destination_port)) =
            (endpoint(source), endpoint(destination));
        let hash = flow_hash(self.hash_key, &source, source_port, &destination, destination_port);
        ring_index(hash, self.senders.len() as u32) as usize
    }
}

/// What the tap knows of a connection. A table that cannot be read says nothing: then the connection is picked up in the middle.
fn known(flows: &FlowTable, source: SocketAddr, destination: SocketAddr) -> Known {
    flows.known(source, destination).unwrap_or_else(|error| {
        tracing::debug!("a reassembled segment is taken without its connection: {error:#}");
        Known::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_go_to_the_ring_of_their_flow() {
        let (exchange, mut inboxes) = Exchange::new(3, 7);
        let part = exchange.part(0, inboxes.remove(0), Limits::default());
        let (client, server) = ("192.0.2.10", "192.0.2.1:80".parse().unwrap());
        let mut seen = [0; 3];
        for port in 1000..1300 {
            let client: SocketAddr = format!("{client}:{port}").parse().unwrap();
            assert_eq!(part.ring_of(client, server), part.ring_of(server, client));
            seen[part.ring_of(client, server)] += 1;
        }
        assert!(seen.iter().all(|flows| *flows > 50), "{seen:?}");
    }
}
