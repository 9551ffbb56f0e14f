//! `matrix`

use indexmap::IndexMap;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Context, at};
use crate::config::schema::{RowConfig, WhenConfig};
use crate::config::snapshot::{
    LevelRule, Matrix, Model, ResilienceParams, Row, VirtualModel, When,
};
use crate::config::suggest;
use crate::config::tree::Step;
use crate::types::{LevelName, TaskName};

/// The levels of a row that does not define its own, lowest first.
const STANDARD_LEVELS: [&str; 3] = ["simple", "complex", "critical"];

pub fn compile(
    cx: &mut Context<'_, '_>,
    matrix: &IndexMap<String, RowConfig>,
    models: &[Model],
) -> Matrix {
    let mut rows = FxHashMap::default();
    let mut default = None;
    for (task, row) in matrix {
        let compiled = compile_row(cx, task, row, models);
        if task == "default" {
            default = Some(compiled);
        } else if cx.names.tasks.contains(task.as_str()) {
            rows.insert(TaskName::new(task.as_str()), compiled);
        } else {
            cx.unknown(at!["matrix", task.as_str()], "task", task, |names| {
                &names.tasks
            });
        }
    }
    let has_default = cx
        .root
        .get("matrix")
        .is_some_and(|rows| rows.get("default").is_some());
    if !has_default && cx.names.has_matrix && !cx.was_removed(at!["matrix", "default"]) {
        cx.error_hint(
            at!["matrix"],
            "missing row `default`: it serves every task without a row of its own",
            "add `default: { simple: […], complex: […], critical: […] }`",
        );
    }
    Matrix {
        rows,
        default: default.unwrap_or_else(|| Row {
            levels: Vec::new(),
            cells: FxHashMap::default(),
        }),
    }
}

fn compile_row(cx: &mut Context<'_, '_>, task: &str, row: &RowConfig, models: &[Model]) -> Row {
    let levels = levels(cx, task, row);
    let own: Vec<&str> = match &row.levels {
        Some(levels) => levels.keys().map(String::as_str).collect(),
        None => STANDARD_LEVELS.to_vec(),
    };
    let mut cells = FxHashMap::default();
    for (level, names) in &row.cells {
        if !own.contains(&level.as_str()) {
            let hint = suggest::nearest(level, own.iter().copied()).unwrap_or_default();
            let at = at!["matrix", task, level.as_str()];
            let place = cx.root.locate(at, true);
            let message = format!("unknown level `{level}`");
            cx.findings
                .add(super::Severity::Error, place, message, Some(hint));
            continue;
        }
        cells.insert(
            LevelName::new(level.as_str()),
            cell(cx, task, level, names, models),
        );
    }
    for level in &own {
        let defined = cx
            .root
            .get("matrix")
            .and_then(|matrix| matrix.get(task))
            .is_some_and(|row| row.get(level).is_some());
        // A standard row falls to its next lower level; one of its own levels must say what it means.
        let needed = row.levels.is_some() || (task == "default" && *level == "simple");
        if needed && !defined && !cx.was_removed(at!["matrix", task, *level]) {
            let at = at!["matrix", task];
            let message = format!("no candidates for level `{level}`");
            cx.error_hint(at, message, format!("add `{level}: [model, …]`"));
        }
    }
    Row { levels, cells }
}

fn levels(cx: &mut Context<'_, '_>, task: &str, row: &RowConfig) -> Vec<LevelRule> {
    let Some(levels) = &row.levels else {
        return Vec::new();
    };
    if levels.is_empty() {
        cx.error(
            at!["matrix", task, "levels"],
            "a row with `levels` needs at least one",
        );
    }
    let mut always: Option<&str> = None;
    let mut compiled = Vec::with_capacity(levels.len());
    for (name, level) in levels {
        let at = at!["matrix", task, "levels", name.as_str()];
        if name == "levels" {
            cx.error(at, "`levels` cannot be the name of a level");
        }
        if let Some(earlier) = always {
            cx.warn(
                at,
                format!("never reached: `{earlier}` before it holds always"),
                "put the level without conditions last",
            );
        }
        if level.when.is_empty() {
            always = always.or(Some(name));
        }
        let when_at = at!["matrix", task, "levels", name.as_str(), "when"];
        compiled.push(LevelRule {
            name: LevelName::new(name.as_str()),
            when: when(cx, when_at, &level.when),
        });
    }
    if always.is_none() && !levels.is_empty() {
        cx.warn(
            at!["matrix", task, "levels"],
            "no level holds always: what matches none is served by the row `default`",
            "end with a level without conditions, as `other: {}`",
        );
    }
    compiled
}

impl WhenConfig {
    /// True without conditions.
    pub(super) fn is_empty(&self) -> bool {
        self.keywords.is_empty()
            && self.languages.is_empty()
            && self.min_complexity.is_none()
            && self.max_complexity.is_none()
            && self.min_input_tokens.is_none()
            && self.max_input_tokens.is_none()
            && self.min_output_tokens.is_none()
            && self.max_output_tokens.is_none()
    }
}

/// Conditions, lower-cased and checked for ranges that nothing can be in.
pub fn when(cx: &mut Context<'_, '_>, at: &[Step<'_>], when: &WhenConfig) -> When {
    let empty_ranges = [
        (
            "complexity",
            exceeds(when.min_complexity, when.max_complexity),
        ),
        (
            "input_tokens",
            exceeds(when.min_input_tokens, when.max_input_tokens),
        ),
        (
            "output_tokens",
            exceeds(when.min_output_tokens, when.max_output_tokens),
        ),
    ];
    for (name, empty) in empty_ranges {
        if empty {
            let message = format!("never holds: min_{name} is above max_{name}");
            cx.error(at, message);
        }
    }
    for keyword in &when.keywords {
        if keyword.trim().is_empty() {
            cx.error(at, "an empty keyword would match everything");
        }
    }
    for language in &when.languages {
        let short = (2..=3).contains(&language.len());
        if !short || !language.bytes().all(|byte| byte.is_ascii_lowercase()) {
            cx.error(
                at,
                format!("`{language}` is no ISO 639-1 code, such as `es`"),
            );
        }
    }
    When {
        keywords: when
            .keywords
            .iter()
            .map(|word| word.trim().to_lowercase())
            .collect(),
        min_complexity: when.min_complexity,
        max_complexity: when.max_complexity,
        min_input_tokens: when.min_input_tokens,
        max_input_tokens: when.max_input_tokens,
        min_output_tokens: when.min_output_tokens,
        max_output_tokens: when.max_output_tokens,
        languages: when.languages.clone(),
    }
}

fn exceeds<T: PartialOrd>(least: Option<T>, most: Option<T>) -> bool {
    matches!((least, most), (Some(least), Some(most)) if least > most)
}

fn cell(
    cx: &mut Context<'_, '_>,
    task: &str,
    level: &str,
    names: &[String],
    models: &[Model],
) -> Vec<usize> {
    let at = at!["matrix", task, level];
    let written = cx
        .root
        .get("matrix")
        .and_then(|matrix| matrix.get(task))
        .and_then(|row| row.get(level))
        .is_some_and(|cell| cell.items().is_empty());
    if names.is_empty() && written {
        cx.error(at, "an empty cell; name at least one model");
    }
    candidates(cx, at, names, models)
}

/// Models that can generate, each once, in order.
pub fn candidates(
    cx: &mut Context<'_, '_>,
    at: &[Step<'_>],
    names: &[String],
    models: &[Model],
) -> Vec<usize> {
    let mut compiled: Vec<usize> = Vec::with_capacity(names.len());
    let mut at = at.to_vec();
    for (index, name) in names.iter().enumerate() {
        at.push(Step::from(index));
        if let Some(found) = cx.model(&at, name) {
            if compiled.contains(&found) {
                cx.warn(&at, format!("`{name}` is listed twice"), "remove one");
            } else if models.get(found).is_some_and(|model| model.embeddings) {
                cx.error(
                    &at,
                    format!("`{name}` serves embeddings and cannot generate"),
                );
            } else {
                compiled.push(found);
            }
        }
        at.pop();
    }
    compiled
}

/// Models that no request can be routed to: in no cell and on no rung of the ladder.
pub fn warn_unreachable(
    cx: &mut Context<'_, '_>,
    matrix: &Matrix,
    virtual_models: &FxHashMap<Box<str>, VirtualModel>,
    models: &[Model],
    resilience: &ResilienceParams,
) {
    let cells = matrix
        .rows
        .values()
        .chain(std::iter::once(&matrix.default))
        .flat_map(|row| row.cells.values().flatten());
    let listed = virtual_models
        .values()
        .flat_map(|virtual_model| virtual_model.models.iter().flatten());
    let equivalents = models.iter().flat_map(|model| model.equivalents.iter());
    let reached: FxHashSet<usize> = cells.chain(listed).chain(equivalents).copied().collect();
    for (index, model) in models.iter().enumerate() {
        let on_ladder = resilience.fallback.ladder.contains(&model.tier);
        if !reached.contains(&index) && !on_ladder && !model.embeddings {
            cx.warn(
                at!["models", model.id.as_str()],
                format!(
                    "in no cell, and tier `{}` is not on the fallback ladder: it serves only \
                     clients that ask for it by name",
                    model.tier
                ),
                "put it into a cell of `matrix`, or its tier on `resilience.fallback.ladder`",
            );
        }
    }
}
