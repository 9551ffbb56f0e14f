//! What must hold of training rows: labels that exist, no text twice, nothing of the measuring sets.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::words::{Class, Words, mix};
use super::rows::Row;

/// Words in a row that make two texts alike when they stand in both.
const SHINGLE: usize = 8;
/// Share of a row's shingles that a measuring set may have.
const MOST_SHARED: f32 = 0.2;

/// What is wrong with rows, for people.
#[must_use]
pub fn problems(rows: &[Row], measured: &[Row]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut ids: HashSet<&str> = HashSet::new();
    let mut texts: HashMap<Vec<u64>, &str> = HashMap::new();
    for row in rows {
        if !row.id.is_empty() && !ids.insert(&row.id) {
            problems.push(format!("{}: this id is there twice", row.id));
        }
        let context: usize = row.turns.iter().map(|turn| turn.text.len()).sum();
        let mut key = hashes(&row.text);
        key.push((context + row.system.as_ref().map_or(0, String::len)) as u64);
        if let Some(other) = texts.insert(key, &row.id) {
            problems.push(format!("{}: the same text as {other}", row.id));
        }
    }
    problems.extend(leaks(rows, measured));
    problems
}

/// Rows that share more than a turn of phrase with a measuring set.
fn leaks(rows: &[Row], measured: &[Row]) -> Vec<String> {
    let held: HashSet<u64> = measured
        .iter()
        .flat_map(|row| shingles(&row.text))
        .collect();
    let whole: HashSet<Vec<u64>> = measured.iter().map(|row| hashes(&row.text)).collect();
    let mut leaks = Vec::new();
    for row in rows {
        let own = shingles(&row.text);
        let shared = own.iter().filter(|shingle| held.contains(shingle)).count();
        #[allow(clippy::cast_precision_loss, reason = "counts are small")]
        let much = shared as f32 > MOST_SHARED * own.len() as f32;
        if much || whole.contains(&hashes(&row.text)) {
            leaks.push(format!(
                "{}: {shared} of {} runs of {SHINGLE} words stand in a measuring set",
                row.id,
                own.len()
            ));
        }
    }
    leaks
}

fn hashes(text: &str) -> Vec<u64> {
    let text = super::super::excerpt::normalise(text);
    let words = Words::of(&text);
    let mut hashes: Vec<u64> = words
        .all
        .iter()
        .filter(|word| matches!(word.class, Class::Letters | Class::Number))
        .map(|word| word.hash)
        .collect();
    if hashes.is_empty() {
        hashes.extend(words.all.iter().map(|word| word.hash));
        hashes.push(text.len() as u64);
    }
    hashes
}

fn shingles(text: &str) -> HashSet<u64> {
    hashes(text)
        .windows(SHINGLE)
        .map(|words| words.iter().fold(0, |hash, word| mix(hash, *word)))
        .collect()
}

/// Rows by task and by language.
#[must_use]
pub fn balance(rows: &[Row]) -> (BTreeMap<String, usize>, BTreeMap<String, usize>) {
    let mut tasks = BTreeMap::new();
    let mut languages = BTreeMap::new();
    for row in rows {
        if let Some(task) = &row.task {
            *tasks.entry(task.clone()).or_default() += 1;
        }
        if let Some(language) = &row.lang {
            *languages.entry(language.clone()).or_default() += 1;
        }
    }
    (tasks, languages)
}

#[cfg(test)]
mod tests {
    use super::super::rows::load;
    use super::*;
    use std::path::{Path, PathBuf};

    fn own(files: &[&str]) -> Vec<Row> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
        files
            .iter()
            .flat_map(|file| load(&directory.join(file)).expect("sound rows"))
            .collect()
    }

    /// The measuring sets lie beside the repository, where they are present.
    fn shared(file: &str) -> Option<PathBuf> {
        let directory = std::env::var_os("TOLLGATE_SHARED_DATA").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
            PathBuf::from,
        );
        Some(directory.join(file)).filter(|path| path.exists())
    }

    #[test]
    fn own_rows_are_sound_and_balanced() {
        let rows = own(&["own_en.jsonl", "own_multi.jsonl", "own_es.jsonl"]);
        let mut measured = own(&["own_es_measure.jsonl", "own_es_measure_en.jsonl"]);
        for file in ["prompts_measure_only.jsonl", "prompts_dev.jsonl"] {
            if let Some(path) = shared(file) {
                measured.extend(load(&path).expect("sound rows"));
            }
        }
        assert_eq!(problems(&rows, &measured), Vec::<String>::new());
        let (tasks, languages) = balance(&rows);
        assert_eq!(tasks.len(), 16, "{tasks:?}");
        assert!(tasks.values().all(|count| *count >= 120), "{tasks:?}");
        assert!(languages.len() >= 10, "{languages:?}");
    }

    #[test]
    fn frames_leak_nothing() {
        let rows = own(&[
            "frames_en.jsonl",
            "frames_es.jsonl",
            "frames_injection.jsonl",
            "frames_injection2.jsonl",
        ]);
        let mut measured = own(&["own_es_measure.jsonl", "own_injection_measure.jsonl"]);
        for file in ["prompts_measure_only.jsonl", "injection_dev.jsonl"] {
            if let Some(path) = shared(file) {
                measured.extend(load(&path).expect("sound rows"));
            }
        }
        // Frames may share a text with each other in different case; they may not with what measures.
        assert_eq!(leaks(&rows, &measured), Vec::<String>::new());
    }

    #[test]
    fn copies_and_leaks_are_found() {
        let row = |id: &str, text: &str| Row {
            id: id.to_owned(),
            text: text.to_owned(),
            ..Row::default()
        };
        let rows = [
            row("a", "one two three four five six seven eight nine"),
            row("b", "One two, three four five six seven eight nine!"),
            row("c", "hello"),
        ];
        let measured = [row("m", "one two three four five six seven eight nine ten")];
        let found = problems(&rows, &measured);
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
