//! A client's request into neutral form.

use super::media::take_cache_mark;
use super::messages_read::{self, wrong};
use super::reasoning::NAME;
use crate::error::ProxyError;
use crate::types::Endpoint;
use crate::types::chat::{
    Block, ChatRequest, Effort, Extra, Message, OutputFormat, RawJson, ReasoningWish, Sampling,
    SchemaFormat, Speaker, Tool, ToolChoice, ToolKind,
};
use crate::wire::json_in::{Object, Raw};
use crate::wire::nested::keep;

/// Reads a body.
pub(super) fn read(endpoint: Endpoint, mut it: Object<'_>) -> Result<ChatRequest, ProxyError> {
    let mut request = ChatRequest {
        dialect: NAME,
        ..ChatRequest::default()
    };
    it.take_any("model");
    request.messages = if endpoint == Endpoint::Completions {
        vec![prompt(it.take("prompt"))?]
    } else {
        let messages = it.take("messages");
        messages_read::read(messages.ok_or_else(|| wrong("messages", "an array of messages"))?)?
    };
    tools(&mut it, &mut request)?;
    let max_tokens = it.take_count("max_tokens");
    request.max_output_tokens = it.take_count("max_completion_tokens").or(max_tokens);
    request.sampling = Sampling {
        temperature: it.take_number("temperature"),
        top_p: it.take_number("top_p"),
        top_k: it.take_count("top_k"),
        frequency_penalty: it.take_number("frequency_penalty"),
        presence_penalty: it.take_number("presence_penalty"),
        seed: it.take_if("seed", Raw::integer),
    };
    request.stop = stop(&mut it)?;
    request.choices = it.take_if("n", |n| u32::try_from(n.count()?).ok());
    request.logprobs = logprobs(endpoint, &mut it);
    let (format, more_format) = output_format(&mut it)?;
    request.output_format = format;
    request.reasoning = reasoning(&mut it);
    request.service_tier = it.take_string("service_tier");
    let user = it.take_string("user");
    request.end_user = user.or_else(|| it.get("safety_identifier")?.string());
    request.metadata = it.take_if("metadata", labels).unwrap_or_default();
    stream(&mut it, &mut request);
    request.extra = it.rest();
    keep(&mut request.extra, "response_format", &more_format);
    Ok(request)
}

/// The prompt of a legacy completion as a user's message.
fn prompt(value: Option<Raw<'_>>) -> Result<Message, ProxyError> {
    const ALLOWED: &str = "a string, or an array of one string, for a model that chats";
    let text = value.and_then(|value| match value.array() {
        Some(elements) if elements.len() == 1 => elements[0].string(),
        Some(_) => None,
        None => value.string(),
    });
    let text = text.ok_or_else(|| wrong("prompt", ALLOWED))?;
    Ok(Message::new(Speaker::User, vec![Block::text(text)]))
}

fn stop(it: &mut Object<'_>) -> Result<Vec<String>, ProxyError> {
    let Some(value) = it.take("stop") else {
        return Ok(Vec::new());
    };
    let words = match (value.string(), value.array()) {
        (Some(word), _) => Some(vec![word]),
        (None, Some(words)) => words.into_iter().map(Raw::string).collect(),
        (None, None) => None,
    };
    words.ok_or_else(|| wrong("stop", "a string, an array of strings, or null"))
}

fn logprobs(endpoint: Endpoint, it: &mut Object<'_>) -> Option<u32> {
    let narrow = |count| u32::try_from(count).unwrap_or(u32::MAX);
    if endpoint == Endpoint::Completions {
        return it.take_count("logprobs").map(narrow);
    }
    if it.take_boolean("logprobs")? {
        return Some(it.take_count("top_logprobs").map_or(0, narrow));
    }
    None
}

fn stream(it: &mut Object<'_>, request: &mut ChatRequest) {
    request.stream = it.take_boolean("stream").unwrap_or(false);
    let options = it.take_if("stream_options", Raw::object);
    if let Some(mut options) = options {
        request.include_usage = options.take_boolean("include_usage").unwrap_or(false);
    }
}

/// `metadata`, if all of it is text.
pub(in crate::wire) fn labels(value: Raw<'_>) -> Option<Vec<(String, String)>> {
    let object = value.object()?;
    let pairs = object.iter();
    pairs
        .map(|(name, value)| Some((name.to_owned(), value.string()?)))
        .collect()
}

fn reasoning(it: &mut Object<'_>) -> Option<ReasoningWish> {
    let mut wish = ReasoningWish {
        effort: it.take_if("reasoning_effort", |word| Effort::parse(&word.text()?)),
        ..ReasoningWish::default()
    };
    // OpenRouter's form.
    let router = it.take_if("reasoning", |value| {
        let mut object = value.object()?;
        let effort = object.take_if("effort", |word| Effort::parse(&word.text()?));
        let budget_tokens = object.take_count("max_tokens");
        let enabled = object.take_boolean("enabled");
        object
            .rest()
            .is_empty()
            .then_some((effort, budget_tokens, enabled))
    });
    if let Some((effort, budget_tokens, enabled)) = router {
        wish.effort = wish.effort.or(effort);
        wish.budget_tokens = budget_tokens;
        wish.is_adaptive = enabled == Some(true) && effort.is_none() && budget_tokens.is_none();
        if enabled == Some(false) {
            wish.effort = Some(Effort::None);
        }
    }
    // Anthropic's, as LiteLLM's clients write it.
    let thinking = it.take_if("thinking", |value| {
        let mut object = value.object()?;
        let kind = object.take_string("type")?;
        let budget_tokens = object.take_count("budget_tokens");
        let known = object.rest().is_empty();
        let known = known && matches!(kind.as_str(), "enabled" | "disabled" | "adaptive");
        known.then_some((kind, budget_tokens))
    });
    match thinking {
        Some((kind, _)) if kind == "disabled" => wish.budget_tokens = Some(0),
        Some((_, Some(tokens))) => wish.budget_tokens = Some(tokens),
        Some((_, None)) => wish.is_adaptive = true,
        None => {}
    }
    (wish != ReasoningWish::default()).then_some(wish)
}

/// `response_format`, and what else stands there.
fn output_format(it: &mut Object<'_>) -> Result<(Option<OutputFormat>, Extra), ProxyError> {
    const SCHEMA: &str = "response_format.json_schema";
    let Some(value) = it.take("response_format") else {
        return Ok((None, Extra::none()));
    };
    let mut format = value
        .object()
        .ok_or_else(|| wrong("response_format", "an object"))?;
    let kind = format.take_string("type").unwrap_or_default();
    let mut inner = Extra::none();
    let read = match kind.as_str() {
        "text" => OutputFormat::Text,
        "json_object" => OutputFormat::Json,
        "json_schema" => {
            let named = format.take("json_schema").and_then(Raw::object);
            let mut named = named.ok_or_else(|| wrong(SCHEMA, "an object"))?;
            let schema = schema_format(&mut named);
            inner = named.rest();
            OutputFormat::Schema(schema)
        }
        _ => {
            let allowed = "`text`, `json_object` or `json_schema`";
            return Err(wrong("response_format.type", allowed));
        }
    };
    let mut rest = format.rest();
    keep(&mut rest, "json_schema", &inner);
    Ok((Some(read), rest))
}

/// `name`, `description`, `schema` and `strict`.
pub(in crate::wire) fn schema_format(named: &mut Object<'_>) -> SchemaFormat {
    let schema = named.take("schema");
    SchemaFormat {
        name: named.take_string("name"),
        description: named.take_string("description"),
        schema: schema.map_or_else(|| RawJson::new("{}"), Raw::owned),
        strict: named.take_boolean("strict"),
    }
}

fn tools(it: &mut Object<'_>, request: &mut ChatRequest) -> Result<(), ProxyError> {
    if let Some(value) = it.take("tools") {
        let elements = value.array().ok_or_else(|| wrong("tools", "an array"))?;
        for (index, element) in elements.into_iter().enumerate() {
            let tool = tool(element)
                .ok_or_else(|| wrong(&format!("tools[{index}]"), "a function with a name"))?;
            request.tools.push(tool);
        }
    }
    // The members before `tools`, which some clients still write.
    if let Some(functions) = it.take_if("functions", Raw::array) {
        let functions = functions.into_iter().filter_map(Raw::object);
        request.tools.extend(functions.filter_map(old_function));
    }
    request.parallel_tool_calls = it.take_boolean("parallel_tool_calls");
    let choice = it.take("tool_choice").map(tool_choice);
    let legacy = it.take("function_call").map(tool_choice);
    request.tool_choice = choice.or(legacy);
    Ok(())
}

fn tool(value: Raw<'_>) -> Option<Tool> {
    let mut object = value.object()?;
    let kind = object.get("type").and_then(Raw::string);
    let (member, mut tool) = match kind.as_deref() {
        Some("function") => ("function", function(object.take("function")?.object()?)?),
        Some("custom") => {
            let mut custom = object.take("custom")?.object()?;
            let tool = Tool {
                name: custom.take_string("name")?,
                description: custom.take_string("description"),
                kind: ToolKind::Custom {
                    format: custom.take("format").map(Raw::owned),
                },
                cache_mark: None,
                extra: custom.rest(),
            };
            ("custom", tool)
        }
        _ => return Some(Tool::native(value.owned())),
    };
    object.take_any("type");
    tool.cache_mark = tool.cache_mark.or(take_cache_mark(&mut object));
    let inner = std::mem::replace(&mut tool.extra, object.rest());
    keep(&mut tool.extra, member, &inner);
    Some(tool)
}

fn function(mut function: Object<'_>) -> Option<Tool> {
    Some(Tool {
        name: function.take_string("name")?,
        description: function.take_string("description"),
        kind: ToolKind::Function {
            parameters: function.take("parameters").map(Raw::owned),
            strict: function.take_boolean("strict"),
        },
        cache_mark: take_cache_mark(&mut function),
        extra: function.rest(),
    })
}

/// A function that stands in no tool.
fn old_function(object: Object<'_>) -> Option<Tool> {
    let mut tool = function(object)?;
    let inner = std::mem::take(&mut tool.extra);
    keep(&mut tool.extra, "function", &inner);
    Some(tool)
}

fn tool_choice(value: Raw<'_>) -> ToolChoice {
    match value.text().as_deref() {
        Some("auto") => return ToolChoice::Auto,
        Some("none") => return ToolChoice::None,
        Some("required" | "any") => return ToolChoice::Required,
        _ => {}
    }
    named_choice(value).unwrap_or_else(|| ToolChoice::Native(value.owned()))
}

fn named_choice(value: Raw<'_>) -> Option<ToolChoice> {
    let mut choice = value.object()?;
    let kind = choice.take_string("type");
    match kind.as_deref() {
        // `function_call` has no type.
        None => choice.take_string("name").map(ToolChoice::Named),
        Some(kind @ ("function" | "custom")) => {
            let mut named = choice.take(kind)?.object()?;
            named.take_string("name").map(ToolChoice::Named)
        }
        Some("allowed_tools") => {
            let mut allowed = choice.take("allowed_tools")?.object()?;
            let required = allowed.take_string("mode")? == "required";
            let tools = allowed.take("tools")?.array()?.into_iter();
            let names: Option<Vec<String>> = tools
                .map(|tool| match named_choice(tool)? {
                    ToolChoice::Named(name) => Some(name),
                    _ => None,
                })
                .collect();
            Some(ToolChoice::Among {
                names: names?,
                required,
            })
        }
        Some(_) => None,
    }
}
