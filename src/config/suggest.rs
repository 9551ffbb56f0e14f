//! What was probably meant: the nearest of the names that exist.

use std::fmt::Write as _;

/// Most names that are listed when none is near.
const LISTED: usize = 8;
/// Jaro-Winkler likeness from which a name counts as a misspelling; the value that clap uses.
const ALIKE: f64 = 0.7;
/// How much likelier the first must be than the second to be named alone.
const CLEARLY: f64 = 0.05;

/// "did you mean `x`?", or the names that exist when none is like it.
pub fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
    let names: Vec<&str> = names.into_iter().collect();
    match ranked(word, &names).as_slice() {
        [] if names.is_empty() => None,
        [] => Some(format!("allowed: {}", list(&names))),
        [(_, only)] => Some(format!("did you mean `{only}`?")),
        [(best, first), (next, _), ..] if best - next > CLEARLY => {
            Some(format!("did you mean `{first}`?"))
        }
        [(_, first), (_, second), ..] => Some(format!("did you mean `{first}` or `{second}`?")),
    }
}

/// The one name that was probably meant; `None` when there is none, or more than one.
pub fn only<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let names: Vec<&'n str> = names.into_iter().collect();
    match ranked(word, &names).as_slice() {
        [(_, only)] => Some(only),
        [(best, first), (next, _), ..] if best - next > CLEARLY => Some(first),
        _ => None,
    }
}

/// Names like the word, the likest first.
fn ranked<'n>(word: &str, names: &[&'n str]) -> Vec<(f64, &'n str)> {
    let mut alike: Vec<(f64, &str)> = names
        .iter()
        .map(|name| (likeness(word, name), *name))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    alike
}

/// Case and separators are the commonest slips, so they do not count.
fn likeness(word: &str, name: &str) -> f64 {
    let plain = |text: &str| {
        text.chars()
            .filter(|c| !matches!(c, '-' | '_' | '.' | ' '))
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    let (word, name) = (plain(word), plain(name));
    if !word.is_empty() && word == name {
        return 1.0;
    }
    strsim::jaro_winkler(&word, &name)
}

/// "`a`, `b` and 3 more".
pub fn list(names: &[&str]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().take(LISTED).enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // Writing into a String cannot fail.
        let _ = write!(text, "{separator}`{name}`");
    }
    if names.len() > LISTED {
        let _ = write!(text, " and {} more", names.len() - LISTED);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, names: &[&str], expect: &str) {
        assert_eq!(
            nearest(word, names.iter().copied()).as_deref(),
            Some(expect),
            "{word}"
        );
    }

    #[test]
    fn the_nearest_name_comes_first() {
        check(
            "gpt4o",
            &["gpt-4o", "claude-sonnet"],
            "did you mean `gpt-4o`?",
        );
        check(
            "modles",
            &["models", "matrix", "keys"],
            "did you mean `models`?",
        );
        check("zzz", &["a", "b"], "allowed: `a`, `b`");
    }
}
