//! Features → cell: which row and level of the matrix a request belongs to. The client's headers win
//! over the classifier; what they name must exist.

use memchr::memmem;

use crate::config::snapshot::{ClassifierParams, LevelRule, Matrix, Row, Snapshot, When};
use crate::error::ProxyError;
use crate::types::{Call, Features, LevelName, Role, TaskName};

use super::excerpt::{Bounds, Excerpt, normalise};
use super::task::Task;

/// A cell of the matrix: where the candidates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The row that is used: the task's, or `default`.
    pub row: TaskName,
    /// The level that is used; one that the row has candidates for.
    pub level: LevelName,
}

/// The standard levels, from easy to hard.
pub const STANDARD_LEVELS: [&str; 3] = ["simple", "complex", "critical"];

/// The name of the row for every task without a row of its own.
pub const DEFAULT_ROW: &str = "default";

/// Finds the cell of a request.
///
/// # Errors
/// 400 when `x-tollgate-task` or `x-tollgate-level` names what does not exist; the message names what does.
pub fn cell_of(snapshot: &Snapshot, call: &Call, features: &Features) -> Result<Cell, ProxyError> {
    let matrix = &snapshot.matrix;
    let (name, row) = row_of(snapshot, call, features)?;
    if let Some(asked) = &call.directives.level {
        return asked_level(matrix, &name, row, asked);
    }
    let wanted = classified_level(&snapshot.classifier, row, call, features);
    if let Some(level) = at_or_below(row, &wanted) {
        return Ok(Cell { row: name, level });
    }
    // The row has nothing so easy: `default` serves it, at the level of its own rules.
    let wanted = classified_level(&snapshot.classifier, &matrix.default, call, features);
    let level = at_or_below(&matrix.default, &wanted)
        .or_else(|| lowest(&matrix.default))
        .unwrap_or(wanted);
    Ok(Cell {
        row: TaskName::new(DEFAULT_ROW),
        level,
    })
}

/// The task that a request is treated as: the client's word, else the classifier's.
#[must_use]
pub fn task_of(call: &Call, features: &Features) -> TaskName {
    match &call.directives.task {
        Some(task) => TaskName::new(task.as_str()),
        None => features.task.clone(),
    }
}

fn row_of<'s>(
    snapshot: &'s Snapshot,
    call: &Call,
    features: &Features,
) -> Result<(TaskName, &'s Row), ProxyError> {
    let matrix = &snapshot.matrix;
    let default = || (TaskName::new(DEFAULT_ROW), &matrix.default);
    if let Some(asked) = &call.directives.task {
        if let Some((name, row)) = matrix.rows.get_key_value(asked.as_str()) {
            return Ok((name.clone(), row));
        }
        let own = &snapshot.classifier.tasks;
        if asked == DEFAULT_ROW
            || Task::parse(asked).is_some()
            || own.iter().any(|task| task.name.as_str() == asked)
        {
            return Ok(default());
        }
        return Err(ProxyError::invalid(
            "x-tollgate-task",
            format!(
                "unknown task `{}` in x-tollgate-task; there are: {}",
                shorten(asked),
                task_names(snapshot).join(", ")
            ),
        ));
    }
    if features.confidence < snapshot.classifier.min_confidence {
        return Ok(default());
    }
    Ok(matrix
        .rows
        .get_key_value(&features.task)
        .map_or_else(default, |(name, row)| (name.clone(), row)))
}

fn task_names(snapshot: &Snapshot) -> Vec<&str> {
    let mut names: Vec<&str> = Task::ALL.iter().map(|task| task.as_str()).collect();
    let own = &snapshot.classifier.tasks;
    names.extend(own.iter().map(|task| task.name.as_str()));
    names
}

fn asked_level(
    matrix: &Matrix,
    name: &TaskName,
    row: &Row,
    asked: &str,
) -> Result<Cell, ProxyError> {
    let known = |row: &Row| {
        row.cells.contains_key(asked)
            || row.levels.iter().any(|rule| rule.name.as_str() == asked)
            || STANDARD_LEVELS.contains(&asked)
    };
    let wanted = LevelName::new(asked);
    for (name, row) in [
        (name.clone(), row),
        (TaskName::new(DEFAULT_ROW), &matrix.default),
    ] {
        let level = at_or_below(row, &wanted).filter(|_| known(row));
        if let Some(level) = level {
            return Ok(Cell { row: name, level });
        }
    }
    let mut levels: Vec<&str> = row.cells.keys().map(LevelName::as_str).collect();
    levels.sort_unstable();
    Err(ProxyError::invalid(
        "x-tollgate-level",
        format!(
            "unknown level `{}` in x-tollgate-level for row `{name}`; there are: {}",
            shorten(asked),
            levels.join(", ")
        ),
    ))
}

/// What a client wrote, short enough for a message.
fn shorten(text: &str) -> &str {
    &text[..text.floor_char_boundary(text.len().min(64))]
}

/// The first of the row's own levels that holds, else the standard level of the complexity.
fn classified_level(
    params: &ClassifierParams,
    row: &Row,
    call: &Call,
    features: &Features,
) -> LevelName {
    if row.levels.is_empty() {
        return LevelName::new(standard_level(params, features.complexity));
    }
    let mut text = None;
    row.levels
        .iter()
        .find(|rule| holds(&rule.when, call, features, &mut text))
        .or_else(|| row.levels.last())
        .map_or_else(|| LevelName::new("simple"), |rule| rule.name.clone())
}

/// The standard level of a complexity.
#[must_use]
pub fn standard_level(params: &ClassifierParams, complexity: f32) -> &'static str {
    if complexity >= params.critical_from {
        "critical"
    } else if complexity >= params.complex_from {
        "complex"
    } else {
        "simple"
    }
}

/// The standard level of a complexity by the thresholds of a file that says nothing: 0 `simple`,
/// 1 `complex`, 2 `critical`.
#[must_use]
pub fn standard_level_of(complexity: f32) -> u8 {
    u8::from(complexity >= USUAL_THRESHOLDS[0]) + u8::from(complexity >= USUAL_THRESHOLDS[1])
}

/// `classifier.thresholds` of a file that says nothing; a test compares.
const USUAL_THRESHOLDS: [f32; 2] = [0.4, 0.8];

/// The level, or the next lower one that the row has candidates for. Own levels go down in the order
/// of the file: what is written later is the more general.
fn at_or_below(row: &Row, wanted: &LevelName) -> Option<LevelName> {
    let has = |level: &str| row.cells.get(level).is_some_and(|cell| !cell.is_empty());
    if has(wanted.as_str()) {
        return Some(wanted.clone());
    }
    if row.levels.is_empty() {
        let at = STANDARD_LEVELS
            .iter()
            .position(|level| *level == wanted.as_str())?;
        return STANDARD_LEVELS[..at]
            .iter()
            .rev()
            .find(|level| has(level))
            .map(|level| LevelName::new(*level));
    }
    let at = row.levels.iter().position(|rule| rule.name == *wanted)?;
    row.levels[at..]
        .iter()
        .map(|rule| &rule.name)
        .find(|level| has(level.as_str()))
        .cloned()
}

fn lowest(row: &Row) -> Option<LevelName> {
    let standard = STANDARD_LEVELS
        .iter()
        .find_map(|level| row.cells.get_key_value(*level));
    standard
        .map(|(level, _)| level.clone())
        .or_else(|| row.levels.last().map(|rule: &LevelRule| rule.name.clone()))
        .or_else(|| row.cells.keys().min().cloned())
}

/// How much of the last user turn `keywords` look at.
const KEYWORD_BOUNDS: Bounds = Bounds {
    head: 32_768,
    tail: 32_768,
};

/// True when every given condition holds. `text` keeps the folded turn between calls.
pub fn holds(when: &When, call: &Call, features: &Features, text: &mut Option<String>) -> bool {
    let output = call
        .max_output_tokens
        .unwrap_or(features.output_tokens_estimate);
    let at_least = |bound: Option<u64>, value: u64| bound.is_none_or(|bound| value >= bound);
    let at_most = |bound: Option<u64>, value: u64| bound.is_none_or(|bound| value <= bound);
    when.min_complexity
        .is_none_or(|bound| features.complexity >= bound)
        && when
            .max_complexity
            .is_none_or(|bound| features.complexity < bound)
        && at_least(when.min_input_tokens, features.input_tokens)
        && at_most(when.max_input_tokens, features.input_tokens)
        && at_least(when.min_output_tokens, output)
        && at_most(when.max_output_tokens, output)
        && (when.languages.is_empty() || when.languages.contains(&features.language))
        && (when.keywords.is_empty() || has_keyword(&when.keywords, call, text))
}

fn has_keyword(keywords: &[String], call: &Call, text: &mut Option<String>) -> bool {
    let text = text.get_or_insert_with(|| {
        let last = call.turns.iter().rfind(|turn| turn.role == Role::User);
        Excerpt::of(call, last.into_iter(), KEYWORD_BOUNDS).text
    });
    keywords.iter().any(|keyword| {
        let keyword = normalise(keyword);
        memmem::find_iter(text.as_bytes(), keyword.as_bytes())
            .any(|at| is_whole_word(text.as_bytes(), at, at + keyword.len()))
    })
}

/// Keywords are words or phrases: `ad` does not occur in `load`; a plural `s` is forgiven.
fn is_whole_word(text: &[u8], start: usize, end: usize) -> bool {
    let before = start == 0 || !text[start - 1].is_ascii_alphanumeric();
    let after = |at: usize| {
        text.get(at)
            .is_none_or(|byte| !byte.is_ascii_alphanumeric())
    };
    before && (after(end) || (text.get(end) == Some(&b's') && after(end + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Classifier;
    use crate::classify::tests_support::call_with;

    const FILE: &str = r"
version: 1
state: { store: memory }
auth: { mode: open }
providers: { one: { simulated: { seed: 1 } } }
models: { a: { provider: one, price: 0 } }
matrix:
  open_qa: { simple: [a], complex: [a] }
  math_reasoning: { critical: [a] }
  creative_writing:
    levels:
      marketing: { when: { keywords: [slogan, landing page] } }
      long: { when: { min_output_tokens: 800 } }
      short: {}
    short: [a]
    long: [a]
    marketing: [a]
  default: { simple: [a], complex: [a], critical: [a] }
";

    fn cell(prompt: &str, change: impl Fn(&mut Call, &mut Features)) -> Result<String, String> {
        let snapshot = crate::config::load(FILE, "test.yaml", &|_| None, 0)
            .unwrap_or_else(|problems| panic!("{problems:#?}"));
        let mut call = call_with(prompt);
        let mut features = Classifier::builtin().classify(&call);
        change(&mut call, &mut features);
        cell_of(&snapshot, &call, &features)
            .map(|cell| format!("{}/{}", cell.row, cell.level))
            .map_err(|error| error.message)
    }

    fn check(prompt: &str, change: impl Fn(&mut Call, &mut Features), expect: &str) {
        let got = cell(prompt, change).unwrap_or_else(|message| panic!("{message}"));
        assert_eq!(got, expect, "{prompt}");
    }

    #[test]
    fn complexity_and_conditions_choose_the_level() {
        let easy = "What is the capital of Mongolia?";
        check(easy, |_, _| {}, "open_qa/simple");
        check(
            easy,
            |_, features| features.complexity = 0.6,
            "open_qa/complex",
        );
        // The row has no `critical`: its next lower one.
        check(
            easy,
            |_, features| features.complexity = 0.9,
            "open_qa/complex",
        );
        check(
            "Write a poem about the sea",
            |_, _| {},
            "creative_writing/short",
        );
        check(
            "Write a poem of 900 words about the sea",
            |_, _| {},
            "creative_writing/long",
        );
        check(
            "Write a story with two SLOGANS in it",
            |_, _| {},
            "creative_writing/marketing",
        );
        check(
            "Write a story about sloganeering",
            |_, _| {},
            "creative_writing/short",
        );
    }

    #[test]
    fn uncertain_requests_and_missing_levels_go_to_the_default_row() {
        check("xqz vrt", |_, _| {}, "default/simple");
        let easy = "What is the capital of Mongolia?";
        check(
            easy,
            |_, features| features.confidence = 0.3,
            "default/simple",
        );
        // `math_reasoning` has only `critical`, and nothing lower.
        check(
            "Solve for x: 3x + 2 = 0",
            |_, features| features.complexity = 0.1,
            "default/simple",
        );
    }

    #[test]
    fn headers_win_and_must_name_what_exists() {
        let asks = |task: Option<&'static str>, level: Option<&'static str>| {
            move |call: &mut Call, _: &mut Features| {
                call.directives.task = task.map(str::to_owned);
                call.directives.level = level.map(str::to_owned);
            }
        };
        check(
            "hi",
            asks(Some("open_qa"), Some("complex")),
            "open_qa/complex",
        );
        check(
            "hi",
            asks(Some("open_qa"), Some("critical")),
            "open_qa/complex",
        );
        check(
            "hi",
            asks(Some("translation"), Some("critical")),
            "default/critical",
        );
        check(
            "hi",
            asks(Some("creative_writing"), Some("marketing")),
            "creative_writing/marketing",
        );
        let task = cell("hi", asks(Some("poetry"), None)).expect_err("refused");
        assert!(
            task.contains("`poetry`") && task.contains("creative_writing"),
            "{task}"
        );
        let level = cell("hi", asks(Some("open_qa"), Some("hard"))).expect_err("refused");
        assert!(
            level.contains("`hard`") && level.contains("complex, simple"),
            "{level}"
        );
    }
}
