//! The seam to what is detected by code: rules can name coded detections, but stand above them in the order of the modules, so that
//! the detectors come in as a value.

use crate::field::Field;

use super::Views;
use super::fields::NamePattern;

/// The coded detectors, as the compiler of rules needs them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CodedDetectors {
    /// Ids of the detections by their numbers; at most 128.
    pub(crate) ids: &'static [&'static str],
    /// What they find in a field with these views, in a request of this method.
    pub(crate) find: fn(&Field<'_>, &Views, &[u8]) -> Vec<CodedMatch>,
}

/// A coded detection in a view of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CodedMatch {
    /// Its number.
    pub(crate) code: usize,
    /// Number of the view.
    pub(crate) view: usize,
    /// First byte of the evidence in the view.
    pub(crate) start: usize,
    /// Behind its last byte.
    pub(crate) end: usize,
    /// How sure, from 0 to 1.
    pub(crate) confidence: f32,
}

impl CodedDetectors {
    /// A bit for each detection whose id fits `text`, an id or a beginning of ids and `*`; `None` if none does.
    pub(crate) fn bits(&self, text: &str) -> Option<u128> {
        let pattern = NamePattern::parse(text)?;
        let fits = self.ids.iter().enumerate().filter(|(_, id)| pattern.matches(id.as_bytes()));
        let bits =
            fits.fold(0_u128, |bits, (number, _)| bits | 1_u128.checked_shl(number as u32).unwrap_or(0));
        (bits != 0).then_some(bits)
    }
}
