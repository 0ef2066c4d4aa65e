//! The network devices of the host, asked and followed by netlink (rtnetlink(7)): which there are, of what kind, and that something has
//! changed.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
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
    /// Whether its packets begin with an Ethernet header.
    pub(crate) ethernet: bool,
    /// What kind of virtual device it is, as `ip link` names it; `None` for hardware.
    pub(crate) kind: Option<String>,
    /// The XDP program in place, if there is one.
    pub(crate) xdp: Option<XdpInPlace>,
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
    pub(crate) fn why_not(&self, has_address: bool) -> Option<&'static str> {
        if !self.up {
            return Some("it is down");
        }
        if !self.ethernet {
            return Some("its packets have no Ethernet header");
        }
        match self.kind.as_deref() {
            Some("bridge" | "bond" | "team" | "vrf" | "hsr") => Some("its ports are watched"),
            Some("vlan" | "macvlan" | "macvtap" | "ipvlan" | "ipvtap" | "macsec" | "vxlan" | "geneve") => {
                Some("the device below it is watched")
            }
            Some("gretap" | "ip6gretap" | "erspan") => Some("the device below it is watched"),
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
    let socket = Socket::new(NETLINK_ROUTE).context("cannot open a netlink socket")?;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(LinkMessage::default()));
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).context("cannot ask for the network devices")?;
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
        ethernet: header.link_layer_type == LinkLayerType::Ether,
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
        assert_eq!((lo.index, lo.ethernet, &lo.kind), (1, false, &None));
        assert!(lo.why_not(true).is_some());
    }

    #[test]
    fn packets_are_watched_where_they_enter_the_host() {
        let why = |kind: &str, has_address| {
            let kind = Some(kind.to_owned()).filter(|kind| !kind.is_empty());
            Link { up: true, ethernet: true, kind, ..Link::default() }.why_not(has_address)
        };
        assert_eq!((why("", true), why("", false)), (None, None), "hardware, with or without an address");
        assert_eq!(why("veth", true), None, "a container's own end, or a link between hosts");
        assert_eq!(why("veth", false), Some("it leads to a container"));
        assert_eq!(why("bridge", true), Some("its ports are watched"));
        assert_eq!(why("vlan", true), Some("the device below it is watched"));
        assert_eq!(Link::default().why_not(true), Some("it is down"));
    }
}
