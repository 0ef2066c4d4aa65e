//! A whole installation for one test: hosts, nginx, agent, files.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use tempfile::TempDir;

use crate::agent::{Agent, Setup};
use crate::http::{self, Client, Response};
use crate::lab::{Host, Lab};
use crate::nginx::Nginx;
use crate::rawtcp::privileged;

/// Hosts, application and agent. Fields are dropped in their order: what is attached goes before the interfaces do.
#[derive(Debug)]
pub struct Site {
    /// The agent.
    pub agent: Agent,
    /// The application.
    pub nginx: Nginx,
    /// The hosts.
    pub lab: Lab,
    /// Files of all of them.
    pub folder: TempDir,
}

static SITES: AtomicU32 = AtomicU32::new(0);

impl Site {
    /// A site with a running agent; `None`, said on standard error, where this process may not make one.
    ///
    /// # Panics
    /// If it may, but something does not start: that is a failed test.
    #[must_use]
    pub fn start(clients: u8, setup: &Setup) -> Option<Self> {
        let mut site = Self::prepare(clients, setup)?;
        if let Err(error) = site.agent.start() {
            panic!("{error:#}");
        }
        Some(site)
    }

    /// A site whose agent has not been started.
    ///
    /// # Panics
    /// As [`Site::start`].
    #[must_use]
    pub fn prepare(clients: u8, setup: &Setup) -> Option<Self> {
        if !privileged() {
            eprintln!("skipped: network namespaces and kernel programs need root");
            return None;
        }
        match Self::make(clients, setup) {
            Ok(site) => Some(site),
            Err(error) => panic!("{error:#}"),
        }
    }

    fn make(clients: u8, setup: &Setup) -> Result<Self> {
        let number = SITES.fetch_add(1, Ordering::Relaxed);
        let lab = Lab::new(&format!("st{}-{number}", std::process::id()), clients)?;
        let folder = TempDir::with_prefix("sensor-e2e-")?;
        let nginx = Nginx::start(&lab.app, &folder.path().join("nginx"))?;
        let agent = Agent::new(&lab.app, &folder.path().join("agent"), setup)?;
        Ok(Self { agent, nginx, lab, folder })
    }

    /// Client number `number`, from 1.
    #[must_use]
    pub fn client(&self, number: u8) -> &Host {
        &self.lab.clients[usize::from(number) - 1]
    }

    /// The application as client `number` reaches it.
    #[must_use]
    pub fn server(&self, number: u8) -> SocketAddr {
        SocketAddr::new(self.lab.server(number), 80)
    }

    /// One request of client `number` from its own address.
    ///
    /// # Errors
    /// If there is no connection or no answer.
    pub fn request(&self, number: u8, request: &[u8]) -> Result<Response> {
        let server = self.server(number);
        self.client(number).enter(|| http::once(server, request))
    }

    /// One request of client `number` from another address of its, which is added first.
    ///
    /// # Errors
    /// If there is no connection or no answer.
    pub fn request_as(&self, number: u8, last_byte: u8, request: &[u8]) -> Result<Response> {
        let source = address(number, last_byte);
        self.client(number).address("eth0", &[format!("{source}/24")]).ok();
        let server = self.server(number);
        self.client(number).enter(|| Client::connect_from(source, server)?.exchange(request))
    }
}

/// An address of client `number`.
#[must_use]
pub fn address(number: u8, last_byte: u8) -> IpAddr {
    Ipv4Addr::new(10, 66, number, last_byte).into()
}
