//! `tollgate check`: every problem of a routing file, with its source line.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;

use super::{CheckArgs, CheckFormat, DEFAULT_CONFIG, EXIT_BAD_INPUT, EXIT_OK};
use crate::classify::configured::configured;
use crate::classify::custom::learning::TaskReport;
use crate::clock::Clock;
use crate::config::{Diagnostic, Severity, Snapshot, load_file};

/// Checks the file that the arguments name against this process's environment.
///
/// # Errors
/// When `out` cannot be written to.
pub fn run(args: &CheckArgs, colour: bool, out: &mut dyn Write) -> io::Result<u8> {
    let env = |name: &str| std::env::var(name).ok();
    run_with(args, &env, colour, out)
}

fn run_with(
    args: &CheckArgs,
    env: &dyn Fn(&str) -> Option<String>,
    colour: bool,
    out: &mut dyn Write,
) -> io::Result<u8> {
    let file = args.file.as_deref().or(args.config.as_deref());
    let file = file.unwrap_or(Path::new(DEFAULT_CONFIG));
    let loaded = load_file(file, env, Clock::system().unix_ms());
    let loaded = loaded.and_then(|snapshot| {
        let configured = configured(&snapshot.classifier).map_err(|errors| {
            let mut problems = snapshot.warnings.clone();
            problems.extend(errors);
            problems
        })?;
        Ok((snapshot, configured))
    });
    let mut problems = match &loaded {
        Ok((snapshot, configured)) => [&snapshot.warnings[..], &configured.warnings].concat(),
        Err(problems) => problems.clone(),
    };
    problems.sort_by_key(|problem| (problem.line, problem.column));
    let tasks = loaded
        .as_ref()
        .map_or(&[][..], |(_, configured)| &configured.tasks);
    if args.strict {
        for problem in &mut problems {
            problem.severity = Severity::Error;
        }
    }
    let errors = count(&problems, Severity::Error);
    match args.format {
        CheckFormat::Text => {
            write_problems(&problems, colour, out)?;
            write_tasks(tasks, out)?;
            let snapshot = loaded.as_ref().ok().map(|(snapshot, _)| snapshot);
            write_summary(file, snapshot, &problems, colour, out)?;
        }
        CheckFormat::Json => {
            let outcome = Outcome {
                file: file.display().to_string(),
                ok: errors == 0,
                errors,
                warnings: problems.len() - errors,
                problems: &problems,
                tasks,
            };
            serde_json::to_writer_pretty(&mut *out, &outcome)?;
            writeln!(out)?;
        }
    }
    Ok(if errors == 0 { EXIT_OK } else { EXIT_BAD_INPUT })
}

/// What `--format json` prints.
#[derive(Serialize)]
struct Outcome<'a> {
    file: String,
    ok: bool,
    errors: usize,
    warnings: usize,
    problems: &'a [Diagnostic],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tasks: &'a [TaskReport],
}

/// How well each of the file's own tasks is told from other requests.
fn write_tasks(tasks: &[TaskReport], out: &mut dyn Write) -> io::Result<()> {
    for report in tasks {
        writeln!(
            out,
            "task {}: {} of {} examples are recognised by the others; {:.1} % of other requests are \
             taken for it",
            report.task,
            report.recognised_when_left_out,
            report.examples,
            report.mistaken_share * 100.0
        )?;
    }
    Ok(())
}

fn count(problems: &[Diagnostic], severity: Severity) -> usize {
    problems
        .iter()
        .filter(|problem| problem.severity == severity)
        .count()
}

struct Style {
    red: &'static str,
    yellow: &'static str,
    blue: &'static str,
    bold: &'static str,
    off: &'static str,
}

const PLAIN: Style = Style {
    red: "",
    yellow: "",
    blue: "",
    bold: "",
    off: "",
};
const COLOURED: Style = Style {
    red: "\x1b[1;31m",
    yellow: "\x1b[1;33m",
    blue: "\x1b[1;34m",
    bold: "\x1b[1m",
    off: "\x1b[0m",
};

/// Writes problems as compilers do: message, place, source line with a marker, help.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write_problems(
    problems: &[Diagnostic],
    colour: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let style = if colour { COLOURED } else { PLAIN };
    for problem in problems {
        write_problem(problem, &style, out)?;
    }
    Ok(())
}

/// Shows problems on standard error, in colour on a terminal: for commands that cannot begin.
#[allow(clippy::print_stderr, reason = "the command line's own output")]
pub fn print_diagnostics(problems: &[Diagnostic]) {
    let mut stderr = io::stderr().lock();
    let colour = stderr.is_terminal();
    // Nobody is left to tell when standard error is closed.
    let _ = write_problems(problems, colour, &mut stderr);
}

fn write_problem(problem: &Diagnostic, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let Style {
        blue, bold, off, ..
    } = style;
    let (word, paint) = match problem.severity {
        Severity::Error => ("error", style.red),
        Severity::Warning => ("warning", style.yellow),
    };
    writeln!(out, "{paint}{word}{off}{bold}: {}{off}", problem.message)?;
    let number = problem.line.to_string();
    let gutter = " ".repeat(number.len());
    let Diagnostic {
        file,
        line,
        column,
        path,
        ..
    } = problem;
    let place = if path.is_empty() {
        String::new()
    } else {
        format!(" ({path})")
    };
    writeln!(out, "{gutter}{blue}-->{off} {file}:{line}:{column}{place}")?;
    if !problem.source_line.trim().is_empty() {
        let source = problem.source_line.replace('\t', " ");
        let before = usize::try_from(*column).unwrap_or(1).saturating_sub(1);
        let marker = "^".repeat(marked_width(&source, before));
        let space = " ".repeat(before);
        writeln!(out, "{gutter} {blue}|{off}")?;
        writeln!(out, "{blue}{number} |{off} {source}")?;
        writeln!(out, "{gutter} {blue}|{off} {space}{paint}{marker}{off}")?;
    }
    if let Some(suggestion) = &problem.suggestion {
        writeln!(out, "{gutter} {blue}={off} {bold}help{off}: {suggestion}")?;
    }
    writeln!(out)
}

/// How many characters the word or quoted text at this column has; at least 1.
fn marked_width(source: &str, before: usize) -> usize {
    let mut rest = source.chars().skip(before);
    let width = match rest.next() {
        Some(quote @ ('"' | '\'')) => match rest.position(|c| c == quote) {
            Some(inner) => inner + 2,
            None => 1,
        },
        Some('[' | '{' | '-') | None => 1,
        Some(_) => {
            1 + rest
                .take_while(|c| !matches!(c, ' ' | ',' | ']' | '}' | ':' | '#'))
                .count()
        }
    };
    width.max(1)
}

fn write_summary(
    file: &Path,
    snapshot: Option<&Snapshot>,
    problems: &[Diagnostic],
    colour: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let style = if colour { COLOURED } else { PLAIN };
    let (errors, warnings) = (
        count(problems, Severity::Error),
        count(problems, Severity::Warning),
    );
    let (bold, off) = (style.bold, style.off);
    write!(out, "{bold}{}{off}: ", file.display())?;
    match (errors, warnings) {
        (0, 0) => write!(out, "no problems")?,
        (0, _) => write!(out, "{}", plural(warnings, "warning"))?,
        (_, 0) => write!(out, "{}", plural(errors, "error"))?,
        _ => write!(
            out,
            "{}, {}",
            plural(errors, "error"),
            plural(warnings, "warning")
        )?,
    }
    if let Some(snapshot) = snapshot {
        let on = snapshot
            .providers
            .iter()
            .filter(|provider| provider.enabled)
            .count();
        write!(
            out,
            " · version {} · {}, {on} of {} switched on · {} in the matrix",
            snapshot.version,
            plural(snapshot.models.len(), "model"),
            plural(snapshot.providers.len(), "provider"),
            plural(snapshot.matrix.rows.len() + 1, "row"),
        )?;
    }
    writeln!(out)
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "version: 1
providers: { p: { base_url: http://127.0.0.1:1/v1 } }
models: { m: { provider: p, price: 0 } }
matrix: { default: { simple: [m] } }
";

    fn check(text: &str, strict: bool) -> (u8, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("r.yaml");
        std::fs::write(&file, text).expect("written");
        let args = CheckArgs {
            file: Some(file),
            config: None,
            format: CheckFormat::Text,
            strict,
        };
        let mut out = Vec::new();
        let code = run_with(&args, &|_| None, false, &mut out).expect("written");
        let text = String::from_utf8(out).expect("UTF-8");
        let name = directory.path().display().to_string();
        (code, text.replace(&format!("{name}/"), ""))
    }

    #[test]
    fn a_sound_file_exits_with_0() {
        let (code, text) = check(SMALL, true);
        assert_eq!(code, 0, "{text}");
        assert!(text.starts_with("r.yaml: no problems · version "), "{text}");
    }

    #[test]
    fn a_problem_is_shown_with_its_line_a_marker_and_help() {
        let (code, text) = check(&SMALL.replace("[m]", "[mm]"), false);
        assert_eq!(code, 2);
        let expect = "error: unknown model `mm`
 --> r.yaml:4:31 (matrix.default.simple[0])
  |
4 | matrix: { default: { simple: [mm] } }
  |                               ^^
  = help: did you mean `m`?

r.yaml: 1 error
";
        assert_eq!(text, expect);
    }

    #[test]
    fn warnings_alone_exit_with_0_unless_strict() {
        let text = SMALL.replace("/v1 }", "/v1, api_key: \"${UNSET}\" }");
        assert_eq!(check(&text, false).0, 0);
        assert_eq!(check(&text, true).0, 2);
    }

    #[test]
    fn own_tasks_are_reported_and_overlaps_warned_of() {
        let tasks = "tasks:
  refunds:
    examples: [where is my refund, i want a refund, refund my order please, no refund came, refund the lamp]
  returns:
    examples: [when is my refund here, i need a refund, refund this order please, the refund came not, refund the chair]
";
        let (code, text) = check(&format!("{SMALL}{tasks}"), false);
        assert_eq!(code, 0, "{text}");
        for part in [
            "warning: overlaps with `returns`: ",
            "warning: overlaps with `refunds`: ",
            "warning: 5 examples say little of how differently people ask",
            " --> r.yaml:7:5 (tasks.refunds)",
            "task refunds: ",
            " of 5 examples are recognised by the others; ",
        ] {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
        assert_eq!(check(&format!("{SMALL}{tasks}"), true).0, 2);
        let weights = "classifier: { model: no-such-weights.bin }\n";
        let (code, text) = check(&format!("{SMALL}{weights}"), false);
        assert_eq!(code, 2);
        assert!(text.contains("r.yaml:5:22 (classifier.model)"), "{text}");
    }

    #[test]
    fn a_missing_file_says_so() {
        let args = CheckArgs {
            file: Some("no-such-file.yaml".into()),
            config: None,
            format: CheckFormat::Json,
            strict: false,
        };
        let mut out = Vec::new();
        assert_eq!(
            run_with(&args, &|_| None, false, &mut out).expect("written"),
            2
        );
        let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(json["errors"], 1);
        assert_eq!(json["problems"][0]["severity"], "error");
    }
}
