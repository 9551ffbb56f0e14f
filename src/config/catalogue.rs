//! The bundled catalogue of models and their prices, dated, with the source of each fact. It informs
//! (`tollgate models`, suggestions of `check`); what a request costs is only ever read from the file.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

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
    /// Above this many input tokens the provider charges more than these prices.
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

impl CatalogueEntry {
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
        format!("`price: {{ {} }}`", written.join(", "))
    }
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
