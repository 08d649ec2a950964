//! Standard output is data, standard error is talk.

use std::io::Write as _;

use tokio::io::AsyncWriteExt as _;

use crate::error::Error;

/// Writes data to standard output, a line at a time.
///
/// The write happens on a thread of its own, so that a reader who does not read cannot keep signals from being heard.
#[derive(Debug)]
pub(crate) struct Output(tokio::io::Stdout);

impl Output {
    /// The process's standard output.
    pub(crate) fn new() -> Self {
        Self(tokio::io::stdout())
    }

    /// Writes `line` and an end of line, and flushes.
    ///
    /// # Errors
    /// [`Error::Output`], also when the reader has gone (a broken pipe).
    pub(crate) async fn line(&mut self, line: &str) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        self.0.write_all(&bytes).await.map_err(Error::Output)?;
        self.0.flush().await.map_err(Error::Output)
    }
}

/// Says something about the command's course on standard error. That nobody can hear it is no failure.
pub(crate) fn talk(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
