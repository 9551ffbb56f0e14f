//! Words of several languages that ask for the same: what is learned of `summarize` in English then
//! holds of `resume` and `zusammenfassen`. An entry that ends in `*` is the beginning of a word.
//! Texts are folded (lower case, without western accents) before they get here.
//!
//! The order of the rows is part of the weights' format: append, never insert.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::scan;
use super::words::{hash_bytes, mix};

/// One row for each thing that can be asked for.
const CONCEPTS: [&str; 72] = [
    "summar* resum* zusammenf* riassu* sintetiz* sintesi tldr synopsis condens* recap*",
    "translat* tradu* ubersetz* traduz* traduis traduire",
    "write escrib* escrev* ecris* ecrire schreib* scriv* redact* redige* redig* compose compon* draft verfass*",
    "rewrit* reescrib* reescrev* reecri* reformul* umschreib* riscriv* rephras* reword* paraphras* parafras*",
    "correct* corrig* korrigi* proofread* corregg* ortograf*",
    "extract* extrae* extraer extrai* extrah* estra* sac* pull",
    "classif* clasif* klassifi* categor* kategor* etiquet* etichet* label*",
    "sentiment* sentimient* stimmung* opinion",
    "explain* explic* expliq* erklar* spieg*",
    "describ* descri* beschreib* decri*",
    "solve resuelv* resolv* resou* lose risolv* berechn* calcul*",
    "how como comment wie",
    "what que was quoi cosa qual cual quel quelle quale",
    "why warum pourquoi perche porque",
    "who quien quem qui wer chi",
    "when cuando quando quand wann",
    "where donde onde ou wo dove",
    "which welche* welcher",
    "many much cuant* quant* combien wieviel wieviele",
    "idea ideas idee ideen ideias brainstorm* lluvia",
    "suggest* sugier* suger* proponer propon* vorschlag* vorschlag proposit*",
    "recommend* recomiend* recomend* empfehl* conseill* consigli*",
    "plan planea planifi* plane planen organiz* organis* itiner*",
    "list lista liste elenc* enumer*",
    "name nombre nombres nomes noms namen nome nomi eslogan slogan*",
    "pretend* finge fingi* imagin* stell vorstell*",
    "act actua aja agis* spiel* interpret* compor* comporta*",
    "role rol papel rolle ruolo personaj* character personag*",
    "story cuento historia relato histoire geschichte storia conto racconto",
    "poem poema poeme gedicht poesia verso versos haiku soneto sonnet",
    "song cancion canzone chanson lied musica letra lyrics",
    "letter carta lettre brief lettera",
    "email e-mail correo mail courriel mensaje message nachricht messaggio mensagem",
    "essay ensayo ensaio essai aufsatz saggio redaccion redacao dissertation",
    "article articulo artigo artikel articolo blog post",
    "function funcion funcao fonction funktion funzione",
    "program programa programm programme programma script codigo code codice",
    "bug error errores fehler erreur errore fallo falla falha",
    "fix arregl* arrum* repar* beheb* corrige",
    "refactor* refactoriz* optimi* simplif* vereinfach* semplific*",
    "convert* convierte convert* umwandel* transform* pasa",
    "review* revis* prufe uberpruf* verifi* comprueb*",
    "question pregunta pergunta frage domanda",
    "answer* respond* respuesta repond* antwort* rispond*",
    "according segun acuerdo selon laut secondo",
    "text texto texte testo passage passag* parrafo paragraf* absatz",
    "sentence frase oracion phrase satz frasi",
    "table tabla tabela tableau tabelle tabella csv",
    "data datos dados donnees daten dati dataset",
    "average media promedio moyenne durchschnitt mediana median",
    "hello hi hey hola ola bonjour salut hallo ciao buenas buenos buongiorno",
    "thanks thank gracias obrigad* merci danke grazie",
    "bye adios tchau chao tschuss arrivederci revoir",
    "you tu te usted voce toi vous du sie lei",
    "are eres es estas bist sei",
    "short corto corta breve curto court kurz concis* shorter",
    "formal formell formel profesional professional professionnel*",
    "difference diferencia diferenca unterschied differenz*",
    "should deberia deberi* devo dois soll sollte dovrei conviene",
    "advice consejo consejos conselho conseil rat consiglio tips",
    "best mejor mejores melhor meilleur* beste besten migliore",
    "equation ecuacion equacao gleichung equazione",
    "language idioma lengua lingua langue sprache",
    "recipe receta receita recette rezept ricetta",
    "speech discurso discours rede discorso",
    "keywords palabras-clave schlusselworter claves",
    "dialogue dialogo dialog guion script",
    "improve mejor* melhor* amelior* verbesser* miglior*",
    "analyze analyse analiz* analis* analys* analizz*",
    "compare compar* vergleich*",
    "game juego jogo jeu spiel gioco jugar juguemos",
    "days dias jours tage giorni semana week",
];

/// What requests are about and the small words between, English and Spanish, one thing a line: three
/// thousand English rows teach what `price` beside `calculate` means, and `precio` then means it too.
const SENSES: &str = include_str!("senses.txt");

/// The shortest beginning that an entry may name, and the longest that is tried, bytes.
const PREFIXES: std::ops::RangeInclusive<usize> = 3..=9;

struct Table {
    words: FxHashMap<u64, u16>,
    beginnings: FxHashMap<u64, u16>,
    /// A bit for what some entry begins with: most words are in no map, and this says so at once.
    openings: [u64; OPENINGS / 64],
}

/// Bits for the first three letters.
const OPENINGS: usize = 16_384;

/// Which bit stands for the first three letters.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "fourteen bits are left")]
fn opening(word: &[u8]) -> usize {
    let letters = scan::number(&word[..word.len().min(3)]);
    (letters.wrapping_mul(SPREAD) >> 50) as usize
}

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table {
        words: FxHashMap::default(),
        beginnings: FxHashMap::default(),
        openings: [0; OPENINGS / 64],
    };
    for (row, number) in CONCEPTS.into_iter().chain(SENSES.lines()).zip(0_u16..) {
        for entry in row.split(' ') {
            let (map, text) = match entry.strip_suffix('*') {
                Some(beginning) => (&mut table.beginnings, beginning),
                None => (&mut table.words, entry),
            };
            let bit = opening(text.as_bytes());
            table.openings[bit / 64] |= 1 << (bit % 64);
            // The first row that names a word keeps it.
            map.entry(hash_bytes(text.as_bytes())).or_insert(number);
        }
    }
    table
});

/// What a folded word stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concept {
    /// The hash of it.
    pub key: u64,
    /// It can be asked for; else requests are about it.
    pub is_asked: bool,
}

/// What a folded word stands for, if anything.
#[must_use]
pub fn concept(word: &[u8], hash: u64) -> Option<Concept> {
    let table = &*TABLE;
    let bit = opening(word);
    if table.openings[bit / 64] >> (bit % 64) & 1 == 0 {
        return None;
    }
    let number = table.words.get(&hash).copied().or_else(|| {
        PREFIXES
            .rev()
            .filter(|length| *length <= word.len())
            .find_map(|length| table.beginnings.get(&hash_bytes(&word[..length])).copied())
    })?;
    Some(Concept {
        key: mix(0xc0_4ce7, u64::from(number)),
        is_asked: usize::from(number) < CONCEPTS.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(word: &str) -> Option<Concept> {
        concept(word.as_bytes(), hash_bytes(word.as_bytes()))
    }

    #[test]
    fn languages_share_what_they_ask_for() {
        assert_eq!(of("summarize"), of("resumen"));
        assert_eq!(of("translate"), of("traduce"));
        assert_eq!(of("ubersetze"), of("translation"));
        assert_ne!(of("translate"), of("summarize"));
        assert_eq!(of("price"), of("precios"));
        assert!(of("translate").is_some_and(|it| it.is_asked));
        assert!(of("price").is_some_and(|it| !it.is_asked));
        assert_eq!(of("xylophone"), None);
        assert_eq!(of("q"), None);
    }
}
