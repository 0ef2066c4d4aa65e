//! Packets inside packets, as bytes.

use sensor_common::settings::tunnel;

/// How a frame is wrapped.
#[derive(Clone, Copy)]
enum Tunnel {
    Gre,
    /// GRE with a checksum and a key.
    GreKeyed,
    Vxlan,
    /// Geneve with an option.
    Geneve,
    Ipip,
}

/// Source and destination of the outer packet.
const OUTER: ([u8; 4], [u8; 4]) = ([198, 51, 100, 77], [192, 0, 2, 1]);
const ETHERNET_LEN: usize = 14;

/// The IPv4 frame inside an IPv4 tunnel.
fn tunnelled(tunnel: Tunnel, frame: &[u8]) -> Vec<u8> {
    let packet = &frame[ETHERNET_LEN..];
    let (protocol, content) = match tunnel {
        Tunnel::Gre => (47, [&[0, 0, 0x08, 0x00], packet].concat()),
        Tunnel::GreKeyed => (47, [&[0xa0, 0, 0x08, 0x00, 0, 0, 0, 0, 0, 0, 0, 7], packet].concat()),
        Tunnel::Vxlan => (17, udp(4789, &[&[0x08, 0, 0, 0, 0, 0, 7, 0], frame].concat())),
        Tunnel::Geneve => {
            let header = [0x01, 0, 0x65, 0x58, 0, 0, 7, 0, 0, 0, 0, 0];
            (17, udp(6081, &[&header, frame].concat()))
        }
        Tunnel::Ipip => (4, packet.to_vec()),
    };
    let total = u16::try_from(20 + content.len()).unwrap().to_be_bytes();
    let mut out = frame[..12].to_vec();
    out.extend([0x08, 0x00, 0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, protocol, 0, 0]);
    out.extend(OUTER.0);
    out.extend(OUTER.1);
    out.extend(content);
    out
}

/// The frame in every tunnel: name, packet, bit of the tunnel, name of its counter.
pub(super) fn rows(frame: &[u8]) -> [(&'static str, Vec<u8>, u32, &'static str); 5] {
    let row = |name, kind, bit, counter| (name, tunnelled(kind, frame), bit, counter);
    [
        row("gre", Tunnel::Gre, tunnel::GRE, "tunnel_gre"),
        row("gre with key", Tunnel::GreKeyed, tunnel::GRE, "tunnel_gre"),
        row("vxlan", Tunnel::Vxlan, tunnel::VXLAN, "tunnel_vxlan"),
        row("geneve", Tunnel::Geneve, tunnel::GENEVE, "tunnel_geneve"),
        row("ipip", Tunnel::Ipip, tunnel::IPIP, "tunnel_ipip"),
    ]
}

fn udp(port: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + content.len()).unwrap().to_be_bytes();
    let port = port.to_be_bytes();
    [&[0xc0, 0x00, port[0], port[1], length[0], length[1], 0, 0], content].concat()
}
