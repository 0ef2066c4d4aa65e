//! Events about packets rather than requests: samples of what block entries matched, and sources that misbehave below the level of
//! connections. They go to the event file beside the alerts, in EVE's form (`drop` is Suricata's type, `anomaly` too), and
//! are not alerts: nobody is woken by what was dropped already or may be forged.

use serde::Serialize;

use super::eve::timestamp;
use crate::clock::WallClock;
use crate::kernel::abuse::Abuser;
use crate::kernel::samples::Dropped;
use sensor_engine::time::Timestamp;

/// A sample of dropped traffic, as events and the API show it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DropEvent {
    timestamp: String,
    event_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_iface: Option<String>,
    src_ip: String,
    #[serde(skip_serializing_if = "is_zero")]
    src_port: u16,
    dest_ip: String,
    #[serde(skip_serializing_if = "is_zero")]
    dest_port: u16,
    proto: String,
    drop: Drop,
}

#[derive(Clone, Debug, Serialize)]
struct Drop {
    /// `drop`, or `pass` of an entry that only counts.
    action: &'static str,
    reason: String,
    /// What the entry names: `address`, `prefix` or `connection`.
    entry: &'static str,
    hits: u64,
}

/// A source that misbehaves, as events and the API show it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AbuseEvent {
    timestamp: String,
    event_type: &'static str,
    src_ip: String,
    anomaly: Anomaly,
}

#[derive(Clone, Debug, Serialize)]
struct Anomaly {
    r#type: &'static str,
    event: &'static str,
    /// The address may be forged: no handshake is needed for this.
    unverified_source: bool,
    connection_attempts: u64,
    most_attempts_in_a_second: u32,
    attempts_dropped: u64,
    impossible_flags: u64,
    stray_segments: u64,
    most_strays_in_a_second: u32,
    refused_attempts: u64,
}

impl DropEvent {
    /// The event of a sample.
    pub(crate) fn new(sample: &Dropped, reason: String, interface: Option<String>, clock: WallClock) -> Self {
        let whole = if sample.source.is_ipv4() { 32 } else { 128 };
        let entry = match sample.prefix_len {
            None => "connection",
            // The program notes whole addresses of both families as 128 bits.
            Some(length) if length >= whole => "address",
            Some(_) => "prefix",
        };
        Self {
            timestamp: timestamp(clock.at(Timestamp::from_nanos(sample.time_ns))),
            event_type: "drop",
            in_iface: interface,
            src_ip: sample.source.to_string(),
            src_port: sample.source_port,
            dest_ip: sample.destination.to_string(),
            dest_port: sample.destination_port,
            proto: protocol(sample.protocol),
            drop: Drop {
                action: if sample.shadow { "pass" } else { "drop" },
                reason,
                entry,
                hits: sample.hits,
            },
        }
    }
}

impl AbuseEvent {
    /// The event of a source.
    pub(crate) fn new(abuser: &Abuser, clock: WallClock) -> Self {
        let counts = &abuser.counts;
        Self {
            timestamp: timestamp(clock.at(crate::clock::boot_now())),
            event_type: "anomaly",
            src_ip: abuser.source.to_string(),
            anomaly: Anomaly {
                r#type: "packet",
                event: if counts.strays_peak > counts.syns_peak { "stray_flood" } else { "connection_flood" },
                unverified_source: true,
                connection_attempts: counts.syns,
                most_attempts_in_a_second: counts.syns_peak,
                attempts_dropped: counts.policed,
                impossible_flags: counts.odd_flags,
                stray_segments: counts.strays,
                most_strays_in_a_second: counts.strays_peak,
                refused_attempts: counts.refused,
            },
        }
    }
}

/// An event as one line of JSON.
pub(crate) fn line(event: &impl Serialize) -> String {
    // As for alerts: nothing in these events can fail.
    serde_json::to_string(event).unwrap_or_default()
}

/// Names as EVE writes them (IANA's protocol numbers).
fn protocol(number: u8) -> String {
    match number {
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "IPv6-ICMP".to_owned(),
        132 => "SCTP".to_owned(),
        other => other.to_string(),
    }
}

fn is_zero(port: &u16) -> bool {
    *port == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_drop_event() {
        let sample = Dropped {
            time_ns: 1_000_000_000,
            source: "203.0.113.7".parse().unwrap(),
            destination: "192.0.2.1".parse().unwrap(),
            source_port: 40_000,
            destination_port: 80,
            protocol: 6,
            interface: 1,
            prefix_len: Some(24),
            shadow: false,
            hits: 7,
            reason: 1,
        };
        let event =
            DropEvent::new(&sample, "scanner".to_owned(), Some("eth0".to_owned()), WallClock::at_offset(0));
        assert_eq!(
            line(&event),
            r#"{"timestamp":"1970-01-01T00:00:01.000000+0000","event_type":"drop","in_iface":"eth0","src_ip":"203.0.113.7","src_port":40000,"dest_ip":"192.0.2.1","dest_port":80,"proto":"TCP","drop":{"action":"drop","reason":"scanner","entry":"prefix","hits":7}}"#
        );
    }
}
