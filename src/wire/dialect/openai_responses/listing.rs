//! What a client may ask of a response that is kept: its events again, its input page by page, that it
//! be deleted.

use bytes::Bytes;

use super::convert;
use crate::error::ProxyError;
use crate::wire::framing::sse::{DEFAULT_MAX_EVENT_BYTES, SseFramer};
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::{JsonOut, Members};

/// Most items of a page, as OpenAI has it.
const MAX_LIMIT: usize = 100;

/// Which items of a response's input are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many at most; OpenAI's default is 20.
    pub limit: usize,
    /// Oldest first; OpenAI's default is newest first.
    pub ascending: bool,
    /// Behind the item of this id.
    pub after: Option<String>,
}

impl Page {
    /// The page that a query asks for.
    ///
    /// # Errors
    /// `InvalidRequest` with the parameter at fault.
    pub fn of(query: &[(String, String)]) -> Result<Self, ProxyError> {
        let mut page = Self {
            limit: 20,
            ascending: false,
            after: None,
        };
        for (name, value) in query {
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|it| (1..=MAX_LIMIT).contains(it));
                    page.limit = limit.ok_or_else(|| {
                        let message = format!("`limit` must be a number from 1 to {MAX_LIMIT}");
                        ProxyError::invalid("limit", message)
                    })?;
                }
                "order" => {
                    page.ascending = match value.as_str() {
                        "asc" => true,
                        "desc" => false,
                        _ => {
                            let message = "`order` must be `asc` or `desc`";
                            return Err(ProxyError::invalid("order", message));
                        }
                    }
                }
                "after" => page.after = Some(value.clone()),
                _ => {}
            }
        }
        Ok(page)
    }
}

/// One page of a response's input. Items that came without an id get one here, which holds for this
/// response.
///
/// # Errors
/// When `after` names no item of it.
pub fn input_items(id: &str, input: &str, page: &Page) -> Result<Bytes, ProxyError> {
    let items = Raw::parse(input).ok().and_then(Raw::array);
    let items = items.unwrap_or_default().into_iter().enumerate();
    let mut items: Vec<(String, String)> = items.map(|(at, item)| listed(id, at, item)).collect();
    if !page.ascending {
        items.reverse();
    }
    let from = match &page.after {
        None => 0,
        Some(after) => {
            let found = items.iter().position(|(id, _)| id == after);
            let message = "`after` names no item of this response";
            found.ok_or_else(|| ProxyError::invalid("after", message))? + 1
        }
    };
    let rest = items.get(from..).unwrap_or_default();
    let shown = &rest[..rest.len().min(page.limit)];
    Ok(JsonOut::document(1024, |it| {
        it.string("object", "list");
        it.array("data", |list| {
            for (_, item) in shown {
                list.raw_text(item);
            }
        });
        let id = |item: Option<&(String, String)>| item.map(|(id, _)| id.clone());
        nullable(it, "first_id", id(shown.first()));
        nullable(it, "last_id", id(shown.last()));
        it.boolean("has_more", shown.len() < rest.len());
    }))
}

fn nullable(it: &mut Members<'_>, name: &str, text: Option<String>) {
    match text {
        Some(text) => it.string(name, &text),
        None => it.null(name),
    }
}

/// An item with all that the API's reference says a listed one has: an id, a type, and content in parts.
fn listed(response: &str, at: usize, item: Raw<'_>) -> (String, String) {
    let Some(mut object) = item.object() else {
        return (String::new(), item.get().to_owned());
    };
    let kind = object.take_string("type");
    let kind = kind.unwrap_or_else(|| "message".to_owned());
    let prefix = match kind.as_str() {
        "message" => "msg",
        "reasoning" => "rs",
        "function_call" | "function_call_output" => "fc",
        "custom_tool_call" | "custom_tool_call_output" => "ctc",
        _ => "item",
    };
    let given = object.take_string("id").filter(|id| !id.is_empty());
    let tail = response.trim_start_matches("resp_");
    let id = given.unwrap_or_else(|| format!("{prefix}_{tail}_in{at}"));
    let mut json = JsonOut::with_capacity(item.get().len() + 96);
    json.object(|it| {
        it.string("id", &id);
        it.string("type", &kind);
        if kind != "reasoning" && object.get("status").is_none() {
            object.take_any("status");
            it.string("status", "completed");
        }
        if kind == "message"
            && let Some(text) = object.take_string("content")
        {
            let role = object.get("role").and_then(Raw::string);
            said(it, &text, role.as_deref() == Some("assistant"));
        }
        it.extra(&object.rest());
    });
    (id, json.into_string())
}

/// A plain text as the parts that it stands for.
fn said(it: &mut Members<'_>, text: &str, by_assistant: bool) {
    it.array("content", |parts| {
        parts.object(|it| {
            let kind = if by_assistant {
                "output_text"
            } else {
                "input_text"
            };
            it.string("type", kind);
            it.string("text", text);
            if by_assistant {
                it.array("annotations", |_| {});
                it.array("logprobs", |_| {});
            }
        });
    });
}

/// What the deletion of a response is answered with.
#[must_use]
pub fn deleted(id: &str) -> Bytes {
    JsonOut::document(96, |it| {
        it.string("id", id);
        it.string("object", "response");
        it.boolean("deleted", true);
    })
}

/// The events of a response that is complete, those behind `starting_after` where it is given.
#[must_use]
pub fn events(response: &Bytes, starting_after: Option<u64>) -> Option<Bytes> {
    let all = convert::whole_to_stream(response)?;
    let Some(after) = starting_after else {
        return Some(all);
    };
    let mut framer = SseFramer::new(DEFAULT_MAX_EVENT_BYTES);
    framer.push(all).ok()?;
    let mut later = Vec::new();
    while let Some(event) = framer.next_event() {
        let data = event.data()?;
        let mut object = Object::read(std::str::from_utf8(&data).ok()?).ok()?;
        if object.take_count("sequence_number") > Some(after) {
            later.extend_from_slice(&event.raw);
        }
    }
    Some(later.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const INPUT: &str = r#"[{"role":"user","content":"hi"},{"id":"msg_9","type":"message","role":"assistant","content":"lo"},{"type":"function_call_output","call_id":"c","output":"1"}]"#;

    fn check(query: &[(&str, &str)], expect: &[&str], more: bool) {
        let query: Vec<(String, String)> = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let page = Page::of(&query).expect("a page");
        let listed = input_items("resp_7", INPUT, &page).expect("items");
        let listed: Value = serde_json::from_slice(&listed).expect("JSON");
        let items = listed["data"].as_array().expect("an array");
        let ids: Vec<&str> = items
            .iter()
            .filter_map(|item| item["id"].as_str())
            .collect();
        assert_eq!(ids, expect, "{query:?}");
        assert_eq!(listed["has_more"], more, "{query:?}");
        assert_eq!(listed["first_id"].as_str(), expect.first().copied());
        assert_eq!(listed["last_id"].as_str(), expect.last().copied());
    }

    #[test]
    fn pages_go_both_ways_and_end() {
        let all = ["fc_7_in2", "msg_9", "msg_7_in0"];
        check(&[], &all, false);
        check(&[("limit", "2")], &all[..2], true);
        check(&[("after", "msg_9")], &all[2..], false);
        check(&[("after", "msg_7_in0")], &[], false);
        let up = [("order", "asc"), ("after", "msg_7_in0"), ("limit", "1")];
        check(&up, &["msg_9"], true);
    }

    #[test]
    fn what_cannot_be_asked_is_refused_by_its_name() {
        for (name, value) in [("limit", "0"), ("limit", "x"), ("order", "up")] {
            let query = [(name.to_owned(), value.to_owned())];
            let error = Page::of(&query).expect_err("refused");
            assert_eq!(error.param.as_deref(), Some(name));
        }
        let query = [("after".to_owned(), "nobody".to_owned())];
        let page = Page::of(&query).expect("a page");
        assert!(input_items("resp_7", INPUT, &page).is_err());
    }

    #[test]
    fn a_text_is_listed_as_the_part_that_it_stands_for() {
        let page = Page::of(&[("order".to_owned(), "asc".to_owned())]).expect("a page");
        let listed = input_items("resp_7", INPUT, &page).expect("items");
        let listed: Value = serde_json::from_slice(&listed).expect("JSON");
        let expect = json!({"id": "msg_7_in0", "type": "message", "status": "completed", "role": "user",
            "content": [{"type": "input_text", "text": "hi"}]});
        assert_eq!(listed["data"][0], expect);
        assert_eq!(listed["data"][1]["content"][0]["type"], "output_text");
    }
}
