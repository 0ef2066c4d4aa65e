//! Whether bytes start an HTTP/1 message.

use aya_ebpf::programs::TcContext;

/// What the first payload bytes of a segment say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// A method and a space, or a response's `HTTP/`.
    Message,
    /// Too few bytes to tell, but so far they fit.
    Prefix,
    /// Something else.
    No,
}

const WINDOW: u32 = 8;

/// Looks at the first bytes of a payload of `len` bytes.
#[inline(always)]
pub(crate) fn start(ctx: &TcContext, offset: u32, len: u32) -> Start {
    let seen = if len < WINDOW { len } else { WINDOW };
    let Some(window) = first_bytes(ctx, offset, seen) else { return Start::No };
    let mut first = First { window, seen, prefix: false };
    if first.is_message() {
        Start::Message
    } else if first.prefix {
        Start::Prefix
    } else {
        Start::No
    }
}

/// The first `seen` bytes of a payload, from the most significant byte of `window` on.
struct First {
    window: u64,
    seen: u32,
    /// The bytes seen are the beginning of a longer token.
    prefix: bool,
}

impl First {
    /// First bytes of messages (RFC 9110 section 9, RFC 4918 section 9, RFC 3253, RFC 5323), cut to the window.
    #[inline(always)]
    fn is_message(&mut self) -> bool {
        self.fits(b"GET ")
            || self.fits(b"POST ")
            || self.fits(b"HTTP/1.")
            || self.fits(b"PUT ")
            || self.fits(b"HEAD ")
            || self.fits(b"DELETE ")
            || self.fits(b"OPTIONS ")
            || self.fits(b"PATCH ")
            || self.fits(b"TRACE ")
            || self.fits(b"CONNECT ")
            || self.fits(b"PROPFIND")
            || self.fits(b"PROPPATC")
            || self.fits(b"REPORT ")
            || self.fits(b"SEARCH ")
            || self.fits(b"MKCOL ")
            || self.fits(b"COPY ")
            || self.fits(b"MOVE ")
            || self.fits(b"LOCK ")
            || self.fits(b"UNLOCK ")
            || self.fits(b"PURGE ")
            || self.fits(b"QUERY ")
            || self.fits(b"DEBUG ")
            || self.fits(b"TRACK ")
    }

    #[inline(always)]
    fn fits<const N: usize>(&mut self, token: &[u8; N]) -> bool {
        let compared = if self.seen < N as u32 { self.seen } else { N as u32 };
        let mask = if compared == 0 { 0 } else { u64::MAX << ((WINDOW - compared) * 8) };
        if (self.window ^ left_aligned(token)) & mask != 0 {
            return false;
        }
        self.prefix |= compared < N as u32;
        compared == N as u32
    }
}

#[inline(always)]
const fn left_aligned<const N: usize>(token: &[u8; N]) -> u64 {
    let mut bytes = [0; WINDOW as usize];
    let mut i = 0;
    while i < N {
        bytes[i] = token[i];
        i += 1;
    }
    u64::from_be_bytes(bytes)
}

/// The first `seen <= 8` bytes as a big-endian number, zeros behind them.
#[inline(always)]
fn first_bytes(ctx: &TcContext, offset: u32, seen: u32) -> Option<u64> {
    if seen == WINDOW {
        return ctx.load::<[u8; 8]>(offset as usize).ok().map(u64::from_be_bytes);
    }
    let mut bytes = [0; WINDOW as usize];
    for at in 0..WINDOW - 1 {
        if at < seen {
            bytes[at as usize] = ctx.load((offset + at) as usize).ok()?;
        }
    }
    Some(u64::from_be_bytes(bytes))
}
