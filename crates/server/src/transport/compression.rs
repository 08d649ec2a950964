//! How publications are compressed on WebSockets: each by itself, so that all who agreed on the same window share one form of
//! it, and no connection has a compressor, or a window, of its own.

use openline::{Deflate, ServerOptions, Takeover};

use crate::channel::Filter;
use crate::config::Config;

/// The window of what is sent, in bits. Those that ask for a smaller one than 15 ask for this by default, so nearly all take
/// the same form of a publication.
const WINDOW_BITS: u8 = 12;

/// For all connections on which compression was agreed.
pub(super) fn settings() -> Deflate {
    Deflate::default()
        .takeover(Takeover::Never)
        .client_no_context_takeover(true)
        .server_max_window_bits(WINDOW_BITS)
}

/// `options`, with compression granted to one that listens by `filter` if it is to be.
pub(super) fn grant(options: ServerOptions, config: &Config, filter: &Filter) -> ServerOptions {
    let is_to_be = config.compresses(filter);
    options.deflate(is_to_be.then(|| settings().policy()))
}
