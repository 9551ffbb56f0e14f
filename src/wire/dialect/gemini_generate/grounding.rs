//! What a text rests on: Google's `groundingMetadata` and `citationMetadata`, and citations.
//!
//! Google counts in bytes of UTF-8, the neutral form in characters.

use super::members::{count, take, take_string};
use crate::types::chat::Citation;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::Members;

/// A citation and the part whose text it is about; `None` is the whole answer's text.
#[derive(Debug)]
pub(super) struct Cited {
    pub part: Option<usize>,
    /// In bytes of that text.
    pub bytes: Option<(usize, usize)>,
    pub citation: Citation,
}

/// The citations of a candidate.
pub(super) fn read(candidate: &Object<'_>) -> Vec<Cited> {
    let mut found = Vec::new();
    if let Some(metadata) = candidate.get("groundingMetadata").and_then(Raw::object) {
        read_grounding(metadata, &mut found);
    }
    if let Some(metadata) = candidate.get("citationMetadata").and_then(Raw::object) {
        read_sources(metadata, &mut found);
    }
    found
}

fn read_grounding(mut metadata: Object<'_>, found: &mut Vec<Cited>) {
    let chunks = take(&mut metadata, "groundingChunks").and_then(Raw::array);
    let chunks: Vec<Citation> = chunks
        .unwrap_or_default()
        .into_iter()
        .map(|chunk| read_chunk(chunk).unwrap_or_default())
        .collect();
    let supports = take(&mut metadata, "groundingSupports").and_then(Raw::array);
    let Some(supports) = supports else {
        // Sources that no passage is named for.
        let whole = chunks.into_iter().filter(|it| it.url.is_some());
        return found.extend(whole.map(|citation| Cited {
            part: None,
            bytes: None,
            citation,
        }));
    };
    for support in supports.into_iter().filter_map(Raw::object) {
        read_support(support, &chunks, found);
    }
}

/// A chunk is a web page, a passage of one's own corpus or a place of the map.
fn read_chunk(chunk: Raw<'_>) -> Option<Citation> {
    let mut chunk = chunk.object()?;
    let kinds = ["web", "retrievedContext", "maps"];
    let source = kinds.iter().find_map(|kind| take(&mut chunk, kind))?;
    let mut source = source.object()?;
    Some(Citation {
        url: source.take_string("uri"),
        title: source.take_string("title"),
        cited_text: source.take_string("text"),
        ..Citation::default()
    })
}

fn read_support(mut support: Object<'_>, chunks: &[Citation], found: &mut Vec<Cited>) {
    let mut segment = take(&mut support, "segment")
        .and_then(Raw::object)
        .unwrap_or_default();
    let mut index = |name| {
        let value = take(&mut segment, name).and_then(count);
        value.and_then(|value| usize::try_from(value).ok())
    };
    // Protobuf leaves zeroes out.
    let part = index("partIndex").unwrap_or(0);
    let start = index("startIndex").unwrap_or(0);
    let end = index("endIndex");
    let indices = take(&mut support, "groundingChunkIndices").and_then(Raw::array);
    for index in indices.unwrap_or_default() {
        let index = count(index).and_then(|index| usize::try_from(index).ok());
        let Some(chunk) = index.and_then(|index| chunks.get(index)) else {
            continue;
        };
        found.push(Cited {
            part: Some(part),
            bytes: end.map(|end| (start, end)),
            citation: chunk.clone(),
        });
    }
}

/// Passages that repeat what the model was trained on. The Gemini API calls them `citationSources`,
/// Vertex AI `citations`.
fn read_sources(mut metadata: Object<'_>, found: &mut Vec<Cited>) {
    let sources = take(&mut metadata, "citationSources")
        .or_else(|| take(&mut metadata, "citations"))
        .and_then(Raw::array);
    let sources = sources.unwrap_or_default();
    for mut source in sources.into_iter().filter_map(Raw::object) {
        let mut index = |name| {
            let value = take(&mut source, name).and_then(count);
            value.and_then(|value| usize::try_from(value).ok())
        };
        let start = index("startIndex").unwrap_or(0);
        let end = index("endIndex");
        found.push(Cited {
            part: None,
            bytes: end.map(|end| (start, end)),
            citation: Citation {
                url: take_string(&mut source, "uri"),
                title: take_string(&mut source, "title"),
                ..Citation::default()
            },
        });
    }
}

/// Bytes of `text` as characters; `None` where they are no place in it.
pub(super) fn in_characters(text: &str, bytes: (usize, usize)) -> Option<(u64, u64)> {
    let characters = |at| Some(text.get(..at)?.chars().count() as u64);
    Some((characters(bytes.0)?, characters(bytes.1)?))
}

/// Characters of `text` as bytes; places beyond its end are its end.
fn in_bytes(text: &str, (start, end): (u64, u64)) -> (usize, usize) {
    let place = |at: u64| {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        text.char_indices().nth(at).map_or(text.len(), |(at, _)| at)
    };
    (place(start), place(end))
}

/// Writes the citations of texts (part, text, citations) as `groundingMetadata`.
pub(super) fn write(it: &mut Members<'_>, texts: &[(usize, &str, &[Citation])]) {
    if texts.iter().all(|(_, _, citations)| citations.is_empty()) {
        return;
    }
    it.object("groundingMetadata", |it| {
        it.array("groundingChunks", |list| {
            for citation in texts.iter().flat_map(|(_, _, citations)| *citations) {
                list.object(|it| {
                    it.object("web", |it| {
                        it.maybe_string("uri", citation.url.as_deref());
                        it.maybe_string("title", citation.title.as_deref());
                        it.maybe_string("text", citation.cited_text.as_deref());
                    });
                });
            }
        });
        it.array("groundingSupports", |list| {
            let mut number = 0_u64;
            for (part, text, citations) in texts {
                for citation in *citations {
                    list.object(|it| {
                        it.object("segment", |it| {
                            it.integer("partIndex", *part as u64);
                            let Some(range) = citation.range else { return };
                            let (start, end) = in_bytes(text, range);
                            it.integer("startIndex", start as u64);
                            it.integer("endIndex", end as u64);
                            it.maybe_string("text", text.get(start..end));
                        });
                        it.array("groundingChunkIndices", |list| list.integer(number));
                    });
                    number += 1;
                }
            }
        });
    });
}
