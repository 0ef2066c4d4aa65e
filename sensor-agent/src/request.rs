//! A request as the records that the tap would have written for it, so that rules are tried on the engine that runs live
//! and not on a copy of its parts.

use sensor_common::record::{INGRESS, RecordHeader, mapped, mark, tcp};
use zerocopy::IntoBytes;

/// Payload bytes of one record: a full-sized segment.
const SEGMENT: usize = 1448;

/// The records of a connection that carries `request`, with the handshake seen.
pub(crate) fn records(request: &[u8]) -> Vec<Vec<u8>> {
    records_from(40_000, request)
}

/// The same, from another port.
pub(crate) fn records_from(port: u16, request: &[u8]) -> Vec<Vec<u8>> {
    let mut sequence = 1u32;
    let mut records = Vec::new();
    for payload in request.chunks(SEGMENT) {
        records.push(record(port, sequence, payload, tcp::ACK | tcp::PSH));
        sequence = sequence.wrapping_add(payload.len() as u32);
    }
    records.push(record(port, sequence, &[], tcp::ACK | tcp::FIN));
    records
}

fn record(source_port: u16, sequence: u32, payload: &[u8], tcp_flags: u8) -> Vec<u8> {
    let length = payload.len() as u32;
    let header = RecordHeader {
        time_ns: crate::clock::boot_now().as_nanos(),
        source: mapped([192, 0, 2, 1]),
        destination: mapped([198, 51, 100, 1]),
        sequence,
        acknowledgement: 1,
        initial_sequence: 1,
        peer_initial_sequence: 1,
        payload_len: length,
        captured_len: length,
        source_port,
        destination_port: 80,
        tcp_flags,
        direction: INGRESS,
        ip_version: 4,
        marks: mark::INITIAL_SEQUENCE | mark::HANDSHAKE,
        ..RecordHeader::default()
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
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

    #[test]
    fn a_request_becomes_segments_in_sequence_and_an_end() {
        let request = vec![b'x'; 3000];
        let records = records(&request);
        assert_eq!(records.iter().map(|r| r.len() - HEADER_LEN).collect::<Vec<_>>(), [1448, 1448, 104, 0]);
        let payload: Vec<u8> = records.iter().flat_map(|r| r[HEADER_LEN..].to_vec()).collect();
        assert_eq!(payload, request);
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
