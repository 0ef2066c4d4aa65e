//! Reads pcap and pcapng files packet by packet.

use std::io::Read;

use anyhow::{Result, bail};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

/// Buffer for one block: more than the largest packet that any tool captures.
const BUFFER_BYTES: usize = 1 << 20;

/// A packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// Nanoseconds since 1970.
    pub(super) time_ns: u64,
    pub(super) link: Linktype,
    /// Number of the interface in the capture.
    pub(super) interface: u32,
    pub(super) bytes: &'a [u8],
}

/// What the blocks read so far say of the packets that follow.
#[derive(Default)]
struct Section {
    /// Of the one interface of a pcap file.
    link: Option<(Linktype, bool)>,
    /// Of each interface of a pcapng section: link type, units a second, offset in seconds.
    interfaces: Vec<(Linktype, u64, i64)>,
}

/// Hands every packet to `take`; returns whether the file ends in the middle of one.
///
/// # Errors
/// If the file is no capture, or what `take` returns.
pub(super) fn read(source: impl Read + Send, mut take: impl FnMut(Frame<'_>) -> Result<()>) -> Result<bool> {
    let mut reader = match create_reader(BUFFER_BYTES, source) {
        Ok(reader) => reader,
        Err(error) => bail!("no capture: {error:?}"),
    };
    let mut section = Section::default();
    let mut stuck = 0;
    loop {
        match reader.next() {
            Ok((length, block)) => {
                if let Some(frame) = section.frame(&block) {
                    take(frame)?;
                }
                reader.consume(length);
                stuck = 0;
            }
            Err(PcapError::Eof) => return Ok(false),
            Err(PcapError::Incomplete(_)) if stuck < 2 => {
                stuck += 1;
                if reader.refill().is_err() {
                    return Ok(true);
                }
            }
            Err(_) => return Ok(true),
        }
    }
}

impl Section {
    fn frame<'a>(&mut self, block: &'a PcapBlockOwned<'_>) -> Option<Frame<'a>> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.link = Some((header.network, header.is_nanosecond_precision()));
                None
            }
            PcapBlockOwned::Legacy(packet) => {
                let (link, nanoseconds) = self.link?;
                let fraction = u64::from(packet.ts_usec) * if nanoseconds { 1 } else { 1_000 };
                let time_ns = u64::from(packet.ts_sec) * 1_000_000_000 + fraction;
                let bytes = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
                Some(Frame { time_ns, link, interface: 0, bytes })
            }
            PcapBlockOwned::NG(block) => self.block(block),
        }
    }

    fn block<'a>(&mut self, block: &'a Block<'_>) -> Option<Frame<'a>> {
        match block {
            Block::SectionHeader(_) => self.interfaces.clear(),
            Block::InterfaceDescription(interface) => {
                let resolution = interface.ts_resolution().unwrap_or(1_000_000).max(1);
                self.interfaces.push((interface.linktype, resolution, interface.ts_offset()));
            }
            Block::EnhancedPacket(packet) => {
                let (link, resolution, offset) = *self.interfaces.get(packet.if_id as usize)?;
                let units = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
                let nanos = units * 1_000_000_000 / u128::from(resolution);
                let nanos = i128::try_from(nanos).ok()? + i128::from(offset) * 1_000_000_000;
                let bytes = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
                return Some(Frame {
                    time_ns: u64::try_from(nanos).unwrap_or(0),
                    link,
                    interface: packet.if_id,
                    bytes,
                });
            }
            Block::SimplePacket(packet) => {
                let (link, ..) = *self.interfaces.first()?;
                return Some(Frame { time_ns: 0, link, interface: 0, bytes: packet.data });
            }
            _ => {}
        }
        None
    }
}
