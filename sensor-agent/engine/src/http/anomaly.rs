//! Named oddities of messages. Malformed input is never an error of the engine: it sets a name on the message, and
//! parsing goes on the way lenient servers do. Framing oddities are the marks of request smuggling.

use std::fmt;

macro_rules! anomalies {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// One oddity.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Anomaly { $($(#[$doc])* $variant,)* }

        impl Anomaly {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Name in events, rules and the API.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

anomalies! {
    /// Two Content-Length values that differ.
    ContentLengthConflict = "content-length-conflict",
    /// The same Content-Length more than once.
    ContentLengthRepeated = "content-length-repeated",
    /// Content-Length beside Transfer-Encoding (RFC 9112 section 6.3).
    ContentLengthAndTransferEncoding = "content-length-and-transfer-encoding",
    /// Content-Length that is not a plain decimal number, or overflows.
    ContentLengthInvalid = "content-length-invalid",
    /// Transfer-Encoding other than known codings with `chunked` last and once.
    TransferEncodingUnknown = "transfer-encoding-unknown",
    /// Transfer-Encoding in an HTTP/1.0 message.
    TransferEncodingOnHttp10 = "transfer-encoding-on-http10",
    /// A header name that some servers take for a framing header: `Transfer_Encoding`.
    FramingNameNearMiss = "framing-name-near-miss",
    /// A chunk size that is not a plain hexadecimal number, or overflows.
    ChunkSizeInvalid = "chunk-size-invalid",
    /// A chunk extension (RFC 9112 section 7.1.1); hardly any client sends one.
    ChunkExtension = "chunk-extension",
    /// A chunk's data is not followed by a line end.
    ChunkDataOverrun = "chunk-data-overrun",
    /// A trailer field that must not be one: framing, routing, authentication (RFC 9110 section 6.5.1).
    TrailerForbidden = "trailer-forbidden",
    /// A line that ends in LF alone.
    BareLf = "bare-lf",
    /// CR without LF in a head.
    BareCr = "bare-cr",
    /// A header continued on the next line (RFC 9112 section 5.2).
    ObsFold = "obs-fold",
    /// A NUL byte in a head.
    NulByte = "nul-byte",
    /// A header line without a colon.
    HeaderWithoutColon = "header-without-colon",
    /// White space before a header's colon.
    SpaceBeforeColon = "space-before-colon",
    /// A header name that is no token, or empty.
    HeaderNameInvalid = "header-name-invalid",
    /// White space before the first header.
    SpaceBeforeHeaders = "space-before-headers",
    /// More than one Host header.
    DuplicateHost = "duplicate-host",
    /// HTTP/1.1 without a Host header.
    MissingHost = "missing-host",
    /// A Host header with bytes that no host has, or other than the target's authority.
    HostInvalid = "host-invalid",
    /// A request line other than method, space, target, space, version.
    RequestLineInvalid = "request-line-invalid",
    /// Raw white space, control characters or bytes above 0x7f in the target.
    TargetInvalid = "target-invalid",
    /// A version other than HTTP/1.0 and HTTP/1.1.
    VersionInvalid = "version-invalid",
    /// More headers than are kept.
    TooManyHeaders = "too-many-headers",
    /// A head longer than is kept; its beginning was inspected.
    HeadTooLong = "head-too-long",
    /// Bytes went by unseen inside the message.
    Gap = "gap",
    /// The message ended before it was complete.
    Incomplete = "incomplete",
    /// A body on a method that has none as a rule.
    UnexpectedBody = "unexpected-body",
    /// Bytes where a message should start that start none.
    NotHttp = "not-http",
    /// Overlapping segments with different content.
    OverlapConflict = "overlap-conflict",
    /// The body was longer than is inspected.
    BodyTooLong = "body-too-long",
    /// The body is compressed in a way that is not inspected.
    BodyEncoded = "body-encoded",
    /// Decompression stopped at a limit.
    BodyBomb = "body-bomb",
    /// A JSON body that does not parse to its end.
    JsonInvalid = "json-invalid",
    /// A multipart body without a usable boundary, or that does not follow it.
    MultipartInvalid = "multipart-invalid",
    /// A parameter separator that some servers follow and others do not: `;` in a query.
    QuerySemicolon = "query-semicolon",
    /// The body's content is not what Content-Type says.
    ContentTypeMismatch = "content-type-mismatch",
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of anomalies.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Anomalies(u64);

const _: () = assert!(Anomaly::ALL.len() <= u64::BITS as usize);

impl Anomalies {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Adds one; whether it was new.
    pub fn insert(&mut self, anomaly: Anomaly) -> bool {
        let before = self.0;
        self.0 |= 1 << anomaly as u8;
        self.0 != before
    }

    /// Adds one if `condition` holds.
    pub fn insert_if(&mut self, condition: bool, anomaly: Anomaly) {
        if condition {
            self.insert(anomaly);
        }
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether `anomaly` is in the set.
    #[must_use]
    pub const fn contains(self, anomaly: Anomaly) -> bool {
        self.0 & (1 << anomaly as u8) != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The members in the order of their declaration.
    pub fn iter(self) -> impl Iterator<Item = Anomaly> {
        Anomaly::ALL.iter().copied().filter(move |&anomaly| self.contains(anomaly))
    }
}

impl FromIterator<Anomaly> for Anomalies {
    fn from_iter<I: IntoIterator<Item = Anomaly>>(iter: I) -> Self {
        let mut set = Self::NONE;
        set.extend(iter);
        set
    }
}

impl Extend<Anomaly> for Anomalies {
    fn extend<I: IntoIterator<Item = Anomaly>>(&mut self, iter: I) {
        for anomaly in iter {
            self.insert(anomaly);
        }
    }
}

impl fmt::Debug for Anomalies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Anomaly::name)).finish()
    }
}
