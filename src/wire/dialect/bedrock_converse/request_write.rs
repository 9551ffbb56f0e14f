//! The neutral form to a body for Bedrock.

use bytes::Bytes;
use rustc_hash::FxHashSet;

use super::blocks_write::Pen;
use super::conversation::Conversation;
use super::family::Family;
use super::settings::Settings;
use super::{NAME, tools};
use crate::types::chat::{ChatRequest, Inexpressible, Notes};
use crate::wire::json_out::JsonOut;
use crate::wire::nested::others;
use crate::wire::translate::Target;

/// Writes a request that `refusals` has let pass.
///
/// # Errors
/// When the model cannot be bound to the schema that is asked for.
pub(super) fn write(
    request: &ChatRequest,
    target: &Target<'_>,
    notes: &mut Notes,
) -> Result<Bytes, Inexpressible> {
    let is_own = request.dialect == NAME;
    let family = Family::of(target.upstream_model);
    let mut pen = Pen {
        is_own,
        is_upstream: true,
        family,
        names: FxHashSet::default(),
    };
    let conversation = Conversation::of(request, &pen, notes);
    let settings = Settings::of(request, target, conversation.lacks_thoughts(), notes)?;
    let capacity = 512 + 512 * request.messages.len();
    Ok(JsonOut::document(capacity, |it| {
        conversation.write(it, settings.instruction, &mut pen);
        tools::write(it, request, family, conversation.called(), notes);
        settings.write(it, request, target, notes);
        if is_own {
            others(it, &request.extra, &["toolConfig", "inferenceConfig"]);
        }
    }))
}
