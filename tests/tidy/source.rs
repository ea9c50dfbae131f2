//! A source file cut into what is code and what is not, without a parser.
//! In: the text of one file. Out: its lines, with comments and strings blanked, and which are tests.
//! Never: an opinion; that is what the rules are for.

/// One file, by its path from the root of the repository.
pub struct Source {
    pub path: String,
    /// As written.
    pub raw: Vec<String>,
    /// The same lines with comments gone and the insides of strings blanked.
    pub code: Vec<String>,
    /// Lines inside a `#[cfg(test)]` item, or all of a file of tests.
    pub test: Vec<bool>,
}

/// What the scanner is inside of.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Code,
    /// Block comments nest.
    Comment(usize),
    Text,
    /// A raw string and how many `#` end it.
    Raw(usize),
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let raw: Vec<String> = text.lines().map(str::to_owned).collect();
        let code = strip(text);
        let all = path.starts_with("tests/") || path.ends_with("/tests.rs");
        let test = if all {
            vec![true; raw.len()]
        } else {
            test_lines(&code)
        };
        Self {
            path: path.to_owned(),
            raw,
            code,
            test,
        }
    }

    /// The folder right under `src/`, if it is in one.
    pub fn part(&self) -> Option<&str> {
        let (part, _) = self.path.strip_prefix("src/")?.split_once('/')?;
        Some(part)
    }

    /// How many lines hold code, outside tests or inside.
    pub fn code_lines(&self, tests: bool) -> usize {
        let lines = self.code.iter().zip(&self.test);
        lines
            .filter(|(code, test)| !code.trim().is_empty() && **test == tests)
            .count()
    }
}

/// Blanks comments and the insides of strings and characters, line by line.
fn strip(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = Inside::Code;
    for line in text.lines() {
        let chars: Vec<char> = line.chars().collect();
        let mut kept = String::new();
        let mut at = 0;
        while at < chars.len() {
            let rest = &chars[at..];
            let (step, keep, next) = advance(rest, inside, kept.chars().next_back());
            kept.extend(rest.iter().take(if keep { step } else { 0 }));
            if !keep && inside != Inside::Code && next == inside {
                kept.push(' ');
            }
            inside = next;
            at += step;
        }
        lines.push(kept.trim_end().to_owned());
    }
    lines
}

/// How many characters to take, whether they are code, and what comes after them.
fn advance(rest: &[char], inside: Inside, before: Option<char>) -> (usize, bool, Inside) {
    let starts = |text: &str| {
        text.chars()
            .enumerate()
            .all(|(at, c)| rest.get(at) == Some(&c))
    };
    match inside {
        Inside::Comment(depth) if starts("*/") && depth == 1 => (2, false, Inside::Code),
        Inside::Comment(depth) if starts("*/") => (2, false, Inside::Comment(depth - 1)),
        Inside::Comment(depth) if starts("/*") => (2, false, Inside::Comment(depth + 1)),
        Inside::Comment(_) => (1, false, inside),
        Inside::Text if starts("\\") => (2, false, inside),
        Inside::Text if starts("\"") => (1, true, Inside::Code),
        Inside::Text => (1, false, inside),
        Inside::Raw(hashes) => {
            let ends =
                starts("\"") && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes;
            if ends {
                (1 + hashes, true, Inside::Code)
            } else {
                (1, false, inside)
            }
        }
        Inside::Code if starts("//") => (rest.len(), false, inside),
        Inside::Code if starts("/*") => (2, false, Inside::Comment(1)),
        Inside::Code if starts("\"") => (1, true, Inside::Text),
        Inside::Code if starts("r") && !before.is_some_and(|c| c.is_alphanumeric() || c == '_') => {
            let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
            let raw = rest.get(1 + hashes) == Some(&'"');
            if raw {
                (2 + hashes, true, Inside::Raw(hashes))
            } else {
                (1, true, inside)
            }
        }
        // A character such as '"' or '{', not a lifetime.
        Inside::Code if starts("'\\") => {
            let end = rest.iter().skip(2).position(|c| *c == '\'');
            (end.map_or(2, |end| end + 3), false, inside)
        }
        Inside::Code if starts("'") && rest.get(2) == Some(&'\'') => (3, false, inside),
        Inside::Code => (1, true, inside),
    }
}

/// Marks the items under `#[cfg(test)]`, from the attribute to the end of their braces.
fn test_lines(code: &[String]) -> Vec<bool> {
    let mut marked = vec![false; code.len()];
    for (start, line) in code.iter().enumerate() {
        if line.trim().starts_with("#[cfg(test)]") && !marked[start] {
            let end = end_of_item(code, start);
            marked[start..=end].fill(true);
        }
    }
    marked
}

/// The line on which the item that begins at `start` ends: with its last brace, or with a semicolon.
pub fn end_of_item(code: &[String], start: usize) -> usize {
    let (mut depth, mut nested) = (0_i32, 0_i32);
    for (at, line) in code.iter().enumerate().skip(start) {
        for c in line.chars() {
            match c {
                '(' | '[' => nested += 1,
                ')' | ']' => nested -= 1,
                '{' => depth += 1,
                '}' => depth -= 1,
                ';' if depth == 0 && nested == 0 => return at,
                _ => {}
            }
            if c == '}' && depth == 0 && nested == 0 {
                return at;
            }
        }
    }
    code.len().saturating_sub(1)
}
