//! What a read is worth: current or not, and how old it may be.
//! In: an answer's headers, or its fields. Out: a sentence for people, unless it is current.
//! Never: a word about an answer that says nothing of it.

use reqwest::header::{AGE, HeaderMap};
use serde_json::Value;

use super::print;

/// Bound of the age of an answer that is not current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Old {
    /// Such as `cached`.
    word: String,
    age_ms: u64,
}

impl Old {
    /// As `Sidelock-Consistency` and `Age` say; nothing if the answer is current.
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let word = headers.get("sidelock-consistency")?.to_str().ok()?;
        let age = headers.get(AGE).and_then(|age| age.to_str().ok());
        let seconds: u64 = age.and_then(|age| age.parse().ok()).unwrap_or(0);
        Self::unless_current(word, seconds.saturating_mul(1000))
    }

    /// As the fields of the answer say, which are finer.
    pub fn of_body(body: &Value) -> Option<Self> {
        let word = body["consistency"].as_str()?;
        Self::unless_current(word, body["age_ms"].as_u64().unwrap_or(0))
    }

    fn unless_current(word: &str, age_ms: u64) -> Option<Self> {
        (word != "linearizable").then(|| Self {
            word: word.to_owned(),
            age_ms,
        })
    }

    /// The older one: that is the age of both together.
    pub fn older(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        [one, other]
            .into_iter()
            .flatten()
            .max_by_key(|old| old.age_ms)
    }

    /// For people.
    pub fn sentence(&self) -> String {
        let age = print::millis(&self.age_ms.into());
        format!("this answer is {}, at most {age} old", self.word)
    }
}
