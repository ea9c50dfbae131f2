//! Warnings that the API server shows to who made the pod.
//! In: sentences, values that users wrote. Out: a few short lines. Never: a flood, or a control character.

use std::fmt::Display;

/// Most characters of a warning: the API server cuts longer ones when there are many.
const CHARS_MAX: usize = 250;
/// Most warnings of an answer: the API server drops all beyond 4 KiB.
const COUNT_MAX: usize = 12;
/// Most characters of a value that a user wrote.
const QUOTED_CHARS_MAX: usize = 60;

/// Warnings in their order.
#[derive(Debug, Default)]
pub(super) struct Warnings(Vec<String>);

impl Warnings {
    /// One more, if there is room.
    pub(super) fn add(&mut self, text: impl Display) {
        if self.0.len() < COUNT_MAX {
            self.0.push(cut(&format!("sidelock: {text}"), CHARS_MAX));
        }
    }

    /// As the answer has them.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.0
    }
}

/// What a user wrote, short and in quotation marks.
pub(super) fn quoted(text: &str) -> String {
    cut(&format!("{text:?}"), QUOTED_CHARS_MAX)
}

fn cut(text: &str, most: usize) -> String {
    let one_line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    if text.chars().count() <= most {
        return one_line.collect();
    }
    let mut short: String = one_line.take(most - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_many_are_cut() {
        let mut warnings = Warnings::default();
        for _ in 0..100 {
            warnings.add("é\n".repeat(1_000));
        }
        let lines = warnings.into_lines();
        assert_eq!(lines.len(), COUNT_MAX);
        for line in lines {
            assert_eq!(line.chars().count(), CHARS_MAX);
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn quotations_are_escaped() {
        assert_eq!(quoted("a\"b\r"), r#""a\"b\r""#);
    }
}
