//! `tollgate schema` and the hidden `tollgate reference`.

use std::io::{self, Write};

use super::EXIT_OK;
use crate::config::{json_schema, reference};

/// Prints the JSON Schema of `routes.yaml`.
///
/// # Errors
/// When `out` cannot be written to.
pub fn run(out: &mut dyn Write) -> io::Result<u8> {
    serde_json::to_writer_pretty(&mut *out, json_schema())?;
    writeln!(out)?;
    Ok(EXIT_OK)
}

/// Prints the reference of `routes.yaml`: the text of `docs/configuration.md`.
///
/// # Errors
/// When `out` cannot be written to.
pub fn run_reference(out: &mut dyn Write) -> io::Result<u8> {
    out.write_all(reference::markdown().as_bytes())?;
    Ok(EXIT_OK)
}
