//! The rows under `data/`: known labels, values in range, no text twice, nothing of the measuring
//! set among the rows to train on.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::Value;
use tollgate::config::BUILT_IN_TASKS;

fn rows(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data")
        .join(name);
    let text = std::fs::read_to_string(path).expect("readable");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect()
}

#[test]
fn rows_are_sound_distinct_and_balanced() {
    let (mut ids, mut texts) = (HashSet::new(), HashSet::new());
    let mut by_task: BTreeMap<String, usize> = BTreeMap::new();
    for file in [
        "own_es_measure.jsonl",
        "own_en.jsonl",
        "own_multi.jsonl",
        "own_es.jsonl",
    ] {
        for row in rows(file) {
            let text = row["text"].as_str().expect("a text").to_owned();
            let task = row["task"].as_str().expect("a task").to_owned();
            let complexity = row["complexity"].as_f64().expect("a complexity");
            assert!(
                BUILT_IN_TASKS.contains(&task.as_str()),
                "{file}: unknown task `{task}`"
            );
            assert!(
                (0.0..=1.0).contains(&complexity),
                "{file}: complexity {complexity}"
            );
            assert!(
                row["output_tokens"].as_u64().is_some_and(|count| count > 0),
                "{file}: {row}"
            );
            assert!(
                ids.insert(row["id"].to_string()),
                "{file}: {} twice",
                row["id"]
            );
            assert!(
                texts.insert(text),
                "{file}: the text of {} is there twice",
                row["id"]
            );
            *by_task.entry(task).or_default() += 1;
        }
    }
    assert_eq!(by_task.len(), BUILT_IN_TASKS.len(), "{by_task:?}");
    let least = by_task.values().min().copied().unwrap_or(0);
    assert!(
        least * 20 >= ids.len() / BUILT_IN_TASKS.len(),
        "a task has hardly any rows: {by_task:?}"
    );
}
