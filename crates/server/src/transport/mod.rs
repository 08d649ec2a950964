//! The ways to listen: each turns what a broker has into bytes for one client.

pub(crate) mod chunks;
mod compression;
pub(crate) mod pieces;
pub(crate) mod poll;
mod session;
pub(crate) mod stream;
pub(crate) mod ws;

use std::fmt::Write as _;

use http::HeaderValue;

use crate::cursor::Cursor;
use crate::http::{Kind, Problem};

/// The first object of every stream of envelopes: where it stands.
fn standing(cursor: Cursor, recovered: bool) -> String {
    format!("{{\"cursor\":\"{cursor}\",\"recovered\":{recovered}}}")
}

/// A cursor as an entity tag.
pub(crate) fn etag(cursor: Cursor) -> Result<HeaderValue, Problem> {
    let mut tag = String::with_capacity(64);
    // Writing to a string does not fail.
    let _ = write!(tag, "\"{cursor}\"");
    HeaderValue::try_from(tag)
        .map_err(|_| Problem::new(Kind::Unavailable, "the log gave no usable cursor"))
}
