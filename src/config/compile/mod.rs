//! From the schema's types to a [`Snapshot`]: names become indices, prices integers, patterns ready to
//! match. Every rule about what the values mean together lives in this room; every problem is found in
//! one run. No I/O but for `file:` secrets.

mod alerts;
mod billing;
mod budgets;
mod callers;
mod currency;
mod matrix;
mod models;
mod names;
mod pass_through;
mod prices;
mod providers;
mod replicas;
mod resilience;
mod secret;
mod selection;
mod server;
mod signing;
mod state;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use super::diagnostic::{Place, Severity};
use super::findings::Findings;
use super::schema::{FileConfig, LimitsConfig};
use super::snapshot::{Model, Provider, Snapshot};
use super::suggest;
use super::tree::{Node, Step, render_path};
use crate::runtime::LimitParams;
use crate::types::{ConfigVersion, ModelId};

pub use callers::stored_key;
pub use names::{BUILT_IN_TASKS, Names};
pub use secret::check_references;

/// Where the environment's variables come from.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The steps to a place in the tree: `at!["models", name, "price"]`.
macro_rules! at {
    ($($step:expr),* $(,)?) => { &[$(crate::config::tree::Step::from($step)),*] };
}
pub(crate) use at;

/// The file that is compiled, as far as it is not in the schema's types.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The tree without what does not fit; places are looked up here.
    pub root: &'a Node,
    /// Names as the file has them, also of entries that do not fit.
    pub names: &'a Names,
    /// Paths of what did not fit, which is reported already.
    pub removed: &'a FxHashSet<String>,
    /// The time, milliseconds since the Unix epoch: some prices hold only from a day on.
    pub now_ms: i64,
}

/// What every part of the compiler needs.
pub struct Context<'a, 't> {
    /// As in [`Source`].
    pub root: &'a Node,
    /// As in [`Source`].
    pub names: &'a Names,
    /// As in [`Source`].
    pub removed: &'a FxHashSet<String>,
    /// As in [`Source`].
    pub now_ms: i64,
    /// What is wrong.
    pub findings: &'a mut Findings<'t>,
    /// The environment.
    pub env: Environment<'a>,
    /// Index of each model that could be compiled.
    pub models: FxHashMap<ModelId, usize>,
    patterns_seen: FxHashSet<String>,
}

impl Context<'_, '_> {
    /// An error at the value of this path.
    fn error(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        self.report(Severity::Error, path, message, None);
    }

    /// An error with what was probably meant.
    fn error_hint(
        &mut self,
        path: &[Step<'_>],
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.report(Severity::Error, path, message, Some(hint.into()));
    }

    /// A warning at the value of this path.
    fn warn(&mut self, path: &[Step<'_>], message: impl Into<String>, hint: impl Into<String>) {
        self.report(Severity::Warning, path, message, Some(hint.into()));
    }

    /// Where the value of this path stands.
    fn place(&self, path: &[Step<'_>]) -> Place {
        self.findings.place(self.root.locate(path, false))
    }

    fn report(
        &mut self,
        severity: Severity,
        path: &[Step<'_>],
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let place = self.root.locate(path, false);
        self.findings.add(severity, place, message, hint);
    }

    /// True when the value of this path was there but did not fit, which is reported already.
    fn was_removed(&self, path: &[Step<'_>]) -> bool {
        !self.removed.is_empty() && self.removed.contains(&render_path(path))
    }

    /// The model of this name; an unknown one is an error at the path, with the nearest names.
    fn model(&mut self, path: &[Step<'_>], name: &str) -> Option<usize> {
        if let Some(&index) = self.models.get(name) {
            return Some(index);
        }
        if !self.names.models.contains(name) {
            let hint = if super::catalogue::find(name).is_some() {
                Some("the catalogue has it: add it under `models`".to_owned())
            } else {
                self.nearest(name, |names| &names.models)
            };
            self.report(
                Severity::Error,
                path,
                format!("unknown model `{name}`"),
                hint,
            );
        }
        None
    }

    /// The nearest of some names, while there is room to say it.
    fn nearest(
        &self,
        word: &str,
        of: impl Fn(&Names) -> &indexmap::IndexSet<String>,
    ) -> Option<String> {
        if !self.findings.has_room() {
            return None;
        }
        suggest::nearest(word, of(self.names).iter().map(String::as_str))
    }

    /// An unknown name of some kind, with the nearest.
    fn unknown(
        &mut self,
        path: &[Step<'_>],
        kind: &str,
        word: &str,
        of: impl Fn(&Names) -> &indexmap::IndexSet<String>,
    ) {
        let hint = self.nearest(word, of);
        let message = format!("unknown {kind} `{word}`");
        self.report(Severity::Error, path, message, hint);
    }

    fn limits(&mut self, path: &[Step<'_>], limits: LimitsConfig) -> LimitParams {
        if limits.burst.is_some() && limits.requests_per_minute.is_none() {
            self.warn(
                path,
                "`burst` without `requests_per_minute` limits nothing",
                "add `requests_per_minute`",
            );
        }
        if limits.burst_tokens.is_some() && limits.tokens_per_minute.is_none() {
            self.warn(
                path,
                "`burst_tokens` without `tokens_per_minute` limits nothing",
                "add `tokens_per_minute`",
            );
        }
        limit_params(limits)
    }
}

const fn limit_params(limits: LimitsConfig) -> LimitParams {
    LimitParams {
        requests_per_minute: limits.requests_per_minute,
        burst_requests: limits.burst,
        tokens_per_minute: limits.tokens_per_minute,
        burst_tokens: limits.burst_tokens,
        concurrent: limits.concurrent,
    }
}

/// Compiles a file. The result is only sound when `findings` has no errors afterwards.
pub fn compile(
    file: &FileConfig,
    source: Source<'_>,
    env: Environment<'_>,
    findings: &mut Findings<'_>,
) -> Snapshot {
    let mut context = Context {
        root: source.root,
        names: source.names,
        removed: source.removed,
        now_ms: source.now_ms,
        findings,
        env,
        models: FxHashMap::default(),
        patterns_seen: FxHashSet::default(),
    };
    let cx = &mut context;
    let server = server::compile_server(cx, &file.server, &file.auth);
    let state = state::compile_state(cx, &file.state, &file.server);
    let auth = server::compile_auth(cx, &file.auth, file.keys.len());
    let providers = providers::compile(cx, &file.providers);
    let models = models::compile(cx, &file.models, &providers);
    let baseline = file
        .baseline
        .as_deref()
        .and_then(|name| cx.model(at!["baseline"], name));
    let matrix = matrix::compile(cx, &file.matrix, &models);
    let mut classifier = selection::compile_classifier(cx, &file.classifier);
    classifier.tasks = tasks::compile(cx, &file.tasks);
    let select = selection::compile_select(cx, at!["select"], &file.select, None);
    let virtual_models = selection::compile_virtual(cx, &file.virtual_models, &select, &models);
    let aliases = selection::compile_aliases(cx, &file.aliases, &virtual_models);
    let teams = callers::compile_teams(cx, &file.teams, &models);
    let keys = callers::compile_keys(cx, &file.keys, &teams);
    let named = budgets::Named {
        keys: &file.keys,
        teams: &file.teams,
        models: &models,
        providers: &providers,
    };
    let budgets = budgets::compile(cx, &file.budgets, named);
    let currency = currency::compile(cx, file.currency.as_ref());
    let limits = cx.limits(at!["limits"], file.limits);
    let cache = selection::compile_cache(cx, &file.cache);
    let resilience = resilience::compile(cx, &file.resilience);
    let alerts = alerts::compile(cx, &file.alerts);
    let pass_through = pass_through::compile(cx, &file.pass_through, file.auth.mode, &providers);
    matrix::warn_unreachable(cx, &matrix, &virtual_models, &models, &resilience);
    warn_nothing_usable(cx, &providers, &models);
    Snapshot {
        version: ConfigVersion::new(""),
        loaded_at_ms: 0,
        server,
        state,
        auth,
        model_index: std::mem::take(&mut cx.models),
        price_book: Arc::new(billing::price_book(&providers, &models)),
        providers,
        models,
        baseline,
        matrix,
        classifier,
        select,
        aliases,
        virtual_models,
        accepted_risk: budgets::accepted_risk(&budgets),
        budgets,
        currency,
        teams,
        keys,
        limits,
        cache,
        resilience,
        alerts,
        pass_through,
        warnings: Vec::new(),
    }
}

fn warn_nothing_usable(cx: &mut Context<'_, '_>, providers: &[Provider], models: &[Model]) {
    if !providers.is_empty() && providers.iter().all(|provider| !provider.enabled) {
        cx.warn(
            at!["providers"],
            "every provider is switched off: no request can be served",
            "set the variable of at least one of them",
        );
    } else if models.is_empty() && cx.names.models.is_empty() {
        cx.error(at!["models"], "no model is defined; at least one is needed");
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}
