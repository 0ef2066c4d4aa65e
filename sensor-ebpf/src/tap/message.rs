//! Whether bytes start an HTTP/1 message or an HTTP/2 connection.
//!
//! The comparisons are arithmetic, without a branch: with one branch for each of two dozen tokens, older verifiers would walk
//! through every combination of outcomes.

use aya_ebpf::{check_bounds_signed, helpers::generated::bpf_skb_load_bytes, programs::TcContext};

use crate::{
    bytes::opaque,
    header::{Header, MOST_HEADERS},
};

/// What the first payload bytes of a segment say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// A method and a space, or a response's `HTTP/`.
    Message,
    /// Too few bytes to tell, but so far they fit.
    Prefix,
    /// A PROXY protocol header, version 1 or 2 (the HAProxy project's proxy-protocol.txt, section 2): what follows it decides.
    Proxy,
    /// A letter or a line end: perhaps a message in a spelling that servers forgive. The peer's answer decides.
    Text,
    /// A TLS handshake record (RFC 8446 section 5.1).
    Tls,
    /// Something else.
    No,
}

/// Whether a payload may start with a message, by its first byte: all that starts one is a capital letter.
#[inline(always)]
pub(crate) fn may_start(ctx: &TcContext, offset: u32) -> bool {
    let at = opaque(u64::from(offset)) & (MOST_HEADERS - 1);
    // Two bytes: of a check for one, the verifier concludes nothing.
    let first = match Header::<2>::at(ctx.data(), ctx.data_end(), at as usize) {
        Some(first) => first.byte::<0>(),
        None => ctx.load(offset as usize).unwrap_or(b'A'),
    };
    first.wrapping_sub(b'A') < 26
}

const WINDOW: usize = 8;
/// Content type and major version of a TLS record with a handshake message.
const TLS_HANDSHAKE: u64 = 0x1603;
/// The start of version 2's signature; version 1 starts with a word.
const PROXY_V2: u64 = u64::from_be_bytes(*b"\r\n\r\n\0\r\nQ");
const PROXY_V1: u64 = u64::from_be_bytes(*b"PROXY TC");

/// Looks at the first bytes of a payload of `len > 0` bytes.
#[inline(always)]
pub(crate) fn start(ctx: &TcContext, offset: u32, len: u32) -> Start {
    let Some(first) = First::load(ctx, offset, len) else { return Start::No };
    let found = first.compare_all();
    if found & MESSAGE != 0 {
        Start::Message
    } else if found & PREFIX != 0 {
        Start::Prefix
    } else if first.window >> 48 == TLS_HANDSHAKE {
        Start::Tls
    } else if first.window == PROXY_V1 || first.window == PROXY_V2 {
        Start::Proxy
    } else if is_text((first.window >> 56) as u8) {
        Start::Text
    } else {
        Start::No
    }
}

#[inline(always)]
fn is_text(first: u8) -> bool {
    (first | 0x20).wrapping_sub(b'a') < 26 || first == b'\r' || first == b'\n'
}

/// Bits of a comparison's outcome.
const MESSAGE: u64 = 1;
const PREFIX: u64 = 2;

/// The first bytes of a payload.
struct First {
    /// From the most significant byte on, zeros behind them.
    window: u64,
    /// Ones where the window has bytes.
    seen: u64,
}

impl First {
    #[inline(always)]
    fn load(ctx: &TcContext, offset: u32, len: u32) -> Option<Self> {
        let bytes = opaque(u64::from(if len < WINDOW as u32 { len } else { WINDOW as u32 }));
        if !check_bounds_signed(bytes.cast_signed(), 1, WINDOW as i64) {
            return None;
        }
        let mut window = [0; WINDOW];
        // SAFETY: at most `WINDOW` bytes are written, checked above in a form that the verifier believes.
        let loaded = unsafe {
            bpf_skb_load_bytes(ctx.skb.skb.cast(), offset, window.as_mut_ptr().cast(), bytes as u32)
        };
        (loaded == 0).then(|| Self {
            window: u64::from_be_bytes(window),
            seen: u64::MAX << ((WINDOW as u64 - bytes) * 8),
        })
    }

    /// First bytes of messages (RFC 9110 section 9, RFC 4918 section 9, RFC 3253, RFC 5323) and of HTTP/2's preface (RFC 9113
    /// section 3.4), cut to the window.
    #[inline(always)]
    fn compare_all(&self) -> u64 {
        self.compare(b"GET ")
            | self.compare(b"POST ")
            | self.compare(b"HTTP/1.")
            | self.compare(b"PUT ")
            | self.compare(b"HEAD ")
            | self.compare(b"DELETE ")
            | self.compare(b"OPTIONS ")
            | self.compare(b"PATCH ")
            | self.compare(b"TRACE ")
            | self.compare(b"CONNECT ")
            | self.compare(b"PROPFIND")
            | self.compare(b"PROPPATC")
            | self.compare(b"REPORT ")
            | self.compare(b"SEARCH ")
            | self.compare(b"MKCOL ")
            | self.compare(b"COPY ")
            | self.compare(b"MOVE ")
            | self.compare(b"LOCK ")
            | self.compare(b"UNLOCK ")
            | self.compare(b"PURGE ")
            | self.compare(b"QUERY ")
            | self.compare(b"DEBUG ")
            | self.compare(b"TRACK ")
            | self.compare(b"PRI * HT")
    }

    /// A token has no zero byte, so that a window shorter than it never equals it. The window is made opaque anew each time, so that
    /// one comparison is done before the next begins: all of them at once need more registers than there are.
    #[inline(always)]
    fn compare<const N: usize>(&self, token: &[u8; N]) -> u64 {
        let differs = (opaque(self.window) ^ left_aligned(token)) & (u64::MAX << ((WINDOW - N) * 8));
        (is_zero(differs) * MESSAGE) | (is_zero(differs & self.seen) * PREFIX)
    }
}

/// 1 for 0, else 0. The compiler would turn it back into a branch if it saw through it.
#[inline(always)]
fn is_zero(value: u64) -> u64 {
    1 ^ opaque(opaque(value | value.wrapping_neg()) >> 63)
}

#[inline(always)]
const fn left_aligned<const N: usize>(token: &[u8; N]) -> u64 {
    let mut bytes = [0; WINDOW];
    let mut i = 0;
    while i < N {
        bytes[i] = token[i];
        i += 1;
    }
    u64::from_be_bytes(bytes)
}
