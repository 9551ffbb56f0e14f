//! Pins what the classifier reads: the same features with the same hashes, in the same order, of many
//! varied conversations. The weights were trained on them; whoever changes one of these numbers on
//! purpose raises [`model::VERSION`](super::model::VERSION) and trains again.

use std::hash::Hasher;

use super::excerpt::{Excerpt, Reading};
use super::features::{Group, Hit, Sink, emit};
use super::language::language;
use super::structure::shapes;
use super::tests_support::call_of;
use super::tokens::{asked_length, input_tokens};
use crate::types::{Call, Role};

/// Pieces of which conversations are put together: every class of character, mark and shape.
const PIECES: &[&str] = &[
    "Please write ",
    "a short, friendly note ",
    "to the team ",
    "don't ",
    "It's ",
    "l'été ",
    "naïve café ",
    "¿Cuál es la capital de Francia? ",
    "Escribe una función ",
    "résumé ",
    "Zusammenfassung, bitte: ",
    "über ",
    "Straße ",
    "ÀÉÎÕÜ ",
    "ÿ Ÿ ",
    "Übersetze ",
    "法国的首都是什么？",
    "東京タワー",
    "ひらがな",
    "서울은 ",
    "Какая столица ",
    "ελλάδα ",
    "مرحبا ",
    "שלום ",
    "नमस्ते ",
    "ไทย",
    "🎉🎉 ",
    "\u{fffd}",
    "\u{200b}",
    "İstanbul ",
    "```python\ndef f(x):\n    return x\n```\n",
    "```",
    "`x`",
    "\"",
    "“quoted” ",
    "‘s ",
    "«long ",
    "» ",
    "「",
    "」",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "  ",
    "\u{a0}",
    "\u{3000}",
    "\u{b}",
    "\u{c}",
    "1. first\n",
    "2) second\n",
    "- item\n",
    "* star\n",
    "• dot\n",
    "a) yes\n",
    "b) no\n",
    "(a) x (b) y ",
    "3.14 ",
    "1,000,000 ",
    "12345678901234567890123 ",
    "in 500 words ",
    "two paragraphs ",
    "tres párrafos ",
    "single sentence ",
    "10 ideas ",
    "x^2 + 3x = 0 ",
    "\\frac{1}{2} ",
    "$a$ = ",
    "√2 ≤ ",
    "{\"a\": 1} ",
    "[{ ",
    "a|b|c\n",
    "1,2,3\n",
    "4,5,6\n",
    "col\tcol\tcol\n",
    "sales.csv ",
    "data.xlsx ",
    "let x = 1;\n",
    "if (a == b) {\n",
    "import os\n",
    "    indented = True:\n",
    "}\n",
    "Traceback (most recent call last):\n",
    "\n    at main.rs\n",
    "TypeError: nope ",
    "error[E0382] ",
    "what ",
    "How ",
    "why ",
    "is it ",
    "? ",
    "？",
    "! ",
    "... ",
    "--- ",
    "== ",
    "You are a helpful assistant. ",
    "Du bist ",
    "eres un ",
    "translate ",
    "summarize ",
    "Rewrite ",
    "classify ",
    "extraordinarily ",
    "internationalization ",
    "i ",
    "a ",
    "the the the ",
    "and of to in is ",
    "; ",
    ": ",
    "/",
    "\\",
    "@user ",
    "#tag ",
    "%",
    "&",
    "~",
    "_under_score_ ",
    "O'Brien's ",
    "'quoted' ",
    "''",
    "é'a ",
    "x'1 ",
];

/// A generator that needs no crate and never changes.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        usize::try_from(self.0 >> 33).expect("31 bits") % below
    }

    fn text(&mut self, at_most: usize) -> String {
        let count = 1 + self.roll(at_most);
        // Some texts are of one kind, so that runs and repetitions occur as well.
        let (from, kinds) = match self.roll(3) {
            0 => (self.roll(PIECES.len() - 6), 6),
            _ => (0, PIECES.len()),
        };
        (0..count)
            .map(|_| PIECES[from + self.roll(kinds)])
            .collect()
    }

    fn conversation(&mut self) -> Vec<(Role, String)> {
        let length = [3, 12, 40, 160, 900][self.roll(5)];
        let mut turns = Vec::new();
        if self.roll(3) == 0 {
            turns.push((Role::System, self.text(30)));
        }
        for _ in 0..[0, 0, 0, 1, 4][self.roll(5)] {
            turns.push((Role::User, self.text(20)));
            turns.push((Role::Assistant, self.text(5)));
            turns.push((Role::Tool, self.text(20)));
        }
        turns.push((Role::User, self.text(length)));
        turns
    }
}

fn calls(count: usize) -> impl Iterator<Item = Call> {
    let mut dice = Dice(7);
    (0..count).map(move |_| {
        let turns = dice.conversation();
        let turns: Vec<(Role, &str)> = turns
            .iter()
            .map(|(role, text)| (*role, text.as_str()))
            .collect();
        call_of(&turns)
    })
}

/// FNV-1a, which stays what it is.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

struct Digest(Fnv);

impl Sink for Digest {
    fn begin(&mut self, group: Group) {
        self.0.write_u8(group as u8);
    }

    fn hit(&mut self, hit: Hit) {
        self.0.write_u64(hit.key);
        self.0.write_u8(hit.kind as u8);
        self.0.write_u16(hit.start);
        self.0.write_u16(hit.end);
    }
}

fn add_excerpt(digest: &mut Fnv, excerpt: &Excerpt) {
    digest.write(excerpt.text.as_bytes());
    for count in [excerpt.raw_bytes, excerpt.plain_bytes, excerpt.whole_bytes] {
        digest.write_usize(count);
    }
    digest.write(format!("{:?}", excerpt.scripts).as_bytes());
    digest.write(language(excerpt).as_bytes());
    digest.write_u64(asked_length(&excerpt.text).unwrap_or(u64::MAX));
}

fn features_of(call: &Call) -> u64 {
    let reading = Reading::of(call);
    let shapes = shapes(call, &reading);
    let mut digest = Digest(Fnv::default());
    emit(&reading, &shapes, &mut digest);
    let mut digest = digest.0;
    for shape in shapes {
        digest.write_u8(shape as u8);
    }
    for excerpt in [
        &reading.asked,
        &reading.system,
        &reading.earlier,
        &reading.tool_results,
    ] {
        add_excerpt(&mut digest, excerpt);
    }
    let input = input_tokens(call, &reading);
    digest.write_u64(input.expected);
    digest.write_u64(input.bound);
    digest.finish()
}

#[test]
fn features_are_those_that_the_weights_were_trained_on() {
    let mut all = Fnv::default();
    for call in calls(600) {
        all.write_u64(features_of(&call));
    }
    assert_eq!(format!("{:016x}", all.finish()), "9ee4a42d4e1ae285");
}
