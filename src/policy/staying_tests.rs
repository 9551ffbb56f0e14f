//! When a conversation stays with its model and when it goes.

use super::tests_support::{Case, call, names, staying};
use super::{Purse, explain};
use crate::runtime::OnExhausted;
use crate::types::{Plan, Reason, Role, Turn, Verdict, Weighing};

fn case(change: impl FnOnce(&mut Case)) -> Case {
    let mut case = Case::default();
    change(&mut case);
    case
}

fn turns(roles: &[Role]) -> Vec<Turn> {
    let turn = |role: &Role| Turn {
        tool_calls: u16::from(*role == Role::Assistant),
        ..Turn::new(*role)
    };
    roles.iter().map(turn).collect()
}

const MID_CHAIN: &[Role] = &[Role::User, Role::Assistant, Role::Tool];

fn weighed(plan: &Plan) -> &Weighing {
    plan.weighing.as_ref().expect("a conversation")
}

fn check(case: &Case, first: &str, verdict: Verdict, reason: Reason) {
    let plan = case.plan();
    assert_eq!(plan.candidates[0].model.as_str(), first, "{plan:#?}");
    assert_eq!(
        (weighed(&plan).verdict, plan.reason),
        (verdict, reason),
        "{plan:#?}"
    );
}

/// A long conversation with `big`, which now asks something simple: the cell is `middle`, `big`.
fn long_with_big(warm: u64) -> Case {
    case(|case| {
        case.row = "code_generation";
        case.level = "simple";
        case.features.input_tokens = 90_000;
        case.features.input_tokens_bound = 95_000;
        case.view.session = Some(staying("big", warm));
    })
}

#[test]
fn a_warm_cache_keeps_the_model_and_a_cold_one_does_not() {
    check(
        &long_with_big(90_000),
        "big",
        Verdict::Stays,
        Reason::Session,
    );
    check(&long_with_big(0), "middle", Verdict::Goes, Reason::Matrix);
    // The numbers of docs/agents.md.
    let plan = long_with_big(90_000).plan();
    let warm = weighed(&plan);
    assert_eq!(warm.stay_cost.to_string(), "0.105");
    assert_eq!(warm.go_cost.to_string(), "0.0915");
    assert!((warm.gain + 0.2).abs() < 1e-9, "{warm:?}");
    assert!((warm.loss + 0.3 * 0.0135 / 0.105).abs() < 1e-9, "{warm:?}");
    let plan = long_with_big(0).plan();
    let cold = weighed(&plan);
    assert_eq!(cold.stay_cost.to_string(), "0.915");
    assert!((cold.loss + 0.3 * 0.8235 / 0.915).abs() < 1e-9, "{cold:?}");
    let shown = serde_json::to_value(explain::decision(&plan, None)).expect("JSON");
    assert_eq!(shown["session"]["verdict"], "goes");
    assert_eq!(shown["session"]["go_cost_usd"], serde_json::json!(0.0915));
}

#[test]
fn going_needs_a_gain_above_the_loss() {
    // `twin` is cheap and its cache warm; `big` is better, but not by that much.
    let twin = |quality: f64| {
        case(|case| {
            case.view.session = Some(staying("twin", 1_000));
            let auto = case.snapshot.virtual_models.get_mut("auto");
            auto.expect("always there").select.objective.quality = quality;
        })
    };
    check(&twin(1.0), "twin", Verdict::Stays, Reason::Session);
    check(&twin(2.0), "big", Verdict::Goes, Reason::Matrix);
    let agreed = case(|case| case.view.session = Some(staying("big", 1_000)));
    check(&agreed, "big", Verdict::Agrees, Reason::Matrix);
    // Steps that are still to come count as well.
    let plan = case(|case| {
        case.view.session = Some(staying("twin", 1_000));
        case.call.turns = turns(&[
            Role::User,
            Role::Assistant,
            Role::Tool,
            Role::Tool,
            Role::Assistant,
            Role::Tool,
            Role::Assistant,
            Role::User,
        ]);
    })
    .plan();
    assert_eq!(weighed(&plan).steps, 2);
    assert_eq!(weighed(&plan).stay_cost.to_string(), "0.0033");
}

#[test]
fn a_chain_is_never_broken_while_its_model_can_be_tried() {
    let chain = |change: fn(&mut Case)| {
        case(|case| {
            case.row = "code_generation";
            case.level = "critical";
            case.call.turns = turns(MID_CHAIN);
            case.view.session = Some(staying("twin", 0));
            change(case);
        })
    };
    // Not in the cell, no cache, not as good: it began, so it goes on.
    check(&chain(|_| {}), "twin", Verdict::Chain, Reason::Session);
    let plan = chain(|_| {}).plan();
    assert_eq!(names(&plan), "twin big home");
    let down = chain(|case| case.view.open = vec![case.index("twin")]);
    check(&down, "big", Verdict::Unable, Reason::Matrix);
    let spent = chain(|case| {
        case.view.purse = Purse {
            exhausted: Some(OnExhausted::LocalOnly),
            ..Purse::default()
        };
    });
    assert_eq!(spent.plan().candidates[0].model.as_str(), "home");
    // What the client names counts more.
    let named = chain(|case| case.call.directives.level = Some("critical".to_owned()));
    check(&named, "big", Verdict::Unable, Reason::Matrix);
    let gone = chain(|case| case.view.session = Some(staying("retired", 0)));
    assert_eq!(gone.plan().weighing, None);
    let pinned = chain(|case| case.call.model = "middle".to_owned());
    assert_eq!(pinned.plan().candidates[0].model.as_str(), "middle");
    // Who only shares a cache with it did not make it.
    let hint = chain(|case| {
        if let Some(session) = &mut case.view.session {
            session.is_maker = false;
        }
    });
    check(&hint, "big", Verdict::Unable, Reason::Matrix);
    // The model has answered and the user speaks: the chain is over.
    let over = chain(|case| {
        case.call.turns.extend(turns(&[Role::Assistant]));
        case.call.turns[3].tool_calls = 0;
        case.call.turns.extend(turns(&[Role::User]));
    });
    check(&over, "big", Verdict::Unable, Reason::Matrix);
}

#[test]
fn other_levels_models_stay_where_they_are_good_enough() {
    // `dark` and `big` are the critical cell's; the simple one names `middle` and `big`.
    let from = |model: &'static str, level: &'static str| {
        case(|case| {
            case.row = "default";
            case.level = level;
            case.features.input_tokens = 90_000;
            case.features.input_tokens_bound = 95_000;
            case.view.session = Some(staying(model, 90_000));
        })
    };
    check(
        &from("big", "simple"),
        "big",
        Verdict::Stays,
        Reason::Session,
    );
    check(
        &from("middle", "critical"),
        "big",
        Verdict::Unable,
        Reason::Matrix,
    );
}

#[test]
fn policies_that_look_at_one_thing_weigh_that() {
    let cheap = |warm| {
        case(|case| {
            case.call = call("cheap");
            case.features.input_tokens = 90_000;
            case.features.input_tokens_bound = 95_000;
            case.view.session = Some(staying("big", warm));
        })
    };
    check(&cheap(90_000), "middle", Verdict::Goes, Reason::Matrix);
    // With little to say, what is warm at `big` costs less than what is cold at `middle`.
    let terse = |warm| {
        let mut case = cheap(warm);
        case.features.output_tokens_estimate = 1;
        case.snapshot.models[1].price = std::sync::Arc::clone(&case.snapshot.models[2].price);
        case
    };
    check(&terse(90_000), "big", Verdict::Stays, Reason::Session);
    check(&terse(0), "middle", Verdict::Goes, Reason::Matrix);
}
