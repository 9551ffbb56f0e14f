//! Names for people of the features that weighed most.

use smallvec::SmallVec;

use crate::types::Signal;

use super::excerpt::Reading;
use super::features::{Group, Hit, Kind};
use super::model::Scored;
use super::structure::Shape;

/// Signals shown.
const SHOWN: usize = 4;
/// Looked at, since one word may be there as a word, a pair and a stem.
const CONSIDERED: usize = 12;
/// Longer texts are not shown.
const TEXT_BYTES: usize = 40;
/// A name with such a text.
const NAME_BYTES: usize = 64;

/// What moved a column most, each text once.
#[must_use]
pub fn signals(scored: &Scored<'_>, reading: &Reading, column: usize) -> SmallVec<[Signal; 4]> {
    let strongest = scored.strongest::<CONSIDERED>(column).into_iter();
    shown(
        strongest.map(|(found, weight)| (weight, found.hit, found.group)),
        reading,
    )
}

/// The first few of the features that weighed most, each name once with the sum of its weights.
pub fn shown(
    weighed: impl Iterator<Item = (f32, Hit, Group)>,
    reading: &Reading,
) -> SmallVec<[Signal; 4]> {
    let mut shown: SmallVec<[Signal; 4]> = SmallVec::new();
    let mut name = String::with_capacity(NAME_BYTES);
    for (weight, hit, group) in weighed.take(CONSIDERED) {
        name.clear();
        write_name(&hit, group, reading, &mut name);
        if let Some(signal) = shown.iter_mut().find(|signal| signal.name == name) {
            signal.weight += weight;
        } else if shown.len() < SHOWN {
            shown.push(Signal {
                name: name.clone(),
                weight,
            });
        }
    }
    shown
}

/// A feature in words: what was seen, and where.
fn write_name(hit: &Hit, group: Group, reading: &Reading, out: &mut String) {
    let shape = || {
        Shape::NAMES
            .get(usize::from(hit.start))
            .copied()
            .unwrap_or("shape")
    };
    match hit.kind {
        Kind::Shape => return out.push_str(shape()),
        Kind::Shapes => {
            out.push_str(shape());
            return out.push_str(" and another shape");
        }
        Kind::Length => return out.push_str(length_name(hit.start)),
        _ => {}
    }
    let (excerpt, place) = match group {
        Group::System => (&reading.system, "system "),
        Group::Earlier => (&reading.earlier, "earlier "),
        Group::Head => (&reading.asked, "opening "),
        Group::Tail => (&reading.asked, "closing "),
        _ => (&reading.asked, ""),
    };
    let (start, end) = (usize::from(hit.start), usize::from(hit.end));
    let text = excerpt.text.get(start..end).unwrap_or("");
    let text = &text[..text.floor_char_boundary(text.len().min(TEXT_BYTES))];
    let kind = match hit.kind {
        Kind::Pair => "2-gram",
        Kind::Triple => "3-gram",
        Kind::Place => "first word",
        _ => "word",
    };
    for piece in [place, kind, " `"] {
        out.push_str(piece);
    }
    for (at, line) in text.split(char::is_control).enumerate() {
        if at > 0 {
            out.push(' ');
        }
        out.push_str(line);
    }
    out.push('`');
}

const fn length_name(which: u16) -> &'static str {
    match which {
        0 => "length of what is asked",
        1 => "length of the material",
        2 => "length of the text",
        3 => "length of the system prompt",
        4 => "length of earlier turns",
        5 => "length and question mark",
        _ => "script",
    }
}
