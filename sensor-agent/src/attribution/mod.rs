//! Which process, unit, container and user is behind a connection of this host.
//!
//! A kernel program notes who accepts a connection; that is exact, and still known when the process is gone. For connections that it has not
//! seen (older than the agent, accepted through io_uring, opened by this host) the kernel's socket tables are asked. All of it
//! happens when an alert is made, on the thread that writes alerts: it may take a while, and no packet waits for it.

mod addresses;
mod cgroup;
mod control_groups;
mod ending;
mod processes;
mod serving;
mod sock_diag;
mod sockets;
mod users;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sensor_common::owner::Owner;
use serde::Serialize;

use crate::kernel::choice::AttributionChoice;
use crate::kernel::gauges::Named;
use crate::kernel::owners::Owners;
use crate::printable::short;
use crate::shared::Status;
use crate::store;
use addresses::Addresses;
use control_groups::ControlGroups;
pub(crate) use ending::Ender;
use processes::{Facts, Processes, TICK_NS};
pub(crate) use serving::Serving;
use sock_diag::{Found, SockDiag};
use sockets::{Holder, Sockets};
use users::Users;

/// Longest name of a process that is shown; the kernel's own are 15 bytes.
const MAX_NAME: usize = 64;

/// How long an alert waits for its connection to be accepted, and between two looks: a request may arrive before the server accepts.
const PATIENCE: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(1);
/// Waiting may take one part in this many of the thread's time.
const SHARE: u32 = 20;

/// How a process was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// It was seen accepting the connection.
    Accept,
    /// The kernel's socket tables name the connection's socket, or the one that listens at its address.
    SockDiag,
}

/// The process behind a connection. All text is escaped and limited in length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Process {
    /// Its number, as this agent sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    /// Its name, which it can choose itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Its program; needs CAP_SYS_PTRACE for processes of other users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exe: Option<String>,
    /// Its systemd unit: the outermost, which it cannot choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<String>,
    /// Its container's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<String>,
    /// What runs the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runtime: Option<&'static str>,
    /// The Kubernetes pod's uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<String>,
    /// Its user's name in this host's /etc/passwd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Its user.
    pub(crate) uid: u32,
    /// How it was found.
    pub(crate) source: Source,
}

impl From<Process> for store::Owner {
    fn from(process: Process) -> Self {
        Self {
            process: process.name,
            unit: process.unit,
            container: process.container,
            user: Some(process.user.unwrap_or_else(|| process.uid.to_string())),
        }
    }
}

/// What was counted so far, and how full the cache is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Alerts whose process was seen accepting.
    pub(crate) by_accept: u64,
    /// Alerts whose process the socket tables named.
    pub(crate) by_sock_diag: u64,
    /// Alerts whose process is not known.
    pub(crate) unknown: u64,
    /// Processes that were found in the cache.
    pub(crate) cache_hits: u64,
    /// Processes that had to be read.
    pub(crate) cache_misses: u64,
    /// Processes that made room for others.
    pub(crate) cache_evictions: u64,
    /// Processes in the cache.
    pub(crate) cached: u64,
    /// Questions that the socket tables did not answer, by an error of theirs.
    pub(crate) failed: u64,
}

/// Finds processes.
pub(crate) struct Attribution {
    owners: Option<Owners>,
    sock_diag: Option<SockDiag>,
    processes: Processes,
    sockets: Sockets,
    control_groups: ControlGroups,
    addresses: Addresses,
    users: Users,
    /// When an alert may wait again.
    patient_from: Option<Instant>,
    tally: Tally,
    state: (Status, String),
}

impl Attribution {
    /// Attaches what `choice` asks for; the kernel's map gets room for `max_owners` connections. What cannot be had is said in
    /// [`Attribution::state`] and in the log, once.
    pub(crate) fn start(choice: AttributionChoice, max_owners: u32) -> Self {
        let mut attribution = Self::with(None);
        match choice {
            AttributionChoice::Off => attribution.state.1 = "switched off: capture.attribution".to_owned(),
            AttributionChoice::SockDiag => attribution.open_sock_diag("by capture.attribution"),
            AttributionChoice::Auto => match Owners::start(max_owners) {
                Ok(owners) => {
                    attribution.owners = Some(owners);
                    attribution.open_sock_diag("for connections that were not seen accepted");
                    attribution.state.1.insert_str(0, "processes are seen accepting connections; ");
                }
                Err(error) => {
                    tracing::warn!("processes cannot be seen accepting connections: {error:#}");
                    attribution.open_sock_diag("only");
                    let why = format!("processes cannot be seen accepting connections: {error:#}; ");
                    attribution.state.1.insert_str(0, &why);
                    attribution.state.0 = attribution.state.0.max(Status::Degraded);
                }
            },
        }
        tracing::info!("attribution: {}", attribution.state.1);
        attribution
    }

    /// Finds nothing.
    #[cfg(test)]
    pub(crate) fn off() -> Self {
        Self::with(None)
    }

    fn with(owners: Option<Owners>) -> Self {
        Self {
            owners,
            sock_diag: None,
            processes: Processes::default(),
            sockets: Sockets::default(),
            control_groups: ControlGroups::default(),
            addresses: Addresses::default(),
            users: Users::default(),
            patient_from: None,
            tally: Tally::default(),
            state: (Status::Ok, String::new()),
        }
    }

    fn open_sock_diag(&mut self, why: &str) {
        match SockDiag::open() {
            Ok(open) => {
                self.sock_diag = Some(open);
                self.state.1 = format!("the kernel's socket tables are asked {why}");
            }
            Err(error) => {
                self.state = (Status::Degraded, format!("the socket tables cannot be asked: {error:#}"));
            }
        }
    }

    /// The kernel program and its map, for the gauges; once.
    pub(crate) fn take_gauged(&mut self) -> (Vec<Named>, Vec<Named>) {
        self.owners.as_mut().map(Owners::take_gauged).unwrap_or_default()
    }

    /// How well this works, for the health.
    pub(crate) fn state(&self) -> (Status, String) {
        self.state.clone()
    }

    /// What was counted.
    pub(crate) fn tally(&self) -> Tally {
        self.processes.count(self.tally)
    }

    /// The process on this host behind a connection, if it can be found.
    pub(crate) fn of(&mut self, client: SocketAddr, server: SocketAddr) -> Option<Process> {
        if self.owners.is_none() && self.sock_diag.is_none() {
            return None;
        }
        let accepted = self.acceptor(client, server).or_else(|| {
            self.await_accept(client, server);
            self.acceptor(client, server)
        });
        let found = match accepted {
            Some(owner) => Some(self.accepted(&owner)),
            None => self.looked_up(client, server),
        };
        match found.as_ref().map(|process| process.source) {
            Some(Source::Accept) => self.tally.by_accept += 1,
            Some(Source::SockDiag) => self.tally.by_sock_diag += 1,
            None => self.tally.unknown += 1,
        }
        found
    }

    /// The sockets that listen, in the order of their addresses; `None` where the kernel's tables do not tell.
    fn listening(&mut self) -> Option<Vec<(SocketAddr, Found)>> {
        match self.sock_diag.as_mut()?.listening() {
            Ok(listening) => Some(listening),
            Err(error) => {
                tracing::debug!("the socket tables did not tell who listens: {error:#}");
                None
            }
        }
    }

    /// The process behind a socket that listens.
    fn listener(&mut self, found: &Found) -> Process {
        match self.sockets.holder(found.inode) {
            Some(holder) => self.held(found, holder),
            None => self.grouped(found),
        }
    }

    fn acceptor(&self, client: SocketAddr, server: SocketAddr) -> Option<Owner> {
        self.owners.as_ref()?.get(client, server).ok().flatten()
    }

    /// Waits while the connection waits to be accepted, for a bounded share of the time: a server that accepts nothing holds up no alerts.
    fn await_accept(&mut self, client: SocketAddr, server: SocketAddr) {
        let begin = Instant::now();
        if self.patient_from.is_some_and(|from| begin < from) || !self.addresses.contains(server.ip()) {
            return;
        }
        while self.ask(server, Some(client)).is_some_and(|found| found.waits) && begin.elapsed() < PATIENCE {
            std::thread::sleep(PAUSE);
            self.patient_from = Some(Instant::now() + begin.elapsed() * SHARE);
        }
    }

    /// A process that was seen accepting. If it is gone, or its number is another's by now, what was noted then is all there is.
    fn accepted(&mut self, owner: &Owner) -> Process {
        let ticks = owner.started_ns / TICK_NS;
        let alive = Some(owner.process).filter(|number| *number != 0);
        let facts = alive.and_then(|number| self.processes.get(number, Some(ticks)));
        let noted = || Facts {
            name: Some(name(&owner.name)).filter(|name| !name.is_empty()),
            placement: self.control_groups.placement(owner.cgroup),
            ..Facts::default()
        };
        let facts = facts.unwrap_or_else(noted);
        self.process(alive, facts, owner.user, Source::Accept)
    }

    /// A connection by the kernel's socket tables. Who listens at an address of this host stands for its connections that are over.
    fn looked_up(&mut self, client: SocketAddr, server: SocketAddr) -> Option<Process> {
        let (local, remote, served) = match () {
            () if self.addresses.contains(server.ip()) => (server, client, true),
            () if self.addresses.contains(client.ip()) => (client, server, false),
            () => return None,
        };
        let connection =
            self.ask(local, Some(remote)).filter(|found| found.owned && (served || !found.listens));
        let holder = connection.as_ref().and_then(|found| self.sockets.holder(found.inode));
        if let (Some(found), Some(holder)) = (&connection, holder) {
            return Some(self.held(found, holder));
        }
        let listener = if served { self.ask(local, None).filter(|found| found.listens) } else { None };
        let holder = listener.as_ref().and_then(|found| self.sockets.holder(found.inode));
        match (connection.or(listener), holder) {
            (Some(found), Some(holder)) => Some(self.held(&found, holder)),
            (Some(found), None) => Some(self.grouped(&found)),
            (None, _) => None,
        }
    }

    fn ask(&mut self, local: SocketAddr, remote: Option<SocketAddr>) -> Option<Found> {
        match self.sock_diag.as_mut()?.find(local, remote) {
            Ok(found) => found,
            Err(error) => {
                self.tally.failed += 1;
                tracing::debug!("the socket tables did not answer: {error:#}");
                None
            }
        }
    }

    /// The process that holds a socket.
    fn held(&mut self, found: &Found, holder: Holder) -> Process {
        let facts = self.processes.get(holder.number, Some(holder.started));
        let Some(facts) = facts else { return self.grouped(found) };
        let user = facts.user.unwrap_or(found.user);
        self.process(Some(holder.number), facts, user, Source::SockDiag)
    }

    /// What a socket itself tells: its user, and its control group with the unit, the container, and what those run.
    fn grouped(&mut self, found: &Found) -> Process {
        let members = found.cgroup.map(|id| self.control_groups.members(id)).unwrap_or_default();
        let alone = if let [only] = members[..] { Some(only) } else { None };
        if let Some(facts) = alone.and_then(|only| self.processes.get(only, None)) {
            return self.process(alone, facts, found.user, Source::SockDiag);
        }
        let mut names: Vec<_> = members
            .iter()
            .filter_map(|number| self.processes.get(*number, None))
            .map(|facts| facts.name)
            .collect();
        names.dedup();
        let facts = Facts {
            name: if names.len() == 1 { names.remove(0) } else { None },
            placement: found.cgroup.map(|id| self.control_groups.placement(id)).unwrap_or_default(),
            ..Facts::default()
        };
        self.process(None, facts, found.user, Source::SockDiag)
    }

    fn process(&mut self, pid: Option<u32>, facts: Facts, uid: u32, source: Source) -> Process {
        let placement = facts.placement;
        Process {
            pid,
            name: facts.name,
            exe: facts.exe,
            unit: placement.unit,
            container: placement.container,
            runtime: placement.runtime,
            pod: placement.pod,
            user: self.users.name(uid),
            uid,
            source,
        }
    }
}

/// A name of at most 16 bytes, padded with zeros.
fn name(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    short(&String::from_utf8_lossy(&bytes[..end]), MAX_NAME)
}

/// When a process started, nanoseconds of the boot clock, to a hundredth of a second.
#[cfg(test)]
pub(crate) fn started_ns(number: u32) -> Option<u64> {
    processes::started(std::path::Path::new("/proc"), number).map(|ticks| ticks * TICK_NS)
}

#[cfg(test)]
mod tests;
