//! A request in neutral form as the body for an upstream that speaks Chat Completions.

use bytes::Bytes;

use super::media::write_cache_mark;
use super::messages_write;
use super::reasoning::NAME;
use crate::types::chat::{
    ChatRequest, Effort, Extra, Inexpressible, Notes, OutputFormat, SchemaFormat, Tool, ToolChoice,
    ToolKind,
};
use crate::wire::foreign;
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::{kept, others, rest_of};
use crate::wire::translate::Target;

/// True for OpenAI's reasoning models, by the upstream's name. They alone take the output cap by its newer
/// name and return encrypted thoughts.
pub(in crate::wire) fn thinks(upstream_model: &str) -> bool {
    let name = upstream_model.rsplit('/').next().unwrap_or(upstream_model);
    let mut letters = name.bytes();
    let is_o_series = letters.next() == Some(b'o') && letters.next().is_some_and(is_digit);
    let generation = name.strip_prefix("gpt-").map(|rest| {
        let digits = rest.bytes().take_while(|byte| is_digit(*byte)).count();
        rest[..digits].parse().unwrap_or(0_u32)
    });
    is_o_series || generation.is_some_and(|generation| generation >= 5)
}

const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// Members of OpenAI's other dialect that have the same name and meaning here.
pub(in crate::wire) const SHARED: [&str; 3] = [
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
];

/// What is written for one request.
pub(super) struct Writing<'w> {
    pub request: &'w ChatRequest,
    pub notes: &'w mut Notes,
    /// The client wrote this dialect, too: unknown members and native blocks may be written.
    pub own: bool,
    /// `cache_control` means something to the model behind.
    pub marks: bool,
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
        marks: own
            || target
                .upstream_model
                .to_ascii_lowercase()
                .contains("claude"),
    };
    writing.check()?;
    let mut json = JsonOut::with_capacity(2048);
    let mut result = Ok(());
    json.object(|it| result = writing.body(it, target));
    result.map(|()| json.finish())
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

impl Writing<'_> {
    fn check(&mut self) -> Result<(), Inexpressible> {
        for (index, tool) in self.request.tools.iter().enumerate() {
            if !self.own && matches!(tool.kind, ToolKind::Native(_)) {
                let why = "a tool that the provider runs; only its own models have it";
                return Err(refuse(format!("tools[{index}]"), why));
            }
        }
        if !self.own && matches!(self.request.tool_choice, Some(ToolChoice::Native(_))) {
            return Err(refuse(
                "tool_choice",
                "only its own provider knows this choice",
            ));
        }
        if self.own {
            return Ok(());
        }
        let shared: &[&str] = if self.is_openai() { &SHARED } else { &[] };
        foreign::leave_out(self.request, NAME, shared, self.notes)
    }

    fn is_openai(&self) -> bool {
        self.request.dialect.starts_with("openai")
    }

    fn body(&mut self, it: &mut Members<'_>, target: &Target<'_>) -> Result<(), Inexpressible> {
        let request = self.request;
        it.string("model", target.upstream_model);
        let mut result = Ok(());
        it.array("messages", |list| {
            result = messages_write::write(list, self);
        });
        result?;
        self.tools(it);
        let cap = if thinks(target.upstream_model) {
            "max_completion_tokens"
        } else {
            "max_tokens"
        };
        it.maybe_integer(cap, request.max_output_tokens);
        self.sampling(it);
        if !request.stop.is_empty() {
            it.array("stop", |list| {
                for word in &request.stop {
                    list.string(word);
                }
            });
        }
        it.maybe_integer("n", request.choices);
        if let Some(alternatives) = request.logprobs {
            it.boolean("logprobs", true);
            if alternatives > 0 {
                it.integer("top_logprobs", alternatives);
            }
        }
        if let Some(format) = &request.output_format {
            let more = self.own.then_some(&request.extra);
            it.object("response_format", |it| output_format(it, format, more));
        }
        self.reasoning(it);
        self.attribution(it);
        if target.stream {
            it.boolean("stream", true);
            if target.ask_stream_usage {
                it.object("stream_options", |it| it.boolean("include_usage", true));
            }
        }
        if self.own {
            others(it, &request.extra, &["response_format"]);
        } else if self.is_openai() {
            let shared = request.extra.iter();
            for (name, value) in shared.filter(|(name, _)| SHARED.contains(name)) {
                it.raw(name, value);
            }
        }
        Ok(())
    }

    fn sampling(&mut self, it: &mut Members<'_>) {
        let sampling = &self.request.sampling;
        it.maybe_number("temperature", sampling.temperature);
        it.maybe_number("top_p", sampling.top_p);
        if self.own {
            it.maybe_integer("top_k", sampling.top_k);
        } else if sampling.top_k.is_some() {
            self.notes.dropped("top_k");
        }
        it.maybe_number("frequency_penalty", sampling.frequency_penalty);
        it.maybe_number("presence_penalty", sampling.presence_penalty);
        it.maybe_integer("seed", sampling.seed);
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
                let said = crate::wire::json_in::Raw::parse(value.get()).ok();
                let said = said.and_then(crate::wire::json_in::Raw::string);
                name == "safety_identifier" && said == request.end_user
            });
        if !named_otherwise {
            it.maybe_string("user", request.end_user.as_deref());
        }
        if request.metadata.is_empty() {
            return;
        }
        if self.own {
            it.object("metadata", |it| {
                for (name, value) in &request.metadata {
                    it.string(name, value);
                }
            });
        } else {
            // OpenAI takes them only for answers that it stores.
            self.notes.dropped("metadata");
        }
    }

    fn reasoning(&mut self, it: &mut Members<'_>) {
        let Some(wish) = &self.request.reasoning else {
            return;
        };
        if self.own && (wish.budget_tokens.is_some() || wish.is_adaptive) {
            it.object("reasoning", |it| {
                it.maybe_string("effort", wish.effort.map(Effort::as_str));
                it.maybe_integer("max_tokens", wish.budget_tokens);
                if wish.is_adaptive {
                    it.boolean("enabled", true);
                }
            });
            return;
        }
        if wish.summary.is_some() {
            self.notes.dropped("reasoning.summary");
        }
        match wish.effort {
            Some(Effort::Max) if !self.own => {
                self.notes
                    .changed("reasoning", "the effort is `xhigh`, the most there is");
                it.string("reasoning_effort", "xhigh");
            }
            Some(effort) => it.string("reasoning_effort", effort.as_str()),
            None if wish.is_on() => match wish.nearest_effort() {
                Some(effort) => {
                    self.notes
                        .changed("reasoning", "the budget became the nearest effort");
                    it.string("reasoning_effort", effort.as_str());
                }
                None => self
                    .notes
                    .changed("reasoning", "how much is left to the model"),
            },
            // Models that do not think refuse the member, and so do some that always do.
            None if wish.budget_tokens == Some(0) => {
                self.notes
                    .changed("reasoning", "left to the model's default");
            }
            None => {}
        }
    }

    fn tools(&mut self, it: &mut Members<'_>) {
        let request = self.request;
        let among = match &request.tool_choice {
            Some(ToolChoice::Among { names, .. })
                if !self.own && request.dialect != "openai_responses" =>
            {
                self.notes
                    .changed("tool_choice", "the other tools are left out");
                Some(names)
            }
            _ => None,
        };
        let offered = |tool: &&Tool| among.is_none_or(|names| names.contains(&tool.name));
        let tools: Vec<&Tool> = request.tools.iter().filter(offered).collect();
        if tools.is_empty() && !self.own {
            return;
        }
        if !tools.is_empty() {
            it.array("tools", |list| {
                for tool in &tools {
                    self.tool(list, tool);
                }
            });
        }
        if let Some(choice) = &request.tool_choice {
            match choice {
                ToolChoice::Among { required, .. } if among.is_some() => {
                    it.string("tool_choice", if *required { "required" } else { "auto" });
                }
                choice => self.tool_choice(it.member("tool_choice"), choice),
            }
        }
        it.maybe_boolean("parallel_tool_calls", request.parallel_tool_calls);
    }

    fn tool(&mut self, list: &mut JsonOut, tool: &Tool) {
        let (own, marks) = (self.own, self.marks);
        if !own {
            let place = || format!("tools.{}", tool.name);
            foreign::note_extra(&tool.extra, place, self.notes);
        }
        if tool.cache_mark.is_some() && !marks {
            self.notes.dropped("cache_control");
        }
        let about = |it: &mut Members<'_>| {
            it.string("name", &tool.name);
            it.maybe_string("description", tool.description.as_deref());
        };
        if let ToolKind::Native(raw) = &tool.kind {
            return list.raw(raw);
        }
        list.object(|it| {
            if let ToolKind::Custom { format } = &tool.kind {
                it.string("type", "custom");
                it.object("custom", |it| {
                    about(it);
                    it.maybe_raw("format", format.as_ref());
                    if own {
                        kept(it, &tool.extra, "custom");
                    }
                });
            } else if let ToolKind::Function { parameters, strict } = &tool.kind {
                it.string("type", "function");
                it.object("function", |it| {
                    about(it);
                    it.maybe_raw("parameters", parameters.as_ref());
                    it.maybe_boolean("strict", *strict);
                    if own {
                        kept(it, &tool.extra, "function");
                    }
                });
            }
            if let Some(mark) = tool.cache_mark.filter(|_| marks) {
                write_cache_mark(it, mark);
            }
            if own {
                others(it, &tool.extra, &["function", "custom"]);
            }
        });
    }

    fn tool_choice(&self, json: &mut JsonOut, choice: &ToolChoice) {
        match choice {
            ToolChoice::Auto => json.string("auto"),
            ToolChoice::None => json.string("none"),
            ToolChoice::Required => json.string("required"),
            ToolChoice::Named(name) => self.named(json, name),
            ToolChoice::Among { names, required } => json.object(|it| {
                it.string("type", "allowed_tools");
                it.object("allowed_tools", |it| {
                    it.string("mode", if *required { "required" } else { "auto" });
                    it.array("tools", |list| {
                        for name in names {
                            self.named(list, name);
                        }
                    });
                });
            }),
            ToolChoice::Native(raw) => json.raw(raw),
        }
    }

    fn named(&self, json: &mut JsonOut, name: &str) {
        let is_custom = self
            .request
            .tools
            .iter()
            .any(|tool| tool.name == name && matches!(tool.kind, ToolKind::Custom { .. }));
        let kind = if is_custom { "custom" } else { "function" };
        json.object(|it| {
            it.string("type", kind);
            it.object(kind, |it| it.string("name", name));
        });
    }
}

/// `response_format`, with what `more` has kept of it.
fn output_format(it: &mut Members<'_>, format: &OutputFormat, more: Option<&Extra>) {
    let rest = more.and_then(|more| rest_of(more, "response_format"));
    match format {
        OutputFormat::Text => it.string("type", "text"),
        OutputFormat::Json => it.string("type", "json_object"),
        OutputFormat::Schema(schema) => {
            it.string("type", "json_schema");
            it.object("json_schema", |it| {
                write_schema(it, schema);
                if let Some(rest) = &rest {
                    kept(it, rest, "json_schema");
                }
            });
        }
    }
    if let Some(rest) = &rest {
        others(it, rest, &["json_schema"]);
    }
}

/// `name`, `description`, `schema` and `strict`.
pub(in crate::wire) fn write_schema(it: &mut Members<'_>, schema: &SchemaFormat) {
    it.string("name", schema.name.as_deref().unwrap_or("answer"));
    it.maybe_string("description", schema.description.as_deref());
    it.raw("schema", &schema.schema);
    it.maybe_boolean("strict", schema.strict);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_has_the_name_that_the_model_knows() {
        for newer in [
            "o1",
            "o3-mini",
            "gpt-5",
            "gpt-5.2-pro",
            "openai/o4-mini",
            "gpt-10",
        ] {
            assert!(thinks(newer), "{newer}");
        }
        for older in [
            "gpt-4o",
            "gpt-oss-120b",
            "gpt-3.5-turbo",
            "openchat",
            "olmo-2",
            "mistral-large",
            "",
        ] {
            assert!(!thinks(older), "{older}");
        }
    }
}
