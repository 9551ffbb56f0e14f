//! What translation between dialects costs, for every pair. `cargo bench --bench wire translate`.
//!
//! Bounds: 40 µs for a whole request of 4 KB, 2 µs for one chunk of a stream.

use bytes::{Bytes, BytesMut};
use divan::{Bencher, black_box};
use tollgate::types::Endpoint;
use tollgate::types::Tokens;
use tollgate::types::chat::{
    AnswerHead, Block, BlockBody, BlockStart, ChatAnswer, ChatEvent, ChatRequest, Choice, Delta,
    Finish, FinishReason, Message, Notes, RawJson, Speaker, Tool, ToolCall, ToolChoice, ToolInput,
    ToolKind, ToolResult,
};
use tollgate::wire::DialectId;
use tollgate::wire::framing::aws_eventstream::EventstreamFramer;
use tollgate::wire::framing::sse::SseFramer;
use tollgate::wire::translate::{Asked, Framing, Host, Target, Translate, WireEvent};

/// From and to.
type Pair = (DialectId, DialectId);

/// Every pair of different dialects.
fn pairs() -> impl Iterator<Item = Wrapped> {
    let all = DialectId::ALL;
    let pairs = all
        .iter()
        .flat_map(|from| all.iter().map(move |to| (*from, *to)));
    pairs.filter(|(from, to)| from != to).map(Wrapped)
}

/// A pair with a name for the report.
#[derive(Clone, Copy, Debug)]
struct Wrapped(Pair);

impl std::fmt::Display for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.0.0, self.0.1)
    }
}

fn target() -> Target<'static> {
    Target {
        upstream_model: "some-model",
        stream: true,
        max_output_tokens: 8192,
        ask_stream_usage: true,
        host: Host::Native,
    }
}

fn asked(body: &Bytes) -> Asked<'_> {
    Asked {
        from: "none",
        endpoint: Endpoint::ChatCompletions,
        body,
        include_usage: true,
        id: "req-0123456789",
        created: 1_700_000_000,
    }
}

/// A conversation of about 4 KB: a system prompt, an earlier tool call with its result, a question.
fn conversation() -> ChatRequest {
    let sentence = "Explain in your own words why the \"index\" is slow.\n";
    let call = ToolCall {
        id: "call_0123456789abcdef".into(),
        name: "look_up".into(),
        input: ToolInput::Json(r#"{"table":"orders","columns":["id","customer"]}"#.into()),
        seal: None,
    };
    let result = ToolResult {
        call_id: "call_0123456789abcdef".into(),
        name: Some("look_up".into()),
        blocks: vec![Block::text("id bigint, customer bigint, indexed by id")],
        is_error: false,
    };
    let schema = r#"{"type":"object","properties":{"table":{"type":"string","description":"Which one"},"columns":{"type":"array","items":{"type":"string"}}},"required":["table"]}"#;
    ChatRequest {
        dialect: "none",
        messages: vec![
            Message::new(Speaker::System, vec![Block::text("Be brief and exact.")]),
            Message::new(Speaker::User, vec![Block::text(sentence.repeat(30))]),
            Message::new(Speaker::Assistant, vec![BlockBody::ToolCall(call).into()]),
            Message::new(Speaker::Tool, vec![BlockBody::ToolResult(result).into()]),
            Message::new(Speaker::User, vec![Block::text(sentence.repeat(30))]),
        ],
        tools: vec![Tool {
            kind: ToolKind::Function {
                parameters: Some(RawJson::new(schema)),
                strict: None,
            },
            name: "look_up".into(),
            description: Some("Looks a table up.".into()),
            cache_mark: None,
            extra: tollgate::types::chat::Extra::none(),
        }],
        tool_choice: Some(ToolChoice::Auto),
        max_output_tokens: Some(512),
        stream: true,
        ..ChatRequest::default()
    }
}

fn written(codec: &dyn Translate, request: &ChatRequest) -> String {
    let body = codec.write_request(request, &target(), &mut Notes::default());
    let body = body.unwrap_or_default();
    String::from_utf8_lossy(&body).into_owned()
}

#[divan::bench(args = pairs())]
fn request_4_kb(bencher: Bencher<'_, '_>, pair: Wrapped) {
    let (from, to) = (pair.0.0.translate(), pair.0.1.translate());
    let body = written(from, &conversation());
    bencher.bench(|| {
        let request = from.read_request(Endpoint::ChatCompletions, black_box(&body));
        let request = request.unwrap_or_default();
        to.write_request(&request, &target(), &mut Notes::default())
    });
}

fn answer() -> ChatAnswer {
    let sentence = "The index holds one column, so the other is read from the table. ";
    ChatAnswer {
        dialect: "none",
        head: AnswerHead {
            id: "a-0123456789".into(),
            model: "some-model".into(),
            ..AnswerHead::default()
        },
        choices: vec![Choice {
            blocks: vec![Block::text(sentence.repeat(60))],
            finish: FinishReason::Stop.into(),
            ..Choice::default()
        }],
        usage: Some(tokens()),
        ..ChatAnswer::default()
    }
}

fn tokens() -> Tokens {
    Tokens {
        input: 1000,
        cached_input: 500,
        output: 800,
        reasoning: 20,
        ..Tokens::default()
    }
}

#[divan::bench(args = pairs())]
fn answer_4_kb(bencher: Bencher<'_, '_>, pair: Wrapped) {
    let (from, to) = (pair.0.0.translate(), pair.0.1.translate());
    let none = Bytes::new();
    let body = from.write_answer(&answer(), &asked(&none));
    let body = String::from_utf8_lossy(&body).into_owned();
    bencher.bench(|| {
        let answer = from.read_answer(black_box(&body)).unwrap_or_default();
        to.write_answer(&answer, &asked(&none))
    });
}

/// Chunks of a stream of this dialect, out of their frames: one of text is repeated.
struct Stream {
    before: Vec<(Option<String>, Vec<u8>)>,
    text: (Option<String>, Vec<u8>),
}

impl Stream {
    /// What `codec` writes for a text under way.
    fn of(codec: &dyn Translate) -> Self {
        let none = Bytes::new();
        let mut writer = codec.writer(&asked(&none));
        let mut out = BytesMut::new();
        let start = [
            ChatEvent::Start(answer().head),
            ChatEvent::BlockStart {
                choice: 0,
                block: 0,
                start: BlockStart::Text,
            },
        ];
        for event in &start {
            writer.write(event, &mut out);
        }
        let before = events(codec, out.split().freeze());
        writer.write(&text(), &mut out);
        let mut texts = events(codec, out.split().freeze());
        Self {
            before,
            text: texts.pop().unwrap_or_default(),
        }
    }
}

fn text() -> ChatEvent {
    ChatEvent::BlockDelta {
        choice: 0,
        block: 0,
        delta: Delta::Text(" the index".into()),
    }
}

fn events(codec: &dyn Translate, bytes: Bytes) -> Vec<(Option<String>, Vec<u8>)> {
    let name = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
    let mut found = Vec::new();
    // A dialect's writer frames as its upstreams do.
    if codec.framing(Host::Native) == Framing::AwsEventstream {
        let mut framer = EventstreamFramer::new(1 << 20);
        let _ = framer.push(bytes);
        while let Some(message) = framer.next_event() {
            let name = message.name().map(str::to_owned);
            found.push((name, message.data().into_owned()));
        }
        return found;
    }
    let mut framer = SseFramer::new(1 << 20);
    let _ = framer.push(bytes);
    while let Some(event) = framer.next_event() {
        if let Some(data) = event.data() {
            found.push((event.name().map(name), data.into_owned()));
        }
    }
    found
}

#[divan::bench(args = pairs())]
fn chunk(bencher: Bencher<'_, '_>, pair: Wrapped) {
    let (from, to) = (pair.0.0.translate(), pair.0.1.translate());
    let stream = Stream::of(from);
    let none = Bytes::new();
    let (mut reader, mut writer) = (from.reader(), to.writer(&asked(&none)));
    let mut between = Vec::new();
    let mut out = BytesMut::new();
    let event = |(name, data): &(Option<String>, Vec<u8>), read: &mut dyn FnMut(WireEvent<'_>)| {
        read(WireEvent {
            name: name.as_deref(),
            data,
        });
    };
    let mut translate = |it: &(Option<String>, Vec<u8>)| {
        event(it, &mut |it| {
            let _ = reader.read(it, &mut between);
        });
        for event in between.drain(..) {
            writer.write(&event, &mut out);
        }
        let written = out.len();
        out.clear();
        written
    };
    for it in &stream.before {
        translate(it);
    }
    bencher.bench_local(|| translate(black_box(&stream.text)));
}

/// The end of a stream, for comparison: what comes once.
#[divan::bench(args = DialectId::ALL.iter().map(|it| it.as_str()))]
fn write_end(bencher: Bencher<'_, '_>, name: &str) {
    let Some(codec) = DialectId::parse(name) else {
        return;
    };
    let none = Bytes::new();
    bencher.bench(|| {
        let mut writer = codec.translate().writer(&asked(&none));
        let mut out = BytesMut::new();
        let finish = Finish::from(FinishReason::Stop);
        for event in [
            ChatEvent::Start(AnswerHead::default()),
            ChatEvent::Finish { choice: 0, finish },
            ChatEvent::Usage(tokens()),
            ChatEvent::End,
        ] {
            writer.write(&event, &mut out);
        }
        out
    });
}
