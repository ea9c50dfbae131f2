//! Durations as people write them: `500ms`, `10s`, `1.5m`, `2h`; a bare number is seconds.
//! In: text. Out: a `Duration` within its bounds. Never: a negative or endless one.

use std::time::Duration;

/// Longest duration any option takes: a day, as the longest lease.
pub const MAX: Duration = Duration::from_secs(86_400);

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number, or an unknown unit.
    #[error("expected a number with ms, s, m or h, such as 500ms or 10s")]
    Grammar,
    /// Out of the bounds of its option.
    #[error("must be from {min:?} to {max:?}")]
    Range {
        /// The least allowed.
        min: Duration,
        /// The most allowed.
        max: Duration,
    },
}

/// Any duration from zero to [`MAX`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let unit_at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(DurationError::Grammar),
    };
    let number: f64 = number.trim().parse().map_err(|_| DurationError::Grammar)?;
    let range = DurationError::Range {
        min: Duration::ZERO,
        max: MAX,
    };
    match Duration::try_from_secs_f64(number * scale) {
        Ok(duration) if duration <= MAX => Ok(duration),
        Ok(_) | Err(_) => Err(range),
    }
}

/// A lease: 500 ms to a day (design 7).
pub fn lease(text: &str) -> Result<Duration, DurationError> {
    within(parse(text)?, Duration::from_millis(500), MAX)
}

/// The lease of a session: 1 s to 5 minutes. Below, one lost packet ends it; above, a dead sidecar
/// keeps its locks for too long.
pub fn session(text: &str) -> Result<Duration, DurationError> {
    within(
        parse(text)?,
        Duration::from_secs(1),
        Duration::from_secs(300),
    )
}

fn within(value: Duration, min: Duration, max: Duration) -> Result<Duration, DurationError> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(DurationError::Range { min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_fractions() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("1.5m", 90_000),
            ("2", 2_000),
            ("0.25", 250),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "s",
            "10d",
            "-1s",
            "NaN",
            "inf",
            "1e99s",
            "10 parsecs",
            "25h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_are_told() {
        assert_eq!(
            lease("499ms").unwrap_err().to_string(),
            "must be from 500ms to 86400s"
        );
        assert!(session("999ms").is_err());
    }
}
