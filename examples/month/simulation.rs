//! A month of requests on a simulated clock, through the real budgets and the real policy: what is
//! simulated is the demand, the answers' lengths, and the passing of time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tollgate::clock::Clock;
use tollgate::config::{self, Snapshot};
use tollgate::policy::{self, Asked, PlanInput, Purse, RuntimeView, Staying};
use tollgate::runtime::budgets::{BudgetParams, Budgets, Payer, Reservation};
use tollgate::runtime::{ArmKey, ArmStats, LinearStats};
use tollgate::types::{
    AllowList, Call, Caller, Directives, Endpoint, Features, LevelName, ModelId, PicoUsd, TaskName,
    Tier, Tokens,
};
use tollgate::wire;

/// Three models a factor of ten apart, one row, and a budget that the month's demand would overspend
/// by half.
const FILE: &str = "
version: 1
state: { store: memory }
auth: { mode: open }
providers:
  api: { dialect: openai_chat, base_url: \"http://127.0.0.1:1/v1\" }
models:
  large:  { provider: api, tier: premium,  quality: 0.92, context_tokens: 200000, max_output_tokens: 8000, price: { input: 5, output: 25 } }
  medium: { provider: api, tier: standard, quality: 0.80, context_tokens: 200000, max_output_tokens: 8000, price: { input: 1, output: 5 } }
  small:  { provider: api, tier: standard, quality: 0.62, context_tokens: 200000, max_output_tokens: 8000, price: { input: 0.1, output: 0.4 } }
matrix:
  default:
    simple:   [medium, small]
    complex:  [large, medium, small]
    critical: [large, medium]
teams: { research: { tier: premium }, product: { tier: standard } }
select: { policy: first }
budgets:
  - { name: company, limit_usd: LIMIT, period: month, timezone: Europe/Madrid, on_exhausted: block, pacing: { enabled: PACED }, alert_at: [] }
";

/// 2026-11-01 00:00 in Madrid.
const START_MS: i64 = 1_793_487_600_000;
/// Hours of November there.
pub const HOURS: usize = 720;
/// How long an answer takes: money stays reserved for that long.
const ANSWER_MS: i64 = 20_000;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Month {
    /// Requests in an average hour before any surge.
    pub requests_per_hour: f64,
    /// Seed of the demand; the same seed gives the same requests, whoever answers them.
    pub seed: u64,
}

/// What one tier's requests got.
#[derive(Clone, Copy, Debug, Default)]
pub struct Served {
    /// Requests that a model answered.
    pub answered: u64,
    /// Requests that the budget refused.
    pub blocked: u64,
    /// Sum of the declared quality of the models that answered.
    quality: f64,
}

impl Served {
    /// Mean quality of all requests; a refused one has none.
    #[allow(clippy::cast_precision_loss, reason = "thousands")]
    pub fn quality(&self) -> f64 {
        self.quality / (self.answered + self.blocked).max(1) as f64
    }
}

/// How a month went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// USD that the month may cost.
    pub limit_usd: f64,
    /// USD spent by the end of each hour.
    pub spent_usd: Vec<f64>,
    /// The price of money at the end of each hour.
    pub price: Vec<f64>,
    /// Requests that were refused in each hour.
    pub blocked: Vec<u64>,
    /// Team `research`, tier premium.
    pub premium: Served,
    /// Team `product`, tier standard.
    pub standard: Served,
    /// Answers by model.
    pub by_model: Vec<(String, u64)>,
}

impl Outcome {
    /// Share of the limit that the month has spent.
    pub fn share(&self) -> f64 {
        self.spent_usd.last().copied().unwrap_or(0.0) / self.limit_usd
    }
}

/// Runs the month with pacing, or with the limit as a mere wall.
pub fn run(month: Month, paced: bool) -> Outcome {
    // A fixed amount for each request that is expected, so that a coarser month has a smaller budget.
    let limit_usd = (month.requests_per_hour * 720.0 * 0.0057).round();
    let text = FILE
        .replace("LIMIT", &limit_usd.to_string())
        .replace("PACED", &paced.to_string());
    let snapshot = config::load(&text, "month", &|_| None, 0).expect("a sound file");
    let mut world = World::new(snapshot, month.seed);
    let mut outcome = Outcome {
        limit_usd,
        by_model: world
            .snapshot
            .models
            .iter()
            .map(|model| (model.id.to_string(), 0))
            .collect(),
        ..Outcome::default()
    };
    for hour in 0..HOURS {
        let blocked = world.hour(hour, month.requests_per_hour, &mut outcome);
        let view = &world.budgets.view()[0];
        outcome.spent_usd.push(view.spent.as_usd_f64());
        outcome.price.push(view.shadow_price);
        outcome.blocked.push(blocked);
    }
    outcome
}

/// Requests in an hour, relative to an average one: days and nights, weekends, a launch in the second
/// week that triples the demand and ebbs away, and a last week that is half as busy again.
#[allow(clippy::cast_precision_loss, reason = "hours of a month")]
pub fn demand(hour: usize) -> f64 {
    let (day, of_day) = (hour / 24, (hour % 24) as f64);
    let daily = 1.0 - 0.7 * ((of_day - 2.0) / 24.0 * std::f64::consts::TAU).cos();
    // November 2026 begins on a Sunday.
    let weekly = if matches!(day % 7, 0 | 6) { 0.45 } else { 1.22 };
    let surge = match day {
        9..=14 => 3.0,
        15..=17 => 2.0,
        23.. => 1.5,
        _ => 1.0,
    };
    daily * weekly * surge
}

/// A request with all that chance decides about it.
struct Demand {
    premium: bool,
    level: &'static str,
    features: Features,
    output_tokens: u64,
}

struct World {
    snapshot: Snapshot,
    budgets: Arc<Budgets>,
    clock: Clock,
    rng: StdRng,
    callers: [Caller; 2],
    call: Call,
    asked: Asked,
    row: TaskName,
    /// Answers under way: when they end, and what they cost.
    in_flight: VecDeque<(i64, Reservation, PicoUsd)>,
}

impl World {
    fn new(snapshot: Snapshot, seed: u64) -> Self {
        let clock = Clock::manual(START_MS);
        let budgets = Arc::new(Budgets::new(clock.clone()));
        let empty = |_: &BudgetParams, _: Range<i64>| Ok::<_, Infallible>(PicoUsd::ZERO.into());
        let Ok(()) = budgets.apply(&snapshot.budgets, &empty);
        let body = r#"{"model":"auto","messages":[{"role":"user","content":"…"}]}"#;
        let call = wire::decode(
            Endpoint::ChatCompletions,
            body.into(),
            Directives::default(),
        )
        .expect("a request");
        let callers = [
            caller("research", Tier::Premium),
            caller("product", Tier::Standard),
        ];
        let asked = policy::resolve(&snapshot, &callers[0], &call).expect("auto");
        Self {
            snapshot,
            budgets,
            clock,
            rng: StdRng::seed_from_u64(seed),
            callers,
            call,
            asked,
            row: TaskName::from("default"),
            in_flight: VecDeque::new(),
        }
    }

    /// Serves an hour, minute by minute; returns how many requests were refused.
    fn hour(&mut self, hour: usize, per_hour: f64, outcome: &mut Outcome) -> u64 {
        let mut blocked = 0;
        for minute in 0..60 {
            let expected = demand(hour) * per_hour / 60.0;
            let chance = self.rng.random::<f64>();
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a few requests"
            )]
            let requests = (expected + chance) as u64;
            for _ in 0..requests {
                let demand = self.next_demand();
                if !self.serve(&demand, outcome) {
                    blocked += 1;
                }
            }
            // A millisecond short, so that the last look still sees this month.
            let minutes = i64::try_from(hour * 60 + minute + 1).unwrap_or(0);
            let until = START_MS + minutes * 60_000 - 1;
            self.clock.advance_ms(until - self.clock.unix_ms());
            self.settle();
        }
        blocked
    }

    /// The next request. Draws the same numbers whatever becomes of it.
    fn next_demand(&mut self) -> Demand {
        let mut spread = |mean: f64, width: f64| {
            let sum: f64 = (0..12).map(|_| self.rng.random::<f64>()).sum();
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "thousands of tokens"
            )]
            let tokens = (mean * ((sum - 6.0) * width).exp()) as u64;
            tokens.clamp(1, 8_000)
        };
        let (input, output) = (spread(900.0, 0.8), spread(350.0, 0.9));
        let premium = self.rng.random::<f64>() < 0.25;
        let (level, complexity) = match self.rng.random::<f64>() {
            share if share < 0.5 => ("simple", 0.2),
            share if share < 0.9 => ("complex", 0.6),
            _ => ("critical", 0.9),
        };
        Demand {
            premium,
            level,
            features: Features {
                task: "open_qa".into(),
                confidence: 0.9,
                tasks: smallvec::SmallVec::new(),
                complexity,
                weak_fails: complexity,
                language: "en".to_owned(),
                needs: tollgate::types::Needs::default(),
                input_tokens: input,
                input_tokens_bound: input * 3,
                output_tokens_estimate: 400,
                signals: smallvec::SmallVec::new(),
            },
            output_tokens: output,
        }
    }

    /// Plans and tries the candidates in order, as the pipeline does; false when none could be paid.
    fn serve(&mut self, demand: &Demand, outcome: &mut Outcome) -> bool {
        let caller = &self.callers[usize::from(!demand.premium)];
        let plan = {
            let view = View {
                world: self,
                caller,
                purse: self.purse(caller),
            };
            let level = LevelName::from(demand.level);
            let input = PlanInput {
                snapshot: &self.snapshot,
                view: &view,
                caller,
                call: &self.call,
                features: &demand.features,
                asked: &self.asked,
                row: &self.row,
                level: &level,
                at_ms: self.clock.unix_ms(),
            };
            // The policy `first` draws nothing.
            policy::plan(&input, &mut StdRng::seed_from_u64(0))
        };
        let tier = if demand.premium {
            &mut outcome.premium
        } else {
            &mut outcome.standard
        };
        for candidate in &plan.candidates {
            let payer = self.payer(caller, candidate.index);
            let Ok(held) = self.budgets.reserve(&payer, candidate.worst_case) else {
                continue;
            };
            let model = &self.snapshot.models[candidate.index];
            let cost = model.price.cost(
                self.clock.unix_ms(),
                &Tokens {
                    input: demand.features.input_tokens,
                    output: demand.output_tokens,
                    ..Tokens::default()
                },
            );
            tier.answered += 1;
            tier.quality += model.quality.base;
            outcome.by_model[candidate.index].1 += 1;
            let ends = self.clock.unix_ms() + ANSWER_MS;
            self.in_flight.push_back((ends, held, cost));
            return true;
        }
        tier.blocked += 1;
        false
    }

    fn settle(&mut self) {
        let now = self.clock.unix_ms();
        while self.in_flight.front().is_some_and(|(at, _, _)| *at <= now) {
            if let Some((_, held, cost)) = self.in_flight.pop_front() {
                held.settle(cost);
            }
        }
    }

    fn purse(&self, caller: &Caller) -> Purse {
        let affordance = self.budgets.affordance(caller, None);
        Purse {
            shadow_price: affordance.shadow_price,
            under_floor: affordance.floor,
            exhausted: affordance.exhausted,
        }
    }

    fn payer(&self, caller: &Caller, model: usize) -> Payer {
        let model = &self.snapshot.models[model];
        Payer {
            team: caller.team.clone(),
            app: caller.app.clone(),
            key: None,
            model: model.id.clone(),
            provider: self.snapshot.providers[model.provider].id.clone(),
            end_user: None,
        }
    }
}

fn caller(team: &str, tier: Tier) -> Caller {
    Caller {
        key: None,
        key_sha256: None,
        team: team.into(),
        app: "default".into(),
        tier,
        allow: AllowList::all(),
        regions: Arc::new([]),
    }
}

/// The runtime as the policy sees it: all is well but for the money.
struct View<'a> {
    world: &'a World,
    caller: &'a Caller,
    purse: Purse,
}

impl RuntimeView for View<'_> {
    fn breaker_open(&self, _model: usize) -> bool {
        false
    }

    fn rate_limited(&self, _model: usize) -> bool {
        false
    }

    fn latency(&self, _model: usize, _output_tokens: u64) -> Option<Duration> {
        None
    }

    fn arm(&self, _key: &ArmKey, quality: f64) -> ArmStats {
        ArmStats::prior(quality, &self.world.snapshot.select.learn)
    }

    fn linear(&self, _model: &ModelId) -> LinearStats {
        LinearStats::prior(&self.world.snapshot.select.learn)
    }

    fn purse(&self) -> Purse {
        self.purse
    }

    fn affords(&self, model: usize, worst_case: PicoUsd) -> bool {
        let payer = self.world.payer(self.caller, model);
        self.world.budgets.affords(&payer, worst_case)
    }

    fn session(&self) -> Option<Staying> {
        None
    }
}
