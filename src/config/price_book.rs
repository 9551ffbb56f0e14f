//! What is known of the prices of each provider's models: to bill an answer that another model gave
//! than the one that was asked for.
//!
//! A price counts as known when it is declared under `models` for the same provider, or when the
//! catalogue has it and the provider's address is the vendor's own. Another account's price for the
//! same name may be another price, so it is not taken.

use std::sync::Arc;

use crate::types::{ModelId, PriceList, is_same_model};

/// The price of one of a provider's models.
#[derive(Clone, Debug)]
pub struct KnownPrice {
    /// What the provider calls it.
    pub upstream_model: Box<str>,
    /// Its name in records: under `models`, or in the catalogue.
    pub name: ModelId,
    /// What it costs.
    pub list: Arc<PriceList>,
}

/// The models of one provider.
#[derive(Clone, Debug, Default)]
pub struct ProviderPrices {
    /// Under `models`.
    pub declared: Vec<KnownPrice>,
    /// In the catalogue; empty when the provider is no vendor that it knows.
    pub catalogue: Vec<KnownPrice>,
}

/// The models of every provider, by the provider's index.
#[derive(Clone, Debug, Default)]
pub struct PriceBook(pub Vec<ProviderPrices>);

/// Which model an upstream says that it served.
#[derive(Clone, Copy, Debug)]
pub enum Served<'a> {
    /// The one that was asked for.
    Asked,
    /// The one that was asked for, by a name that has a price of its own.
    Variant(&'a KnownPrice),
    /// Another, and what it costs when that is known.
    Other(Option<&'a KnownPrice>),
}

impl PriceBook {
    /// Who served, by the name in the answer. `asked` are the names of the model that was asked for:
    /// the upstream's and the file's (an Azure deployment's name says nothing about its model).
    #[must_use]
    pub fn served(&self, provider: usize, asked: &[&str], answered: &str) -> Served<'_> {
        if answered.is_empty() || asked.contains(&answered) {
            return Served::Asked;
        }
        let nothing = (&[][..], &[][..]);
        let (declared, catalogue) = self.0.get(provider).map_or(nothing, |prices| {
            (&prices.declared[..], &prices.catalogue[..])
        });
        let exact = |known: &&KnownPrice| known.upstream_model.eq_ignore_ascii_case(answered);
        let similar = |known: &&KnownPrice| is_same_model(&known.upstream_model, answered);
        let same = asked.iter().any(|name| is_same_model(name, answered));
        let other = |known: &&KnownPrice| !asked.contains(&known.name.as_str());
        match declared.iter().filter(other).find(exact) {
            Some(known) if same => return Served::Variant(known),
            Some(known) => return Served::Other(Some(known)),
            None if same => return Served::Asked,
            None => {}
        }
        let known = declared
            .iter()
            .filter(other)
            .find(similar)
            .or_else(|| catalogue.iter().find(exact))
            .or_else(|| catalogue.iter().find(similar));
        Served::Other(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> KnownPrice {
        KnownPrice {
            upstream_model: name.into(),
            name: name.into(),
            list: Arc::default(),
        }
    }

    fn check(answered: &str, expect: &str) {
        let book = PriceBook(vec![ProviderPrices {
            declared: vec![
                known("gpt-4o"),
                known("gpt-4o-mini"),
                known("gpt-4o-2024-11-20"),
            ],
            catalogue: vec![known("gpt-4.1"), known("gpt-4o-2024-08-06")],
        }]);
        let found = match book.served(0, &["gpt-4o", "chat"], answered) {
            Served::Asked => "asked".to_owned(),
            Served::Variant(known) => format!("variant {}", known.name),
            Served::Other(known) => {
                let name = known.map_or("unknown", |known| known.name.as_str());
                format!("other {name}")
            }
        };
        assert_eq!(found, expect, "{answered}");
    }

    #[test]
    fn the_name_in_the_answer_says_who_served() {
        check("gpt-4o", "asked");
        check("", "asked");
        check("GPT-4o-2024-05-13", "asked");
        // The catalogue's price for a dated name does not replace the declared one.
        check("gpt-4o-2024-08-06", "asked");
        check("gpt-4o-2024-11-20", "variant gpt-4o-2024-11-20");
        check("gpt-4o-mini", "other gpt-4o-mini");
        check("gpt-4o-mini-2024-07-18", "other gpt-4o-mini");
        check("gpt-4.1-2025-04-14", "other gpt-4.1");
        check("mystery-1", "other unknown");
    }
}
