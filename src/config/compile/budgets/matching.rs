//! `budgets[].match`: names that exist, tags worked out to the teams and keys that have them, and a
//! warning where nothing can ever match.

use indexmap::IndexMap;

use super::Named;
use crate::config::compile::{Context, at};
use crate::config::schema::{KeyConfig, MatchConfig};
use crate::config::suggest;
use crate::runtime::budgets::EndUserMatch;
use crate::runtime::{BudgetMatch, Tagged};
use crate::types::{AppId, KeyId, ModelId, ProviderId, TeamId};

/// Who is no team's.
const DEFAULT: &str = "default";

pub fn compile(
    cx: &mut Context<'_, '_>,
    index: usize,
    matches: &MatchConfig,
    named: Named<'_>,
) -> BudgetMatch {
    let known = check_names(cx, index, matches, named);
    check_end_user(cx, index, matches);
    let tagged = tagged(&matches.tags, named);
    if known {
        warn_no_match(cx, index, matches, tagged.as_ref(), named);
    }
    BudgetMatch {
        team: matches.team.as_deref().map(TeamId::new),
        app: matches.app.as_deref().map(AppId::new),
        key: matches.key.as_deref().map(KeyId::new),
        model: matches.model.as_deref().map(ModelId::new),
        provider: matches.provider.as_deref().map(ProviderId::new),
        end_user: matches.end_user.as_deref().map(|user| match user {
            "*" => EndUserMatch::Each,
            name => EndUserMatch::One(name.into()),
        }),
        tagged,
    }
}

/// Names of end users mean something only within the application that gives them.
fn check_end_user(cx: &mut Context<'_, '_>, index: usize, matches: &MatchConfig) {
    let Some(user) = &matches.end_user else {
        return;
    };
    let at = at!["budgets", index, "match", "end_user"];
    if user.is_empty() {
        cx.error_hint(at, "empty", "a name, or \"*\" for each end user");
    }
    let whose = matches.team.is_some()
        || matches.app.is_some()
        || matches.key.is_some()
        || !matches.tags.is_empty();
    if !whose {
        cx.error_hint(
            at,
            "whose end users: every team may call its users alike",
            "add `team`, `app`, `key` or `tags`",
        );
    }
}

/// True when every name that the budget matches exists; unknown ones are errors, because such a
/// budget would guard nothing.
fn check_names(
    cx: &mut Context<'_, '_>,
    index: usize,
    matches: &MatchConfig,
    named: Named<'_>,
) -> bool {
    let before = cx.findings.errors();
    if let Some(team) = &matches.team
        && !cx.names.teams.contains(team.as_str())
    {
        let at = at!["budgets", index, "match", "team"];
        cx.unknown(at, "team", team, |names| &names.teams);
    }
    if let Some(app) = &matches.app
        && !cx.names.apps.contains(app.as_str())
    {
        let at = at!["budgets", index, "match", "app"];
        cx.unknown(at, "app", app, |names| &names.apps);
    }
    if let Some(key) = &matches.key
        && !cx.names.keys.contains(key.as_str())
    {
        let at = at!["budgets", index, "match", "key"];
        cx.unknown(at, "key", key, |names| &names.keys);
    }
    if let Some(model) = &matches.model {
        cx.model(at!["budgets", index, "match", "model"], model);
    }
    if let Some(provider) = &matches.provider
        && !cx.names.providers.contains(provider.as_str())
    {
        let at = at!["budgets", index, "match", "provider"];
        cx.unknown(at, "provider", provider, |names| &names.providers);
    }
    for (name, value) in &matches.tags {
        check_tag(cx, index, (name, value), named);
    }
    cx.findings.errors() == before
}

/// Some team or key must have the tag.
fn check_tag(
    cx: &mut Context<'_, '_>,
    index: usize,
    (name, value): (&str, &str),
    named: Named<'_>,
) {
    let teams = named.teams.values().flat_map(|team| &team.tags);
    let keys = named.keys.iter().flat_map(|key| &key.tags);
    let mut all: Vec<(&str, &str)> = teams
        .chain(keys)
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    all.sort_unstable();
    all.dedup();
    if all.contains(&(name, value)) {
        return;
    }
    let at = at!["budgets", index, "match", "tags", name];
    let values: Vec<&str> = all
        .iter()
        .filter(|(other, _)| *other == name)
        .map(|(_, value)| *value)
        .collect();
    let (message, hint) = if values.is_empty() {
        let mut names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        names.dedup();
        (
            format!("no key or team has a tag `{name}`"),
            suggest::nearest(name, names),
        )
    } else {
        (
            format!("no key or team has the tag `{name}: {value}`"),
            suggest::nearest(value, values),
        )
    };
    match hint {
        Some(hint) => cx.error_hint(at, message, hint),
        None => cx.error_hint(at, message, "tags are given under `keys` and `teams`"),
    }
}

/// The teams and keys that have all of these tags.
fn tagged(tags: &IndexMap<String, String>, named: Named<'_>) -> Option<Tagged> {
    if tags.is_empty() {
        return None;
    }
    let mut tagged = Tagged::default();
    for (name, value) in tags {
        tagged
            .tags
            .push((name.as_str().into(), value.as_str().into()));
    }
    tagged.tags.sort();
    for (name, team) in named.teams {
        if has_all(tags, |tag| team.tags.get(tag)) {
            tagged.teams.push(TeamId::new(name.as_str()));
        }
    }
    tagged.teams.sort();
    for key in named.keys {
        let team = TeamId::new(key.team.as_deref().unwrap_or(DEFAULT));
        let of_team = tagged.teams.binary_search(&team).is_ok();
        let inherited = named.teams.get(team.as_str()).map(|team| &team.tags);
        let of_key = has_all(tags, |tag| {
            let own = key.tags.get(tag);
            own.or_else(|| inherited?.get(tag))
        });
        match (of_team, of_key) {
            (true, false) => tagged.except.push(KeyId::new(key.id.as_str())),
            (false, true) => tagged.keys.push(KeyId::new(key.id.as_str())),
            _ => {}
        }
    }
    tagged.except.sort();
    tagged.keys.sort();
    Some(tagged)
}

fn has_all<'t>(tags: &IndexMap<String, String>, has: impl Fn(&str) -> Option<&'t String>) -> bool {
    tags.iter().all(|(name, value)| has(name) == Some(value))
}

fn warn_no_match(
    cx: &mut Context<'_, '_>,
    index: usize,
    matches: &MatchConfig,
    tagged: Option<&Tagged>,
    named: Named<'_>,
) {
    let by_caller = named
        .keys
        .iter()
        .any(|key| agrees(matches, tagged, Some(key)));
    // Without keys everybody is team and app `default`.
    let by_default = matches.key.is_none() && agrees(matches, tagged, None);
    let by_model = match (&matches.model, &matches.provider) {
        (Some(model), Some(provider)) => named
            .models
            .iter()
            .filter(|candidate| candidate.id.as_str() == model)
            .flat_map(|candidate| candidate.deployments.iter())
            .filter_map(|deployment| named.providers.get(deployment.provider))
            .any(|candidate| candidate.id.as_str() == provider),
        _ => true,
    };
    if !by_model || !(by_caller || by_default) {
        let at = at!["budgets", index, "match"];
        let what = if by_model { "no key" } else { "no deployment" };
        let message = format!("matches nothing: {what} agrees with all of its fields");
        cx.warn(at, message, "this budget would guard nothing");
    }
}

/// True when a key (or whoever has none) is one that the budget names.
fn agrees(matches: &MatchConfig, tagged: Option<&Tagged>, key: Option<&KeyConfig>) -> bool {
    let team = key.and_then(|key| key.team.as_deref()).unwrap_or(DEFAULT);
    let app = key.and_then(|key| key.app.as_deref()).unwrap_or(DEFAULT);
    let id = key.map(|key| KeyId::new(key.id.as_str()));
    let is =
        |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|wanted| wanted == has);
    is(&matches.team, team)
        && is(&matches.app, app)
        && (key.is_none() || is(&matches.key, key.map_or("", |key| key.id.as_str())))
        && tagged.is_none_or(|tagged| tagged.covers(Some(&TeamId::new(team)), id.as_ref()))
}
