//! Clients that send exactly the bytes they are told, and understand as much of the answer as tests need.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use std::os::fd::AsRawFd;

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Head as text.
    pub head: String,
    /// Body bytes.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Value of a header, by lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects within two seconds, from the calling thread's host.
    ///
    /// # Errors
    /// If nobody answers: that is what a blocked client sees.
    pub fn connect(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Connects from a chosen address of the calling thread's host.
    ///
    /// # Errors
    /// As [`Client::connect`], or if the address is not one of the host's.
    pub fn connect_from(from: IpAddr, to: SocketAddr) -> Result<Self> {
        let family = if from.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let descriptor = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        bind(descriptor.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))
            .with_context(|| format!("`{from}` is not an address of this host"))?;
        let two_seconds = nix::sys::time::TimeVal::new(2, 0);
        nix::sys::socket::setsockopt(&descriptor, nix::sys::socket::sockopt::SendTimeout, &two_seconds)?;
        connect(descriptor.as_raw_fd(), &SockaddrStorage::from(to))?;
        let stream = TcpStream::from(descriptor);
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads one response; its end is found by Content-Length, chunks, or the end of the connection.
    ///
    /// # Errors
    /// If none comes within two seconds.
    pub fn receive(&mut self) -> Result<Response> {
        let head = self.read_head()?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status code")?;
        let mut response = Response { status, head, body: Vec::new() };
        let length = response.header("content-length").and_then(|length| length.parse().ok());
        response.body = match length {
            Some(length) => self.read_exactly(length)?,
            None if response.header("transfer-encoding").is_some() => self.read_chunks()?,
            None if matches!(status, 204 | 304) => Vec::new(),
            None => self.read_rest(),
        };
        Ok(response)
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// As [`Client::send`] and [`Client::receive`].
    pub fn exchange(&mut self, request: &[u8]) -> Result<Response> {
        self.send(request)?;
        self.receive()
    }

    /// The stream itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Reads up to and with the next line end.
    ///
    /// # Errors
    /// If the connection ends or pauses before.
    pub fn read_line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.last() != Some(&b'\n') {
            self.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn read_head(&mut self) -> Result<String> {
        let mut head = String::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(head);
            }
            head.push_str(&line);
            head.push('\n');
        }
    }

    fn read_exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    fn read_chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.read_line()?, 16).context("no chunk size")?;
            body.extend(self.read_exactly(size)?);
            self.read_line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn read_rest(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        // The end of the connection, even by a reset, ends such a body.
        let _ = self.stream.read_to_end(&mut body);
        body
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// If there is no connection or no answer.
pub fn once(to: SocketAddr, request: &[u8]) -> Result<Response> {
    Client::connect(to)?.exchange(request)
}

/// A GET request that keeps the connection.
#[must_use]
pub fn get(target: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nHost: app.example\r\nUser-Agent: test-client/1.0\r\nAccept: */*\r\n\r\n"
    )
    .into_bytes()
}

/// A POST request that keeps the connection.
#[must_use]
pub fn post(target: &str, content_type: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {target} HTTP/1.1\r\nHost: app.example\r\nUser-Agent: test-client/1.0\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// JSON of a response.
///
/// # Errors
/// If the status is not `expected` or the body is no JSON.
pub fn json(response: &Response, expected: u16) -> Result<serde_json::Value> {
    if response.status != expected {
        bail!("status {} instead of {expected}: {}", response.status, response.text());
    }
    Ok(serde_json::from_slice(&response.body)?)
}
