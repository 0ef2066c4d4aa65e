//! The network devices of the host, asked and followed by netlink (rtnetlink(7)): which there are, of what kind, and that something has
//! changed.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its index, which stays when it is renamed.
    pub(crate) index: u32,
    /// Its name now.
    pub(crate) name: String,
    /// Whether it was brought up.
    pub(crate) up: bool,
    /// Whether its packets never leave the host.
    pub(crate) loopback: bool,
    /// What its packets begin with.
    pub(crate) layer: Layer,
    /// What kind of virtual device it is, as `ip link` names it; `None` for hardware.
    pub(crate) kind: Option<String>,
    /// The XDP program in place, if there is one.
    pub(crate) xdp: Option<XdpInPlace>,
}

/// What the packets of a device begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layer {
    /// An Ethernet header.
    #[default]
    Ethernet,
    /// Their IP header: tun, WireGuard, PPP and their like.
    Ip,
    /// What another device has left there, on arrival (IPsec).
    Mixed,
    /// Something else, by its number (kernel's include/uapi/linux/if_arp.h).
    Other(u16),
}

impl Layer {
    /// The IP tunnels among these have begun their packets with the inner header since kernel 5.14.
    fn of(number: LinkLayerType, kind: Option<&str>) -> Self {
        use LinkLayerType as Type;
        match (number, kind) {
            (_, Some("vti" | "vti6" | "xfrm")) => Self::Mixed,
            (Type::Ether | Type::Loopback, _) => Self::Ethernet,
            (Type::None | Type::Rawip | Type::Ppp | Type::Tunnel | Type::Tunnel6 | Type::Sit, _) => Self::Ip,
            (Type::Ipgre | Type::Ip6gre, _) => Self::Ip,
            (other, _) => Self::Other(other.into()),
        }
    }

    /// Why no program can be attached to a device with such packets.
    pub(crate) fn why_not(self) -> Option<String> {
        match self {
            Self::Ethernet | Self::Ip => None,
            Self::Mixed => Some("its packets arrive with headers of the device below it".to_owned()),
            Self::Other(number) => {
                Some(format!("its packets are neither Ethernet frames nor IP packets (link layer {number})"))
            }
        }
    }
}

/// An XDP program on a device, whoever put it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct XdpInPlace {
    /// `native`, `generic` or `offloaded`.
    pub(crate) mode: &'static str,
    /// The kernel's number of the program.
    pub(crate) program: u32,
}

impl Link {
    /// Why the device is left alone unless it is named in the configuration; `None` if it is watched by default. A packet is to be seen
    /// once, where it enters the host, with the addresses that it had on the wire.
    pub(crate) fn why_not(&self, has_address: bool) -> Option<String> {
        if let Some(why) = self.why_not_by_kind(has_address) {
            Some(why.to_owned())
        } else {
            self.layer.why_not()
        }
    }

    fn why_not_by_kind(&self, has_address: bool) -> Option<&'static str> {
        if !self.up {
            return Some("it is down");
        }
        if self.loopback {
            return Some("its packets never leave the host");
        }
        match self.kind.as_deref() {
            Some("bridge" | "bond" | "team" | "vrf" | "hsr") => Some("its ports are watched"),
            Some("vlan" | "macvlan" | "macvtap" | "ipvlan" | "ipvtap" | "macsec" | "vxlan" | "geneve") => {
                Some("the device below it is watched")
            }
            Some("gretap" | "ip6gretap" | "erspan" | "gre" | "ip6gre" | "ipip" | "sit" | "ip6tnl") => {
                Some("the device below it is watched")
            }
            Some("dummy" | "ifb" | "nlmon") => Some("nothing arrives there"),
            Some("veth" | "netkit") if !has_address => Some("it leads to a container"),
            _ => None,
        }
    }
}

/// Most bytes of one answer; the kernel sends at most 32 KiB at once.
const ANSWER: usize = 64 << 10;

/// Every device of this network namespace.
pub(crate) fn links() -> Result<Vec<Link>> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let socket = send(request, NLM_F_DUMP).context("cannot ask for the network devices")?;
    let mut links = Vec::new();
    let mut answer = Vec::with_capacity(ANSWER);
    loop {
        answer.clear();
        socket.recv(&mut answer, 0).context("the kernel does not tell the network devices")?;
        if !read_answer(&answer, &mut links)? {
            return Ok(links);
        }
    }
}

fn send(request: RouteNetlinkMessage, flags: u16) -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    let mut request = NetlinkMessage::from(request);
    request.header.flags = NLM_F_REQUEST | flags;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    Ok(socket)
}

/// Flags of IFLA_XDP (kernel's include/uapi/linux/if_link.h).
const XDP_UPDATE_IF_NOEXIST: u32 = 1;
const XDP_REPLACE: u32 = 1 << 4;
/// In the place of a program's descriptor: none.
const NO_PROGRAM: RawFd = -1;

/// Takes an XDP program off a device, if it is exactly this one, and attached by itself.
///
/// # Errors
/// EEXIST if another program is in place, EBUSY if a link holds it; else what the kernel says.
pub(crate) fn remove_xdp(index: u32, mode: &str, program: BorrowedFd<'_>) -> io::Result<()> {
    let expected = LinkXdp::ExpectedFd(program.as_raw_fd().cast_unsigned());
    set_xdp(index, vec![LinkXdp::Fd(NO_PROGRAM), LinkXdp::Flags(mode_flag(mode) | XDP_REPLACE), expected])
}

/// Puts an XDP program on a device that has none.
///
/// # Errors
/// What the kernel says.
pub(crate) fn place_xdp(index: u32, mode: &str, program: BorrowedFd<'_>) -> io::Result<()> {
    let flags = mode_flag(mode) | XDP_UPDATE_IF_NOEXIST;
    set_xdp(index, vec![LinkXdp::Fd(program.as_raw_fd()), LinkXdp::Flags(flags)])
}

fn mode_flag(mode: &str) -> u32 {
    match mode {
        "native" => 1 << 2,
        "offloaded" => 1 << 3,
        _ => 1 << 1,
    }
}

fn set_xdp(index: u32, facts: Vec<LinkXdp>) -> io::Result<()> {
    let mut change = LinkMessage::default();
    change.header.index = index;
    change.attributes.push(LinkAttribute::Xdp(facts));
    let socket = send(RouteNetlinkMessage::SetLink(change), NLM_F_ACK)?;
    let mut answer = Vec::with_capacity(ANSWER);
    socket.recv(&mut answer, 0)?;
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match message.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        _ => Ok(()),
    }
}

/// Takes the links of one datagram; false once it was the last.
fn read_answer(mut answer: &[u8], links: &mut Vec<Link>) -> Result<bool> {
    while !answer.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer)
            .context("the kernel's list of network devices is not understood")?;
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => links.push(understand(&link)),
            NetlinkPayload::Done(_) => return Ok(false),
            NetlinkPayload::Error(error) => bail!("the kernel refused to list the network devices: {error}"),
            _ => {}
        }
        // Messages are aligned to four bytes.
        let length = (message.header.length as usize).next_multiple_of(4).max(4);
        answer = answer.get(length..).unwrap_or_default();
    }
    Ok(true)
}

fn understand(message: &LinkMessage) -> Link {
    let header = &message.header;
    let mut link = Link {
        index: header.index,
        up: header.flags.contains(LinkFlags::Up),
        loopback: header.flags.contains(LinkFlags::Loopback),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::LinkInfo(infos) => link.kind = infos.iter().find_map(kind_of),
            LinkAttribute::Xdp(facts) => link.xdp = facts.iter().find_map(in_place),
            _ => {}
        }
    }
    link.layer = Layer::of(header.link_layer_type, link.kind.as_deref());
    link
}

fn kind_of(info: &LinkInfo) -> Option<String> {
    let LinkInfo::Kind(kind) = info else { return None };
    Some(InfoKind::to_string(kind))
}

fn in_place(fact: &LinkXdp) -> Option<XdpInPlace> {
    match *fact {
        LinkXdp::DrvProgId(program) => Some(XdpInPlace { mode: "native", program }),
        LinkXdp::SkbProgId(program) => Some(XdpInPlace { mode: "generic", program }),
        LinkXdp::HwProgId(program) => Some(XdpInPlace { mode: "offloaded", program }),
        _ => None,
    }
}

/// Says when links or addresses have changed.
pub(crate) struct Changes {
    socket: Socket,
}

impl AsRawFd for Changes {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Changes {
    /// Listens from now on, within the running runtime.
    ///
    /// # Errors
    /// If the kernel gives no such socket.
    pub(crate) fn listen() -> io::Result<AsyncFd<Self>> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let groups = [libc::RTMGRP_LINK, libc::RTMGRP_IPV4_IFADDR, libc::RTMGRP_IPV6_IFADDR];
        let groups = groups.into_iter().fold(0, |all, group| all | group);
        socket.bind(&SocketAddr::new(0, groups.cast_unsigned()))?;
        socket.set_non_blocking(true)?;
        // SAFETY: the descriptor belongs to the socket, which the registration owns and keeps open as long as it lives.
        unsafe { AsyncFd::register_with_interest(Self { socket }, Interest::READABLE) }
            .map_err(io::Error::from)
    }

    /// Takes what has come; true if there was anything. What it says is asked anew: a message may have been lost, which is
    /// an answer too.
    pub(crate) fn drain(&self) -> bool {
        let mut any = false;
        let mut message = Vec::with_capacity(ANSWER);
        loop {
            message.clear();
            match self.socket.recv(&mut message, 0) {
                Ok(0) => return any,
                Ok(_) => any = true,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => any = true,
                Err(_) => return any,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_listed_and_not_watched_by_default() {
        let links = links().unwrap();
        let lo = links.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!((lo.index, lo.layer, lo.loopback, &lo.kind), (1, Layer::Ethernet, true, &None));
        assert!(lo.why_not(true).is_some());
    }

    #[test]
    fn packets_are_watched_where_they_enter_the_host() {
        let why = |kind: &str, has_address| {
            let kind = Some(kind.to_owned()).filter(|kind| !kind.is_empty());
            Link { up: true, kind, ..Link::default() }.why_not_by_kind(has_address)
        };
        assert_eq!((why("", true), why("", false)), (None, None), "hardware, with or without an address");
        assert_eq!(why("veth", true), None, "a container's own end, or a link between hosts");
        assert_eq!(why("veth", false), Some("it leads to a container"));
        assert_eq!(why("bridge", true), Some("its ports are watched"));
        assert_eq!(why("vlan", true), Some("the device below it is watched"));
        assert_eq!(
            why("ipip", true),
            Some("the device below it is watched"),
            "`capture.tunnels` looks into it"
        );
        assert_eq!((why("wireguard", true), why("tun", true)), (None, None), "below it, nothing can be read");
        assert_eq!(Link::default().why_not(true).as_deref(), Some("it is down"));
    }

    #[test]
    fn what_packets_begin_with_is_known_or_said() {
        let of = |number: u16, kind: Option<&str>| Layer::of(LinkLayerType::from(number), kind);
        for (number, kind, layer) in [
            (1, None, Layer::Ethernet),
            (1, Some("tun"), Layer::Ethernet),
            (772, None, Layer::Ethernet),
            (0xfffe, Some("tun"), Layer::Ip),
            (0xfffe, Some("wireguard"), Layer::Ip),
            (512, Some("ppp"), Layer::Ip),
            (519, None, Layer::Ip),
            (768, Some("ipip"), Layer::Ip),
            (778, Some("gre"), Layer::Ip),
            (768, Some("vti"), Layer::Mixed),
            (0xfffe, Some("xfrm"), Layer::Mixed),
            (32, None, Layer::Other(32)),
            (280, Some("vcan"), Layer::Other(280)),
        ] {
            assert_eq!(of(number, kind), layer, "{number} {kind:?}");
        }
        let infiniband = Link { up: true, layer: Layer::Other(32), ..Link::default() };
        let why = infiniband.why_not(true).unwrap();
        assert_eq!(why, "its packets are neither Ethernet frames nor IP packets (link layer 32)");
    }
}
