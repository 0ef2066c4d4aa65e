//! A request as the records that the tap would have written for it, so that rules are tried on the engine that runs live
//! and not on a copy of its parts.

use sensor_common::record::{EGRESS, INGRESS, RecordHeader, mapped, mark, tcp};
use zerocopy::IntoBytes;

/// Payload bytes of one record: a full-sized segment.
const SEGMENT: usize = 1448;

/// The records of a connection that carries `request`, with the handshake seen.
pub(crate) fn records(request: &[u8]) -> Vec<Vec<u8>> {
    records_from(40_000, request)
}

/// The same, from another port.
pub(crate) fn records_from(port: u16, request: &[u8]) -> Vec<Vec<u8>> {
    dialog_from(port, request, &[])
}

/// The records of a connection from that port that carries `request`, and `response` if there is one.
pub(crate) fn dialog_from(port: u16, request: &[u8], response: &[u8]) -> Vec<Vec<u8>> {
    let (client, server) = (End { port, direction: INGRESS }, End { port, direction: EGRESS });
    let asked = 1 + request.len();
    let mut records = Vec::new();
    for (number, payload) in request.chunks(SEGMENT).enumerate() {
        records.push(client.record(1 + number * SEGMENT, 1, payload, tcp::ACK | tcp::PSH));
    }
    for (number, payload) in response.chunks(SEGMENT).enumerate() {
        records.push(server.record(1 + number * SEGMENT, asked, payload, tcp::ACK | tcp::PSH));
    }
    if !response.is_empty() {
        records.push(server.record(1 + response.len(), asked, &[], tcp::ACK | tcp::FIN));
    }
    records.push(client.record(asked, 1 + response.len(), &[], tcp::ACK | tcp::FIN));
    records
}

/// One end of a connection from the client's `port`.
#[derive(Clone, Copy, Debug)]
struct End {
    port: u16,
    direction: u8,
}

impl End {
    /// A record with this sequence number and acknowledgement; the first byte of either side is number 1.
    fn record(self, sequence: usize, acknowledgement: usize, payload: &[u8], tcp_flags: u8) -> Vec<u8> {
        let length = payload.len() as u32;
        let ends = [(mapped([192, 0, 2, 1]), self.port), (mapped([198, 51, 100, 1]), 80)];
        let [from, to] = if self.direction == INGRESS { ends } else { [ends[1], ends[0]] };
        let header = RecordHeader {
            time_ns: crate::clock::boot_now().as_nanos(),
            source: from.0,
            destination: to.0,
            sequence: sequence as u32,
            acknowledgement: acknowledgement as u32,
            initial_sequence: 1,
            peer_initial_sequence: 1,
            payload_len: length,
            captured_len: length,
            source_port: from.1,
            destination_port: to.1,
            tcp_flags,
            direction: self.direction,
            ip_version: 4,
            marks: mark::INITIAL_SEQUENCE | mark::HANDSHAKE,
            ..RecordHeader::default()
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }
}

/// A request that was typed in an editor has bare line feeds; the head of one without any CR gets them.
pub(crate) fn with_line_ends(request: &[u8]) -> Vec<u8> {
    let end = request.windows(2).position(|pair| pair == b"\n\n");
    let Some(end) = end.filter(|end| !request[..*end].contains(&b'\r')) else { return request.to_vec() };
    let mut bytes = Vec::with_capacity(request.len() + 64);
    for byte in &request[..end + 2] {
        if *byte == b'\n' {
            bytes.push(b'\r');
        }
        bytes.push(*byte);
    }
    bytes.extend_from_slice(&request[end + 2..]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_common::record::HEADER_LEN;
    use zerocopy::FromBytes;

    #[test]
    fn a_request_becomes_segments_in_sequence_and_an_end() {
        let request = vec![b'x'; 3000];
        let records = records(&request);
        assert_eq!(records.iter().map(|r| r.len() - HEADER_LEN).collect::<Vec<_>>(), [1448, 1448, 104, 0]);
        let payload: Vec<u8> = records.iter().flat_map(|r| r[HEADER_LEN..].to_vec()).collect();
        assert_eq!(payload, request);
    }

    #[test]
    fn a_response_comes_from_the_other_end() {
        let records = dialog_from(9, b"ask", b"answer");
        let read = |record: &Vec<u8>| {
            let header = RecordHeader::read_from_bytes(&record[..HEADER_LEN]).unwrap();
            (header.source_port, header.sequence, header.acknowledgement, header.payload_len)
        };
        let shown: Vec<_> = records.iter().map(read).collect();
        assert_eq!(shown, [(9, 1, 1, 3), (80, 1, 4, 6), (80, 7, 4, 0), (9, 4, 7, 0)]);
    }

    #[test]
    fn only_a_head_without_any_cr_gets_line_ends() {
        assert_eq!(
            with_line_ends(b"GET / HTTP/1.1\nHost: a\n\nb\n"),
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nb\n"
        );
        for kept in
            [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\nb\n\n"[..], b"GET / HTTP/1.1\nHost: a\r\n\n", b"GET /"]
        {
            assert_eq!(with_line_ends(kept), kept);
        }
    }
}
