//! Rows with something around the request that is not part of it: stray words, or prose about something
//! else. They have the labels of the row that they were made of, so that the weights learn to leave such
//! things alone. What is put around a row comes from other own rows.

use super::fit::Random;
use super::recipe::Recipe;
use super::rows::Row;

/// Sentences that are put around requests are this long, bytes.
const SENTENCE_BYTES: std::ops::RangeInclusive<usize> = 40..=180;

/// The rows, and after them some again with padding.
#[must_use]
pub fn with_padding(mut rows: Vec<Row>, recipe: &Recipe) -> Vec<Row> {
    if recipe.padded_every == 0 {
        return rows;
    }
    let own = |row: &&Row| row.source.is_none() && row.made_of.is_none();
    let texts: Vec<&str> = rows
        .iter()
        .filter(own)
        .map(|row| row.text.as_str())
        .collect();
    let sentences: Vec<&str> = texts
        .iter()
        .flat_map(|text| later_sentences(text))
        .collect();
    let words: Vec<&str> = texts
        .iter()
        .flat_map(|text| text.split_whitespace().take(40))
        .filter(|word| word.len() > 1 && word.chars().all(char::is_alphabetic))
        .collect();
    if sentences.is_empty() || words.is_empty() {
        return rows;
    }
    let mut made = Vec::new();
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| own(row)) {
        if at % recipe.padded_every == 0 && !row.text.is_empty() {
            made.push(padded(at, row, &sentences, &words));
        }
    }
    rows.extend(made);
    rows
}

/// Sentences after the first, which asks; questions ask as well.
fn later_sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['.', '\n'])
        .skip(1)
        .map(str::trim)
        .filter(|sentence| {
            SENTENCE_BYTES.contains(&sentence.len())
                && sentence.ends_with('.')
                && !sentence.contains(['?', '¿', '{', '}', ';', '=', '|', '<'])
        })
}

fn padded(at: usize, row: &Row, sentences: &[&str], words: &[&str]) -> Row {
    let mut random = Random(0x9ad ^ at as u64);
    let mut some = |from: &[&str], count: usize| -> String {
        let picked: Vec<&str> = (0..count)
            .map(|_| from[below(&mut random, from.len())])
            .collect();
        picked.join(" ")
    };
    let text = &row.text;
    let text = match at / 2 % 5 {
        0 => format!("{} {text}", some(words, 10)),
        1 => format!("{text} {}", some(words, 12)),
        2 => format!("{}\n\n{text}", some(sentences, 2)),
        _ => format!("{text}\n\n{}", some(sentences, 3)),
    };
    Row {
        id: format!("{}-padded", row.id),
        text,
        output_tokens: None,
        made_of: Some(at),
        padded: true,
        ..row.clone()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "below the length")]
fn below(random: &mut Random, length: usize) -> usize {
    (random.next() % length as u64) as usize
}
