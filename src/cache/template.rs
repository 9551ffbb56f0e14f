//! Canned answers: a pattern with `{name}` captures over the last user turn, and an answer that may
//! use them. Costs nothing and calls nobody.

use crate::config::snapshot::Template;

/// A template that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    /// The answer with its captures filled in.
    pub answer: String,
}

/// The first template whose pattern covers the whole text, case-folded and trimmed.
pub fn expand(templates: &[Template], text: &str) -> Option<Expanded> {
    let text = text.trim();
    templates.iter().find_map(|template| {
        let captures = captures(&template.pattern, text)?;
        let mut answer = template.answer.clone();
        for (name, value) in captures {
            answer = answer.replace(&format!("{{{name}}}"), value);
        }
        Some(Expanded { answer })
    })
}

/// Matches literal pieces in order; what lies between them is captured. Captures are never empty.
fn captures<'p, 't>(pattern: &'p str, text: &'t str) -> Option<Vec<(&'p str, &'t str)>> {
    let mut found = Vec::new();
    let mut pending: Option<&str> = None;
    let (mut pattern, mut text) = (pattern.trim(), text);
    loop {
        let (literal, rest) = pattern.split_once('{').unwrap_or((pattern, ""));
        match pending.take() {
            None => text = strip_prefix_folded(text, literal)?,
            Some(name) if literal.is_empty() && rest.is_empty() => {
                found.push((name, text));
                return (!text.is_empty()).then_some(found);
            }
            Some(name) => {
                let last = rest.is_empty();
                let at = find_folded(text, literal, last)?;
                if at == 0 {
                    return None;
                }
                found.push((name, &text[..at]));
                text = strip_prefix_folded(&text[at..], literal)?;
            }
        }
        if rest.is_empty() {
            return text.is_empty().then_some(found);
        }
        let (name, after) = rest.split_once('}')?;
        pending = Some(name);
        pattern = after;
    }
}

fn strip_prefix_folded<'t>(text: &'t str, literal: &str) -> Option<&'t str> {
    let head = text.get(..literal.len())?;
    head.eq_ignore_ascii_case(literal)
        .then(|| &text[literal.len()..])
}

/// Where `literal` stands in `text`; the last place when nothing follows it.
fn find_folded(text: &str, literal: &str, last: bool) -> Option<usize> {
    let mut places = text.char_indices().map(|(at, _)| at).filter(|&at| {
        text[at..]
            .get(..literal.len())
            .is_some_and(|piece| piece.eq_ignore_ascii_case(literal))
    });
    if last {
        places.next_back()
    } else {
        places.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expect: Option<&str>) {
        let template = Template {
            pattern: pattern.to_owned(),
            answer: "<{a}|{b}>".to_owned(),
        };
        let answer = expand(&[template], text).map(|expanded| expanded.answer);
        assert_eq!(answer.as_deref(), expect, "{pattern} against {text}");
    }

    #[test]
    fn a_pattern_covers_the_whole_text_or_does_not_match() {
        check("hello", " Hello ", Some("<{a}|{b}>"));
        check("hello", "hello there", None);
        check("hi {a}", "Hi Ana", Some("<Ana|{b}>"));
        check("{a} to {b}?", "EUR to USD?", Some("<EUR|USD>"));
        check("{a} to {b}?", "to USD?", None);
        check(
            "where is {a}?",
            "where is my order?",
            Some("<my order|{b}>"),
        );
        check("where is {a}?", "where is ?", None);
    }
}
