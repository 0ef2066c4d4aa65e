//! The body of the message in hand: how much of it is to come, and who listens.

use super::anomaly::Anomalies;
use super::chunked::{Chunked, Step};
use super::reader::Sink;

/// A body that is coming in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    pub(super) kind: Kind,
    pub(super) rest: Rest,
    /// What came up after the head.
    pub(super) anomalies: Anomalies,
}

/// What a direction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
}

/// What is to come of a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rest {
    Length(u64),
    /// Also the bytes left by Content-Length, if there is one beside.
    Chunked(Chunked, Option<u64>),
    UntilClose,
}

impl Body {
    pub(super) fn data(&self, data: &[u8], sink: &mut impl Sink) {
        if self.kind == Kind::Request && !data.is_empty() {
            sink.request_body(data);
        }
    }

    pub(super) fn trailer(&self, data: &[u8], sink: &mut impl Sink) {
        if self.kind == Kind::Request {
            sink.request_trailer(data);
        }
    }
}

impl Rest {
    /// What is left behind a gap; `None` if that cannot be known.
    pub(super) fn skip(self, bytes: u64) -> Option<Self> {
        match self {
            Self::Length(left) => Some(Self::Length(left.checked_sub(bytes)?)),
            Self::Chunked(mut chunked, other) => {
                let other = other.and_then(|other| other.checked_sub(bytes));
                chunked.skip(bytes).then_some(Self::Chunked(chunked, other))
            }
            Self::UntilClose => Some(Self::UntilClose),
        }
    }
}

/// A step of the chunked coding; what it uses up counts for the other framing too.
pub(super) fn step<'a>(
    chunked: &mut Chunked,
    other: &mut Option<u64>,
    data: &'a [u8],
    anomalies: &mut Anomalies,
) -> Step<'a> {
    let step = chunked.step(data, anomalies);
    let rest = match step {
        Step::NeedMore => 0,
        Step::Data(_, rest) | Step::Trailer(_, rest) | Step::Done(rest) | Step::Broken(rest) => rest.len(),
    };
    *other = other.map(|left| left.saturating_sub((data.len() - rest) as u64));
    step
}

/// Tells that a body is over.
pub(super) fn finish(body: Body, sink: &mut impl Sink) {
    match body.kind {
        Kind::Request => sink.request_end(body.anomalies),
        Kind::Response => sink.response_end(body.anomalies),
    }
}
