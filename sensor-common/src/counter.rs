//! Per-CPU counters of the kernel programs, by name. Every packet moves exactly one *outcome* of its program, so
//! that seen = the sum of outcomes.

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $help:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $name { $($(#[doc = $help])* $variant,)* }

        impl $name {
            /// Every counter, in the order of its index.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
            /// Counters there are.
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// Name in metrics and messages.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// What is counted, for people.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($help),*).trim_ascii()),* }
            }
        }
    };
}

counters! {
    /// Counters of the XDP program. Each packet moves exactly one *outcome*; the others mark what was seen on the way.
    XdpCounter {
        /// Packets that are neither IPv4 nor IPv6, passed.
        NotIp = "not_ip",
        /// Packets too short for their own headers, passed.
        Malformed = "malformed",
        /// Packets of sources in no list, passed.
        NotListed = "not_listed",
        /// Packets of exempt sources that a block entry covers too, passed.
        Exempt = "exempt",
        /// Packets that only an expired entry matched, passed.
        Expired = "expired",
        /// Packets of sources blocked in shadow mode, counted and passed.
        Shadow = "shadow",
        /// Packets of automatically blocked sources while the panic switch is on, passed.
        Suspended = "suspended",
        /// Packets of sources of which only stray segments are dropped, and that are none, passed.
        Connected = "connected",
        /// Packets dropped because their address is blocked.
        DroppedAddress = "dropped_address",
        /// Packets dropped because their prefix is blocked.
        DroppedPrefix = "dropped_prefix",
        /// Packets dropped because their connection is blocked.
        DroppedConnection = "dropped_connection",
        /// Connection attempts dropped because their source makes too many.
        DroppedRate = "dropped_rate",
        /// Segments dropped because no stack sends such flags.
        DroppedFlags = "dropped_flags",
        /// Segments dropped because their source floods the host with segments without a connection.
        DroppedStray = "dropped_stray",
        /// Packets of which the prefilter said "perhaps" and no list had anything (not an outcome).
        FilterFalse = "filter_false",
        /// IP fragments without the transport header: entries for ports and connections do not count for them (not an outcome).
        Fragment = "fragment",
        /// IPv6 packets with more extension headers than the program follows: entries for ports do not count (not an outcome).
        Unparsed = "unparsed",
        /// Packets inside GRE (not an outcome).
        TunnelGre = "tunnel_gre",
        /// Packets inside VXLAN (not an outcome).
        TunnelVxlan = "tunnel_vxlan",
        /// Packets inside Geneve (not an outcome).
        TunnelGeneve = "tunnel_geneve",
        /// Packets inside IP (not an outcome).
        TunnelIpip = "tunnel_ipip",
        /// Connection attempts (not an outcome).
        Syn = "syn",
        /// TCP segments with flags that no stack sends (not an outcome).
        OddFlags = "odd_flags",
        /// Samples of dropped packets that found no room (not an outcome).
        SampleLost = "sample_lost",
    }
}

impl XdpCounter {
    /// Whether the counter is an outcome: the outcomes add up to the packets seen.
    #[must_use]
    pub const fn is_outcome(self) -> bool {
        (self as u32) < Self::FilterFalse as u32
    }
}

counters! {
    /// Counters of the tap. Each packet moves exactly one *outcome*; the others mark what was seen on the way.
    TapCounter {
        /// Packets that are neither IPv4 nor IPv6.
        NotIp = "not_ip",
        /// Packets too short for their own headers.
        Malformed = "malformed",
        /// IP fragments of other protocols than TCP, the packets of tunnels among them, or while no agent takes them.
        Fragment = "fragment",
        /// IPv6 packets with more extension headers than the parser follows, while no agent takes them.
        Unparsed = "unparsed",
        /// Packets of other protocols than TCP.
        NotTcp = "not_tcp",
        /// Packets inside GRE that are not looked into.
        TunnelGre = "tunnel_gre",
        /// Packets inside VXLAN that are not looked into.
        TunnelVxlan = "tunnel_vxlan",
        /// Packets inside Geneve that are not looked into.
        TunnelGeneve = "tunnel_geneve",
        /// Packets inside IP that are not looked into.
        TunnelIpip = "tunnel_ipip",
        /// TCP segments without payload that end nothing (handshakes, acknowledgements).
        NoPayload = "no_payload",
        /// Segments of flows that are not HTTP.
        OtherFlow = "other_flow",
        /// Segments of flows that are TLS from their first byte on.
        Tls = "tls",
        /// Segments of the sensor's own connections.
        Own = "own",
        /// Segments of bodies of which the agent wants no more.
        Skipped = "skipped",
        /// Segments of HTTP flows outside the sample.
        NotSampled = "not_sampled",
        /// Segments while no agent has set up a ring.
        NoRing = "no_ring",
        /// Segments lost because the ring was full.
        RingFull = "ring_full",
        /// Segments lost because their bytes could not be read.
        CopyFailed = "copy_failed",
        /// Segments written to a ring.
        Recorded = "recorded",
        /// Recorded segments whose payload was cut to the record limit.
        Truncated = "truncated",
        /// Recorded IP fragments, and IPv6 packets with more extension headers than the parser follows: the agent takes them apart.
        Whole = "whole",
        /// Packets that were looked for, and looked at, inside a tunnel.
        Tunnelled = "tunnelled",
        /// Recorded segments outside the sample, of sources that are watched.
        Watched = "watched",
        /// Recorded segments of WebSocket connections.
        WebSocket = "websocket",
        /// Resets that answered segments without a connection.
        Stray = "stray",
        /// Resets that answered connection attempts to closed ports.
        Refused = "refused",
        /// Times that a ring's reader was woken.
        Wakeups = "wakeups",
    }
}

impl TapCounter {
    /// Whether the counter is an outcome: the outcomes add up to the packets seen.
    #[must_use]
    pub const fn is_outcome(self) -> bool {
        (self as u32) < Self::Truncated as u32
    }
}

counters! {
    /// Why a ring lost a record: the sum over all rings is the tap's counter of that name.
    RingLoss {
        /// Records lost because the ring was full.
        Full = "ring_full",
        /// Records lost because their bytes could not be read.
        CopyFailed = "copy_failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_dense_and_names_are_metric_names() {
        for (index, counter) in TapCounter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
            assert!(counter.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert!(!counter.help().is_empty());
        }
        assert_eq!(XdpCounter::COUNT as usize, XdpCounter::ALL.len());
    }
}
