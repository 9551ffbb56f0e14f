//! A neutral request as the body for an upstream that speaks Anthropic.

use bytes::Bytes;

use super::conversation::Conversation;
use super::generation::Generation;
use super::thinking::{self, Thinking};
use super::{NAME, refuse, schema, tools};
use crate::types::chat::{ChatRequest, Inexpressible, Notes, OutputFormat, RawJson};
use crate::wire::foreign;
use crate::wire::json_in::Raw;
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::translate::{Host, Target};

/// Vertex's and Bedrock's names for the API, which stand in the body there.
const VERTEX_VERSION: &str = "vertex-2023-10-16";
const BEDROCK_VERSION: &str = "bedrock-2023-05-31";
/// Anthropic has no mode for "some JSON object".
const JSON_INSTRUCTION: &str =
    "Answer with a single JSON object and nothing else: no prose and no code fence around it.";
/// Anthropic's longest `metadata.user_id`.
const MAX_USER_ID_BYTES: usize = 256;

/// Writes the body.
///
/// # Errors
/// For what may not be left out and cannot be said.
pub(super) fn write(
    request: &ChatRequest,
    target: &Target<'_>,
    notes: &mut Notes,
) -> Result<Bytes, Inexpressible> {
    let own = request.dialect == NAME;
    let generation = Generation::of(target.upstream_model);
    foreign::leave_out(request, NAME, &[], notes)?;
    if request.choices.is_some_and(|choices| choices > 1) {
        return Err(refuse("n", "one answer is all that it gives"));
    }
    let format = output_format(request, generation, notes)?;
    let conversation = Conversation::of(request, notes)?;
    let sent = tools::sent(request, notes)?;
    let max_tokens = max_tokens(request, target, notes);
    let lacks_thoughts = conversation.lacks_thoughts();
    let thinking = Thinking::of(request, generation, max_tokens, lacks_thoughts, notes);
    if !own {
        unsaid(request, notes);
    }
    let mut json = JsonOut::with_capacity(4096);
    let mut written = Ok(());
    json.object(|it| {
        head(it, target);
        it.integer("max_tokens", max_tokens);
        let wants_json = format == Some(Format::Json);
        conversation.write(it, wants_json.then_some(JSON_INSTRUCTION));
        written = tools::write(it, request, &sent, generation, notes);
        settings(it, request, thinking, generation, notes);
        output_config(it, request, thinking, format.as_ref());
        if own {
            it.extra(&request.extra);
        }
    });
    written.map(|()| json.finish())
}

fn head(it: &mut Members<'_>, target: &Target<'_>) {
    match target.host {
        Host::Native => it.string("model", target.upstream_model),
        Host::Vertex => it.string("anthropic_version", VERTEX_VERSION),
        Host::Bedrock => it.string("anthropic_version", BEDROCK_VERSION),
    }
    // Bedrock's path says whether it is a stream, and its body must not.
    if target.stream && target.host != Host::Bedrock {
        it.boolean("stream", true);
    }
}

/// Anthropic demands a cap; without one the model's own stands in.
fn max_tokens(request: &ChatRequest, target: &Target<'_>, notes: &mut Notes) -> u64 {
    let most = target.max_output_tokens;
    match request.max_output_tokens {
        None => most,
        Some(asked) if request.dialect != NAME && asked > most && most > 0 => {
            notes.changed("max_tokens", "the model's own cap is lower");
            most
        }
        Some(asked) => asked,
    }
}

fn settings(
    it: &mut Members<'_>,
    request: &ChatRequest,
    thinking: Thinking,
    generation: Generation,
    notes: &mut Notes,
) {
    let own = request.dialect == NAME;
    if !(own && kept(request, "thinking")) {
        thinking.write(it);
    }
    let sampling = thinking::sampling(request, thinking, generation, notes);
    it.maybe_number("temperature", sampling.temperature);
    it.maybe_number("top_p", sampling.top_p);
    it.maybe_integer("top_k", sampling.top_k);
    let words = request.stop.iter().filter(|word| {
        // Anthropic refuses words that are white space only.
        own || !word.trim().is_empty()
    });
    let words: Vec<_> = words.collect();
    if words.len() < request.stop.len() {
        notes.changed("stop", "words of white space only are dropped");
    }
    if !words.is_empty() {
        it.array("stop_sequences", |out| {
            for word in words {
                out.string(word);
            }
        });
    }
    if let Some(tier) = &request.service_tier {
        match tier.as_str() {
            tier if own => it.string("service_tier", tier),
            "auto" | "standard_only" => it.string("service_tier", tier),
            "default" | "standard" => it.string("service_tier", "standard_only"),
            _ => notes.dropped("service_tier"),
        }
    }
    match &request.end_user {
        Some(_) if own && kept(request, "metadata") => {}
        Some(user) if own || user.len() <= MAX_USER_ID_BYTES => {
            it.object("metadata", |it| it.string("user_id", user));
        }
        Some(_) => notes.changed("user", "dropped: longer than 256 bytes"),
        None => {}
    }
}

/// True when the member goes back as the client wrote it.
fn kept(request: &ChatRequest, member: &str) -> bool {
    request.extra.iter().any(|(name, _)| name == member)
}

/// What is to be written, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Format {
    /// By an instruction.
    Json,
    /// By a schema.
    Schema(RawJson),
}

fn output_format(
    request: &ChatRequest,
    generation: Generation,
    notes: &mut Notes,
) -> Result<Option<Format>, Inexpressible> {
    const FIELD: &str = "response_format";
    match &request.output_format {
        None | Some(OutputFormat::Text) => Ok(None),
        Some(OutputFormat::Json) => {
            notes.changed(FIELD, "an instruction stands in for it");
            Ok(Some(Format::Json))
        }
        Some(OutputFormat::Schema(format)) if request.dialect == NAME => {
            Ok(Some(Format::Schema(format.schema.clone())))
        }
        Some(OutputFormat::Schema(_)) if !generation.binds_schema() => {
            let why =
                "this model cannot be bound to a schema; Claude can since Opus 4.1 and Sonnet 4.5";
            Err(refuse(FIELD, why))
        }
        Some(OutputFormat::Schema(format)) => {
            if format.description.is_some() {
                notes.dropped("response_format.json_schema.description");
            }
            let schema = Raw::parse(format.schema.get());
            let schema = schema.map_err(|_| refuse(FIELD, "its schema is no JSON"))?;
            Ok(Some(Format::Schema(schema::closed(schema, FIELD, notes))))
        }
    }
}

fn output_config(
    it: &mut Members<'_>,
    request: &ChatRequest,
    thinking: Thinking,
    format: Option<&Format>,
) {
    if request.dialect == NAME && kept(request, "output_config") {
        return;
    }
    let schema = match format {
        // It stands under the name that it had in beta.
        Some(Format::Schema(_)) if request.dialect == NAME && kept(request, "output_format") => {
            None
        }
        Some(Format::Schema(schema)) => Some(schema),
        Some(Format::Json) | None => None,
    };
    if thinking.effort.is_none() && schema.is_none() {
        return;
    }
    it.object("output_config", |it| {
        it.maybe_string("effort", thinking.effort);
        if let Some(schema) = schema {
            it.object("format", |it| {
                it.string("type", "json_schema");
                it.raw("schema", schema);
            });
        }
    });
}

/// Notes what has no place here.
fn unsaid(request: &ChatRequest, notes: &mut Notes) {
    if request.logprobs.is_some() {
        notes.dropped("logprobs");
    }
    if !request.metadata.is_empty() {
        notes.dropped("metadata");
    }
}
