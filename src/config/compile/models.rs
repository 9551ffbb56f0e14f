//! `models`

use std::sync::Arc;

use indexmap::IndexMap;
use rustc_hash::FxHashMap;

use super::signing::{self, Carrier};
use super::{Context, at, milliseconds, prices};
use crate::config::schema::{DeploymentConfig, ModelConfig, QualityConfig, Support};
use crate::config::snapshot::{Deployment, Model, Provider, Quality, Signer};
use crate::config::tree::Step;
use crate::types::{DeploymentId, ModelId, Needs, TaskName, Tier};

pub fn compile(
    cx: &mut Context<'_, '_>,
    models: &IndexMap<String, ModelConfig>,
    providers: &[Provider],
) -> Vec<Model> {
    let by_name: FxHashMap<&str, usize> = providers
        .iter()
        .enumerate()
        .map(|(index, provider)| (provider.id.as_str(), index))
        .collect();
    let mut compiled: Vec<Model> = Vec::with_capacity(models.len());
    let mut sources = Vec::with_capacity(models.len());
    for (name, model) in models {
        if let Some(model_compiled) = compile_one(cx, name, model, &by_name, providers) {
            cx.models.insert(model_compiled.id.clone(), compiled.len());
            compiled.push(model_compiled);
            sources.push((name, model));
        }
    }
    for (index, (name, model)) in sources.into_iter().enumerate() {
        let equivalents = equivalents(cx, name, model);
        if let Some(model) = compiled.get_mut(index) {
            model.equivalents = equivalents;
        }
    }
    spare_unspoken(&mut compiled, models);
    compiled
}

/// What asks for thinking or for several calls at once is a setting that many clients always send. A file
/// in which no model's list has the word does not speak of it, so the lists say nothing about it.
fn spare_unspoken(compiled: &mut [Model], models: &IndexMap<String, ModelConfig>) {
    let is_spoken = |support| models.values().any(|model| supports(model, support));
    let (parallel_tools, reasoning) = (
        is_spoken(Support::ParallelTools),
        is_spoken(Support::Reasoning),
    );
    for offered in compiled.iter_mut().filter_map(|it| it.supports.as_mut()) {
        offered.parallel_tools |= !parallel_tools;
        offered.reasoning |= !reasoning;
    }
}

fn compile_one(
    cx: &mut Context<'_, '_>,
    name: &str,
    model: &ModelConfig,
    by_name: &FxHashMap<&str, usize>,
    providers: &[Provider],
) -> Option<Model> {
    let upstream_model = model
        .upstream_model
        .clone()
        .unwrap_or_else(|| name.to_owned());
    let embeddings = supports(model, Support::Embeddings);
    let price = prices::compile(cx, name, model.price.as_ref(), &upstream_model, embeddings);
    let deployments = deployments(cx, name, model, by_name, providers);
    if let (Some(most), Some(context)) = (model.max_output_tokens, model.context_tokens)
        && most > context
    {
        cx.warn(
            at!["models", name, "max_output_tokens"],
            format!("more than `context_tokens` ({context})"),
            "input and output share the context",
        );
    }
    if embeddings && model.supports.as_ref().is_some_and(|all| all.len() > 1) {
        cx.error(
            at!["models", name, "supports"],
            "a model serves either embeddings or generation",
        );
    }
    let tier = model.tier.unwrap_or(Tier::Standard);
    let quality = quality(cx, name, model.quality.as_ref(), tier);
    let limits = cx.limits(at!["models", name, "limits"], model.limits);
    let provider = deployments.first()?.provider;
    Some(Model {
        id: ModelId::new(name),
        provider,
        upstream_model,
        price: Arc::new(price),
        context_tokens: model.context_tokens,
        max_output_tokens: model.max_output_tokens,
        tier,
        region: model.region.as_deref().map(Into::into),
        deployments,
        quality,
        supports: model.supports.as_ref().map(|_| Needs {
            vision: supports(model, Support::Vision),
            tools: supports(model, Support::Tools),
            json_schema: supports(model, Support::JsonSchema),
            audio: supports(model, Support::Audio),
            parallel_tools: supports(model, Support::ParallelTools),
            reasoning: supports(model, Support::Reasoning),
        }),
        embeddings,
        equivalents: Vec::new(),
        limits,
        latency_target: model.latency_target_ms.map(milliseconds),
    })
}

fn supports(model: &ModelConfig, support: Support) -> bool {
    let all = model.supports.as_deref().unwrap_or_default();
    all.contains(&support)
}

/// The model's hosts: what `deployments` lists, else the one at `provider`.
fn deployments(
    cx: &mut Context<'_, '_>,
    name: &str,
    model: &ModelConfig,
    by_name: &FxHashMap<&str, usize>,
    providers: &[Provider],
) -> Vec<Deployment> {
    let own = match &model.provider {
        Some(provider) => provider_index(cx, at!["models", name, "provider"], provider, by_name),
        None => None,
    };
    let upstream_model = model.upstream_model.as_deref().unwrap_or(name);
    if model.deployments.is_empty() {
        if model.provider.is_none() && !cx.was_removed(at!["models", name, "provider"]) {
            let hint = cx.nearest("", |names| &names.providers).unwrap_or_default();
            cx.error_hint(at!["models", name], "missing key `provider`", hint);
        }
        return own
            .map(|provider| Deployment {
                id: DeploymentId::new(name),
                provider,
                upstream_model: upstream_model.to_owned(),
                signer: None,
                region: model.region.as_deref().map(Into::into),
                weight: 1,
                enabled: providers.get(provider).is_some_and(|found| found.enabled),
            })
            .into_iter()
            .collect();
    }
    let single = model.deployments.len() == 1;
    let mut compiled = Vec::with_capacity(model.deployments.len());
    for (index, deployment) in model.deployments.iter().enumerate() {
        let at = at!["models", name, "deployments", index];
        let provider = match &deployment.provider {
            Some(provider) => {
                let at = at!["models", name, "deployments", index, "provider"];
                provider_index(cx, at, provider, by_name)
            }
            None if own.is_none() && model.provider.is_none() => {
                cx.error(
                    at,
                    "neither the deployment nor the model names a `provider`",
                );
                None
            }
            None => own,
        };
        let Some(provider) = provider else { continue };
        let id = if single {
            name.to_owned()
        } else {
            format!("{name}#{}", index + 1)
        };
        let (signer, has_key) = own_signer(cx, name, index, deployment, providers.get(provider));
        compiled.push(Deployment {
            id: DeploymentId::new(id),
            provider,
            upstream_model: deployment
                .upstream_model
                .clone()
                .unwrap_or_else(|| upstream_model.to_owned()),
            signer,
            region: deployment
                .region
                .as_deref()
                .or(model.region.as_deref())
                .map(Into::into),
            weight: deployment.weight,
            enabled: match deployment.api_key {
                Some(_) => has_key,
                None => providers.get(provider).is_some_and(|found| found.enabled),
            },
        });
    }
    compiled
}

/// The signer of a deployment with a key of its own, and whether that key is there.
fn own_signer(
    cx: &mut Context<'_, '_>,
    name: &str,
    index: usize,
    deployment: &DeploymentConfig,
    provider: Option<&Provider>,
) -> (Option<Signer>, bool) {
    if deployment.api_key.is_none() {
        return (None, false);
    }
    let at = at!["models", name, "deployments", index, "api_key"];
    let carrier = provider.map_or(Some(Carrier::Bearer), |it| Carrier::of(&it.signer));
    let Some(carrier) = carrier else {
        let hint = "make another provider for these credentials";
        cx.error_hint(
            at,
            "not used: its provider's `auth` signs the requests",
            hint,
        );
        return (None, false);
    };
    let consequence = "the deployment is switched off";
    let signer = signing::keyed(cx, at, deployment.api_key.as_ref(), carrier, consequence);
    let has_key = signer.is_some();
    (signer, has_key)
}

fn provider_index(
    cx: &mut Context<'_, '_>,
    at: &[Step<'_>],
    provider: &str,
    by_name: &FxHashMap<&str, usize>,
) -> Option<usize> {
    let found = by_name.get(provider).copied();
    if found.is_none() && !cx.names.providers.contains(provider) {
        cx.unknown(at, "provider", provider, |names| &names.providers);
    }
    found
}

/// The mean answer quality of each tier where nothing better is known.
const fn usual_quality(tier: Tier) -> f64 {
    match tier {
        Tier::Premium => 0.85,
        Tier::Standard => 0.7,
        Tier::Local => 0.5,
    }
}

fn quality(
    cx: &mut Context<'_, '_>,
    name: &str,
    quality: Option<&QualityConfig>,
    tier: Tier,
) -> Quality {
    let by_task = match quality {
        None => return flat(usual_quality(tier)),
        Some(QualityConfig::Same(value)) => return flat(*value),
        Some(QualityConfig::ByTask(by_task)) => by_task,
    };
    let mut compiled = Quality::default();
    let mut sum = 0.0;
    for (task, value) in by_task {
        let at = at!["models", name, "quality", task.as_str()];
        if !(0.0..=1.0).contains(value) {
            cx.error(at, format!("{value} is out of range; allowed: 0 to 1"));
        } else if task == "default" {
            compiled.base = *value;
        } else if cx.names.tasks.contains(task.as_str()) {
            sum += value;
            compiled
                .by_task
                .insert(TaskName::new(task.as_str()), *value);
        } else {
            cx.unknown(at, "task", task, |names| &names.tasks);
        }
    }
    if !by_task.contains_key("default") {
        compiled.base = match u32::try_from(compiled.by_task.len()) {
            Ok(count) if count > 0 => sum / f64::from(count),
            _ => usual_quality(tier),
        };
    }
    compiled
}

fn flat(base: f64) -> Quality {
    Quality {
        base,
        by_task: FxHashMap::default(),
    }
}

/// Only a model's own list counts when it is pinned, so two models may name each other.
fn equivalents(cx: &mut Context<'_, '_>, name: &str, model: &ModelConfig) -> Vec<usize> {
    let mut compiled = Vec::with_capacity(model.equivalents.len());
    for (index, equivalent) in model.equivalents.iter().enumerate() {
        let at = at!["models", name, "equivalents", index];
        if equivalent == name {
            cx.error(at, "a model cannot stand in for itself");
            continue;
        }
        if let Some(found) = cx.model(at, equivalent) {
            if compiled.contains(&found) {
                cx.warn(at, format!("`{equivalent}` is listed twice"), "remove one");
            } else {
                compiled.push(found);
            }
        }
    }
    compiled
}
