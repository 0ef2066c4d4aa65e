//! TCP reassembly: sequence arithmetic, overlaps, gaps, a byte-capped out-of-order buffer.
