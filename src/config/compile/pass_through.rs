//! `pass_through`

use super::{Context, at};
use crate::config::schema::{AuthMode, PassThroughConfig};
use crate::config::snapshot::{PassThroughParams, Provider};

pub fn compile(
    cx: &mut Context<'_, '_>,
    config: &PassThroughConfig,
    mode: AuthMode,
    providers: &[Provider],
) -> PassThroughParams {
    let mut files = Vec::with_capacity(config.files.len());
    for (index, name) in config.files.iter().enumerate() {
        let at = at!["pass_through", "files", index];
        match providers.iter().position(|it| it.id.as_str() == name) {
            Some(found) if !speaks_openai(&providers[found]) => {
                let message = format!("`{name}` does not speak an OpenAI dialect");
                cx.error(at, message);
            }
            Some(found) if files.contains(&found) => {
                cx.warn(at, format!("`{name}` is listed twice"), "remove one");
            }
            Some(found) => files.push(found),
            None if cx.names.providers.contains(name.as_str()) => {}
            None => cx.unknown(at, "provider", name, |names| &names.providers),
        }
    }
    if config.files.is_empty() && matches!(mode, AuthMode::Open) {
        files = (0..providers.len())
            .filter(|&index| speaks_openai(&providers[index]))
            .collect();
    }
    PassThroughParams {
        files,
        max_body_bytes: usize::try_from(config.max_body_bytes).unwrap_or(usize::MAX),
    }
}

fn speaks_openai(provider: &Provider) -> bool {
    provider.dialect.as_str().starts_with("openai_")
}
