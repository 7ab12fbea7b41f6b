//! Amounts of memory and disk.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// An amount in bytes, written as `512mb`, `1gb`, or a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(raw: &str) -> Result<Self, String> {
        let text = raw.to_ascii_lowercase();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit: Option<u64> = match &text[digits.len()..] {
            "" | "b" => Some(1),
            "k" | "kb" => Some(1 << 10),
            "m" | "mb" => Some(1 << 20),
            "g" | "gb" => Some(1 << 30),
            _ => None,
        };
        let bytes = digits.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
        let bytes = bytes.filter(|bytes| *bytes >= 1 << 20);
        bytes.map(Self).ok_or_else(|| "a size is written like 64mb or 1gb, and is at least 1mb".to_owned())
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(raw: String) -> Result<Self, String> {
        raw.parse()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
        let mebibytes = self.0 as f64 / 1_048_576.0;
        match self.0 {
            0..1_073_741_824 => write!(f, "{mebibytes:.1} MiB"),
            _ => write!(f, "{:.1} GiB", mebibytes / 1024.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown_in_units() {
        assert_eq!("64mb".parse(), Ok(Size(64 << 20)));
        assert_eq!(Size(1 << 30).to_string(), "1.0 GiB");
        for bad in ["", "0", "-1mb", "64 mb", "64tb", "99999999999gb", "512kb"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
