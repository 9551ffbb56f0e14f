//! A problem in `routes.yaml`: where it is, what is wrong, what is allowed.

use std::fmt;

use serde::Serialize;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but probably does not say what was meant.
    Warning,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// The file's name as given.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// Where in the tree: `matrix.code_generation.complex[1]`.
    pub path: String,
    /// What is wrong and what is allowed; lower case, no full stop.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
    /// The source line, with secrets left as references.
    pub source_line: String,
}

/// Where something stands in the file, for problems that are found after it was compiled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file's name as given.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// Where in the tree.
    pub path: String,
    /// The source line, with secrets left as references.
    pub source_line: String,
}

impl Place {
    /// A problem here.
    pub fn problem(
        &self,
        severity: Severity,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) -> Diagnostic {
        Diagnostic {
            severity,
            file: self.file.clone(),
            line: self.line,
            column: self.column,
            path: self.path.clone(),
            message: message.into(),
            suggestion,
            source_line: self.source_line.clone(),
        }
    }
}

impl fmt::Display for Diagnostic {
    /// `routes.yaml:41:9: matrix.x[1]: unknown model `gpt4o`; did you mean `gpt-4o`?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}
