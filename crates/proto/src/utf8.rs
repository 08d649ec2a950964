//! Text: a UTF-8 string that shares its bytes, and a check that needs no whole message.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use bytestring::ByteString;

/// A string over shared bytes: cloning it copies no text.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Utf8Bytes(ByteString);

impl Utf8Bytes {
    /// A string that lives as long as the program.
    pub const fn from_static(text: &'static str) -> Self {
        Self(ByteString::from_static(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes of the text, uncopied.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }

    /// The bytes of the text.
    pub fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }
}

/// Bytes that were to be text are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not valid UTF-8 (RFC 6455 §8.1)")]
pub struct NotUtf8;

impl TryFrom<Bytes> for Utf8Bytes {
    type Error = NotUtf8;

    fn try_from(bytes: Bytes) -> Result<Self, NotUtf8> {
        ByteString::try_from(bytes).map(Self).map_err(|_| NotUtf8)
    }
}

impl From<String> for Utf8Bytes {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Utf8Bytes {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Deref for Utf8Bytes {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Utf8Bytes {
    fn as_ref(&self) -> &str {
        self
    }
}

impl PartialEq<str> for Utf8Bytes {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Utf8Bytes {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// Checks UTF-8 as it arrives, cut anywhere, in linear time.
///
/// It keeps the one to three bytes of a character that is not yet whole, and nothing else, so bytes are looked at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Utf8Check {
    carry: [u8; 3],
    carried: u8,
}

impl Utf8Check {
    pub(crate) const fn new() -> Self {
        Self {
            carry: [0; 3],
            carried: 0,
        }
    }

    /// Looks at the next bytes; an error comes with the first byte that no valid text could have in its place.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), NotUtf8> {
        while self.carried > 0 {
            let Some((&next, rest)) = bytes.split_first() else {
                return Ok(());
            };
            bytes = rest;
            let have = usize::from(self.carried);
            let mut character = [0; 4];
            character[..have].copy_from_slice(&self.carry[..have]);
            character[have] = next;
            match std::str::from_utf8(&character[..=have]) {
                Ok(_) => self.carried = 0,
                // `error_len` is None while more bytes could still make it valid.
                Err(e) if e.error_len().is_none() => {
                    self.carry[have] = next;
                    self.carried += 1;
                }
                Err(_) => return Err(NotUtf8),
            }
        }
        let Err(e) = simdutf8::compat::from_utf8(bytes) else {
            return Ok(());
        };
        if e.error_len().is_some() {
            return Err(NotUtf8);
        }
        let tail = &bytes[e.valid_up_to()..];
        self.carry[..tail.len()].copy_from_slice(tail);
        self.carried = tail.len() as u8;
        Ok(())
    }

    /// The text ends here: an unfinished character is an error.
    pub(crate) fn finish(&self) -> Result<(), NotUtf8> {
        if self.carried == 0 {
            Ok(())
        } else {
            Err(NotUtf8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(pieces: &[&[u8]]) -> Result<(), NotUtf8> {
        let mut check = Utf8Check::new();
        pieces.iter().try_for_each(|p| check.feed(p))?;
        check.finish()
    }

    #[test]
    fn a_wrong_byte_is_found_at_once() {
        // F4 90 can begin no character, though F4 alone can: the second byte is the first wrong one.
        let mut utf8 = Utf8Check::new();
        assert_eq!(utf8.feed(&[0xf4]), Ok(()));
        assert_eq!(utf8.feed(&[0x90]), Err(NotUtf8));
        // A surrogate half, an overlong slash, and a lone continuation byte.
        assert_eq!(check(&[&[0xed], &[0xa0]]), Err(NotUtf8));
        assert_eq!(check(&[&[0xc0]]), Err(NotUtf8));
        assert_eq!(check(&[&[0x80]]), Err(NotUtf8));
    }

    #[test]
    fn an_unfinished_character_is_an_error_only_at_the_end() {
        let euro = "€".as_bytes();
        let mut utf8 = Utf8Check::new();
        assert_eq!(utf8.feed(&euro[..2]), Ok(()));
        assert_eq!(utf8.finish(), Err(NotUtf8));
        assert_eq!(utf8.feed(&euro[2..]), Ok(()));
        assert_eq!(utf8.finish(), Ok(()));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_verdict_of_the_whole(bytes: Vec<u8>, text: String, cuts: Vec<prop::sample::Index>) {
            for data in [bytes, text.into_bytes()] {
                let mut at: Vec<usize> = cuts.iter().map(|c| c.index(data.len() + 1)).collect();
                at.extend([0, data.len()]);
                at.sort_unstable();
                let pieces: Vec<&[u8]> = at.windows(2).map(|w| &data[w[0]..w[1]]).collect();
                prop_assert_eq!(check(&pieces).is_ok(), std::str::from_utf8(&data).is_ok());
            }
        }
    }
}
