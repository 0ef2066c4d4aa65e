//! What the tap's flow table would have known of each segment: where both streams start, and that the opener is who it says.

use std::collections::HashMap;
use std::net::SocketAddr;

use sensor_common::record::tcp;
use sensor_engine::capture::Segment;
use sensor_engine::capture::packet::TcpPacket;
use sensor_engine::time::Timestamp;

/// Handshakes kept; when there are more, all are forgotten and connections are picked up in the middle.
const MAX_HANDSHAKES: usize = 1 << 20;

/// The connections of a capture.
#[derive(Debug, Default)]
pub(super) struct Connections {
    handshakes: HashMap<(SocketAddr, SocketAddr), Handshake>,
}

/// What a SYN-ACK told, kept under (opener, acceptor).
#[derive(Clone, Copy, Debug)]
struct Handshake {
    opener_initial: u32,
    acceptor_initial: u32,
    timestamps: bool,
    proven: bool,
}

impl Connections {
    /// The packet as the tap would have recorded it; `None` for one that it does not record.
    pub(super) fn segment<'a>(
        &mut self,
        packet: &TcpPacket<'a>,
        time: Timestamp,
        interface: u32,
    ) -> Option<Segment<'a>> {
        let opening = packet.flags & (tcp::SYN | tcp::RST) == tcp::SYN;
        if opening && packet.flags & tcp::ACK != 0 {
            self.remember(packet);
        }
        let ends = packet.flags & (tcp::FIN | tcp::RST) != 0;
        if opening || packet.wire_len == 0 && !ends {
            return None;
        }
        let known = self.known(packet);
        let (initial_sequence, peer_initial_sequence) = known.map_or((None, None), |(known, by_opener)| {
            let initials = (Some(known.opener_initial), Some(known.acceptor_initial));
            if by_opener { initials } else { (initials.1, initials.0) }
        });
        let agreed = known.is_some_and(|(known, _)| known.timestamps);
        Some(Segment {
            time,
            source: canonical(packet.source),
            destination: canonical(packet.destination),
            sequence: packet.sequence,
            acknowledgement: packet.acknowledgement,
            initial_sequence,
            peer_initial_sequence,
            flags: packet.flags,
            ingress: true,
            from_opener: known.map(|(_, by_opener)| by_opener),
            handshake: known.is_some_and(|(known, _)| known.proven),
            timestamp: packet.timestamp.filter(|_| agreed),
            signed: packet.signed,
            urgent: (packet.flags & tcp::URG != 0).then_some(packet.urgent_pointer),
            wire_len: packet.wire_len,
            interface,
            payload: packet.payload,
        })
    }

    fn remember(&mut self, packet: &TcpPacket<'_>) {
        if self.handshakes.len() >= MAX_HANDSHAKES {
            self.handshakes.clear();
        }
        let handshake = Handshake {
            opener_initial: packet.acknowledgement,
            acceptor_initial: packet.sequence.wrapping_add(1),
            timestamps: packet.timestamp.is_some(),
            proven: false,
        };
        self.handshakes.insert((packet.destination, packet.source), handshake);
    }

    /// The handshake of the packet's connection, and whether its opener sent the packet.
    fn known(&mut self, packet: &TcpPacket<'_>) -> Option<(Handshake, bool)> {
        let (from, to) = (packet.source, packet.destination);
        let Some(known) = self.handshakes.get_mut(&(from, to)) else {
            return self.handshakes.get(&(to, from)).map(|known| (*known, false));
        };
        known.proven |= packet.flags & tcp::ACK != 0 && packet.acknowledgement == known.acceptor_initial;
        Some((*known, true))
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
