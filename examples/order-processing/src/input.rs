use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, stdin};
use std::path::Path;

use tokio::sync::mpsc::{Receiver, channel};

use crate::cli::Arguments;
use crate::generator::Generator;

/// The longest line of input: an order of a few thousand items, whose events are within the limits of
/// every stream.
const LINE_LIMIT: usize = 256 << 10;

/// The number of lines read ahead of the placement.
const AHEAD: usize = 512;

/// One line of the input, numbered from 1.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) text: Result<String, BadLine>,
}

/// A line that is too long or not text: its beginning, and what is wrong.
#[derive(Debug)]
pub(crate) struct BadLine {
    pub(crate) start: Vec<u8>,
    pub(crate) why: String,
}

/// The source of the orders.
pub(crate) struct Input {
    /// The name of the source, for dead letters.
    pub(crate) name: String,
    /// The number of lines, if it is known beforehand.
    pub(crate) expected: Option<u64>,
    pub(crate) lines: Receiver<std::io::Result<Line>>,
}

impl Input {
    /// Opens the input that the arguments name.
    pub(crate) fn open(arguments: &Arguments) -> Result<Self, String> {
        match arguments.orders.as_deref() {
            None => Ok(Self::generated(arguments.count, arguments.seed)),
            Some(path) if path == Path::new("-") => Ok(Self::read(
                "standard input".into(),
                None,
                BufReader::new(stdin()),
            )),
            Some(path) => {
                let name = path.display().to_string();
                let open = || File::open(path).map_err(|e| format!("--orders {name}: {e}"));
                let lines = count_lines(open()?).map_err(|e| format!("--orders {name}: {e}"))?;
                Ok(Self::read(
                    name.clone(),
                    Some(lines),
                    BufReader::new(open()?),
                ))
            }
        }
    }

    fn generated(count: u64, seed: u64) -> Self {
        let (sender, lines) = channel(AHEAD);
        std::thread::spawn(move || {
            for (number, text) in (1..).zip(Generator::new(count, seed)) {
                if sender
                    .blocking_send(Ok(Line {
                        number,
                        text: Ok(text),
                    }))
                    .is_err()
                {
                    return;
                }
            }
        });
        Self {
            name: format!("generator, seed {seed}"),
            expected: Some(count),
            lines,
        }
    }

    /// Reads on a separate thread: reading standard input blocks.
    fn read(
        name: String,
        expected: Option<u64>,
        mut reader: impl BufRead + Send + 'static,
    ) -> Self {
        let (sender, lines) = channel(AHEAD);
        std::thread::spawn(move || {
            for number in 1.. {
                let line = match next_line(&mut reader) {
                    Ok(None) => return,
                    Ok(Some(text)) => Ok(Line { number, text }),
                    Err(error) => Err(error),
                };
                let failed = line.is_err();
                if sender.blocking_send(line).is_err() || failed {
                    return;
                }
            }
        });
        Self {
            name,
            expected,
            lines,
        }
    }
}

type LineText = Result<String, BadLine>;

fn next_line(reader: &mut impl BufRead) -> std::io::Result<Option<LineText>> {
    let mut bytes = Vec::new();
    reader
        .by_ref()
        .take(LINE_LIMIT as u64 + 1)
        .read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.last() != Some(&b'\n') && bytes.len() > LINE_LIMIT {
        skip_line(reader)?;
        bytes.truncate(1024);
        let why = format!("it is longer than {LINE_LIMIT} bytes");
        return Ok(Some(Err(BadLine { start: bytes, why })));
    }
    Ok(Some(String::from_utf8(bytes).map_err(|e| {
        let why = format!("it is not UTF-8 text: {}", e.utf8_error());
        BadLine {
            start: e.into_bytes(),
            why,
        }
    })))
}

fn skip_line(reader: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let (used, done) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(used);
        if done {
            return Ok(());
        }
    }
}

fn count_lines(file: File) -> std::io::Result<u64> {
    let mut reader = BufReader::new(file);
    let mut lines = 0;
    let mut last = b'\n';
    loop {
        let buffer = reader.fill_buf()?;
        let Some(end) = buffer.last() else { break };
        last = *end;
        lines += buffer.iter().filter(|byte| **byte == b'\n').count() as u64;
        let used = buffer.len();
        reader.consume(used);
    }
    Ok(lines + u64::from(last != b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<LineText> {
        let mut reader = bytes;
        std::iter::from_fn(|| next_line(&mut reader).unwrap()).collect()
    }

    #[test]
    fn a_line_that_is_no_text_does_not_end_the_reading() {
        let long = "x".repeat(LINE_LIMIT + 10);
        let read = lines(&[b"a\n\xff\xfe\n", long.as_bytes(), b"\nlast"].concat());
        assert_eq!(read.len(), 4);
        assert_eq!(read[0].as_deref().unwrap(), "a\n");
        assert!(read[1].as_ref().unwrap_err().why.contains("not UTF-8"));
        assert!(
            read[2]
                .as_ref()
                .unwrap_err()
                .why
                .contains("longer than 262144 bytes")
        );
        assert_eq!(read[3].as_deref().unwrap(), "last");
    }
}
