//! What a text rests on: `citationsContent` and citations.

use crate::types::chat::{Block, BlockBody, Citation};
use crate::wire::json_in::Raw;
use crate::wire::json_out::{JsonOut, Members};

/// Reads a block of one text and its citations; `None` for what is more than that.
pub(super) fn read_block(raw: Raw<'_>) -> Option<Block> {
    let mut object = raw.object()?;
    let content = object.take("content")?.array()?;
    let citations = object.take("citations")?.array()?;
    let [text] = content.as_slice() else {
        return None;
    };
    let mut text = text.object()?;
    let words = text.take_string("text")?;
    if !text.rest().is_empty() || !object.rest().is_empty() {
        return None;
    }
    let body = BlockBody::Text {
        text: words,
        citations: citations.into_iter().map(read).collect(),
    };
    Some(body.into())
}

/// Reads a citation. Places in a document are pages or its characters, not the text's; they stay in the
/// native form.
pub(super) fn read(raw: Raw<'_>) -> Citation {
    let mut citation = raw.object().unwrap_or_default();
    let sources = citation.take("sourceContent").and_then(Raw::array);
    let words = sources.unwrap_or_default().into_iter();
    let words: Vec<String> = words
        .filter_map(|it| it.object()?.take_string("text"))
        .collect();
    let web = citation.take("location").and_then(|location| {
        let mut web = location.object()?.take("web")?.object()?;
        web.take_string("url")
    });
    Citation {
        url: web.or_else(|| {
            citation
                .take_string("source")
                .filter(|it| it.contains("://"))
        }),
        title: citation.take_string("title"),
        cited_text: (!words.is_empty()).then(|| words.concat()),
        range: None,
        native: Some(raw.owned()),
    }
}

/// Writes a citation: as it came where it is Bedrock's own.
pub(super) fn write(json: &mut JsonOut, citation: &Citation, is_own: bool) {
    if let Some(native) = citation.native.as_ref().filter(|_| is_own) {
        return json.raw(native);
    }
    json.object(|it| {
        it.maybe_string("title", citation.title.as_deref());
        if let Some(words) = &citation.cited_text {
            it.array("sourceContent", |list| {
                list.object(|it| it.string("text", words));
            });
        }
        if let Some(url) = &citation.url {
            it.object("location", |it| {
                it.object("web", |it| it.string("url", url));
            });
        }
    });
}

/// Writes a text and what it rests on.
pub(super) fn write_block(it: &mut Members<'_>, text: &str, citations: &[Citation], is_own: bool) {
    it.object("citationsContent", |it| {
        it.array("content", |list| list.object(|it| it.string("text", text)));
        it.array("citations", |list| {
            for citation in citations {
                write(list, citation, is_own);
            }
        });
    });
}
