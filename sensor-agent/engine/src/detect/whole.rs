//! What a request shows as a whole, and no single field of it: what the parser found odd, pages of other sites that sent it, parameters that
//! come twice, rules of the protocol that it breaks, and more fields than there is work for.

use std::fmt::Display;
use std::sync::Arc;

use super::builtin::Code;
use super::report::{claim, finding};
use super::{Detector, Part, Phase, auth, csrf, oddity, protocol};
use crate::field::{Field, Fields, Place};
use crate::finding::{EVIDENCE_LEN, Finding};
use crate::http::message::Request;

/// Confidence that a request which takes too much work is an attack: it is reported, and blocks nobody.
const OVER_BUDGET: f32 = 0.55;

/// A coded detection about a request, and the field that shows it best.
struct Shown<'a> {
    code: Code,
    confidence: f32,
    field: Field<'a>,
}

impl<'a> Shown<'a> {
    /// In one of the request's headers.
    fn in_header(code: Code, confidence: f32, request: &'a Request, header: &'static str) -> Self {
        let value = request.header(header).unwrap_or_default();
        let field = Field { place: Place::Header, name: header.as_bytes(), value, offset: 0 };
        Self { code, confidence, field }
    }
}

impl Detector {
    /// Appends what all of a request's head or body shows.
    pub(super) fn whole(
        &mut self,
        part: Part<'_>,
        of_headers: Option<protocol::Violation<'_>>,
        findings: &mut Vec<Finding>,
    ) {
        let request = part.request;
        if part.phase == Phase::Head {
            self.foreign_page(request, part.fields, findings);
        } else {
            self.fixed_session(part, findings);
        }
        for oddity in oddity::find(request, part.phase) {
            let shown = Shown::in_header(oddity.code, oddity.confidence, request, oddity.header);
            self.show(request, &shown, Some(&oddity.anomaly), findings);
        }
        if let Some((index, confidence)) = auth::repeated(part.fields)
            && let Some(field) = part.fields.iter().nth(index)
        {
            self.show(request, &Shown { code: Code::AuthRepeated, confidence, field }, None, findings);
        }
        self.violations(part, of_headers, findings);
    }

    /// What is left of a part is left out, and that is told.
    pub(super) fn over_budget(
        &mut self,
        request: &Request,
        field: &Field<'_>,
        left: usize,
        findings: &mut Vec<Finding>,
    ) {
        self.stats.fields_over_budget += left as u64;
        let shown =
            Shown { code: Code::OverBudget, confidence: OVER_BUDGET, field: Field { value: b"", ..*field } };
        if let Some(found) = self.show(request, &shown, None, findings) {
            found.evidence = format!("{left} fields were not looked at");
        }
    }

    /// What another site's page made the client send.
    fn foreign_page(&mut self, request: &Request, fields: &Fields, findings: &mut Vec<Finding>) {
        let signs =
            [(Code::Csrf, csrf::find(request)), (Code::SessionFixed, csrf::fixation(request, fields))];
        for (code, found) in signs {
            let Some(found) = found else { continue };
            self.show(
                request,
                &Shown::in_header(code, found.confidence, request, found.header),
                None,
                findings,
            );
        }
    }

    /// A session id that another site's page puts into the body.
    fn fixed_session(&mut self, part: Part<'_>, findings: &mut Vec<Finding>) {
        let Some(found) = csrf::fixation(part.request, part.fields) else { return };
        let shown = Shown::in_header(Code::SessionFixed, found.confidence, part.request, found.header);
        self.show(part.request, &shown, None, findings);
    }

    /// Rules of the protocol that the request breaks.
    fn violations(
        &mut self,
        part: Part<'_>,
        of_headers: Option<protocol::Violation<'_>>,
        findings: &mut Vec<Finding>,
    ) {
        let violation = match part.phase {
            Phase::Head => protocol::in_head(part.request, part.fields, of_headers),
            Phase::Body => protocol::in_body(part.request, part.fields),
            Phase::Response => None,
        };
        let Some(protocol::Violation { what, confidence, field }) = violation else { return };
        self.show(part.request, &Shown { code: Code::Protocol, confidence, field }, Some(&what), findings);
    }

    /// Appends a finding, unless an exception covers it, which is counted. `label` stands before its evidence.
    fn show<'f>(
        &mut self,
        request: &Request,
        shown: &Shown<'_>,
        label: Option<&dyn Display>,
        findings: &'f mut Vec<Finding>,
    ) -> Option<&'f mut Finding> {
        let Shown { code, confidence, field } = shown;
        let info = self.infos.get(*code).map(Arc::clone)?;
        if self.rules.exceptions().iter().any(|one| one.covers(&info.id, request.path(), field)) {
            self.stats.findings_excepted += 1;
            return None;
        }
        self.views.fill(field);
        let mut found =
            finding(&claim(&info, *code, *confidence), field, &self.views, 0, 0..field.value.len());
        if let Some(label) = label {
            found.evidence = format!("{label}: {}", found.evidence);
            found.evidence.truncate(found.evidence.floor_char_boundary(EVIDENCE_LEN));
        }
        findings.push(found);
        findings.last_mut()
    }
}
