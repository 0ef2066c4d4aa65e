//! Watches what the kernel tells beside records: samples of blocked traffic and sources that misbehave below the level of connections. Both become
//! events in the event file, and the latest are kept for the API, so that what is dropped stays visible.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::alert::traffic::{AbuseEvent, DropEvent, line};
use crate::clock::WallClock;
use crate::kernel::abuse::{AbuseTable, Abuser};
use crate::kernel::lists::Lists;
use crate::kernel::pins::Pins;
use crate::kernel::samples::Samples;
use crate::shared::Shared;

/// Samples taken at once; more wait in their ring.
const MOST_SAMPLES: usize = 2048;
/// Events of each kind that the API can show.
const KEPT: usize = 512;
/// How often the table of misbehaving sources is read.
const READ_ABUSE_EVERY: Duration = Duration::from_secs(5);
/// How long a source is not reported again.
const REPORT_AGAIN_AFTER: Duration = Duration::from_secs(300);

/// The latest events.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Samples of blocked traffic, the oldest first.
    pub(crate) drops: VecDeque<DropEvent>,
    /// Misbehaving sources, the oldest first.
    pub(crate) abuse: VecDeque<AbuseEvent>,
    /// Samples taken.
    pub(crate) drops_seen: u64,
    /// Sources reported.
    pub(crate) abuse_seen: u64,
    /// Events that the event file's queue had no room for.
    pub(crate) events_lost: u64,
}

impl Recent {
    fn keep<T>(events: &mut VecDeque<T>, event: T) {
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back(event);
    }
}

/// The watcher.
pub(crate) struct Watch {
    samples: Samples,
    abuse: AbuseTable,
    lists: Lists,
    events: SyncSender<String>,
    report_from: u32,
    reported: BTreeMap<IpAddr, Instant>,
    read_abuse: Option<Instant>,
}

impl Watch {
    /// Opens what the kernel programs write. A source is reported from `report_from` connection attempts a second on; 0 reports none.
    pub(crate) fn open(pin_dir: &Path, events: SyncSender<String>, report_from: u32) -> Result<Self> {
        let pins = Pins::below(pin_dir);
        Ok(Self {
            samples: Samples::open(&pins)?,
            abuse: AbuseTable::open(&pins)?,
            lists: Lists::open(pin_dir)?,
            events,
            report_from,
            reported: BTreeMap::new(),
            read_abuse: None,
        })
    }

    /// From how many connection attempts a second on a source is reported.
    pub(crate) fn set_report_from(&mut self, report_from: u32) {
        self.report_from = report_from;
    }

    /// Takes what there is; to be called about once a second.
    pub(crate) fn look(&mut self, shared: &Shared) {
        self.look_at_drops(shared);
        if self.read_abuse.is_none_or(|read| read.elapsed() >= READ_ABUSE_EVERY) {
            self.read_abuse = Some(Instant::now());
            if let Err(error) = self.look_at_abuse(shared) {
                tracing::warn!("misbehaving sources cannot be read: {error:#}");
            }
        }
    }

    fn look_at_drops(&mut self, shared: &Shared) {
        let clock = WallClock::measure();
        for sample in self.samples.take(MOST_SAMPLES) {
            let interface = nix::net::if_::if_indextoname(sample.interface).ok();
            let interface = interface.map(|name| name.to_string_lossy().into_owned());
            let event = DropEvent::new(&sample, self.lists.reason(sample.reason), interface, clock);
            let sent = self.send(&line(&event));
            shared.with_recent(|recent| {
                recent.drops_seen += 1;
                recent.events_lost += u64::from(!sent);
                Recent::keep(&mut recent.drops, event);
            });
        }
    }

    fn look_at_abuse(&mut self, shared: &Shared) -> Result<()> {
        self.reported.retain(|_, reported| reported.elapsed() < REPORT_AGAIN_AFTER);
        if self.report_from == 0 {
            return Ok(());
        }
        let clock = WallClock::measure();
        let due = |abuser: &Abuser| {
            abuser.recent
                && abuser.counts.syns_peak >= self.report_from
                && !self.reported.contains_key(&abuser.source)
        };
        let due: Vec<_> = self.abuse.sources()?.into_iter().filter(due).take(KEPT).collect();
        for abuser in due {
            let event = AbuseEvent::new(&abuser, clock);
            tracing::warn!(source = %abuser.source, attempts = abuser.counts.syns_peak, "many connection attempts a second");
            let sent = self.send(&line(&event));
            self.reported.insert(abuser.source, Instant::now());
            shared.with_recent(|recent| {
                recent.abuse_seen += 1;
                recent.events_lost += u64::from(!sent);
                Recent::keep(&mut recent.abuse, event);
            });
        }
        Ok(())
    }

    /// Leaves an event for the event file; never waits.
    fn send(&self, event: &str) -> bool {
        self.events.try_send(event.to_owned()).is_ok()
    }
}
