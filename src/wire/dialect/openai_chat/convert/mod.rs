//! One form of an answer into the other: whole to stream, for a stored answer that is asked for as
//! a stream and for upstreams that answer a streamed request whole; stream to whole, for storing.
//!
//! Values that need not be put together from pieces are carried as raw JSON, so that numbers and
//! members unknown to us come out as they went in. Not on the per-chunk path: these build maps.

mod to_stream;
mod to_whole;

use indexmap::IndexMap;
use serde_json::value::RawValue;

pub use to_stream::whole_to_stream;
pub use to_whole::stream_to_whole;

/// The members of an object in their order, the values raw.
type Members<'a> = IndexMap<String, &'a RawValue>;

fn members(json: &[u8]) -> Option<Members<'_>> {
    serde_json::from_slice(json).ok()
}

/// Writes an object member by member.
struct ObjectWriter {
    json: Vec<u8>,
}

impl ObjectWriter {
    fn new() -> Self {
        Self { json: vec![b'{'] }
    }

    /// Appends a member; `value` must be JSON. Line ends in it become spaces, since the result may
    /// be one line of an event.
    fn member(&mut self, name: &str, value: &[u8]) -> &mut Self {
        if self.json.len() > 1 {
            self.json.push(b',');
        }
        crate::wire::json_text::push_string(&mut self.json, name);
        self.json.push(b':');
        self.json.extend_from_slice(&super::stream::one_line(value));
        self
    }

    fn is_empty(&self) -> bool {
        self.json.len() == 1
    }

    fn finish(mut self) -> Vec<u8> {
        self.json.push(b'}');
        self.json
    }
}

/// `[a,b,c]` of JSON values.
fn array_of<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut json = vec![b'['];
    for value in values {
        if json.len() > 1 {
            json.push(b',');
        }
        json.extend_from_slice(value.as_ref());
    }
    json.push(b']');
    json
}

#[cfg(test)]
mod tests;
