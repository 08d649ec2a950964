//! A part of a whole.

use super::value::{Kind, Raw};

/// A number from 0 (none) to 1 (all).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio(f64);

// It is never NaN.
impl Eq for Ratio {}

impl Ratio {
    /// Every one.
    pub const ALL: Self = Self(1.0);
    /// One in a hundred.
    pub const HUNDREDTH: Self = Self(0.01);

    /// `None` if `value` is not from 0 to 1.
    ///
    /// ```
    /// use openline_server::Ratio;
    ///
    /// assert_eq!(Ratio::new(1.0), Some(Ratio::ALL));
    /// assert_eq!(Ratio::new(1.5), None);
    /// ```
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// A setting that is one.
#[derive(Debug)]
pub(super) struct Part;

impl Kind for Part {
    type Value = Ratio;
    const FORM: &'static str = "a number from 0 to 1: 0.05";

    fn read(raw: &Raw) -> Result<Ratio, String> {
        let number = match raw {
            Raw::Fraction(text) | Raw::Text(text) => text.trim().parse().ok(),
            Raw::Integer(number) => u8::try_from(*number).ok().map(f64::from),
            _ => None,
        };
        number.and_then(Ratio::new).ok_or_else(|| raw.wrong())
    }

    fn show(value: &Ratio) -> Option<String> {
        Some(value.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_from_none_to_all() {
        let text = |text: &str| Part::read(&Raw::Text(text.to_owned()));
        assert_eq!(text("0.01"), Ok(Ratio::HUNDREDTH));
        assert_eq!(Part::read(&Raw::Fraction("1.0".to_owned())), Ok(Ratio::ALL));
        assert_eq!(Part::read(&Raw::Integer(1)), Ok(Ratio::ALL));
        for wrong in ["", "-0.1", "1.1", "NaN", "inf", "1%", "half"] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
        assert!(Part::read(&Raw::Integer(2)).is_err());
    }
}
