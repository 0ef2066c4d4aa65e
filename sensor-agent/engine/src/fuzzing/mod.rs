//! Bodies of the fuzz targets: each takes any bytes, and panics only if the engine breaks a promise. They are ordinary functions,
//! so that a test runs them on the corpus, and a crash that the fuzzer found stays found.

mod bodies;
mod captures;
mod connection;
mod messages;
mod streams;

/// Name and body of a target.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("record", captures::record),
    ("frame", captures::frame),
    ("capture_file", captures::file),
    ("fragments", captures::fragments),
    ("whole", captures::whole),
    ("stream", streams::stream),
    ("request", messages::request),
    ("response", messages::response),
    ("http2", messages::http2),
    ("websocket", messages::websocket),
    ("coding", bodies::coding),
    ("multipart", bodies::multipart),
    ("documents", bodies::documents),
    ("connection", connection::connection),
];

/// Runs the target of this name.
///
/// # Panics
///
/// If there is none, or if it finds something.
pub fn run(name: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let Some((_, body)) = found else { panic!("no target `{name}`") };
    body(data);
}

/// Splits the first byte off, as a number below `most`.
fn choice(data: &[u8], most: usize) -> (usize, &[u8]) {
    data.split_first().map_or((0, data), |(&first, rest)| (usize::from(first) % most.max(1), rest))
}

/// Cuts `data` into pieces whose lengths come from `seed`.
fn pieces(data: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut state) = (data, u32::from(seed).wrapping_mul(2_654_435_761) | 1);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = 1 + (state >> 24) as usize % if seed & 1 == 0 { 3 } else { 40 };
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        Some(piece)
    })
}
