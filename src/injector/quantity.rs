//! Amounts of processors and memory as Kubernetes writes them: `250m`, `64Mi`, `1.5`.
//! In: text. Out: the same text with what it is worth. Never: a negative amount.

/// An amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quantity {
    /// As it was written.
    pub(super) text: String,
    /// In billionths of a processor or a byte, rounded up as Kubernetes does.
    pub(super) nanos: u128,
}

/// A billionth of what has no suffix.
const ONE: u128 = 1_000_000_000;
/// Digits of a number at most: with the greatest unit it stays below 2^128.
const DIGITS_MAX: usize = 15;

/// Suffixes, and what one of it is in billionths.
const SUFFIXES: &[(&str, u128)] = &[
    ("", ONE),
    ("m", ONE / 1_000),
    ("k", ONE * 1_000),
    ("M", ONE * 1_000_000),
    ("G", ONE * 1_000_000_000),
    ("T", ONE * 1_000_000_000_000),
    ("Ki", ONE << 10),
    ("Mi", ONE << 20),
    ("Gi", ONE << 30),
    ("Ti", ONE << 40),
];

impl Quantity {
    /// Reads one; none if it is not an amount, or one that nobody needs (`n`, `u`, `P`, `E`, exponents).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let end = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (_, unit) = SUFFIXES.iter().find(|(name, _)| *name == suffix)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.len() > DIGITS_MAX {
            return None;
        }
        let digits: u128 = digits.parse().ok()?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        Some(Self {
            text: text.to_owned(),
            nanos: (digits * unit).div_ceil(scale),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> Option<u128> {
        Quantity::parse(text).map(|quantity| quantity.nanos)
    }

    #[test]
    fn the_same_amount_in_other_words() {
        for (one, other) in [
            ("0.25", "250m"),
            ("1", "1000m"),
            ("1.5Gi", "1536Mi"),
            ("64M", "64000k"),
            ("1.", "1"),
            (".5", "500m"),
        ] {
            assert!(nanos(one).is_some(), "{one}");
            assert_eq!(nanos(one), nanos(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_amount() {
        for text in [
            "",
            ".",
            "m",
            "-1",
            "+1",
            "1 Mi",
            "1mi",
            "1MB",
            "1..2",
            "1.2.3",
            "Mi",
            "1e3",
            "0x1",
            "1234567890123456",
            "١",
        ] {
            assert_eq!(nanos(text), None, "{text}");
        }
        assert!(nanos("999999999999999Ti").is_some());
    }
}
