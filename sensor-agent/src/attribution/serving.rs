//! Who serves where, for rules whose condition asks for the process: a thread of its own looks at the sockets that listen and lends
//! the engines a table. It looks only while some rule asks, and searches for processes only when what listens has changed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use sensor_engine::served::{Served, ServingProcess};

use super::sock_diag::Found;
use super::{Attribution, Process};
use crate::pipeline::Inputs;

/// How often it looks at what listens: how long a service that has just begun may not be known.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// When processes are looked up anew though the same sockets listen: soon after a change, because searches for the holders of sockets are
/// seldom, then twice as late each time, up to the second value, because one may have handed its socket on.
const RENEW_SOON: Duration = Duration::from_secs(3);
const RENEW_EVERY: Duration = Duration::from_secs(60);

/// The thread.
#[derive(Debug)]
pub(crate) struct Serving {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Serving {
    /// Starts it; `attribution` is its own, because it waits for no alert and no alert for it.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub(crate) fn start(attribution: Attribution, inputs: Arc<ArcSwap<Inputs>>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut look = Look::new(attribution);
        let named = thread::Builder::new().name("serving".to_owned());
        let thread = named
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    look.keep_up(&inputs);
                    thread::park_timeout(LOOK_EVERY);
                }
            })
            .context("cannot start the thread that looks at listening sockets")?;
        Ok(Self { thread, stop })
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the thread that looks at listening sockets had panicked");
        }
    }
}

/// What listened at the last look.
struct Look {
    attribution: Attribution,
    last: Vec<(SocketAddr, u64)>,
    /// When they were looked up, and for how long that is good.
    looked_up: Option<(Instant, Duration)>,
}

impl Look {
    fn new(attribution: Attribution) -> Self {
        Self { attribution, last: Vec::new(), looked_up: None }
    }

    /// A new table, if there is something new to say.
    fn keep_up(&mut self, inputs: &ArcSwap<Inputs>) {
        if !inputs.load().rules.asks_for_process() {
            self.looked_up = None;
            return;
        }
        let Some(listening) = self.attribution.listening() else { return };
        let sockets: Vec<_> = listening.iter().map(|(address, found)| (*address, found.inode)).collect();
        let before = self.looked_up.filter(|_| sockets == self.last);
        if before.is_some_and(|(at, good)| at.elapsed() < good) {
            return;
        }
        let good = before.map_or(RENEW_SOON, |(_, good)| (good * 2).min(RENEW_EVERY));
        let served = Arc::new(self.look_up(&listening));
        (self.last, self.looked_up) = (sockets, Some((Instant::now(), good)));
        if *inputs.load().served != *served {
            inputs.rcu(|inputs| Inputs { served: Arc::clone(&served), ..Inputs::clone(inputs) });
        }
    }

    fn look_up(&mut self, listening: &[(SocketAddr, Found)]) -> Served {
        let process = |(address, found): &(SocketAddr, Found)| {
            (*address, ServingProcess::from(self.attribution.listener(found)))
        };
        Served::new(listening.iter().map(process))
    }
}

impl From<Process> for ServingProcess {
    fn from(process: Process) -> Self {
        Self {
            name: process.name,
            unit: process.unit,
            container: process.container,
            user: Some(process.user.unwrap_or_else(|| process.uid.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use sensor_engine::rule::{RuleSet, RuleSource};

    use super::*;
    use crate::kernel::choice::AttributionChoice;

    fn inputs(when: &str) -> ArcSwap<Inputs> {
        let text = format!(
            "[[rule]]\nid = 'a'\ntitle = 't'\nclass = 'JWT'\nseverity = 'low'\nconfidence = 0.5\nfields = ['args']\n\
             pattern = 'abcd'\n{when}\n[rule.examples]\nmatch = [['abcd', 'process.user=x']]\nno_match = ['x']\n"
        );
        let rules = Arc::new(RuleSet::compile(&[RuleSource { name: "t", text: &text }]).unwrap());
        ArcSwap::from_pointee(Inputs { rules, ..Inputs::default() })
    }

    fn look() -> Look {
        Look::new(Attribution::start(AttributionChoice::SockDiag, 1024))
    }

    #[test]
    fn a_listener_is_known_from_the_next_look_on_and_forgotten_after_its_end() {
        let inputs = inputs("when = \"process.user == 'x'\"");
        let mut look = look();
        look.keep_up(&inputs);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let user = || inputs.load().served.at(address).map(|process| process.user.clone());
        assert_eq!(user(), None);
        look.keep_up(&inputs);
        assert!(user().flatten().is_some(), "this process listens");
        drop(listener);
        look.keep_up(&inputs);
        assert_eq!(user(), None);
    }

    #[test]
    fn nobody_looks_while_no_rule_asks() {
        let inputs = inputs("");
        let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
        look().keep_up(&inputs);
        assert!(inputs.load().served.is_empty());
    }
}
