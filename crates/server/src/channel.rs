//! Names: a [`Channel`] is one of them, a [`Filter`] says which of them somebody listens to.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Most segments of a name.
pub const MAX_SEGMENTS: usize = 16;
/// Most bytes of one segment.
pub const MAX_SEGMENT: usize = 64;
/// Most bytes of a name.
pub const MAX_NAME: usize = 255;

/// The name of a channel: 1 to 16 segments between slashes, each of 1 to 64 characters from
/// `A-Z a-z 0-9 _ . ~ -` and neither `.` nor `..`, at most 255 bytes in all. Cheap to clone.
///
/// ```
/// use openline_server::Channel;
///
/// let channel: Channel = "flights/UA1545-EWR".parse()?;
/// assert_eq!(channel.as_str(), "flights/UA1545-EWR");
/// assert!("flights//UA1545".parse::<Channel>().is_err());
/// # Ok::<(), openline_server::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(Arc<str>);

impl Channel {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name's segments, in order.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl FromStr for Channel {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        match Filter::from_str(name)? {
            Filter::Exact(channel) => Ok(channel),
            Filter::Pattern(_) => Err(NameError::Pattern),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The channels that a listener asks for: exactly one, or all that fit a pattern.
///
/// In a pattern a segment `*` stands for exactly one segment, and a last segment `**` for one
/// segment or more.
///
/// ```
/// use openline_server::{Channel, Filter};
///
/// let all: Filter = "flights/**".parse()?;
/// assert!(all.matches(&"flights/UA1545-EWR".parse()?));
/// assert!(!all.matches(&"flights".parse()?));
/// # Ok::<(), openline_server::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Filter {
    /// One channel.
    Exact(Channel),
    /// Every channel that the pattern fits.
    Pattern(Pattern),
}

impl Filter {
    /// Whether this asks for `channel`.
    pub fn matches(&self, channel: &Channel) -> bool {
        match self {
            Self::Exact(exact) => exact == channel,
            Self::Pattern(pattern) => pattern.matches(channel),
        }
    }

    /// Whether this asks for every channel that `other` asks for.
    ///
    /// ```
    /// use openline_server::Filter;
    ///
    /// let right: Filter = "flights/**".parse()?;
    /// assert!(right.covers(&"flights/*/gate".parse()?));
    /// assert!(!right.covers(&"**".parse()?));
    /// # Ok::<(), openline_server::NameError>(())
    /// ```
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = other.as_str().split('/');
        for segment in self.as_str().split('/') {
            match (segment, others.next()) {
                ("**", Some(_)) => return true,
                ("*", Some(other)) if other != "**" => {}
                (own, Some(other)) if own == other => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(channel) => channel.as_str(),
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }
}

impl FromStr for Filter {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_NAME {
            return Err(NameError::Long);
        }
        let mut wild = false;
        let mut rest = false;
        for (index, segment) in text.split('/').enumerate() {
            if index == MAX_SEGMENTS {
                return Err(NameError::Deep);
            }
            if rest {
                return Err(NameError::RestNotLast);
            }
            match segment {
                "*" => wild = true,
                "**" => rest = true,
                _ => check_segment(segment, index + 1)?,
            }
        }
        Ok(if wild || rest {
            Self::Pattern(Pattern(text.into()))
        } else {
            Self::Exact(Channel(text.into()))
        })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A filter with at least one `*` or `**`; see [`Filter`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The pattern's segments, in order; the last may be `**`.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// What every channel that fits begins with: all before the first star.
    pub fn prefix(&self) -> &str {
        let end = self.0.find('*').unwrap_or(self.0.len());
        &self.0[..end]
    }

    fn matches(&self, channel: &Channel) -> bool {
        let mut names = channel.segments();
        for segment in self.segments() {
            match (segment, names.next()) {
                ("**", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(name)) if wanted == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

/// What is wrong with a name or a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// More than [`MAX_NAME`] bytes.
    #[error("the channel name is longer than {MAX_NAME} bytes")]
    Long,
    /// More than [`MAX_SEGMENTS`] segments.
    #[error("the channel name has more than {MAX_SEGMENTS} segments")]
    Deep,
    /// A segment without a character.
    #[error("segment {segment} of the channel name is empty")]
    EmptySegment {
        /// Which one, counted from 1.
        segment: usize,
    },
    /// A segment of more than [`MAX_SEGMENT`] bytes.
    #[error("segment {segment} of the channel name is longer than {MAX_SEGMENT} bytes")]
    LongSegment {
        /// Which one, counted from 1.
        segment: usize,
    },
    /// A segment `.` or `..`, which URLs give another meaning.
    #[error("segment {segment} of the channel name is . or ..")]
    DotSegment {
        /// Which one, counted from 1.
        segment: usize,
    },
    /// A character that names do not have.
    #[error(
        "segment {segment} of the channel name has the character {character:?}; allowed are \
         A-Z a-z 0-9 _ . ~ - (and, to listen to many channels, a whole segment * or a last one **)"
    )]
    Character {
        /// Which segment, counted from 1.
        segment: usize,
        /// The first such character.
        character: char,
    },
    /// A `**` before the last segment.
    #[error("** stands for the rest of a name and can only be the last segment")]
    RestNotLast,
    /// A pattern where one channel must be named.
    #[error("this is a pattern; name one channel")]
    Pattern,
}

fn check_segment(text: &str, segment: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::EmptySegment { segment });
    }
    if text == "." || text == ".." {
        return Err(NameError::DotSegment { segment });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '~' | '-');
    if let Some(character) = text.chars().find(|&c| !allowed(c)) {
        return Err(NameError::Character { segment, character });
    }
    if text.len() > MAX_SEGMENT {
        return Err(NameError::LongSegment { segment });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> Channel {
        name.parse().unwrap()
    }

    #[test]
    fn names_that_are_channels() {
        for name in ["a", "flights/UA1545-EWR", "A_b.c~d-9", "..."] {
            assert_eq!(channel(name).as_str(), name);
        }
        assert!(vec!["a"; 16].join("/").parse::<Channel>().is_ok());
        assert!("x".repeat(64).parse::<Channel>().is_ok());
    }

    #[test]
    fn names_that_are_not_say_why() {
        let error = |name: &str| name.parse::<Channel>().unwrap_err();
        assert_eq!(error(""), NameError::EmptySegment { segment: 1 });
        assert_eq!(error("a/"), NameError::EmptySegment { segment: 2 });
        assert_eq!(error("/a"), NameError::EmptySegment { segment: 1 });
        assert_eq!(error("a/./b"), NameError::DotSegment { segment: 2 });
        assert_eq!(error("a/.."), NameError::DotSegment { segment: 2 });
        assert_eq!(
            error("a b"),
            NameError::Character {
                segment: 1,
                character: ' '
            }
        );
        assert_eq!(
            error("a/é"),
            NameError::Character {
                segment: 2,
                character: 'é'
            }
        );
        assert_eq!(
            error("UA*"),
            NameError::Character {
                segment: 1,
                character: '*'
            }
        );
        assert_eq!(
            error(&"x".repeat(65)),
            NameError::LongSegment { segment: 1 }
        );
        assert_eq!(error(&vec!["a"; 17].join("/")), NameError::Deep);
        assert_eq!(error(&vec!["x".repeat(64); 4].join("/")), NameError::Long);
        assert_eq!(error("a/*"), NameError::Pattern);
        assert_eq!(
            "a/**/b".parse::<Filter>().unwrap_err(),
            NameError::RestNotLast
        );
        assert_eq!(
            "**/**".parse::<Filter>().unwrap_err(),
            NameError::RestNotLast
        );
    }

    #[test]
    fn patterns_match_whole_segments() {
        let matches =
            |filter: &str, name: &str| filter.parse::<Filter>().unwrap().matches(&channel(name));
        assert!(matches("a/b", "a/b"));
        assert!(!matches("a/b", "a/b/c"));
        assert!(matches("a/*", "a/b"));
        assert!(!matches("a/*", "a"));
        assert!(!matches("a/*", "a/b/c"));
        assert!(matches("a/**", "a/b"));
        assert!(matches("a/**", "a/b/c"));
        assert!(!matches("a/**", "a"));
        assert!(!matches("a/**", "ab/c"));
        assert!(matches("**", "a"));
        assert!(matches("*/gate", "UA1/gate"));
        assert!(!matches("*/gate", "UA1/late"));
        assert!(matches("*/gate/**", "UA1/gate/x/y"));
    }

    #[test]
    fn a_filter_covers_what_asks_for_no_more() {
        const FILTERS: [&str; 12] = [
            "a", "b", "a/b", "a/b/c", "*", "**", "a/*", "a/**", "*/b", "*/b/**", "a/*/c", "*/*",
        ];
        let mut channels = vec![String::new()];
        for depth in 0..4 {
            let longer = channels
                .iter()
                .filter(|name| name.split('/').count() == depth + 1);
            let longer: Vec<_> = longer
                .flat_map(|name| ["a", "b", "c", "x"].map(|segment| format!("{name}/{segment}")))
                .collect();
            channels.extend(longer);
        }
        let channels: Vec<_> = channels[1..]
            .iter()
            .map(|name| channel(&name[1..]))
            .collect();
        for one in FILTERS.map(|text| text.parse::<Filter>().unwrap()) {
            for other in FILTERS.map(|text| text.parse::<Filter>().unwrap()) {
                let all = channels
                    .iter()
                    .all(|channel| one.matches(channel) || !other.matches(channel));
                assert_eq!(one.covers(&other), all, "{one} covers {other}");
            }
        }
    }

    #[test]
    fn a_pattern_knows_what_all_its_channels_begin_with() {
        let prefix = |filter: &str| match filter.parse().unwrap() {
            Filter::Pattern(pattern) => pattern.prefix().to_owned(),
            Filter::Exact(_) => unreachable!("only patterns are asked"),
        };
        assert_eq!(prefix("a/b/*"), "a/b/");
        assert_eq!(prefix("a/*/c"), "a/");
        assert_eq!(prefix("**"), "");
    }
}
