//! Labelled rows: reading JSONL, and turning a row into the call that a client would have sent, so that
//! training reads texts exactly as serving does.

use std::io::BufRead;
use std::path::Path;

use bytes::Bytes;
use serde::Deserialize;
use smallvec::smallvec;
use thiserror::Error;

use crate::types::{
    Call, Directives, Endpoint, Needs, Part, Role, Span, StreamRequest, Tally, Turn,
};

use super::super::task::Task;

/// One row. Every label may be absent; a row serves the heads that it has labels for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Row {
    /// Names it in messages.
    pub id: String,
    /// Where it comes from; rows without a source are the user's own.
    pub source: Option<String>,
    /// The last user turn.
    pub text: String,
    /// The system prompt.
    pub system: Option<String>,
    /// Earlier turns, oldest first.
    pub turns: Vec<EarlierTurn>,
    /// The task's name.
    pub task: Option<String>,
    /// How hard, 0..=1.
    pub complexity: Option<f32>,
    /// How long a good answer is, tokens.
    pub output_tokens: Option<f32>,
    /// ISO 639-1.
    pub lang: Option<String>,
    /// Made from a template rather than typed by a person.
    pub templated: bool,
    /// Whether a strong model answered rightly, 0..=1.
    pub strong_correct: Option<f32>,
    /// Whether a weak model answered rightly, 0..=1.
    pub weak_correct: Option<f32>,
    /// `injection` or `benign`.
    pub label: Option<String>,
    /// The row that this one was made of, by place.
    #[serde(skip)]
    pub made_of: Option<usize>,
    /// The row that this one was made of, with something around it that is not part of the request.
    #[serde(skip)]
    pub padded: bool,
}

/// A turn before the last.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EarlierTurn {
    /// `user`, `assistant`, `system` or `tool`.
    pub role: String,
    /// What was said.
    pub text: String,
}

/// Why rows cannot be read.
#[derive(Debug, Error)]
pub enum RowsError {
    /// The file cannot be read.
    #[error("cannot read `{path}`: {cause}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// A line is not a row.
    #[error("{path}:{line}: {message}")]
    Line {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

/// Reads a JSONL file; blank lines are skipped.
///
/// # Errors
/// At the first line that is not a row or names an unknown task.
pub fn load(path: &Path) -> Result<Vec<Row>, RowsError> {
    let name = path.display().to_string();
    let read = |cause| RowsError::Read {
        path: name.clone(),
        cause,
    };
    let file = std::io::BufReader::new(std::fs::File::open(path).map_err(read)?);
    let mut rows = Vec::new();
    for (at, line) in file.lines().enumerate() {
        let line = line.map_err(read)?;
        if line.trim().is_empty() {
            continue;
        }
        let row = parse(&line).map_err(|message| RowsError::Line {
            path: name.clone(),
            line: at + 1,
            message,
        })?;
        rows.push(row);
    }
    Ok(rows)
}

/// Reads one row.
///
/// # Errors
/// When it is not JSON, lacks a text, or has a label that does not exist.
pub fn parse(line: &str) -> Result<Row, String> {
    let row: Row = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if row.text.is_empty() {
        return Err("`text` is missing or empty".to_owned());
    }
    if let Some(task) = &row.task
        && Task::parse(task).is_none()
    {
        let names = Task::ALL.map(Task::as_str).join(", ");
        return Err(format!("unknown task `{task}`; there are: {names}"));
    }
    for (name, value) in [
        ("complexity", row.complexity),
        ("strong_correct", row.strong_correct),
        ("weak_correct", row.weak_correct),
    ] {
        if value.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
            return Err(format!("`{name}` is not between 0 and 1"));
        }
    }
    Ok(row)
}

impl Row {
    /// The task that it is labelled with.
    #[must_use]
    pub fn task(&self) -> Option<Task> {
        self.task.as_deref().and_then(Task::parse)
    }

    /// The source, or `own`.
    #[must_use]
    pub fn source(&self) -> &str {
        self.source.as_deref().unwrap_or("own")
    }

    /// Built from our own frames (`data/frames_*.jsonl`) rather than typed.
    #[must_use]
    pub fn is_framed(&self) -> bool {
        self.source().starts_with("frames_")
    }

    /// The request that a client would have sent.
    #[must_use]
    pub fn call(&self) -> Call {
        let mut turns: Vec<(Role, &str)> = Vec::with_capacity(self.turns.len() + 2);
        if let Some(system) = &self.system {
            turns.push((Role::System, system));
        }
        for turn in &self.turns {
            let role = match turn.role.as_str() {
                "assistant" => Role::Assistant,
                "system" => Role::System,
                "tool" => Role::Tool,
                _ => Role::User,
            };
            turns.push((role, &turn.text));
        }
        turns.push((Role::User, &self.text));
        call_of(&turns)
    }
}

/// A chat request with these turns, as ingress would decode it.
#[must_use]
pub fn call_of(turns: &[(Role, &str)]) -> Call {
    let mut body = String::from("{\"model\":\"auto\",\"messages\":[");
    let mut decoded = Vec::with_capacity(turns.len());
    for (at, (role, text)) in turns.iter().enumerate() {
        if at > 0 {
            body.push(',');
        }
        body.push_str("{\"role\":\"");
        body.push_str(match role {
            Role::System => "system",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            _ => "user",
        });
        body.push_str("\",\"content\":");
        let start = body.len() + 1;
        body.push_str(&serde_json::Value::from(*text).to_string());
        let end = body.len() - 1;
        body.push('}');
        let at = |byte: usize| u32::try_from(byte).unwrap_or(u32::MAX);
        let text = Part::Text(Span {
            start: at(start),
            end: at(end),
        });
        decoded.push(Turn {
            parts: smallvec![text],
            ..Turn::new(*role)
        });
    }
    body.push_str("]}");
    Call {
        tally: Tally::of(body.as_bytes(), &decoded),
        endpoint: Endpoint::ChatCompletions,
        body: Bytes::from(body),
        model: "auto".to_owned(),
        model_value: Span { start: 9, end: 15 },
        fields: Vec::new(),
        stream: StreamRequest::default(),
        turns: decoded,
        needs: Needs::default(),
        max_output_tokens: None,
        choices: 1,
        tools: 0,
        end_user: None,
        metadata: Vec::new(),
        directives: Directives::default(),
        maker: None,
    }
}
