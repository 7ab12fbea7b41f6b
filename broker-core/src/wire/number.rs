//! Numbers as the reference platform writes them: it holds all of them as 64-bit floats.

/// The shortest decimal that round-trips, with an exponent (of at least two digits) when the decimal
/// exponent is below `lowest` or not below `highest`.
fn shortest(number: f64, lowest: i32, highest: i32) -> String {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (lowest..highest).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// In form encoding (contract 3.4).
pub(super) fn in_form(number: &serde_json::Number) -> String {
    number.as_f64().map_or_else(|| number.to_string(), |number| shortest(number, -4, 6))
}

/// In JSON encoding: exponents from 1e21 on, and without a padded exponent below 1e-6.
pub(super) fn in_json(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) => shortest(float, -6, 21).replace("e-0", "e-"),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_appear_where_the_platform_writes_them() {
        for (number, form, json) in [
            ("0.0001", "0.0001", "0.0001"),
            ("0.00001", "1e-05", "0.00001"),
            ("0.0000001", "1e-07", "1e-7"),
            ("999999", "999999", "999999"),
            ("1000000", "1e+06", "1000000"),
            ("1.0", "1", "1"),
            ("-2147483648", "-2.147483648e+09", "-2147483648"),
            ("1e100", "1e+100", "1e+100"),
            ("1e21", "1e+21", "1e+21"),
        ] {
            let number: serde_json::Number = serde_json::from_str(number).unwrap();
            assert_eq!((in_form(&number).as_str(), in_json(&number).as_str()), (form, json));
        }
    }
}
