//! PURE: what a query string asks, decoded strictly; the same on both faces.
//! In: a request's URI. Out: parameters by name. Never: a lenient decode (`%zz` is refused rather than taken as it
//! stands), an unknown or repeated parameter.

use std::borrow::Cow;

use http::Uri;

/// Why a query string is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// What is wrong with it, in words.
    #[error("{0}")]
    Malformed(String),
    /// There are no such parameters.
    #[error("unknown parameters: {}", .0.join(", "))]
    Unknown(Vec<String>),
}

type Asked<T> = Result<T, QueryError>;

/// Decodes percent-encoding; `plus` makes a space of `+`, as forms do.
///
/// # Errors
/// If it is not UTF-8, encoded rightly.
pub fn decode(text: &str, plus: bool) -> Asked<Cow<'_, str>> {
    let encoded = text.contains('%') || (plus && text.contains('+'));
    if !encoded && text.is_ascii() {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let low = rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (Some(high), Some(low)) = (high, low) else {
                    return malformed(
                        "bad percent-encoding: `%` must be followed by two hexadecimal digits",
                    );
                };
                u8::try_from(high * 16 + low).expect("two hexadecimal digits make a byte")
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Owned(text)),
        Err(_) => malformed("what is percent-encoded must be UTF-8"),
    }
}

/// The parameters of a query string.
#[derive(Debug)]
pub struct Query<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Refuses all parameters but these, by name.
    ///
    /// # Errors
    /// Likewise if one is given twice or encoded wrongly.
    pub fn read(uri: &'a Uri, known: &'static [&'static str]) -> Asked<Self> {
        let mut found: Vec<(&'static str, Cow<'a, str>)> = Vec::new();
        let mut unknown: Vec<String> = Vec::new();
        let pairs = uri.query().unwrap_or("").split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, true)?;
            match known.iter().find(|known| **known == name) {
                None => unknown.push(name.into_owned()),
                Some(name) if found.iter().any(|(earlier, _)| earlier == name) => {
                    return malformed(format!("the parameter `{name}` is given more than once"));
                }
                Some(name) => found.push((name, decode(text, true)?)),
            }
        }
        match unknown.is_empty() {
            true => Ok(Self(found)),
            false => Err(QueryError::Unknown(unknown)),
        }
    }

    /// A parameter as it was given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, text)| &**text)
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// If it is none.
    pub fn number(&self, name: &str, min: u64, max: u64) -> Asked<Option<u64>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && (min..=max).contains(&number) => Ok(Some(number)),
            _ => malformed(format!(
                "the parameter `{name}` must be a whole number between {min} and {max}"
            )),
        }
    }

    /// True or false; false if absent.
    ///
    /// # Errors
    /// If it is neither.
    pub fn flag(&self, name: &str) -> Asked<bool> {
        let flag = |text: &str| match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        Ok(self.word(name, "true or false", flag)?.unwrap_or(false))
    }

    /// A parameter with words of ours; `words` lists them for people.
    ///
    /// # Errors
    /// If it is another word.
    pub fn word<T>(
        &self,
        name: &str,
        words: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Asked<Option<T>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match parse(text) {
            Some(word) => Ok(Some(word)),
            None => malformed(format!("the parameter `{name}` must be {words}")),
        }
    }

    /// `limit`.
    ///
    /// # Errors
    /// If it is not between 1 and `max`.
    pub fn limit(&self, default: u32, max: u32) -> Asked<u32> {
        let limit = self.number("limit", 1, max.into())?;
        Ok(limit.map_or(default, |limit| u32::try_from(limit).unwrap_or(max)))
    }
}

/// An error in words.
fn malformed<T>(text: impl Into<String>) -> Asked<T> {
    Err(QueryError::Malformed(text.into()))
}
