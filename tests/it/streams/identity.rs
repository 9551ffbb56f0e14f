//! Byte for byte, whatever the framing and the split.

use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::harness::proxy::{chat, two_models};
use crate::harness::upstream::{chunk, usage};
use crate::harness::{Proxy, Script, Step, Upstream};

use super::*;

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
