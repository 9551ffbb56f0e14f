//! The built-in configuration: the shipped models and matrix on simulated providers. Serves when there
//! is neither a file nor a provider's key, and `tollgate demo`.

use super::{LoadError, Snapshot, load};

/// Its text, in the form of a `routes.yaml`.
pub const BUILT_IN: &str = include_str!("builtin.yaml");
/// Its name in messages.
pub const BUILT_IN_NAME: &str = "built-in routes.yaml";

/// Compiles the built-in configuration. Reads nothing of the environment.
///
/// # Errors
/// None in a sound build; a test keeps it so.
pub fn built_in(now_ms: i64) -> Result<Snapshot, LoadError> {
    load(BUILT_IN, BUILT_IN_NAME, &|_| None, now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_configuration_is_sound() {
        let snapshot = match built_in(7) {
            Ok(snapshot) => snapshot,
            Err(problems) => panic!("{problems:#?}"),
        };
        assert!(snapshot.warnings.is_empty(), "{:#?}", snapshot.warnings);
        assert!(snapshot.models.len() >= 6);
        assert!(snapshot.providers.iter().all(|provider| provider.enabled));
        assert_eq!(
            snapshot.matrix.rows.len(),
            super::super::BUILT_IN_TASKS.len()
        );
        assert_eq!(snapshot.loaded_at_ms, 7);
    }
}
