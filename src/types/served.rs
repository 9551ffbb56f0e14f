//! Which model an upstream says it served, against the one that it was asked for.
//!
//! Providers answer with the dated name of what an undated name stands for today (`gpt-4o` →
//! `gpt-4o-2024-08-06`), with or without a path in front. That is the model that was asked for. Any
//! other name is another model, which may cost something else.

/// True when `answered` names the model that `asked` names: the same name, or one is the other with a
/// date or a version behind it.
#[must_use]
pub fn is_same_model(asked: &str, answered: &str) -> bool {
    let (asked, answered) = (last_segment(asked), last_segment(answered));
    if asked.eq_ignore_ascii_case(answered) {
        return true;
    }
    let (asked_stem, asked_version) = split_version(asked);
    let (answered_stem, answered_version) = split_version(answered);
    let undated = |version: &str| version.is_empty() || version.eq_ignore_ascii_case("latest");
    asked_stem.eq_ignore_ascii_case(answered_stem)
        && (undated(asked_version) || undated(answered_version))
}

/// `models/gemini-2.5-pro` and `openai/gpt-4o` without what stands in front.
fn last_segment(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// A name and the date or version at its end (empty when it has none).
fn split_version(name: &str) -> (&str, &str) {
    let mut stem = name;
    // A date is up to three parts (`2024-08-06`), and a version may follow it (`-v2:0`).
    for _ in 0..4 {
        let Some(at) = stem.rfind(['-', '@', ':']) else {
            break;
        };
        let part = &stem[at + 1..];
        // `05-20`: a lone pair of digits is part of a name, two pairs are a date.
        let pairs = is_pair(part)
            && stem[..at].rfind('-').is_some_and(|before| {
                is_pair(&stem[before + 1..at]) || is_year(&stem[before + 1..at])
            });
        let after_date = is_pair(part) && stem.len() < name.len();
        let build = part == "0" && stem.as_bytes()[at] == b':';
        if !(is_version(part) || pairs || after_date || build) {
            break;
        }
        stem = &stem[..at];
    }
    let version = name.get(stem.len() + 1..).unwrap_or_default();
    (stem, version)
}

fn digits(part: &str, count: usize) -> bool {
    part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_pair(part: &str) -> bool {
    digits(part, 2)
}

fn is_year(part: &str) -> bool {
    digits(part, 4) && part.starts_with("20")
}

/// `20241022`, `241022`, `2411`, `0613`, `001`, `v2`, `latest`.
fn is_version(part: &str) -> bool {
    let revision = |part: &str| {
        part.len() >= 2
            && part.starts_with(['v', 'V'])
            && part[1..].bytes().all(|byte| byte.is_ascii_digit())
    };
    digits(part, 8)
        || digits(part, 6)
        || digits(part, 4)
        || (digits(part, 3) && part.starts_with('0'))
        || revision(part)
        || part.eq_ignore_ascii_case("latest")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: &str, answered: &str, same: bool) {
        assert_eq!(is_same_model(asked, answered), same, "{asked} {answered}");
        assert_eq!(is_same_model(answered, asked), same, "{answered} {asked}");
    }

    #[test]
    fn a_dated_name_is_the_model_that_was_asked_for() {
        check("gpt-4o", "gpt-4o", true);
        check("gpt-4o", "gpt-4o-2024-08-06", true);
        check("GPT-4o", "openai/gpt-4o-2024-08-06", true);
        check("gpt-4", "gpt-4-0613", true);
        check("claude-opus-4", "claude-opus-4-20250514", true);
        check(
            "claude-3-5-sonnet-latest",
            "claude-3-5-sonnet-20241022",
            true,
        );
        check("claude-3-5-sonnet", "claude-3-5-sonnet@20241022", true);
        check(
            "claude-3-5-sonnet",
            "anthropic.x/claude-3-5-sonnet-20241022-v2:0",
            true,
        );
        check("gemini-2.0-flash", "models/gemini-2.0-flash-001", true);
        check(
            "gemini-2.5-flash-preview",
            "gemini-2.5-flash-preview-05-20",
            true,
        );
        check("mistral-large", "mistral-large-2411", true);
    }

    #[test]
    fn another_name_is_another_model() {
        check("gpt-4o", "gpt-4o-mini", false);
        check("gpt-4o", "gpt-4o-mini-2024-07-18", false);
        check("gpt-4o-2024-05-13", "gpt-4o-2024-08-06", false);
        check("claude-3-5-sonnet", "claude-3-7-sonnet-20250219", false);
        check("llama-3-70b", "llama-3-8b", false);
        check("phi-10", "phi-12", false);
        check("gpt-4", "gpt-4-32k", false);
        check("gemini-2.5-pro", "gemini-2.5-flash", false);
        check("a", "", false);
    }
}
