//! Community ID, version 1: the hash of a connection that other tools (Zeek, Suricata) compute too, so that their logs
//! and ours join. <https://github.com/corelight/community-id-spec>

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

const SEED: [u8; 2] = [0, 0];
const TCP: u8 = 6;

/// The community ID of a TCP connection between two endpoints.
pub(super) fn id(a: SocketAddr, b: SocketAddr) -> String {
    let (low, high) = if order(a) <= order(b) { (a, b) } else { (b, a) };
    let mut hash = Sha1::new();
    hash.update(SEED);
    hash.update(octets(low.ip()));
    hash.update(octets(high.ip()));
    hash.update([TCP, 0]);
    hash.update(low.port().to_be_bytes());
    hash.update(high.port().to_be_bytes());
    format!("1:{}", STANDARD.encode(hash.finalize()))
}

/// A number of 53 bits for a connection, so that JavaScript reads it exactly.
pub(super) fn flow_number(a: SocketAddr, b: SocketAddr, flow: u64) -> u64 {
    let mut hash = Sha1::new();
    for endpoint in [a, b] {
        hash.update(octets(endpoint.ip()));
        hash.update(endpoint.port().to_be_bytes());
    }
    hash.update(flow.to_be_bytes());
    let digest = hash.finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(head) >> 11
}

fn order(endpoint: SocketAddr) -> (Vec<u8>, u16) {
    (octets(endpoint.ip()), endpoint.port())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_reference_implementation() {
        let (a, b) = ("128.232.110.120:34855".parse().unwrap(), "66.35.250.204:80".parse().unwrap());
        assert_eq!(id(a, b), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        assert_eq!(id(b, a), id(a, b));
    }

    #[test]
    fn flow_numbers_fit_javascript() {
        let (a, b) = ("[2001:db8::1]:1".parse().unwrap(), "[2001:db8::2]:80".parse().unwrap());
        assert!(flow_number(a, b, 1) < 1 << 53);
        assert_ne!(flow_number(a, b, 1), flow_number(a, b, 2));
    }
}
