//! What the loader makes of budgets, good and bad.

use super::*;
use crate::runtime::budgets::{EndUserMatch, Period};

/// Two keys of a tagged team, one that differs, one elsewhere.
const PEOPLE: &str = "\
version: 1
providers: { p: { base_url: http://127.0.0.1:1/v1 } }
models: { m: { provider: p, price: { input: 1, output: 1 } } }
teams: { search: { tags: { cost_center: \"4711\", stage: live } }, other: {} }
keys:
  - { id: k1, sha256: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\", team: search, app: shop }
  - { id: k2, sha256: \"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\", team: search, tags: { cost_center: \"1\" } }
  - { id: k3, sha256: \"cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\", team: other, tags: { cost_center: \"4711\" } }
matrix: { default: { simple: [m] } }
auth: { mode: keys }
budgets:
";

fn budgets(entries: &str) -> Snapshot {
    load_base(&format!("{PEOPLE}{entries}")).expect("a sound file")
}

/// Expects one problem for each text, in order, that says it.
fn says(entries: &str, expect: &[&str]) {
    let problems = problems_of(&format!("{PEOPLE}{entries}"));
    assert_eq!(problems.len(), expect.len(), "{problems:#?}");
    for (problem, expect) in problems.iter().zip(expect) {
        assert!(
            problem.contains(expect),
            "`{problem}` does not say `{expect}`"
        );
    }
}

#[test]
fn windows_are_budgets_of_their_own() {
    let snapshot = budgets(
        "  - { name: b, match: { team: search }, windows: [ { limit_usd: 5, period: day }, { limit_usd: 90, period: month } ], overrun: { at_most_usd: 1 } }\n  \
         - { name: c, limit_usd: 1, period: total, overrun: { at_most_usd: 0.5, probability: 0.01 }, pacing: { enabled: false } }\n",
    );
    let seen: Vec<_> = snapshot
        .budgets
        .iter()
        .map(|budget| (budget.id.as_str(), budget.limit.to_string(), budget.period))
        .collect();
    let expect = [
        ("b/day", "5".to_owned(), Period::Day),
        ("b/month", "90".to_owned(), Period::Month),
        ("c", "1".to_owned(), Period::Total),
    ];
    assert_eq!(seen, expect);
    assert_eq!(snapshot.budgets[0].matches, snapshot.budgets[1].matches);
    assert!(snapshot.budgets[0].paced && !snapshot.budgets[2].paced);
    let risks: Vec<f64> = snapshot
        .budgets
        .iter()
        .filter_map(|budget| budget.overrun)
        .map(|overrun| overrun.probability)
        .collect();
    assert_eq!(risks, [0.001, 0.001, 0.01]);
    assert_eq!(snapshot.accepted_risk, Some(0.001), "the most careful");
}

#[test]
fn tags_are_worked_out_to_teams_and_keys() {
    let snapshot = budgets(
        "  - { name: b, match: { tags: { cost_center: \"4711\" } }, limit_usd: 5, period: day }\n  \
         - { name: c, match: { tags: { cost_center: \"4711\", stage: live }, end_user: \"*\" }, limit_usd: 5, period: day }\n  \
         - { name: d, match: { team: other, end_user: ann }, limit_usd: 5, period: day }\n",
    );
    let tagged = |at: usize| snapshot.budgets[at].matches.tagged.clone().expect("tags");
    let center = tagged(0);
    assert_eq!(center.teams, ["search".into()]);
    assert_eq!(
        center.except,
        ["k2".into()],
        "a key's own tag comes before its team's"
    );
    assert_eq!(center.keys, ["k3".into()]);
    assert_eq!(tagged(1).keys, []);
    let end_user = |at: usize| snapshot.budgets[at].matches.end_user.clone();
    assert_eq!(end_user(0), None);
    assert_eq!(end_user(1), Some(EndUserMatch::Each));
    assert_eq!(end_user(2), Some(EndUserMatch::One("ann".into())));
}

#[test]
fn a_limit_and_a_period_are_needed_once() {
    says(
        "  - { name: a, limit_usd: -1, period: day }\n  \
         - { name: b, period: day }\n  \
         - { name: c, limit_usd: 1 }\n  \
         - { name: d, limit_usd: 1, period: fortnight }\n",
        &[
            "budgets[0].limit_usd: ",
            "budgets[1]: missing `limit_usd`; a budget has `limit_usd` and `period`, or `windows`",
            "budgets[2]: missing `period`",
            "budgets[3].period: unknown value `fortnight`",
        ],
    );
    says(
        "  - { name: a, limit_usd: 1, windows: [ { limit_usd: 1, period: day } ] }\n  \
         - { name: b, windows: [ { limit_usd: 1, period: day }, { limit_usd: 2, period: day } ] }\n  \
         - { name: c, windows: [ { limit_usd: 1, period: day } ] }\n  \
         - { name: c, windows: [ { limit_usd: 1, period: day } ] }\n  \
         - { name: c/day, limit_usd: 1, period: week }\n",
        &[
            "budgets[0].windows: stands beside `limit_usd` or `period`; make that one a window too",
            "budgets[1].windows[1].period: a second window of period `day`",
            "budgets[3].name: a second budget with name `c/day`",
            "budgets[4].name: a second budget with name `c/day`",
        ],
    );
}

#[test]
fn what_guards_nothing_is_an_error() {
    says(
        "  - { name: a, limit_usd: 1, period: day, match: { app: shopp } }\n  \
         - { name: b, limit_usd: 1, period: day, match: { key: k4 } }\n  \
         - { name: c, limit_usd: 1, period: day, match: { model: n } }\n  \
         - { name: d, limit_usd: 1, period: day, match: { provider: q } }\n  \
         - { name: e, limit_usd: 1, period: day, match: { tags: { cost_centre: \"4711\" } } }\n  \
         - { name: f, limit_usd: 1, period: day, match: { tags: { cost_center: \"4712\" } } }\n  \
         - { name: g, limit_usd: 1, period: day, match: { team: other, tags: { stage: live } } }\n",
        &[
            "match.app: unknown app `shopp`; did you mean `shop`?",
            "match.key: unknown key `k4`",
            "match.model: unknown model `n`",
            "match.provider: unknown provider `q`",
            "match.tags.cost_centre: no key or team has a tag `cost_centre`; did you mean `cost_center`?",
            "match.tags.cost_center: no key or team has the tag `cost_center: 4712`; did you mean `4711`?",
            "budgets[6].match: matches nothing: no key agrees with all of its fields",
        ],
    );
}

#[test]
fn end_users_need_somebody_whose_they_are_and_risks_a_measure() {
    says(
        "  - { name: a, limit_usd: 1, period: day, match: { end_user: \"*\" } }\n  \
         - { name: b, limit_usd: 1, period: day, match: { team: search, end_user: \"\" } }\n  \
         - { name: c, limit_usd: 1, period: day, overrun: { probability: 0.01 } }\n  \
         - { name: d, limit_usd: 1, period: day, overrun: { at_most_usd: 1, probability: 0.5 } }\n",
        &[
            "match.end_user: whose end users: every team may call its users alike; add `team`, `app`, `key` or `tags`",
            "match.end_user: empty; a name, or \"*\" for each end user",
            "budgets[2].overrun",
            "budgets[3].overrun.probability",
        ],
    );
    says(
        "  - { name: e, limit_usd: 1, period: day, overrun: { at_most_usd: 2 } }\n  \
         - { name: f, limit_usd: 1, period: total, pacing: { reserve_usd_per_day: 0.1 } }\n  \
         - { name: g, limit_usd: 1, period: day, timezone: Europe/Madird }\n",
        &[
            "overrun.at_most_usd: more than the limit itself",
            "reserve_usd_per_day: a budget without a period has no days to reserve for",
            "timezone: unknown time zone `Europe/Madird`; did you mean `Europe/Madrid`?",
        ],
    );
}

#[test]
fn the_documented_file_is_sound() {
    let page = include_str!("../../../docs/budgets.md");
    let sample = page.split("```yaml\n").nth(1).expect("a sample");
    let sample = sample.split("```").next().expect("an end");
    let (teams, budgets) = sample.split_once("budgets:\n").expect("budgets");
    let text = PEOPLE
        .replace(
            "teams: { search: { tags: { cost_center: \"4711\", stage: live } }, other: {} }\n",
            teams,
        )
        .replace("team: other, ", "")
        .replace("app: shop", "app: agents");
    let snapshot = load_base(&format!("{text}{budgets}")).expect("a sound file");
    assert!(snapshot.warnings.is_empty(), "{:?}", snapshot.warnings);
    assert_eq!(snapshot.budgets.len(), 6);
}
