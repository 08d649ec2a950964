//! The objects of enveloped streams.

use std::borrow::Cow;

use crate::error::Error;

/// The fields that say what an object is: an envelope has a channel, a position says whether all was recovered.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Item {
    pub(super) channel: Option<String>,
    pub(super) cursor: String,
    pub(super) recovered: Option<bool>,
}

impl Item {
    /// Reads an object, whatever else it carries.
    pub(super) fn parse(json: &str) -> Result<Self, Error> {
        serde_json::from_str(json).map_err(Error::Json)
    }
}

/// The same JSON on one line: within JSON, bare line ends are only ever white space.
pub(crate) fn one_line(json: &str) -> Cow<'_, str> {
    if json.contains(['\n', '\r']) {
        Cow::Owned(json.replace(['\n', '\r'], ""))
    } else {
        Cow::Borrowed(json)
    }
}
