//! The dialect as clients of `POST /v1/messages` speak it.

use bytes::{Bytes, BytesMut};

use super::{AnthropicMessages, NAME, decode, encode, errors, inspect, tap};
use crate::error::ProxyError;
use crate::types::chat::{AnswerHead, Block, ChatAnswer, Choice, FinishReason};
use crate::types::{Call, Directives, Endpoint, PicoUsd, StreamRequest, Tokens};
use crate::wire::dialect::openai_chat::response::with_cost;
use crate::wire::dialect::{Dialect, Synthetic, Tap};
use crate::wire::facts::{NotADialect, ResponseFacts, StreamFacts, UsageReport};
use crate::wire::framing::sse::{SseEvent, SseFramer};
use crate::wire::translate::{Asked, Translate, WireEvent};
use crate::wire::whole;

impl Dialect for AnthropicMessages {
    fn decode(
        &self,
        endpoint: Endpoint,
        body: Bytes,
        directives: Directives,
    ) -> Result<Call, ProxyError> {
        decode::decode(endpoint, body, directives)
    }

    fn encode_request(&self, call: &Call, upstream_model: &str, _add_include_usage: bool) -> Bytes {
        encode::request(call, upstream_model)
    }

    fn inspect_response(
        &self,
        _endpoint: Endpoint,
        body: &Bytes,
    ) -> Result<ResponseFacts, NotADialect> {
        inspect::response(body)
    }

    fn insert_cost(&self, body: Bytes, facts: &ResponseFacts, cost: PicoUsd) -> Bytes {
        match &facts.usage {
            Some(report) => with_cost(&body, report, 0, cost),
            None => body,
        }
    }

    fn tap(&self) -> Box<dyn Tap> {
        Box::new(tap::StreamTap::default())
    }

    fn encode_error(&self, error: &ProxyError) -> Bytes {
        errors::encode(error)
    }

    fn error_event(&self, error: &ProxyError) -> Bytes {
        tap::error_event(error)
    }

    fn event_with_cost(&self, event: &SseEvent, report: &UsageReport, cost: PicoUsd) -> Bytes {
        tap::event_with_cost(event, report, cost)
    }

    fn usage_event(
        &self,
        _endpoint: Endpoint,
        facts: &StreamFacts,
        tokens: &Tokens,
        cost: PicoUsd,
    ) -> Bytes {
        tap::usage_event(facts, tokens, cost)
    }

    fn done_event(&self) -> Bytes {
        tap::done_event()
    }

    fn whole_to_stream(&self, body: &Bytes, _include_usage: bool) -> Option<Bytes> {
        let answer = self.read_answer(std::str::from_utf8(body).ok()?).ok()?;
        Some(self.events_of(&answer))
    }

    fn stream_to_whole(&self, events: &Bytes) -> Option<Bytes> {
        let mut framer = SseFramer::new(events.len());
        framer.push(events.clone()).ok()?;
        let (mut reader, mut neutral) = (self.reader(), Vec::new());
        while let Some(event) = framer.next_event().or_else(|| framer.finish()) {
            let name = event
                .name()
                .map(|name| String::from_utf8_lossy(name).into_owned());
            let data = event.data().unwrap_or_default();
            let event = WireEvent {
                name: name.as_deref(),
                data: &data,
            };
            reader.read(event, &mut neutral).ok()?;
        }
        reader.finish(&mut neutral);
        let answer = whole::of_events(NAME, &neutral)?;
        Some(self.write_answer(&answer, &unasked(&Bytes::new())))
    }

    fn synthetic(&self, answer: &Synthetic<'_>, stream: &StreamRequest) -> Bytes {
        let message = ChatAnswer {
            dialect: NAME,
            head: AnswerHead {
                id: answer.id.to_owned(),
                model: answer.model.to_owned(),
                ..AnswerHead::default()
            },
            choices: vec![Choice {
                blocks: vec![Block::text(answer.text)],
                finish: FinishReason::Stop.into(),
                ..Choice::default()
            }],
            usage: Some(Tokens::default()),
            ..ChatAnswer::default()
        };
        if stream.wanted {
            self.events_of(&message)
        } else {
            self.write_answer(&message, &unasked(&Bytes::new()))
        }
    }
}

impl AnthropicMessages {
    fn events_of(self, answer: &ChatAnswer) -> Bytes {
        let nothing = Bytes::new();
        let mut writer = self.writer(&unasked(&nothing));
        let mut out = BytesMut::with_capacity(1024);
        for event in whole::to_events(answer) {
            writer.write(&event, &mut out);
        }
        out.freeze()
    }
}

/// For answers that carry their id.
const fn unasked(body: &Bytes) -> Asked<'_> {
    Asked {
        from: "",
        endpoint: Endpoint::Messages,
        body,
        include_usage: true,
        id: "",
        created: 0,
    }
}
