//! OpenAI's usage object to disjoint classes.
//!
//! OpenAI counts cached and cache-written tokens inside `prompt_tokens` and reasoning tokens inside
//! `completion_tokens`. Vendors that copy its API do not all do so: xAI reports reasoning beside
//! the completion, some report cached tokens beside the prompt, and Gemini's compatible endpoint
//! leaves its thoughts out of both and shows them only in the total. `total_tokens` tells the cases
//! apart: what it has beyond prompt and completion is what was counted beside them.

use jiter::{JiterError, Peek};

use crate::types::{ServiceTier, Tokens};
use crate::wire::facts::UsageReport;
use crate::wire::json_walk::{Member, Walk};

/// The counts as an upstream wrote them.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cached: u64,
    cache_write: u64,
    /// Of `cache_write`, what is kept for an hour.
    cache_write_1h: u64,
    reasoning: u64,
    /// The cache's counts have Anthropic's names, which stand beside the input, not inside it.
    beside_input: bool,
}

/// Reads the usage object that comes next.
pub(in crate::wire) fn read(walk: &mut Walk<'_>) -> Result<UsageReport, JiterError> {
    let start = walk.index();
    let mut counts = Counts::default();
    let mut cost = None;
    let mut service_tier = None;
    let mut prompt_is_whole = false;
    walk.object(|walk, member| {
        match &*member.name {
            // `input_tokens` and `output_tokens` are the names of OpenAI's newer API.
            b"prompt_tokens" => {
                counts.prompt = number(walk, &member)?.or(counts.prompt);
                prompt_is_whole = counts.prompt.is_some();
            }
            b"input_tokens" => counts.prompt = counts.prompt.or(number(walk, &member)?),
            b"completion_tokens" | b"output_tokens" => counts.completion = number(walk, &member)?,
            b"total_tokens" => counts.total = number(walk, &member)?,
            b"prompt_tokens_details"
            | b"input_tokens_details"
            | b"completion_tokens_details"
            | b"output_tokens_details"
                if member.peek == Peek::Object =>
            {
                walk.object(|walk, member| detail(walk, &member, &mut counts))?;
            }
            // DeepSeek and Moonshot put these beside the totals.
            b"prompt_cache_hit_tokens" | b"cached_tokens" | b"reasoning_tokens" => {
                detail(walk, &member, &mut counts)?;
            }
            // Anthropic's names, which proxies in front of it keep beside OpenAI's.
            b"cache_read_input_tokens" | b"cache_creation_input_tokens" => {
                counts.beside_input = true;
                detail(walk, &member, &mut counts)?;
            }
            b"cache_creation" if member.peek == Peek::Object => {
                walk.object(|walk, member| detail(walk, &member, &mut counts))?;
            }
            b"service_tier" if member.peek == Peek::String => {
                let word = walk.string()?;
                service_tier = Some(ServiceTier::of_upstream(walk.raw(word)));
            }
            b"cost" => {
                walk.skip(member.peek)?;
                cost = Some(walk.since(member.start));
            }
            _ => walk.skip(member.peek)?,
        }
        Ok::<(), JiterError>(())
    })?;
    counts.beside_input &= !prompt_is_whole && counts.total.is_none();
    Ok(UsageReport {
        tokens: counts.disjoint(),
        object: walk.since(start),
        cost,
        service_tier,
    })
}

fn detail(walk: &mut Walk<'_>, member: &Member<'_>, counts: &mut Counts) -> Result<(), JiterError> {
    let class = match &*member.name {
        b"cached_tokens" | b"prompt_cache_hit_tokens" | b"cache_read_input_tokens" => {
            &mut counts.cached
        }
        b"cache_write_tokens" | b"cache_creation_input_tokens" => &mut counts.cache_write,
        b"ephemeral_1h_input_tokens" => &mut counts.cache_write_1h,
        b"reasoning_tokens" => &mut counts.reasoning,
        _ => return walk.skip(member.peek),
    };
    // The same count may be reported in two places; it is one count.
    *class = (*class).max(number(walk, member)?.unwrap_or(0));
    Ok(())
}

/// A count; anything else counts as not reported.
fn number(walk: &mut Walk<'_>, member: &Member<'_>) -> Result<Option<u64>, JiterError> {
    if member.peek.is_num() {
        walk.count(member.peek)
    } else {
        walk.skip(member.peek).map(|()| None)
    }
}

impl Counts {
    /// Disjoint classes; their sum is what the provider bills.
    fn disjoint(self) -> Option<Tokens> {
        if self.prompt.is_none() && self.completion.is_none() && self.total.is_none() {
            return None;
        }
        let completion = self.completion.unwrap_or(0);
        let prompt = self.prompt.unwrap_or_else(|| {
            let total = self.total.unwrap_or(0);
            total.saturating_sub(completion)
        });
        let beside = self
            .total
            .unwrap_or(0)
            .saturating_sub(prompt.saturating_add(completion));
        let cache = self.cached.saturating_add(self.cache_write);
        let cache_beside = self.beside_input
            || (beside > 0 && (beside == cache || beside == cache.saturating_add(self.reasoning)));
        let hidden = if cache_beside {
            beside.saturating_sub(cache)
        } else {
            beside
        };

        let mut tokens = Tokens::default();
        if cache_beside {
            tokens.input = prompt;
            tokens.cached_input = self.cached;
            tokens.cache_write = self.cache_write;
        } else {
            tokens.cached_input = self.cached.min(prompt);
            tokens.cache_write = self.cache_write.min(prompt - tokens.cached_input);
            tokens.input = prompt - tokens.cached_input - tokens.cache_write;
        }
        if hidden > 0 {
            // Beside the completion: reasoning that the total counts and the completion does not.
            let inside = if hidden == self.reasoning {
                0
            } else {
                self.reasoning.min(completion)
            };
            tokens.output = completion - inside;
            tokens.reasoning = hidden.saturating_add(inside);
        } else {
            tokens.reasoning = self.reasoning.min(completion);
            tokens.output = completion - tokens.reasoning;
        }
        tokens.cache_write_1h = self.cache_write_1h.min(tokens.cache_write);
        tokens.cache_write -= tokens.cache_write_1h;
        Some(tokens)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(json: &str) -> Option<Tokens> {
        let mut walk = Walk::new(json.as_bytes());
        walk.peek().expect("a value");
        read(&mut walk).expect("valid JSON").tokens
    }

    /// `expect`: input, cached input, cache write, output, reasoning.
    fn check(json: &str, expect: [u64; 5]) {
        let found = tokens(json)
            .expect("counts")
            .by_kind()
            .map(|(_, count)| count);
        assert_eq!(found, expect, "{json}");
    }

    #[test]
    fn classes_are_disjoint_however_the_vendor_counts() {
        check(
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}"#,
            [10, 0, 0, 5, 0],
        );
        check(
            r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
                "prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":10,"audio_tokens":0},
                "completion_tokens_details":{"reasoning_tokens":20}}"#,
            [30, 60, 10, 30, 20],
        );
        // DeepSeek.
        check(
            r#"{"prompt_tokens":100,"completion_tokens":5,"total_tokens":105,
                "prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36,
                "prompt_tokens_details":{"cached_tokens":64}}"#,
            [36, 64, 0, 5, 0],
        );
        // xAI: reasoning beside the completion.
        check(
            r#"{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,
                "completion_tokens_details":{"reasoning_tokens":94}}"#,
            [32, 0, 0, 9, 94],
        );
        // Gemini: thoughts only in the total.
        check(
            r#"{"prompt_tokens":12,"completion_tokens":9,"total_tokens":233}"#,
            [12, 0, 0, 9, 212],
        );
        // Cached tokens beside the prompt.
        check(
            r#"{"prompt_tokens":7,"completion_tokens":3,"total_tokens":110,
                "prompt_tokens_details":{"cached_tokens":100}}"#,
            [7, 100, 0, 3, 0],
        );
        // More cached than prompted, and no total that explains it.
        check(
            r#"{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":100}}"#,
            [0, 7, 0, 3, 0],
        );
        check(
            r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#,
            [0; 5],
        );
        check(r#"{"prompt_tokens":8,"total_tokens":8}"#, [8, 0, 0, 0, 0]);
        check(r#"{"total_tokens":8}"#, [8, 0, 0, 0, 0]);
        check(
            r#"{"input_tokens":8,"output_tokens":2,"output_tokens_details":{"reasoning_tokens":9}}"#,
            [8, 0, 0, 0, 2],
        );
    }

    #[test]
    fn an_hour_in_the_cache_and_anthropics_names_are_told_apart() {
        // Anthropic's own: the cache's counts stand beside the input.
        let json = r#"{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":200,
            "cache_creation_input_tokens":70,"service_tier":"priority",
            "cache_creation":{"ephemeral_5m_input_tokens":30,"ephemeral_1h_input_tokens":40}}"#;
        check(json, [10, 200, 70, 5, 0]);
        let mut walk = Walk::new(json.as_bytes());
        walk.peek().expect("a value");
        let report = read(&mut walk).expect("valid JSON");
        assert_eq!(report.tokens.map(|tokens| tokens.cache_write_1h), Some(40));
        assert_eq!(report.service_tier, Some(ServiceTier::Priority));
        // A proxy in front of it, which counts them inside and says both.
        check(
            r#"{"prompt_tokens":280,"completion_tokens":5,"total_tokens":285,
                "cache_read_input_tokens":200,"cache_creation_input_tokens":70,
                "prompt_tokens_details":{"cached_tokens":200}}"#,
            [10, 200, 70, 5, 0],
        );
    }

    #[test]
    fn what_is_no_count_is_not_reported() {
        assert_eq!(tokens("{}"), None);
        assert_eq!(
            tokens(r#"{"prompt_tokens":null,"completion_tokens":"7"}"#),
            None
        );
        check(
            r#"{"prompt_tokens":5,"completion_tokens":-3,"prompt_tokens_details":null,"x":{"y":[1]}}"#,
            [5, 0, 0, 0, 0],
        );
        check(
            r#"{"prompt_tokens":5,"completion_tokens":99999999999999999999}"#,
            [5, 0, 0, 0, 0],
        );
    }

    #[test]
    fn the_spans_are_those_of_the_object_and_of_its_cost() {
        let json = r#"{"prompt_tokens":1,"cost": 0.5 }"#;
        let mut walk = Walk::new(json.as_bytes());
        walk.peek().expect("a value");
        let report = read(&mut walk).expect("valid JSON");
        assert_eq!(&json[report.object.range()], json);
        assert_eq!(&json[report.cost.expect("a cost").range()], "0.5");
    }

    proptest! {
        #[test]
        fn classes_sum_to_the_total_and_never_underflow(
            prompt in 0u64..1000, completion in 0u64..1000, cached in 0u64..2000,
            write in 0u64..2000, reasoning in 0u64..2000, total in prop::option::of(0u64..6000),
        ) {
            let counts = Counts {
                prompt: Some(prompt), completion: Some(completion), total,
                cached, cache_write: write, reasoning, cache_write_1h: write / 2,
                beside_input: false,
            };
            let tokens = counts.disjoint().expect("counts");
            let least = prompt + completion;
            prop_assert_eq!(tokens.total(), total.unwrap_or(0).max(least));
            prop_assert!(tokens.all_input() >= prompt);
            prop_assert!(tokens.all_output() >= completion);
        }
    }
}
