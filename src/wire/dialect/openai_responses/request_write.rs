//! A request in neutral form as the body for an upstream that speaks the Responses API.

use bytes::Bytes;

use super::request_read::INSTRUCTIONS;
use super::state::with_seals;
use super::{NAME, items_write};
use crate::types::chat::{
    BlockBody, ChatRequest, Effort, Extra, Inexpressible, Message, Notes, OutputFormat, Speaker,
    Tool, ToolChoice, ToolInput, ToolKind,
};
use crate::wire::dialect::openai_chat::neutral::request_write::{SHARED, thinks, write_schema};
use crate::wire::foreign;
use crate::wire::json_in::Raw;
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::{has, kept, others, rest_of};
use crate::wire::translate::Target;

/// What is written for one request.
pub(super) struct Writing<'w> {
    pub request: &'w ChatRequest,
    pub notes: &'w mut Notes,
    /// The client wrote this dialect, too: unknown members and native blocks may be written.
    pub own: bool,
}

/// Refuses what the dialect cannot say.
pub(super) fn refuse(
    field: impl Into<std::borrow::Cow<'static, str>>,
    why: &'static str,
) -> Inexpressible {
    Inexpressible {
        field: field.into(),
        dialect: NAME,
        why: why.into(),
    }
}

/// The body.
pub(super) fn write(
    request: &ChatRequest,
    target: &Target<'_>,
    notes: &mut Notes,
) -> Result<Bytes, Inexpressible> {
    let own = request.dialect == NAME;
    let mut writing = Writing {
        request,
        notes,
        own,
    };
    writing.check()?;
    let mut json = JsonOut::with_capacity(2048);
    let mut result = Ok(());
    json.object(|it| result = writing.body(it, target));
    result.map(|()| json.finish())
}

impl Writing<'_> {
    /// True for the call of a custom tool.
    pub fn is_custom_call(&self, id: &str) -> bool {
        let blocks = self
            .request
            .messages
            .iter()
            .flat_map(|message| &message.blocks);
        let mut calls = blocks.filter_map(|block| match &block.body {
            BlockBody::ToolCall(call) => Some(call),
            _ => None,
        });
        calls.any(|call| call.id == id && matches!(call.input, ToolInput::Text(_)))
    }

    fn is_openai(&self) -> bool {
        self.request.dialect.starts_with("openai")
    }

    fn check(&mut self) -> Result<(), Inexpressible> {
        let request = self.request;
        if !request.stop.is_empty() {
            return Err(refuse("stop", "it has no stop sequences; leave `stop` out"));
        }
        if request.choices.is_some_and(|choices| choices > 1) {
            return Err(refuse("n", "it gives one answer; ask for one"));
        }
        if self.own {
            return Ok(());
        }
        for (index, tool) in request.tools.iter().enumerate() {
            if matches!(tool.kind, ToolKind::Native(_)) {
                let why = "a tool that the provider runs; only its own models have it";
                return Err(refuse(format!("tools[{index}]"), why));
            }
        }
        if matches!(request.tool_choice, Some(ToolChoice::Native(_))) {
            return Err(refuse(
                "tool_choice",
                "only its own provider knows this choice",
            ));
        }
        let sampling = &request.sampling;
        let unknown = [
            ("top_k", sampling.top_k.is_some()),
            ("frequency_penalty", sampling.frequency_penalty.is_some()),
            ("presence_penalty", sampling.presence_penalty.is_some()),
            ("seed", sampling.seed.is_some()),
        ];
        for (name, _) in unknown.iter().filter(|(_, asked)| *asked) {
            self.notes.dropped(*name);
        }
        let shared: &[&str] = if self.is_openai() { &SHARED } else { &[] };
        foreign::leave_out(request, NAME, shared, self.notes)
    }

    fn body(&mut self, it: &mut Members<'_>, target: &Target<'_>) -> Result<(), Inexpressible> {
        let request = self.request;
        it.string("model", target.upstream_model);
        let (instructions, messages) = split_instructions(&request.messages, self.own);
        it.maybe_string("instructions", instructions);
        let mut result = Ok(());
        it.array("input", |list| {
            result = items_write::write(list, messages, self);
        });
        result?;
        self.tools(it);
        it.maybe_integer("max_output_tokens", request.max_output_tokens);
        it.maybe_number("temperature", request.sampling.temperature);
        it.maybe_number("top_p", request.sampling.top_p);
        self.text(it);
        self.reasoning(it);
        self.includes(it, target);
        self.attribution(it);
        if target.stream {
            it.boolean("stream", true);
        }
        // What is kept is kept by this proxy.
        it.boolean("store", false);
        for (name, value) in request.extra.iter() {
            let written = matches!(name, "text" | "reasoning");
            let sealed = (name == "include" && thinks(target.upstream_model))
                .then(|| with_seals(value.get()))
                .flatten();
            if let (Some(sealed), true) = (sealed, self.own) {
                it.member(name).raw_text(&sealed);
            } else if (self.own && !written) || (self.is_openai() && SHARED.contains(&name)) {
                it.raw(name, value);
            }
        }
        Ok(())
    }

    /// What stood beside the named members of an inner object.
    fn rest_of(&self, name: &str) -> Option<Extra> {
        rest_of(&self.request.extra, name).filter(|_| self.own)
    }

    fn text(&self, it: &mut Members<'_>) {
        let rest = self.rest_of("text");
        if self.request.output_format.is_none() && rest.is_none() {
            return;
        }
        it.object("text", |it| {
            if let Some(format) = &self.request.output_format {
                it.object("format", |it| {
                    write_format(it, format);
                    if let Some(rest) = &rest {
                        kept(it, rest, "format");
                    }
                });
            }
            if let Some(rest) = &rest {
                others(it, rest, &["format"]);
            }
        });
    }

    fn reasoning(&mut self, it: &mut Members<'_>) {
        let wish = self.request.reasoning.clone().unwrap_or_default();
        let mut effort = wish.effort.map(Effort::as_str);
        if !self.own {
            if wish.effort == Some(Effort::Max) {
                let what = "the effort is `xhigh`, the most there is";
                self.notes.changed("reasoning", what);
                effort = Some("xhigh");
            } else if wish.effort.is_none() && wish.is_on() {
                effort = wish.nearest_effort().map(Effort::as_str);
                let what = "the budget became the nearest effort";
                self.notes.changed("reasoning", what);
            } else if wish.effort.is_none() && wish.budget_tokens == Some(0) {
                let what = "left to the model's default";
                self.notes.changed("reasoning", what);
            }
        }
        let rest = self.rest_of("reasoning");
        if effort.is_none() && wish.summary.is_none() && rest.is_none() {
            return;
        }
        it.object("reasoning", |it| {
            it.maybe_string("effort", effort);
            it.maybe_string("summary", wish.summary.as_deref());
            if let Some(rest) = rest {
                it.extra(&rest);
            }
        });
    }

    fn includes(&self, it: &mut Members<'_>, target: &Target<'_>) {
        let request = self.request;
        if let Some(alternatives) = request.logprobs {
            it.integer("top_logprobs", alternatives);
        }
        let own_words = self.own && request.extra.iter().any(|(name, _)| name == "include");
        // Thoughts come back only sealed, as nothing is stored; models that do not think refuse it.
        let seals = thinks(target.upstream_model);
        if own_words || (request.logprobs.is_none() && !seals) {
            return;
        }
        it.array("include", |list| {
            if request.logprobs.is_some() {
                list.string("message.output_text.logprobs");
            }
            if seals {
                list.string("reasoning.encrypted_content");
            }
        });
    }

    /// Who asks, at which service, with which labels.
    fn attribution(&mut self, it: &mut Members<'_>) {
        let request = self.request;
        if let Some(tier) = &request.service_tier {
            if self.is_openai() {
                it.string("service_tier", tier);
            } else {
                self.notes.dropped("service_tier");
            }
        }
        let named_otherwise = self.is_openai()
            && request.extra.iter().any(|(name, value)| {
                let said = Raw::parse(value.get()).ok().and_then(Raw::string);
                name == "safety_identifier" && said == request.end_user
            });
        if !named_otherwise {
            it.maybe_string("user", request.end_user.as_deref());
        }
        if !request.metadata.is_empty() {
            it.object("metadata", |it| {
                for (name, value) in &request.metadata {
                    it.string(name, value);
                }
            });
        }
    }

    fn tools(&mut self, it: &mut Members<'_>) {
        let request = self.request;
        if request.tools.is_empty() && !self.own {
            return;
        }
        if !request.tools.is_empty() {
            it.array("tools", |list| {
                for tool in &request.tools {
                    self.tool(list, tool);
                }
            });
        }
        if let Some(choice) = &request.tool_choice {
            self.tool_choice(it.member("tool_choice"), choice);
        }
        it.maybe_boolean("parallel_tool_calls", request.parallel_tool_calls);
    }

    fn tool(&mut self, list: &mut JsonOut, tool: &Tool) {
        if !self.own {
            let place = || format!("tools.{}", tool.name);
            foreign::note_extra(&tool.extra, place, self.notes);
        }
        if tool.cache_mark.is_some() {
            self.notes.dropped("cache_control");
        }
        let own = self.own;
        list_tool(list, tool, own);
    }

    fn tool_choice(&self, json: &mut JsonOut, choice: &ToolChoice) {
        match choice {
            ToolChoice::Auto => json.string("auto"),
            ToolChoice::None => json.string("none"),
            ToolChoice::Required => json.string("required"),
            ToolChoice::Named(name) => self.named(json, name),
            ToolChoice::Among { names, required } => json.object(|it| {
                it.string("type", "allowed_tools");
                it.string("mode", if *required { "required" } else { "auto" });
                it.array("tools", |list| {
                    for name in names {
                        self.named(list, name);
                    }
                });
            }),
            ToolChoice::Native(raw) => json.raw(raw),
        }
    }

    fn named(&self, json: &mut JsonOut, name: &str) {
        let is_custom =
            |tool: &Tool| tool.name == name && matches!(tool.kind, ToolKind::Custom { .. });
        let is_custom = self.request.tools.iter().any(is_custom);
        json.object(|it| {
            it.string("type", if is_custom { "custom" } else { "function" });
            it.string("name", name);
        });
    }
}

fn list_tool(list: &mut JsonOut, tool: &Tool, own: bool) {
    let (kind, parameters, strict, format) = match &tool.kind {
        ToolKind::Native(raw) => return list.raw(raw),
        ToolKind::Function { parameters, strict } => {
            ("function", parameters.as_ref(), *strict, None)
        }
        ToolKind::Custom { format } => ("custom", None, None, format.as_ref()),
    };
    list.object(|it| {
        it.string("type", kind);
        it.string("name", &tool.name);
        it.maybe_string("description", tool.description.as_deref());
        match parameters {
            Some(parameters) => it.raw("parameters", parameters),
            None if kind == "function" && !own => it.object("parameters", |it| {
                it.string("type", "object");
                it.object("properties", |_| {});
            }),
            None => {}
        }
        match strict {
            Some(strict) => it.boolean("strict", strict),
            // Here the default is strict, elsewhere it is not.
            None if kind == "function" && !own => it.boolean("strict", false),
            None => {}
        }
        it.maybe_raw("format", format);
        if own {
            it.extra(&tool.extra);
        }
    });
}

/// Instructions at the beginning, if they are one plain text.
fn split_instructions(messages: &[Message], own: bool) -> (Option<&str>, &[Message]) {
    if let Some((first, rest)) = messages.split_first()
        && first.speaker == Speaker::System
        && (has(&first.extra, INSTRUCTIONS) || (!own && first.extra.is_empty()))
        && let [block] = first.blocks.as_slice()
        && let BlockBody::Text { text, .. } = &block.body
        && block.extra.is_empty()
        && block.cache_mark.is_none()
        && !rest.is_empty()
    {
        return (Some(text), rest);
    }
    (None, messages)
}

fn write_format(it: &mut Members<'_>, format: &OutputFormat) {
    match format {
        OutputFormat::Text => it.string("type", "text"),
        OutputFormat::Json => it.string("type", "json_object"),
        OutputFormat::Schema(schema) => {
            it.string("type", "json_schema");
            write_schema(it, schema);
        }
    }
}
