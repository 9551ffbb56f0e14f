//! What holds for generated documents of every dialect: each comes back from the neutral form as it was,
//! members included that nobody knows, at every level; and its stream says the same at every split of
//! its bytes.
//!
//! `TOLLGATE_PROPERTY_CASES` says how many documents of each kind are tried (usually 48).

mod anthropic_messages;
mod bedrock_converse;
mod gemini_generate;
mod openai_chat;
mod openai_responses;
mod shapes;
mod streams;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use serde_json::Value;

use super::fixture_tests::{asked, target};
use crate::types::Endpoint;
use crate::types::chat::Notes;
use crate::wire::DialectId;
use shapes::Json;

/// How many documents of each kind are tried.
fn config() -> ProptestConfig {
    let cases = std::env::var("TOLLGATE_PROPERTY_CASES");
    let cases = cases.ok().and_then(|it| it.parse().ok()).unwrap_or(48);
    ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4096,
        ..ProptestConfig::default()
    }
}

/// Panics with the smallest document for which `law` finds something wrong.
fn check(strategy: &Json, law: impl Fn(&Value) -> Vec<String>) {
    let mut runner = TestRunner::new(config());
    let result = runner.run(strategy, |document| {
        let found = law(&document);
        let fail = || TestCaseError::fail(format!("{}\n{document}", found.join("\n")));
        if found.is_empty() {
            Ok(())
        } else {
            Err(fail())
        }
    });
    if let Err(TestError::Fail(why, _)) = result {
        panic!("{why}");
    }
}

fn requests_come_back(id: DialectId, requests: &Json) {
    let codec = id.translate();
    check(requests, |document| {
        let read = |text: &str| codec.read_request(Endpoint::ChatCompletions, text);
        let request = match read(&document.to_string()) {
            Ok(request) => request,
            Err(error) => return vec![format!("is not read: {error:?}")],
        };
        let mut target = target("m");
        target.stream = request.stream;
        let mut notes = Notes::default();
        let back = match codec.write_request(&request, &target, &mut notes) {
            Ok(back) => back,
            Err(error) => return vec![format!("is not written: {error}")],
        };
        let back = std::str::from_utf8(&back).expect("UTF-8");
        let mut found = differences_of(document, &serde_json::from_str(back).expect("JSON"));
        if read(back).ok().as_ref() != Some(&request) {
            found.push(format!("is read otherwise the second time: {back}"));
        }
        found.extend(notes.iter().map(|note| format!("{note:?}")));
        found
    });
}

fn answers_come_back(id: DialectId, answers: &Json) {
    let codec = id.translate();
    let none = Bytes::new();
    check(answers, |document| {
        let answer = match codec.read_answer(&document.to_string()) {
            Ok(answer) => answer,
            Err(error) => return vec![format!("is not read: {error}")],
        };
        let back = codec.write_answer(&answer, &asked(&none, codec));
        let back = std::str::from_utf8(&back).expect("UTF-8");
        let mut found = differences_of(document, &serde_json::from_str(back).expect("JSON"));
        if codec.read_answer(back).ok().as_ref() != Some(&answer) {
            found.push(format!("is read otherwise the second time: {back}"));
        }
        found
    });
}

/// Where two documents differ.
fn differences_of(document: &Value, back: &Value) -> Vec<String> {
    let mut found = Vec::new();
    differences("", document, back, &mut found);
    found
}

fn differences(place: &str, was: &Value, is: &Value, found: &mut Vec<String>) {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            for (name, value) in was {
                let place = format!("{place}.{name}");
                match is.get(name) {
                    Some(other) => differences(&place, value, other, found),
                    None => found.push(format!("{place} is gone: {value}")),
                }
            }
            let new = is.iter().filter(|(name, _)| !was.contains_key(*name));
            found.extend(new.map(|(name, value)| format!("{place}.{name} is new: {value}")));
        }
        (Value::Array(was), Value::Array(is)) if was.len() == is.len() => {
            for (index, (was, is)) in was.iter().zip(is).enumerate() {
                differences(&format!("{place}[{index}]"), was, is, found);
            }
        }
        _ if was == is => {}
        _ => found.push(format!("{place} was {was}, is {is}")),
    }
}

#[test]
fn requests_of_openai_chat() {
    requests_come_back(DialectId::OpenaiChat, &openai_chat::request());
}

#[test]
fn answers_of_openai_chat() {
    answers_come_back(DialectId::OpenaiChat, &openai_chat::answer());
}

#[test]
fn requests_of_openai_responses() {
    requests_come_back(DialectId::OpenaiResponses, &openai_responses::request());
}

#[test]
fn answers_of_openai_responses() {
    answers_come_back(DialectId::OpenaiResponses, &openai_responses::answer());
}

#[test]
fn requests_of_anthropic_messages() {
    requests_come_back(DialectId::AnthropicMessages, &anthropic_messages::request());
}

#[test]
fn answers_of_anthropic_messages() {
    answers_come_back(DialectId::AnthropicMessages, &anthropic_messages::answer());
}

#[test]
fn requests_of_gemini_generate() {
    requests_come_back(DialectId::GeminiGenerate, &gemini_generate::request());
}

#[test]
fn answers_of_gemini_generate() {
    answers_come_back(DialectId::GeminiGenerate, &gemini_generate::answer());
}

#[test]
fn requests_of_bedrock_converse() {
    requests_come_back(DialectId::BedrockConverse, &bedrock_converse::request());
}

#[test]
fn answers_of_bedrock_converse() {
    answers_come_back(DialectId::BedrockConverse, &bedrock_converse::answer());
}

#[test]
fn streams_of_openai_chat() {
    streams::come_back(DialectId::OpenaiChat, &openai_chat::answer());
}

#[test]
fn streams_of_openai_responses() {
    streams::come_back(DialectId::OpenaiResponses, &openai_responses::answer());
}

#[test]
fn streams_of_anthropic_messages() {
    streams::come_back(DialectId::AnthropicMessages, &anthropic_messages::answer());
}

#[test]
fn streams_of_gemini_generate() {
    streams::come_back(DialectId::GeminiGenerate, &gemini_generate::answer());
}

#[test]
fn streams_of_bedrock_converse() {
    streams::come_back(DialectId::BedrockConverse, &bedrock_converse::answer());
}
