//! `tasks`: names and examples. How well a task is told from others is judged by `classify`, which
//! knows the texts' features.

use indexmap::IndexMap;
use rustc_hash::FxHashMap;

use super::names::BUILT_IN_TASKS;
use super::{Context, at};
use crate::config::schema::TaskConfig;
use crate::config::snapshot::TaskParams;
use crate::types::TaskName;

/// Each task costs a little of every request.
const MAX_TASKS: usize = 64;
/// Fewer say too little of what a task is.
const MIN_EXAMPLES: usize = 5;
/// What one task is learned from, at most.
const MAX_EXAMPLES: usize = 500;
/// Longest name: it stands in headers and metrics.
const MAX_NAME_BYTES: usize = 64;

pub fn compile(cx: &mut Context<'_, '_>, tasks: &IndexMap<String, TaskConfig>) -> Vec<TaskParams> {
    if tasks.len() > MAX_TASKS {
        let message = format!("{} tasks; at most {MAX_TASKS} are allowed", tasks.len());
        cx.error(at!["tasks"], message);
        return Vec::new();
    }
    let compiled = tasks.iter().map(|(name, task)| {
        check_name(cx, name);
        TaskParams {
            name: TaskName::new(name.as_str()),
            place: cx.place(at!["tasks", name.as_str()]),
            examples: examples(cx, name, &task.examples),
        }
    });
    let compiled: Vec<TaskParams> = compiled.collect();
    warn_shared(cx, &compiled);
    compiled
}

fn check_name(cx: &mut Context<'_, '_>, name: &str) {
    let at = at!["tasks", name];
    if name == "default" || BUILT_IN_TASKS.contains(&name) {
        cx.error_hint(
            at,
            format!("`{name}` is a built-in name"),
            "choose another; requests of that kind are recognised already",
        );
    }
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
    };
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
        cx.error(
            at,
            format!(
                "`{name}` cannot be a task's name: lower-case letters, digits, `_` and `-`, at most \
                 {MAX_NAME_BYTES} of them"
            ),
        );
    }
}

fn examples(
    cx: &mut Context<'_, '_>,
    name: &str,
    examples: &[String],
) -> Vec<(String, crate::config::Place)> {
    let whole = at!["tasks", name, "examples"];
    if !(MIN_EXAMPLES..=MAX_EXAMPLES).contains(&examples.len()) && !cx.was_removed(whole) {
        let message = format!(
            "{} examples; {MIN_EXAMPLES} to {MAX_EXAMPLES} are needed, ten or more are good",
            examples.len()
        );
        cx.error(whole, message);
    }
    let mut seen: FxHashMap<String, usize> = FxHashMap::default();
    let mut placed = Vec::with_capacity(examples.len());
    for (index, example) in examples.iter().enumerate() {
        let at = at!["tasks", name, "examples", index];
        if !example.chars().any(char::is_alphanumeric) {
            cx.error(at, "an example without words");
        }
        let same = example.trim().to_lowercase();
        if let Some(earlier) = seen.insert(same, index) {
            let message = format!("the same example as examples[{earlier}]");
            cx.error_hint(
                at,
                message,
                "say it in other words, as another person would",
            );
        }
        placed.push((example.clone(), cx.place(at)));
    }
    placed
}

/// An example of two tasks can belong to neither.
fn warn_shared(cx: &mut Context<'_, '_>, tasks: &[TaskParams]) {
    let mut owner: FxHashMap<String, &TaskName> = FxHashMap::default();
    for task in tasks {
        for (index, (example, _)) in task.examples.iter().enumerate() {
            let same = example.trim().to_lowercase();
            let first = *owner.entry(same).or_insert(&task.name);
            if first != &task.name {
                cx.error(
                    at!["tasks", task.name.as_str(), "examples", index],
                    format!("also an example of `{first}`"),
                );
            }
        }
    }
}
