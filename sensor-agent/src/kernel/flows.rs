//! The tap's flow table, as far as the agent changes it: it says from where on a connection is wanted again.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use sensor_common::flow::{FlowKey, FlowState, class, state};
use sensor_common::map;
use sensor_common::record::mapped;
use sensor_engine::capture::whole::Known;

use super::pins::Pins;
use super::table::Table;

/// The pinned flow table.
pub(crate) struct FlowTable {
    table: Table<FlowKey, FlowState>,
    watched: Table<[u8; 16], u64>,
    /// The source watched last: findings come in rows.
    last_watched: Option<IpAddr>,
}

impl FlowTable {
    /// Opens the pinned table.
    pub(crate) fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            table: Table::open(pins, map::FLOWS)?,
            watched: Table::open(pins, map::WATCHED)?,
            last_watched: None,
        })
    }

    /// Tells the tap to record the connections of `source` even outside the sample, as long as its table has room for it.
    pub(crate) fn watch(&mut self, source: IpAddr, now_ns: u64) -> Result<()> {
        if self.last_watched != Some(source) {
            self.watched.insert(bytes(source), now_ns)?;
            self.last_watched = Some(source);
        }
        Ok(())
    }

    /// What the tap knows of a connection, as `source` sees it.
    pub(crate) fn known(&self, source: SocketAddr, destination: SocketAddr) -> Result<Known> {
        let (key, source_is_low) = FlowKey::of(endpoint(source), endpoint(destination));
        Ok(self.table.get(key)?.map_or_else(Known::default, |flow| describe(&flow, source_is_low)))
    }

    /// Tells the tap that a connection has become WebSocket; false if it does not know the flow.
    pub(crate) fn websocket(&mut self, client: SocketAddr, server: SocketAddr) -> Result<bool> {
        let (key, _) = FlowKey::of(endpoint(client), endpoint(server));
        let Some(flow) = self.table.get(key)? else { return Ok(false) };
        self.table.replace(key, FlowState { class: class::WEBSOCKET, ..flow })
    }

    /// Tells the tap that nothing of `source` is wanted before the sequence number `until`; false if it does not know the flow.
    ///
    /// The entry is read, changed and written back while the tap may change it too. What can be lost that way is a record's worth of what the tap
    /// finds again with the next segment: all that decides about the flow stood in it before its body began.
    pub(crate) fn skip(&mut self, source: SocketAddr, destination: SocketAddr, until: u32) -> Result<bool> {
        let (key, source_is_low) = FlowKey::of(endpoint(source), endpoint(destination));
        let Some(mut flow) = self.table.get(key)? else { return Ok(false) };
        if source_is_low {
            (flow.low_skip, flow.state) = (until, flow.state | state::SKIP_LOW);
        } else {
            (flow.high_skip, flow.state) = (until, flow.state | state::SKIP_HIGH);
        }
        self.table.replace(key, flow)
    }
}

/// What the tap writes into the records of a flow.
fn describe(flow: &FlowState, source_is_low: bool) -> Known {
    let has = |bit: u16| flow.state & bit != 0;
    let (own, peer) = if source_is_low {
        (flow.low_initial, flow.high_initial)
    } else {
        (flow.high_initial, flow.low_initial)
    };
    Known {
        initial_sequences: has(state::SYN_SEEN).then_some((own, peer)),
        from_opener: has(state::OPENER_KNOWN).then_some(source_is_low == has(state::LOW_OPENED)),
        handshake: has(state::HANDSHAKE),
        timestamps: has(state::TIMESTAMPS),
        unwanted: matches!(flow.class, class::TLS | class::OWN),
    }
}

/// An endpoint as it stands in keys.
pub(crate) fn endpoint(address: SocketAddr) -> ([u8; 16], u16) {
    (bytes(address.ip()), address.port())
}

fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}
