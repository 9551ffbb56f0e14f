//! State that survives a reload, keyed by stable id: breakers, limiters, permits, budgets, latency
//! averages, bandit arms, sessions, HTTP clients, access tokens.
//!
//! Each room has its State here and takes its Params from the snapshot at the call, so a reload
//! rebuilds nothing and forgets nothing. Critical sections are short and never span an await.

pub mod arms;
pub mod batches;
pub mod breaker;
pub mod budgets;
pub mod clients;
pub mod deployments;
pub mod grants;
pub mod lane;
pub mod latency;
pub mod latency_target;
pub mod leases;
pub mod lengths;
pub mod limiter;
pub mod reservation;
pub mod retry_budget;
pub mod sessions;
pub mod simulated;

pub use arms::{ArmKey, ArmMean, ArmStats, Arms, Context, LearnParams, LinearStats, Observation};
pub use batches::{BatchKey, BatchOwner, OpenBatches};
pub use breaker::{
    Breaker, BreakerParams, BreakerPass, BreakerState, Breakers, CallVerdict, Transition,
};
pub use budgets::{
    Affordance, Amounts, BudgetAlert, BudgetMatch, BudgetParams, BudgetView, Budgets, EndUserMatch,
    Exhausted, LedgerSpending, OnExhausted, Overrun, Payer, Period, Reservation, Tagged,
};
pub use clients::{HttpClient, HttpClients, UploadBody, UploadClient};
pub use grants::{AccessToken, GrantError, Grants};
pub use latency::{Latencies, LatencySample};
pub use latency_target::{LatencyChange, LatencyTarget, LatencyTargets};
pub use limiter::{
    LimitKind, LimitParams, Limited, Limiters, Permit, RateStanding, Scope, Standing,
    TokenReservation, format_reset,
};
pub use reservation::AttemptReservation;
pub use retry_budget::{RetryBudget, RetryParams, backoff, parse_http_date, parse_retry_after};
pub use sessions::{Session, SessionAnswer, Sessions};
pub use simulated::SimulatedParams;
