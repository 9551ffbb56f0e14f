//! How much to think, both ways, and what thinking excludes.
//!
//! Rules by Anthropic's documentation of extended and adaptive thinking: a budget is at least 1,024
//! tokens and below `max_tokens`; a forced tool, `top_k`, a temperature other than 1 and a `top_p` below
//! 0.95 exclude it; with a budget a turn that goes on after tool calls must begin with its thoughts.

use super::generation::Generation;
use super::{NAME, tools};
use crate::types::chat::request::MIN_THINKING_TOKENS;
use crate::types::chat::{ChatRequest, Effort, Notes, RawJson, ReasoningWish, Sampling};
use crate::wire::json_in::Raw;
use crate::wire::json_out::Members;

/// The member that the notes name.
const FIELD: &str = "reasoning_effort";

/// `output_config.effort`.
pub(super) fn effort(raw: Raw<'_>) -> Option<Effort> {
    Effort::parse(&raw.text()?)
}

/// `thinking`. What the neutral form has no name for is `kept`.
pub(super) fn read(
    raw: Option<Raw<'_>>,
    kept: &mut Vec<(String, RawJson)>,
) -> Option<ReasoningWish> {
    let raw = raw?;
    let mut keep = || kept.push(("thinking".to_owned(), raw.owned()));
    let Some(mut thinking) = raw.object() else {
        keep();
        return None;
    };
    let shown = thinking.get("display").and_then(Raw::string).as_deref() != Some("omitted");
    let mut wish = ReasoningWish {
        summary: shown.then(|| "auto".to_owned()),
        ..ReasoningWish::default()
    };
    match thinking.take_string("type").as_deref() {
        Some("enabled") => wish.budget_tokens = thinking.take_count("budget_tokens"),
        Some("adaptive") => wish.is_adaptive = true,
        Some("disabled") => {
            wish.budget_tokens = Some(0);
            wish.summary = None;
        }
        _ => {
            keep();
            return None;
        }
    }
    if !thinking.rest().is_empty() {
        keep();
    }
    Some(wish)
}

/// What is asked of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::wire::dialect) struct Thinking {
    pub mode: Mode,
    pub effort: Option<&'static str>,
}

/// `thinking`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::wire::dialect) enum Mode {
    /// Nothing is said.
    #[default]
    Absent,
    /// `disabled`.
    Disabled,
    /// `enabled` with a budget.
    Budget(u64),
    /// `adaptive`; with the thoughts shown, where the client asked to see them.
    Adaptive { shown: bool },
}

impl Thinking {
    const OFF: Self = Self {
        mode: Mode::Absent,
        effort: None,
    };

    /// The request's own wish, as Anthropic's client said it.
    fn as_asked(wish: &ReasoningWish) -> Self {
        let mode = match wish.budget_tokens {
            Some(0) => Mode::Disabled,
            Some(tokens) => Mode::Budget(tokens),
            None if wish.is_adaptive => Mode::Adaptive { shown: false },
            None => Mode::Absent,
        };
        Self {
            mode,
            effort: wish.effort.map(Effort::as_str),
        }
    }

    /// What to ask of the model for `request`. `lacks_thoughts`: a turn goes on after tool calls
    /// whose thoughts are not there.
    pub fn of(
        request: &ChatRequest,
        generation: Generation,
        max_tokens: u64,
        lacks_thoughts: bool,
        notes: &mut Notes,
    ) -> Self {
        let Some(wish) = &request.reasoning else {
            return Self::OFF;
        };
        if request.dialect == NAME {
            return Self::as_asked(wish);
        }
        if !wish.is_on() {
            let is_said = wish.effort.is_some() || wish.budget_tokens.is_some();
            let mode = if is_said && generation.thinks() {
                Mode::Disabled
            } else {
                Mode::Absent
            };
            return Self { mode, effort: None };
        }
        let is_by_budget = !generation.thinks_adaptively()
            || (wish.budget_tokens.is_some() && generation.takes_budget());
        let obstacle = if !generation.thinks() {
            Some("left out: the model does not think")
        } else if tools::is_forced(request) {
            Some("left out: a forced tool excludes thinking")
        } else if is_by_budget && max_tokens <= MIN_THINKING_TOKENS {
            Some("left out: the output cap leaves no room for thoughts")
        } else if is_by_budget && lacks_thoughts {
            Some("left out: the thoughts before the last tool calls are another provider's")
        } else {
            None
        };
        if let Some(obstacle) = obstacle {
            notes.changed(FIELD, obstacle);
            return Self::OFF;
        }
        if is_by_budget {
            return Self {
                mode: Mode::Budget(wish.budget_below(max_tokens)),
                effort: None,
            };
        }
        Self {
            mode: Mode::Adaptive {
                shown: wish.summary.is_some(),
            },
            effort: adaptive_effort(wish, generation, notes),
        }
    }

    /// True when the model is to think.
    pub const fn is_on(self) -> bool {
        matches!(self.mode, Mode::Budget(_) | Mode::Adaptive { .. })
    }

    /// The member `thinking`.
    pub fn write(self, it: &mut Members<'_>) {
        match self.mode {
            Mode::Absent => {}
            Mode::Disabled => it.object("thinking", |it| it.string("type", "disabled")),
            Mode::Budget(tokens) => it.object("thinking", |it| {
                it.string("type", "enabled");
                it.integer("budget_tokens", tokens);
            }),
            Mode::Adaptive { shown } => it.object("thinking", |it| {
                it.string("type", "adaptive");
                if shown {
                    it.string("display", "summarized");
                }
            }),
        }
    }
}

fn adaptive_effort(
    wish: &ReasoningWish,
    generation: Generation,
    notes: &mut Notes,
) -> Option<&'static str> {
    if wish.is_adaptive && wish.effort.is_none() {
        return None;
    }
    if wish.effort.is_none() {
        notes.changed(FIELD, "the nearest effort stands in for the budget");
    }
    Some(match wish.nearest_effort()? {
        Effort::None | Effort::Low => "low",
        Effort::Minimal => {
            notes.changed(FIELD, "`low` is the least");
            "low"
        }
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh if generation.knows_xhigh() => "xhigh",
        Effort::Xhigh => {
            notes.changed(FIELD, "`high` stands in for `xhigh`");
            "high"
        }
        Effort::Max => "max",
    })
}

/// Sampling as the model takes it.
pub(in crate::wire::dialect) fn sampling(
    request: &ChatRequest,
    thinking: Thinking,
    generation: Generation,
    notes: &mut Notes,
) -> Sampling {
    let mut sampling = request.sampling;
    if request.dialect == NAME {
        return sampling;
    }
    if sampling.temperature.is_some_and(|it| it > 1.0) {
        sampling.temperature = Some(1.0);
        notes.changed("temperature", "1 is the most");
    }
    let fixed = thinking.is_on() || generation.refuses_sampling();
    let least_top_p = if generation.refuses_sampling() {
        1.0
    } else {
        0.95
    };
    if fixed && sampling.temperature.take().is_some_and(|it| it < 1.0) {
        notes.dropped("temperature");
    }
    if fixed && sampling.top_p.is_some_and(|it| it < least_top_p) {
        sampling.top_p = None;
        notes.dropped("top_p");
    }
    if fixed && sampling.top_k.take().is_some() {
        notes.dropped("top_k");
    }
    if sampling.temperature.is_some()
        && sampling.top_p.is_some()
        && generation.takes_one_of_temperature_and_top_p()
        && sampling.top_p.take().is_some_and(|it| it < 1.0)
    {
        notes.changed(
            "top_p",
            "dropped: only one of it and `temperature` is taken",
        );
    }
    for (name, value) in [
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
    ] {
        if value.is_some_and(|value| value != 0.0) {
            notes.dropped(name);
        }
    }
    if sampling.seed.is_some() {
        notes.dropped("seed");
    }
    sampling
}
