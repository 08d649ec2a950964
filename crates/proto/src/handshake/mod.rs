//! The opening handshake (RFC 6455 §4), both sides, as pure functions on the types of the `http` crate.
//!
//! A server shows each request to [`accept`] and answers with what comes back. A client makes a request with
//! [`request`], and shows the response to [`verify`]. Those who have no HTTP library at hand read heads with
//! [`HeadReader`], which bounds their size and scans each byte once, and write them with [`write_request`] and
//! [`write_response`].
//!
//! Over HTTP/2 the handshake is an extended CONNECT (RFC 8441): [`accept_connect`], [`connect_request`] and
//! [`verify_connect`] do the same for it.

mod client;
mod connect;
pub mod deflate;
pub mod extensions;
mod fields;
mod head;
mod origin;
mod server;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest, Sha1};

pub use client::{ClientOptions, Established, HandshakeError, RequestError, request, verify};
pub use connect::{PROTOCOL, accept_connect, connect_request, verify_connect};
pub use fields::has_token;
pub use head::{HeadError, HeadReader, write_request, write_response};
pub use origin::OriginPolicy;
pub use server::{Accepted, Rejection, ServerOptions, accept};

/// The one version of the protocol (§4.1), as `Sec-WebSocket-Version` names it.
pub const VERSION: &str = "13";

/// A nonce that a client sends in `Sec-WebSocket-Key` (§4.1): 16 random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u8; 16]);

/// §4.2.1 asks for base64 that decodes to 16 bytes; bits that the padding leaves over are no reason to refuse a client.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

impl Key {
    /// Takes 16 bytes from a source of randomness.
    pub const fn new(nonce: [u8; 16]) -> Self {
        Self(nonce)
    }

    fn encode(&self) -> String {
        BASE64.encode(self.0)
    }
}

/// Whether a field value is a key: base64 of 16 bytes.
fn is_key(value: &[u8]) -> bool {
    let mut nonce = [0; 18]; // the decoder's estimate for 24 characters
    value.len() == 24 && matches!(BASE64.decode_slice(value, &mut nonce), Ok(16))
}

/// The value of `Sec-WebSocket-Accept` that answers a key (§4.2.2).
fn accept_value(key: &[u8]) -> String {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    BASE64.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_own_key() {
        assert_eq!(
            accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(
            Key::new(*b"the sample nonce").encode(),
            "dGhlIHNhbXBsZSBub25jZQ=="
        );
    }

    #[test]
    fn a_key_is_base64_of_16_bytes() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(is_key(b"AAAAAAAAAAAAAAAAAAAAAB==")); // bits left over
        for wrong in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ==\n",
            "dGhlIHNhbXBsZSBub25jZSE=",
            "????????????????????????",
        ] {
            assert!(!is_key(wrong.as_bytes()), "{wrong:?}");
        }
    }
}
