//! Named oddities of messages. Malformed input is never an error of the engine: it sets a name on the message, and
//! parsing goes on the way lenient servers do. Framing oddities are the marks of request smuggling.

use std::fmt;

/// What an oddity says about who sent the message. A severe one is hardly ever an accident: detection makes a finding of
/// it (class INPUT_VALIDATION, request smuggling); an ambiguous one supports other findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// The message keeps to the standard; the name says what the sensor could not see.
    Compliant,
    /// Against the standard, and usual.
    Acceptable,
    /// Two programs may understand the message differently; careless clients send such.
    Ambiguous,
    /// Two programs will understand the message differently, and no ordinary client sends it.
    Severe,
}

macro_rules! anomalies {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $grade:ident;)*) => {
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

            /// How much it says about the sender.
            #[must_use]
            pub const fn grade(self) -> Grade {
                match self { $(Self::$variant => Grade::$grade),* }
            }
        }
    };
}

anomalies! {
    /// Two Content-Length values that differ.
    ContentLengthConflict = "content-length-conflict", Severe;
    /// The same Content-Length more than once.
    ContentLengthRepeated = "content-length-repeated", Ambiguous;
    /// Content-Length beside Transfer-Encoding (RFC 9112 section 6.3).
    ContentLengthAndTransferEncoding = "content-length-and-transfer-encoding", Severe;
    /// Content-Length that is not a plain decimal number, or overflows.
    ContentLengthInvalid = "content-length-invalid", Severe;
    /// Transfer-Encoding other than known codings with `chunked` last and once.
    TransferEncodingUnknown = "transfer-encoding-unknown", Severe;
    /// Transfer-Encoding in an HTTP/1.0 message.
    TransferEncodingOnHttp10 = "transfer-encoding-on-http10", Severe;
    /// A header name that some servers take for a framing header: `Transfer_Encoding`.
    FramingNameNearMiss = "framing-name-near-miss", Severe;
    /// A chunk size that is not a plain hexadecimal number, or overflows.
    ChunkSizeInvalid = "chunk-size-invalid", Severe;
    /// A chunk extension (RFC 9112 section 7.1.1); hardly any client sends one.
    ChunkExtension = "chunk-extension", Ambiguous;
    /// A chunk's data is not followed by a line end.
    ChunkDataOverrun = "chunk-data-overrun", Severe;
    /// A trailer field that must not be one: framing, routing, authentication (RFC 9110 section 6.5.1).
    TrailerForbidden = "trailer-forbidden", Severe;
    /// A line that ends in LF alone.
    BareLf = "bare-lf", Acceptable;
    /// CR without LF in a head.
    BareCr = "bare-cr", Severe;
    /// A header continued on the next line (RFC 9112 section 5.2).
    ObsFold = "obs-fold", Ambiguous;
    /// A NUL byte in a head.
    NulByte = "nul-byte", Severe;
    /// A header line without a colon.
    HeaderWithoutColon = "header-without-colon", Ambiguous;
    /// White space before a header's colon.
    SpaceBeforeColon = "space-before-colon", Ambiguous;
    /// A header name that is no token, or empty.
    HeaderNameInvalid = "header-name-invalid", Ambiguous;
    /// White space before the first header.
    SpaceBeforeHeaders = "space-before-headers", Ambiguous;
    /// More than one Host header.
    DuplicateHost = "duplicate-host", Ambiguous;
    /// HTTP/1.1 without a Host header.
    MissingHost = "missing-host", Ambiguous;
    /// A Host header with bytes that no host has, or other than the target's authority.
    HostInvalid = "host-invalid", Ambiguous;
    /// A request line other than method, space, target, space, version.
    RequestLineInvalid = "request-line-invalid", Ambiguous;
    /// Raw white space, control characters or bytes above 0x7f in the target.
    TargetInvalid = "target-invalid", Acceptable;
    /// A version other than HTTP/1.0 and HTTP/1.1.
    VersionInvalid = "version-invalid", Ambiguous;
    /// More headers than are kept apart; the others were inspected as one value.
    TooManyHeaders = "too-many-headers", Ambiguous;
    /// A head longer than is kept; its beginning and its end were inspected.
    HeadTooLong = "head-too-long", Acceptable;
    /// Bytes went by unseen inside the message.
    Gap = "gap", Compliant;
    /// The message ended before it was complete.
    Incomplete = "incomplete", Compliant;
    /// A body on a method that has none as a rule.
    UnexpectedBody = "unexpected-body", Ambiguous;
    /// Bytes where a message should start that start none.
    NotHttp = "not-http", Ambiguous;
    /// Overlapping segments with different content.
    OverlapConflict = "overlap-conflict", Ambiguous;
    /// The body was longer than is inspected.
    BodyTooLong = "body-too-long", Compliant;
    /// The body is compressed in a way that is not inspected.
    BodyEncoded = "body-encoded", Acceptable;
    /// Decompression stopped at a limit.
    BodyBomb = "body-bomb", Ambiguous;
    /// A JSON body that does not parse to its end.
    JsonInvalid = "json-invalid", Acceptable;
    /// A multipart body without a usable boundary, or that does not follow it.
    MultipartInvalid = "multipart-invalid", Ambiguous;
    /// A parameter separator that some servers follow and others do not: `;` in a query.
    QuerySemicolon = "query-semicolon", Acceptable;
    /// The body's content is not what Content-Type says.
    ContentTypeMismatch = "content-type-mismatch", Acceptable;
    /// A framing header that only some servers see: behind a bare CR, a NUL or a fold in another header.
    FramingHeaderHidden = "framing-header-hidden", Severe;
    /// A chunk extension that is long, or has line ends or quotes that could hide one.
    ChunkExtensionInvalid = "chunk-extension-invalid", Severe;
    /// A line of the chunked coding that ends in LF alone, or has a CR inside.
    ChunkLineEnd = "chunk-line-end", Severe;
    /// A line in the trailer section that is no field.
    TrailerInvalid = "trailer-invalid", Severe;
    /// An Expect header other than `100-continue`; servers differ about waiting for the body.
    ExpectInvalid = "expect-invalid", Severe;
    /// A body that holds a request.
    EmbeddedRequest = "embedded-request", Ambiguous;
    /// More than one Content-Type, or one that names several types.
    ContentTypeRepeated = "content-type-repeated", Ambiguous;
    /// A header name that nearly reads Content-Type or Content-Encoding.
    ContentNameNearMiss = "content-name-near-miss", Ambiguous;
    /// A charset in which an attack does not look like text: UTF-7, UTF-16, UTF-32, EBCDIC.
    CharsetUnusual = "charset-unusual", Ambiguous;
    /// A multipart boundary that two parsers read differently.
    BoundaryAmbiguous = "multipart-boundary-ambiguous", Ambiguous;
    /// A part's header that two parsers read differently: a name given twice, NUL bytes, folded lines, lines that end in CR, `filename*`, very
    /// many lines.
    PartHeaderOdd = "multipart-header-odd", Ambiguous;
    /// A JSON object with the same key twice.
    JsonDuplicateKey = "json-duplicate-key", Ambiguous;
    /// JSON that only lenient parsers take: comments, single quotes, control characters, keys without quotes, a comma too many, several
    /// documents.
    JsonNonstandard = "json-nonstandard", Acceptable;
    /// An XML body that does not parse to its end.
    XmlInvalid = "xml-invalid", Acceptable;
    /// An XML document type declaration.
    XmlDoctype = "xml-doctype", Acceptable;
    /// An XML entity declaration; entities are never resolved.
    XmlEntity = "xml-entity", Ambiguous;
    /// A GraphQL document that does not parse to its end.
    GraphQlInvalid = "graphql-invalid", Acceptable;
    /// An HTTP/2 field that HTTP/1 would read as something else (RFC 9113 section 8.2): line ends, upper case, an empty name.
    FieldInvalid = "http2-field-invalid", Severe;
    /// An HTTP/2 field of one connection (RFC 9113 section 8.2.2): `transfer-encoding`, `connection`.
    FieldOfConnection = "http2-field-of-connection", Severe;
    /// HTTP/2 pseudo-header fields that are missing, repeated, unknown or late (RFC 9113 section 8.3).
    PseudoHeaderInvalid = "http2-pseudo-header-invalid", Severe;
    /// Content-Length other than the bytes of the HTTP/2 body (RFC 9113 section 8.1.1).
    ContentLengthMismatch = "http2-content-length-mismatch", Severe;
    /// HTTP/2 header fields that could not be decoded, because their beginning was not seen.
    FieldsUndecoded = "http2-fields-undecoded", Compliant;
    /// A method that no registry has.
    MethodUnknown = "method-unknown", Acceptable;
    /// A method with lower-case letters; methods are case-sensitive (RFC 9110 section 9.1), and some servers forgive it.
    MethodLowerCase = "method-lower-case", Ambiguous;
    /// A target in none of the forms that its method allows (RFC 9112 section 3.2).
    TargetFormInvalid = "target-form-invalid", Ambiguous;
    /// A target in absolute form, which only proxies are sent as a rule.
    TargetAbsolute = "target-absolute", Acceptable;
    /// A target with a fragment, which clients keep to themselves (RFC 9110 section 4.2.5).
    TargetFragment = "target-fragment", Ambiguous;
    /// A target longer than servers have to take (RFC 9112 section 3).
    TargetTooLong = "target-too-long", Acceptable;
    /// A percent sign in the target without two hexadecimal digits behind it.
    PercentInvalid = "percent-invalid", Acceptable;
    /// A percent-encoding in the target that gives another one.
    PercentDouble = "percent-double", Ambiguous;
    /// `%uXXXX` in the target, which only some servers decode.
    PercentUnicode = "percent-unicode", Ambiguous;
    /// A percent-encoded NUL byte in the target.
    PercentNul = "percent-nul", Ambiguous;
    /// A percent-encoded line end or other control character in the path.
    PercentControl = "percent-control", Ambiguous;
    /// A percent-encoded slash or backslash in the path: servers differ about whether it separates.
    PathEncodedSeparator = "path-encoded-separator", Ambiguous;
    /// A backslash in the path, which some servers take for a slash.
    PathBackslash = "path-backslash", Ambiguous;
    /// `.` or `..` as a segment of the path, encoded or not; ordinary clients resolve them (RFC 3986 section 6.2.2.3).
    PathDotSegment = "path-dot-segment", Acceptable;
    /// An empty segment within the path: `//`.
    PathEmptySegment = "path-empty-segment", Acceptable;
    /// A parameter in the path: `;`. Servers differ about whether it is part of the segment's name.
    PathParameter = "path-parameter", Acceptable;
    /// UTF-8 in the target that is longer than it needs to be, which lenient decoders take.
    Utf8Overlong = "utf8-overlong", Ambiguous;
    /// A path whose bytes above 0x7f are no UTF-8.
    Utf8Invalid = "utf8-invalid", Acceptable;
    /// Empty lines before the request line (RFC 9112 section 2.2).
    EmptyLineBefore = "empty-line-before", Acceptable;
    /// A header value longer than most servers take.
    HeaderTooLong = "header-too-long", Acceptable;
    /// A control character in a header value, other than a tab, a line end or a NUL.
    HeaderControlByte = "header-control-byte", Ambiguous;
    /// Bytes above 0x7f in a header (RFC 9110 section 5.5).
    HeaderNonAscii = "header-non-ascii", Acceptable;
    /// A header given twice of which there may be one: servers take the first, the last or both.
    HeaderRepeated = "header-repeated", Ambiguous;
    /// A Host header with nothing in it.
    HostEmpty = "host-empty", Acceptable;
    /// A Host header whose port is none.
    HostPortInvalid = "host-port-invalid", Ambiguous;
    /// More than one Cookie header in HTTP/1 (RFC 6265 section 5.4).
    CookieRepeated = "cookie-repeated", Acceptable;
    /// A Range header with very many ranges.
    RangeMany = "range-many", Ambiguous;
    /// A Connection header that names a field of the message, so that a proxy takes it off (RFC 9110 section 7.6.1).
    ConnectionNamesField = "connection-names-field", Ambiguous;
    /// A request with a body that asks for another protocol: servers differ about when the other one begins.
    UpgradeWithBody = "upgrade-with-body", Ambiguous;
    /// An Expect header where no body follows.
    ExpectWithoutBody = "expect-without-body", Acceptable;
    /// A header that replaces the method for some frameworks: `X-HTTP-Method-Override`.
    MethodOverridden = "method-overridden", Acceptable;
    /// A header that replaces the target for some frameworks: `X-Original-URL`.
    TargetOverridden = "target-overridden", Ambiguous;
    /// An Authorization header without a scheme and credentials (RFC 9110 section 11.4).
    AuthorizationInvalid = "authorization-invalid", Acceptable;
    /// A status code that is not three digits from 100 to 599.
    StatusInvalid = "status-invalid", Ambiguous;
    /// A response that must not have a body and announces one (RFC 9112 section 6.3).
    BodyForbidden = "body-forbidden", Ambiguous;
    /// A response that answers no request that was seen.
    ResponseUnasked = "response-unasked", Compliant;
    /// A body under more than one content coding.
    CodingStacked = "coding-stacked", Acceptable;
    /// A content coding that the sensor does not know, or too many of them.
    CodingUnknown = "coding-unknown", Acceptable;
    /// A body that is not coded as its headers say, or coded without their saying so.
    CodingMismatch = "coding-mismatch", Ambiguous;
    /// JSON nested deeper than people write.
    JsonDeep = "json-deep", Ambiguous;
    /// An XML entity or document type that stands elsewhere: `SYSTEM`, `PUBLIC` (XXE).
    XmlExternal = "xml-external", Ambiguous;
    /// An XML parameter entity, which takes effect within the declaration itself.
    XmlParameterEntity = "xml-parameter-entity", Ambiguous;
    /// An XML entity made of other entities, which is how a few bytes become gigabytes.
    XmlEntityNested = "xml-entity-nested", Ambiguous;
    /// An XML element that asks for another document: XInclude.
    XmlInclude = "xml-include", Ambiguous;
    /// A GraphQL document that asks for the schema.
    GraphQlIntrospection = "graphql-introspection", Acceptable;
    /// Several GraphQL operations in one request.
    GraphQlBatch = "graphql-batch", Acceptable;
    /// GraphQL selections nested deeper than people write.
    GraphQlDeep = "graphql-deep", Ambiguous;
    /// Very many aliases in a GraphQL document, each of which is work for the server.
    GraphQlAliases = "graphql-aliases", Ambiguous;
    /// A GraphQL selection or directive again and again, side by side.
    GraphQlRepeats = "graphql-repeats", Ambiguous;
    /// GraphQL fragments that spread each other in a circle (October 2021, section 5.5.2.2).
    GraphQlCycle = "graphql-cycle", Severe;
    /// Credentials tried several times in one GraphQL request, past limits that count requests.
    GraphQlCredentials = "graphql-credentials", Severe;
    /// A gRPC message that is cut off or no Protocol Buffers.
    GrpcInvalid = "grpc-invalid", Acceptable;
    /// A multipart part with a transfer coding of mail, which only some servers remove (RFC 7578 section 4.7).
    PartEncoded = "multipart-part-encoded", Acceptable;
    /// A multipart part without a name.
    PartUnnamed = "multipart-part-unnamed", Acceptable;
    /// More multipart parts than are told apart.
    TooManyParts = "multipart-too-many-parts", Ambiguous;
    /// An HTTP/2 block of fields that breaks off or is no HPACK.
    FieldsMalformed = "http2-fields-malformed", Ambiguous;
    /// A request on an HTTP/2 stream that a client must not open: an even number, or one below the last (RFC 9113 section 5.1.1).
    StreamIdInvalid = "http2-stream-id-invalid", Ambiguous;
    /// An HTTP/2 stream that its client took back before it was over.
    StreamReset = "http2-stream-reset", Compliant;
    /// An HTTP/2 connection whose client sends little but frames that are work for the server.
    Http2Flood = "http2-flood", Severe;
    /// A WebSocket frame of a client without a mask (RFC 6455 section 5.3).
    WebSocketUnmasked = "websocket-unmasked", Ambiguous;
    /// A WebSocket frame with bits or an opcode that nobody agreed to (RFC 6455 section 5.2).
    WebSocketReserved = "websocket-reserved", Ambiguous;
    /// WebSocket messages that could not be read: their connection was joined in the middle, or bytes were missed.
    WebSocketUndecoded = "websocket-undecoded", Compliant;
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of anomalies. Packed, because every connection holds some: the alignment of its number would cost as much again.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(Rust, packed(8))]
pub struct Anomalies(u128);

const _: () = assert!(Anomaly::ALL.len() <= u128::BITS as usize);

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

    /// The worst grade of a member.
    #[must_use]
    pub fn grade(self) -> Grade {
        self.iter().map(Anomaly::grade).max().unwrap_or(Grade::Compliant)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_member_grades_the_set() {
        let mut set = Anomalies::NONE;
        assert_eq!(set.grade(), Grade::Compliant);
        set.extend([Anomaly::BareLf, Anomaly::ContentLengthConflict, Anomaly::ObsFold]);
        assert_eq!((set.grade(), set.len()), (Grade::Severe, 3));
        assert!(set.iter().all(|anomaly| set.contains(anomaly)));
    }

    /// As many as there are in the set, which may hold 128.
    #[test]
    fn there_are_about_a_hundred() {
        assert!((100..=128).contains(&Anomaly::ALL.len()), "{}", Anomaly::ALL.len());
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Anomaly::ALL.iter().map(|anomaly| anomaly.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Anomaly::ALL.len());
    }
}
