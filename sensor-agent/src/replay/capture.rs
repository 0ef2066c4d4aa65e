//! A capture file, read in large pieces and handed on packet by packet.

use std::io::Read;

use anyhow::{Result, bail};
use sensor_engine::capture::file::{Frame, MAX_BLOCK, Reader, Step};

/// Bytes that are read at a time: room for the largest block beside others.
const BUFFER_BYTES: usize = 4 * MAX_BLOCK;

/// Hands every packet to `take`; returns whether the file ends in the middle of one, or cannot be read to its end.
///
/// # Errors
/// If the file cannot be read, or what `take` returns.
pub(super) fn read(mut source: impl Read, mut take: impl FnMut(&Frame<'_>) -> Result<()>) -> Result<bool> {
    let mut reader = Reader::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    // The bytes in hand: `start <= end <= buffer.len()`.
    let (mut start, mut end) = (0, 0);
    loop {
        match reader.next(&buffer[start..end]) {
            Step::Frame(frame, used) => {
                take(&frame)?;
                start += used;
            }
            Step::Skip(used) => start += used,
            Step::Broken => return Ok(true),
            Step::NeedMore => {
                buffer.copy_within(start..end, 0);
                (start, end) = (0, end - start);
                if end == buffer.len() {
                    bail!("a block is larger than {BUFFER_BYTES} bytes");
                }
                let more = source.read(&mut buffer[end..])?;
                if more == 0 {
                    return Ok(end > 0);
                }
                end += more;
            }
        }
    }
}
