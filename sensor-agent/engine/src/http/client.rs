//! Who the client is behind proxies. A proxy says in a header, or in front of the connection (PROXY protocol), for whom it speaks.
//! Anybody can write such words, so that they count only from proxies that are trusted, and of a list of hops only the rightmost
//! that no trusted proxy is: what stands left of it was written by somebody unknown.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use super::listener::Scoped;
use super::message::Request;

/// Most hops of a list that are looked at, from the right.
const MAX_HOPS: usize = 64;
/// Longest text of a hop.
const MAX_HOP: usize = 128;

/// A header in which proxies name their client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientHeader {
    /// `X-Forwarded-For`, a list.
    XForwardedFor,
    /// `Forwarded` (RFC 7239), a list.
    Forwarded,
    /// `X-Real-IP`.
    XRealIp,
    /// `CF-Connecting-IP`.
    CfConnectingIp,
}

impl ClientHeader {
    /// All of them, in the order in which they are asked by default.
    pub const ALL: [Self; 4] = [Self::XForwardedFor, Self::Forwarded, Self::XRealIp, Self::CfConnectingIp];

    /// The header's name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::XRealIp => "x-real-ip",
            Self::CfConnectingIp => "cf-connecting-ip",
        }
    }
}

impl FromStr for ClientHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|header| header.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| {
            format!("`{}` is none of {}", text.escape_debug(), Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// What names a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientSource {
    /// The TCP connection: nobody stands between.
    Peer,
    /// The PROXY protocol header of a trusted proxy.
    ProxyProtocol,
    /// A header of a trusted proxy.
    Header(ClientHeader),
    /// A trusted proxy does not tell, or nothing that is an address: the address is the proxy's.
    Untold,
}

impl ClientSource {
    /// Name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::ProxyProtocol => "proxy-protocol",
            Self::Header(header) => header.name(),
            Self::Untold => "untold",
        }
    }
}

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address. IPv4-mapped addresses are IPv4 here.
    pub address: IpAddr,
    /// What says so.
    pub source: ClientSource,
}

impl Client {
    /// The other end of the connection.
    #[must_use]
    pub const fn peer(address: IpAddr) -> Self {
        Self { address, source: ClientSource::Peer }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.source.name())
    }
}

/// Proxies that are trusted to name their clients, and where they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    /// Their addresses.
    pub trusted: Vec<Scoped<IpNet>>,
    /// Headers that they write, the first one that is there counts. One that they pass on as the client wrote it must not be among
    /// them. A listener with headers of its own has no others.
    pub headers: Vec<Scoped<ClientHeader>>,
}

impl Default for Proxies {
    /// Nobody is trusted.
    fn default() -> Self {
        Self { trusted: Vec::new(), headers: ClientHeader::ALL.map(Scoped::from).to_vec() }
    }
}

impl Proxies {
    /// Those of connections to `server`.
    #[must_use]
    pub const fn at(&self, server: SocketAddr) -> ProxiesAt<'_> {
        ProxiesAt { proxies: self, server }
    }
}

/// The proxies of one listening endpoint.
#[derive(Clone, Copy, Debug)]
pub struct ProxiesAt<'a> {
    proxies: &'a Proxies,
    server: SocketAddr,
}

impl ProxiesAt<'_> {
    /// Whether an address is a trusted proxy's.
    #[must_use]
    pub fn trusts(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let nets = self.proxies.trusted.iter().filter(|net| net.counts_at(self.server));
        nets.map(|net| net.value).any(|net| net.contains(&address))
    }

    /// Headers that name clients here, in the order in which they are asked.
    fn headers(self) -> impl Iterator<Item = ClientHeader> {
        let headers = &self.proxies.headers;
        let own = headers.iter().any(|header| header.listener.is_some() && header.counts_at(self.server));
        let here = headers.iter().filter(move |header| header.listener.is_some() == own);
        here.filter(move |header| header.counts_at(self.server)).map(|header| header.value)
    }

    /// The client of a request that came from `peer`; `proxied` is the address of a PROXY protocol header, if there was one.
    #[must_use]
    pub fn client(self, peer: IpAddr, proxied: Option<IpAddr>, request: &Request) -> Client {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return Client::peer(peer);
        }
        let hop = proxied.unwrap_or(peer);
        if !self.trusts(hop) {
            return Client { address: hop, source: ClientSource::ProxyProtocol };
        }
        let named = |header: &ClientHeader| request.header(header.name()).is_some();
        let untold = Client { address: hop, source: ClientSource::Untold };
        match self.headers().find(named) {
            Some(header) => self.of_header(header, request, untold),
            None => untold,
        }
    }

    /// The rightmost hop that is not trusted; the leftmost if all are.
    fn of_header(self, header: ClientHeader, request: &Request, mut last: Client) -> Client {
        let lines = request.headers.iter().rev().map(|line| (line.name, line.value));
        let values = lines
            .map(|(name, value)| (name.of(&request.head), value.of(&request.head)))
            .filter(|(name, _)| name.eq_ignore_ascii_case(header.name().as_bytes()));
        let hops = values.flat_map(|(_, value)| value.rsplit(|&byte| byte == b','));
        for hop in hops.take(MAX_HOPS) {
            let address = match header {
                ClientHeader::Forwarded => forwarded_for(hop).and_then(address),
                _ => address(hop.trim_ascii()),
            };
            let Some(address) = address else {
                return Client { source: ClientSource::Untold, ..last };
            };
            last = Client { address, source: ClientSource::Header(header) };
            if !self.trusts(address) {
                return last;
            }
        }
        last
    }
}

/// The node of a Forwarded element (RFC 7239 section 6).
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let mut pairs = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let pair = pairs.find(|pair| pair.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"for=")))?;
    let value = pair[4..].trim_ascii();
    Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
}

/// An address with or without a port, IPv6 with or without brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.get(..MAX_HOP).map_or(text, |_| b"")).ok()?;
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address: Option<IpAddr> = text.parse().ok();
    address.or_else(with_port).or_else(bare).map(|address| address.to_canonical())
}

/// The sender that a PROXY protocol header names, version 1 or 2; `None` if it names none, or is not all there.
pub(super) fn proxied(header: &[u8]) -> Option<IpAddr> {
    const PROXY_COMMAND: u8 = 0x21;
    if let Some(line) = header.strip_prefix(b"PROXY ") {
        let mut words = line.split(|byte| byte.is_ascii_whitespace());
        let family = words.next()?;
        let address = address(words.next()?)?;
        return matches!((family, address), (b"TCP4", IpAddr::V4(_)) | (b"TCP6", _)).then_some(address);
    }
    let [command, family] = *header.get(12..14)?.first_chunk()?;
    if command != PROXY_COMMAND {
        return None;
    }
    match family >> 4 {
        1 => header.get(16..28)?.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes).into()),
        2 => header.get(16..52)?.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::parse_request;

    fn proxies() -> Proxies {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| Scoped::parse(net, str::parse).unwrap()).to_vec();
        Proxies { trusted, ..Proxies::default() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn server() -> SocketAddr {
        "192.0.2.80:80".parse().unwrap()
    }

    #[track_caller]
    fn check(peer: &str, proxied: Option<&str>, headers: &str, expected: &str) {
        let mut request = Request::default();
        parse_request(format!("GET / HTTP/1.1\r\nHost: h\r\n{headers}\r\n").as_bytes(), &mut request);
        let client = proxies().at(server()).client(ip(peer), proxied.map(ip), &request);
        assert_eq!(client.to_string(), expected, "{peer} {headers:?}");
    }

    /// Case A5.
    #[test]
    fn the_rightmost_hop_that_nobody_trusts() {
        let xff = |value: &str| format!("X-Forwarded-For: {value}\r\n");
        let by = |address: &str| format!("{address} (x-forwarded-for)");
        check("10.0.0.1", None, &xff("203.0.113.7"), &by("203.0.113.7"));
        check("10.0.0.1", None, &xff("198.51.100.1, 203.0.113.7"), &by("203.0.113.7"));
        check("10.0.0.1", None, &xff("198.51.100.1, 203.0.113.7, 10.2.3.4,10.0.0.9"), &by("203.0.113.7"));
        check("10.0.0.1", None, &(xff("198.51.100.1") + &xff("203.0.113.7")), &by("203.0.113.7"));
        check("10.0.0.1", None, &xff("10.9.9.9, 10.2.3.4"), &by("10.9.9.9"));
        check("fd00::1", None, &xff("2001:db8::7"), &by("2001:db8::7"));
        check("10.0.0.1", None, &xff("[2001:db8::7]:443"), &by("2001:db8::7"));
        check("10.0.0.1", None, &xff("203.0.113.7:5000"), &by("203.0.113.7"));
        check("10.0.0.1", None, &xff("::ffff:203.0.113.7"), &by("203.0.113.7"));
        check("::ffff:10.0.0.1", None, &xff("203.0.113.7"), &by("203.0.113.7"));
    }

    /// Case A5.
    #[test]
    fn junk_names_nobody() {
        for junk in ["", "unknown", "_hidden", "<script>", "203.0.113.7, 1.2.3", &"1".repeat(10_000)] {
            check("10.0.0.1", None, &format!("X-Forwarded-For: {junk}\r\n"), "10.0.0.1 (untold)");
        }
        check("10.0.0.1", None, "X-Forwarded-For: x, 10.2.3.4\r\n", "10.2.3.4 (untold)");
        let hops = "10.1.1.1, ".repeat(1000) + "10.1.1.1";
        check("10.0.0.1", None, &format!("X-Forwarded-For: {hops}\r\n"), "10.1.1.1 (x-forwarded-for)");
    }

    /// Case A5.
    #[test]
    fn nothing_of_a_stranger_is_believed() {
        for header in ["X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1"] {
            check("203.0.113.9", Some("192.0.2.1"), &format!("{header}\r\n"), "203.0.113.9 (peer)");
        }
    }

    #[test]
    fn other_headers() {
        let check = |headers: &str, expected: &str| check("10.0.0.1", None, headers, expected);
        check("Forwarded: for=203.0.113.7;proto=http, for=10.1.1.1\r\n", "203.0.113.7 (forwarded)");
        check("Forwarded: proto=http;For=\"[2001:db8::7]:4711\"\r\n", "2001:db8::7 (forwarded)");
        check("Forwarded: for=_hidden\r\n", "10.0.0.1 (untold)");
        check("Forwarded: by=203.0.113.7\r\n", "10.0.0.1 (untold)");
        check("X-Real-IP: 203.0.113.7\r\n", "203.0.113.7 (x-real-ip)");
        check("CF-Connecting-IP: 203.0.113.7\r\n", "203.0.113.7 (cf-connecting-ip)");
        check("X-Real-IP: 1.1.1.1\r\nX-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7 (x-forwarded-for)");
        check("", "10.0.0.1 (untold)");
    }

    #[test]
    fn headers_that_the_proxy_does_not_write_are_not_asked() {
        let proxies = Proxies { headers: vec![ClientHeader::XRealIp.into()], ..proxies() };
        let mut request = Request::default();
        parse_request(
            b"GET / HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 2.2.2.2\r\n\r\n",
            &mut request,
        );
        let client = proxies.at(server()).client(ip("10.0.0.1"), None, &request);
        assert_eq!(client.to_string(), "2.2.2.2 (x-real-ip)");
    }

    #[test]
    fn each_listener_may_have_proxies_and_headers_of_its_own() {
        let net = |text| Scoped::parse(text, str::parse).unwrap();
        let header = |text| Scoped::parse(text, str::parse).unwrap();
        let proxies = Proxies {
            trusted: vec![net("10.0.0.0/8"), net("8080=172.16.0.0/12")],
            headers: vec![header("x-forwarded-for"), header("8080=x-real-ip")],
        };
        let mut request = Request::default();
        parse_request(
            b"GET / HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 2.2.2.2\r\n\r\n",
            &mut request,
        );
        for (server, peer, expected) in [
            ("192.0.2.80:80", "10.0.0.1", "1.1.1.1 (x-forwarded-for)"),
            ("192.0.2.80:80", "172.16.0.1", "172.16.0.1 (peer)"),
            ("192.0.2.80:8080", "172.16.0.1", "2.2.2.2 (x-real-ip)"),
            ("192.0.2.80:8080", "10.0.0.1", "2.2.2.2 (x-real-ip)"),
        ] {
            let client = proxies.at(server.parse().unwrap()).client(ip(peer), None, &request);
            assert_eq!(client.to_string(), expected, "{peer} to {server}");
        }
    }

    #[test]
    fn the_proxy_protocol_comes_first_and_may_name_a_proxy() {
        check(
            "10.0.0.1",
            Some("203.0.113.7"),
            "X-Forwarded-For: 192.0.2.1\r\n",
            "203.0.113.7 (proxy-protocol)",
        );
        check("10.0.0.1", Some("10.5.5.5"), "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1 (x-forwarded-for)");
    }

    #[test]
    fn proxy_protocol_headers() {
        const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
        let v2 = |command: u8, family: u8, body: &[u8]| {
            [SIGNATURE, &[command, family, 0, body.len() as u8], body].concat()
        };
        let shown = |header: &[u8]| proxied(header).map(|address| address.to_string());
        assert_eq!(shown(b"PROXY TCP4 192.0.2.1 10.0.0.1 4000 80\r\n").as_deref(), Some("192.0.2.1"));
        assert_eq!(shown(b"PROXY TCP6 2001:db8::1 fd00::1 4000 80\r\n").as_deref(), Some("2001:db8::1"));
        assert_eq!(shown(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(shown(b"PROXY TCP4 x y\r\n"), None);
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0, 1, 0, 2];
        assert_eq!(shown(&v2(0x21, 0x11, &four)).as_deref(), Some("192.0.2.1"));
        assert_eq!(shown(&v2(0x20, 0x11, &four)), None, "LOCAL");
        assert_eq!(shown(&v2(0x21, 0x11, &four[..6])), None, "cut");
        let six = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0; 16]].concat();
        assert_eq!(shown(&v2(0x21, 0x21, &[&six[..], &[0; 4]].concat())).as_deref(), Some("2001:db8::1"));
        assert_eq!(shown(&v2(0x21, 0x31, &[0; 216])), None, "a path");
    }
}
