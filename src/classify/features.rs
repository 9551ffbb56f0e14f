//! Reading → hashed features in a few groups: the words that open, those that close, all that is
//! asked, the material, the instructions of the system, what was said before, and shapes. The numbers
//! of kinds and groups are part of the weights' format.

use super::concepts::concept;
use super::excerpt::{Excerpt, Reading};
use super::measures;
use super::structure::Shape;
use super::words::{Class, Word, Words, hash_bytes, hash_number, mix};

/// Features that share a scale: each group's sum is divided by the root of its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Group {
    /// The opening words.
    Head,
    /// The closing words.
    Tail,
    /// Every word outside the material.
    Asked,
    /// Words of quotations, fences and middle paragraphs.
    Material,
    /// Letters of the opening.
    Letters,
    /// System and developer turns.
    System,
    /// Earlier user turns.
    Earlier,
    /// Shapes and lengths.
    Shapes,
    /// How the text is made: sizes, shares and counts, of which only difficulty is learned.
    Measures,
}

impl Group {
    /// How many there are.
    pub const COUNT: usize = 9;
    /// Every group, by number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Head,
        Self::Tail,
        Self::Asked,
        Self::Material,
        Self::Letters,
        Self::System,
        Self::Earlier,
        Self::Shapes,
        Self::Measures,
    ];
}

/// What kind of feature a hit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// One word.
    Word,
    /// Two words in a row.
    Pair,
    /// Three.
    Triple,
    /// One word and the kind of text around it.
    InContext,
    /// How a word begins.
    Stem,
    /// The words at the very beginning, with their place.
    Place,
    /// A few letters.
    Letters,
    /// A shape of the conversation.
    Shape,
    /// Two shapes together.
    Shapes,
    /// How long something is.
    Length,
    /// What a word asks for, in whichever language.
    Concept,
    /// A size, share or count, alone or with another.
    Measure,
}

/// One feature that fired.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    /// Its hash.
    pub key: u64,
    /// What it is.
    pub kind: Kind,
    /// Where its text begins in the excerpt (of words), or which shape.
    pub start: u16,
    /// Where it ends.
    pub end: u16,
}

/// Takes the features of a conversation, group by group.
pub trait Sink {
    /// The features that follow belong to this group.
    fn begin(&mut self, group: Group);
    /// A feature fired.
    fn hit(&mut self, hit: Hit);
    /// A word fired by what it means, which says nothing that the word itself did not say in its own
    /// language.
    #[inline]
    fn sense(&mut self, hit: Hit) {
        self.hit(hit);
    }
}

/// Passes everything on but measures and senses: texts of one make or about one thing need not ask for
/// the same.
pub struct Plain<'s, S>(pub &'s mut S);

impl<S: Sink> Sink for Plain<'_, S> {
    fn begin(&mut self, group: Group) {
        self.0.begin(group);
    }

    #[inline]
    fn hit(&mut self, hit: Hit) {
        if hit.kind != Kind::Measure {
            self.0.hit(hit);
        }
    }

    fn sense(&mut self, _: Hit) {}
}

/// Words of the opening.
const HEAD_WORDS: usize = 20;
/// Words of the closing.
const TAIL_WORDS: usize = 20;
/// Words whose place counts.
const PLACED_WORDS: usize = 3;
/// Bytes of the opening whose letters count.
const LETTER_BYTES: usize = 56;
/// Words of the material that are read.
const MATERIAL_WORDS: usize = 120;
/// Words of the system turns that are read.
const SYSTEM_WORDS: usize = 64;
/// Words of earlier turns that are read.
const EARLIER_WORDS: usize = 64;

/// Sends every feature of a conversation to the sink.
pub fn emit(reading: &Reading, shapes: &[Shape], sink: &mut impl Sink) {
    let words = Words::of(&reading.asked.text);
    let head = head(&words.all);
    let tail = tail(&words.all, head.len());
    let context = context(shapes, &words);
    sink.begin(Group::Head);
    window(&reading.asked.text, head, Group::Head, context, sink);
    for (place, word) in head.iter().take(PLACED_WORDS).enumerate() {
        let key = mix(mix(word.hash, 0x51), place as u64);
        sink.hit(of_word(key, Kind::Place, word));
    }
    sink.begin(Group::Tail);
    window(&reading.asked.text, tail, Group::Tail, context, sink);
    sink.begin(Group::Asked);
    bag(
        words.all.iter().filter(|word| !word.material),
        0xa1,
        true,
        sink,
    );
    sink.begin(Group::Material);
    let material = words.all.iter().filter(|word| word.material);
    bag(material.take(MATERIAL_WORDS), 0xa2, false, sink);
    sink.begin(Group::Letters);
    letters(&reading.asked.text, sink);
    sink.begin(Group::System);
    let system = Words::of(prefix(&reading.system.text, SYSTEM_WORDS * 8));
    let instructions = instructions(&reading.system.text, &system.all);
    window(&reading.system.text, instructions, Group::Head, 0, sink);
    bag(system.all.iter().take(SYSTEM_WORDS), 0xa3, true, sink);
    sink.begin(Group::Earlier);
    let earlier = Words::of(prefix(&reading.earlier.text, EARLIER_WORDS * 8));
    bag(earlier.all.iter().take(EARLIER_WORDS), 0xa4, true, sink);
    sink.begin(Group::Shapes);
    emit_shapes(reading, shapes, &words, sink);
    sink.begin(Group::Measures);
    measures::emit(&reading.asked.text, &words, sink);
}

fn prefix(text: &str, at_most: usize) -> &str {
    &text[..text.floor_char_boundary(at_most.min(text.len()))]
}

/// The opening: up to the first line break after a few words, or where a quotation begins.
fn head(words: &[Word]) -> &[Word] {
    let first = &words[..words.len().min(HEAD_WORDS)];
    let end = first
        .iter()
        .enumerate()
        .position(|(at, word)| at >= 3 && (word.class == Class::Break || word.material))
        .unwrap_or(first.len());
    &first[..end]
}

/// The closing: back to the last line break, without what the opening has.
fn tail(words: &[Word], head: usize) -> &[Word] {
    let from = words.len().saturating_sub(TAIL_WORDS).max(head);
    let last = &words[from..];
    let begin = last
        .iter()
        .enumerate()
        .rposition(|(at, word)| {
            at + 3 <= last.len() && (word.class == Class::Break || word.material)
        })
        .map_or(0, |at| at + 1);
    &last[begin..]
}

/// What the system asks for: its first sentence, or the second where the first says who the assistant
/// is. These words mean what they mean in an opening, so they share its features.
fn instructions<'w>(text: &str, words: &'w [Word]) -> &'w [Word] {
    const PERSONAS: [&str; 8] = [
        "you are", "you're", "eres ", "tu eres", "du bist", "sie sind", "tu es", "voce e",
    ];
    let ends = |word: &Word| {
        word.class == Class::Break || text.as_bytes().get(usize::from(word.start)) == Some(&b'.')
    };
    let mut from = 0;
    if PERSONAS
        .iter()
        .any(|persona| text.trim_start().starts_with(persona))
    {
        from = words.iter().position(ends).map_or(words.len(), |at| at + 1);
    }
    &words[from..words.len().min(from + HEAD_WORDS)]
}

/// What a word is asked about: a number for the kind of text around it.
fn context(shapes: &[Shape], words: &Words) -> u64 {
    let has = |shape: Shape| shapes.contains(&shape);
    let material = words.material > 12;
    if has(Shape::CodeFence) || has(Shape::CodeLines) || has(Shape::StackTrace) {
        1
    } else if has(Shape::Table) {
        2
    } else if material {
        3
    } else if has(Shape::Passage) {
        4
    } else if words.all.len() <= 12 {
        5
    } else {
        0
    }
}

const fn of_word(key: u64, kind: Kind, word: &Word) -> Hit {
    Hit {
        key,
        kind,
        start: word.start,
        end: word.end,
    }
}

/// Words, pairs, triples, words in context and stems of a window.
fn window(text: &str, words: &[Word], group: Group, context: u64, sink: &mut impl Sink) {
    let seed = mix(0x77, group as u64);
    let mut before = [seed, seed];
    let mut asked_before = seed;
    for (at, word) in words.iter().enumerate() {
        let single = mix(word.hash, seed);
        sink.hit(of_word(single, Kind::Word, word));
        let pair = mix(mix(before[1], word.hash), 0x22);
        let begin = |back: usize| words[at.saturating_sub(back)].start;
        sink.hit(Hit {
            key: pair,
            kind: Kind::Pair,
            start: begin(1),
            end: word.end,
        });
        let triple = mix(mix(mix(before[0], before[1]), word.hash), 0x33);
        sink.hit(Hit {
            key: triple,
            kind: Kind::Triple,
            start: begin(2),
            end: word.end,
        });
        if word.class == Class::Letters {
            sink.hit(of_word(mix(single, 0x44 + context), Kind::InContext, word));
            let piece = &text.as_bytes()[usize::from(word.start)..usize::from(word.end)];
            if let Some(found) = concept(piece, word.hash) {
                let mut fires = |key: u64| {
                    let hit = of_word(key, Kind::Concept, word);
                    if found.is_asked {
                        sink.hit(hit);
                    } else {
                        sink.sense(hit);
                    }
                };
                let key = mix(found.key, seed);
                fires(key);
                fires(mix(key, asked_before));
                if found.is_asked {
                    fires(mix(key, context));
                    asked_before = found.key;
                }
                if at < PLACED_WORDS {
                    fires(mix(key, 0x51));
                }
            }
            if piece.len() >= 5 {
                sink.hit(of_word(
                    mix(hash_bytes(&piece[..4]), seed ^ 0x55),
                    Kind::Stem,
                    word,
                ));
            }
            if piece.len() >= 7 {
                sink.hit(of_word(
                    mix(hash_bytes(&piece[..6]), seed ^ 0x56),
                    Kind::Stem,
                    word,
                ));
            }
        }
        before = [before[1], word.hash];
    }
}

/// Each word once, with the pairs if wanted.
fn bag<'w>(words: impl Iterator<Item = &'w Word>, seed: u64, pairs: bool, sink: &mut impl Sink) {
    let mut seen = Seen::default();
    let mut before: Option<&Word> = None;
    for word in words {
        let single = mix(word.hash, seed);
        if seen.first_time(single) {
            sink.hit(of_word(single, Kind::Word, word));
        }
        if let (true, Some(before)) = (pairs, before) {
            let key = mix(mix(before.hash, word.hash), seed ^ 0x22);
            if seen.first_time(key) {
                sink.hit(Hit {
                    key,
                    kind: Kind::Pair,
                    start: before.start,
                    end: word.end,
                });
            }
        }
        before = Some(word);
    }
}

/// Runs of three to five bytes at the beginning, word edges included.
fn letters(text: &str, sink: &mut impl Sink) {
    let bytes = &text.as_bytes()[..text.len().min(LETTER_BYTES)];
    // Room behind them, so that eight bytes can be read at each.
    let mut padded = [0; LETTER_BYTES + 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    for length in 3..=5_u16 {
        let count = (bytes.len() + 1).saturating_sub(usize::from(length));
        for (at, eight) in (0_u16..).zip(padded.array_windows::<8>().take(count)) {
            let hash = hash_number(u64::from_le_bytes(*eight), u32::from(length));
            sink.hit(Hit {
                key: mix(hash, 0x66),
                kind: Kind::Letters,
                start: at,
                end: at + 5,
            });
        }
    }
}

fn emit_shapes(reading: &Reading, shapes: &[Shape], words: &Words, sink: &mut impl Sink) {
    let mut shape = |key: u64, kind: Kind, which: usize| {
        sink.hit(Hit {
            key,
            kind,
            start: u16::try_from(which).unwrap_or(u16::MAX),
            end: 0,
        });
    };
    for (at, first) in shapes.iter().enumerate() {
        let number = *first as u64;
        shape(mix(0x71, number), Kind::Shape, *first as usize);
        for second in &shapes[at + 1..] {
            let both = mix(mix(0x72, number), *second as u64);
            shape(both, Kind::Shapes, *first as usize);
        }
    }
    let material = words.material;
    let asked = words.all.len() - material;
    let question = shapes.contains(&Shape::EndsAsQuestion);
    let lengths = [
        (0, magnitude(asked)),
        (1, magnitude(material)),
        (2, magnitude(reading.asked.whole_bytes / 4)),
        (3, magnitude(reading.system.whole_bytes / 16)),
        (4, magnitude(reading.earlier.whole_bytes / 16)),
        (5, magnitude(asked) * 2 + u64::from(question)),
        (6, script(&reading.asked)),
    ];
    for (which, bucket) in lengths {
        let key = mix(mix(0x73, which), bucket);
        shape(key, Kind::Length, usize::try_from(which).unwrap_or(0));
    }
}

/// A bucket for each half power of two.
fn magnitude(count: usize) -> u64 {
    let count = count as u64;
    if count <= 3 {
        return count;
    }
    let log = u64::from(count.ilog2());
    log * 2 + (count >> (log - 1) & 1)
}

fn script(excerpt: &Excerpt) -> u64 {
    let scripts = &excerpt.scripts;
    let counts = [
        scripts.latin,
        scripts.cyrillic + scripts.greek,
        scripts.han,
        scripts.kana,
        scripts.hangul,
        scripts.arabic + scripts.hebrew,
        scripts.indic,
    ];
    let most = counts.iter().copied().max().unwrap_or(0);
    if most == 0 {
        return 8 + u64::from(scripts.digits > 0);
    }
    counts
        .iter()
        .zip(0..)
        .find_map(|(&count, at)| (count == most).then_some(at))
        .unwrap_or(0)
}

/// Which features were seen: a small filter, so that a repeated word counts once (and a rare word may
/// not count at all).
struct Seen([u64; 128]);

impl Default for Seen {
    fn default() -> Self {
        Self([0; 128])
    }
}

impl Seen {
    #[allow(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
    fn first_time(&mut self, key: u64) -> bool {
        let slot = &mut self.0[(key >> 6) as usize % 128];
        let bit = 1 << (key % 64);
        let first = *slot & bit == 0;
        *slot |= bit;
        first
    }
}
