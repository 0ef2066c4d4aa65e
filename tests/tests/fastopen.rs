//! TCP fast open: the request is on the SYN.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sensor_tests::agent::Setup;
use sensor_tests::http::get;
use sensor_tests::scenarios;
use sensor_tests::site::{Site, address};

/// Clients send data without a cookie; every listener takes it, without one too (net/ipv4/tcp_fastopen.c).
const EVERYBODY: &str = "1543";

/// Sends a request on the SYN; returns what is answered.
fn send_on_syn(server: SocketAddr, request: &[u8]) -> Result<Vec<u8>> {
    let SocketAddr::V4(v4) = server else { bail!("an IPv4 server is wanted") };
    // SAFETY: no pointers are passed.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(std::io::Error::last_os_error()).context("no socket");
    }
    // SAFETY: the descriptor was just opened and nobody else has it.
    let mut stream = unsafe { TcpStream::from_raw_fd(raw) };
    let to = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: v4.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
        sin_zero: [0; 8],
    };
    let len = size_of::<libc::sockaddr_in>() as u32;
    // SAFETY: buffer and address are valid for their lengths, and the call only reads them.
    let sent = unsafe {
        libc::sendto(
            stream.as_raw_fd(),
            request.as_ptr().cast(),
            request.len(),
            libc::MSG_FASTOPEN,
            (&raw const to).cast(),
            len,
        )
    };
    if usize::try_from(sent) != Ok(request.len()) {
        return Err(std::io::Error::last_os_error()).context("cannot send on a SYN");
    }
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer)?;
    answer.truncate(read);
    Ok(answer)
}

/// A listener made now, since fast open is given to those that begin to listen; it answers every connection's first bytes.
fn serve(site: &Site, at: SocketAddr) {
    let listener = site.lab.app.enter(|| Ok(TcpListener::bind(at)?)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    });
}

/// Case E17.
#[test]
fn an_attack_on_a_syn_is_found() {
    let Some(site) = Site::start(1, &Setup::default()) else { return };
    for host in [&site.lab.app, site.client(1)] {
        let set = || Ok(std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", EVERYBODY)?);
        host.enter(set).unwrap();
    }
    let server = SocketAddr::new(site.server(1).ip(), 8080);
    serve(&site, server);
    let answer = site.client(1).enter(|| send_on_syn(server, &get("/index.html"))).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let metrics = || {
        let body = site.agent.api("GET", "/metrics", None).unwrap().body;
        String::from_utf8_lossy(&body).lines().any(|line| line == "sensor_engine_early_taken_total 1")
    };
    sensor_tests::process::wait_until("data on a SYN is read", Duration::from_secs(5), metrics).unwrap();

    let scenario = &scenarios::all()[0];
    // The block may cut the answer off.
    let _ = site.client(1).enter(|| send_on_syn(server, &scenario.attack));
    let alert = site.agent.wait_for_alert(address(1, 2)).unwrap();
    assert_eq!(alert["sensor"]["class"], scenario.class, "{alert}");
    assert!(site.agent.block_of(address(1, 2)).unwrap().is_some());
}
