//! How the model is to answer: `inferenceConfig`, `outputConfig`, `serviceTier`, and what only some makers'
//! models take (`additionalModelRequestFields`).

use super::NAME;
use super::family::Family;
use super::refusals::refusal;
use crate::types::chat::{
    ChatRequest, Effort, Extra, Inexpressible, Notes, OutputFormat, RawJson, ReasoningWish,
    Sampling, SchemaFormat,
};
use crate::wire::dialect::anthropic_messages::generation::Generation;
use crate::wire::dialect::anthropic_messages::schema;
use crate::wire::dialect::anthropic_messages::thinking::{self, Mode, Thinking};
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::{has, keep, kept};
use crate::wire::translate::Target;

const MORE: &str = "additionalModelRequestFields";

/// Most characters of a label's name and value, by Bedrock's documentation of `requestMetadata`.
const MAX_LABEL_BYTES: usize = 256;

/// Most labels of a request.
const MAX_LABELS: usize = 16;

/// Reads the settings; returns what has no name in the neutral form.
pub(super) fn read(body: &mut Object<'_>, request: &mut ChatRequest) -> Extra {
    let mut left = Extra::none();
    if let Some(mut config) = body.take_if("inferenceConfig", Raw::object) {
        request.max_output_tokens = config.take_count("maxTokens");
        request.sampling.temperature = config.take_number("temperature");
        request.sampling.top_p = config.take_number("topP");
        let words = config.take_if("stopSequences", |it| {
            let words = it.array()?.into_iter().map(Raw::string);
            words.collect::<Option<Vec<_>>>()
        });
        request.stop = words.unwrap_or_default();
        keep(&mut left, "inferenceConfig", &config.rest());
    }
    request.output_format = body.take_if("outputConfig", read_format);
    request.service_tier = body.take_if("serviceTier", |tier| {
        let mut tier = tier.object()?;
        let word = tier.take_string("type")?;
        tier.rest().is_empty().then_some(word)
    });
    request.metadata = body
        .take_if("requestMetadata", |labels| {
            let labels = labels.object()?;
            let pair = |(name, value): (&str, Raw<'_>)| Some((name.to_owned(), value.string()?));
            labels.iter().map(pair).collect::<Option<Vec<_>>>()
        })
        .unwrap_or_default();
    // What is read here stays among the members that are left: Bedrock gets it back as it was.
    if let Some(more) = body.get(MORE).and_then(Raw::object) {
        request.sampling.top_k = more.get("top_k").and_then(Raw::count);
        request.reasoning = read_thinking(&more);
    }
    left
}

fn read_format(config: Raw<'_>) -> Option<OutputFormat> {
    let mut config = config.object()?;
    let mut format = config.take("textFormat")?.object()?;
    if format.take_string("type")? != "json_schema" {
        return None;
    }
    let mut structure = format.take("structure")?.object()?;
    let mut schema = structure.take("jsonSchema")?.object()?;
    let text = schema.take_string("schema")?;
    let read = SchemaFormat {
        name: schema.take_string("name"),
        description: schema.take_string("description"),
        schema: Raw::parse(&text).ok()?.owned(),
        strict: None,
    };
    let rests = [config, format, structure, schema].map(Object::rest);
    let is_all = rests.iter().all(Extra::is_empty);
    is_all.then_some(OutputFormat::Schema(read))
}

fn read_thinking(more: &Object<'_>) -> Option<ReasoningWish> {
    let mut wish = ReasoningWish::default();
    if let Some(thinking) = more.get("thinking") {
        let thinking = thinking.object()?;
        wish.budget_tokens = thinking.get("budget_tokens").and_then(Raw::count);
        let kind = thinking.get("type").and_then(Raw::string)?;
        wish.is_adaptive = kind == "adaptive";
        if kind == "disabled" {
            wish.budget_tokens = Some(0);
        }
        return Some(wish);
    }
    let word = match more.get("reasoningConfig").and_then(Raw::object) {
        Some(config) => config.get("maxReasoningEffort")?,
        None => more.get("reasoning_effort")?,
    };
    wish.effort = Effort::parse(&word.text()?);
    wish.effort.is_some().then_some(wish)
}

/// What is decided before anything is written.
pub(super) struct Settings {
    max_tokens: Option<u64>,
    sampling: Sampling,
    thinking: Thinking,
    schema: Option<RawJson>,
    /// Stands for a form of the output that Bedrock has no member for.
    pub instruction: Option<&'static str>,
}

impl Settings {
    /// Decides for `request`; `lacks_thoughts` as Anthropic's rules of thinking ask.
    ///
    /// # Errors
    /// When the output is to be bound to a schema and the model cannot be.
    pub fn of(
        request: &ChatRequest,
        target: &Target<'_>,
        lacks_thoughts: bool,
        notes: &mut Notes,
    ) -> Result<Self, Inexpressible> {
        let family = Family::of(target.upstream_model);
        let generation = Generation::of(target.upstream_model);
        let is_own = request.dialect == NAME;
        let cap = request
            .max_output_tokens
            .unwrap_or(target.max_output_tokens);
        let mut settings = Self {
            max_tokens: request.max_output_tokens,
            sampling: request.sampling,
            thinking: Thinking::default(),
            schema: None,
            instruction: None,
        };
        if is_own {
            settings.schema = match &request.output_format {
                Some(OutputFormat::Schema(format)) => Some(format.schema.clone()),
                _ => None,
            };
            return Ok(settings);
        }
        if family.is_claude() {
            let of = Thinking::of(request, generation, cap, lacks_thoughts, notes);
            settings.thinking = of;
            settings.sampling = thinking::sampling(request, of, generation, notes);
            if let Mode::Budget(_) = of.mode {
                // The budget counts below the cap, so the cap must be said.
                settings.max_tokens = Some(cap);
            }
        } else {
            note_sampling(&request.sampling, notes);
        }
        settings.form(request, family, generation, notes)?;
        Ok(settings)
    }

    fn form(
        &mut self,
        request: &ChatRequest,
        family: Family,
        generation: Generation,
        notes: &mut Notes,
    ) -> Result<(), Inexpressible> {
        const FIELD: &str = "response_format";
        match &request.output_format {
            None | Some(OutputFormat::Text) => {}
            Some(OutputFormat::Json) => {
                notes.changed(FIELD, "an instruction stands in for it");
                self.instruction = Some("Answer with one valid JSON object and nothing else.");
            }
            Some(OutputFormat::Schema(format)) => {
                if !family.binds_schema() || (family.is_claude() && !generation.binds_schema()) {
                    return Err(refusal(FIELD, "this model cannot be bound to a schema"));
                }
                let raw = Raw::parse(format.schema.get());
                let raw = raw.map_err(|_| refusal(FIELD, "its schema is no JSON"))?;
                self.schema = Some(schema::closed(raw, FIELD, notes));
            }
        }
        Ok(())
    }

    /// Writes the settings.
    pub fn write(
        &self,
        it: &mut Members<'_>,
        request: &ChatRequest,
        target: &Target<'_>,
        notes: &mut Notes,
    ) {
        self.write_inference(it, request);
        self.write_format(it, request);
        if request.dialect != NAME {
            self.write_more(it, request, Family::of(target.upstream_model), notes);
        }
        write_service_tier(it, request, notes);
        write_labels(it, request, notes);
        if request.end_user.is_some() {
            notes.dropped("user");
        }
        if request.logprobs.is_some() {
            notes.dropped("logprobs");
        }
    }

    fn write_inference(&self, it: &mut Members<'_>, request: &ChatRequest) {
        let is_kept = request.dialect == NAME && has(&request.extra, "inferenceConfig");
        let is_silent = self.max_tokens.is_none()
            && self.sampling.temperature.is_none()
            && self.sampling.top_p.is_none()
            && request.stop.is_empty();
        if is_silent && !is_kept {
            return;
        }
        it.object("inferenceConfig", |it| {
            it.maybe_integer("maxTokens", self.max_tokens);
            it.maybe_number("temperature", self.sampling.temperature);
            it.maybe_number("topP", self.sampling.top_p);
            if !request.stop.is_empty() {
                it.array("stopSequences", |list| {
                    for word in &request.stop {
                        list.string(word);
                    }
                });
            }
            if is_kept {
                kept(it, &request.extra, "inferenceConfig");
            }
        });
    }

    fn write_format(&self, it: &mut Members<'_>, request: &ChatRequest) {
        let Some(schema) = &self.schema else { return };
        let (name, description) = match &request.output_format {
            Some(OutputFormat::Schema(format)) => {
                (format.name.as_deref(), format.description.as_deref())
            }
            _ => (None, None),
        };
        it.object("outputConfig", |it| {
            it.object("textFormat", |it| {
                it.string("type", "json_schema");
                it.object("structure", |it| {
                    it.object("jsonSchema", |it| {
                        it.string("schema", schema.get());
                        it.maybe_string("name", name);
                        it.maybe_string("description", description);
                    });
                });
            });
        });
    }

    /// What Bedrock has no member for, as each maker names it.
    fn write_more(
        &self,
        it: &mut Members<'_>,
        request: &ChatRequest,
        family: Family,
        notes: &mut Notes,
    ) {
        let mut more = JsonOut::default();
        more.object(|it| {
            if let Some(top_k) = self.sampling.top_k {
                match family {
                    Family::Claude | Family::Mistral => it.integer("top_k", top_k),
                    Family::Cohere => it.integer("k", top_k),
                    Family::Nova | Family::Nova2 => {
                        it.object("inferenceConfig", |it| it.integer("topK", top_k));
                    }
                    _ => notes.dropped("top_k"),
                }
            }
            if family.is_claude() {
                self.thinking.write(it);
                if let Some(effort) = self.thinking.effort {
                    it.object("output_config", |it| it.string("effort", effort));
                }
            } else if let Some(wish) = &request.reasoning {
                write_effort(it, wish, family, notes);
            }
        });
        let more = more.into_string();
        if more != "{}" {
            it.member(MORE).raw_text(&more);
        }
    }
}

/// How much to think, in the words of makers other than Anthropic.
fn write_effort(it: &mut Members<'_>, wish: &ReasoningWish, family: Family, notes: &mut Notes) {
    const FIELD: &str = "reasoning_effort";
    let effort = wish
        .nearest_effort()
        .or(wish.is_adaptive.then_some(Effort::Medium));
    let word = match effort {
        Some(Effort::Minimal | Effort::Low) => "low",
        Some(Effort::Medium) => "medium",
        Some(Effort::High | Effort::Xhigh | Effort::Max) => "high",
        None | Some(Effort::None) => return,
    };
    match family {
        Family::OpenAi => it.string("reasoning_effort", word),
        Family::Nova2 => it.object("reasoningConfig", |it| {
            // At `high` Nova refuses caps and sampling, which the client may have set.
            let word = if word == "high" { "medium" } else { word };
            it.string("type", "enabled");
            it.string("maxReasoningEffort", word);
        }),
        _ => return notes.dropped(FIELD),
    }
    if effort.map(Effort::as_str) != Some(word) || family == Family::Nova2 && word == "high" {
        notes.changed(FIELD, "the nearest effort that the model has");
    }
}

/// The schema of a tool without arguments.
pub(super) fn write_empty_schema(it: &mut Members<'_>) {
    it.string("type", "object");
    it.object("properties", |_| {});
}

fn note_sampling(sampling: &Sampling, notes: &mut Notes) {
    let penalties = [
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
    ];
    for (name, value) in penalties {
        if value.is_some_and(|value| value != 0.0) {
            notes.dropped(name);
        }
    }
    if sampling.seed.is_some() {
        notes.dropped("seed");
    }
}

fn write_service_tier(it: &mut Members<'_>, request: &ChatRequest, notes: &mut Notes) {
    let Some(tier) = request.service_tier.as_deref() else {
        return;
    };
    match tier {
        _ if request.dialect == NAME => {}
        "auto" | "standard" | "standard_only" => return,
        "default" | "flex" | "priority" | "reserved" => {}
        _ => return notes.dropped("service_tier"),
    }
    it.object("serviceTier", |it| it.string("type", tier));
}

/// Labels that appear in the account's invocation logs.
fn write_labels(it: &mut Members<'_>, request: &ChatRequest, notes: &mut Notes) {
    let labels = &request.metadata;
    if labels.is_empty() {
        return;
    }
    let fits = |text: &str| {
        let plain = |it: u8| it.is_ascii_alphanumeric() || b" :_@$#=/+,-.".contains(&it);
        text.len() <= MAX_LABEL_BYTES && text.bytes().all(plain)
    };
    let all_fit = labels.iter().all(|(name, value)| fits(name) && fits(value));
    if request.dialect != NAME && !(all_fit && labels.len() <= MAX_LABELS) {
        return notes.dropped("metadata");
    }
    it.object("requestMetadata", |it| {
        for (name, value) in labels {
            it.string(name, value);
        }
    });
}
