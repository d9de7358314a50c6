use std::fmt;
use std::io::{self, BufRead};

use crate::record::FORMAT;
use crate::{HistoryLine, Op, Phase};

/// A history that cannot be judged.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are described by the variants")]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be read.
    Io(io::Error),
    /// A line is no record.
    Line {
        line: usize,
        text: String,
        source: serde_json::Error,
    },
    /// The first line does not begin a run in a format that this version reads.
    NotBegun { found: String },
    /// The last line does not end the run: the file was cut, or the run is not over.
    Cut { lines: usize },
    /// Lines follow the end of the run.
    AfterEnd { line: usize },
}

/// Reads a history, one record a line. A line that is no record, or a missing end, is an error: a history
/// that is judged in part proves nothing.
pub fn read(from: impl BufRead) -> Result<Vec<HistoryLine>, ReadError> {
    let mut records: Vec<HistoryLine> = Vec::new();
    for (at, line) in from.lines().enumerate() {
        let text = line.map_err(ReadError::Io)?;
        let line = at + 1;
        if records.last().is_some_and(ends) {
            return Err(ReadError::AfterEnd { line });
        }
        match serde_json::from_str(&text) {
            Ok(record) => records.push(record),
            Err(source) => return Err(ReadError::Line { line, text, source }),
        }
    }
    let first = records.first();
    let begins = |it: &HistoryLine| {
        it.op == Op::Run && it.phase == Phase::Invoke && it.format == Some(FORMAT)
    };
    if !first.is_some_and(begins) {
        let found = first.map_or("no line".to_owned(), |it| match it.format {
            Some(format) => format!("format {format}"),
            None => format!("`{:?}`", it.op),
        });
        return Err(ReadError::NotBegun { found });
    }
    if !records.last().is_some_and(ends) {
        let lines = records.len();
        return Err(ReadError::Cut { lines });
    }
    Ok(records)
}

pub(crate) fn ends(record: &HistoryLine) -> bool {
    record.op == Op::Run && record.phase != Phase::Invoke
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the history cannot be read: {error}"),
            Self::Line { line, text, source } => {
                let text: String = text.chars().take(120).collect();
                write!(f, "line {line} is not a record: {source}: `{text}`")
            }
            Self::NotBegun { found } => write!(
                f,
                "expected `\"op\":\"run\",\"phase\":\"invoke\",\"format\":{FORMAT}` in the first line, found {found}"
            ),
            Self::Cut { lines } => write!(
                f,
                "the history is cut after line {lines}: a whole one ends with `\"op\":\"run\"` and `ok` or `fail`"
            ),
            Self::AfterEnd { line } => write!(f, "line {line} follows the end of the run"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Line { source, .. } => Some(source),
            _ => None,
        }
    }
}
