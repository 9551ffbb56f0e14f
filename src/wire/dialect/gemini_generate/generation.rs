//! `generationConfig`: sampling, caps, the form of the output, thinking.

use super::NAME;
use super::members::{count, integer, number, take_as};
use super::model::Generation;
use super::schema::to_json_schema;
use crate::types::chat::{
    ChatRequest, Effort, Extra, Notes, OutputFormat, ReasoningWish, Sampling, SchemaFormat,
};
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::Members;
use crate::wire::nested::{has, keep, kept, others};
use crate::wire::translate::Target;

const CONFIG: &str = "generationConfig";
const THINKING: &str = "thinkingConfig";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// Least thinking of the Pro models before Gemini 3, which always think.
const MIN_PRO_BUDGET: u64 = 128;

/// Takes `generationConfig` out of `body`; returns what has no name in the neutral form.
pub(super) fn read(body: &mut Object<'_>, request: &mut ChatRequest) -> Extra {
    let mut left = Extra::none();
    let Some(mut config) = take_as(body, CONFIG, Raw::object) else {
        return left;
    };
    let it = &mut config;
    let sampling = &mut request.sampling;
    sampling.temperature = take_as(it, "temperature", number);
    sampling.top_p = take_as(it, "topP", number);
    sampling.top_k = take_as(it, "topK", count);
    sampling.presence_penalty = take_as(it, "presencePenalty", number);
    sampling.frequency_penalty = take_as(it, "frequencyPenalty", number);
    sampling.seed = take_as(it, "seed", integer);
    request.max_output_tokens = take_as(it, "maxOutputTokens", count);
    request.choices = take_as(it, "candidateCount", narrow);
    request.stop = take_as(it, "stopSequences", |stop| {
        stop.array()?.into_iter().map(Raw::string).collect()
    })
    .unwrap_or_default();
    if take_as(it, "responseLogprobs", Raw::boolean) == Some(true) {
        request.logprobs = Some(take_as(it, "logprobs", narrow).unwrap_or(0));
    }
    request.output_format = read_format(it);
    let thinking = take_as(it, THINKING, Raw::object).map(read_thinking);
    let mut rest = std::mem::take(it).rest();
    if let Some((wish, unknown)) = thinking {
        request.reasoning = Some(wish);
        keep(&mut rest, THINKING, &unknown);
    }
    keep(&mut left, CONFIG, &rest);
    left
}

fn narrow(raw: Raw<'_>) -> Option<u32> {
    count(raw)?.try_into().ok()
}

/// The form of the output. The `OpenAPI` form of a schema stays beside what it was read into.
fn read_format(config: &mut Object<'_>) -> Option<OutputFormat> {
    let wanted = |raw: Raw<'_>| match raw.text().as_deref() {
        Some(JSON) => Some(true),
        Some(TEXT) => Some(false),
        _ => None,
    };
    if !take_as(config, "responseMimeType", wanted)? {
        return Some(OutputFormat::Text);
    }
    let schema = take_as(config, "responseJsonSchema", |it| Some(it.owned()));
    let openapi = config.get("responseSchema").map(to_json_schema);
    let Some(schema) = schema.or(openapi) else {
        return Some(OutputFormat::Json);
    };
    Some(OutputFormat::Schema(SchemaFormat {
        name: None,
        description: None,
        schema,
        strict: None,
    }))
}

fn read_thinking(mut thinking: Object<'_>) -> (ReasoningWish, Extra) {
    let it = &mut thinking;
    let budget = take_as(it, "thinkingBudget", |it| {
        integer(it).filter(|it| *it >= -1)
    });
    let level = take_as(it, "thinkingLevel", |level| {
        Effort::parse(&level.text()?.to_ascii_lowercase())
    });
    let shows = take_as(it, "includeThoughts", Raw::boolean);
    let wish = ReasoningWish {
        effort: level,
        budget_tokens: budget.and_then(|budget| u64::try_from(budget).ok()),
        is_adaptive: budget == Some(-1),
        summary: (shows == Some(true)).then(|| "auto".to_owned()),
    };
    (wish, thinking.rest())
}

/// Writes `generationConfig`, if there is anything to say.
pub(super) fn write(
    it: &mut Members<'_>,
    request: &ChatRequest,
    target: &Target<'_>,
    notes: &mut Notes,
) {
    let is_own = request.dialect == NAME;
    if is_silent(request) && !(is_own && has(&request.extra, CONFIG)) {
        return;
    }
    let sampling = &request.sampling;
    it.object(CONFIG, |it| {
        it.maybe_number("temperature", sampling.temperature);
        it.maybe_number("topP", sampling.top_p);
        it.maybe_integer("topK", sampling.top_k);
        it.maybe_number("presencePenalty", sampling.presence_penalty);
        it.maybe_number("frequencyPenalty", sampling.frequency_penalty);
        it.maybe_integer("seed", sampling.seed.map(|seed| narrow_seed(seed, notes)));
        it.maybe_integer("maxOutputTokens", request.max_output_tokens);
        it.maybe_integer("candidateCount", request.choices);
        if !request.stop.is_empty() {
            it.array("stopSequences", |list| {
                for stop in &request.stop {
                    list.string(stop);
                }
            });
        }
        if let Some(logprobs) = request.logprobs {
            it.boolean("responseLogprobs", true);
            if logprobs > 0 {
                it.integer("logprobs", logprobs);
            }
        }
        write_format(it, request, notes);
        if let Some(wish) = &request.reasoning {
            write_thinking(it, request, wish, target, notes);
        }
        if is_own {
            write_kept(it, &request.extra);
        }
    });
}

fn is_silent(request: &ChatRequest) -> bool {
    request.sampling == Sampling::default()
        && request.max_output_tokens.is_none()
        && request.choices.is_none()
        && request.stop.is_empty()
        && request.logprobs.is_none()
        && request.output_format.is_none()
        && request.reasoning.is_none()
}

/// Unknown members, except what was left inside `thinkingConfig`, which is written there.
fn write_kept(it: &mut Members<'_>, extra: &Extra) {
    let found = extra.iter().find(|(name, _)| *name == CONFIG);
    if let Some(object) = found.and_then(|(_, value)| Object::read(value.get()).ok()) {
        others(it, &object.rest(), &[THINKING]);
    }
}

/// Google's seeds have 32 bits.
fn narrow_seed(seed: i64, notes: &mut Notes) -> i32 {
    i32::try_from(seed).unwrap_or_else(|_| {
        notes.changed("seed", "folded to 31 bits");
        i32::try_from(seed & 0x7fff_ffff).unwrap_or(0)
    })
}

fn write_format(it: &mut Members<'_>, request: &ChatRequest, notes: &mut Notes) {
    let is_own = request.dialect == NAME;
    match &request.output_format {
        Some(OutputFormat::Text) if is_own => it.string("responseMimeType", TEXT),
        None | Some(OutputFormat::Text) => {}
        Some(OutputFormat::Json) => it.string("responseMimeType", JSON),
        Some(OutputFormat::Schema(format)) => {
            it.string("responseMimeType", JSON);
            if format.description.is_some() {
                notes.dropped("response_format.json_schema.description");
            }
            let kept = request.extra.iter().find(|(name, _)| *name == CONFIG);
            let original = kept.and_then(|(_, config)| {
                let config = Object::read(config.get()).ok()?;
                config.get("responseSchema").map(Raw::kind)
            });
            if !(is_own && original.is_some()) {
                it.raw("responseJsonSchema", &format.schema);
            }
        }
    }
}

/// How much to think: as a level from Gemini 3 on, before that as a budget. The budgets of the efforts
/// are those that Google documents for its OpenAI-compatible endpoint.
fn write_thinking(
    it: &mut Members<'_>,
    request: &ChatRequest,
    wish: &ReasoningWish,
    target: &Target<'_>,
    notes: &mut Notes,
) {
    let is_own = request.dialect == NAME;
    let generation = Generation::of(target.upstream_model);
    if !is_own && !generation.can_think() {
        if wish.is_on() {
            notes.dropped("reasoning_effort");
        }
        return;
    }
    let budget = match (wish.is_adaptive, wish.budget_tokens) {
        (true, _) => Some(-1),
        (false, Some(budget)) => Some(i128::from(budget)),
        (false, None) => None,
    };
    let effort = wish.effort.filter(|_| is_own || budget.is_none());
    it.object(THINKING, |it| {
        if is_own {
            it.maybe_integer("thinkingBudget", budget);
            let level = effort.map(|level| level.as_str().to_ascii_uppercase());
            it.maybe_string("thinkingLevel", level.as_deref());
        } else if let Some(effort) = effort.filter(|_| generation.has_levels()) {
            it.string("thinkingLevel", level(effort, generation, notes));
        } else {
            let budget = budget.or_else(|| effort.map(|it| i128::from(budget_of(it, notes))));
            let least = generation.always_thinks() && budget == Some(0);
            if least && !generation.has_levels() {
                notes.changed("reasoning_effort", "this model thinks at least a little");
                it.integer("thinkingBudget", MIN_PRO_BUDGET);
            } else {
                it.maybe_integer("thinkingBudget", budget);
            }
        }
        if wish.summary.is_some() {
            it.boolean("includeThoughts", true);
        }
        if is_own {
            let config = request.extra.iter().find(|(name, _)| *name == CONFIG);
            if let Some(config) = config.and_then(|(_, it)| Object::read(it.get()).ok()) {
                kept(it, &config.rest(), THINKING);
            }
        }
    });
}

/// The level of an effort. The Pro models have none below `low`.
fn level(effort: Effort, generation: Generation, notes: &mut Notes) -> &'static str {
    let (level, is_exact) = match effort {
        Effort::None | Effort::Minimal if generation.always_thinks() => ("LOW", false),
        Effort::None => ("MINIMAL", false),
        Effort::Minimal => ("MINIMAL", true),
        Effort::Low => ("LOW", true),
        Effort::Medium => ("MEDIUM", true),
        Effort::High => ("HIGH", true),
        Effort::Xhigh | Effort::Max => ("HIGH", false),
    };
    if !is_exact {
        notes.changed("reasoning_effort", "the nearest level that the model has");
    }
    level
}

/// The budget of an effort, before Gemini 3.
fn budget_of(effort: Effort, notes: &mut Notes) -> u64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal | Effort::Low => 1024,
        Effort::Medium => 8192,
        Effort::High => 24_576,
        Effort::Xhigh | Effort::Max => {
            notes.changed("reasoning_effort", "written as the budget of high");
            24_576
        }
    }
}
