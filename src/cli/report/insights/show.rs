//! Insights for people and for programs.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::value::RawValue;

use super::super::export::{JsonPeriod, exact, percent};
use super::super::period;
use super::super::table::{Grid, Paint, grouped, name};
use super::{Alternative, Contender, Evidence, Insights, LEAST_SCORES, Pattern, SHOWN};
use crate::stores::{Repeated, Repeats};
use crate::types::PicoUsd;

impl Insights {
    /// Three tables, the first lines of each.
    pub(super) fn write_table(&self, colour: bool, out: &mut dyn Write) -> io::Result<()> {
        let paint = Paint { colour };
        writeln!(out, "{}", paint.dim(&period::describe(self.range)))?;
        self.write_patterns(paint, out)?;
        self.write_repeats(paint, out)?;
        self.write_cheaper(paint, out)
    }

    fn write_patterns(&self, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\n{}", paint.bold("Dearest patterns"))?;
        if self.patterns.is_empty() {
            return writeln!(out, "nothing was spent in this period");
        }
        let heading = [
            "app",
            "task",
            "level",
            "requests",
            "cost USD",
            "share",
            "cheapest in the cell",
            "saves at most USD",
        ];
        let rows = self.patterns.iter().take(SHOWN).map(|pattern| {
            let (model, saves) = match &pattern.cheapest {
                Some((model, saves)) => (name(model), saves.to_string()),
                None => ("-".to_owned(), "-".to_owned()),
            };
            vec![
                name(&pattern.app),
                pattern.task.clone(),
                pattern.level.clone(),
                grouped(&pattern.requests.to_string()),
                pattern.cost.to_string(),
                format!("{}%", percent(pattern.cost, self.total)),
                model,
                saves,
            ]
        });
        write_grid(&heading, &rows.collect::<Vec<_>>(), 3, paint, out)
    }

    fn write_repeats(&self, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "\n{}",
            paint.bold("Repeats that a cache would have served")
        )?;
        if self.repeats.is_empty() {
            return writeln!(out, "no paid request was asked twice by the same caller");
        }
        let heading = [
            "team",
            "app",
            "task",
            "within 1 h",
            "saves USD",
            "within 24 h",
            "saves USD",
            "ever",
            "saves USD",
        ];
        let rows = self.repeats.iter().take(SHOWN).map(|row| {
            let mut cells = vec![name(&row.team), name(&row.app), row.task.clone()];
            for Repeated { requests, cost } in [row.within_hour, row.within_day, row.ever] {
                cells.extend([grouped(&requests.to_string()), cost.to_string()]);
            }
            cells
        });
        write_grid(&heading, &rows.collect::<Vec<_>>(), 3, paint, out)
    }

    fn write_cheaper(&self, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "\n{}",
            paint.bold("Cells where a cheaper model scores the same")
        )?;
        if self.cheaper.is_empty() {
            return writeln!(
                out,
                "no cell has a cheaper model in use beside a dearer one"
            );
        }
        if self.scored == 0 {
            writeln!(
                out,
                "no answer of this period has feedback (POST /v1/feedback), so none can be called the same:"
            )?;
        }
        let heading = [
            "task",
            "level",
            "model",
            "cheaper",
            "scores",
            "mean reward",
            "difference (95 %)",
            "evidence",
            "saves USD",
        ];
        let rows = self.cheaper.iter().take(SHOWN).map(|pair| {
            vec![
                pair.task.clone(),
                pair.level.clone(),
                name(&pair.model.name),
                name(&pair.cheaper.name),
                format!("{} / {}", pair.model.scored, pair.cheaper.scored),
                format!("{} / {}", mean(&pair.model), mean(&pair.cheaper)),
                pair.difference.map_or_else(
                    || "-".to_owned(),
                    |(difference, half)| format!("{difference:+.3} ± {half:.3}"),
                ),
                pair.evidence.as_str().to_owned(),
                pair.saves.to_string(),
            ]
        });
        write_grid(&heading, &rows.collect::<Vec<_>>(), 4, paint, out)?;
        if self
            .cheaper
            .iter()
            .any(|pair| pair.evidence == Evidence::Thin)
        {
            let note = format!(
                "too thin: fewer than {LEAST_SCORES} scored answers of either model; the saving is \
                 what the price alone would give"
            );
            writeln!(out, "{}", paint.dim(&note))?;
        }
        Ok(())
    }

    /// All of it, amounts exact.
    pub(in crate::cli::report) fn to_json(&self) -> serde_json::Result<Box<RawValue>> {
        let document = JsonInsights {
            period: JsonPeriod::of(self.range),
            cost_usd: money(self.total)?,
            patterns: all(&self.patterns, json_pattern)?,
            repeats: all(&self.repeats, json_repeats)?,
            cheaper: all(&self.cheaper, json_cheaper)?,
            scored_answers: self.scored,
        };
        serde_json::value::to_raw_value(&document)
    }
}

fn mean(model: &Contender) -> String {
    if model.scored == 0 {
        return "-".to_owned();
    }
    format!("{:.3}", model.mean)
}

fn write_grid(
    heading: &[&str],
    rows: &[Vec<String>],
    names: usize,
    paint: Paint,
    out: &mut dyn Write,
) -> io::Result<()> {
    let heading: Vec<String> = heading.iter().map(|&text| text.to_owned()).collect();
    let grid = Grid::of(rows.iter().chain([&heading]), names);
    writeln!(out, "{}", paint.dim(grid.line(&heading).trim_end()))?;
    for row in rows {
        writeln!(out, "{}", grid.line(row).trim_end())?;
    }
    Ok(())
}

fn money(amount: PicoUsd) -> serde_json::Result<Box<RawValue>> {
    exact(&amount.to_string())
}

fn all<'a, T, J>(
    from: &'a [T],
    to: impl Fn(&'a T) -> serde_json::Result<J>,
) -> serde_json::Result<Vec<J>> {
    from.iter().map(to).collect()
}

#[derive(Serialize)]
struct JsonInsights<'a> {
    period: JsonPeriod,
    cost_usd: Box<RawValue>,
    patterns: Vec<JsonPattern<'a>>,
    repeats: Vec<JsonRepeats<'a>>,
    cheaper: Vec<JsonAlternative<'a>>,
    scored_answers: u64,
}

#[derive(Serialize)]
struct JsonPattern<'a> {
    app: &'a str,
    task: &'a str,
    level: &'a str,
    requests: u64,
    cost_usd: Box<RawValue>,
    cheapest_model: Option<&'a str>,
    saves_at_most_usd: Option<Box<RawValue>>,
}

fn json_pattern(pattern: &Pattern) -> serde_json::Result<JsonPattern<'_>> {
    let cheapest = pattern.cheapest.as_ref();
    Ok(JsonPattern {
        app: &pattern.app,
        task: &pattern.task,
        level: &pattern.level,
        requests: pattern.requests,
        cost_usd: money(pattern.cost)?,
        cheapest_model: cheapest.map(|(model, _)| model.as_str()),
        saves_at_most_usd: cheapest.map(|(_, saves)| money(*saves)).transpose()?,
    })
}

#[derive(Serialize)]
struct JsonRepeats<'a> {
    team: &'a str,
    app: &'a str,
    task: &'a str,
    within_hour: JsonRepeated,
    within_day: JsonRepeated,
    ever: JsonRepeated,
}

#[derive(Serialize)]
struct JsonRepeated {
    requests: u64,
    saves_usd: Box<RawValue>,
}

fn json_repeats(row: &Repeats) -> serde_json::Result<JsonRepeats<'_>> {
    let of = |repeated: Repeated| -> serde_json::Result<JsonRepeated> {
        Ok(JsonRepeated {
            requests: repeated.requests,
            saves_usd: money(repeated.cost)?,
        })
    };
    Ok(JsonRepeats {
        team: &row.team,
        app: &row.app,
        task: &row.task,
        within_hour: of(row.within_hour)?,
        within_day: of(row.within_day)?,
        ever: of(row.ever)?,
    })
}

#[derive(Serialize)]
struct JsonAlternative<'a> {
    task: &'a str,
    level: &'a str,
    model: JsonContender<'a>,
    cheaper: JsonContender<'a>,
    evidence: &'a str,
    difference: Option<f64>,
    difference_half_width_95: Option<f64>,
    saves_usd: Box<RawValue>,
}

#[derive(Serialize)]
struct JsonContender<'a> {
    model: &'a str,
    requests: u64,
    cost_usd: Box<RawValue>,
    scored: u64,
    mean_reward: Option<f64>,
}

fn json_cheaper(pair: &Alternative) -> serde_json::Result<JsonAlternative<'_>> {
    Ok(JsonAlternative {
        task: &pair.task,
        level: &pair.level,
        model: json_scored(&pair.model)?,
        cheaper: json_scored(&pair.cheaper)?,
        evidence: pair.evidence.as_str(),
        difference: pair.difference.map(|(difference, _)| difference),
        difference_half_width_95: pair.difference.map(|(_, half)| half),
        saves_usd: money(pair.saves)?,
    })
}

fn json_scored(model: &Contender) -> serde_json::Result<JsonContender<'_>> {
    Ok(JsonContender {
        model: &model.name,
        requests: model.requests,
        cost_usd: money(model.cost)?,
        scored: model.scored,
        mean_reward: (model.scored > 0).then_some(model.mean),
    })
}
