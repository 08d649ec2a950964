//! Numbers, sizes and times.

use std::time::Duration;

use super::*;

impl Kind for Count {
    type Value = usize;
    const FORM: &'static str = "a whole number of at least 1";

    fn read(raw: &Raw) -> Result<usize, String> {
        let number = match raw {
            Raw::Integer(number) => usize::try_from(*number).ok(),
            Raw::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        number
            .filter(|&number| number > 0)
            .ok_or_else(|| raw.wrong())
    }

    fn show(value: &usize) -> Option<String> {
        Some(value.to_string())
    }
}

impl Kind for Number {
    type Value = usize;
    const FORM: &'static str = "a whole number, or 0 for none";

    fn read(raw: &Raw) -> Result<usize, String> {
        match raw {
            Raw::Integer(0) => Ok(0),
            Raw::Text(text) if text.trim() == "0" => Ok(0),
            other => Count::read(other),
        }
    }

    fn show(value: &usize) -> Option<String> {
        Count::show(value)
    }
}

const UNITS: [(&str, usize); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl Kind for Size {
    type Value = usize;
    const FORM: &'static str =
        "bytes, as a whole number of at least 1 or with a unit: \"256KiB\", \"64MiB\", \"2GiB\"";

    fn read(raw: &Raw) -> Result<usize, String> {
        let Raw::Text(text) = raw else {
            return Count::read(raw);
        };
        let text = text.trim();
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
            .unwrap_or((text, 1));
        let number: Option<usize> = digits.trim().parse().ok();
        number
            .and_then(|number| number.checked_mul(unit))
            .filter(|&number| number > 0)
            .ok_or_else(|| raw.wrong())
    }

    fn show(value: &usize) -> Option<String> {
        let unit = UNITS.iter().find(|(_, unit)| value.is_multiple_of(*unit));
        Some(match unit {
            Some((name, unit)) if *unit > 1 => quoted(&format!("{}{name}", value / unit)),
            _ => value.to_string(),
        })
    }
}

impl Kind for Time {
    type Value = Duration;
    const FORM: &'static str =
        "a time with its unit: \"500ms\", \"30s\", \"5m\", \"24h\", \"7days\"";

    fn read(raw: &Raw) -> Result<Duration, String> {
        humantime::parse_duration(raw.text()?)
            .ok()
            .filter(|time| !time.is_zero())
            .ok_or_else(|| raw.wrong())
    }

    fn show(value: &Duration) -> Option<String> {
        Some(quoted(&humantime::format_duration(*value).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn sizes_have_units_and_come_back_as_they_were_written() {
        for (written, bytes) in [
            ("1", 1),
            ("7B", 7),
            ("256KiB", 256 << 10),
            ("64 MiB", 64 << 20),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(Size::read(&text(written)), Ok(bytes), "{written}");
            let shown = Size::show(&bytes).unwrap();
            assert_eq!(Size::read(&text(shown.trim_matches('"'))), Ok(bytes));
        }
        for wrong in [
            "",
            "0",
            "-1",
            "1KB",
            "1.5MiB",
            "99999999999999999999",
            "0KiB",
        ] {
            assert!(Size::read(&text(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(Size::read(&Raw::Integer(5)), Ok(5));
        assert!(Size::read(&Raw::Integer(0)).is_err());
    }

    #[test]
    fn zero_is_taken_only_where_it_means_none() {
        for (raw, number) in [(Raw::Integer(0), 0), (text("0"), 0), (text("7"), 7)] {
            assert_eq!(MaybeNumber::read(&raw), Ok(Some(number)));
        }
        for wrong in [Raw::Integer(-1), text("-1"), text("")] {
            assert!(MaybeNumber::read(&wrong).is_err(), "{wrong:?}");
        }
        assert!(MaybeCount::read(&Raw::Integer(0)).is_err());
    }

    #[test]
    fn times_have_units() {
        assert_eq!(Time::read(&text("500ms")), Ok(Duration::from_millis(500)));
        assert_eq!(Time::read(&text("24h")), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "30", "0s", "-1s", "soon"] {
            assert!(Time::read(&text(wrong)).is_err(), "{wrong}");
        }
        assert!(Time::read(&Raw::Integer(30)).is_err(), "a number of what?");
    }
}
