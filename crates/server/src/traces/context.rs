//! What a span is part of, as one process tells another (W3C Trace Context).

use std::fmt;

use http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The flag of a trace that is kept.
const SAMPLED: u8 = 1;

/// The number of a trace, which is not 0.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TraceId(u128);

impl TraceId {
    pub(super) fn random() -> Self {
        Self(rand::random::<u128>().max(1))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a span, which is not 0.
pub(super) fn random_id() -> u64 {
    rand::random::<u64>().max(1)
}

/// What a span is part of: its trace, and the span above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    /// Of nothing yet: whether a trace begins is left to chance.
    Nothing,
    /// Of a span of another process.
    Remote(TraceId, u64),
    /// Of a span of this one.
    Local(TraceId, u64),
    /// Of a trace that is not kept.
    Unkept,
}

impl Within {
    /// What a request says that it is part of. What is not understood says nothing.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut fields = headers.get_all(TRACEPARENT).into_iter();
        match (fields.next(), fields.next()) {
            (Some(field), None) => parse(field.as_bytes()).unwrap_or(Self::Nothing),
            _ => Self::Nothing,
        }
    }
}

/// `version-trace-parent-flags` in lower-case hex. Later versions may append something.
fn parse(text: &[u8]) -> Option<Within> {
    let (known, more) = text.split_at_checked(55)?;
    let mut parts = known.split(|byte| *byte == b'-');
    let mut number = |digits: usize| hex(parts.next().filter(|part| part.len() == digits)?);
    let (version, trace, parent, flags) = (number(2)?, number(32)?, number(16)?, number(2)?);
    let fits = match version {
        0 => more.is_empty(),
        0xff => false,
        _ => more.first().is_none_or(|byte| *byte == b'-'),
    };
    if !fits || trace == 0 || parent == 0 {
        return None;
    }
    if u8::try_from(flags).ok()? & SAMPLED == 0 {
        return Some(Within::Unkept);
    }
    Some(Within::Remote(TraceId(trace), u64::try_from(parent).ok()?))
}

fn hex(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0, |number: u128, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_parent_is_read_as_the_specification_writes_it() {
        let kept = Within::Remote(
            TraceId(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
            0x00f0_67aa_0ba9_02b7,
        );
        for (text, within) in [
            (format!("00-{TRACE}-00f067aa0ba902b7-01"), kept),
            (format!("00-{TRACE}-00f067aa0ba902b7-03"), kept),
            (format!("00-{TRACE}-00f067aa0ba902b7-00"), Within::Unkept),
            (format!("01-{TRACE}-00f067aa0ba902b7-01-more"), kept),
            (format!("01-{TRACE}-00f067aa0ba902b7-01"), kept),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(within), "{text}");
        }
    }

    #[test]
    fn what_is_no_parent_says_nothing() {
        for text in [
            String::new(),
            TRACE.to_owned(),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{TRACE}-00f067aa0ba902b7-1"),
            format!("00-{TRACE}-00f067aa0ba902b7x01"),
            format!("01-{TRACE}-00f067aa0ba902b7-01x"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-+0f067aa0ba902b7-01"),
            format!("00-{TRACE}0-0f067aa0ba902b7-01"),
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
