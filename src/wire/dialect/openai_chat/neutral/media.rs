//! Where images, sounds and files are: `data:` URLs and the neutral [`Source`], and the prompt-caching
//! marks that stand on content parts. Shared by OpenAI's two dialects.

use crate::types::chat::{CacheMark, Source};
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::Members;

/// What a URL points at: a `data:` URL in base64 holds the bytes themselves.
pub(in crate::wire) fn source_of_url(url: &str) -> Source {
    let inline = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"));
    match inline {
        Some((media_type, data)) => Source::Base64 {
            media_type: media_type.to_owned(),
            data: data.to_owned(),
        },
        None => Source::Url(url.to_owned()),
    }
}

/// A source as a URL; `None` for what a provider keeps under an id.
pub(in crate::wire) fn url_of(source: &Source) -> Option<String> {
    match source {
        Source::Url(url) => Some(url.clone()),
        Source::Base64 { media_type, data } => Some(format!("data:{media_type};base64,{data}")),
        Source::Text { media_type, text } => {
            use base64::Engine as _;
            let data = base64::engine::general_purpose::STANDARD.encode(text);
            Some(format!("data:{media_type};base64,{data}"))
        }
        Source::Id(_) => None,
    }
}

/// Takes `cache_control` out where it is a mark that we know; anything else is left over.
pub(in crate::wire) fn take_cache_mark(object: &mut Object<'_>) -> Option<CacheMark> {
    object.take_if("cache_control", |value| {
        let mut mark = value.object()?;
        let kind = mark.take("type").and_then(Raw::string)?;
        let ttl = mark.take("ttl").and_then(Raw::string);
        let known = kind == "ephemeral" && mark.rest().is_empty();
        match ttl.as_deref() {
            None | Some("5m") if known => Some(CacheMark::Usual),
            Some("1h") if known => Some(CacheMark::Hour),
            _ => None,
        }
    })
}

/// Writes `cache_control`.
pub(in crate::wire) fn write_cache_mark(it: &mut Members<'_>, mark: CacheMark) {
    it.object("cache_control", |it| {
        it.string("type", "ephemeral");
        if mark == CacheMark::Hour {
            it.string("ttl", "1h");
        }
    });
}
