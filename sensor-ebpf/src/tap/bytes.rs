//! What the verifier needs to see to believe a bound.

/// The value itself, of which the compiler then knows nothing: a bound check that follows stays in the code, on the very
/// register that the helper call uses. The instruction is a real one because an empty one breaks the line table.
#[inline(always)]
pub(crate) fn opaque(mut value: u64) -> u64 {
    // SAFETY: the instruction copies a register onto itself.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags));
    }
    value
}
