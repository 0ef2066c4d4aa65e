//! Request bodies → named inspection fields.
