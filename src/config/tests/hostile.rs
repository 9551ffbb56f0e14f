//! Hostile, mutilated and very large files: always a snapshot or a diagnostic, soon, never a panic.

use std::fmt::Write as _;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::types::ModelId;

const SHIPPED: &str = include_str!("../../../routes.yaml");

#[test]
fn hostile_files_end_in_a_diagnostic() {
    let deep = format!("version: {}1{}", "[".repeat(500), "]".repeat(500));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        writeln!(bomb, "a{level}: &a{level} [{}]", vec![alias; 10].join(", ")).expect("written");
    }
    let wide = format!(
        "a: &a \"{}\"\nb: [{}]\n",
        "x".repeat(100_000),
        "*a, ".repeat(100_000)
    );
    let own = "a: &a [*a]\n".to_owned();
    let huge = "#".repeat(tree::MAX_FILE_BYTES + 1);
    let odd = [
        "",
        "\n\n",
        "\u{feff}",
        "- 1",
        "just text",
        "? [a]\n: b",
        "a: b\n---\nc: d",
        "{",
        "\t",
        "a: *b",
        "&x : 1",
        "!!binary x",
        "1: 2",
    ];
    let texts = [deep, bomb, wide, own, huge];
    for text in texts.iter().map(String::as_str).chain(odd) {
        let began = Instant::now();
        let problems = load_base(text).expect_err("not a routing file");
        assert!(!problems.is_empty());
        assert!(
            began.elapsed().as_secs() < 5,
            "{}",
            text.get(..40).unwrap_or(text)
        );
    }
}

#[test]
fn a_thousand_models_and_ten_thousand_keys_compile_quickly() {
    let mut text =
        "version: 1\nauth: { mode: keys }\nproviders: { p: { simulated: {} } }\nmodels:\n"
            .to_owned();
    for model in 0..1000 {
        writeln!(
            text,
            "  m{model}: {{ provider: p, price: {{ input: 1, output: 2 }} }}"
        )
        .expect("written");
    }
    text.push_str(
        "matrix: { default: { simple: [m0] } }\nteams:\n  t: { allow: [\"m*\"] }\nkeys:\n",
    );
    for key in 0..10_000 {
        writeln!(
            text,
            "  - {{ id: k{key}, sha256: \"{key:064x}\", team: t, allow: [m{}] }}",
            key % 1000
        )
        .expect("written");
    }
    let began = Instant::now();
    let snapshot = load_base(&text).expect("a sound file");
    let took = began.elapsed();
    assert_eq!((snapshot.models.len(), snapshot.keys.len()), (1000, 10_000));
    assert_eq!(snapshot.model_index[&ModelId::new("m999")], 999);
    println!("{} bytes in {took:?}", text.len());
    // Without optimisation and on a loaded machine; 10 times less when optimised.
    assert!(took.as_secs() < 10, "{took:?}");
    // As many mistakes as keys must not take longer either.
    let began = Instant::now();
    let problems = load_base(&text.replace("team: t", "taem: t")).expect_err("wrong");
    assert!(
        problems.len() > 500 && began.elapsed().as_secs() < 20,
        "{:?}",
        began.elapsed()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Bytes of the shipped file removed, repeated or replaced at random.
    #[test]
    fn a_mutilated_file_never_panics(
        edits in prop::collection::vec((0.0f64..1.0, 0usize..40, "[ -~\n]{0,6}"), 1..6)
    ) {
        let mut text: Vec<char> = SHIPPED.chars().collect();
        for (place, length, with) in edits {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let start = (place * text.len() as f64) as usize;
            let end = (start + length).min(text.len());
            text.splice(start..end, with.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = load(&text, "f", &|_| None, 0) {
            prop_assert!(problems.iter().any(|problem| problem.severity == Severity::Error));
            for problem in problems {
                prop_assert!(problem.line >= 1 && problem.column >= 1);
            }
        }
    }

    /// Values swapped for others of any kind.
    #[test]
    fn odd_values_never_panic(
        line in 0usize..400,
        value in prop_oneof![
            Just("null"), Just("~"), Just("[]"), Just("{}"), Just("-1"), Just("1e999"), Just(".nan"),
            Just("99999999999999999999"), Just("\"\""), Just("*x"), Just("&x 1"), Just("[[[]]]"),
            Just("{ a: { b: c } }"), Just("\u{0}"), Just("0x10"), Just("${X}"), Just("2026-01-01"),
        ]
    ) {
        let lines: Vec<&str> = builtin::BUILT_IN.lines().collect();
        let line = line % lines.len();
        let changed: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(index, text)| match text.split_once(": ") {
                Some((key, _)) if index == line => format!("{key}: {value}"),
                _ => (*text).to_owned(),
            })
            .collect();
        let _ = load(&changed.join("\n"), "f", &|_| None, 0);
    }
}
