//! `resilience`

use super::{Context, at, matrix, milliseconds, seconds};
use crate::config::schema::{
    BreakerConfig, ErrorRuleConfig, FallbackConfig, ResilienceConfig, RetryConfig, TimeoutsConfig,
};
use crate::config::snapshot::{
    AnswerRule, ErrorRule, ErrorRules, FallbackParams, ResilienceParams, Timeouts,
};
use crate::runtime::{BreakerParams, RetryParams};
use crate::types::TaskName;

pub fn compile(cx: &mut Context<'_, '_>, resilience: &ResilienceConfig) -> ResilienceParams {
    ResilienceParams {
        breaker: breaker(cx, &resilience.breaker),
        retry: retry(cx, &resilience.retry),
        timeouts: timeouts(cx, &resilience.timeouts),
        fallback: fallback(cx, &resilience.fallback),
    }
}

fn breaker(cx: &mut Context<'_, '_>, breaker: &BreakerConfig) -> BreakerParams {
    if breaker.open_seconds > breaker.open_max_seconds {
        cx.error(
            at!["resilience", "breaker", "open_seconds"],
            format!("above `open_max_seconds` ({})", breaker.open_max_seconds),
        );
    }
    BreakerParams {
        window: seconds(breaker.window_seconds),
        failure_rate: breaker.failure_rate,
        min_requests: breaker.min_requests,
        consecutive_failures: breaker.consecutive_failures,
        slow_call: milliseconds(breaker.slow_call_ms),
        slow_rate: breaker.slow_rate,
        open: seconds(breaker.open_seconds),
        open_max: seconds(breaker.open_max_seconds),
        jitter: breaker.jitter,
    }
}

fn retry(cx: &mut Context<'_, '_>, retry: &RetryConfig) -> RetryParams {
    if retry.base_delay_ms > retry.max_delay_ms {
        cx.error(
            at!["resilience", "retry", "base_delay_ms"],
            format!("above `max_delay_ms` ({})", retry.max_delay_ms),
        );
    }
    RetryParams {
        max_attempts: retry.max_attempts,
        budget_ratio: retry.budget_ratio,
        min_per_second: retry.min_per_second,
        base_delay: milliseconds(retry.base_delay_ms),
        max_delay: milliseconds(retry.max_delay_ms),
        max_retry_after: seconds(retry.max_retry_after_seconds),
    }
}

fn timeouts(cx: &mut Context<'_, '_>, timeouts: &TimeoutsConfig) -> Timeouts {
    let parts = [
        ("connect_ms", timeouts.connect_ms),
        ("first_event_ms", timeouts.first_event_ms),
        ("response_ms", timeouts.response_ms),
    ];
    for (name, part) in parts {
        if part > timeouts.total_ms {
            cx.warn(
                at!["resilience", "timeouts", name],
                format!(
                    "above `total_ms` ({}), which ends the request first",
                    timeouts.total_ms
                ),
                "lower it, or raise `total_ms`",
            );
        }
    }
    Timeouts {
        connect: milliseconds(timeouts.connect_ms),
        first_event: milliseconds(timeouts.first_event_ms),
        response: milliseconds(timeouts.response_ms),
        idle: milliseconds(timeouts.idle_ms),
        total: milliseconds(timeouts.total_ms),
    }
}

fn fallback(cx: &mut Context<'_, '_>, fallback: &FallbackConfig) -> FallbackParams {
    for (index, pair) in fallback.ladder.windows(2).enumerate() {
        if let [upper, lower] = pair
            && lower >= upper
        {
            cx.error_hint(
                at!["resilience", "fallback", "ladder", index + 1],
                format!("`{lower}` is not below `{upper}`: the ladder only goes down"),
                "the order is premium, standard, local",
            );
        }
    }
    let mut rules = Vec::with_capacity(fallback.rules.len());
    let mut always = false;
    for (index, rule) in fallback.rules.iter().enumerate() {
        for (position, task) in rule.tasks.iter().enumerate() {
            if !cx.names.tasks.contains(task.as_str()) {
                let at = at!["resilience", "fallback", "rules", index, "tasks", position];
                cx.unknown(at, "task", task, |names| &names.tasks);
            }
        }
        let at = at!["resilience", "fallback", "rules", index];
        if always {
            cx.warn(
                at,
                "never reached: a rule before it holds always",
                "put it earlier",
            );
        }
        let when_at = at!["resilience", "fallback", "rules", index, "when"];
        let when = matrix::when(cx, when_at, &rule.when);
        always |= rule.tasks.is_empty() && rule.when.is_empty();
        rules.push(AnswerRule {
            tasks: rule
                .tasks
                .iter()
                .map(|task| TaskName::new(task.as_str()))
                .collect(),
            when,
            answer: rule.answer.clone(),
            handoff: rule.handoff,
        });
    }
    FallbackParams {
        ladder: fallback.ladder.clone(),
        stale_if_error: fallback.stale_if_error,
        rules,
        on_error: ErrorRules {
            context_length: error_rule(fallback.on_error.context_length),
            content_policy: error_rule(fallback.on_error.content_policy),
            rate_limit: error_rule(fallback.on_error.rate_limit),
            auth: error_rule(fallback.on_error.auth),
        },
    }
}

const fn error_rule(rule: ErrorRuleConfig) -> ErrorRule {
    match rule {
        ErrorRuleConfig::Next => ErrorRule::Next,
        ErrorRuleConfig::LargerContext => ErrorRule::LargerContext,
        ErrorRuleConfig::Stop => ErrorRule::Stop,
    }
}
