//! A month of made-up traffic: teams of very different size, a model for each kind of task, retries,
//! fallbacks, cache hits, refusals and estimates in the shares that proxies see. The same every time.

use tollgate::types::{
    AttemptRecord, CacheOutcome, Outcome, PicoUsd, Reason, RequestId, RequestRecord, Tokens,
    UsageSource,
};

/// 2026-11-01T00:00:00Z
const START_MS: i64 = 1_793_491_200_000;
const MONTH_MS: u64 = 30 * 86_400_000;

const TASKS: [&str; 8] = [
    "code_generation",
    "summarization",
    "translation",
    "extraction",
    "open_qa",
    "conversation",
    "classification",
    "other",
];
const LEVELS: [&str; 3] = ["simple", "complex", "critical"];
/// Name, provider, price of input and output in pico-USD per token.
const MODELS: [(&str, &str, u64, u64); 6] = [
    ("gpt-4o-mini", "openai", 150_000, 600_000),
    ("gpt-4o", "openai", 2_500_000, 10_000_000),
    ("claude-sonnet", "anthropic", 3_000_000, 15_000_000),
    ("claude-opus", "anthropic", 15_000_000, 75_000_000),
    ("mistral-large", "mistral", 2_000_000, 6_000_000),
    ("qwen-local", "local", 0, 0),
];

/// End users unless told otherwise, few of whom ask most.
pub const SOME_USERS: u64 = 50_000;

/// The records of a month, in the order in which they ended.
pub struct Month {
    requests: u64,
    users: u64,
    next: u64,
    random: u64,
    request: RequestRecord,
    attempt: AttemptRecord,
}

impl Month {
    /// A month of this many requests, of about so many end users.
    pub fn new(requests: u64, users: u64) -> Self {
        let (request, attempt) = templates();
        Self {
            requests,
            users,
            next: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            request,
            attempt,
        }
    }

    /// A number below `bound`: xorshift64* (Vigna 2014).
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    /// A number below `bound`, small ones far more often: teams and models are not alike.
    fn skewed(&mut self, bound: u64) -> u64 {
        let first = self.below(bound) + 1;
        self.below(first)
    }

    fn fill_attempt(&mut self, number: u32, at_ms: i64, model: usize) -> AttemptRecord {
        let (name, provider, input_price, output_price) = MODELS[model];
        let cached = if self.below(3) == 0 {
            self.below(2000)
        } else {
            0
        };
        let tokens = Tokens {
            input: 200 + self.skewed(4000),
            cached_input: cached,
            output: 20 + self.skewed(900),
            ..Tokens::default()
        };
        let mut attempt = self.attempt.clone();
        attempt.attempt = number;
        attempt.started_at_ms = at_ms;
        attempt.model = name.into();
        attempt.provider = provider.into();
        attempt.deployment = name.into();
        attempt.response_model = Some(format!("{name}-2026-08-01"));
        attempt.tokens = tokens;
        let cost = tokens.input * input_price + tokens.output * output_price;
        attempt.cost = PicoUsd::from_pico(i128::from(cost + cached * input_price / 2));
        attempt.latency_us = 400_000 + self.skewed(9_000_000);
        if self.below(40) == 0 {
            attempt.usage = UsageSource::Estimated;
        }
        attempt
    }

    fn fill_attempts(&mut self, at_ms: i64, model: usize) -> Vec<AttemptRecord> {
        let mut attempts = Vec::with_capacity(1);
        if self.below(12) == 0 {
            let failed = self.below(MODELS.len() as u64);
            let mut attempt = self.fill_attempt(1, at_ms, usize::try_from(failed).unwrap_or(0));
            attempt.outcome = Outcome::UpstreamError;
            attempt.status = Some(503);
            attempt.tokens = Tokens::default();
            attempt.usage = UsageSource::None;
            attempt.cost = PicoUsd::ZERO;
            attempts.push(attempt);
        }
        let number = u32::try_from(attempts.len()).unwrap_or(0) + 1;
        attempts.push(self.fill_attempt(number, at_ms + 2, model));
        attempts
    }
}

impl Iterator for Month {
    type Item = RequestRecord;

    fn next(&mut self) -> Option<RequestRecord> {
        if self.next == self.requests {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let offset = MONTH_MS / self.requests * number + self.below(1000);
        let at_ms = START_MS + i64::try_from(offset).unwrap_or(0);
        let mut record = self.request.clone();
        // The form of a version 7 UUID: the time, then chance.
        let id = format!("req_{at_ms:012x}7{:03x}{number:016x}", self.below(4096));
        record.request_id = RequestId::from_text(&id);
        record.started_at_ms = at_ms;
        let team = self.skewed(20);
        record.team = format!("team-{team}").as_str().into();
        record.app = format!("app-{team}-{}", self.skewed(4)).as_str().into();
        let key = format!("key-{team}-{}", self.skewed(10));
        record.key = Some(key.as_str().into());
        let user = match self.users {
            SOME_USERS => self.skewed(SOME_USERS),
            many => self.below(many),
        };
        record.end_user = Some(format!("user-{user}"));
        let task = usize::try_from(self.skewed(TASKS.len() as u64)).unwrap_or(0);
        let level = usize::try_from(self.skewed(3)).unwrap_or(0);
        record.task = TASKS[task].into();
        record.level = LEVELS[level].into();
        record.stream = self.below(2) == 0;
        let model = (task + level + usize::try_from(self.below(2)).unwrap_or(0)) % MODELS.len();
        match self.below(20) {
            0 => refuse(&mut record),
            1 => record.cache = CacheOutcome::HitExact,
            _ => record.attempts = self.fill_attempts(at_ms, model),
        }
        record.cost = record.attempts.iter().map(|attempt| attempt.cost).sum();
        if let Some(last) = record.attempts.last() {
            record.model = Some(last.model.clone());
            record.provider = Some(last.provider.clone());
            record.latency_us = last.latency_us + 3_000;
            if record.attempts.len() > 1 {
                record.reason = Some(Reason::Fallback);
            }
        }
        record.baseline_cost = Some(record.cost.saturating_mul(3));
        Some(record)
    }
}

fn refuse(record: &mut RequestRecord) {
    record.outcome = Outcome::RateLimited;
    record.status = 429;
    record.error_code = Some("rate_limit_exceeded".to_owned());
    record.model = None;
    record.provider = None;
    record.reason = None;
    record.features = None;
    record.decision = None;
}

/// Records with all that does not matter for the sums filled as `serve` fills it.
fn templates() -> (RequestRecord, AttemptRecord) {
    let mut request: RequestRecord =
        serde_json::from_str(include_str!("record.json")).expect("a request");
    let attempt = request.attempts.pop().expect("an attempt");
    (request, attempt)
}
