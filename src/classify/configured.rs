//! The classifier that a file asks for: its weights and its own tasks. Made after the file was
//! compiled, since only this room knows what weights and examples are; every problem carries its place
//! in the file.

use super::Classifier;
use super::custom::learning::{Learned, Lesson, TaskReport, learn};
use super::model::Model;
use crate::config::snapshot::{ClassifierParams, TaskParams};
use crate::config::{Diagnostic, Severity};

/// Fewer examples say little of how differently people ask.
const GOOD_EXAMPLES: usize = 10;
/// Two tasks overlap when more than this share of one's examples is more like the other.
const OVERLAPPING_SHARE: f32 = 0.2;

/// A classifier with what there is to say about it.
#[derive(Debug)]
pub struct Configured {
    /// The classifier.
    pub classifier: Classifier,
    /// Warnings, each at its place in the file.
    pub warnings: Vec<Diagnostic>,
    /// How well each of the file's own tasks is told from others.
    pub tasks: Vec<TaskReport>,
}

/// The classifier of a file. Reads the file of weights; takes some tens of milliseconds where there
/// are tasks to learn.
///
/// # Errors
/// Why the file's weights cannot be used.
pub fn configured(params: &ClassifierParams) -> Result<Configured, Vec<Diagnostic>> {
    let classifier = weights(params).map_err(|problem| vec![problem])?;
    if params.tasks.is_empty() {
        return Ok(Configured {
            classifier,
            warnings: Vec::new(),
            tasks: Vec::new(),
        });
    }
    let lessons: Vec<Lesson<'_>> = params.tasks.iter().map(lesson).collect();
    let Learned { tasks, reports } = learn(&lessons);
    let judged = params.tasks.iter().zip(&reports);
    Ok(Configured {
        classifier: classifier.with_tasks(tasks),
        warnings: judged
            .flat_map(|(task, report)| warnings(task, report))
            .collect(),
        tasks: reports,
    })
}

fn weights(params: &ClassifierParams) -> Result<Classifier, Diagnostic> {
    let Some((path, place)) = &params.model else {
        return Ok(Classifier::builtin());
    };
    Model::load(path).map(Classifier::of).map_err(|error| {
        let hint =
            "name a file that `tollgate train` wrote, or leave it out for the built-in weights";
        place.problem(Severity::Error, error.to_string(), Some(hint.to_owned()))
    })
}

fn lesson(task: &TaskParams) -> Lesson<'_> {
    Lesson {
        name: &task.name,
        examples: task
            .examples
            .iter()
            .map(|(text, _)| text.as_str())
            .collect(),
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts are small")]
fn warnings(task: &TaskParams, report: &TaskReport) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut warn = |message: String, hint: &str| {
        let hint = Some(hint.to_owned());
        found.push(task.place.problem(Severity::Warning, message, hint));
    };
    let (examples, recognised) = (report.examples, report.recognised_when_left_out);
    if examples < GOOD_EXAMPLES {
        warn(
            format!("{examples} examples say little of how differently people ask"),
            "give ten or more, each as another person would write it",
        );
    }
    if recognised * 5 < examples {
        warn(
            format!(
                "{recognised} of {examples} examples are recognised by the others: the task will \
                 seldom be seen"
            ),
            "add examples that share words with each other, or split the task in two",
        );
    }
    for (other, taken) in &report.taken_for {
        if *taken as f32 > OVERLAPPING_SHARE * examples as f32 {
            warn(
                format!(
                    "overlaps with `{other}`: {taken} of {examples} examples are more like that"
                ),
                "make one task of the two, or give examples that only fit one",
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::{Place, load};

    fn params(path: &Path) -> ClassifierParams {
        let file = load(
            crate::classify::tests_support::FILE,
            "routes.yaml",
            &|_| None,
            0,
        );
        let mut params = file.expect("sound").classifier;
        let place = Place {
            file: "routes.yaml".to_owned(),
            line: 3,
            column: 9,
            path: "classifier.model".to_owned(),
            source_line: String::new(),
        };
        params.model = Some((path.to_owned(), place));
        params
    }

    /// What is said about a file with these bytes; nothing when it is taken.
    fn check(bytes: Option<&[u8]>, expect: &str) {
        let directory = tempfile::tempdir().expect("a directory");
        let path: PathBuf = directory.path().join("my.bin");
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).expect("written");
        }
        let said = match configured(&params(&path)) {
            Ok(_) => String::new(),
            Err(problems) => problems[0].to_string(),
        };
        assert_eq!(said.is_empty(), expect.is_empty(), "{said}");
        assert!(said.contains(expect), "{said}");
        if !expect.is_empty() {
            assert!(
                said.starts_with("routes.yaml:3:9: classifier.model: "),
                "{said}"
            );
        }
    }

    #[test]
    fn weights_that_cannot_be_used_say_why_and_where() {
        let sound = include_bytes!("../../models/tollgate-classifier.bin");
        check(Some(sound), "");
        check(None, "cannot read the classifier's weights");
        check(Some(b""), "does not begin with `TGCL`");
        check(Some(b"\x93NUMPY"), "does not begin with `TGCL`");
        check(Some(&sound[..6]), "end too early: 6 bytes");
        check(Some(&sound[..sound.len() / 2]), "end too early");
        check(Some(&sound[..sound.len() - 1]), "end too early");
        check(Some(&vec![0; (8 << 20) + 1]), "a file of 8388609 bytes");
        let mut changed = sound.to_vec();
        changed[4] = 3;
        check(
            Some(&changed),
            "weights of version 3, this program reads version 2",
        );
        let mut changed = sound.to_vec();
        changed[3_000_000] ^= 4;
        check(Some(&changed), "the checksum does not match");
        let directory = tempfile::tempdir().expect("a directory");
        let said = configured(&params(directory.path())).expect_err("a directory");
        assert!(said[0].message.contains("it is not a file"), "{said:?}");
    }
}
