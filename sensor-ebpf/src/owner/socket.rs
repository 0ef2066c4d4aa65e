//! Descriptor → the connection's key.

use sensor_common::{flow::FlowKey, owner::Offsets, record::mapped};

use crate::kernel::{offsets, read};

/// Address families (socket.h).
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Key of the connection that a descriptor of the task stands for; `None` if it is none of TCP's, or gone already.
#[inline(always)]
pub(crate) fn key(task: u64, descriptor: u64) -> Option<FlowKey> {
    let at = offsets();
    let sock = sock_of(&at, task, descriptor)?;
    // 0 once the connection has ended.
    let port: u16 = read(sock, at.sock_port)?;
    let peer_port = u16::from_be(read(sock, at.sock_peer_port)?);
    if port == 0 || peer_port == 0 {
        return None;
    }
    let (address, peer) = match read::<u16>(sock, at.sock_family)? {
        AF_INET => (mapped(read(sock, at.sock_address4)?), mapped(read(sock, at.sock_peer4)?)),
        AF_INET6 => (read(sock, at.sock_address6)?, read(sock, at.sock_peer6)?),
        _ => return None,
    };
    Some(FlowKey::of((address, port), (peer, peer_port)).0)
}

/// The `struct sock` behind a descriptor: accept's new descriptor is always a socket's.
#[inline(always)]
fn sock_of(at: &Offsets, task: u64, descriptor: u64) -> Option<u64> {
    let files: u64 = read(task, at.task_files)?;
    let table: u64 = read(files, at.files_table)?;
    let size: u32 = read(table, at.table_size)?;
    if descriptor >= size as u64 {
        return None;
    }
    let descriptors: u64 = read(table, at.table_files)?;
    let file: u64 = read(descriptors.wrapping_add(descriptor * 8), 0)?;
    let socket: u64 = read(file, at.file_private)?;
    read(socket, at.socket_sock)
}
