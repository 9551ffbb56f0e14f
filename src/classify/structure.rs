//! Finds the structural features of a conversation. What they mean is learned.

use std::sync::LazyLock;

use memchr::memchr_iter;
use memchr::memmem::{self, Finder};

use crate::types::Call;

use super::excerpt::{Excerpt, Reading};
use super::marks::Marks;

macro_rules! shapes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A structural feature of the conversation. Their order is part of the weights' format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Shape {
            $($(#[$doc])* $variant,)*
        }

        impl Shape {
            /// The names among the signals, by number.
            pub const NAMES: [&'static str; [$($name,)*].len()] = [$($name,)*];
        }
    };
}

shapes! {
    /// A fenced code block.
    CodeFence = "code_fence",
    /// Lines that look like code without a fence.
    CodeLines = "code_lines",
    /// Inline code in back-ticks.
    InlineCode = "inline_code",
    /// A stack trace or a compiler's error.
    StackTrace = "stack_trace",
    /// A table: CSV, Markdown or HTML rows.
    Table = "table",
    /// JSON in the text.
    Json = "json",
    /// TeX or many operators and digits.
    MathSymbols = "math_symbols",
    /// Answer options `(A) … (B) …`.
    Options = "answer_options",
    /// Begins with a question word.
    StartsAsQuestion = "question_word",
    /// A question mark at the end.
    EndsAsQuestion = "question_mark",
    /// A short instruction or question with a long passage.
    Passage = "passage",
    /// A question mark somewhere and a long passage.
    QuestionAndPassage = "question_and_passage",
    /// Too long for small talk.
    MoreThanAGreeting = "more_than_a_greeting",
    /// A few words only.
    VeryShort = "very_short",
    /// A numbered or bulleted list of requirements.
    Requirements = "requirements",
    /// Several numbers in a short text.
    WordProblem = "word_problem",
    /// A file name of a data set.
    DataFile = "data_file",
    /// An image in the conversation.
    Image = "image",
    /// A tool result in the conversation.
    ToolResult = "tool_result",
    /// A tool result that reports an error.
    ToolError = "tool_error",
    /// More than one tool result that reports an error.
    RepeatedToolErrors = "repeated_tool_errors",
    /// Tools are offered.
    Tools = "tools",
    /// An answer bound to a JSON schema.
    JsonSchema = "json_schema",
    /// Many turns.
    LongConversation = "long_conversation",
    /// More than some 1,500 tokens of text.
    LongText = "long_text",
}

/// Texts longer than this carry material, not just an instruction.
const PASSAGE_BYTES: usize = 500;
/// Texts shorter than this are a greeting or a snap question.
const VERY_SHORT_BYTES: usize = 40;
/// Small talk is shorter than this.
const GREETING_BYTES: usize = 140;
/// Some 1,500 tokens.
const LONG_TEXT_BYTES: usize = 6_000;
/// Conversations with this many user turns have a history that matters.
const LONG_CONVERSATION_TURNS: usize = 6;

/// Every feature that the conversation has.
#[must_use]
pub fn shapes(call: &Call, reading: &Reading) -> smallvec::SmallVec<[Shape; 16]> {
    let asked = &reading.asked;
    let marks = asked.marks;
    let lines = Lines::of(&asked.text, marks);
    let question = Question::of(&asked.text, marks);
    let ticks = if marks.has(b'`') {
        memchr_iter(b'`', asked.text.as_bytes()).count()
    } else {
        0
    };
    let code_fence = ticks >= 3 && asked.text.contains("```");
    let code_lines = !code_fence && lines.code >= 3 && lines.code * 3 >= lines.all;
    let code = code_fence || code_lines;
    let passage = asked.whole_bytes >= PASSAGE_BYTES && !code && lines.table < 3;
    let digits = asked.scripts.digits;
    let letters = asked.scripts.latin.max(1);
    let tool_errors = error_marks(&reading.tool_results.text);
    let found = [
        (Shape::CodeFence, code_fence),
        (Shape::CodeLines, code_lines),
        (Shape::InlineCode, !code_fence && ticks >= 2),
        (Shape::StackTrace, has_stack_trace(&asked.text, marks)),
        (Shape::Table, lines.table >= 3),
        (Shape::Json, has_json(&asked.text, marks)),
        (Shape::MathSymbols, !code && has_math(asked, &lines)),
        (Shape::Options, has_options(&asked.text, marks)),
        (Shape::StartsAsQuestion, question.starts),
        (Shape::EndsAsQuestion, question.ends),
        (Shape::Passage, passage),
        (Shape::QuestionAndPassage, passage && question.anywhere),
        (
            Shape::MoreThanAGreeting,
            asked.whole_bytes >= GREETING_BYTES,
        ),
        (
            Shape::VeryShort,
            !asked.is_empty() && asked.whole_bytes < VERY_SHORT_BYTES,
        ),
        (Shape::Requirements, lines.items >= 3),
        (
            Shape::WordProblem,
            !code
                && lines.table < 3
                && question.anywhere
                && asked.whole_bytes < 700
                && count_numbers(&asked.text) >= 2
                && digits * 40 >= letters,
        ),
        (Shape::DataFile, has_data_file(&asked.text, marks)),
        (Shape::Image, reading.counts.images > 0),
        (Shape::ToolResult, reading.counts.tool_turns > 0),
        (Shape::ToolError, tool_errors > 0),
        (Shape::RepeatedToolErrors, tool_errors > 1),
        (Shape::Tools, call.tools > 0),
        (Shape::JsonSchema, call.needs.json_schema),
        (
            Shape::LongConversation,
            reading.counts.user_turns >= LONG_CONVERSATION_TURNS,
        ),
        (
            Shape::LongText,
            reading.counts.text_bytes >= LONG_TEXT_BYTES,
        ),
    ];
    found
        .into_iter()
        .filter_map(|(shape, is)| is.then_some(shape))
        .collect()
}

/// What the lines of a text look like.
#[derive(Debug, Default)]
struct Lines {
    all: usize,
    code: usize,
    table: usize,
    items: usize,
}

impl Lines {
    fn of(text: &str, marks: Marks) -> Self {
        let mut lines = Self::default();
        let separated = marks.any(b"|\t,");
        let mut previous_separators = (0, 0);
        for line in text.lines() {
            let indented = line.starts_with("  ") || line.starts_with('\t');
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            lines.all += 1;
            lines.code += usize::from(is_code_line(line, indented, marks));
            lines.items += usize::from(is_item(line));
            let separators = if separated { separators(line) } else { (0, 0) };
            let row = separators.0 >= 2 || (separators.1 >= 2 && previous_separators == separators);
            lines.table += usize::from(row && !line.ends_with([';', '{', '.']));
            previous_separators = separators;
        }
        lines
    }
}

/// Pipes (and tabs) and commas of a line.
fn separators(line: &str) -> (usize, usize) {
    let of = |wanted: u8| memchr_iter(wanted, line.as_bytes()).count();
    (of(b'|') + of(b'\t'), of(b','))
}

fn is_code_line(line: &str, indented: bool, marks: Marks) -> bool {
    const STARTS: &[&str] = &[
        "def ",
        "class ",
        "import ",
        "from ",
        "#include",
        "public ",
        "private ",
        "static ",
        "const ",
        "let ",
        "var ",
        "fn ",
        "func ",
        "function ",
        "return",
        "if (",
        "for (",
        "while (",
        "else",
        "}",
        "//",
        "#!",
        "print(",
        "console.",
        "select ",
        "insert ",
        "</",
        "@",
        "try:",
        "except",
        "package ",
        "using ",
        "struct ",
        "for ",
        "elif ",
        "while ",
    ];
    let last = line.as_bytes().last().copied().unwrap_or_default();
    let end = b";{}:)]".contains(&last);
    if b";{}".contains(&last) {
        return true;
    }
    let assigns = || {
        marks.has(b'=')
            && (line.contains(" = ")
                || line.contains("==")
                || line.contains("+=")
                || line.contains("=>"))
    };
    let calls = || marks.has(b'(') && marks.has(b')') && line.contains('(') && line.contains(')');
    let start = || STARTS.iter().any(|start| line.starts_with(start));
    if end || indented {
        return start() || assigns();
    }
    calls() && start()
}

fn is_item(line: &str) -> bool {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    match digits {
        0 => line.starts_with("- ") || line.starts_with("* ") || line.starts_with('•'),
        1 | 2 => line[digits..].starts_with(['.', ')']),
        _ => false,
    }
}

struct Question {
    starts: bool,
    ends: bool,
    anywhere: bool,
}

impl Question {
    fn of(text: &str, marks: Marks) -> Self {
        const WORDS: &[&str] = &[
            "what",
            "who",
            "whom",
            "whose",
            "when",
            "where",
            "why",
            "how",
            "which",
            "is ",
            "are ",
            "does",
            "do ",
            "did",
            "can ",
            "could",
            "should",
            "would",
            "will ",
            "was ",
            "were ",
            "has ",
            "in what",
            "in which",
            "que ",
            "quien",
            "cuando",
            "donde",
            "cual",
            "como",
            "por que",
            "cuanto",
            "cuanta",
            "en que",
            "qui ",
            "quand",
            "ou ",
            "pourquoi",
            "comment",
            "quel",
            "combien",
            "wer ",
            "was ",
            "wann",
            "wo ",
            "warum",
            "wie ",
            "welche",
            "quem",
            "quando",
            "onde",
            "qual",
            "chi ",
            "dove",
            "perche",
            "什么",
            "为什么",
            "как ",
            "что ",
            "кто ",
            "почему",
        ];
        let begin = text.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '¿');
        let marked = begin.starts_with('¿');
        let begin = begin.trim_start_matches('¿');
        let ends = text
            .trim_end_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'')
            .ends_with(['?', '？']);
        Self {
            starts: marked || WORDS.iter().any(|word| begin.starts_with(word)),
            ends,
            anywhere: ends || marks.has(b'?') || (marks.wide() && has_any(text, &["？", "¿"])),
        }
    }
}

fn has_any(text: &str, needles: &[&str]) -> bool {
    needles
        .iter()
        .any(|needle| memmem::find(text.as_bytes(), needle.as_bytes()).is_some())
}

/// What is looked for in every text, prepared once.
fn finders(needles: &[&'static str]) -> Box<[Finder<'static>]> {
    needles.iter().map(|needle| Finder::new(*needle)).collect()
}

fn has_stack_trace(text: &str, marks: Marks) -> bool {
    /// Of letters only: no mark tells whether to look for them.
    static WORDS: LazyLock<Box<[Finder<'static>]>> = LazyLock::new(|| {
        finders(&[
            "exception in thread",
            "panicked at",
            "segmentation fault",
            "syntaxerror",
            "nullpointerexception",
            "undefined reference",
        ])
    });
    let bytes = text.as_bytes();
    let at_a_line_begins = |at: usize| {
        let line = &bytes[at + 1..];
        line.starts_with(b"    at ") || line.starts_with(b"\tat ")
    };
    let error_ends_at = |at: usize| {
        bytes[..at].strip_suffix(b"error").is_some_and(|kind| {
            kind.ends_with(b"type")
                || kind.ends_with(b"value")
                || bytes[at + 1..].starts_with(b" expected")
        })
    };
    WORDS.iter().any(|finder| finder.find(bytes).is_some())
        || (marks.has(b'\n') && memchr_iter(b'\n', bytes).any(at_a_line_begins))
        || (marks.has(b':') && memchr_iter(b':', bytes).any(error_ends_at))
        || (marks.has(b'(') && has_any(text, &["traceback (most recent"]))
        || (marks.has(b'[') && has_any(text, &["error[e0"]))
}

fn has_json(text: &str, marks: Marks) -> bool {
    let bytes = text.as_bytes();
    let follows = |mark: u8, next: &[u8]| {
        marks.has(mark) && memchr_iter(mark, bytes).any(|at| bytes[at + 1..].starts_with(next))
    };
    follows(b'{', b"\"") || follows(b'"', b": ") || follows(b'[', b"{")
}

fn has_math(asked: &Excerpt, lines: &Lines) -> bool {
    let marks = asked.marks;
    let tex = ["\\frac", "\\sqrt", "\\[", "\\(", "\\cdot", "\\begin{"];
    let signs = ["√", "∫", "∑", "≤", "≥", "²", "×", "÷"];
    if (marks.has(b'\\') && has_any(&asked.text, &tex))
        || (marks.has(b'^') && has_any(&asked.text, &["^2", "^{", "x^"]))
        || (marks.wide() && has_any(&asked.text, &signs))
    {
        return true;
    }
    // TeX between dollars; elsewhere they are prices and variables.
    let formula = marks.has(b'$') && marks.any(b"\\=^+") && !marks.has(b';');
    if formula {
        let dollars = memchr_iter(b'$', asked.text.as_bytes()).count();
        if dollars >= 2 && dollars.is_multiple_of(2) {
            return true;
        }
    }
    let symbols = asked.scripts.symbols + asked.scripts.digits;
    lines.all <= 4 && symbols >= 6 && symbols * 3 >= asked.scripts.latin
}

fn has_options(text: &str, marks: Marks) -> bool {
    let bytes = text.as_bytes();
    // By letter: `\na)`, `\na.`, `\na:`; then `(a)`, `a)`, ` b)`.
    let mut lines = [0_u8; 2];
    if marks.has(b'\n') {
        for at in memchr_iter(b'\n', bytes) {
            let [letter @ (b'a' | b'b'), mark, ..] = bytes[at + 1..] else {
                continue;
            };
            let bit = [b')', b'.', b':'].iter().position(|&known| known == mark);
            lines[usize::from(letter - b'a')] |= bit.map_or(0, |bit| 1 << bit);
        }
    }
    let mut bracketed = [false; 2];
    let (mut first, mut second) = (false, false);
    if marks.has(b')') {
        for at in memchr_iter(b')', bytes) {
            let Some(&letter @ (b'a' | b'b')) = bytes[..at].last() else {
                continue;
            };
            let before = bytes[..at - 1].last();
            bracketed[usize::from(letter - b'a')] |= before == Some(&b'(');
            first |= letter == b'a';
            second |= letter == b'b' && before == Some(&b' ');
        }
    }
    lines[0] & lines[1] != 0 || bracketed == [true; 2] || (first && second)
}

fn count_numbers(text: &str) -> usize {
    let mut inside = false;
    let mut count = 0;
    for byte in text.bytes() {
        let digit = byte.is_ascii_digit();
        count += usize::from(digit && !inside);
        inside = digit || (inside && (byte == b'.' || byte == b','));
    }
    count
}

fn has_data_file(text: &str, marks: Marks) -> bool {
    const ENDINGS: [&[u8]; 4] = [b"csv", b"xlsx", b"parquet", b"tsv"];
    let bytes = text.as_bytes();
    marks.has(b'.')
        && memchr_iter(b'.', bytes).any(|at| {
            ENDINGS
                .iter()
                .any(|ending| bytes[at + 1..].starts_with(ending))
        })
}

/// How many signs of failure tool results hold.
fn error_marks(text: &str) -> usize {
    const MARKS: &[&str] = &[
        "error:",
        "\"error\"",
        "traceback",
        "exception",
        "failed",
        "not found",
        "permission denied",
        "exit code 1",
        "timed out",
        "panicked at",
    ];
    if text.is_empty() {
        return 0;
    }
    MARKS
        .iter()
        .map(|mark| {
            memmem::find_iter(text.as_bytes(), mark.as_bytes())
                .take(3)
                .count()
        })
        .sum()
}
