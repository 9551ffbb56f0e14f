//! Requests of the built-in kinds, to measure against: what a feature is worth, and how alike to a
//! task other requests happen to be. Some of the rows of `data/`, in every language and of every task.

use super::super::training::Collected;
use super::super::training::rows;
use super::super::{canonical, language, main_excerpt};
use crate::types::Call;

/// Files, and how many of their rows stand for one that is read: some 2,600 are, in some 50 ms.
const ROWS: [(&str, usize); 4] = [
    (include_str!("../../../data/own_en.jsonl"), 3),
    (include_str!("../../../data/own_multi.jsonl"), 1),
    (include_str!("../../../data/frames_en.jsonl"), 5),
    (include_str!("../../../data/frames_es.jsonl"), 5),
];

/// A request as its features and its language.
pub struct Request {
    /// The features.
    pub features: Collected,
    /// ISO 639-1, or `und`.
    pub language: &'static str,
}

impl Request {
    /// Reads a request.
    pub fn of(call: &Call) -> Self {
        let reading = canonical::reading(call);
        Self {
            features: Collected::plain(call, &reading),
            language: language::language(main_excerpt(&reading)),
        }
    }
}

/// The features of each.
pub fn requests() -> Vec<Request> {
    ROWS.iter()
        .flat_map(|(file, step)| file.lines().step_by(*step))
        // A test reads every row, so none is lost here.
        .filter_map(|line| rows::parse(line).ok())
        .map(|row| Request::of(&row.call()))
        .collect()
}
