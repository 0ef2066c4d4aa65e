//! Whether the receiver takes a segment, as far as that can be known from both directions (RFC 9293 section 3.10.7.4, RFC 7323
//! section 5, RFC 2385, RFC 5961 section 5). The rules err on the side of taking: what is known here is never ahead of what the
//! receiver knows, and a piece that was ignored by mistake is read once the receiver acknowledges it.

use std::num::NonZeroU32;

use sensor_common::record::tcp;

use super::counters::Counters;
use super::half::Half;
use crate::capture::Segment;

/// Why a receiver ignores a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ignored {
    /// It is signed, which nobody asked for.
    Signed,
    /// Its timestamp is older than the last.
    OldTimestamp,
    /// It acknowledges what the other end has not sent.
    NotSent,
    /// It acknowledges what stands before the stream of the other end.
    BeforeStart,
}

impl Ignored {
    pub(super) fn count(self, counters: &mut Counters) {
        *match self {
            Self::Signed => &mut counters.segments_signed,
            Self::OldTimestamp => &mut counters.segments_old_timestamp,
            Self::NotSent | Self::BeforeStart => &mut counters.segments_bad_acknowledgement,
        } += 1;
    }
}

/// Why the receiver of a segment ignores it, if it does. `sender` and `receiver` are the directions of the ends.
pub(super) fn ignored(
    segment: &Segment<'_>,
    sender: Option<&Half>,
    receiver: Option<&Half>,
) -> Option<Ignored> {
    // What leaves the host is the host's own: it is the other direction that is judged by what is known here.
    if !segment.ingress {
        return None;
    }
    if segment.signed {
        return Some(Ignored::Signed);
    }
    let recent = sender.and_then(|half| half.recent_timestamp);
    if segment.timestamp.zip(recent).is_some_and(|(sent, recent)| is_old(sent, recent)) {
        return Some(Ignored::OldTimestamp);
    }
    if segment.flags & tcp::ACK == 0 {
        return None;
    }
    let initial = segment.peer_initial_sequence?;
    let (offset, sent) = match receiver {
        Some(half) if half.initial == Some(initial) => {
            (half.stream.offset(segment.acknowledgement), half.sent)
        }
        Some(_) => return None,
        None if joined(segment, sender) => return None,
        None => (i64::from(segment.acknowledgement.wrapping_sub(initial).cast_signed()), 0),
    };
    match offset {
        ..0 => Some(Ignored::BeforeStart),
        _ if offset > sent => Some(Ignored::NotSent),
        _ => None,
    }
}

/// Whether the connection is seen from its middle: after the engine forgot it, say. Then the other end may have sent anything before.
fn joined(segment: &Segment<'_>, sender: Option<&Half>) -> bool {
    match sender {
        Some(half) => half.joined,
        None => segment.initial_sequence.is_some_and(|initial| initial != segment.sequence),
    }
}

/// As `tcp_paws_check` in Linux's include/net/tcp.h: one tick of disorder is nothing, and 0 was never a timestamp.
fn is_old(sent: u32, recent: NonZeroU32) -> bool {
    recent.get().wrapping_sub(sent).cast_signed() > 1
}

/// Whether a timestamp is not older than the last, so that it becomes the last.
pub(super) fn is_newer(sent: u32, recent: Option<NonZeroU32>) -> bool {
    recent.is_none_or(|recent| sent.wrapping_sub(recent.get()).cast_signed() >= 0)
}
