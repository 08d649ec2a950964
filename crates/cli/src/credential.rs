//! What `publish` and `listen` are let in by: an API key or a token, which no command line shows.

use std::path::PathBuf;

use http::HeaderValue;

use crate::error::Error;

/// Holds the credential itself.
const VARIABLE: &str = "OPENLINE_TOKEN";

/// Where the credential is.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    file: Option<PathBuf>,
}

impl Credential {
    /// In that file, or else in the environment, if there is one at all.
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// The field that bears it. A file is read each time, since tokens end and new ones are written over them.
    ///
    /// # Errors
    /// [`Error::TokenFile`], [`Error::HeaderValue`].
    pub(crate) fn field(&self) -> Result<Option<HeaderValue>, Error> {
        let text = match &self.file {
            Some(path) => std::fs::read_to_string(path).map_err(|source| Error::TokenFile {
                path: path.clone(),
                source,
            })?,
            None => match std::env::var(VARIABLE) {
                Ok(text) => text,
                Err(_) => return Ok(None),
            },
        };
        let option = if self.file.is_some() {
            "the file of --token-file"
        } else {
            VARIABLE
        };
        let mut field = HeaderValue::try_from(format!("Bearer {}", text.trim()))
            .map_err(|_| Error::HeaderValue { option })?;
        field.set_sensitive(true);
        Ok(Some(field))
    }
}
