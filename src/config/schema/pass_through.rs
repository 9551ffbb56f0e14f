//! `pass_through`

use schemars::JsonSchema;
use serde::Deserialize;

/// Requests that go to a provider as they are: images, audio and moderations to that of the model
/// that they name; files and batches to one that is named here.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PassThroughConfig {
    /// Providers that files and batches may be sent to, the first unless a request's
    /// `x-tollgate-provider` names another. When empty: with `auth: { mode: open }` every provider of
    /// an OpenAI dialect, with `keys` none, since all who use an account see each other's files, and
    /// what a batch costs is not known here.
    pub files: Vec<String>,
    /// Largest body that is passed on while it comes in (audio, images, files), bytes. What is held
    /// here of it, up to the model's name, is bounded by `server.max_body_bytes`.
    #[schemars(range(min = 1024))]
    pub max_body_bytes: u64,
}

impl Default for PassThroughConfig {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            // OpenAI's cap for one file.
            max_body_bytes: 512 << 20,
        }
    }
}
