//! `teams` and `keys`

use std::sync::Arc;

use indexmap::IndexMap;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Context, at, limit_params};
use crate::config::schema::{KeyConfig, TeamConfig};
use crate::config::snapshot::{Model, Snapshot, Team, VirtualKey};
use crate::config::tree::Step;
use crate::types::caller::wildcard_matches;
use crate::types::{AllowList, AppId, KeyId, TeamId, Tier};

/// Who is no team's and no application's.
const DEFAULT: &str = "default";

pub fn compile_teams(
    cx: &mut Context<'_, '_>,
    teams: &IndexMap<String, TeamConfig>,
    models: &[Model],
) -> FxHashMap<TeamId, Team> {
    let regions: FxHashSet<&str> = models
        .iter()
        .flat_map(|model| model.deployments.iter())
        .filter_map(|deployment| deployment.region.as_deref())
        .collect();
    let mut compiled = FxHashMap::default();
    for (name, team) in teams {
        let name = name.as_str();
        check_patterns(cx, at!["teams", name, "allow"], &team.allow);
        for (index, region) in team.regions.iter().enumerate() {
            if !regions.contains(region.as_str()) {
                cx.warn(
                    at!["teams", name, "regions", index],
                    format!("no model is in region `{region}`"),
                    "set `region` on the models that run there",
                );
            }
        }
        let limits = cx.limits(at!["teams", name, "limits"], team.limits);
        let id = TeamId::new(name);
        compiled.insert(
            id.clone(),
            Team {
                id,
                tier: team.tier,
                allow: AllowList::new(team.allow.iter().map(String::as_str)),
                regions: team
                    .regions
                    .iter()
                    .map(|region| region.as_str().into())
                    .collect(),
                limits,
            },
        );
    }
    for name in &cx.names.teams {
        let id = TeamId::new(name.as_str());
        compiled.entry(id.clone()).or_insert_with(|| Team {
            id,
            tier: Tier::Premium,
            allow: AllowList::all(),
            regions: Arc::new([]),
            limits: crate::runtime::LimitParams::default(),
        });
    }
    compiled
}

/// Patterns that cover nothing are probably misspelt. Each distinct pattern is looked at once.
fn check_patterns(cx: &mut Context<'_, '_>, at: &[Step<'_>], patterns: &[String]) {
    if patterns.is_empty() {
        cx.warn(
            at,
            "an empty list allows nothing",
            "write [\"*\"] for everything",
        );
    }
    for (index, pattern) in patterns.iter().enumerate() {
        if cx.models.contains_key(pattern.as_str()) || cx.patterns_seen.contains(pattern) {
            continue;
        }
        let is_pattern = pattern.contains('*');
        let covers = is_pattern
            && cx
                .names
                .models
                .iter()
                .any(|model| wildcard_matches(pattern, model));
        if covers || cx.names.models.contains(pattern.as_str()) {
            cx.patterns_seen.insert(pattern.clone());
            continue;
        }
        let mut at = at.to_vec();
        at.push(Step::from(index));
        if is_pattern {
            cx.warn(
                &at,
                format!("`{pattern}` covers no model"),
                "check its spelling",
            );
        } else {
            cx.unknown(&at, "model", pattern, |names| &names.models);
        }
    }
}

pub fn compile_keys(
    cx: &mut Context<'_, '_>,
    keys: &[KeyConfig],
    teams: &FxHashMap<TeamId, Team>,
) -> FxHashMap<[u8; 32], Arc<VirtualKey>> {
    let mut compiled: FxHashMap<[u8; 32], Arc<VirtualKey>> = FxHashMap::default();
    compiled.reserve(keys.len());
    let mut ids: FxHashSet<&str> = FxHashSet::default();
    for (index, key) in keys.iter().enumerate() {
        if !ids.insert(key.id.as_str()) {
            let at = at!["keys", index, "id"];
            cx.error(at, format!("a second key with id `{}`", key.id));
        }
        let Some(sha256) = parse_sha256(&key.sha256) else {
            cx.error_hint(
                at!["keys", index, "sha256"],
                "not a SHA-256: 64 hexadecimal digits",
                "`tollgate keys new` prints a key with its entry",
            );
            continue;
        };
        let entry = compile_key(cx, index, key, sha256, teams);
        if let Some(earlier) = compiled.insert(sha256, Arc::new(entry)) {
            let message = format!("the same key as `{}`", earlier.id);
            cx.error(at!["keys", index, "sha256"], message);
        }
    }
    compiled
}

fn compile_key(
    cx: &mut Context<'_, '_>,
    index: usize,
    key: &KeyConfig,
    sha256: [u8; 32],
    teams: &FxHashMap<TeamId, Team>,
) -> VirtualKey {
    let team_name = key.team.as_deref().unwrap_or(DEFAULT);
    let team = teams.get(team_name);
    if team.is_none() && !cx.names.teams.contains(team_name) {
        cx.unknown(at!["keys", index, "team"], "team", team_name, |names| {
            &names.teams
        });
    }
    let (team_tier, team_allow) = match team {
        Some(team) => (team.tier, team.allow.clone()),
        None => (Tier::Premium, AllowList::all()),
    };
    if let Some(tier) = key.tier
        && tier > team_tier
    {
        cx.warn(
            at!["keys", index, "tier"],
            format!("above the team's tier: `{team_tier}` counts"),
            format!("raise `teams.{team_name}.tier`, or lower this one"),
        );
    }
    let allow = match &key.allow {
        None => team_allow,
        Some(patterns) => {
            check_patterns(cx, at!["keys", index, "allow"], patterns);
            AllowList::new(patterns.iter().map(String::as_str)).and(&team_allow)
        }
    };
    VirtualKey {
        id: KeyId::new(key.id.as_str()),
        sha256,
        team: TeamId::new(team_name),
        app: AppId::new(key.app.as_deref().unwrap_or(DEFAULT)),
        tier: key.tier.unwrap_or(team_tier).min(team_tier),
        allow,
        limits: cx.limits(at!["keys", index, "limits"], key.limits),
        is_stored: false,
    }
}

/// Compiles a stored key, the JSON of an entry of `keys`, for a file that is in force.
///
/// # Errors
/// Why it cannot be one of that file's callers.
pub fn stored_key(text: &str, snapshot: &Snapshot) -> Result<VirtualKey, String> {
    let key: KeyConfig = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let sha256 = parse_sha256(&key.sha256)
        .ok_or_else(|| "`sha256` is no SHA-256: 64 hexadecimal digits".to_owned())?;
    if key.id.is_empty() || key.id.starts_with('@') {
        return Err("an id is not empty and does not begin with `@`".to_owned());
    }
    if !key.tags.is_empty() {
        return Err("tags that budgets match are declared in the file".to_owned());
    }
    let in_file = snapshot.keys.values().filter(|known| !known.is_stored);
    if let Some(known) = in_file
        .into_iter()
        .find(|known| known.id.as_str() == key.id || known.sha256 == sha256)
    {
        return Err(format!("the file has it: key `{}`", known.id));
    }
    let name = key.team.as_deref().unwrap_or(DEFAULT);
    let Some(team) = snapshot.teams.get(name) else {
        return Err(format!("unknown team `{name}`; the file has no such team"));
    };
    let allow = match &key.allow {
        None => team.allow.clone(),
        Some(patterns) => AllowList::new(patterns.iter().map(String::as_str)).and(&team.allow),
    };
    Ok(VirtualKey {
        id: KeyId::new(key.id.as_str()),
        sha256,
        team: TeamId::new(name),
        app: AppId::new(key.app.as_deref().unwrap_or(DEFAULT)),
        tier: key.tier.unwrap_or(team.tier).min(team.tier),
        allow,
        limits: limit_params(key.limits),
        is_stored: true,
    })
}

/// Reads 64 hexadecimal digits.
fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = [0u8; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(*pair.first()?).to_digit(16)?;
        let low = char::from(*pair.get(1)?).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(hash)
}
