//! What the classifier takes for ordinary prompts and for input that is meant to hurt: time, and how
//! much it allocates, which must not grow with the input.

#![allow(clippy::expect_used, reason = "a bench fails loudly")]

use std::hint::black_box;

use divan::{AllocProfiler, Bencher};
use tollgate::classify::Classifier;
use tollgate::classify::configured::configured;
use tollgate::classify::training::rows::call_of;
use tollgate::config;
use tollgate::types::{Call, Role};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// By name, so that the table reads by itself.
const INPUTS: [&str; 10] = [
    "1 KB of prose",
    "20 KB of prose",
    "2 MB of prose",
    "empty",
    "one emoji",
    "2 MB of base64",
    "2 MB of control characters",
    "200 KB right to left",
    "10,000 turns",
    "100,000 turns",
];

fn input(name: &str) -> Call {
    const PROSE: &str = "Please write a short, friendly note to the team about the release on Friday, and \
        what changes for customers. ";
    let text = match name {
        "1 KB of prose" => PROSE.repeat(9),
        "20 KB of prose" => PROSE.repeat(180),
        "2 MB of prose" => PROSE.repeat(18_000),
        "empty" => String::new(),
        "one emoji" => "🎉".to_owned(),
        "2 MB of base64" => "Qk1GAAAAAAAAADYAAAAoAAAAAQAAAAEAAAABABgAAAAA".repeat(48_000),
        "2 MB of control characters" => "\u{1}\u{2}\u{0}\u{7f}".repeat(100_000),
        "200 KB right to left" => "اكتب رسالة قصيرة إلى الفريق ".repeat(4_000),
        _ => {
            let turns = if name == "10,000 turns" {
                10_000
            } else {
                100_000
            };
            let turn = |at: usize| match at % 2 {
                0 => (Role::User, "and then?"),
                _ => (Role::Assistant, "then it rained"),
            };
            return call_of(&(0..turns).map(turn).collect::<Vec<_>>());
        }
    };
    call_of(&[(Role::User, &text)])
}

/// With the built-in tasks alone.
#[divan::bench(args = INPUTS)]
fn built_in(bencher: Bencher, name: &str) {
    let (classifier, call) = (Classifier::builtin(), input(name));
    bencher.bench(|| classifier.classify(black_box(&call)));
}

/// With three tasks of a file beside them.
#[divan::bench(args = ["1 KB of prose", "2 MB of prose"])]
fn with_own_tasks(bencher: Bencher, name: &str) {
    const FILE: &str = "
version: 1
state: { store: memory }
providers: { one: { simulated: { seed: 1 } } }
models: { a: { provider: one, price: 0 } }
matrix: { default: { simple: [a] } }
tasks:
  refunds: { examples: [i want my money back, where is my refund, refund order 12 please, charged twice, return the shoes] }
  releases: { examples: [write the release notes, what changed in 2.1, note to the team about friday, announce the release, changelog please] }
  leave: { examples: [how many days of leave, i am ill today, holiday in may please, parental leave rules, doctor on tuesday] }
";
    let snapshot = config::load(FILE, "bench", &|_| None, 0).expect("a sound configuration");
    let classifier = configured(&snapshot.classifier).expect("sound").classifier;
    let call = input(name);
    bencher.bench(|| classifier.classify(black_box(&call)));
}
