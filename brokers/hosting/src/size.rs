//! Amounts of memory and disk.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// An amount in bytes: written as `512mb`, `1gb` or a number of bytes, and shown as `512.0 MiB`.
///
/// As a setting it is at least a mebibyte: servers take 0 for no limit, and do not start usefully with less. What was
/// measured may be less, and is shown as `12.5 KiB` then.
///
/// ```
/// # use broker_hosting::Size;
/// let size: Size = "64mb".parse()?;
/// assert_eq!((size, size.to_string()), (Size(64 * 1024 * 1024), "64.0 MiB".to_owned()));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(
    /// In bytes.
    pub u64,
);

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
        let bytes = self.0 as f64;
        match self.0 {
            0..1_048_576 => write!(f, "{:.1} KiB", bytes / 1024.0),
            1_048_576..1_073_741_824 => write!(f, "{:.1} MiB", bytes / 1_048_576.0),
            _ => write!(f, "{:.1} GiB", bytes / 1_073_741_824.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_with_its_unit() {
        for (raw, bytes) in [("64mb", 64 << 20), ("1G", 1 << 30), ("2048k", 2 << 20), ("1048576", 1 << 20)] {
            assert_eq!(raw.parse(), Ok(Size(bytes)));
        }
        for bad in ["", "0", "-1mb", "64 mb", "64tb", "99999999999gb", "512kb"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_size_is_shown_in_the_largest_unit_that_it_fills() {
        let shown = [0, 12_800, 1 << 20, (1 << 30) - 1, 3 << 29].map(|bytes| Size(bytes).to_string());
        assert_eq!(shown, ["0.0 KiB", "12.5 KiB", "1.0 MiB", "1024.0 MiB", "1.5 GiB"]);
    }
}
