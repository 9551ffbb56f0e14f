//! `tollgate train`: labelled rows → a file of weights for the classifier. The same rows in the same
//! order give the same bytes, on any number of cores.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{EXIT_BAD_INPUT, EXIT_FAILED, EXIT_OK, complain};
use crate::classify::model::Model;
use crate::classify::training::recipe::Recipe;
use crate::classify::training::rows::{Row, load};
use crate::classify::training::train;
use crate::stores::Ledger;
use crate::types::RequestId;

/// `train`
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// A JSONL file of labelled rows; several in the order in which they are to be read
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Where the weights go; their data's hashes go beside them, as .json
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Leave out rows whose source begins so, to measure on them
    #[arg(long, value_name = "SOURCE")]
    pub without: Vec<String>,
    /// A ledger whose feedback says which of the rows (by their request's id) were answered well
    #[arg(long, value_name = "FILE")]
    pub from_ledger: Option<PathBuf>,
    /// One short pass: to see that rows can be trained on, not to ship
    #[arg(long)]
    pub fast: bool,
}

/// What stands beside the weights.
#[derive(Serialize)]
struct Manifest {
    version: u32,
    recipe: &'static str,
    rows: usize,
    data: Vec<DataFile>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    without: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights_sha256: Option<String>,
}

#[derive(Serialize)]
struct DataFile {
    file: String,
    rows: usize,
    sha256: String,
}

/// Trains.
///
/// # Errors
/// When `out` cannot be written to.
pub fn run(args: &Args, out: &mut dyn Write) -> io::Result<u8> {
    let (rows, data) = match read(args) {
        Ok(read) => read,
        Err(message) => return Ok(complain(&message, EXIT_BAD_INPUT)),
    };
    let mut manifest = Manifest {
        version: crate::classify::model::VERSION,
        recipe: if args.fast { "fast" } else { "full" },
        rows: rows.len(),
        data,
        without: args.without.clone(),
        weights_sha256: None,
    };
    let recipe = if args.fast {
        Recipe::fast()
    } else {
        Recipe::default()
    };
    let header = serde_json::to_string(&manifest)?;
    let bar = bar();
    let bytes = train(rows, &header, &recipe, &mut |what, share| {
        bar.set_message(what.to_owned());
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of 1"
        )]
        bar.set_position((share * 100.0) as u64);
    });
    bar.finish_and_clear();
    let features = match Model::parse(&bytes) {
        Ok(model) => model.features(),
        Err(error) => return Ok(complain(&error.to_string(), EXIT_FAILED)),
    };
    manifest.weights_sha256 = Some(sha256(&bytes));
    let beside = args.out.with_extension("json");
    let mut text = serde_json::to_string_pretty(&manifest)?;
    text.push('\n');
    for (path, bytes) in [(&args.out, bytes.as_slice()), (&beside, text.as_bytes())] {
        if let Err(error) = std::fs::write(path, bytes) {
            let message = format!("cannot write `{}`: {error}", path.display());
            return Ok(complain(&message, EXIT_FAILED));
        }
    }
    writeln!(
        out,
        "{} rows, {features} features, {} bytes, sha256 {}\n{}\n{}",
        manifest.rows,
        bytes.len(),
        manifest.weights_sha256.as_deref().unwrap_or_default(),
        args.out.display(),
        beside.display(),
    )?;
    Ok(EXIT_OK)
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(100);
    if io::stderr().is_terminal() {
        if let Ok(style) = ProgressStyle::with_template("{msg:12} {bar:40} {pos:>3} % {elapsed}") {
            bar.set_style(style);
        }
    } else {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}

fn read(args: &Args) -> Result<(Vec<Row>, Vec<DataFile>), String> {
    let mut rows = Vec::new();
    let mut data = Vec::new();
    for path in &args.data {
        let read = load(path).map_err(|error| error.to_string())?;
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        data.push(DataFile {
            file: name(path),
            rows: read.len(),
            sha256: sha256(&bytes),
        });
        rows.extend(read);
    }
    rows.retain(|row| {
        let source = row.source();
        !args
            .without
            .iter()
            .any(|without| source.starts_with(without))
    });
    if let Some(ledger) = &args.from_ledger {
        let learned = add_feedback(&mut rows, ledger)?;
        if learned == 0 {
            return Err(format!(
                "no row's `id` is the id of a request with feedback in `{}`",
                ledger.display()
            ));
        }
    }
    if rows.iter().all(|row| row.task.is_none()) {
        return Err("no row has a `task`: there is nothing to learn tasks from".to_owned());
    }
    Ok((rows, data))
}

/// Ledgers keep no prompts: the rows bring those, the ledger says how the answers were received.
/// Returns how many rows got an outcome.
fn add_feedback(rows: &mut [Row], path: &Path) -> Result<usize, String> {
    if !path.exists() {
        return Err(format!("cannot read `{}`: no such file", path.display()));
    }
    let ledger = Ledger::sqlite(path).map_err(|error| error.to_string())?;
    let mut learned = 0;
    for row in rows.iter_mut().filter(|row| !row.id.is_empty()) {
        let id = RequestId::from_text(&row.id);
        let feedback = ledger.feedback(&id).map_err(|error| error.to_string())?;
        if let Some(feedback) = feedback {
            #[allow(clippy::cast_possible_truncation, reason = "0..=1")]
            let reward = feedback.reward.clamp(0.0, 1.0) as f32;
            row.weak_correct = Some(reward);
            learned += 1;
        }
    }
    Ok(learned)
}

/// The file's own name: where it lies on this machine is nobody's business.
fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(directory: &Path) -> PathBuf {
        let path = directory.join("rows.jsonl");
        let lines: Vec<String> = (0..40)
            .map(|at| {
                let (text, task) = if at % 2 == 0 {
                    ("Translate this into French: good morning", "translation")
                } else {
                    ("Write a Python function that sorts a list", "code_generation")
                };
                format!("{{\"id\":\"r{at}\",\"text\":\"{text} {at}\",\"task\":\"{task}\",\"complexity\":0.3}}")
            })
            .collect();
        std::fs::write(&path, lines.join("\n")).expect("written");
        path
    }

    fn args(data: PathBuf, out: PathBuf) -> Args {
        Args {
            data: vec![data],
            out,
            without: Vec::new(),
            from_ledger: None,
            fast: true,
        }
    }

    #[test]
    fn the_same_rows_give_the_same_bytes() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = rows(directory.path());
        let train = |name: &str| {
            let path = directory.path().join(name);
            let code = run(&args(data.clone(), path.clone()), &mut Vec::new());
            assert_eq!(code.expect("writes"), EXIT_OK);
            assert!(path.with_extension("json").exists());
            std::fs::read(path).expect("readable")
        };
        assert_eq!(train("a.bin"), train("b.bin"));
    }

    #[test]
    fn rows_that_cannot_be_learned_from_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = rows(directory.path());
        let mut without = args(data, directory.path().join("m.bin"));
        without.without = vec!["own".to_owned()];
        let code = run(&without, &mut Vec::new()).expect("writes");
        assert_eq!(code, EXIT_BAD_INPUT);
    }
}
