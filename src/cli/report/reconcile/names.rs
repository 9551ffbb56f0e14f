//! Model names across a ledger and an invoice: an invoice says `gpt-4o` or `Claude Haiku 4.5` where
//! the upstream had answered as `gpt-4o-2024-08-06` or `claude-haiku-4-5-20251001`.

use std::collections::{BTreeMap, BTreeSet};

/// A name without what differs between places: letters' case, separators, the maker's prefix, a date
/// or `latest` at the end.
pub(super) fn family(name: &str) -> String {
    let name = name
        .rsplit('/')
        .next()
        .unwrap_or(name)
        .trim()
        .to_lowercase();
    let plain: String = name
        .chars()
        .map(|letter| match letter {
            ' ' | '.' | '_' | '@' | ':' => '-',
            letter => letter,
        })
        .collect();
    let plain = plain.trim_end_matches("-latest");
    without_date(plain).unwrap_or(plain).to_owned()
}

/// Cuts `-2024-08-06` or `-20240806` off.
fn without_date(name: &str) -> Option<&str> {
    let is_date = |tail: &str| {
        let digits = tail.bytes().filter(u8::is_ascii_digit).count();
        let dashes = tail.bytes().filter(|byte| *byte == b'-').count();
        digits == 8 && digits + dashes == tail.len() && tail.starts_with("-20")
    };
    for length in ["-2024-08-06".len(), "-20240806".len()] {
        let cut = name.len().checked_sub(length)?;
        if let Some((head, tail)) = name.split_at_checked(cut)
            && !head.is_empty()
            && is_date(tail)
        {
            return Some(head);
        }
    }
    None
}

/// Which lines of both sides belong together. A name that both have is its own line; what is left of
/// a family on either side is one line.
pub(super) struct Names {
    /// Names that the invoice and the ledger share.
    shared: BTreeSet<String>,
    /// Families that only the invoice's own spelling names, with that spelling when there is one.
    families: BTreeMap<String, Option<String>>,
}

impl Names {
    /// From the invoice's names and the ledger's.
    pub fn new<'n>(
        invoice: impl Iterator<Item = &'n str>,
        ledger: impl Iterator<Item = &'n str>,
    ) -> Self {
        let ledger: BTreeSet<&str> = ledger.collect();
        let mut names = Self {
            shared: BTreeSet::new(),
            families: BTreeMap::new(),
        };
        for name in invoice.collect::<BTreeSet<_>>() {
            if ledger.contains(name) {
                names.shared.insert(name.to_owned());
            } else {
                names
                    .families
                    .entry(family(name))
                    .and_modify(|spelling| *spelling = None)
                    .or_insert_with(|| Some(name.to_owned()));
            }
        }
        names
    }

    /// The line of an invoice's name.
    pub fn of_invoice(&self, name: &str) -> String {
        if self.shared.contains(name) {
            return name.to_owned();
        }
        self.spelling(&family(name))
            .unwrap_or_else(|| name.to_owned())
    }

    /// The line of what the ledger calls `model`, which answered as `response_model`; `None` when the
    /// invoice has neither.
    pub fn of_ledger(&self, response_model: &str, model: &str) -> Option<String> {
        let exact = [response_model, model].into_iter();
        let exact = exact.into_iter().find(|name| self.shared.contains(*name));
        if let Some(name) = exact {
            return Some(name.to_owned());
        }
        [response_model, model]
            .into_iter()
            .find_map(|name| self.spelling(&family(name)))
    }

    fn spelling(&self, family: &str) -> Option<String> {
        let spelling = self.families.get(family)?;
        Some(spelling.clone().unwrap_or_else(|| family.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_no_date_no_maker_and_one_spelling() {
        for (name, expect) in [
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
            ("Claude Haiku 4.5", "claude-haiku-4-5"),
            ("anthropic/claude-opus-4.5", "claude-opus-4-5"),
            ("mistral-large-latest", "mistral-large"),
            ("claude-sonnet-4@20250514", "claude-sonnet-4"),
            ("mistral-small-2603", "mistral-small-2603"),
            ("-20240806", "-20240806"),
            ("é", "é"),
        ] {
            assert_eq!(family(name), expect, "{name}");
        }
    }

    fn check(invoice: &[&str], ledger: &[(&str, &str)], expect: &[Option<&str>]) {
        let both = ledger
            .iter()
            .flat_map(|(response, model)| [*response, *model]);
        let names = Names::new(invoice.iter().copied(), both);
        let lines: Vec<_> = ledger
            .iter()
            .map(|(response, model)| names.of_ledger(response, model))
            .collect();
        let lines: Vec<_> = lines.iter().map(Option::as_deref).collect();
        assert_eq!(lines, expect, "{invoice:?}");
    }

    #[test]
    fn dated_variants_meet() {
        let dated = [("gpt-4o-2024-05-13", "big"), ("gpt-4o-2024-08-06", "big")];
        check(&["gpt-4o"], &dated, &[Some("gpt-4o"), Some("gpt-4o")]);
        // An invoice that tells versions apart is compared version by version.
        check(
            &["gpt-4o-2024-08-06", "gpt-4o-2024-05-13"],
            &dated,
            &[Some("gpt-4o-2024-05-13"), Some("gpt-4o-2024-08-06")],
        );
        check(
            &["gpt-4o-2024-08-06"],
            &dated,
            &[None, Some("gpt-4o-2024-08-06")],
        );
        check(&["big"], &dated, &[Some("big"), Some("big")]);
        check(&["other"], &dated, &[None, None]);
        check(
            &["Claude Haiku 4.5"],
            &[("claude-haiku-4-5-20251001", "fast")],
            &[Some("Claude Haiku 4.5")],
        );
    }
}
