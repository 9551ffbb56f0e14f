//! Which language a prompt is in: by script, else by its commonest words.

use super::excerpt::Excerpt;

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
    let mut scores = [0_u32; LATIN.len()];
    let words = text
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty());
    for word in words.take(WORDS_READ) {
        for (score, bit) in scores.iter_mut().zip(0..) {
            *score += u32::from(stop_word(word) >> bit & 1);
        }
    }
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

/// A bit for each of [`LATIN`] in which this (folded) word is among the commonest.
fn stop_word(word: &str) -> u8 {
    const EN: u8 = 1;
    const ES: u8 = 1 << 1;
    const FR: u8 = 1 << 2;
    const DE: u8 = 1 << 3;
    const PT: u8 = 1 << 4;
    const IT: u8 = 1 << 5;
    const NL: u8 = 1 << 6;
    match word {
        "the" | "of" | "and" | "to" | "is" | "are" | "you" | "what" | "how" | "with" | "this"
        | "that" | "write" | "it" | "i" | "my" | "your" | "for" | "if" | "by" | "from"
        | "which" | "given" | "hello" | "please" | "give" | "do" | "who" | "can" => EN,
        "el" | "los" | "las" | "una" | "y" | "del" | "por" | "es" | "con" | "como" | "cual"
        | "hola" | "texto" | "quien" | "donde" | "cuando" | "sobre" | "escribe" | "dime" | "al"
        | "mi" | "siguiente" => {
            if word == "por" || word == "como" || word == "texto" || word == "sobre" {
                ES | PT
            } else {
                ES
            }
        }
        "le" | "les" | "des" | "et" | "est" | "une" | "dans" | "pour" | "que" | "qui" | "au"
        | "ce" | "sur" | "bonjour" | "moi" | "quel" | "quelle" | "du" => {
            if word == "que" {
                FR | ES | PT
            } else {
                FR
            }
        }
        "der" | "die" | "das" | "und" | "ist" | "ein" | "eine" | "den" | "nicht" | "mit"
        | "fur" | "auf" | "wie" | "ich" | "du " | "zu" | "von" | "hallo" | "bitte" | "im" => DE,
        "os" | "um" | "uma" | "do " | "da" | "em" | "para" | "nao" | "voce" | "ola" | "com"
        | "sao" | "qual" | "dos" => {
            if word == "para" {
                PT | ES
            } else {
                PT
            }
        }
        "il" | "gli" | "che" | "di" | "per" | "e" | "sono" | "come" | "ciao" | "della"
        | "questo" | "nel" | "scrivi" => {
            if word == "e" {
                IT | PT
            } else {
                IT
            }
        }
        "het" | "een" | "van" | "niet" | "voor" | "met" | "zijn" | "ik" | "hoe" | "deze" => NL,
        "de" => ES | FR | PT | NL,
        "la" | "un" => ES | FR | IT,
        "en" => ES | FR | NL,
        "a" => EN | ES | PT | IT,
        "in" => EN | DE | IT | NL,
        _ => 0,
    }
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
