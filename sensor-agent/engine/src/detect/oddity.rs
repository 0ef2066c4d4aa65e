//! What the parser found odd about a request and attacks consist of: framing on which servers differ (request
//! smuggling), bytes that cut strings off, lines that are no headers.

use super::Phase;
use super::builtin::Code;
use crate::http::anomaly::Anomaly;
use crate::http::message::Request;

/// A telling oddity, and the header that shows it best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Oddity {
    pub(super) anomaly: Anomaly,
    pub(super) code: Code,
    pub(super) confidence: f32,
    pub(super) header: &'static str,
}

const fn row(anomaly: Anomaly, code: Code, confidence: f32, header: &'static str) -> Oddity {
    Oddity { anomaly, code, confidence, header }
}

/// Oddities of heads.
const OF_HEAD: &[Oddity] = &[
    row(Anomaly::ContentLengthConflict, Code::Smuggling, 0.95, "content-length"),
    row(Anomaly::ContentLengthAndTransferEncoding, Code::Smuggling, 0.9, "transfer-encoding"),
    row(Anomaly::ContentLengthInvalid, Code::Smuggling, 0.88, "content-length"),
    row(Anomaly::TransferEncodingUnknown, Code::Smuggling, 0.85, "transfer-encoding"),
    row(Anomaly::FramingNameNearMiss, Code::Smuggling, 0.85, "host"),
    row(Anomaly::FramingHeaderHidden, Code::Smuggling, 0.85, "host"),
    row(Anomaly::FieldInvalid, Code::Smuggling, 0.85, "host"),
    row(Anomaly::FieldOfConnection, Code::Smuggling, 0.85, "host"),
    row(Anomaly::PseudoHeaderInvalid, Code::Smuggling, 0.8, "host"),
    row(Anomaly::SpaceBeforeColon, Code::Smuggling, 0.75, "host"),
    row(Anomaly::SpaceBeforeHeaders, Code::Smuggling, 0.75, "host"),
    row(Anomaly::TransferEncodingOnHttp10, Code::Smuggling, 0.75, "transfer-encoding"),
    row(Anomaly::BareCr, Code::Smuggling, 0.75, "host"),
    row(Anomaly::ContentLengthRepeated, Code::Smuggling, 0.55, "content-length"),
    row(Anomaly::ObsFold, Code::Smuggling, 0.55, "host"),
    row(Anomaly::NulByte, Code::NulByte, 0.88, "host"),
    row(Anomaly::DuplicateHost, Code::HostOdd, 0.75, "host"),
    row(Anomaly::HostInvalid, Code::HostOdd, 0.6, "host"),
    row(Anomaly::HeaderNameInvalid, Code::Malformed, 0.55, "host"),
    row(Anomaly::HeaderWithoutColon, Code::Malformed, 0.55, "host"),
    row(Anomaly::RequestLineInvalid, Code::Malformed, 0.55, "host"),
    row(Anomaly::UnexpectedBody, Code::Malformed, 0.5, "content-length"),
    row(Anomaly::OverlapConflict, Code::Overlap, 0.6, "host"),
    row(Anomaly::Http2Flood, Code::Http2Flood, 0.8, "host"),
];

/// Oddities of bodies.
const OF_BODY: &[Oddity] = &[
    row(Anomaly::ChunkSizeInvalid, Code::Smuggling, 0.85, "transfer-encoding"),
    row(Anomaly::ChunkDataOverrun, Code::Smuggling, 0.85, "transfer-encoding"),
    row(Anomaly::TrailerForbidden, Code::Smuggling, 0.8, "transfer-encoding"),
    row(Anomaly::TrailerInvalid, Code::Smuggling, 0.8, "transfer-encoding"),
    row(Anomaly::ChunkExtensionInvalid, Code::Smuggling, 0.8, "transfer-encoding"),
    row(Anomaly::ChunkLineEnd, Code::Smuggling, 0.8, "transfer-encoding"),
    row(Anomaly::ContentLengthMismatch, Code::Smuggling, 0.8, "content-length"),
    row(Anomaly::EmbeddedRequest, Code::Smuggling, 0.55, "content-type"),
    row(Anomaly::ChunkExtension, Code::Smuggling, 0.5, "transfer-encoding"),
    row(Anomaly::BoundaryAmbiguous, Code::Malformed, 0.6, "content-type"),
    row(Anomaly::PartHeaderOdd, Code::Malformed, 0.55, "content-type"),
    row(Anomaly::CharsetUnusual, Code::Malformed, 0.5, "content-type"),
    row(Anomaly::BodyBomb, Code::BodyBomb, 0.8, "content-encoding"),
    row(Anomaly::GraphQlCredentials, Code::GraphQlAbuse, 0.88, "content-type"),
    row(Anomaly::GraphQlCycle, Code::GraphQlAbuse, 0.85, "content-type"),
    row(Anomaly::GraphQlRepeats, Code::GraphQlAbuse, 0.75, "content-type"),
    row(Anomaly::GraphQlDeep, Code::GraphQlAbuse, 0.6, "content-type"),
    row(Anomaly::GraphQlAliases, Code::GraphQlAbuse, 0.55, "content-type"),
    row(Anomaly::OverlapConflict, Code::Overlap, 0.6, "host"),
];

/// The surest oddity of each kind that this phase brought up.
pub(super) fn find(request: &Request, phase: Phase) -> impl Iterator<Item = Oddity> + '_ {
    let rows = match phase {
        _ if request.anomalies.is_empty() => &[],
        Phase::Head => OF_HEAD,
        _ => OF_BODY,
    };
    let shown = move |row: &&Oddity| request.anomalies.contains(row.anomaly);
    rows.iter().filter(shown).copied().enumerate().filter_map(move |(number, row)| {
        // The rows of a code stand together, the surest first.
        let first = !rows.iter().filter(shown).take(number).any(|before| before.code == row.code);
        first.then_some(row)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::anomaly::Grade;

    #[test]
    fn each_kind_is_found_once_and_in_its_phase() {
        let mut request = Request::default();
        for anomaly in [
            Anomaly::ContentLengthRepeated,
            Anomaly::ContentLengthConflict,
            Anomaly::NulByte,
            Anomaly::ChunkSizeInvalid,
        ] {
            request.anomalies.insert(anomaly);
        }
        let codes =
            |phase| -> Vec<_> { find(&request, phase).map(|row| (row.code, row.confidence)).collect() };
        assert_eq!(codes(Phase::Head), [(Code::Smuggling, 0.95), (Code::NulByte, 0.88)]);
        assert_eq!(codes(Phase::Body), [(Code::Smuggling, 0.85)]);
    }

    /// What the parser grades as severe in HTTP/1 framing is here, so that a new name is not forgotten.
    #[test]
    fn severe_oddities_of_framing_block() {
        let known = |anomaly: Anomaly| OF_HEAD.iter().chain(OF_BODY).find(|row| row.anomaly == anomaly);
        let framing = ["content-length", "transfer-", "chunk-", "trailer-", "framing-", "bare-", "nul-"];
        for &anomaly in Anomaly::ALL {
            let of_framing = framing.iter().any(|start| anomaly.name().starts_with(start));
            if of_framing && anomaly.grade() == Grade::Severe {
                assert!(known(anomaly).is_some_and(|row| row.confidence >= 0.7), "{anomaly}");
            }
        }
    }

    #[test]
    fn an_ordinary_request_has_none() {
        assert_eq!(find(&Request::default(), Phase::Head).count(), 0);
    }
}
