//! Which language a prompt is in: by script, else by its commonest words.

use std::sync::LazyLock;

use super::excerpt::Excerpt;
use super::scan;

/// Words read from the beginning.
const WORDS_READ: usize = 80;

/// Languages that are told apart by their words.
const LATIN: [&str; 7] = ["en", "es", "fr", "de", "pt", "it", "nl"];

/// ISO 639-1, or `und` when the text does not say.
#[must_use]
pub fn language(excerpt: &Excerpt) -> &'static str {
    let scripts = &excerpt.scripts;
    let by_script = [
        (
            scripts.han + scripts.kana,
            if scripts.kana * 5 > scripts.han {
                "ja"
            } else {
                "zh"
            },
        ),
        (scripts.hangul, "ko"),
        (scripts.cyrillic, "ru"),
        (scripts.arabic, "ar"),
        (scripts.hebrew, "he"),
        (scripts.greek, "el"),
    ];
    let latin = scripts.latin;
    for (count, code) in by_script {
        // A script other than Latin decides even beside code and names in Latin letters.
        if count > 0 && count * 3 >= latin {
            return code;
        }
    }
    if scripts.indic * 3 >= latin {
        return "und";
    }
    by_words(&excerpt.text)
}

fn by_words(text: &str) -> &'static str {
    // A byte for each of `LATIN`; no more words are read than a byte can count.
    let mut scores = 0;
    let mut count = 0;
    let mut at = 0;
    while at < text.len() && count < WORDS_READ {
        let bytes = text.as_bytes();
        if bytes[at].is_ascii() && !bytes[at].is_ascii_alphabetic() {
            at += 1;
            continue;
        }
        let end = letters_end(text, at);
        if end == at {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
            continue;
        }
        scores += languages_of(&bytes[at..end]);
        count += 1;
        at = end;
    }
    let scores = scores.to_le_bytes();
    let best = scores.iter().copied().max().unwrap_or(0);
    if best == 0 {
        return "und";
    }
    // The first of equals: English, as the commonest.
    scores
        .iter()
        .position(|&score| score == best)
        .map_or("und", |at| LATIN[at])
}

/// Where the letters that begin at `at` end.
fn letters_end(text: &str, mut at: usize) -> usize {
    loop {
        at += scan::letters(&text.as_bytes()[at..]);
        if text.as_bytes().get(at).is_none_or(u8::is_ascii) {
            return at;
        }
        match text[at..].chars().next() {
            Some(c) if c.is_alphabetic() => at += c.len_utf8(),
            _ => return at,
        }
    }
}

const EN: u64 = 1;
const ES: u64 = 1 << 8;
const FR: u64 = 1 << 16;
const DE: u64 = 1 << 24;
const PT: u64 = 1 << 32;
const IT: u64 = 1 << 40;
const NL: u64 = 1 << 48;

/// The commonest words, folded, of at most eight bytes, and whose they are.
const STOP_WORDS: &[(u64, &str)] = &[
    (
        EN,
        "the of and to is are you what how with this that write it i my your for if by from \
         which given hello please give do who can",
    ),
    (
        ES,
        "el los las una y del es con cual hola quien donde cuando escribe dime al mi",
    ),
    (ES | PT, "por como texto sobre"),
    (
        FR,
        "le les des et est une dans pour qui au ce sur bonjour moi quel quelle du",
    ),
    (FR | ES | PT, "que"),
    (
        DE,
        "der die das und ist ein eine den nicht mit fur auf wie ich zu von hallo bitte im",
    ),
    (PT, "os um uma da em nao voce ola com sao qual dos"),
    (PT | ES, "para"),
    (
        IT,
        "il gli che di per sono come ciao della questo nel scrivi",
    ),
    (IT | PT, "e"),
    (NL, "het een van niet voor met zijn ik hoe deze"),
    (ES | FR | PT | NL, "de"),
    (ES | FR | IT, "la un"),
    (ES | FR | NL, "en"),
    (EN | ES | PT | IT, "a"),
    (EN | DE | IT | NL, "in"),
];

/// Places in the table of stop words; three times as many as there are words.
const PLACES: usize = 512;

/// A byte for each of [`LATIN`]: 1 where this (folded) word is among the commonest.
fn languages_of(word: &[u8]) -> u64 {
    static TABLE: LazyLock<Box<[(u64, u64); PLACES]>> = LazyLock::new(|| {
        let mut table = Box::new([(0, 0); PLACES]);
        for (languages, words) in STOP_WORDS {
            for word in words.split(' ') {
                let key = scan::number(word.as_bytes());
                let mut place = place_of(key);
                while table[place].0 != 0 {
                    place = (place + 1) % PLACES;
                }
                table[place] = (key, *languages);
            }
        }
        table
    });
    if word.len() > 8 {
        return if word == b"siguiente" { ES } else { 0 };
    }
    let key = scan::number(word);
    let mut place = place_of(key);
    loop {
        let (known, languages) = TABLE[place];
        if known == key {
            return languages;
        }
        if known == 0 {
            return 0;
        }
        place = (place + 1) % PLACES;
    }
}

#[allow(clippy::cast_possible_truncation, reason = "nine bits are left")]
const fn place_of(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::tests_support::excerpt_of;

    fn check(text: &str, expect: &str) {
        assert_eq!(language(&excerpt_of(text)), expect, "{text}");
    }

    #[test]
    fn languages_are_told_by_script_and_words() {
        check("What is the capital of France?", "en");
        check("¿Cuál es la capital de Francia?", "es");
        check("Quelle est la capitale de la France ?", "fr");
        check("Was ist die Hauptstadt von Frankreich?", "de");
        check("Qual é a capital da França?", "pt");
        check("Scrivi un racconto che parla di un gatto", "it");
        check("法国的首都是什么？", "zh");
        check("フランスの首都はどこですか", "ja");
        check("Какая столица Франции?", "ru");
        check("프랑스의 수도는 어디인가요?", "ko");
        check("12345", "und");
        check("", "und");
    }
}
