//! Ends connections where a rule asks for that: the kernel takes the application's socket away and resets both sides, so that what was sent
//! is not answered. Only the very socket that was found is ended: its cookie is given along, since a question for a connection that is over
//! finds the socket that listens.

use std::net::SocketAddr;

use anyhow::Result;

use super::sock_diag::SockDiag;

/// Ends connections of this network namespace. Needs CAP_NET_ADMIN, and a kernel with INET_DIAG_DESTROY, which distributions have.
#[derive(Debug, Default)]
pub(crate) struct Ender {
    /// Opened at the first use.
    tables: Option<SockDiag>,
}

impl Ender {
    /// Ends a connection to a server on this host; false if there is none (any more).
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn end(&mut self, client: SocketAddr, server: SocketAddr) -> Result<bool> {
        let tables = match &mut self.tables {
            Some(tables) => tables,
            none => none.insert(SockDiag::open()?),
        };
        match tables.find(server, Some(client))? {
            Some(found) if !found.listens => tables.destroy(server, client, found.cookie),
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_ended_and_who_listens_goes_on() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: not root");
            return;
        }
        for listen in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(listen).unwrap();
            let port = listener.local_addr().unwrap().port();
            let to = if listen == "[::1]:0" { format!("[::1]:{port}") } else { format!("127.0.0.1:{port}") };
            let mut client = TcpStream::connect(&to).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let (near, far) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            let mut ender = Ender::default();
            assert!(ender.end(near, far).unwrap(), "{listen}");
            let told = |stream: &mut TcpStream| stream.read(&mut [0; 8]).map_err(|error| error.kind());
            assert_eq!(told(&mut client), Err(ErrorKind::ConnectionReset), "{listen}");
            assert_eq!(told(&mut server), Err(ErrorKind::ConnectionAborted), "{listen}");
            assert!(!ender.end(near, far).unwrap(), "{listen}: the one that listens is no connection");
            assert!(TcpStream::connect(&to).is_ok(), "{listen}");
        }
    }
}
