//! A client's request into neutral form.

use super::{NAME, items_read};
use crate::error::ProxyError;
use crate::types::chat::{
    Block, ChatRequest, Effort, Extra, Message, OutputFormat, RawJson, ReasoningWish, Sampling,
    Speaker, Tool, ToolChoice, ToolKind,
};
use crate::wire::dialect::openai_chat::neutral::media::take_cache_mark;
use crate::wire::dialect::openai_chat::neutral::request_read::{labels, schema_format};
use crate::wire::dialect::openai_chat::neutral::wrong;
use crate::wire::json_in::{Object, Raw};
use crate::wire::nested::keep;

/// Marks the message that stood apart from the conversation.
pub(super) const INSTRUCTIONS: &str = "instructions";

/// Reads a body.
pub(super) fn read(mut it: Object<'_>) -> Result<ChatRequest, ProxyError> {
    let mut request = ChatRequest {
        dialect: NAME,
        ..ChatRequest::default()
    };
    it.take_any("model");
    if let Some(text) = it.take_string("instructions") {
        let mut message = Message::new(Speaker::System, vec![Block::text(text)]);
        // A system message of the input is written back where it stands.
        let mark = (INSTRUCTIONS.to_owned(), RawJson::new("\"\""));
        message.extra.0.push(mark);
        request.messages.push(message);
    }
    let input = it.take("input");
    let allowed = "a string or an array of items";
    let input = input.ok_or_else(|| wrong("input", allowed))?;
    request.messages.extend(items_read::input(input)?);
    // Whether and what is kept is this proxy's own matter.
    it.take_any("store");
    it.take_any("previous_response_id");
    tools(&mut it, &mut request)?;
    request.max_output_tokens = it.take_count("max_output_tokens");
    request.sampling = Sampling {
        temperature: it.take_number("temperature"),
        top_p: it.take_number("top_p"),
        ..Sampling::default()
    };
    request.logprobs = logprobs(&mut it);
    let (format, more_text) = text(&mut it)?;
    request.output_format = format;
    let (wish, more_reasoning) = reasoning(&mut it);
    request.reasoning = wish;
    request.service_tier = it.take_string("service_tier");
    let user = it.take_string("user");
    request.end_user = user.or_else(|| it.get("safety_identifier")?.string());
    request.metadata = it.take_if("metadata", labels).unwrap_or_default();
    request.stream = it.take_boolean("stream").unwrap_or(false);
    request.include_usage = true;
    request.extra = it.rest();
    keep(&mut request.extra, "text", &more_text);
    keep(&mut request.extra, "reasoning", &more_reasoning);
    Ok(request)
}

/// What `include` may hold that is always given here.
const ALWAYS: [&str; 2] = [
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
];

fn logprobs(it: &mut Object<'_>) -> Option<u32> {
    let asked = |value: Raw<'_>| -> Option<Vec<String>> {
        value.array()?.into_iter().map(Raw::string).collect()
    };
    let words = it.get("include").and_then(asked).unwrap_or_default();
    // What else is asked for stays for the dialect that knows it.
    if words.iter().all(|word| ALWAYS.contains(&word.as_str())) {
        it.take_any("include");
    }
    let top = it.take_count("top_logprobs");
    let top = top.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    let included = words.iter().any(|word| word == ALWAYS[0]);
    included
        .then_some(0)
        .max(top.filter(|count| *count > 0 || included))
}

/// `text`: the format, and what else stands there.
fn text(it: &mut Object<'_>) -> Result<(Option<OutputFormat>, Extra), ProxyError> {
    let Some(mut text) = it.take_if("text", Raw::object) else {
        return Ok((None, Extra::none()));
    };
    let format = text.take("format").and_then(Raw::object);
    let mut rest = text.rest();
    let format = match format {
        Some(mut format) => {
            let kind = format.take_string("type").unwrap_or_default();
            let read = match kind.as_str() {
                "text" => OutputFormat::Text,
                "json_object" => OutputFormat::Json,
                "json_schema" => OutputFormat::Schema(schema_format(&mut format)),
                _ => {
                    let allowed = "`text`, `json_object` or `json_schema`";
                    return Err(wrong("text.format.type", allowed));
                }
            };
            keep(&mut rest, "format", &format.rest());
            Some(read)
        }
        None => None,
    };
    Ok((format, rest))
}

/// `reasoning`: the wish, and what else stands there.
fn reasoning(it: &mut Object<'_>) -> (Option<ReasoningWish>, Extra) {
    let Some(mut object) = it.take_if("reasoning", Raw::object) else {
        return (None, Extra::none());
    };
    let effort = object.take_if("effort", |word| Effort::parse(&word.text()?));
    let summary = object.take_string("summary");
    let older = object.take_string("generate_summary");
    let wish = ReasoningWish {
        effort,
        summary: summary.or(older),
        ..ReasoningWish::default()
    };
    let wish = (wish != ReasoningWish::default()).then_some(wish);
    (wish, object.rest())
}

fn tools(it: &mut Object<'_>, request: &mut ChatRequest) -> Result<(), ProxyError> {
    if let Some(value) = it.take("tools") {
        let elements = value.array().ok_or_else(|| wrong("tools", "an array"))?;
        for (index, element) in elements.into_iter().enumerate() {
            let place = format!("tools[{index}]");
            let tool = tool(element).ok_or_else(|| wrong(&place, "a tool with a type"))?;
            request.tools.push(tool);
        }
    }
    request.parallel_tool_calls = it.take_boolean("parallel_tool_calls");
    request.tool_choice = it.take("tool_choice").map(tool_choice);
    Ok(())
}

fn tool(value: Raw<'_>) -> Option<Tool> {
    let mut object = value.object()?;
    let kind = object.get("type").and_then(Raw::string)?;
    let kind = match kind.as_str() {
        "function" => ToolKind::Function {
            parameters: object.take("parameters").map(Raw::owned),
            strict: object.take_boolean("strict"),
        },
        "custom" => ToolKind::Custom {
            format: object.take("format").map(Raw::owned),
        },
        _ => {
            return Some(Tool::native(value.owned()));
        }
    };
    object.take_any("type");
    Some(Tool {
        kind,
        name: object.take_string("name")?,
        description: object.take_string("description"),
        cache_mark: take_cache_mark(&mut object),
        extra: object.rest(),
    })
}

fn tool_choice(value: Raw<'_>) -> ToolChoice {
    match value.text().as_deref() {
        Some("auto") => return ToolChoice::Auto,
        Some("none") => return ToolChoice::None,
        Some("required") => return ToolChoice::Required,
        _ => {}
    }
    named(value).unwrap_or_else(|| ToolChoice::Native(value.owned()))
}

fn named(value: Raw<'_>) -> Option<ToolChoice> {
    let mut choice = value.object()?;
    match choice.take_string("type")?.as_str() {
        "function" | "custom" => choice.take_string("name").map(ToolChoice::Named),
        "allowed_tools" => {
            let required = choice.take_string("mode")? == "required";
            let tools = choice.take("tools")?.array()?.into_iter();
            let names: Option<Vec<String>> = tools
                .map(|tool| match named(tool)? {
                    ToolChoice::Named(name) => Some(name),
                    _ => None,
                })
                .collect();
            Some(ToolChoice::Among {
                names: names?,
                required,
            })
        }
        _ => None,
    }
}
