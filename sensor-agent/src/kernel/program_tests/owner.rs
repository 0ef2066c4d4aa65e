//! Who accepts a connection: real connections over the loopback → the note that the program leaves.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use aya::programs::TracePoint;
use sensor_common::owner::Owner;
use sensor_common::program;

use super::runnable;
use crate::kernel::owners::{self, Owners};

/// Attached programs; `None`, said on standard error, where they cannot be had.
fn attached(max: u32) -> Option<Owners> {
    if !runnable() {
        return None;
    }
    if !std::path::Path::new("/sys/kernel/tracing/events").exists() {
        eprintln!("skipped: tracefs is not mounted; `cargo xtask test` mounts it");
        return None;
    }
    Some(Owners::start(max).unwrap())
}

/// Accepts one connection on `listen` from `to`, on a thread of this name; returns the server's end.
fn accepted(listen: &str, to: &str, thread: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(listen).unwrap();
    let to = SocketAddr::new(to.parse::<IpAddr>().unwrap(), listener.local_addr().unwrap().port());
    let accept = std::thread::Builder::new().name(thread.to_owned());
    let accept = accept.spawn(move || listener.accept().unwrap().0).unwrap();
    let client = TcpStream::connect(to).unwrap();
    (client, accept.join().unwrap())
}

fn owner(owners: &Owners, client: &TcpStream) -> Option<Owner> {
    owners.get(client.local_addr().unwrap(), client.peer_addr().unwrap()).unwrap()
}

#[test]
fn the_accepting_process_is_noted_for_both_families_and_mapped_addresses() {
    let Some(owners) = attached(1024) else { return };
    for (listen, to) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "::1"),
        ("[::]:0", "127.0.0.1"),
        ("0.0.0.0:0", "127.0.0.1"),
    ] {
        let (client, _server) = accepted(listen, to, "acceptor");
        let owner = owner(&owners, &client).unwrap_or_else(|| panic!("{listen} from {to}"));
        assert_eq!(owner.process, std::process::id(), "{listen} from {to}");
        assert_eq!(owner.user, nix::unistd::geteuid().as_raw());
        assert_eq!(&owner.name, b"acceptor\0\0\0\0\0\0\0\0");
        let started = crate::attribution::started_ns(std::process::id()).unwrap();
        assert_eq!(owner.started_ns / 10_000_000, started / 10_000_000, "in ticks of a hundredth second");
    }
}

#[test]
fn connections_that_nobody_has_accepted_have_no_owner() {
    let Some(owners) = attached(1024) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_eq!(owner(&owners, &client), None);
    let (_server, _) = listener.accept().unwrap();
    assert!(owner(&owners, &client).is_some());
}

#[test]
fn other_sockets_and_failed_calls_leave_no_trace() {
    let Some(owners) = attached(1024) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let local = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let _peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
    local.accept().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
    let (client, _server) = accepted("127.0.0.1:0", "127.0.0.1", "after");
    assert!(owner(&owners, &client).is_some(), "the program still works");
}

#[test]
fn a_full_map_forgets_the_connections_longest_unused() {
    let Some(owners) = attached(1024) else { return };
    let first = accepted("127.0.0.1:0", "127.0.0.1", "first");
    assert!(owner(&owners, &first.0).is_some());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..3000 {
        let client = TcpStream::connect(address).unwrap();
        let (_server, _) = listener.accept().unwrap();
        assert!(owner(&owners, &client).is_some(), "the newest is always there");
    }
    assert!(owners.fill().unwrap() <= 1024);
}

#[test]
fn the_verifier_is_done_with_the_program_soon() {
    if !runnable() {
        return;
    }
    let mut object = owners::load(1024).unwrap();
    let accept: &mut TracePoint = object.program_mut(program::ACCEPT).unwrap().try_into().unwrap();
    accept.load().unwrap();
    let verified = accept.info().unwrap().verified_instruction_count().unwrap_or(0);
    println!("{}: {verified} instructions verified", program::ACCEPT);
    assert!(verified <= super::MAX_VERIFIED, "{verified}");
}
