//! `models.*.price`: amounts to integers, days to instants. What a price leaves open is an error here,
//! never a guess.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{Context, at};
use crate::config::catalogue;
use crate::config::schema::{
    Classes, Decimal, LongContextClasses, PriceClasses, PriceConfig, TierClasses,
};
use crate::config::tree::Step;
use crate::types::{PicoUsd, Price, PriceEntry, PriceList, PriceStep, TierPrice, TokenPrice};

/// What a model costs; what is wrong with it is reported, and then it counts as free.
pub fn compile(
    cx: &mut Context<'_, '_>,
    name: &str,
    price: Option<&PriceConfig>,
    upstream_model: &str,
    embeddings: bool,
) -> PriceList {
    let mut reader = Reader {
        cx,
        at: at!["models", name, "price"].to_vec(),
        embeddings,
        usual: None,
    };
    match price {
        Some(PriceConfig::Free(_)) => PriceList::default(),
        Some(PriceConfig::Classes(classes)) => {
            let entry = reader.entry(classes);
            reader.list(vec![entry])
        }
        Some(PriceConfig::Dated(dated)) => reader.dated(dated),
        None => {
            if !cx.was_removed(at!["models", name, "price"]) {
                report_missing(cx, name, upstream_model);
            }
            PriceList::default()
        }
    }
}

fn report_missing(cx: &mut Context<'_, '_>, name: &str, upstream_model: &str) {
    let hint = match catalogue::find(upstream_model) {
        Some(entry) => format!("the catalogue of {} has {}", entry.date, entry.price_yaml()),
        None => "write `price: { input: …, output: … }` in USD per million tokens, or `price: 0` \
                 if it is free"
            .to_owned(),
    };
    let message = "missing key `price`: an unknown price is never taken as zero";
    cx.error_hint(at!["models", name], message, hint);
}

/// Which classes the usual price has, so that its steps and tiers must have them too.
#[derive(Clone, Copy)]
struct Named {
    cached_input: bool,
    cache_write: bool,
    cache_write_1h: bool,
    reasoning: bool,
    steps: bool,
}

/// Reads one model's price, knowing where it stands in the file.
struct Reader<'r, 'a, 't> {
    cx: &'r mut Context<'a, 't>,
    at: Vec<Step<'r>>,
    embeddings: bool,
    usual: Option<Named>,
}

impl<'r> Reader<'r, '_, '_> {
    fn under<T>(&mut self, steps: &[Step<'r>], read: impl FnOnce(&mut Self) -> T) -> T {
        let depth = self.at.len();
        self.at.extend_from_slice(steps);
        let read = read(self);
        self.at.truncate(depth);
        read
    }

    fn error(&mut self, message: impl Into<String>) {
        self.cx.error(&self.at, message);
    }

    fn was_removed(&mut self, key: &'r str) -> bool {
        self.under(at![key], |reader| reader.cx.was_removed(&reader.at))
    }

    fn dated(&mut self, dated: &'r [PriceClasses]) -> PriceList {
        if dated.is_empty() {
            self.error("an empty list of prices: an unknown price is never taken as zero");
        }
        let mut entries: Vec<PriceEntry> = Vec::with_capacity(dated.len());
        for (index, classes) in dated.iter().enumerate() {
            let earlier = entries.last().map(|entry| entry.from_ms);
            let entry = self.under(at![index], |reader| {
                if index > 0 && classes.from.is_none() && !reader.was_removed("from") {
                    reader.error("missing key `from`: the day from which this price holds");
                }
                let entry = reader.entry(classes);
                if let (Some(Some(before)), Some(from)) = (earlier, entry.from_ms)
                    && from <= before
                {
                    reader.under(at!["from"], |reader| {
                        reader.error("not after the entry before it; prices stand in order");
                    });
                }
                entry
            });
            entries.push(entry);
        }
        self.list(entries)
    }

    fn list(&mut self, entries: Vec<PriceEntry>) -> PriceList {
        let list = PriceList::new(entries).unwrap_or_default();
        if list.is_all_future(self.cx.now_ms) {
            self.cx.error_hint(
                &self.at,
                "no price holds yet: an unknown price is never taken as zero",
                "put today's price first, without `from`",
            );
        }
        list
    }

    fn entry(&mut self, classes: &'r PriceClasses) -> PriceEntry {
        self.usual = None;
        let fees = Fees {
            per_request: self.usd("per_request_usd", classes.per_request_usd.as_ref()),
            per_image: self.usd("per_image_usd", classes.per_image_usd.as_ref()),
        };
        let standard = self.tier(classes.classes(), classes.long_context.as_deref(), fees);
        self.usual = Some(Named {
            cached_input: classes.cached_input.is_some(),
            cache_write: classes.cache_write.is_some(),
            cache_write_1h: classes.cache_write_1h.is_some(),
            reasoning: classes.reasoning.is_some(),
            steps: classes.long_context.is_some(),
        });
        let tiers = &classes.service_tiers;
        let others = [
            ("flex", &tiers.flex),
            ("priority", &tiers.priority),
            ("batch", &tiers.batch),
        ];
        let others = others.map(|(key, tier)| {
            let tier = tier.as_ref()?;
            let steps = at!["service_tiers", key];
            Some(self.under(steps, |reader| reader.service_tier(tier, fees)))
        });
        let from = classes.from.as_deref().and_then(|day| self.instant(day));
        PriceEntry::new(from, standard, others)
    }

    fn service_tier(&mut self, tier: &'r TierClasses, fees: Fees) -> TierPrice {
        if self.usual.is_some_and(|usual| usual.steps) && tier.long_context.is_none() {
            self.cx.error_hint(
                &self.at,
                "missing key `long_context`: the usual price has steps",
                "write `long_context: []` if this tier has none",
            );
        }
        self.tier(tier.classes(), tier.long_context.as_deref(), fees)
    }

    fn tier(
        &mut self,
        classes: Classes<'r>,
        steps: Option<&'r [LongContextClasses]>,
        fees: Fees,
    ) -> TierPrice {
        let base = self.price(classes, fees);
        let usual = self.usual;
        self.usual = Some(Named {
            cached_input: classes.cached_input.is_some(),
            cache_write: classes.cache_write.is_some(),
            cache_write_1h: classes.cache_write_1h.is_some(),
            reasoning: classes.reasoning.is_some(),
            steps: false,
        });
        let mut compiled: Vec<PriceStep> = Vec::new();
        for (index, step) in steps.unwrap_or_default().iter().enumerate() {
            let before = compiled.last().map(|step| step.above_input_tokens);
            let price = self.under(at!["long_context", index], |reader| {
                if before.is_some_and(|before| step.above_input_tokens <= before) {
                    reader.under(at!["above_input_tokens"], |reader| {
                        reader.error("not above the step before it; steps stand in order");
                    });
                }
                reader.price(step.classes(), fees)
            });
            if price.input < base.input {
                let at = self.under(at!["long_context", index, "input"], |it| it.at.clone());
                let message = "a long request costs less than a short one";
                self.cx
                    .warn(&at, message, "check the provider's price list");
            }
            compiled.push(PriceStep {
                above_input_tokens: step.above_input_tokens,
                price,
            });
        }
        self.usual = usual;
        TierPrice {
            base,
            steps: compiled,
        }
    }

    fn price(&mut self, classes: Classes<'r>, fees: Fees) -> Price {
        self.report_unnamed(&classes);
        let input = self.class("input", classes.input);
        let mut optional = |key, amount: Option<&Decimal>, otherwise| {
            amount.map_or(otherwise, |amount| self.class(key, amount))
        };
        let cached_input = optional("cached_input", classes.cached_input, input);
        let cache_write = optional("cache_write", classes.cache_write, input);
        let cache_write_1h = optional("cache_write_1h", classes.cache_write_1h, cache_write);
        let output = optional("output", classes.output, TokenPrice::FREE);
        let reasoning = optional("reasoning", classes.reasoning, output);
        if cached_input > input {
            let at = self.under(at!["cached_input"], |it| it.at.clone());
            let message = "cached input costs more than input";
            self.cx
                .warn(&at, message, "check the provider's price list");
        }
        Price {
            input,
            cached_input,
            cache_write,
            cache_write_1h,
            output,
            reasoning,
            per_request: fees.per_request,
            per_image: fees.per_image,
        }
    }

    /// What the usual price names, or a price cannot do without, and this one leaves out.
    fn report_unnamed(&mut self, classes: &Classes<'_>) {
        if classes.output.is_none() && !self.embeddings && !self.was_removed("output") {
            self.error("missing key `output`: only embedding models may leave it out");
        }
        let Some(usual) = self.usual else { return };
        let pairs = [
            ("cached_input", usual.cached_input, classes.cached_input),
            ("cache_write", usual.cache_write, classes.cache_write),
            (
                "cache_write_1h",
                usual.cache_write_1h,
                classes.cache_write_1h,
            ),
            ("reasoning", usual.reasoning, classes.reasoning),
        ];
        for (key, usual, here) in pairs {
            if usual && here.is_none() && !self.was_removed(key) {
                self.error(format!(
                    "missing key `{key}`: the usual price has it, and what it is here is not guessed"
                ));
            }
        }
    }

    fn class(&mut self, key: &'static str, amount: &Decimal) -> TokenPrice {
        TokenPrice::parse_usd_per_million(&amount.0)
            .map_err(|error| {
                let at = self.under(at![key], |it| it.at.clone());
                let hint = "prices are USD per million tokens";
                self.cx.error_hint(&at, error.to_string(), hint);
            })
            .unwrap_or_default()
    }

    fn usd(&mut self, key: &'static str, amount: Option<&Decimal>) -> PicoUsd {
        let Some(amount) = amount else {
            return PicoUsd::ZERO;
        };
        PicoUsd::parse_usd(&amount.0)
            .map_err(|error| {
                let at = self.under(at![key], |it| it.at.clone());
                self.cx.error(&at, error.to_string());
            })
            .unwrap_or_default()
    }

    /// Midnight UTC of a day.
    fn instant<'d>(&mut self, day: &'d str) -> Option<(i64, &'d str)> {
        let date = day.parse::<Date>().ok();
        let midnight = date.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
        if midnight.is_none() || day.len() != "2026-12-01".len() {
            self.under(at!["from"], |reader| {
                reader.error(format!("`{day}` is no day; write it as 2026-12-01"));
            });
            return None;
        }
        midnight.map(|midnight| (midnight.timestamp().as_millisecond(), day))
    }
}

/// What is charged apart from tokens, at every tier and step alike.
#[derive(Clone, Copy)]
struct Fees {
    per_request: PicoUsd,
    per_image: PicoUsd,
}
