//! Where a listener stands in a log: [`Cursor`].

use std::fmt;
use std::str::FromStr;

/// Characters of an epoch.
const EPOCH: usize = 12;

/// Which life of a log an offset belongs to: 12 random characters from `0-9 a-z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; EPOCH]);

impl Epoch {
    /// An epoch that no other log has.
    pub fn random() -> Self {
        const ALPHABET: [u8; 36] = *b"0123456789abcdefghijklmnopqrstuvwxyz";
        Self(std::array::from_fn(|_| {
            ALPHABET[rand::random_range(0..ALPHABET.len())]
        }))
    }
}

impl FromStr for Epoch {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let epoch: [u8; EPOCH] = text.as_bytes().try_into().map_err(|_| CursorError)?;
        epoch
            .iter()
            .all(|c| c.is_ascii_digit() || c.is_ascii_lowercase())
            .then_some(Self(epoch))
            .ok_or(CursorError)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

/// A place between two publications of a log: whoever stands at it has all up to it and lacks all
/// after it. Clients treat its text as opaque.
///
/// A client that takes the latest publication of many channels in several pages stands, between
/// two pages, at a place whose past it never asked for. Its cursor also bears how far that goes
/// ([`settled`](Self::settled)), so that the next page is not taken for a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The log's epoch.
    pub epoch: Epoch,
    /// Offset of the last publication before this place; 0 is the beginning of the log.
    pub offset: u64,
    /// The offset up to which the client lacks nothing that it wants even if it is dropped; at
    /// least [`offset`](Self::offset), and equal to it but between two pages of a snapshot.
    pub settled: u64,
}

impl Cursor {
    /// The place just after the publication at `offset`.
    pub fn after(epoch: Epoch, offset: u64) -> Self {
        Self {
            epoch,
            offset,
            settled: offset,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)?;
        if self.settled != self.offset {
            write!(f, "-{}", self.settled)?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (epoch, place) = text.split_once(':').ok_or(CursorError)?;
        let epoch = epoch.parse()?;
        match place.split_once('-') {
            None => Ok(Self::after(epoch, parse_offset(place)?)),
            Some((offset, settled)) => {
                let (offset, settled) = (parse_offset(offset)?, parse_offset(settled)?);
                (offset < settled)
                    .then_some(Self {
                        epoch,
                        offset,
                        settled,
                    })
                    .ok_or(CursorError)
            }
        }
    }
}

/// The text is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor; send one exactly as this server gave it")]
pub struct CursorError;

/// One text for one number: no sign, no leading zero.
fn parse_offset(text: &str) -> Result<u64, CursorError> {
    let canonical = text == "0" || text.starts_with(|c: char| matches!(c, '1'..='9'));
    if !canonical {
        return Err(CursorError);
    }
    text.parse().map_err(|_| CursorError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_what_it_writes() {
        let epoch = Epoch::random();
        for cursor in [
            Cursor::after(epoch, 0),
            Cursor::after(epoch, u64::MAX),
            Cursor {
                epoch,
                offset: 3,
                settled: 90,
            },
        ] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn what_is_not_a_cursor_is_refused() {
        for text in [
            "",
            "42",
            ":42",
            "k3v9x2m4q8ta",
            "k3v9x2m4q8ta:",
            "k3v9x2m4q8ta:+1",
            "k3v9x2m4q8ta:01",
            "k3v9x2m4q8ta:1 ",
            "k3v9x2m4q8ta:18446744073709551616",
            "K3v9x2m4q8ta:1",
            "k3v9x2m4q8t:1",
            "k3v9x2m4q8ta:2-2",
            "k3v9x2m4q8ta:2-1",
            "k3v9x2m4q8ta:2-",
            "äöüäöü:1",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text:?}");
        }
    }

    #[test]
    fn epochs_differ() {
        assert_ne!(Epoch::random(), Epoch::random());
    }
}
