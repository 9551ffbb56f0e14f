//! A client's Messages request in neutral form.

use super::{NAME, blocks_read, thinking, tools};
use crate::error::ProxyError;
use crate::types::chat::{
    ChatRequest, Extra, Message, OutputFormat, RawJson, ReasoningWish, Sampling, SchemaFormat,
    Speaker,
};
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_text;

/// Reads a body.
///
/// # Errors
/// `InvalidRequest` with the member at fault.
pub(super) fn read(body: &str) -> Result<ChatRequest, ProxyError> {
    let Ok(raw) = Raw::parse(body) else {
        // Half an emoji is accepted on the way through, so it is on this way.
        let mended = json_text::mend_lone_surrogates(body.as_bytes());
        let mended = mended.and_then(|json| String::from_utf8(json).ok());
        return match mended.as_deref().map(Raw::parse) {
            Some(Ok(raw)) => read_parsed(raw),
            _ => Err(ProxyError::invalid("", "the body is not valid JSON")),
        };
    };
    read_parsed(raw)
}

fn read_parsed(raw: Raw<'_>) -> Result<ChatRequest, ProxyError> {
    let Some(mut body) = raw.object() else {
        let message = format!("the body must be a JSON object, not {}", raw.kind().name());
        return Err(ProxyError::invalid("", message));
    };
    body.take("model");
    let mut messages = Vec::new();
    if let Some(system) = body.take("system") {
        let blocks = blocks_read::content(system)
            .ok_or_else(|| refuse("system", "a string or an array of content blocks"))?;
        messages.push(Message::new(Speaker::System, blocks));
    }
    conversation(body.take("messages"), &mut messages)?;
    let (tool_choice, parallel_tool_calls) = tools::read_choice(&mut body);
    // Members that say more than the neutral form has names for; written back as they were.
    let mut kept = Vec::new();
    let mut request = ChatRequest {
        dialect: NAME,
        messages,
        tools: tools::read(body.take("tools"))?,
        tool_choice,
        parallel_tool_calls,
        max_output_tokens: body.take_count("max_tokens"),
        sampling: Sampling {
            temperature: body.take_number("temperature"),
            top_p: body.take_number("top_p"),
            top_k: body.take_count("top_k"),
            ..Sampling::default()
        },
        stop: stop_sequences(&mut body)?,
        reasoning: thinking::read(body.take("thinking"), &mut kept),
        service_tier: body.take_string("service_tier"),
        stream: body.take_boolean("stream").unwrap_or(false),
        include_usage: true,
        ..ChatRequest::default()
    };
    output_config(&mut body, &mut request, &mut kept);
    metadata(&mut body, &mut request, &mut kept);
    request.extra = body.rest();
    request.extra.0.extend(kept);
    Ok(request)
}

fn refuse(param: &str, allowed: &str) -> ProxyError {
    ProxyError::invalid(param, format!("`{param}` must be {allowed}"))
}

fn conversation(raw: Option<Raw<'_>>, messages: &mut Vec<Message>) -> Result<(), ProxyError> {
    let elements = raw
        .and_then(Raw::array)
        .ok_or_else(|| refuse("messages", "an array of messages"))?;
    for (index, element) in elements.into_iter().enumerate() {
        let mut message = element
            .object()
            .ok_or_else(|| refuse(&format!("messages[{index}]"), "an object"))?;
        let speaker = match message.take_string("role").as_deref() {
            Some("user") => Speaker::User,
            Some("assistant") => Speaker::Assistant,
            Some("system") => Speaker::System,
            _ => {
                let param = format!("messages[{index}].role");
                return Err(refuse(&param, "`user` or `assistant`"));
            }
        };
        let blocks = message.take("content").and_then(blocks_read::content);
        let blocks = blocks.ok_or_else(|| {
            let param = format!("messages[{index}].content");
            refuse(&param, "a string or an array of content blocks")
        })?;
        messages.push(Message {
            speaker,
            blocks,
            name: None,
            extra: message.rest(),
        });
    }
    Ok(())
}

fn stop_sequences(body: &mut Object<'_>) -> Result<Vec<String>, ProxyError> {
    let Some(raw) = body.take("stop_sequences") else {
        return Ok(Vec::new());
    };
    let words = raw.array().map(|words| words.into_iter().map(Raw::string));
    words
        .and_then(Iterator::collect)
        .ok_or_else(|| refuse("stop_sequences", "an array of strings"))
}

/// `output_config` (`effort` and `format`), and `output_format`, the format's name while it was in beta.
fn output_config(
    body: &mut Object<'_>,
    request: &mut ChatRequest,
    kept: &mut Vec<(String, RawJson)>,
) {
    if let Some(raw) = body.get("output_format")
        && let Some((format, _)) = body.take_if("output_format", schema)
    {
        request.output_format = Some(format);
        kept.push(("output_format".to_owned(), raw.owned()));
    }
    let Some(raw) = body.get("output_config") else {
        return;
    };
    let Some(mut config) = raw.object() else {
        return;
    };
    body.take("output_config");
    if let Some(effort) = config.take_if("effort", thinking::effort) {
        let wish = request.reasoning.get_or_insert_with(ReasoningWish::default);
        wish.effort = Some(effort);
    }
    let mut is_whole = true;
    if let Some((format, is_all)) = config.take_if("format", schema) {
        is_whole = is_all && request.output_format.is_none();
        request.output_format = Some(format);
    }
    if !is_whole || !config.rest().is_empty() {
        kept.push(("output_config".to_owned(), raw.owned()));
    }
}

/// A schema, and whether it says all that stands there.
fn schema(raw: Raw<'_>) -> Option<(OutputFormat, bool)> {
    let mut format = raw.object()?;
    if format.take_string("type")? != "json_schema" {
        return None;
    }
    let schema = format.take("schema")?.owned();
    let name = format.get("name").and_then(Raw::string);
    let read = SchemaFormat {
        name,
        description: None,
        schema,
        strict: Some(true),
    };
    Some((OutputFormat::Schema(read), format.rest().is_empty()))
}

fn metadata(body: &mut Object<'_>, request: &mut ChatRequest, kept: &mut Vec<(String, RawJson)>) {
    let Some(raw) = body.get("metadata") else {
        return;
    };
    let Some(mut metadata) = raw.object() else {
        return;
    };
    body.take("metadata");
    request.end_user = metadata.take_string("user_id");
    let Extra(rest) = metadata.rest();
    if !rest.is_empty() {
        kept.push(("metadata".to_owned(), raw.owned()));
    }
}
