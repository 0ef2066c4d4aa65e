//! Asks the kernel's socket tables for one socket (sock_diag(7)): its user, its inode and its control group. One question is one message
//! of 72 bytes each way, and the kernel looks the socket up as it does for a packet. Who listens is asked for as a list.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Kind of a question (linux/sock_diag.h), of an error and flag of a request (linux/netlink.h).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// Attribute with the control group's id (linux/inet_diag.h), kernel 5.9 and later.
const INET_DIAG_CGROUP_ID: u16 = 21;
/// States of a socket (net/tcp_states.h).
const TCP_ESTABLISHED: u8 = 1;
const TCP_CLOSE_WAIT: u8 = 8;
const TCP_LISTEN: u8 = 10;
/// Longest wait for an answer; the kernel answers within the call.
const TIME_OUT: Duration = Duration::from_millis(200);
/// Most sockets of a list, and bytes of one message: the kernel fills up to 32 KiB.
const MAX_LISTED: usize = 16_384;
const LIST_BYTES: usize = 32 * 1024;
/// Answers to earlier questions that are passed over.
const MAX_STALE: u32 = 8;

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct Question {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    protocol: u8,
    extensions: u8,
    pad: u8,
    states: u32,
    id: Id,
}

/// `struct inet_diag_sockid`: network byte order, IPv4 in the first four bytes.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Id {
    local_port: [u8; 2],
    remote_port: [u8; 2],
    local: [u8; 16],
    remote: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

/// `struct nlmsghdr`.
#[repr(C)]
#[derive(FromBytes, Immutable, KnownLayout)]
struct Head {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// `struct inet_diag_msg`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
struct Answer {
    family: u8,
    state: u8,
    timer: u8,
    retransmissions: u8,
    id: Id,
    expires: u32,
    receive_queue: u32,
    send_queue: u32,
    user: u32,
    inode: u32,
}

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Who made it.
    pub(super) user: u32,
    /// Its inode.
    pub(super) inode: u64,
    /// Its control group's id: that of whoever made it, or made the socket that listened for it.
    pub(super) cgroup: Option<u64>,
    /// It listens.
    pub(super) listens: bool,
    /// A process has it: connections that are not accepted yet, or are over, belong to the kernel alone.
    pub(super) owned: bool,
    /// It waits to be accepted.
    pub(super) waits: bool,
    /// What no other socket of this kernel has had.
    pub(super) cookie: [u32; 2],
}

/// The way to the tables of this network namespace.
#[derive(Debug)]
pub(super) struct SockDiag {
    socket: OwnedFd,
    sequence: u32,
}

impl SockDiag {
    /// Opens it.
    ///
    /// # Errors
    /// If the kernel or the service's confinement refuses.
    pub(super) fn open() -> Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )
        .context("the kernel gives no socket of NETLINK_SOCK_DIAG")?;
        let time_out = TimeVal::new(0, i64::try_from(TIME_OUT.as_micros())?);
        setsockopt(&socket, sockopt::ReceiveTimeout, &time_out)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The socket of a connection, or the one that listens for it; without `remote` only the latter. `None` if there is none.
    ///
    /// # Errors
    /// If the kernel does not answer, or cannot (no `tcp_diag`).
    pub(super) fn find(&mut self, local: SocketAddr, remote: Option<SocketAddr>) -> Result<Option<Found>> {
        self.sequence = self.sequence.wrapping_add(1);
        let question = question(self.sequence, local, remote);
        send(self.socket.as_raw_fd(), question.as_bytes(), MsgFlags::empty())
            .context("it cannot be asked")?;
        let mut bytes = [0; 1024];
        for _ in 0..=MAX_STALE {
            let length = recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::empty()).context("no answer")?;
            if let Some(answer) = answer(&bytes[..length], self.sequence)? {
                return Ok(answer);
            }
        }
        bail!("no answer among {MAX_STALE} messages")
    }

    /// Ends the connection whose socket has this cookie; false if it is over.
    ///
    /// # Errors
    /// If the kernel does not answer, cannot (no INET_DIAG_DESTROY), or may not (CAP_NET_ADMIN).
    pub(super) fn destroy(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        cookie: [u32; 2],
    ) -> Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut order = question(self.sequence, local, Some(remote));
        (order.kind, order.flags, order.id.cookie) = (SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, cookie);
        send(self.socket.as_raw_fd(), order.as_bytes(), MsgFlags::empty()).context("it cannot be asked")?;
        let mut bytes = [0; 1024];
        for _ in 0..=MAX_STALE {
            let length = recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::empty()).context("no answer")?;
            if let Some(code) = acknowledged(&bytes[..length], self.sequence)? {
                return match Errno::from_raw(code.saturating_neg()) {
                    _ if code == 0 => Ok(true),
                    Errno::ENOENT | Errno::ESTALE => Ok(false),
                    error => Err(error).context("the kernel does not end the connection (CAP_NET_ADMIN?)"),
                };
            }
        }
        bail!("no answer among {MAX_STALE} messages")
    }

    /// All sockets that listen, by address, those of IPv4 first.
    ///
    /// # Errors
    /// If the kernel does not answer, or cannot (no `tcp_diag`).
    pub(super) fn listening(&mut self) -> Result<Vec<(SocketAddr, Found)>> {
        let mut listed = Vec::new();
        for any in [IpAddr::from([0; 4]), IpAddr::from([0_u16; 8])] {
            self.sequence = self.sequence.wrapping_add(1);
            let question = Question {
                flags: NLM_F_REQUEST | NLM_F_DUMP,
                states: 1 << TCP_LISTEN,
                ..question(self.sequence, SocketAddr::new(any, 0), None)
            };
            send(self.socket.as_raw_fd(), question.as_bytes(), MsgFlags::empty())
                .context("it cannot be asked")?;
            self.list(&mut listed)?;
        }
        listed.sort_unstable_by_key(|(address, found)| (*address, found.inode));
        Ok(listed)
    }

    /// Reads a list to its end, whether it is kept or not: the next question shall not meet its rest.
    fn list(&mut self, listed: &mut Vec<(SocketAddr, Found)>) -> Result<()> {
        let mut bytes = vec![0; LIST_BYTES];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::empty()).context("no answer")?;
            let mut rest = bytes.get(..length).unwrap_or_default();
            while !rest.is_empty() {
                let (head, _) = Head::read_from_prefix(rest).ok().context("the list is cut off")?;
                let message = rest.get(..head.length as usize).context("the list is cut off")?;
                if head.kind == NLMSG_DONE && head.sequence == self.sequence {
                    return Ok(());
                }
                if let Some(found) = listener(message, self.sequence)?
                    && listed.len() < MAX_LISTED
                {
                    listed.push(found);
                }
                rest = rest.get((head.length as usize).next_multiple_of(4).max(16)..).unwrap_or_default();
            }
        }
    }
}

/// One entry of a list, with the address at which it listens; `None` if it belongs to another list.
fn listener(message: &[u8], sequence: u32) -> Result<Option<(SocketAddr, Found)>> {
    let Some(Some(found)) = answer(message, sequence)? else { return Ok(None) };
    let body = message.get(size_of::<Head>()..).unwrap_or_default();
    let (answer, _) = Answer::read_from_prefix(body).ok().context("the list is cut off")?;
    let [a, b, c, d, ..] = answer.id.local;
    let ip = match i32::from(answer.family) {
        libc::AF_INET => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(answer.id.local).to_canonical(),
    };
    Ok(Some((SocketAddr::new(ip, u16::from_be_bytes(answer.id.local_port)), found)))
}

fn question(sequence: u32, local: SocketAddr, remote: Option<SocketAddr>) -> Question {
    let (family, local_bytes) = address(local.ip());
    let remote_bytes = remote.map(|remote| address(remote.ip()).1).unwrap_or_default();
    Question {
        length: size_of::<Question>() as u32,
        kind: SOCK_DIAG_BY_FAMILY,
        flags: NLM_F_REQUEST,
        sequence,
        port: 0,
        family,
        protocol: libc::IPPROTO_TCP as u8,
        extensions: 0,
        pad: 0,
        states: u32::MAX,
        id: Id {
            local_port: local.port().to_be_bytes(),
            remote_port: remote.map_or([0; 2], |remote| remote.port().to_be_bytes()),
            local: local_bytes,
            remote: remote_bytes,
            interface: 0,
            // INET_DIAG_NOCOOKIE: whichever socket has these addresses.
            cookie: [u32::MAX; 2],
        },
    }
}

/// Family and bytes of an address; IPv4 questions find IPv4-mapped sockets of IPv6 too.
fn address(address: IpAddr) -> (u8, [u8; 16]) {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            (libc::AF_INET as u8, bytes)
        }
        IpAddr::V6(v6) => (libc::AF_INET6 as u8, v6.octets()),
    }
}

/// The code with which an order is acknowledged, 0 or a negated error; `None` if the message answers something else.
fn acknowledged(message: &[u8], sequence: u32) -> Result<Option<i32>> {
    let (head, body) = Head::read_from_prefix(message).ok().context("the answer is cut off")?;
    if head.sequence != sequence || head.kind != NLMSG_ERROR {
        return Ok(None);
    }
    let (code, _) = i32::read_from_prefix(body).ok().context("the answer is cut off")?;
    Ok(Some(code))
}

/// The answer in a message: `None` if it answers another question, `Some(None)` if there is no such socket.
fn answer(message: &[u8], sequence: u32) -> Result<Option<Option<Found>>> {
    let (head, body) = Head::read_from_prefix(message).ok().context("the answer is cut off")?;
    if head.sequence != sequence {
        return Ok(None);
    }
    if head.kind == NLMSG_ERROR {
        let code = i32::read_from_prefix(body).map_or(0, |(code, _)| code);
        return match Errno::from_raw(code.saturating_neg()) {
            Errno::ENOENT => Ok(Some(None)),
            error => Err(error).context("the kernel refused (is `tcp_diag` there?)"),
        };
    }
    let (answer, attributes) = Answer::read_from_prefix(body).ok().context("the answer is cut off")?;
    Ok(Some(Some(Found {
        user: answer.user,
        inode: answer.inode.into(),
        cgroup: cgroup(attributes),
        listens: answer.state == TCP_LISTEN,
        owned: answer.inode != 0,
        waits: answer.inode == 0 && [TCP_ESTABLISHED, TCP_CLOSE_WAIT].contains(&answer.state),
        cookie: answer.id.cookie,
    })))
}

/// The control group among the attributes (`struct nlattr`): length, kind, value, each on a multiple of four bytes.
fn cgroup(mut attributes: &[u8]) -> Option<u64> {
    loop {
        let (&[length, kind], _) = <[u16; 2]>::ref_from_prefix(attributes).ok()?;
        let value = attributes.get(4..usize::from(length))?;
        if kind == INET_DIAG_CGROUP_ID {
            return u64::read_from_bytes(value).ok();
        }
        attributes = attributes.get(usize::from(length).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn layouts_are_the_kernels() {
        let sizes = (size_of::<Question>(), size_of::<Id>(), size_of::<Head>(), size_of::<Answer>());
        assert_eq!(sizes, (72, 48, 16, 72));
    }

    fn inode_of(socket: &impl AsRawFd) -> u64 {
        let target = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let text = target.to_string_lossy().into_owned();
        text.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
    }

    #[test]
    fn connections_and_listeners_of_both_families_are_found() {
        for listen in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(listen).unwrap();
            let port = listener.local_addr().unwrap().port();
            let to = if listen == "[::1]:0" { format!("[::1]:{port}") } else { format!("127.0.0.1:{port}") };
            let client = TcpStream::connect(to).unwrap();
            let (local, remote) = (client.peer_addr().unwrap(), client.local_addr().unwrap());
            let mut tables = SockDiag::open().unwrap();
            let found = tables.find(local, Some(remote)).unwrap().unwrap();
            assert_eq!((found.owned, found.waits), (false, true), "{listen}");
            let (server, _) = listener.accept().unwrap();
            let found = tables.find(local, Some(remote)).unwrap().unwrap();
            assert_eq!(
                (found.inode, found.listens, found.owned),
                (inode_of(&server), false, true),
                "{listen}"
            );
            assert!(!found.waits, "{listen}");
            assert_eq!(found.user, nix::unistd::geteuid().as_raw());
            let found = tables.find(local, None).unwrap().unwrap();
            assert_eq!((found.inode, found.listens), (inode_of(&listener), true), "{listen}");
            assert_eq!(tables.find(remote, None).unwrap(), None, "nobody listens there");
        }
    }

    #[test]
    fn whoever_listens_is_listed_under_its_address() {
        let sockets = ["127.0.0.1:0", "[::1]:0", "[::]:0"].map(|address| TcpListener::bind(address).unwrap());
        let mut tables = SockDiag::open().unwrap();
        let listed = tables.listening().unwrap();
        for socket in &sockets {
            let address = socket.local_addr().unwrap();
            let found = listed.iter().find(|(listed, _)| *listed == address).map(|(_, found)| *found);
            assert_eq!(
                found.map(|found| (found.inode, found.listens)),
                Some((inode_of(socket), true)),
                "{address}"
            );
        }
        let connected = TcpStream::connect(sockets[0].local_addr().unwrap()).unwrap();
        let local = connected.local_addr().unwrap();
        assert!(!tables.listening().unwrap().iter().any(|(address, _)| *address == local));
        assert!(
            tables.find(sockets[0].local_addr().unwrap(), None).unwrap().is_some(),
            "no rest of a list is left"
        );
    }

    #[test]
    fn messages_that_lie_are_errors_or_nothing() {
        let mut message = vec![0; 16 + 72 + 12];
        message[8..12].copy_from_slice(&5u32.to_ne_bytes());
        message[88..92].copy_from_slice(&[12, 0, INET_DIAG_CGROUP_ID as u8, 0]);
        message[92..].copy_from_slice(&77u64.to_ne_bytes());
        let cgroup = |message: &[u8]| answer(message, 5).unwrap().unwrap().unwrap().cgroup;
        assert_eq!(cgroup(&message), Some(77));
        assert_eq!(answer(&message, 6).unwrap(), None, "another question's");
        for length in [0, 3, 8, 200] {
            message[88] = length;
            assert_eq!(cgroup(&message), None, "an attribute of {length} bytes");
        }
        for length in 0..message.len() {
            let _ = answer(&message[..length], 5);
        }
    }
}
