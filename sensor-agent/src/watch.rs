//! Watches what the kernel tells beside records: samples of blocked traffic and sources that misbehave below the level of connections. Both become
//! events in the event file, and the latest are kept for the API, so that what is dropped stays visible.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use anyhow::Result;
use sensor_common::drop::Abuse;

use crate::alert::traffic::{AbuseEvent, DropEvent, line};
use crate::clock::WallClock;
use crate::config::Response;
use crate::kernel::abuse::{AbuseTable, Abuser};
use crate::kernel::clock::boot_nanos;
use crate::kernel::lists::Lists;
use crate::kernel::pins::Pins;
use crate::kernel::samples::Samples;
use crate::shared::Shared;

/// Samples taken at once; more wait in their ring.
const MOST_SAMPLES: usize = 2048;
/// Events of each kind that the API can show.
const KEPT: usize = 512;
/// How often the table of misbehaving sources is read.
const READ_ABUSE_EVERY: Duration = Duration::from_secs(1);
/// How long stray segments of a source are dropped once it sent too many.
const STRAYS_DROPPED_NS: u64 = 10_000_000_000;
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
    rates: Rates,
    reported: BTreeMap<IpAddr, Instant>,
    read_abuse: Option<Instant>,
}

/// From how many events a second of one source something follows; 0 stands for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Connection attempts from which it is reported.
    report_syns: u32,
    /// Segments without a connection from which it is reported.
    report_strays: u32,
    /// Segments without a connection from which they are dropped.
    drop_strays: u32,
}

impl Rates {
    /// As configured.
    pub(crate) fn of(response: &Response) -> Self {
        Self {
            report_syns: response.report_syn_per_sec,
            report_strays: response.report_stray_per_sec,
            drop_strays: if response.enforce { response.max_stray_per_sec } else { 0 },
        }
    }

    fn reports(&self, counts: &Abuse) -> bool {
        reached(counts.syns_peak, self.report_syns) || reached(counts.strays_peak, self.report_strays)
    }
}

fn reached(count: u32, limit: u32) -> bool {
    limit != 0 && count >= limit
}

impl Watch {
    /// Opens what the kernel programs write.
    pub(crate) fn open(pin_dir: &Path, events: SyncSender<String>, rates: Rates) -> Result<Self> {
        let pins = Pins::below(pin_dir);
        Ok(Self {
            samples: Samples::open(&pins)?,
            abuse: AbuseTable::open(&pins)?,
            lists: Lists::open(pin_dir)?,
            events,
            rates,
            reported: BTreeMap::new(),
            read_abuse: None,
        })
    }

    /// Uses other rates from now on.
    pub(crate) fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
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
        if self.rates == Rates::default() {
            return Ok(());
        }
        let clock = WallClock::measure();
        let recent: Vec<_> = self.abuse.sources()?.into_iter().filter(|abuser| abuser.recent).collect();
        self.police(&recent);
        let due = |abuser: &Abuser| {
            self.rates.reports(&abuser.counts) && !self.reported.contains_key(&abuser.source)
        };
        let due: Vec<_> = recent.into_iter().filter(due).take(KEPT).collect();
        for abuser in due {
            let event = AbuseEvent::new(&abuser, clock);
            let (attempts, strays) = (abuser.counts.syns_peak, abuser.counts.strays_peak);
            tracing::warn!(source = %abuser.source, attempts, strays, "a flood, counted by the second");
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

    /// Has stray segments of sources dropped that send too many now. Their connections go on: nobody can be locked out in another's name.
    fn police(&mut self, recent: &[Abuser]) {
        let many = |abuser: &&Abuser| reached(abuser.counts.strays_now, self.rates.drop_strays);
        for abuser in recent.iter().filter(many).take(KEPT) {
            let until = boot_nanos().saturating_add(STRAYS_DROPPED_NS);
            if let Err(error) = self.lists.drop_strays(abuser.source, until, "segments without a connection")
            {
                tracing::warn!(source = %abuser.source, "stray segments are not dropped: {error:#}");
            }
        }
    }

    /// Leaves an event for the event file; never waits.
    fn send(&self, event: &str) -> bool {
        self.events.try_send(event.to_owned()).is_ok()
    }
}
