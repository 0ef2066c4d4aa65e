//! A TCP client in user space, for segments that no kernel would send: any split, any order, any content. It speaks from an address
//! that the client host does not have, so that the host's own stack stays out of it.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TransportSlice};

use crate::lab::{Host, Lab, interface_of};

/// A segment made by hand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Made<'a> {
    /// The client's port.
    pub port: u16,
    /// Letters of the flags that are set: S, A, F, R, P, U.
    pub flags: &'a str,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Urgent pointer.
    pub urgent: u16,
    /// TCP options; filled up to whole words with zeros.
    pub options: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
    /// Whether the checksum is wrong.
    pub spoiled: bool,
    /// VLAN tags before the packet: the inner one 802.1Q, the outer one 802.1ad.
    pub tags: usize,
}

/// What a handshake agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The client's port.
    pub port: u16,
    /// Sequence number of the first byte that the client sends.
    pub first: u32,
    /// Sequence number of the first byte that the server sends.
    pub acknowledged: u32,
}

/// A connection whose segments are made by hand.
#[derive(Debug)]
pub struct RawTcp {
    socket: OwnedFd,
    addresses: (Ipv4Addr, Ipv4Addr),
    macs: ([u8; 6], [u8; 6]),
    ports: (u16, u16),
    /// Sequence number of the first byte that the client sends.
    pub first: u32,
    /// What the client acknowledges.
    pub acknowledged: u32,
}

const ETHER_IPV4: u16 = 0x0800;
const ETHER_TYPE_AT: usize = 12;
const WINDOW: u16 = 60_000;
/// Offset of the TCP checksum in a frame without IP options.
const CHECKSUM_AT: usize = 14 + 20 + 16;

impl RawTcp {
    /// Prepares to speak as `10.66.number.last_byte` to the application's port 80; nothing is sent yet.
    ///
    /// # Errors
    /// If the hosts' interfaces cannot be read or opened.
    pub fn new(lab: &Lab, number: u8, last_byte: u8, port: u16) -> Result<Self> {
        let client = &lab.clients[usize::from(number) - 1];
        let (near, address) = (interface_of(number), Ipv4Addr::new(10, 66, number, last_byte));
        let own = mac(client, "eth0")?;
        let theirs = mac(&lab.app, &near)?;
        let shown = own.map(|byte| format!("{byte:02x}")).join(":");
        lab.app.ip(&["neigh", "replace", &address.to_string(), "lladdr", &shown, "dev", &near])?;
        let socket = client.enter(|| packet_socket("eth0"))?;
        Ok(Self {
            socket,
            addresses: (address, Ipv4Addr::new(10, 66, number, 1)),
            macs: (own, theirs),
            ports: (port, 80),
            first: 0,
            acknowledged: 0,
        })
    }

    /// The client's address.
    #[must_use]
    pub fn address(&self) -> std::net::IpAddr {
        self.addresses.0.into()
    }

    /// Speaks from another port from now on.
    pub fn set_port(&mut self, port: u16) {
        self.ports.0 = port;
    }

    /// Opens the connection; the first byte sent will have sequence number `initial + 1`.
    ///
    /// # Errors
    /// If no SYN-ACK comes within a second: the client is blocked.
    pub fn connect(&mut self, initial: u32) -> Result<()> {
        self.send_segment("S", initial, 0, &[])?;
        let (sequence, acknowledgement) = self.wait_for_handshake()?;
        if acknowledgement != initial.wrapping_add(1) {
            bail!("the SYN-ACK acknowledges {acknowledgement}, not {}", initial.wrapping_add(1));
        }
        self.first = acknowledgement;
        self.acknowledged = sequence.wrapping_add(1);
        self.send_segment("A", self.first, self.acknowledged, &[])
    }

    /// Sends payload bytes that stand `offset` bytes behind the first.
    ///
    /// # Errors
    /// If the interface is gone.
    pub fn send_at(&self, offset: usize, payload: &[u8]) -> Result<()> {
        let sequence = self.first.wrapping_add(u32::try_from(offset)?);
        self.send_segment("AP", sequence, self.acknowledged, payload)
    }

    /// Sends any segment.
    ///
    /// # Errors
    /// If the interface is gone.
    pub fn send_segment(
        &self,
        flags: &str,
        sequence: u32,
        acknowledgement: u32,
        payload: &[u8],
    ) -> Result<()> {
        let port = self.ports.0;
        self.send_made(Made { port, flags, sequence, acknowledgement, payload, ..Made::default() })
    }

    /// Sends any segment, from any port.
    ///
    /// # Errors
    /// If the options are too long or the interface is gone.
    pub fn send_made(&self, made: Made<'_>) -> Result<()> {
        self.send_frame(&self.frame(made)?)
    }

    /// The segment as parts of an IP datagram (RFC 791 section 3.2) of so many bytes each, a multiple of eight, in order. `id` is the
    /// number that they have in common.
    ///
    /// # Errors
    /// If the options are too long.
    pub fn parts(&self, made: Made<'_>, id: u16, size: usize) -> Result<Vec<Vec<u8>>> {
        const IP: usize = 14;
        const PAYLOAD: usize = IP + 20;
        let frame = self.frame(made)?;
        let count = (frame.len() - PAYLOAD).div_ceil(size);
        let mut parts = Vec::with_capacity(count);
        for (at, bytes) in frame[PAYLOAD..].chunks(size).enumerate() {
            let mut part = frame[..PAYLOAD].to_vec();
            let more = if at + 1 < count { 0x2000 } else { 0 };
            let place = more | u16::try_from(at * size / 8)?;
            part[IP + 2..IP + 4].copy_from_slice(&u16::try_from(20 + bytes.len())?.to_be_bytes());
            part[IP + 4..IP + 6].copy_from_slice(&id.to_be_bytes());
            part[IP + 6..IP + 8].copy_from_slice(&place.to_be_bytes());
            part[IP + 10..IP + 12].fill(0);
            let sum = checksum(&part[IP..PAYLOAD]);
            part[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
            part.extend(bytes);
            parts.push(part);
        }
        Ok(parts)
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// If the interface is gone.
    pub fn send_frame(&self, frame: &[u8]) -> Result<()> {
        // SAFETY: the buffer is valid for its length, and the call reads no more.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()).context("cannot send a frame") } else { Ok(()) }
    }

    /// Opens connections from many ports at once, each with its initial sequence number and the same options.
    ///
    /// # Errors
    /// If one of them is not answered, although asked again, within twenty seconds.
    pub fn connect_all(&self, opened: &[(u16, u32)], options: &[u8]) -> Result<Vec<Agreed>> {
        let begin = Instant::now();
        let (until, mut next) = (begin + Duration::from_secs(20), begin);
        let mut agreed = vec![None; opened.len()];
        while agreed.contains(&None) {
            if Instant::now() >= next {
                next += Duration::from_secs(1);
                for (&(port, sequence), _) in
                    opened.iter().zip(&agreed).filter(|(_, agreed)| agreed.is_none())
                {
                    self.send_made(Made { port, flags: "S", sequence, options, ..Made::default() })?;
                }
            }
            let Some(frame) = self.next_frame(next.min(until)) else {
                ensure!(Instant::now() < until, "not every connection was answered");
                continue;
            };
            let Some((tcp, _)) = self.of_server(&frame).filter(|(tcp, _)| tcp.syn && tcp.ack) else {
                continue;
            };
            let port = tcp.destination_port;
            let Some(at) = opened.iter().position(|&(known, initial)| {
                known == port && initial.wrapping_add(1) == tcp.acknowledgment_number
            }) else {
                continue;
            };
            let acknowledged = tcp.sequence_number.wrapping_add(1);
            agreed[at] = Some(Agreed { port, first: tcp.acknowledgment_number, acknowledged });
        }
        Ok(agreed.into_iter().flatten().collect())
    }

    fn frame(&self, made: Made<'_>) -> Result<Vec<u8>> {
        let mut header = TcpHeader::new(made.port, self.ports.1, made.sequence, WINDOW);
        header.acknowledgment_number = made.acknowledgement;
        header.urgent_pointer = made.urgent;
        header.set_options_raw(made.options)?;
        let set = |flag| made.flags.contains(flag);
        (header.syn, header.ack, header.fin, header.rst, header.psh, header.urg) =
            (set('S'), set('A'), set('F'), set('R'), set('P'), set('U'));
        let packet = PacketBuilder::ethernet2(self.macs.0, self.macs.1)
            .ipv4(self.addresses.0.octets(), self.addresses.1.octets(), 64)
            .tcp_header(header);
        let mut frame = Vec::new();
        packet.write(&mut frame, made.payload)?;
        if made.spoiled {
            frame[CHECKSUM_AT] ^= 0x55;
        }
        const INNER: [u8; 4] = [0x81, 0x00, 0, 7];
        const OUTER: [u8; 4] = [0x88, 0xa8, 0, 6];
        for tag in [INNER, OUTER].into_iter().take(made.tags) {
            frame.splice(ETHER_TYPE_AT..ETHER_TYPE_AT, tag);
        }
        Ok(frame)
    }

    /// The payload that the server sends within `at_most`, in the order of arrival.
    #[must_use]
    pub fn received(&self, at_most: Duration) -> Vec<u8> {
        let until = Instant::now() + at_most;
        let mut payload = Vec::new();
        while let Some(frame) = self.next_frame(until) {
            if let Some((_, bytes)) = self.answer(&frame) {
                payload.extend(bytes);
            }
        }
        payload
    }

    fn wait_for_handshake(&self) -> Result<(u32, u32)> {
        let until = Instant::now() + Duration::from_secs(1);
        while let Some(frame) = self.next_frame(until) {
            if let Some((tcp, _)) = self.answer(&frame)
                && tcp.syn
                && tcp.ack
            {
                return Ok((tcp.sequence_number, tcp.acknowledgment_number));
            }
        }
        bail!("no SYN-ACK from {} for {}", self.addresses.1, self.addresses.0)
    }

    /// Header and payload of a segment of this connection's other side.
    fn answer(&self, frame: &[u8]) -> Option<(TcpHeader, Vec<u8>)> {
        self.of_server(frame).filter(|(tcp, _)| tcp.destination_port == self.ports.0)
    }

    /// Header and payload of a segment from the server's port to this client's address.
    fn of_server(&self, frame: &[u8]) -> Option<(TcpHeader, Vec<u8>)> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let Some(NetSlice::Ipv4(ip)) = packet.net else { return None };
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { return None };
        let ours = ip.header().destination_addr() == self.addresses.0 && tcp.source_port() == self.ports.1;
        ours.then(|| (tcp.to_header(), tcp.payload().to_vec()))
    }

    fn next_frame(&self, until: Instant) -> Option<Vec<u8>> {
        let mut frame = vec![0; 65_536];
        while Instant::now() < until {
            // SAFETY: the buffer is valid for its length, and the call writes no more.
            let read =
                unsafe { libc::recv(self.socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
            if let Ok(read) = usize::try_from(read) {
                frame.truncate(read);
                return Some(frame);
            }
        }
        None
    }
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A packet socket on an interface, with a receive timeout of 20 ms.
fn packet_socket(interface: &str) -> Result<OwnedFd> {
    let protocol = i32::from(ETHER_IPV4.to_be());
    // SAFETY: no pointers are passed.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if raw < 0 {
        return Err(io::Error::last_os_error()).context("cannot open a packet socket (root?)");
    }
    // SAFETY: the descriptor was just opened and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: all-zero bytes are a valid address, whose fields are set below.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETHER_IPV4.to_be();
    address.sll_ifindex = nix::net::if_::if_nametoindex(interface)?.cast_signed();
    let len = size_of::<libc::sockaddr_ll>() as u32;
    // SAFETY: the address is valid for its length.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if bound < 0 {
        return Err(io::Error::last_os_error()).context("cannot bind the packet socket");
    }
    let timeout = nix::sys::time::TimeVal::new(0, 20_000);
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimeout, &timeout)?;
    Ok(socket)
}

/// Hardware address of an interface, from `ip`, which reads it in the right namespace.
fn mac(host: &Host, interface: &str) -> Result<[u8; 6]> {
    let output = std::process::Command::new("ip")
        .args(["-netns", host.name(), "-json", "link", "show", interface])
        .output()
        .context("cannot run `ip`")?;
    let links: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("`ip -json` gave no JSON")?;
    let text =
        links[0]["address"].as_str().with_context(|| format!("`{interface}` has no hardware address"))?;
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().map_err(|_| anyhow::anyhow!("`{text}` is no hardware address"))
}

/// Whether this process may make network namespaces; tests that need them say so and pass without.
#[must_use]
pub fn privileged() -> bool {
    nix::unistd::geteuid().is_root() && fs::metadata("/proc/self/ns/net").is_ok()
}
