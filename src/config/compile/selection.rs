//! `classifier`, `select`, `virtual_models`, `aliases` and `cache`

use indexmap::IndexMap;
use rustc_hash::FxHashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{Context, at, matrix, seconds, secret};
use crate::config::schema::{
    CacheConfig, ClassifierConfig, ObjectiveConfig, PolicyConfig, SelectConfig, TemplateConfig,
    VirtualModelConfig,
};
use crate::config::snapshot::{
    Alias, CacheParams, ClassifierParams, Model, Objective, Policy, SelectParams, Template,
    VirtualModel,
};
use crate::config::tree::Step;
use crate::runtime::LearnParams;
use crate::types::caller::wildcard_matches;

/// One request in ten explores: noticeable learning at little cost.
const USUAL_EPSILON: f64 = 0.1;
/// A week: models change behind their names, but not daily.
const USUAL_HALF_LIFE_HOURS: f64 = 168.0;
/// As sure of the prior as of ten observations.
const USUAL_PRIOR_WEIGHT: f64 = 10.0;

pub fn compile_classifier(
    cx: &mut Context<'_, '_>,
    classifier: &ClassifierConfig,
) -> ClassifierParams {
    let thresholds = &classifier.thresholds;
    if thresholds.complex > thresholds.critical {
        cx.error(
            at!["classifier", "thresholds"],
            format!(
                "`complex` ({}) is above `critical` ({}): no request would be complex",
                thresholds.complex, thresholds.critical
            ),
        );
    }
    ClassifierParams {
        complex_from: thresholds.complex,
        critical_from: thresholds.critical,
        min_confidence: classifier.min_confidence,
        model: classifier.model.as_deref().map(|path| {
            let place = cx.place(at!["classifier", "model"]);
            if path.trim().is_empty() {
                cx.error(
                    at!["classifier", "model"],
                    "an empty path; leave it out for the built-in weights",
                );
            }
            (PathBuf::from(path), place)
        }),
        tasks: Vec::new(),
    }
}

/// What a section leaves out comes from `base`, else from the built-in defaults.
pub fn compile_select(
    cx: &mut Context<'_, '_>,
    at: &[Step<'_>],
    select: &SelectConfig,
    base: Option<&SelectParams>,
) -> SelectParams {
    let objective = match (select.objective, base) {
        (Some(objective), _) => objective_of(objective),
        (None, Some(base)) => base.objective,
        (None, None) => objective_of(ObjectiveConfig::default()),
    };
    let half_life = select
        .half_life_hours
        .map(|hours| Duration::try_from_secs_f64(hours * 3600.0).unwrap_or(Duration::MAX));
    SelectParams {
        policy: match (select.policy, base) {
            (Some(policy), _) => policy_of(policy),
            (None, Some(base)) => base.policy,
            (None, None) => Policy::First,
        },
        epsilon: select
            .epsilon
            .unwrap_or(base.map_or(USUAL_EPSILON, |base| base.epsilon)),
        objective,
        weights: match (&select.weights, base) {
            (Some(weights), _) => weights_of(cx, at, weights),
            (None, Some(base)) => base.weights.clone(),
            (None, None) => FxHashMap::default(),
        },
        learn: LearnParams {
            half_life: half_life.unwrap_or_else(|| {
                base.map_or_else(
                    || Duration::from_secs_f64(USUAL_HALF_LIFE_HOURS * 3600.0),
                    |base| base.learn.half_life,
                )
            }),
            prior_weight: select
                .prior_weight
                .unwrap_or(base.map_or(USUAL_PRIOR_WEIGHT, |base| base.learn.prior_weight)),
        },
    }
}

fn objective_of(objective: ObjectiveConfig) -> Objective {
    Objective {
        quality: objective.quality,
        cost: objective.cost,
        latency: objective.latency,
    }
}

fn policy_of(policy: PolicyConfig) -> Policy {
    match policy {
        PolicyConfig::First => Policy::First,
        PolicyConfig::Cheapest => Policy::Cheapest,
        PolicyConfig::Fastest => Policy::Fastest,
        PolicyConfig::Weighted => Policy::Weighted,
        PolicyConfig::EpsilonGreedy => Policy::EpsilonGreedy,
        PolicyConfig::Thompson => Policy::Thompson,
        PolicyConfig::Contextual => Policy::Contextual,
    }
}

fn weights_of(
    cx: &mut Context<'_, '_>,
    at: &[Step<'_>],
    weights: &IndexMap<String, f64>,
) -> FxHashMap<usize, f64> {
    let mut compiled = FxHashMap::default();
    for (name, weight) in weights {
        let mut at = at.to_vec();
        at.extend([Step::from("weights"), Step::from(name.as_str())]);
        if !weight.is_finite() || *weight < 0.0 {
            cx.error(&at, format!("{weight} is out of range; allowed: 0 or more"));
        } else if let Some(model) = cx.model(&at, name) {
            compiled.insert(model, *weight);
        }
    }
    compiled
}

pub fn compile_virtual(
    cx: &mut Context<'_, '_>,
    virtual_models: &IndexMap<String, VirtualModelConfig>,
    select: &SelectParams,
    models: &[Model],
) -> FxHashMap<Box<str>, VirtualModel> {
    let mut compiled: FxHashMap<Box<str>, VirtualModel> = FxHashMap::default();
    for (name, virtual_model) in virtual_models {
        let name = name.as_str();
        if cx.names.models.contains(name) {
            cx.error(
                at!["virtual_models", name],
                format!("`{name}` is also a name under `models`"),
            );
        }
        let at = at!["virtual_models", name, "models"];
        let own = virtual_model.models.as_deref().map(|names| {
            if names.is_empty() {
                cx.error_hint(at, "an empty list", "leave `models` out to use the matrix");
            }
            matrix::candidates(cx, at, names, models)
        });
        let at = at!["virtual_models", name, "select"];
        let own_select = compile_select(cx, at, &virtual_model.select, Some(select));
        compiled.insert(
            name.into(),
            VirtualModel {
                select: own_select,
                models: own,
            },
        );
    }
    compiled
        .entry("auto".into())
        .or_insert_with(|| VirtualModel {
            select: select.clone(),
            models: None,
        });
    compiled
}

pub fn compile_aliases(
    cx: &mut Context<'_, '_>,
    aliases: &IndexMap<String, String>,
    virtual_models: &FxHashMap<Box<str>, VirtualModel>,
) -> Vec<Alias> {
    let mut compiled: Vec<Alias> = Vec::with_capacity(aliases.len());
    for (pattern, target) in aliases {
        let at = at!["aliases", pattern.as_str()];
        if pattern.trim().is_empty() {
            cx.error(at, "an empty alias");
            continue;
        }
        if virtual_models.contains_key(pattern.as_str()) {
            let message = format!("never used: `{pattern}` is a virtual model");
            cx.warn(at, message, "rename one of the two");
        }
        // Later patterns under an earlier one are dead; the star itself stands for the worst case.
        let shadow = compiled
            .iter()
            .take(SHADOWS_CHECKED)
            .find(|earlier| wildcard_matches(&earlier.pattern, pattern));
        if let Some(earlier) = shadow {
            let message = format!("never used: `{}` before it matches too", earlier.pattern);
            cx.warn(at, message, "put the narrower pattern first");
        }
        if aliases.contains_key(target.as_str()) && !cx.names.targets.contains(target.as_str()) {
            cx.error(
                at,
                format!("`{target}` is an alias itself; name what it stands for"),
            );
        } else if !cx.names.targets.contains(target.as_str()) {
            cx.unknown(at, "model or virtual model", target, |names| &names.targets);
        }
        compiled.push(Alias {
            pattern: pattern.as_str().into(),
            target: target.as_str().into(),
        });
    }
    compiled
}

/// How many earlier aliases are held against each later one; keeps the check linear.
const SHADOWS_CHECKED: usize = 100;

pub fn compile_cache(cx: &mut Context<'_, '_>, cache: &CacheConfig) -> CacheParams {
    if cache.semantic.enabled {
        cx.error_hint(
            at!["cache", "semantic", "enabled"],
            "this build has no semantic cache",
            "set it to false; the exact cache and templates are there",
        );
    }
    CacheParams {
        exact_ttl: seconds(cache.exact.ttl_seconds),
        exact_max_bytes: cache.exact.max_bytes,
        idempotency_ttl: seconds(cache.idempotency.ttl_seconds),
        idempotency_max_bytes: cache.idempotency.max_bytes,
        templates: cache
            .templates
            .iter()
            .enumerate()
            .map(|(index, template)| compile_template(cx, index, template))
            .collect(),
        fingerprint_key: secret::fingerprint(cx, cache.fingerprint_key.as_ref()),
    }
}

fn compile_template(cx: &mut Context<'_, '_>, index: usize, template: &TemplateConfig) -> Template {
    let captures = captures(&template.pattern);
    match &captures {
        None => cx.error(
            at!["cache", "templates", index, "pattern"],
            "a `{` without its `}`, or a capture that is no name",
        ),
        Some(captures) => {
            for name in self::captures(&template.answer).unwrap_or_default() {
                if !captures.contains(&name) {
                    cx.error(
                        at!["cache", "templates", index, "answer"],
                        format!("`{{{name}}}` is not captured by the pattern"),
                    );
                }
            }
        }
    }
    Template {
        pattern: template.pattern.clone(),
        answer: template.answer.clone(),
    }
}

/// The names in `{…}`; `None` when the braces do not match up.
fn captures(text: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let inner = &rest[open + 1..];
        let close = inner.find('}')?;
        let name = &inner[..close];
        let named = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !named {
            return None;
        }
        names.push(name);
        rest = &inner[close + 1..];
    }
    Some(names)
}
