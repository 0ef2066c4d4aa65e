//! The TCP options that decide whether a receiver takes a segment: timestamp and MD5 signature (RFC 9293 section 3.2).

use aya_ebpf::programs::TcContext;
use sensor_common::record::{RecordHeader, mark};

use crate::{
    bytes::opaque,
    header::{Header, MOST_HEADERS},
    packet::Packet,
};

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const TIMESTAMP: u8 = 8;
const TIMESTAMP_LEN: u8 = 10;
const MD5_SIGNATURE: u8 = 19;
const MD5_SIGNATURE_LEN: u8 = 18;

/// Two fillers and a timestamp: what nearly every segment of a connection carries, and nothing else.
const USUAL_LEN: u32 = 12;
const USUAL: u32 = u32::from_be_bytes([NO_OPERATION, NO_OPERATION, TIMESTAMP, TIMESTAMP_LEN]);
/// Options that are looked at, fillers included: an MD5 signature leaves room for 22 others.
const MAX_OPTIONS: u32 = 24;

/// Notes what stands in the options of a packet.
#[inline(always)]
pub(crate) fn read(ctx: &TcContext, packet: &mut Packet) {
    let (start, end) = (packet.options_offset(), packet.payload_offset());
    let header = &mut packet.header;
    if start == end {
        return;
    }
    // Directly where the first buffer has them: a call costs more than all the rest of this.
    let at = opaque(u64::from(start)) & (MOST_HEADERS - 1);
    if end - start == USUAL_LEN
        && let Some(usual) = Header::<8>::at(ctx.data(), ctx.data_end(), at as usize)
        && usual.word::<0>() == USUAL
    {
        header.marks |= mark::TIMESTAMP;
        header.timestamp = usual.word::<4>();
        return;
    }
    walk(ctx, start, end, header);
}

/// Follows the options one by one. One that does not fit ends the walk, as it ends the receiver's.
#[inline(always)]
fn walk(ctx: &TcContext, start: u32, end: u32, header: &mut RecordHeader) {
    let mut at = start;
    let mut looked_at = 0;
    while looked_at < MAX_OPTIONS && at + 1 < end {
        looked_at += 1;
        let Ok([kind, len]) = ctx.load::<[u8; 2]>(at as usize) else { return };
        if kind == NO_OPERATION {
            at += 1;
            continue;
        }
        if kind == END || len < 2 || at + u32::from(len) > end {
            return;
        }
        if kind == TIMESTAMP && len == TIMESTAMP_LEN {
            let Ok(value) = ctx.load::<[u8; 4]>(at as usize + 2) else { return };
            header.marks |= mark::TIMESTAMP;
            header.timestamp = u32::from_be_bytes(value);
        }
        if kind == MD5_SIGNATURE && len == MD5_SIGNATURE_LEN {
            header.marks |= mark::MD5_SIGNATURE;
        }
        at += u32::from(len);
    }
}
