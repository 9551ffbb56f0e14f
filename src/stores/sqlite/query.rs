//! The report's sums: facts of the file and, beside them, of what is still in the journal (the `temp`
//! schema, filled by `LedgerFile`), added up in hash tables of short numbers.

use std::hash::Hash;

use indexmap::IndexSet;
use jiff::Timestamp;
use rusqlite::{Connection, Row};
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::facts::{self, Fact, Texts, Wanted};
use super::read::joined;
use crate::stores::report::{Dimension, FocusGroup, Others, Report, ReportQuery, ReportRow, Sums};
use crate::stores::usage::TimeRange;
use crate::types::{PicoUsd, Price, TokenPrice, Tokens};

/// Shown where there is no value.
const NONE: &str = "-";
const HOUR_MS: i64 = 3_600_000;

/// `sum` of a column in two parts that cannot overflow.
pub(super) fn two_parts(column: &str) -> String {
    format!("sum({column} / 1000000) AS {column}_hi, sum({column} % 1000000) AS {column}_lo")
}

pub(super) fn money(row: &Row<'_>, column: &str) -> rusqlite::Result<PicoUsd> {
    let hi = row.get(format!("{column}_hi").as_str())?;
    let lo = row.get(format!("{column}_lo").as_str())?;
    Ok(joined(hi, lo))
}

pub(super) fn count(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let count: Option<i64> = row.get(column)?;
    Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
}

/// `part` for each schema, one below the other.
pub(super) fn over(schemas: &[&str], part: impl Fn(&str) -> String) -> String {
    let parts: Vec<_> = schemas.iter().map(|schema| part(schema)).collect();
    parts.join(" UNION ALL ")
}

pub(super) fn parameters(range: &TimeRange) -> [(&str, &dyn rusqlite::ToSql); 2] {
    [(":from", &range.from_ms), (":to", &range.to_ms)]
}

/// Gives equal values equal numbers.
#[derive(Debug)]
struct Numbered<T>(IndexSet<T, FxBuildHasher>);

impl<T: Eq + Hash> Numbered<T> {
    fn new() -> Self {
        Self(IndexSet::default())
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "four thousand million distinct values do not fit into memory"
    )]
    fn number(&mut self, value: T) -> u32 {
        self.0.insert_full(value).0 as u32
    }
}

impl Numbered<Box<str>> {
    /// Allocates only for a text that is new.
    #[allow(clippy::cast_possible_truncation, reason = "as above")]
    fn text(&mut self, text: &str) -> u32 {
        match self.0.get_index_of(text) {
            Some(at) => at as u32,
            None => self.number(text.into()),
        }
    }
}

impl<T> Numbered<T> {
    fn value(&self, number: u32) -> Option<&T> {
        self.0.get_index(number as usize)
    }
}

/// What the dimensions of a report take from where.
#[derive(Debug, Default)]
struct Parts<'a> {
    /// Columns of the request's kind.
    of_request: Vec<&'static str>,
    /// Columns of what served: of the request's kind for requests, of the attempt's for attempts.
    served: Vec<&'static str>,
    end_user: bool,
    tags: Vec<&'a str>,
    /// The length of the finest step of time; 0 for none.
    step_ms: i64,
}

/// Where the value of a dimension stands in a group.
enum Place {
    OfRequest(usize),
    Served(usize),
    EndUser,
    Tag(usize),
    Time(&'static str),
}

impl<'a> Parts<'a> {
    fn of(by: &'a [Dimension]) -> (Self, Vec<Place>) {
        let mut parts = Self::default();
        let places = by.iter().map(|by| parts.place(by)).collect();
        (parts, places)
    }

    fn place(&mut self, by: &'a Dimension) -> Place {
        let column = match by {
            Dimension::Team => "team",
            Dimension::App => "app",
            Dimension::Key => "key",
            Dimension::Task => "task",
            Dimension::Level => "level",
            Dimension::Endpoint => "endpoint",
            Dimension::Outcome => "outcome",
            Dimension::Cache => "cache",
            Dimension::Reason => "reason",
            Dimension::Model => return self.served("model"),
            // An upstream that says no name is called by the model's.
            Dimension::ResponseModel => {
                return self.served("coalesce(nullif(response_model, ''), model)");
            }
            Dimension::Provider => return self.served("provider"),
            Dimension::User => {
                self.end_user = true;
                return Place::EndUser;
            }
            Dimension::Tag(tag) => {
                self.tags.push(tag);
                return Place::Tag(self.tags.len() - 1);
            }
            Dimension::Hour => return self.time(HOUR_MS, "%Y-%m-%dT%H:00Z"),
            Dimension::Day => return self.time(facts::DAY_MS, "%Y-%m-%d"),
            // Months differ in length: their days are put together at the end.
            Dimension::Month => return self.time(facts::DAY_MS, "%Y-%m"),
        };
        self.of_request.push(column);
        Place::OfRequest(self.of_request.len() - 1)
    }

    fn served(&mut self, column: &'static str) -> Place {
        self.served.push(column);
        Place::Served(self.served.len() - 1)
    }

    fn time(&mut self, step_ms: i64, format: &'static str) -> Place {
        self.step_ms = match self.step_ms {
            0 => step_ms,
            finer => finer.min(step_ms),
        };
        Place::Time(format)
    }
}

/// What the facts of one row of a report share, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Group {
    of_request: u32,
    served: u32,
    texts: u32,
    is_archived: bool,
    step: i64,
}

/// The numbers of the values of kinds, by the kind's own number.
type ByKind<V> = FxHashMap<i64, V>;

/// Reads columns of a table of kinds.
fn by_kind<V>(
    connection: &Connection,
    (schema, table): (&str, &str),
    columns: &[&'static str],
    mut value: impl FnMut(Vec<Box<str>>) -> V,
) -> rusqlite::Result<ByKind<V>> {
    let listed: String = columns.iter().flat_map(|column| [", ", column]).collect();
    let sql = format!("SELECT {table} {listed} FROM {schema}.{table}s");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(())?;
    let mut found = ByKind::default();
    while let Some(row) = rows.next()? {
        let texts = (1..=columns.len())
            .map(|at| row.get::<_, String>(at).map(String::into_boxed_str))
            .collect::<rusqlite::Result<_>>()?;
        found.insert(row.get(0)?, value(texts));
    }
    Ok(found)
}

/// The values behind the numbers of groups.
struct Values {
    of_request: Numbered<Vec<Box<str>>>,
    served: Numbered<Vec<Box<str>>>,
}

/// The end users and tags that a report asks for, numbered.
struct Callers<'a> {
    wants_end_user: bool,
    tag_names: &'a [&'a str],
    end_users: Numbered<Box<str>>,
    tags: Numbered<Vec<Box<str>>>,
    /// A text of tags that was seen before, and its number among `tags`.
    tag_texts: FxHashMap<Box<str>, u32>,
    /// The numbers of both, whose own number is what groups have; where only one of them is asked for,
    /// groups have its number, plus one.
    both: Numbered<(u32, u32)>,
}

impl<'a> Callers<'a> {
    fn new(parts: &'a Parts<'a>) -> Self {
        let mut both = Numbered::new();
        // 0 stands for no request at all, which says nothing.
        both.number((u32::MAX, u32::MAX));
        Self {
            wants_end_user: parts.end_user,
            tag_names: &parts.tags,
            end_users: Numbered::new(),
            tags: Numbered::new(),
            tag_texts: FxHashMap::default(),
            both,
        }
    }

    /// The number of what these tags say of the names that are asked for.
    fn tags_of(&mut self, text: &str) -> u32 {
        if let Some(known) = self.tag_texts.get(text) {
            return *known;
        }
        let tags: Vec<(String, String)> = serde_json::from_str(text).unwrap_or_default();
        let value_of = |wanted: &&str| {
            let found = tags.iter().find(|(name, _)| name == wanted);
            found.map_or("", |(_, value)| value.as_str()).into()
        };
        let number = self
            .tags
            .number(self.tag_names.iter().map(value_of).collect());
        self.tag_texts.insert(text.into(), number);
        number
    }

    /// The numbers of an end user and of tags behind the number of both.
    fn of(&self, number: u32) -> (u32, u32) {
        let one = number.wrapping_sub(1);
        match (self.wants_end_user, self.tag_names.is_empty()) {
            (true, true) => (one, u32::MAX),
            (false, _) => (u32::MAX, one),
            (true, false) => *self.both.value(number).unwrap_or(&(u32::MAX, u32::MAX)),
        }
    }

    fn end_user(&self, number: u32) -> &str {
        let found = self.end_users.value(self.of(number).0);
        found.map_or("", |text| text)
    }

    fn tag(&self, number: u32, at: usize) -> &str {
        let found = self.tags.value(self.of(number).1);
        found.and_then(|tags| tags.get(at)).map_or("", |text| text)
    }
}

impl Texts for Callers<'_> {
    fn number(&mut self, end_user: &str, tags: &str) -> u32 {
        match (self.wants_end_user, self.tag_names.is_empty()) {
            (true, true) => self.end_users.text(end_user) + 1,
            (false, _) => self.tags_of(tags) + 1,
            (true, false) => {
                let both = (self.end_users.text(end_user), self.tags_of(tags));
                self.both.number(both)
            }
        }
    }
}

pub(super) fn report(
    connection: &Connection,
    schemas: &[&str],
    query: &ReportQuery,
) -> rusqlite::Result<Report> {
    let (parts, places) = Parts::of(&query.by);
    let mut values = Values {
        of_request: Numbered::new(),
        served: Numbered::new(),
    };
    let mut callers = Callers::new(&parts);
    let mut groups: FxHashMap<Group, Sums> = FxHashMap::default();
    for schema in schemas {
        let wanted = Wanted {
            schema,
            range: query.range,
            requests: true,
        };
        let wants_texts = parts.end_user || !parts.tags.is_empty();
        let texts = wants_texts.then_some(&mut callers);
        add_up(
            connection,
            (wanted, texts),
            &parts,
            &mut values,
            &mut groups,
        )?;
    }
    let text = |of: &Numbered<Vec<Box<str>>>, number, at: usize| {
        let found = of.value(number).and_then(|texts| texts.get(at));
        shown(found.map_or("", |text| text))
    };
    let mut rows: FxHashMap<Vec<String>, Sums> = FxHashMap::default();
    let months = query.by.contains(&Dimension::Month) && parts.step_ms > 0;
    let others = match query.at_most {
        // Days become months only below: which rows are the dearest is not known before.
        Some(most) if !months => take_cheapest(&mut groups, most),
        _ => Others::default(),
    };
    let mut finished = Vec::with_capacity(groups.len());
    for (group, sums) in groups {
        let value = |place: &Place| match place {
            Place::OfRequest(at) => text(&values.of_request, group.of_request, *at),
            Place::Served(at) => text(&values.served, group.served, *at),
            Place::EndUser => shown(callers.end_user(group.texts)),
            Place::Tag(at) => shown(callers.tag(group.texts, *at)),
            Place::Time(format) => instant(format, &group, parts.step_ms),
        };
        let texts: Vec<_> = places.iter().map(value).collect();
        if months {
            *rows.entry(texts).or_default() += sums;
        } else {
            finished.push(ReportRow {
                values: texts,
                sums,
            });
        }
    }
    let put_together = rows.into_iter();
    finished.extend(put_together.map(|(values, sums)| ReportRow { values, sums }));
    Ok(Report::with_others(finished, others, query))
}

/// Takes out the groups that are cheaper than the dearest `most`, and sums them up: what nobody sees
/// needs no names, which of a million groups take longer than the sums. Of groups that cost the same as
/// the last of those, all stay: their names decide.
fn take_cheapest(groups: &mut FxHashMap<Group, Sums>, most: usize) -> Others {
    let mut others = Others::default();
    if groups.len() <= most {
        return others;
    }
    let mut costs: Vec<PicoUsd> = groups.values().map(|sums| sums.cost).collect();
    let (_, least, _) = costs.select_nth_unstable_by(most, |a, b| b.cmp(a));
    let least = *least;
    groups.retain(|_, sums| {
        let stays = sums.cost >= least;
        if !stays {
            others.rows += 1;
            others.sums += *sums;
        }
        stays
    });
    others
}

fn shown(text: &str) -> String {
    if text.is_empty() { NONE } else { text }.to_owned()
}

/// A step of time in words. Of an archived day no hour is known.
fn instant(format: &str, group: &Group, step_ms: i64) -> String {
    let format = match format {
        "%Y-%m-%dT%H:00Z" if group.is_archived => "%Y-%m-%d",
        known => known,
    };
    let at = Timestamp::from_millisecond(group.step.saturating_mul(step_ms));
    at.unwrap_or_default().strftime(format).to_string()
}

/// Adds the facts of one schema to the groups.
fn add_up(
    connection: &Connection,
    (wanted, texts): (Wanted<'_>, Option<&mut Callers<'_>>),
    parts: &Parts<'_>,
    values: &mut Values,
    groups: &mut FxHashMap<Group, Sums>,
) -> rusqlite::Result<()> {
    let requests = (wanted.schema, "request_kind");
    let attempts = (wanted.schema, "attempt_kind");
    let of_request = by_kind(connection, requests, &parts.of_request, |texts| {
        values.of_request.number(texts)
    })?;
    let served_request = by_kind(connection, requests, &parts.served, |texts| {
        values.served.number(texts)
    })?;
    let mut served: Vec<_> = parts.served.clone();
    served.push("usage");
    let served_attempt = by_kind(connection, attempts, &served, |mut texts| {
        let is_estimate = texts.pop().is_some_and(|usage| &*usage == "estimated");
        (values.served.number(texts), is_estimate)
    })?;
    facts::read(connection, wanted, texts, &mut |fact: &Fact| {
        let kind = fact.request_kind;
        let (served, is_estimate) = if fact.attempt_kind == 0 {
            (
                served_request.get(&kind).copied().unwrap_or(u32::MAX),
                false,
            )
        } else {
            let found = served_attempt.get(&fact.attempt_kind);
            found.copied().unwrap_or((u32::MAX, false))
        };
        let group = Group {
            of_request: of_request.get(&kind).copied().unwrap_or(u32::MAX),
            served,
            texts: fact.texts,
            is_archived: fact.is_archived && parts.step_ms == HOUR_MS,
            step: if parts.step_ms == 0 {
                0
            } else {
                fact.at_ms.div_euclid(parts.step_ms)
            },
        };
        let sums = groups.entry(group).or_default();
        let cost = PicoUsd::from_pico(fact.cost_pico);
        sums.requests += fact.requests;
        sums.attempts += fact.attempts;
        sums.cost += cost;
        if is_estimate {
            sums.estimated_cost += cost;
        }
        sums.baseline_requests += fact.baselines;
        sums.baseline_cost += PicoUsd::from_pico(fact.baseline_pico);
        sums.savings += PicoUsd::from_pico(fact.savings_pico);
        sums.tokens += fact.tokens;
    })
}

/// What the attempts of a FOCUS group have in common beside the payer and the day.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Charge {
    provider: String,
    model: String,
    price: [i64; 8],
    price_version: String,
    service_tier: String,
    is_estimate: bool,
}

const CHARGE: &str = "attempt_kind, provider, model, price_version, service_tier, usage, \
     input_price_pico, cached_input_price_pico, cache_write_price_pico, \
     cache_write_1h_price_pico, output_price_pico, reasoning_price_pico, \
     per_request_price_pico, per_image_price_pico";

impl Charge {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mut price = [0; 8];
        for (at, amount) in price.iter_mut().enumerate() {
            *amount = row.get(6 + at)?;
        }
        Ok(Self {
            provider: row.get(1)?,
            model: row.get(2)?,
            price,
            price_version: row.get(3)?,
            service_tier: row.get(4)?,
            is_estimate: row.get_ref(5)?.as_str()? == "estimated",
        })
    }

    fn price(&self) -> Price {
        let [
            input,
            cached_input,
            cache_write,
            cache_write_1h,
            output,
            reasoning,
            request,
            image,
        ] = self.price;
        Price {
            input: TokenPrice::from_pico(input),
            cached_input: TokenPrice::from_pico(cached_input),
            cache_write: TokenPrice::from_pico(cache_write),
            cache_write_1h: TokenPrice::from_pico(cache_write_1h),
            output: TokenPrice::from_pico(output),
            reasoning: TokenPrice::from_pico(reasoning),
            per_request: PicoUsd::from_pico(request.into()),
            per_image: PicoUsd::from_pico(image.into()),
        }
    }
}

/// Attempts, images, tokens and cost of a FOCUS group.
#[derive(Default)]
struct Used {
    attempts: u64,
    images: u64,
    tokens: Tokens,
    cost: PicoUsd,
}

pub(super) fn focus(
    connection: &Connection,
    schemas: &[&str],
    range: TimeRange,
) -> rusqlite::Result<Vec<FocusGroup>> {
    let mut payers: Numbered<Vec<Box<str>>> = Numbered::new();
    let mut charges: Numbered<Charge> = Numbered::new();
    let mut groups: FxHashMap<(i64, u32, u32), Used> = FxHashMap::default();
    for schema in schemas {
        let payer = by_kind(
            connection,
            (schema, "request_kind"),
            &["team", "app"],
            |texts| payers.number(texts),
        )?;
        let charge = connection
            .prepare(&format!("SELECT {CHARGE} FROM {schema}.attempt_kinds"))?
            .query_map((), |row| {
                Ok((row.get(0)?, charges.number(Charge::from_row(row)?)))
            })?
            .collect::<rusqlite::Result<ByKind<_>>>()?;
        let wanted = Wanted {
            schema,
            range,
            requests: false,
        };
        facts::read(
            connection,
            wanted,
            None::<&mut Callers<'_>>,
            &mut |fact: &Fact| {
                let (Some(payer), Some(charge)) = (
                    payer.get(&fact.request_kind),
                    charge.get(&fact.attempt_kind),
                ) else {
                    return;
                };
                let day = fact.at_ms.div_euclid(facts::DAY_MS);
                let used = groups.entry((day, *payer, *charge)).or_default();
                used.attempts += fact.attempts;
                used.images += fact.images;
                used.tokens += fact.tokens;
                used.cost += PicoUsd::from_pico(fact.cost_pico);
            },
        )?;
    }
    let mut found: Vec<_> = groups
        .into_iter()
        .filter_map(|((day, payer, charge), used)| {
            focus_group(day, payers.value(payer)?, charges.value(charge)?, &used)
        })
        .collect();
    found.sort_by(|a, b| order(a).cmp(&order(b)));
    Ok(found)
}

fn focus_group(day: i64, payer: &[Box<str>], charge: &Charge, used: &Used) -> Option<FocusGroup> {
    let [team, app] = payer else { return None };
    let begins = Timestamp::from_millisecond(day.saturating_mul(facts::DAY_MS)).unwrap_or_default();
    Some(FocusGroup {
        day: begins.strftime("%Y-%m-%d").to_string(),
        team: team.to_string(),
        app: app.to_string(),
        provider: charge.provider.clone(),
        model: charge.model.clone(),
        price: charge.price(),
        price_version: charge.price_version.clone(),
        service_tier: charge.service_tier.clone(),
        attempts: used.attempts,
        images: used.images,
        tokens: used.tokens,
        cost: used.cost,
        is_estimate: charge.is_estimate,
    })
}

fn order(group: &FocusGroup) -> impl Ord + '_ {
    let words = [
        &group.day,
        &group.team,
        &group.app,
        &group.provider,
        &group.model,
        &group.service_tier,
        &group.price_version,
    ];
    let price = &group.price;
    let prices = [price.input, price.cached_input, price.output];
    (words, group.is_estimate, prices)
}

/// The first and the last instant at which anything happened.
pub(super) fn span(
    connection: &Connection,
    schemas: &[&str],
) -> rusqlite::Result<Option<(i64, i64)>> {
    let instants = |schema: &str| {
        let of = |table, column| {
            format!(
                "SELECT min({table}.{column}) AS first, max({table}.{column}) AS last \
                 FROM {schema}.{table}"
            )
        };
        format!(
            "{} UNION ALL {} UNION ALL \
             SELECT min(day) * 86400000, max(day) * 86400000 FROM {schema}.archive",
            of("request_rows", "started_at_ms"),
            of("attempt_rows", "started_at_ms")
        )
    };
    let sql = format!(
        "SELECT min(first), max(last) FROM ({})",
        over(schemas, instants)
    );
    connection.query_row(&sql, (), |row| {
        let (first, last) = (row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?);
        Ok(first.zip(last))
    })
}
