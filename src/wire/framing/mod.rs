//! The framings.
