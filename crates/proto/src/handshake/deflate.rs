//! The parameters of permessage-deflate (RFC 7692 §7.1): parsed, negotiated and printed. No byte is compressed here.

use std::fmt;

use super::extensions::Extension;

/// The extension's name.
pub const NAME: &str = "permessage-deflate";

/// The least LZ77 window, 2^8 bytes.
pub const MIN_WINDOW_BITS: u8 = 8;

/// The largest LZ77 window, 2^15 bytes, which holds where nothing else is said.
pub const MAX_WINDOW_BITS: u8 = 15;

/// What a client offers (§7.1): one element of its `Sec-WebSocket-Extensions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Asks the server to forget its window after each message.
    pub server_no_context_takeover: bool,
    /// Says that the client will do so itself.
    pub client_no_context_takeover: bool,
    /// Asks the server for a window of at most so many bits, 8 to 15.
    pub server_max_window_bits: Option<u8>,
    /// Says that the client can lower its own window; with a value, that it needs none larger.
    pub client_max_window_bits: Option<Option<u8>>,
}

/// What both sides agreed on: the server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The server forgets its window after each message.
    pub server_no_context_takeover: bool,
    /// The client does.
    pub client_no_context_takeover: bool,
    /// The server's window in bits.
    pub server_max_window_bits: u8,
    /// The client's window in bits.
    pub client_max_window_bits: u8,
}

/// An offer that a server takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What is agreed on by it.
    pub agreed: Agreed,
    /// The value of `Sec-WebSocket-Extensions` that says so.
    pub answer: String,
}

/// What a server grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Forget the server's window after each message, asked or not.
    pub server_no_context_takeover: bool,
    /// Have the client forget its window after each message.
    pub client_no_context_takeover: bool,
    /// The server's own window in bits, 8 to 15.
    pub server_max_window_bits: u8,
    /// The client's window in bits, 8 to 15, where the client can lower it; a client that can't is declined.
    pub client_max_window_bits: u8,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: MAX_WINDOW_BITS,
            client_max_window_bits: MAX_WINDOW_BITS,
        }
    }
}

/// A parameter is unknown, stands twice, or has a value that it can't have (§7.1): an offer with it is declined, an
/// answer with it fails the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parameters of permessage-deflate are not valid (RFC 7692 §7.1)")]
pub struct InvalidParameters;

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// See [`InvalidParameters`].
    pub fn parse(extension: &Extension<'_>) -> Result<Self, InvalidParameters> {
        let mut offer = Self::default();
        for (name, value) in &extension.parameters {
            let value = value.as_deref();
            match *name {
                "server_no_context_takeover" => {
                    once_flag(&mut offer.server_no_context_takeover, value)?;
                }
                "client_no_context_takeover" => {
                    once_flag(&mut offer.client_no_context_takeover, value)?;
                }
                "server_max_window_bits" => once(
                    &mut offer.server_max_window_bits,
                    bits(value.ok_or(InvalidParameters)?)?,
                )?,
                "client_max_window_bits" => once(
                    &mut offer.client_max_window_bits,
                    value.map(bits).transpose()?,
                )?,
                _ => return Err(InvalidParameters),
            }
        }
        Ok(offer)
    }

    /// Checks the server's answer to this offer (§7.1.1, §7.1.2).
    ///
    /// # Errors
    /// The answer is malformed, or grants what was not offered.
    pub fn check_answer(&self, answer: &Extension<'_>) -> Result<Agreed, InvalidParameters> {
        let answer = Self::parse(answer)?;
        let server_bits = answer.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
        // A client that asked for a window or for no context takeover must be given it.
        if server_bits > self.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS)
            || (self.server_no_context_takeover && !answer.server_no_context_takeover)
        {
            return Err(InvalidParameters);
        }
        let client_bits = match (self.client_max_window_bits, answer.client_max_window_bits) {
            (_, None) => MAX_WINDOW_BITS,
            // §7.1.2.2: the answer must not have it unless the offer had, and must give it a value.
            (None, Some(_)) | (Some(_), Some(None)) => return Err(InvalidParameters),
            (Some(_), Some(Some(bits))) => bits,
        };
        Ok(Agreed {
            server_no_context_takeover: answer.server_no_context_takeover,
            client_no_context_takeover: answer.client_no_context_takeover
                || self.client_no_context_takeover,
            server_max_window_bits: server_bits,
            client_max_window_bits: client_bits.min(
                self.client_max_window_bits
                    .flatten()
                    .unwrap_or(MAX_WINDOW_BITS),
            ),
        })
    }
}

impl Policy {
    /// Picks the first offer of permessage-deflate that can be granted; the others are declined by silence (§5.1).
    pub fn negotiate(&self, extensions: &[Extension<'_>]) -> Option<Grant> {
        let offers = extensions.iter().filter(|extension| extension.name == NAME);
        offers
            .filter_map(|offer| Offer::parse(offer).ok())
            .find_map(|offer| self.grant(&offer))
    }

    fn grant(&self, offer: &Offer) -> Option<Grant> {
        let client_max_window_bits = match offer.client_max_window_bits {
            Some(needed) => self
                .client_max_window_bits
                .min(needed.unwrap_or(MAX_WINDOW_BITS)),
            // The client can't lower its window.
            None if self.client_max_window_bits < MAX_WINDOW_BITS => return None,
            None => MAX_WINDOW_BITS,
        };
        let agreed = Agreed {
            server_no_context_takeover: self.server_no_context_takeover
                || offer.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover
                || offer.client_no_context_takeover,
            server_max_window_bits: self
                .server_max_window_bits
                .min(offer.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS)),
            client_max_window_bits,
        };
        let mut answer = agreed.parameters();
        // §7.1.2.1: a server accepts this parameter by repeating it, even where it says no more than the default.
        if offer.server_max_window_bits.is_some() {
            answer.server_max_window_bits = Some(agreed.server_max_window_bits);
        }
        Some(Grant {
            agreed,
            answer: answer.to_string(),
        })
    }
}

impl Agreed {
    /// The parameters that say so, without those that say the default.
    fn parameters(&self) -> Offer {
        let lowered = |bits| Some(bits).filter(|bits| *bits < MAX_WINDOW_BITS);
        Offer {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            server_max_window_bits: lowered(self.server_max_window_bits),
            client_max_window_bits: lowered(self.client_max_window_bits).map(Some),
        }
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if self.server_no_context_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(f, "; server_max_window_bits={bits}")?;
        }
        match self.client_max_window_bits {
            None => Ok(()),
            Some(None) => f.write_str("; client_max_window_bits"),
            Some(Some(bits)) => write!(f, "; client_max_window_bits={bits}"),
        }
    }
}

/// As the shortest answer of a server would say it: what is the default is left out.
impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parameters().fmt(f)
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), InvalidParameters> {
    if slot.replace(value).is_some() {
        Err(InvalidParameters)
    } else {
        Ok(())
    }
}

fn once_flag(flag: &mut bool, value: Option<&str>) -> Result<(), InvalidParameters> {
    if value.is_some() || std::mem::replace(flag, true) {
        Err(InvalidParameters)
    } else {
        Ok(())
    }
}

/// §7.1.2: a decimal integer from 8 to 15 without leading zeros.
fn bits(value: &str) -> Result<u8, InvalidParameters> {
    match value {
        "8" => Ok(8),
        "9" => Ok(9),
        "10" => Ok(10),
        "11" => Ok(11),
        "12" => Ok(12),
        "13" => Ok(13),
        "14" => Ok(14),
        "15" => Ok(15),
        _ => Err(InvalidParameters),
    }
}

#[cfg(test)]
mod tests {
    use super::super::extensions;
    use super::*;
    use http::HeaderValue;

    fn negotiated(policy: Policy, offers: &str) -> Option<String> {
        let line = HeaderValue::from_str(offers).unwrap();
        policy
            .negotiate(&extensions::parse([&line]).unwrap())
            .map(|grant| grant.answer)
    }

    fn answered(offer: Offer, answer: &str) -> Result<Agreed, InvalidParameters> {
        let line = HeaderValue::from_str(answer).unwrap();
        offer.check_answer(&extensions::parse([&line]).unwrap()[0])
    }

    #[test]
    fn a_bare_offer_is_granted_bare() {
        assert_eq!(
            negotiated(Policy::default(), "permessage-deflate").as_deref(),
            Some(NAME)
        );
        assert_eq!(
            negotiated(Policy::default(), "x-webkit-deflate-frame"),
            None
        );
    }

    #[test]
    fn the_first_valid_offer_wins() {
        let offers = "permessage-deflate; server_max_window_bits=16, permessage-deflate; server_max_window_bits=10";
        let granted = negotiated(Policy::default(), offers).unwrap();
        assert_eq!(granted, "permessage-deflate; server_max_window_bits=10");
    }

    #[test]
    fn a_clients_window_is_lowered_only_where_it_can_be() {
        let policy = Policy {
            client_max_window_bits: 10,
            ..Policy::default()
        };
        assert_eq!(negotiated(policy, "permessage-deflate"), None);
        let granted = negotiated(policy, "permessage-deflate; client_max_window_bits").unwrap();
        assert_eq!(granted, "permessage-deflate; client_max_window_bits=10");
        let granted = negotiated(policy, "permessage-deflate; client_max_window_bits=9").unwrap();
        assert_eq!(granted, "permessage-deflate; client_max_window_bits=9");
    }

    #[test]
    fn wrong_parameters_decline_the_offer() {
        for wrong in [
            "unknown",
            "server_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=08",
            "client_max_window_bits=0",
            "client_max_window_bits=99999999999999999999",
        ] {
            assert_eq!(
                negotiated(Policy::default(), &format!("permessage-deflate; {wrong}")),
                None,
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_answer_must_fit_the_offer() {
        let offer = Offer {
            server_max_window_bits: Some(12),
            client_max_window_bits: Some(None),
            ..Offer::default()
        };
        let agreed = answered(
            offer,
            "permessage-deflate; server_max_window_bits=11; client_max_window_bits=9",
        )
        .unwrap();
        assert_eq!(
            (agreed.server_max_window_bits, agreed.client_max_window_bits),
            (11, 9)
        );
        for wrong in [
            "permessage-deflate",
            "permessage-deflate; server_max_window_bits=13",
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits",
        ] {
            assert_eq!(answered(offer, wrong), Err(InvalidParameters), "{wrong}");
        }
        let bare = Offer::default();
        assert_eq!(
            answered(bare, "permessage-deflate; client_max_window_bits=9"),
            Err(InvalidParameters)
        );
        assert!(answered(bare, "permessage-deflate; server_no_context_takeover").is_ok());
    }
}
