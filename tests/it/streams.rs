//! What a stream may look like on the wire, how it may break, and what the client and the ledger
//! see of it.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tollgate::types::{Outcome, RequestRecord, UsageSource};

use crate::harness::proxy::{chat, two_models};
use crate::harness::upstream::{chunk, completion, usage};
use crate::harness::{Client, Proxy, Reply, Script, Step, Upstream};

const DONE: &str = "data: [DONE]\n\n";

/// A streamed request; `include_usage` as the client wants it.
fn streamed(model: &str, include_usage: bool) -> Value {
    let mut body = chat(model, "Say something.");
    body["stream"] = json!(true);
    if include_usage {
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

fn usage_payload(input: u64, output: u64) -> String {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "small", "choices": [], "usage": usage(input, output)})
        .to_string()
}

fn content(text: &str) -> String {
    chunk("small", &json!({"content": text}), None)
}

fn finish() -> String {
    chunk("small", &json!({}), Some("stop"))
}

fn event(payload: &str) -> String {
    format!("data: {payload}\n\n")
}

fn bytes(text: impl Into<String>) -> Step {
    Step::Chunk(text.into().into_bytes())
}

/// One pinned stream against an upstream that plays `steps`: what the client and the ledger saw.
async fn play(steps: Vec<Step>, include_usage: bool) -> (Reply, RequestRecord) {
    play_with(steps, include_usage, "").await
}

async fn play_with(steps: Vec<Step>, include_usage: bool, more: &str) -> (Reply, RequestRecord) {
    let upstream = Upstream::start(move |_| Script::steps(steps.clone())).await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
    let reply = proxy.client().chat(&streamed("small", include_usage)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let record = proxy.record(&reply.request_id()).await;
    assert_eq!(upstream.calls(), record.attempts.len());
    proxy.stop().await;
    (reply, record)
}

/// The last event of a broken stream: an error object and no end marker.
fn assert_ends_with_error(reply: &Reply, code: &str) {
    let events = reply.events();
    let last: Value = serde_json::from_str(events.last().expect("an event")).expect("JSON");
    assert_eq!(last["error"]["code"], code, "{}", reply.text());
    for field in ["message", "type", "param"] {
        assert!(last["error"].get(field).is_some(), "{last}");
    }
    assert!(!reply.text().contains("[DONE]"), "{}", reply.text());
}

/// Takes out what tollgate wrote into the usage chunk, which must be there once.
fn without_cost(text: &str) -> String {
    let start = text.find(",\"cost\":").expect("a cost");
    let end = start + text[start..].find('}').expect("the end of usage");
    let stripped = format!("{}{}", &text[..start], &text[end..]);
    assert!(!stripped.contains("\"cost\":"), "{text}");
    stripped
}

// ---- Byte identity -------------------------------------------------------------------------

/// How an upstream frames its events.
#[derive(Debug, Clone)]
struct Style {
    line_end: &'static str,
    space: &'static str,
    bom: bool,
}

/// One event of an upstream.
#[derive(Debug, Clone)]
enum Piece {
    Content(String),
    /// Content whose JSON stands over several `data` lines.
    Folded(String),
    /// Content with `event`, `id` and `retry` fields around it and a comment inside.
    Adorned(String),
    Comment,
    Ping,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{0,12}",
        Just("ñandú — 東京 🦀🇪🇸".to_owned()),
        Just("\u{2028}line\\nbreaks \"quoted\" data: [DONE]".to_owned()),
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        4 => text().prop_map(Piece::Content),
        1 => text().prop_map(Piece::Folded),
        1 => text().prop_map(Piece::Adorned),
        1 => Just(Piece::Comment),
        1 => Just(Piece::Ping),
    ]
}

fn style() -> impl Strategy<Value = Style> {
    (
        prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
        prop_oneof![Just(" "), Just("")],
        any::<bool>(),
    )
        .prop_map(|(line_end, space, bom)| Style {
            line_end,
            space,
            bom,
        })
}

/// A stream as an upstream might send it.
#[derive(Debug, Clone)]
struct Sent {
    style: Style,
    pieces: Vec<Piece>,
    /// Where the usage chunk stands: before or after the finish reason.
    usage_first: bool,
    include_usage: bool,
    cuts: Vec<prop::sample::Index>,
}

fn sent() -> impl Strategy<Value = Sent> {
    (
        style(),
        prop::collection::vec(piece(), 1..6),
        any::<bool>(),
        any::<bool>(),
        prop::collection::vec(any::<prop::sample::Index>(), 0..24),
    )
        .prop_map(|(style, pieces, usage_first, include_usage, cuts)| Sent {
            style,
            pieces,
            usage_first,
            include_usage,
            cuts,
        })
}

impl Sent {
    fn line(&self, field: &str, value: &str) -> String {
        format!("{field}:{}{value}{}", self.style.space, self.style.line_end)
    }

    fn one(&self, payload: &str) -> String {
        format!("{}{}", self.line("data", payload), self.style.line_end)
    }

    fn piece(&self, piece: &Piece) -> String {
        let end = self.style.line_end;
        match piece {
            Piece::Content(text) => self.one(&content(text)),
            Piece::Folded(text) => {
                let json = content(text);
                // Between two members, where JSON allows a line end.
                let at = json.find(",\"").expect("two members") + 1;
                format!(
                    "{}{}{end}",
                    self.line("data", &json[..at]),
                    self.line("data", &json[at..])
                )
            }
            Piece::Adorned(text) => format!(
                "{}: a remark{end}{}{}{}{end}",
                self.line("event", "message"),
                self.line("id", "7"),
                self.line("data", &content(text)),
                self.line("retry", "3000"),
            ),
            Piece::Comment => format!(": keep-alive{end}{end}"),
            Piece::Ping => format!("{}{end}", self.line("event", "ping")),
        }
    }

    /// The upstream's bytes, with and without its usage chunk.
    fn texts(&self) -> (String, String) {
        let opening: String = self.pieces.iter().map(|it| self.piece(it)).collect();
        let bom = if self.style.bom { "\u{feff}" } else { "" };
        let (usage, finish, done) = (
            self.one(&usage_payload(11, 7)),
            self.one(&finish()),
            self.one("[DONE]"),
        );
        let tail = if self.usage_first {
            format!("{usage}{finish}")
        } else {
            format!("{finish}{usage}")
        };
        // Something of the dialect comes first, so that the stream counts as begun.
        let head = self.one(&content(""));
        (
            format!("{bom}{head}{opening}{tail}{done}"),
            format!("{bom}{head}{opening}{finish}{done}"),
        )
    }

    /// The bytes cut at the drawn places, through characters and line ends alike.
    fn steps(&self) -> Vec<Step> {
        let whole = self.texts().0.into_bytes();
        let mut cuts: Vec<usize> = self.cuts.iter().map(|it| it.index(whole.len())).collect();
        cuts.extend([0, whole.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        cuts.windows(2)
            .map(|pair| Step::Chunk(whole[pair[0]..pair[1]].to_vec()))
            .collect()
    }
}

#[test]
fn a_stream_passes_byte_for_byte_whatever_its_framing_and_its_split() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let steps: Arc<Mutex<Vec<Step>>> = Arc::default();
    let playing = Arc::clone(&steps);
    let (proxy, client) = runtime.block_on(async move {
        let upstream = Upstream::start(move |_| Script::steps(playing.lock().clone())).await;
        let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
        let client = proxy.client();
        (proxy, client)
    });
    let config = ProptestConfig {
        cases: 160,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&sent(), |sent| {
            *steps.lock() = sent.steps();
            let body = streamed("small", sent.include_usage);
            let reply = runtime.block_on(client.chat(&body));
            let (whole, without_usage) = sent.texts();
            if sent.include_usage {
                prop_assert_eq!(without_cost(&reply.text()), whole);
            } else {
                prop_assert_eq!(reply.text(), without_usage);
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    runtime.block_on(proxy.stop());
}

/// Every split of one small stream in two, and the stream byte by byte.
#[tokio::test]
async fn every_split_in_two_and_byte_by_byte() {
    let whole = format!(
        ": hello\r\n\r\n{}{}{}{}",
        event(&content("ñ🦀")),
        event(&finish()).replace('\n', "\r\n"),
        event(&usage_payload(3, 4)),
        DONE
    );
    let script: Arc<Mutex<Vec<Step>>> = Arc::default();
    let playing = Arc::clone(&script);
    let upstream = Upstream::start(move |_| Script::steps(playing.lock().clone())).await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    let client = proxy.client();
    let raw = whole.as_bytes();
    let mut scripts: Vec<Vec<Step>> = (1..raw.len())
        .map(|at| {
            vec![
                Step::Chunk(raw[..at].to_vec()),
                Step::Chunk(raw[at..].to_vec()),
            ]
        })
        .collect();
    scripts.push(raw.iter().map(|byte| Step::Chunk(vec![*byte])).collect());
    for steps in scripts {
        *script.lock() = steps;
        let reply = client.chat(&streamed("small", true)).await;
        assert_eq!(without_cost(&reply.text()), whole);
    }
    proxy.stop().await;
}

// ---- Usage and the end ---------------------------------------------------------------------

fn tokens_of(record: &RequestRecord) -> (u64, u64, UsageSource) {
    let attempt = &record.attempts[0];
    (
        attempt.tokens.all_input(),
        attempt.tokens.all_output(),
        attempt.usage,
    )
}

#[tokio::test]
async fn the_last_of_two_usage_chunks_is_billed() {
    let steps = vec![
        bytes(event(&content("a"))),
        bytes(event(&usage_payload(10, 1))),
        bytes(event(&finish())),
        bytes(event(&usage_payload(10, 9))),
        bytes(DONE),
    ];
    let (reply, record) = play(steps, true).await;
    assert_eq!(tokens_of(&record), (10, 9, UsageSource::Reported));
    assert_eq!(reply.text().matches("\"cost\":").count(), 2);
    // Small: 0.15 and 0.60 USD per million.
    assert_eq!(record.cost.pico(), 10 * 150_000 + 9 * 600_000);
    let last = reply.events()[3].clone();
    assert!(last.contains("\"cost\":0.0000069"), "{last}");
}

#[tokio::test]
async fn usage_inside_a_content_chunk_is_billed_and_passes() {
    let mut last: Value = serde_json::from_str(&finish()).expect("JSON");
    last["usage"] = usage(10, 3);
    let steps = vec![
        bytes(event(&content("a"))),
        bytes(event(&last.to_string())),
        bytes(DONE),
    ];
    let expect = format!("{}{}{DONE}", event(&content("a")), event(&last.to_string()));
    let (reply, record) = play(steps, false).await;
    assert_eq!(tokens_of(&record), (10, 3, UsageSource::Reported));
    assert_eq!(reply.text(), expect);
}

#[tokio::test]
async fn without_usage_the_bill_is_an_estimate_and_says_so() {
    let steps = vec![
        bytes(event(&content("four score and seven"))),
        bytes(event(&finish())),
        bytes(DONE),
    ];
    let (reply, record) = play(steps, true).await;
    let (input, output, source) = tokens_of(&record);
    assert_eq!(source, UsageSource::Estimated);
    assert!(input > 0 && output > 0);
    assert_eq!(record.estimated_cost, record.cost);
    assert_eq!(record.outcome, Outcome::Ok);
    // The client asked for usage, so it gets what it is billed for.
    let events = reply.events();
    let usage: Value = serde_json::from_str(&events[events.len() - 2]).expect("JSON");
    assert_eq!(usage["usage"]["prompt_tokens"], input);
    assert_eq!(usage["usage"]["completion_tokens"], output);
    let cost = format!("\"cost\":{}", record.cost);
    assert!(reply.text().contains(&cost), "{}", reply.text());
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
}

#[tokio::test]
async fn a_finish_reason_without_an_end_marker_is_an_end() {
    let whole = format!("{}{}", event(&content("a")), event(&finish()));
    let (reply, record) = play(vec![bytes(whole.clone())], false).await;
    assert_eq!(reply.text(), format!("{whole}{DONE}"));
    assert_eq!(record.outcome, Outcome::Ok);
}

#[tokio::test]
async fn a_last_event_without_its_blank_line_is_ended_for_the_client() {
    for end in ["", "\n", "\r\n", "\r"] {
        let whole = format!("{}data: {}{end}", event(&content("a")), finish());
        let (reply, record) = play(vec![bytes(whole)], false).await;
        assert_eq!(record.outcome, Outcome::Ok);
        let events = reply.events();
        let events: Vec<&str> = events.iter().map(|it| it.trim_end()).collect();
        assert_eq!(
            events,
            [&content("a"), &finish(), "[DONE]"],
            "after {end:?}: {:?}",
            reply.text()
        );
    }
    // The end marker itself.
    let whole = format!("{}{}data: [DONE]", event(&content("a")), event(&finish()));
    let (reply, _) = play(vec![bytes(whole.clone())], false).await;
    assert_eq!(reply.text(), format!("{whole}\n\n"));
}

#[tokio::test]
async fn what_comes_after_the_end_marker_is_not_forwarded() {
    let whole = format!("{}{}{DONE}", event(&content("a")), event(&finish()));
    let steps = vec![
        bytes(format!("{whole}{}", event(&content("ghost")))),
        bytes(event(&content("ghost"))),
    ];
    let (reply, record) = play(steps, false).await;
    assert_eq!(reply.text(), whole);
    assert_eq!(record.outcome, Outcome::Ok);
}

#[tokio::test]
async fn an_upstream_that_never_ends_its_body_does_not_hold_the_client() {
    let whole = format!("{}{}{DONE}", event(&content("a")), event(&finish()));
    let started = std::time::Instant::now();
    let (reply, record) = play(vec![bytes(whole.clone()), Step::Stall], false).await;
    assert_eq!(reply.text(), whole);
    assert_eq!(record.outcome, Outcome::Ok);
    assert!(started.elapsed() < Duration::from_secs(5));
}

// ---- Breaking off --------------------------------------------------------------------------

#[tokio::test]
async fn an_error_event_in_mid_stream_is_forwarded_and_ends_it() {
    let error = json!({"error": {"message": "engine fell over", "type": "server_error", "param": null, "code": "server_error"}});
    let whole = format!("{}{}", event(&content("a")), event(&error.to_string()));
    for after in ["", "data: {\"choices\":[]}\n\n", DONE] {
        let steps = vec![bytes(format!("{whole}{after}"))];
        let (reply, record) = play(steps, true).await;
        assert_eq!(reply.text(), whole, "after {after:?}");
        assert_eq!(record.outcome, Outcome::StreamBroken);
        assert_eq!(tokens_of(&record).2, UsageSource::Estimated);
    }
}

#[tokio::test]
async fn a_stream_cut_short_ends_with_an_error_event_and_a_clean_end() {
    let first = event(&content("a"));
    let ways: Vec<Vec<Step>> = vec![
        vec![bytes(first.clone()), Step::Cut],
        vec![
            bytes(first.clone()),
            Step::Sleep(Duration::from_millis(30)),
            Step::Reset,
        ],
        // The body ends as it should, the answer does not.
        vec![bytes(first.clone())],
        // In the middle of an event, of a chunk, of a character.
        vec![bytes(format!("{first}data: {{\"choi"))],
        vec![bytes(format!("{first}data: {{\"choi")), Step::Cut],
        vec![
            bytes(first.clone()),
            Step::Raw(b"40\r\ndata: ".to_vec()),
            Step::Cut,
        ],
        vec![
            bytes(first.clone()),
            Step::Chunk(b"data: \xf0\x9f".to_vec()),
            Step::Cut,
        ],
        // Not chunked at all.
        vec![
            bytes(first.clone()),
            Step::Raw(b"nonsense\r\n".to_vec()),
            Step::Cut,
        ],
    ];
    for steps in ways {
        let shown = format!("{steps:?}");
        let (reply, record) = play(steps, true).await;
        assert_ends_with_error(&reply, "upstream_error");
        assert_eq!(reply.events()[0], content("a"), "{shown}");
        assert_eq!(record.outcome, Outcome::StreamBroken, "{shown}");
        assert_eq!(record.error_code.as_deref(), Some("upstream_error"));
        assert_eq!(record.attempts.len(), 1);
        assert_eq!(tokens_of(&record).2, UsageSource::Estimated, "{shown}");
    }
}

#[tokio::test]
async fn a_cut_after_the_finish_reason_has_lost_nothing() {
    let whole = format!("{}{}", event(&content("a")), event(&finish()));
    for cut in [Step::Cut, Step::Reset] {
        // The pause lets the bytes arrive before the reset discards them.
        let pause = Step::Sleep(Duration::from_millis(30));
        let (reply, record) = play(vec![bytes(whole.clone()), pause, cut], false).await;
        assert_eq!(reply.text(), format!("{whole}{DONE}"));
        assert_eq!(record.outcome, Outcome::Ok);
    }
}

#[tokio::test]
async fn a_cut_after_the_reported_usage_is_billed_as_reported() {
    let steps = vec![
        bytes(event(&content("a"))),
        bytes(event(&usage_payload(10, 2))),
        Step::Cut,
    ];
    let (reply, record) = play(steps, false).await;
    assert_ends_with_error(&reply, "upstream_error");
    assert_eq!(tokens_of(&record), (10, 2, UsageSource::Reported));
}

#[tokio::test]
async fn a_silent_stream_ends_with_a_timeout_event() {
    let steps = vec![bytes(event(&content("a"))), Step::Stall];
    let more = "resilience: { timeouts: { idle_ms: 120 } }";
    let (reply, record) = play_with(steps, true, more).await;
    assert_ends_with_error(&reply, "upstream_timeout");
    assert_eq!(record.outcome, Outcome::Timeout);
    assert_eq!(tokens_of(&record).2, UsageSource::Estimated);
}

#[tokio::test]
async fn comments_keep_a_stream_alive_but_not_beyond_the_total() {
    let mut steps = vec![bytes(event(&content("a")))];
    for _ in 0..40 {
        steps.push(Step::Sleep(Duration::from_millis(40)));
        steps.push(bytes(": ping\n\n"));
    }
    let more = "resilience: { timeouts: { idle_ms: 200, total_ms: 500 } }";
    let (reply, record) = play_with(steps, false, more).await;
    assert_ends_with_error(&reply, "upstream_timeout");
    assert!(reply.text().matches(": ping").count() > 5);
    assert_eq!(record.outcome, Outcome::Timeout);
}

#[tokio::test]
async fn an_endless_event_is_cut_off_not_collected() {
    let mut steps = vec![bytes(event(&content("a"))), bytes("data: ")];
    steps.extend((0..20).map(|_| Step::Chunk(vec![b'x'; 1 << 20])));
    steps.push(Step::Stall);
    let (reply, record) = play(steps, false).await;
    assert_ends_with_error(&reply, "upstream_error");
    assert!(reply.body.len() < 4096);
    assert_eq!(record.outcome, Outcome::StreamBroken);
}

// ---- Clients that leave --------------------------------------------------------------------

async fn first_frame(client: &Client, body: &Value) -> (String, hyper::body::Incoming) {
    let response = client
        .open("POST", "/v1/chat/completions", body.to_string())
        .await;
    let id = response.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let mut body = response.into_body();
    let frame = body.frame().await.expect("a frame").expect("readable");
    assert!(frame.is_data());
    (id, body)
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_upstream_and_is_billed_an_estimate() {
    let upstream = Upstream::start(|_| {
        Script::steps(vec![
            bytes(event(&content("four score and seven years ago"))),
            Step::Stall,
        ])
    })
    .await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    let (id, body) = first_frame(&proxy.client(), &streamed("small", true)).await;
    drop(body);
    tokio::time::timeout(Duration::from_secs(5), upstream.wait_for_abandoned(1))
        .await
        .expect("the upstream is told");
    let record = proxy.record(&id).await;
    assert_eq!(record.outcome, Outcome::Cancelled);
    let (input, output, source) = tokens_of(&record);
    assert_eq!(source, UsageSource::Estimated);
    assert!(input > 0 && output > 0);
    assert_eq!(record.estimated_cost, record.cost);
    assert!(proxy.metric("tollgate_in_flight_requests", &[]) < 0.5);
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_cancels_the_upstream() {
    for stream in [true, false] {
        let upstream = Upstream::start(|_| Script::json(200, &json!({})).before(Step::Stall)).await;
        let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
        let mut body = chat("small", "hello");
        body["stream"] = json!(stream);
        let client = proxy.client();
        let asking = tokio::spawn(async move { client.chat(&body).await });
        upstream.wait_for_calls(1).await;
        asking.abort();
        tokio::time::timeout(Duration::from_secs(5), upstream.wait_for_abandoned(1))
            .await
            .expect("the upstream is told");
        let records = all_records(&proxy, 1).await;
        assert_eq!(records[0].outcome, Outcome::Cancelled);
        assert_eq!(records[0].attempts.len(), 1);
        assert_eq!(tokens_of(&records[0]).2, UsageSource::Estimated);
        proxy.stop().await;
    }
}

/// Every record, once there are `count`.
async fn all_records(proxy: &Proxy, count: usize) -> Vec<RequestRecord> {
    for _ in 0..1000 {
        let records = proxy.gateway.ledger.recent(100).expect("the ledger reads");
        if records.len() >= count {
            return records;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("fewer than {count} records");
}

#[tokio::test]
async fn a_slow_client_neither_loses_bytes_nor_times_out() {
    let word = "x".repeat(64 << 10);
    let mut whole = String::new();
    let mut steps = Vec::new();
    for _ in 0..64 {
        whole.push_str(&event(&content(&word)));
        steps.push(bytes(event(&content(&word))));
    }
    whole.push_str(&event(&finish()));
    whole.push_str(DONE);
    steps.push(bytes(format!("{}{DONE}", event(&finish()))));
    let upstream = Upstream::start(move |_| Script::steps(steps.clone())).await;
    let more = "resilience: { timeouts: { idle_ms: 150 } }";
    let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
    let (id, body) = first_frame(&proxy.client(), &streamed("small", false)).await;
    // Longer than the idle time-out: the upstream is not silent, the client is not reading.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let rest = body.collect().await.expect("a clean end").to_bytes();
    assert!(whole.ends_with(&String::from_utf8_lossy(&rest).into_owned()));
    assert!(
        rest.len() + (200 << 10) > whole.len(),
        "little was read before"
    );
    assert_eq!(proxy.record(&id).await.outcome, Outcome::Ok);
    proxy.stop().await;
}

// ---- Answers of the wrong kind -------------------------------------------------------------

#[tokio::test]
async fn a_whole_answer_to_a_streamed_request_becomes_a_stream() {
    let upstream =
        Upstream::start(|_| Script::json(200, &completion("small", "hola", &usage(9, 2)))).await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    for include_usage in [true, false] {
        let reply = proxy.client().chat(&streamed("small", include_usage)).await;
        assert!(
            reply
                .header("content-type")
                .starts_with("text/event-stream")
        );
        let events = reply.events();
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        let spoken: String = events[..events.len() - 1]
            .iter()
            .map(|it| serde_json::from_str::<Value>(it).expect("JSON"))
            .filter_map(|it| {
                assert_eq!(it["object"], "chat.completion.chunk");
                it["choices"][0]["delta"]["content"]
                    .as_str()
                    .map(str::to_owned)
            })
            .collect();
        assert_eq!(spoken, "hola");
        assert_eq!(reply.text().contains("\"usage\":{"), include_usage);
        let record = proxy.record(&reply.request_id()).await;
        assert_eq!(tokens_of(&record), (9, 2, UsageSource::Reported));
        assert_eq!(record.outcome, Outcome::Ok);
    }
    proxy.stop().await;
}

/// A stream that fails before its first event is another candidate's.
#[tokio::test]
async fn what_fails_before_the_first_event_falls_back() {
    let error = json!({"error": {"message": "overloaded", "type": "server_error", "code": null}});
    let openings: Vec<Script> = vec![
        Script::events(&[error.to_string()]),
        Script::steps(vec![
            bytes(": warming up\n\n"),
            bytes(event(&error.to_string())),
        ]),
        Script::steps(vec![Step::Cut]),
        Script::steps(vec![]),
        Script::steps(vec![bytes(": only comments\n\n")]),
        Script::steps(vec![bytes(DONE)]),
        Script::steps(vec![bytes("data: <html>\n\n")]),
        Script::steps(vec![bytes("<html>not events</html>")]),
        Script::json(200, &error),
    ];
    for opening in openings {
        let shown = format!("{opening:?}");
        let upstream = Upstream::start(move |request| match request.model().as_str() {
            "small" => opening.clone(),
            _ => Script::answer(request, "from large", 10, 2),
        })
        .await;
        let more = "resilience: { retry: { max_attempts: 1 } }";
        let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
        let reply = proxy.client().chat(&streamed("auto", false)).await;
        assert_eq!(reply.status, 200, "{shown}");
        assert_eq!(reply.header("x-tollgate-model"), "large", "{shown}");
        assert_eq!(reply.header("x-tollgate-attempts"), "2", "{shown}");
        assert!(reply.text().contains("large"), "{shown}");
        let record = proxy.record(&reply.request_id()).await;
        assert_eq!(record.attempts.len(), 2);
        assert_ne!(record.attempts[0].outcome, Outcome::Ok, "{shown}");
        assert_eq!(upstream.calls(), 2, "{shown}");
        proxy.stop().await;
    }
}
