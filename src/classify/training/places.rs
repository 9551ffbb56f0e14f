//! Where the rows of public sources stand on the scale of complexity of the own rows.
//!
//! Judged by what schooling an answer takes (everyday 0.2, school 0.4, a degree 0.7, an expert 0.9),
//! not by any model's results: the sources' own scales do not agree with each other.

/// The beginning of a source's name, and its place; the first that fits counts.
const PLACES: [(&str, f32); 62] = [
    ("math_test_minus500", 0.6),
    ("mbpp", 0.4),
    ("svamp", 0.2),
    ("debugbench", 0.5),
    ("clinc_smalltalk", 0.06),
    ("chatterbot", 0.08),
    ("followbench", 0.5),
    ("dabench", 0.5),
    ("writingbench_len", 0.65),
    ("mconala_es", 0.4),
    ("agieval_aqua-rat", 0.5),
    ("agieval_logiqa-en", 0.55),
    ("agieval_lsat-ar", 0.65),
    ("bbh", 0.45),
    ("gpteacher_codegen", 0.45),
    ("gpteacher_roleplay", 0.35),
    ("dcrouter_mmlu", 0.6),
    ("dcrouter_gpqa", 0.95),
    ("dcrouter_math", 0.65),
    ("dcrouter_commonsense_qa", 0.15),
    ("dcrouter_openbook_qa", 0.25),
    ("dcrouter_arc_challenge", 0.3),
    ("dcrouter_trivia_qa", 0.25),
    ("dcrouter_natural_qa", 0.25),
    ("dcrouter_agentverse-logicgrid", 0.6),
    ("dcrouter_commongen", 0.25),
    ("dcrouter_mbpp", 0.4),
    ("routellm_mmlu/elementary", 0.25),
    ("routellm_mmlu/miscellaneous", 0.25),
    ("routellm_mmlu/high_school", 0.45),
    ("routellm_mmlu/college", 0.75),
    ("routellm_mmlu/professional", 0.85),
    ("routellm_mmlu/abstract_algebra", 0.85),
    ("routellm_mmlu/anatomy", 0.65),
    ("routellm_mmlu/astronomy", 0.6),
    ("routellm_mmlu/econometrics", 0.85),
    ("routellm_mmlu/machine_learning", 0.85),
    ("routellm_mmlu/medical_genetics", 0.75),
    ("routellm_mmlu/international_law", 0.7),
    ("routellm_mmlu/jurisprudence", 0.75),
    ("routellm_mmlu/philosophy", 0.65),
    ("routellm_mmlu/moral_disputes", 0.55),
    ("routellm_mmlu/human_aging", 0.4),
    ("routellm_mmlu/human_sexuality", 0.4),
    ("routellm_mmlu/sociology", 0.5),
    ("routellm_mmlu/management", 0.4),
    ("routellm_mmlu/public_relations", 0.45),
    ("routellm_mmlu/business_ethics", 0.5),
    ("routellm_mmlu/computer_security", 0.65),
    ("routellm_mmlu/", 0.5),
    ("frames_en/chat", 0.05),
    ("frames_en/facts", 0.3),
    ("frames_en/howto", 0.25),
    ("frames_en/advice", 0.3),
    ("frames_en/planning", 0.3),
    ("frames_en/recommendation", 0.2),
    ("frames_en/ideas", 0.25),
    ("frames_en/functional", 0.35),
    ("frames_en/creative", 0.35),
    ("frames_en/reword", 0.2),
    ("frames_en/into", 0.2),
    ("frames_en/label", 0.2),
];

/// The place of a source, if it has one.
#[must_use]
pub fn place_of(source: &str) -> Option<f32> {
    let found = PLACES.iter().find(|(prefix, _)| source.starts_with(prefix));
    found.map(|(_, place)| *place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_beginning_that_fits_counts() {
        assert_eq!(place_of("routellm_mmlu/college_physics"), Some(0.75));
        assert_eq!(place_of("routellm_mmlu/marketing"), Some(0.5));
        assert_eq!(place_of("someone's rows"), None);
    }
}
