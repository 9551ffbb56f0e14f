//! What is planned in which situation: data in [`Case`], the outcome as text.

use std::time::Duration;

use proptest::prelude::*;

use super::plan::refusal;
use super::tests_support::{Case, LEARN, call, left_out, names, staying};
use super::{Purse, Staying, explain};
use crate::error::ErrorKind;
use crate::runtime::{ArmStats, OnExhausted};
use crate::types::{Endpoint, Needs, PicoUsd, Reason, Tier};

fn check(case: &Case, candidates: &str, excluded: &str, reason: Reason) {
    let plan = case.plan();
    assert_eq!(names(&plan), candidates, "{plan:#?}");
    assert_eq!(left_out(&plan), excluded);
    assert_eq!(plan.reason, reason);
}

fn case(change: impl FnOnce(&mut Case)) -> Case {
    let mut case = Case::default();
    change(&mut case);
    case
}

#[test]
fn the_cell_comes_in_its_order_and_the_ladder_below_it() {
    let plain = Case::default();
    check(&plain, "big middle twin home", "", Reason::Matrix);
    assert_eq!(plain.plan().own, 3);
    let simple = case(|case| case.level = "simple");
    check(&simple, "middle twin home", "", Reason::Matrix);
    let critical = case(|case| case.level = "critical");
    check(&critical, "big middle twin home", "", Reason::Matrix);
    assert_eq!(critical.plan().own, 1);
}

#[test]
fn what_is_asked_for_is_resolved_in_the_order_of_the_contract() {
    let resolves = |model: &str, expect: &str| {
        let case = case(|case| case.call = call(model));
        let plan = case.plan();
        assert_eq!(names(&plan), expect, "{model}");
        plan.reason
    };
    assert_eq!(resolves("gpt-4o", "big middle twin home"), Reason::Matrix);
    assert_eq!(resolves("cheap", "middle twin big home"), Reason::Matrix);
    assert_eq!(resolves("big", "big"), Reason::Pinned);
    assert_eq!(resolves("middle", "middle twin"), Reason::Pinned);
    assert_eq!(resolves("mid-2024", "middle twin"), Reason::Pinned);
}

#[test]
fn unknown_and_forbidden_models_are_refused_with_a_hint() {
    let refused = |change: fn(&mut Case)| case(change).try_plan().expect_err("refused");
    let unknown = refused(|case| case.call = call("bigg"));
    assert_eq!(unknown.kind, ErrorKind::ModelNotFound);
    assert!(unknown.message.contains("`big`"), "{unknown}");
    let tier = refused(|case| {
        case.call = call("big");
        case.caller.tier = Tier::Standard;
    });
    assert_eq!(tier.kind, ErrorKind::ModelNotAllowed);
    let list = refused(|case| {
        case.call = call("big");
        case.caller.allow = crate::types::AllowList::new(["m*"]);
    });
    assert_eq!(list.kind, ErrorKind::ModelNotAllowed);
    let endpoint = refused(|case| case.call = call("vectors"));
    assert_eq!(endpoint.kind, ErrorKind::InvalidRequest);
}

#[test]
fn each_exclusion_says_why() {
    let tier = case(|case| case.caller.tier = Tier::Standard);
    check(&tier, "middle twin home", "big:tier", Reason::Tier);
    let asked_tier = case(|case| case.call.directives.tier = Some(Tier::Standard));
    check(&asked_tier, "middle twin home", "big:tier", Reason::Tier);
    let allow = case(|case| case.caller.allow = crate::types::AllowList::new(["t*", "big"]));
    check(&allow, "big twin", "middle:not_allowed", Reason::Matrix);
    let needs = case(|case| case.call.needs.json_schema = true);
    check(&needs, "big twin home", "middle:capability", Reason::Matrix);
    let region = case(|case| case.caller.regions = vec!["eu".into()].into());
    check(&region, "middle twin home", "big:region", Reason::Matrix);
    let breaker = case(|case| case.view.open = vec![case.index("big")]);
    check(
        &breaker,
        "middle twin home",
        "big:breaker_open",
        Reason::Fallback,
    );
    let limited = case(|case| case.view.limited = vec![case.index("big")]);
    check(
        &limited,
        "middle twin home",
        "big:rate_limited",
        Reason::Fallback,
    );
    let long = case(|case| {
        case.features.input_tokens = 20_000;
        case.features.input_tokens_bound = 80_000;
    });
    check(&long, "big middle home", "twin:context", Reason::Matrix);
    let output = case(|case| case.call.max_output_tokens = Some(6_000));
    check(&output, "big middle", "twin:context", Reason::Matrix);
    let off = case(|case| {
        case.row = "code_generation";
        case.level = "critical";
    });
    check(
        &off,
        "big middle twin home",
        "dark:provider_off",
        Reason::Matrix,
    );
    let cap = case(|case| {
        // The worst case at `big` is 4,000 × 10 + 8,000 × 30 µUSD = 0.28 USD.
        case.call.directives.max_cost = PicoUsd::parse_usd("0.05").ok();
    });
    check(&cap, "middle twin home", "big:unaffordable", Reason::Budget);
}

#[test]
fn every_capability_decides() {
    let needing = |need: fn(&mut Needs)| case(|case| need(&mut case.call.needs));
    let lacking = "middle:capability";
    let vision = needing(|needs| needs.vision = true);
    check(&vision, "big twin home", lacking, Reason::Matrix);
    let schema = needing(|needs| needs.json_schema = true);
    check(&schema, "big twin home", lacking, Reason::Matrix);
    let nobody = "big:capability middle:capability";
    let audio = needing(|needs| needs.audio = true);
    check(&audio, "twin home", nobody, Reason::Matrix);
    let reasoning = needing(|needs| needs.reasoning = true);
    check(&reasoning, "big twin home", lacking, Reason::Matrix);
    let parallel = needing(|needs| (needs.tools, needs.parallel_tools) = (true, true));
    check(&parallel, "big twin home", lacking, Reason::Matrix);
    // Without tools there is nothing to call at once.
    let idle = needing(|needs| needs.parallel_tools = true);
    check(&idle, "big middle twin home", "", Reason::Matrix);
}

#[test]
fn who_would_serve_is_named_for_every_capability() {
    let needs: [fn(&mut Needs); 6] = [
        |needs| needs.vision = true,
        |needs| needs.tools = true,
        |needs| (needs.tools, needs.parallel_tools) = (true, true),
        |needs| needs.json_schema = true,
        |needs| needs.reasoning = true,
        |needs| needs.audio = true,
    ];
    for need in needs {
        let unserved = case(|case| {
            case.level = "simple";
            need(&mut case.call.needs);
            let needed = case.call.needs;
            for model in &mut case.snapshot.models {
                let is_big = model.id.as_str() == "big";
                model.supports = Some(if is_big { needed } else { Needs::default() });
            }
        });
        let plan = unserved.plan();
        assert_eq!(names(&plan), "", "{:?}", unserved.call.needs);
        let error = refusal(&plan, &unserved.call);
        assert_eq!(error.kind, ErrorKind::InvalidRequest);
        let text = error.message;
        assert!(text.ends_with("; these would: `big`"), "{text}");
    }
}

#[test]
fn embeddings_go_to_one_model_that_embeds() {
    let embedding = case(|case| case.call.endpoint = Endpoint::Embeddings);
    check(&embedding, "vectors", "", Reason::Matrix);
    let pinned = case(|case| {
        case.call = call("vectors");
        case.call.endpoint = Endpoint::Embeddings;
    });
    check(&pinned, "vectors", "", Reason::Pinned);
}

#[test]
fn a_pinned_model_is_not_judged_by_what_it_supports() {
    let vision = case(|case| {
        case.call = call("middle");
        case.call.needs.vision = true;
        case.features.input_tokens = 900_000;
        case.features.input_tokens_bound = 1_800_000;
    });
    check(&vision, "middle", "twin:context", Reason::Pinned);
    let down = case(|case| {
        case.call = call("middle");
        case.view.open = vec![case.index("middle")];
    });
    check(&down, "twin", "middle:breaker_open", Reason::Fallback);
}

#[test]
fn a_spent_budget_does_what_it_says() {
    let spent = |what: OnExhausted, model: &'static str| {
        case(move |case| {
            case.call = call(model);
            case.view.purse.exhausted = Some(what);
            case.view.left = PicoUsd::parse_usd("0.03").ok();
        })
    };
    let blocked = spent(OnExhausted::Block, "auto");
    assert_eq!(
        names(
            &case(|c| {
                c.view.purse.exhausted = Some(OnExhausted::Block);
                c.view.left = Some(PicoUsd::ZERO);
            })
            .plan()
        ),
        ""
    );
    check(
        &blocked,
        "middle twin home",
        "big:unaffordable",
        Reason::Budget,
    );
    let downgraded = spent(OnExhausted::Downgrade, "auto");
    check(
        &downgraded,
        "middle twin home",
        "big:unaffordable",
        Reason::Budget,
    );
    let local = spent(OnExhausted::LocalOnly, "auto");
    check(
        &local,
        "home",
        "big:budget middle:budget twin:budget",
        Reason::Budget,
    );
    let pinned = spent(OnExhausted::Downgrade, "middle");
    check(&pinned, "", "middle:budget twin:budget", Reason::Pinned);
    let error = refusal(&pinned.plan(), &pinned.call);
    assert_eq!(error.kind, ErrorKind::BudgetExceeded);
}

#[test]
fn under_the_floor_only_the_cheapest_adequate_model_is_used() {
    let floor = case(|case| {
        case.view.purse = Purse {
            under_floor: true,
            ..Purse::default()
        };
    });
    check(
        &floor,
        "middle home",
        "twin:budget big:budget",
        Reason::Budget,
    );
}

#[test]
fn a_rising_price_of_money_shades_to_cheaper_models_and_premium_callers_last() {
    let at = |price: f64, tier: Tier| {
        let case = case(|case| {
            case.row = "code_generation";
            case.view.purse.shadow_price = price;
            case.caller.tier = tier;
            // For standard callers `big` is out of reach: compare within one tier.
            case.snapshot.models[0].tier = Tier::Standard;
        });
        let plan = case.plan();
        (plan.candidates[0].model.to_string(), plan.reason)
    };
    assert_eq!(at(0.0, Tier::Standard), ("big".to_owned(), Reason::Matrix));
    assert_eq!(at(0.3, Tier::Standard), ("big".to_owned(), Reason::Matrix));
    assert_eq!(
        at(0.9, Tier::Standard),
        ("middle".to_owned(), Reason::Budget)
    );
    assert_eq!(at(0.9, Tier::Premium), ("big".to_owned(), Reason::Matrix));
    assert_eq!(
        at(2.0, Tier::Premium),
        ("middle".to_owned(), Reason::Budget)
    );
}

#[test]
fn named_sessions_stay_on_their_model_while_it_is_feasible() {
    let named = || {
        Some(Staying {
            asked_for: true,
            ..staying("twin", 0)
        })
    };
    let session = case(|case| case.view.session = named());
    check(&session, "twin big middle home", "", Reason::Session);
    let gone = case(|case| {
        case.view.session = named();
        case.view.open = vec![case.index("twin")];
    });
    check(
        &gone,
        "big middle home",
        "twin:breaker_open",
        Reason::Matrix,
    );
}

#[test]
fn fastest_takes_the_fastest_known_and_sometimes_measures_the_others() {
    let seconds = Duration::from_secs;
    let known = case(|case| {
        case.call = call("fast");
        case.view.latencies = [(0, seconds(3)), (1, seconds(1)), (2, seconds(2))]
            .into_iter()
            .collect();
    });
    check(&known, "middle twin big home", "", Reason::Matrix);
    let mut measured = 0;
    for seed in 0..400 {
        let case = case(|case| {
            case.call = call("fast");
            case.seed = seed;
            case.view.latencies = [(0, seconds(3)), (1, seconds(1))].into_iter().collect();
        });
        let plan = case.plan();
        if plan.candidates[0].model.as_str() == "twin" {
            assert_eq!(plan.reason, Reason::Explore);
            assert!((plan.propensity - 0.05).abs() < 1e-9);
            measured += 1;
        } else {
            assert!((plan.propensity - 0.95).abs() < 1e-9);
        }
    }
    assert!((8..40).contains(&measured), "{measured}");
}

/// How often each model comes first, and the mean of the propensities given when it does.
fn frequencies(model: &'static str, change: impl Fn(&mut Case)) -> Vec<(String, f64, f64)> {
    const RUNS: u32 = 1_200;
    let mut case = case(|case| case.call = call(model));
    change(&mut case);
    let mut seen: std::collections::BTreeMap<String, (u32, f64)> =
        std::collections::BTreeMap::new();
    for seed in 0..RUNS {
        case.seed = u64::from(seed);
        let plan = case.plan();
        let entry = seen
            .entry(plan.candidates[0].model.to_string())
            .or_default();
        entry.0 += 1;
        entry.1 += plan.propensity;
    }
    seen.into_iter()
        .map(|(name, (count, sum))| {
            let count = f64::from(count);
            (name, count / f64::from(RUNS), sum / count)
        })
        .collect()
}

fn check_propensities(model: &'static str, tolerance: f64, change: impl Fn(&mut Case)) {
    let seen = frequencies(model, change);
    assert!(seen.len() > 1, "{model} never varies: {seen:?}");
    for (name, frequency, propensity) in seen {
        assert!(
            (frequency - propensity).abs() < tolerance,
            "{model}: {name} came first in {frequency}, said {propensity}"
        );
    }
}

#[test]
fn propensities_are_the_frequencies_with_which_models_come_first() {
    check_propensities("greedy", 0.04, |_| {});
    check_propensities("split", 0.05, |case| {
        for select in case.snapshot.virtual_models.values_mut() {
            select.select.weights = [(0, 3.0), (1, 1.0)].into_iter().collect();
        }
    });
    // Estimated by a few dozen draws, of which one is the choice itself: biased upwards by up to 1/33.
    check_propensities("sampled", 0.12, |_| {});
    check_propensities("adaptive", 0.12, |_| {});
}

#[test]
fn bandits_follow_what_they_have_learned() {
    for model in ["greedy", "sampled"] {
        let seen = frequencies(model, |case| {
            let good = ArmStats {
                alpha: 400.0,
                beta: 4.0,
                count: 400.0,
            };
            case.view.arms.insert("twin".into(), good);
            let mut poor = ArmStats::prior(0.5, &LEARN);
            poor.beta += 400.0;
            case.view.arms.insert("middle".into(), poor);
        });
        let twin = seen.iter().find(|(name, ..)| name == "twin").expect("seen");
        assert!(twin.1 > 0.8, "{model}: {seen:?}");
    }
}

#[test]
fn an_explanation_has_the_members_of_the_contract() {
    let case = case(|case| case.caller.tier = Tier::Standard);
    let plan = case.plan();
    let value = explain::explain(&explain::Explained {
        task: "open_qa".into(),
        features: &case.features,
        plan: &plan,
        config_version: &case.snapshot.version,
    });
    for name in [
        "task",
        "confidence",
        "tasks",
        "level",
        "complexity",
        "weak_fails",
        "language",
        "needs",
        "input_tokens",
        "output_tokens_estimate",
        "model",
        "reason",
        "propensity",
        "candidates",
        "config_version",
    ] {
        assert!(value.get(name).is_some(), "{name} in {value}");
    }
    let first = &value["candidates"][0];
    assert_eq!(first["model"], "middle");
    assert!(first["excluded_by"].is_null());
    // 1,000 × 1 + 500 × 3 µUSD.
    assert_eq!(first["estimated_cost_usd"].to_string(), "0.0025");
    assert_eq!(value["candidates"][3]["excluded_by"], "tier");
    let decision = serde_json::to_string(&explain::decision(&plan, None)).expect("JSON");
    assert!(decision.contains("\"row\":\"default\""), "{decision}");
    assert!(
        decision.contains("\"estimated_cost_usd\":0.0025,"),
        "{decision}"
    );
}

const ASKED: [&str; 9] = [
    "auto", "cheap", "fast", "greedy", "sampled", "adaptive", "split", "big", "middle",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_plan_holds_no_disabled_model_and_none_twice_and_follows_from_its_seed(
        asked in 0..ASKED.len(),
        (row, level) in (0..2_usize, 0..3_usize),
        open in proptest::collection::vec(0..6_usize, 0..4),
        limited in proptest::collection::vec(0..6_usize, 0..3),
        (tier, regional, vision) in (0..3_usize, any::<bool>(), any::<bool>()),
        (price, floor, exhausted) in (0.0..3.0_f64, any::<bool>(), 0..4_usize),
        left in proptest::option::of(0..400_u32),
        seed in any::<u64>(),
    ) {
        let mut case = Case {
            call: call(ASKED[asked]),
            row: ["default", "code_generation"][row],
            level: ["simple", "complex", "critical"][level],
            ..Case::default()
        };
        case.view.open = open;
        case.view.limited = limited;
        case.call.directives.tier = Some([Tier::Local, Tier::Standard, Tier::Premium][tier]);
        if regional {
            case.caller.regions = vec!["eu".into()].into();
        }
        case.call.needs.vision = vision;
        case.view.purse = Purse {
            shadow_price: price,
            under_floor: floor,
            exhausted: [None, Some(OnExhausted::Block), Some(OnExhausted::Downgrade), Some(OnExhausted::LocalOnly)][exhausted],
        };
        case.view.left = left.map(|left| PicoUsd::from_pico(i128::from(left) * 1_000_000_000));
        case.seed = seed;
        let plan = case.plan();
        prop_assert_eq!(&plan, &case.plan());
        prop_assert!((0.0..=1.0).contains(&plan.propensity) && plan.propensity > 0.0);
        prop_assert!(plan.own <= plan.candidates.len());
        let mut seen = Vec::new();
        for candidate in &plan.candidates {
            let model = &case.snapshot.models[candidate.index];
            prop_assert!(!seen.contains(&candidate.index), "twice: {:?}", plan);
            seen.push(candidate.index);
            prop_assert!(case.snapshot.providers[model.provider].enabled);
            prop_assert!(!case.view.open.contains(&candidate.index));
            prop_assert!(!case.view.limited.contains(&candidate.index));
            prop_assert!(!regional || model.region.as_deref() == Some("eu"));
            prop_assert!(!model.embeddings);
            prop_assert!(plan.excluded.iter().all(|left| left.model != candidate.model));
            prop_assert!(candidate.estimated_cost <= candidate.worst_case);
            if let Some(left) = case.view.left {
                prop_assert!(candidate.worst_case <= left || model.price.is_free());
            }
            if exhausted == 3 {
                prop_assert!(model.tier == Tier::Local || model.price.is_free());
            }
        }
    }
}
