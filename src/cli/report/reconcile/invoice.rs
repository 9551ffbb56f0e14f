//! A provider's export as items: which columns it has is recognised from their names.
//!
//! | form | recognised by |
//! | --- | --- |
//! | OpenAI, costs | `amount_value` and `line_item` |
//! | OpenAI, usage of completions | `num_model_requests` and `input_tokens` |
//! | Anthropic console, costs | `usage_date_utc` and `cost_usd` |
//! | Anthropic console, usage | `usage_date_utc` and `usage_output_tokens` |
//! | generic | the names in `GENERIC`, or those of `--columns` |

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::amount;
use super::csv::{self, Cell};
use crate::config::suggest;
use crate::types::PicoUsd;

/// Most bad cells that are listed.
const LISTED: usize = 20;

/// What a column means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning {
    Date,
    Model,
    /// A model and, after a comma, what was charged: `gpt-4o-2024-08-06, input`.
    LineItem,
    /// Which class the tokens of `Quantity` are of.
    TokenClass,
    Cost,
    Currency,
    Requests,
    /// Input that was not cached.
    Input,
    /// All input, cached input included.
    AllInput,
    CachedInput,
    CacheWrite,
    Output,
}

impl Meaning {
    /// Every meaning that `--columns` can name, by its word.
    const WORDS: [(&str, Self); 10] = [
        ("date", Self::Date),
        ("model", Self::Model),
        ("cost", Self::Cost),
        ("currency", Self::Currency),
        ("requests", Self::Requests),
        ("input", Self::Input),
        ("all_input", Self::AllInput),
        ("cached_input", Self::CachedInput),
        ("cache_write", Self::CacheWrite),
        ("output", Self::Output),
    ];

    fn word(self) -> &'static str {
        match self {
            Self::LineItem => "model",
            Self::TokenClass => "class",
            other => Self::WORDS
                .iter()
                .find(|(_, meaning)| *meaning == other)
                .map_or("", |(word, _)| *word),
        }
    }
}

/// A form of export: by what it is recognised, and what its columns mean.
struct Form {
    name: &'static str,
    sure: [&'static str; 2],
    columns: &'static [(&'static str, Meaning)],
}

const FORMS: [Form; 4] = [
    Form {
        name: "OpenAI's costs",
        sure: ["amount_value", "line_item"],
        columns: &[
            ("start_time", Meaning::Date),
            ("start_time_iso", Meaning::Date),
            ("line_item", Meaning::LineItem),
            ("amount_value", Meaning::Cost),
            ("amount_currency", Meaning::Currency),
        ],
    },
    Form {
        name: "OpenAI's usage of completions",
        sure: ["num_model_requests", "input_tokens"],
        columns: &[
            ("start_time", Meaning::Date),
            ("start_time_iso", Meaning::Date),
            ("model", Meaning::Model),
            ("num_model_requests", Meaning::Requests),
            ("input_tokens", Meaning::AllInput),
            ("input_cached_tokens", Meaning::CachedInput),
            ("input_cache_write_tokens", Meaning::CacheWrite),
            ("output_tokens", Meaning::Output),
        ],
    },
    Form {
        name: "Anthropic's costs",
        sure: ["usage_date_utc", "cost_usd"],
        columns: &[
            ("usage_date_utc", Meaning::Date),
            ("model", Meaning::Model),
            ("model_version", Meaning::Model),
            ("token_type", Meaning::TokenClass),
            ("cost_usd", Meaning::Cost),
        ],
    },
    Form {
        name: "Anthropic's usage",
        sure: ["usage_date_utc", "usage_output_tokens"],
        columns: &[
            ("usage_date_utc", Meaning::Date),
            ("model", Meaning::Model),
            ("model_version", Meaning::Model),
            ("usage_input_tokens_no_cache", Meaning::Input),
            ("usage_input_tokens_cache_read", Meaning::CachedInput),
            ("usage_input_tokens_cache_write_5m", Meaning::CacheWrite),
            ("usage_input_tokens_cache_write_1h", Meaning::CacheWrite),
            ("usage_output_tokens", Meaning::Output),
        ],
    },
];

/// Names that mean the same in exports of other makers.
const GENERIC: &[(&str, Meaning)] = &[
    ("date", Meaning::Date),
    ("day", Meaning::Date),
    ("usage_date", Meaning::Date),
    ("timestamp", Meaning::Date),
    ("start_time_iso", Meaning::Date),
    ("chargeperiodstart", Meaning::Date),
    ("model", Meaning::Model),
    ("model_id", Meaning::Model),
    ("model_name", Meaning::Model),
    ("resourcename", Meaning::Model),
    ("cost", Meaning::Cost),
    ("cost_usd", Meaning::Cost),
    ("amount", Meaning::Cost),
    ("amount_usd", Meaning::Cost),
    ("billedcost", Meaning::Cost),
    ("currency", Meaning::Currency),
    ("billingcurrency", Meaning::Currency),
    ("requests", Meaning::Requests),
    ("input_tokens", Meaning::Input),
    ("prompt_tokens", Meaning::AllInput),
    ("cached_input_tokens", Meaning::CachedInput),
    ("cache_read_tokens", Meaning::CachedInput),
    ("cache_write_tokens", Meaning::CacheWrite),
    ("cache_creation_tokens", Meaning::CacheWrite),
    ("output_tokens", Meaning::Output),
    ("completion_tokens", Meaning::Output),
];

/// Tokens as invoices tell them apart. Reasoning is output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Classes {
    pub input: u64,
    pub cached_input: u64,
    pub cache_write: u64,
    pub output: u64,
}

/// What the invoice says of one model on one day; it may say it in several rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Item {
    pub cost: PicoUsd,
    pub requests: u64,
    pub tokens: Classes,
}

/// A read invoice.
#[derive(Debug)]
pub(super) struct Invoice {
    /// What kind of export it is.
    pub form: &'static str,
    /// Which column was taken for what, `meaning = column`.
    pub recognised: Vec<String>,
    /// The other columns.
    pub ignored: Vec<String>,
    pub has_cost: bool,
    /// By UTC day and model; the model is empty where a row names none.
    pub items: BTreeMap<(Date, String), Item>,
}

/// Why an invoice cannot be read: one line for each bad cell, each with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problems(pub Vec<String>);

impl Problems {
    fn one(text: String) -> Self {
        Self(vec![text])
    }
}

/// The columns of an export and what they mean.
struct Columns {
    form: &'static str,
    /// The meaning of each column, in the file's order.
    meanings: Vec<Option<Meaning>>,
}

/// Reads an invoice. `own` is what `--columns` says: `meaning=column,…`.
pub(super) fn read(file: &str, text: &str, own: Option<&str>) -> Result<Invoice, Problems> {
    let records = csv::read(text).map_err(|at| {
        let (line, column) = (at.line, at.column);
        Problems::one(format!("{file}:{line}:{column}: a quote is not closed"))
    })?;
    let Some((heading, rows)) = records.split_first() else {
        return Err(Problems::one(format!("{file}: the file is empty")));
    };
    let columns = match own {
        Some(own) => declared(file, heading, own)?,
        None => recognise(file, heading)?,
    };
    let mut invoice = Invoice {
        form: columns.form,
        recognised: Vec::new(),
        ignored: Vec::new(),
        has_cost: columns.meanings.contains(&Some(Meaning::Cost)),
        items: BTreeMap::new(),
    };
    for (cell, meaning) in heading.iter().zip(&columns.meanings) {
        match meaning {
            Some(meaning) => {
                let text = format!("{} = {}", meaning.word(), cell.text.trim());
                invoice.recognised.push(text);
            }
            None => invoice.ignored.push(cell.text.trim().to_owned()),
        }
    }
    let mut problems = Vec::new();
    for row in rows {
        match item(&columns.meanings, heading.len(), row) {
            Ok(Some((key, item))) => invoice.items.entry(key).or_default().add(&item),
            Ok(None) => {}
            Err(Bad { line, column, why }) => {
                problems.push(format!("{file}:{line}:{column}: {why}"));
            }
        }
    }
    if problems.is_empty() {
        return Ok(invoice);
    }
    let more = problems.len().saturating_sub(LISTED);
    problems.truncate(LISTED);
    if more > 0 {
        problems.push(format!("…and {more} more rows like these"));
    }
    Err(Problems(problems))
}

fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '-'], "_")
}

fn recognise(file: &str, heading: &[Cell]) -> Result<Columns, Problems> {
    let names: Vec<String> = heading.iter().map(|cell| plain(&cell.text)).collect();
    let has = |name: &str| names.iter().any(|found| found == name);
    let form = FORMS
        .iter()
        .find(|form| form.sure.iter().all(|name| has(name)));
    let (form, known) = form.map_or(("a generic export", GENERIC), |form| {
        (form.name, form.columns)
    });
    let mut meanings: Vec<Option<Meaning>> = names
        .iter()
        .map(|name| {
            let known = known.iter().find(|(known, _)| known == name);
            known.map(|(_, meaning)| *meaning)
        })
        .collect();
    // Two columns for the same instant: the first that is there will do.
    for meaning in [Meaning::Date, Meaning::Model, Meaning::Cost] {
        let mut seen = false;
        for found in meanings.iter_mut().filter(|found| **found == Some(meaning)) {
            if std::mem::replace(&mut seen, true) {
                *found = None;
            }
        }
    }
    ensure_usable(file, heading, &meanings)?;
    Ok(Columns { form, meanings })
}

fn declared(file: &str, heading: &[Cell], own: &str) -> Result<Columns, Problems> {
    let mut meanings = vec![None; heading.len()];
    for pair in own
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let bad = |why: String| Problems::one(format!("--columns: `{pair}`: {why}"));
        let words = Meaning::WORDS.map(|(word, _)| word);
        let Some((word, name)) = pair.split_once('=') else {
            return Err(bad(
                "write it as meaning=column, such as date=Day".to_owned()
            ));
        };
        let meaning = Meaning::WORDS
            .iter()
            .find(|(known, _)| *known == word.trim());
        let Some((_, meaning)) = meaning else {
            let allowed = words.join(", ");
            return Err(bad(format!(
                "unknown meaning `{word}`; allowed are {allowed}"
            )));
        };
        let at = heading
            .iter()
            .position(|cell| cell.text.trim() == name.trim());
        let Some(at) = at else {
            let names = heading.iter().map(|cell| cell.text.trim());
            let hint = suggest::nearest(name.trim(), names).unwrap_or_default();
            return Err(bad(format!("{file} has no such column; {hint}")));
        };
        meanings[at] = Some(*meaning);
    }
    ensure_usable(file, heading, &meanings)?;
    Ok(Columns {
        form: "columns as declared",
        meanings,
    })
}

fn ensure_usable(
    file: &str,
    heading: &[Cell],
    meanings: &[Option<Meaning>],
) -> Result<(), Problems> {
    let has = |meaning| meanings.contains(&Some(meaning));
    let compared = [
        Meaning::Cost,
        Meaning::Input,
        Meaning::AllInput,
        Meaning::Output,
    ];
    let mut missing = Vec::new();
    if !has(Meaning::Date) {
        missing.push("a date");
    }
    if !compared.into_iter().any(has) {
        missing.push("a cost or tokens");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = heading.iter().map(|cell| cell.text.trim()).collect();
    Err(Problems::one(format!(
        "{file}:1: no column is {}; it has {}; name them with --columns date=…,model=…,cost=…",
        missing.join(" and none is "),
        suggest::list(&names)
    )))
}

/// A cell that makes no sense.
struct Bad {
    line: usize,
    column: usize,
    why: String,
}

impl Item {
    pub fn add(&mut self, other: &Self) {
        self.cost += other.cost;
        self.requests = self.requests.saturating_add(other.requests);
        let (sum, more) = (&mut self.tokens, other.tokens);
        sum.input = sum.input.saturating_add(more.input);
        sum.cached_input = sum.cached_input.saturating_add(more.cached_input);
        sum.cache_write = sum.cache_write.saturating_add(more.cache_write);
        sum.output = sum.output.saturating_add(more.output);
    }
}

type Keyed = ((Date, String), Item);

/// One row; `None` when it says nothing, as OpenAI's empty days do.
fn item(meanings: &[Option<Meaning>], width: usize, row: &[Cell]) -> Result<Option<Keyed>, Bad> {
    let at = |cell: &Cell, why: String| Bad {
        line: cell.line,
        column: cell.column,
        why,
    };
    if let Some(first) = row.first()
        && row.len() != width
    {
        let why = format!("{} cells where the heading has {width}", row.len());
        return Err(at(first, why));
    }
    let (mut day, mut model, mut item) = (None, String::new(), Item::default());
    let (mut all_input, mut says_something) = (None, false);
    for (cell, meaning) in row.iter().zip(meanings) {
        let (Some(meaning), text) = (meaning, cell.text.trim()) else {
            continue;
        };
        if text.is_empty() && *meaning != Meaning::Date {
            continue;
        }
        says_something |= !matches!(meaning, Meaning::Date | Meaning::Currency);
        let count = || {
            let count = count(text);
            count.ok_or_else(|| at(cell, format!("`{text}` is no whole number")))
        };
        match meaning {
            Meaning::Date => {
                let why = || format!("`{text}` is no day, instant or Unix time");
                day = Some(date(text).ok_or_else(|| at(cell, why()))?);
            }
            Meaning::Model => text.clone_into(&mut model),
            Meaning::LineItem => {
                let name = text.rsplit_once(", ").map_or(text, |(name, _)| name);
                name.clone_into(&mut model);
            }
            Meaning::TokenClass => {}
            Meaning::Cost => {
                let cost = amount::read(text);
                item.cost = cost.map_err(|error| at(cell, error.to_string()))?;
            }
            Meaning::Currency if text.eq_ignore_ascii_case("usd") => {}
            Meaning::Currency => {
                return Err(at(
                    cell,
                    format!("amounts are in `{text}`; only USD can be compared"),
                ));
            }
            Meaning::Requests => item.requests = count()?,
            Meaning::Input => item.tokens.input += count()?,
            Meaning::AllInput => all_input = Some(count()?),
            Meaning::CachedInput => item.tokens.cached_input += count()?,
            Meaning::CacheWrite => item.tokens.cache_write += count()?,
            Meaning::Output => item.tokens.output += count()?,
        }
    }
    if let Some(all) = all_input {
        let cached = item
            .tokens
            .cached_input
            .saturating_add(item.tokens.cache_write);
        item.tokens.input = all.saturating_sub(cached);
    }
    let key = day.filter(|_| says_something).map(|day| (day, model));
    Ok(key.map(|key| (key, item)))
}

/// A whole number, also as `1,234` or `3.0`.
fn count(text: &str) -> Option<u64> {
    let plain = text.replace(',', "");
    let whole = match plain.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return None,
        None => &plain,
    };
    whole.parse().ok()
}

/// The UTC day of a date, an instant (without a zone: UTC) or a Unix time in seconds.
fn date(text: &str) -> Option<Date> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.to_zoned(TimeZone::UTC).date());
    }
    if let Ok(seconds) = text.parse::<i64>() {
        // `20261101` is a day and no Unix time: that would be in 1970.
        if text.len() == 8 {
            return text.parse().ok();
        }
        let at = Timestamp::from_second(seconds).ok()?;
        return Some(at.to_zoned(TimeZone::UTC).date());
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, own: Option<&str>, form: &str, expect: &[(&str, &str, &str, [u64; 5])]) {
        let invoice = read("i.csv", text, own).expect("an invoice");
        assert_eq!(invoice.form, form);
        let items: Vec<_> = invoice
            .items
            .iter()
            .map(|((day, model), item)| {
                let tokens = item.tokens;
                let counts = [
                    item.requests,
                    tokens.input,
                    tokens.cached_input,
                    tokens.cache_write,
                    tokens.output,
                ];
                (
                    day.to_string(),
                    model.clone(),
                    item.cost.to_string(),
                    counts,
                )
            })
            .collect();
        let items: Vec<_> = items
            .iter()
            .map(|(day, model, cost, counts)| {
                (day.as_str(), model.as_str(), cost.as_str(), *counts)
            })
            .collect();
        assert_eq!(items, expect);
    }

    #[test]
    fn openai_says_costs_by_line_item_and_leaves_empty_days_empty() {
        check(
            "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id\n\
             1793491200,1793577600,2026-11-01T00:00:00+00:00,2026-11-02T00:00:00+00:00,,,,\n\
             1793577600,1793664000,2026-11-02T00:00:00+00:00,2026-11-03T00:00:00+00:00,0.5,usd,\"gpt-5-nano, input\",p\n\
             1793577600,1793664000,2026-11-02T00:00:00+00:00,2026-11-03T00:00:00+00:00,0.250000000000000000001,usd,\"gpt-5-nano, output\",p\n",
            None,
            "OpenAI's costs",
            &[("2026-11-02", "gpt-5-nano", "0.75", [0; 5])],
        );
    }

    #[test]
    fn openai_counts_cached_input_inside_the_input() {
        check(
            "start_time,end_time,start_time_iso,end_time_iso,num_model_requests,model,input_tokens,output_tokens,input_cached_tokens\n\
             1793577600,1793577660,2026-11-02T00:00:00,2026-11-02T00:01:00,3.0,gpt-4o,1000,50,400\n",
            None,
            "OpenAI's usage of completions",
            &[("2026-11-02", "gpt-4o", "0", [3, 600, 400, 0, 50])],
        );
    }

    #[test]
    fn anthropic_has_costs_by_class_and_usage_by_column() {
        check(
            "usage_date_utc,model,workspace,token_type,cost_usd,cost_type\n\
             2026-11-02,Claude Haiku 4.5,Default,input_no_cache,0.05,token\n\
             2026-11-02,Claude Haiku 4.5,Default,output,0.02,token\n",
            None,
            "Anthropic's costs",
            &[("2026-11-02", "Claude Haiku 4.5", "0.07", [0; 5])],
        );
        check(
            "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,\
             usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens\n\
             2026-11-02,claude-haiku-4-5-20251001,8,1,2,3,4\n",
            None,
            "Anthropic's usage",
            &[(
                "2026-11-02",
                "claude-haiku-4-5-20251001",
                "0",
                [0, 8, 3, 3, 4],
            )],
        );
    }

    #[test]
    fn other_exports_are_read_by_their_names_or_by_ours() {
        check(
            "Day;Model;Input Tokens;Cost USD;Note\n2026-11-02;m;\"1,000\";$1.50;x\n",
            None,
            "a generic export",
            &[("2026-11-02", "m", "1.5", [0, 1000, 0, 0, 0])],
        );
        check(
            "Tag,Modell,Betrag\n20261102,m,2\n",
            Some("date=Tag, model=Modell, cost=Betrag"),
            "columns as declared",
            &[("2026-11-02", "m", "2", [0; 5])],
        );
    }

    fn check_refused(text: &str, own: Option<&str>, expect: &[&str]) {
        let Problems(problems) = read("i.csv", text, own).expect_err("refused");
        assert_eq!(problems, expect);
    }

    #[test]
    fn bad_cells_are_named_with_their_place() {
        check_refused(
            "date,model,cost\n2026-11-02,m,abc\nyesterday,m,1\n2026-11-02,m\n2026-11-02,m,1\n",
            None,
            &[
                "i.csv:2:14: `abc` is not a decimal amount in USD, such as 0.15",
                "i.csv:3:1: `yesterday` is no day, instant or Unix time",
                "i.csv:4:1: 2 cells where the heading has 3",
            ],
        );
        check_refused(
            "date,cost,currency\n2026-11-02,1,EUR\n",
            None,
            &["i.csv:2:14: amounts are in `EUR`; only USD can be compared"],
        );
        check_refused(
            "when,what\n1,2\n",
            None,
            &[
                "i.csv:1: no column is a date and none is a cost or tokens; it has `when`, `what`; \
               name them with --columns date=…,model=…,cost=…",
            ],
        );
        check_refused(
            "Tag,Betrag\n",
            Some("date=Tagg"),
            &["--columns: `date=Tagg`: i.csv has no such column; did you mean `Tag`?"],
        );
        check_refused("", None, &["i.csv: the file is empty"]);
        check_refused("a,\"b\n", None, &["i.csv:1:3: a quote is not closed"]);
    }
}
