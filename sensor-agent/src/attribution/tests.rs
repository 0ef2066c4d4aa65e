//! Connections of this very process, found by the socket tables.

use std::net::{TcpListener, TcpStream};

use super::*;

fn by_socket_tables() -> Attribution {
    Attribution::start(AttributionChoice::SockDiag, 1024)
}

fn connection() -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (listener, client, server)
}

#[test]
fn a_connection_that_was_not_seen_accepted_is_found_in_the_socket_tables() {
    let mut attribution = by_socket_tables();
    let (_listener, client, _server) = connection();
    let process = attribution.of(client.local_addr().unwrap(), client.peer_addr().unwrap()).unwrap();
    assert_eq!((process.pid, process.source), (Some(std::process::id()), Source::SockDiag));
    assert_eq!(process.uid, nix::unistd::getuid().as_raw());
    assert_eq!(attribution.tally().by_sock_diag, 1);
}

#[test]
fn a_connection_that_is_over_belongs_to_whoever_listens() {
    let mut attribution = by_socket_tables();
    let (listener, client, server) = connection();
    let (from, to) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    drop((client, server));
    assert_eq!(attribution.of(from, to).unwrap().pid, Some(std::process::id()));
    drop(listener);
    assert_eq!(attribution.of(from, to), None, "nobody listens any more");
    assert_eq!(attribution.tally().unknown, 1);
}

#[test]
fn connections_of_other_hosts_have_no_process_here() {
    let mut attribution = by_socket_tables();
    let (listener, _, _) = connection();
    let port = listener.local_addr().unwrap().port();
    let elsewhere =
        (format!("192.0.2.1:{port}").parse().unwrap(), format!("192.0.2.2:{port}").parse().unwrap());
    assert_eq!(attribution.of(elsewhere.0, elsewhere.1), None);
}

#[test]
fn switched_off_nothing_is_looked_for_or_counted() {
    let mut attribution = Attribution::start(AttributionChoice::Off, 1024);
    let (_listener, client, _server) = connection();
    assert_eq!(attribution.of(client.local_addr().unwrap(), client.peer_addr().unwrap()), None);
    assert_eq!(attribution.tally(), Tally::default());
    assert_eq!(attribution.state().0, Status::Ok);
}

#[test]
fn a_noted_process_that_is_gone_keeps_the_name_it_had() {
    let mut attribution = Attribution::off();
    let owner =
        Owner { process: u32::MAX, user: 0, name: *b"gone\x1b\0\0\0\0\0\0\0\0\0\0\0", ..Owner::default() };
    let process = attribution.accepted(&owner);
    assert_eq!(process.name.as_deref(), Some("gone\\u{1b}"));
    assert_eq!((process.uid, process.source), (0, Source::Accept));
}

#[test]
fn an_alert_waits_for_its_connection_to_be_accepted_but_not_for_long_and_not_often() {
    let mut attribution = by_socket_tables();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (from, to) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    attribution.addresses.contains(to.ip());
    let took = |attribution: &mut Attribution| {
        let begin = Instant::now();
        attribution.await_accept(from, to);
        begin.elapsed()
    };
    assert!(took(&mut attribution) >= PATIENCE, "nobody accepts");
    assert!(attribution.patient_from.is_some());
    let used_up = Some(Instant::now() + PATIENCE * 1000);
    attribution.patient_from = used_up;
    attribution.await_accept(from, to);
    assert_eq!(attribution.patient_from, used_up, "the time for waiting is used up");
    attribution.patient_from = None;
    let accept = std::thread::spawn(move || {
        std::thread::sleep(PATIENCE / 4);
        listener.accept().unwrap()
    });
    took(&mut attribution);
    let accepted = accept.join().unwrap();
    assert!(attribution.patient_from.is_some(), "it waited");
    let found = attribution.ask(to, Some(from)).unwrap();
    assert!(!found.waits && found.owned, "{found:?}");
    drop(accepted);
    attribution.patient_from = None;
    took(&mut attribution);
    assert!(attribution.patient_from.is_none(), "what is over is not waited for");
}
