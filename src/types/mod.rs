//! The vocabulary that every room shares: identifiers, money, tokens, the decoded call, what the
//! classifier found, the plan, and the ledger's records.
//!
//! No I/O, no async, no locks. Imports nothing else of this crate.

pub mod attempt;
pub mod call;
pub mod caller;
pub mod chat;
pub mod conversation;
pub mod currency;
pub mod event;
pub mod features;
pub mod ids;
pub mod lease;
pub mod money;
pub mod plan;
pub mod postgres_url;
pub mod price;
pub mod record;
pub mod relay;
pub mod served;
pub mod tally;
pub mod usage;

pub use attempt::{AttemptFailure, Next};
pub use call::{
    CacheControl, Call, Directives, Endpoint, Field, Maker, Needs, Part, Role, Span, StreamRequest,
    ToolCallAt, Turn,
};
pub use caller::{AllowList, Caller, Tier};
pub use conversation::{Conversation, ConversationKey, Verdict, Weighing};
pub use currency::{Currency, CurrencyAmount, ExchangeRate, PerUsd};
pub use event::{Event, EventKind, Severity};
pub use features::{Features, Signal, TaskScore};
pub use ids::{
    AppId, BudgetId, ConfigVersion, DeploymentId, KeyId, LevelName, ModelId, ProviderId, RequestId,
    TaskName, TeamId,
};
pub use lease::{
    DrawCall, DrawReply, Elsewhere, LeaseCall, LeaseReply, MAX_UNITS, OnDeath, Replica, Witness,
};
pub use money::{MoneyError, PicoUsd, Price, TokenPrice};
pub use plan::{Candidate, Excluded, Exclusion, Plan, Reason};
pub use postgres_url::{PostgresTls, PostgresUrl, PostgresUrlError};
pub use price::{
    AppliedPrice, BillBound, PossibleTiers, PriceEntry, PriceList, PriceStep, TierPrice,
};
pub use record::{AttemptRecord, CacheOutcome, Outcome, RequestRecord, UsageSource};
pub use relay::RelayPath;
pub use served::is_same_model;
pub use tally::Tally;
pub use usage::{ServiceTier, Tokens, Usage};
