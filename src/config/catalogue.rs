//! The bundled catalogue of models and their prices, dated, with the source of each fact. It informs
//! (`tollgate models`, suggestions of `check`); what a request costs is only ever read from the file.

use std::fmt::Write as _;
use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::types::{Price, PriceEntry, PriceList, PriceStep, TierPrice, TokenPrice};

/// A model as its provider offers it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// What the provider calls it.
    pub name: String,
    /// Who offers it.
    pub provider: String,
    /// USD per million uncached input tokens.
    pub input: f64,
    /// USD per million input tokens from the provider's prompt cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    /// USD per million input tokens written to the provider's prompt cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// USD per million output tokens; absent for embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<f64>,
    /// USD per million hidden reasoning tokens, where they differ from output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<f64>,
    /// What whole requests cost above so many input tokens, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub long_context: Vec<CatalogueStep>,
    /// Above this many input tokens the provider charges more than these prices, and how much is not
    /// known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_holds_to_tokens: Option<u64>,
    /// The most that it reads, tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// The most that it writes, tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// What it can do, in the words of `supports`.
    #[serde(default)]
    pub supports: Vec<String>,
    /// When the provider takes it away, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated_on: Option<String>,
    /// Where the facts were read.
    pub source: String,
    /// When, `YYYY-MM-DD`.
    pub date: String,
}

/// What whole requests cost above so many input tokens, USD per million tokens.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueStep {
    /// Input tokens of every class that a request must exceed.
    pub above_input_tokens: u64,
    /// Uncached input.
    pub input: f64,
    /// Input from the prompt cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    /// Input written to the prompt cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// Output.
    pub output: f64,
}

impl CatalogueEntry {
    /// The entry as a price list; `None` when an amount is finer than a pico-USD.
    pub fn price_list(&self) -> Option<PriceList> {
        let base = price(
            self.input,
            self.cached_input,
            self.cache_write,
            self.output,
            self.reasoning,
        )?;
        let step = |step: &CatalogueStep| {
            let output = Some(step.output);
            Some(PriceStep {
                above_input_tokens: step.above_input_tokens,
                price: price(
                    step.input,
                    step.cached_input,
                    step.cache_write,
                    output,
                    None,
                )?,
            })
        };
        let steps = self.long_context.iter().map(step).collect::<Option<_>>()?;
        let standard = TierPrice { base, steps };
        PriceList::new(vec![PriceEntry::new(None, standard, [None, None, None])])
    }

    /// The price as `routes.yaml` spells it.
    pub fn price_yaml(&self) -> String {
        let classes = [
            ("input", Some(self.input)),
            ("cached_input", self.cached_input),
            ("cache_write", self.cache_write),
            ("output", self.output),
            ("reasoning", self.reasoning),
        ];
        let written: Vec<String> = classes
            .iter()
            .filter_map(|(name, price)| price.map(|price| format!("{name}: {price}")))
            .collect();
        let mut written = written.join(", ");
        let steps: Vec<String> = self.long_context.iter().map(CatalogueStep::yaml).collect();
        if !steps.is_empty() {
            let _ = write!(written, ", long_context: [{}]", steps.join(", "));
        }
        format!("`price: {{ {written} }}`")
    }
}

impl CatalogueStep {
    fn yaml(&self) -> String {
        let mut text = format!("{{ above_input_tokens: {}", self.above_input_tokens);
        let classes = [
            ("input", Some(self.input)),
            ("cached_input", self.cached_input),
            ("cache_write", self.cache_write),
            ("output", Some(self.output)),
        ];
        for (name, price) in classes {
            if let Some(price) = price {
                // Writing into a String cannot fail.
                let _ = write!(text, ", {name}: {price}");
            }
        }
        text + " }"
    }
}

/// Amounts of the catalogue as a price. They are written with few digits, and a float's shortest text
/// has just those.
fn price(
    input: f64,
    cached_input: Option<f64>,
    cache_write: Option<f64>,
    output: Option<f64>,
    reasoning: Option<f64>,
) -> Option<Price> {
    let class = |usd: f64| TokenPrice::parse_usd_per_million(&usd.to_string()).ok();
    let or = |usd: Option<f64>, otherwise| usd.map_or(Some(otherwise), class);
    let input = class(input)?;
    let cache_write = or(cache_write, input)?;
    let output = or(output, TokenPrice::FREE)?;
    Some(Price {
        input,
        cached_input: or(cached_input, input)?,
        cache_write,
        cache_write_1h: cache_write,
        output,
        reasoning: or(reasoning, output)?,
        ..Price::default()
    })
}

struct Catalogue {
    entries: Vec<CatalogueEntry>,
    by_name: FxHashMap<String, usize>,
}

fn catalogue() -> &'static Catalogue {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
        let lines = include_str!("../../models/catalogue.jsonl").lines();
        let entries: Vec<CatalogueEntry> = lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let mut by_name = FxHashMap::default();
        for (index, entry) in entries.iter().enumerate() {
            by_name.entry(entry.name.clone()).or_insert(index);
        }
        Catalogue { entries, by_name }
    });
    &CATALOGUE
}

/// Every entry, by provider and name.
pub fn entries() -> &'static [CatalogueEntry] {
    &catalogue().entries
}

/// The entry of this name.
pub fn find(name: &str) -> Option<&'static CatalogueEntry> {
    let catalogue = catalogue();
    catalogue
        .by_name
        .get(name)
        .and_then(|&index| catalogue.entries.get(index))
}
