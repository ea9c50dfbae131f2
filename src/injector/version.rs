//! Kubernetes versions, as far as they decide anything: major and minor.
//! In: text such as `1.31`, `v1.29.4-eks-1` or `/version` of an API server. Out: a `Version`.
//! Never: a guess; what is no version is an error.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// The first version with native sidecars switched on by default.
pub const NATIVE_SIDECARS: Version = Version {
    major: 1,
    minor: 29,
};

/// A version of Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The 1 of 1.31.
    pub major: u16,
    /// The 31 of 1.31.
    pub minor: u16,
}

/// Not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a version of Kubernetes, such as 1.31")]
pub struct VersionError;

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let (major, rest) = text.split_once('.').ok_or(VersionError)?;
        Self::of(major, rest)
    }
}

impl Version {
    /// What an API server answers to `GET /version`; some write a plus behind the minor version.
    ///
    /// # Errors
    /// If it is not that.
    pub fn of_answer(json: &[u8]) -> Result<Self, VersionError> {
        #[derive(Deserialize)]
        struct Answer {
            major: String,
            minor: String,
        }
        let answer: Answer = serde_json::from_slice(json).map_err(|_| VersionError)?;
        Self::of(&answer.major, &answer.minor)
    }

    fn of(major: &str, minor: &str) -> Result<Self, VersionError> {
        let digits = minor
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(minor.len());
        let (minor, rest) = minor.split_at(digits);
        if !(rest.is_empty() || rest.starts_with(['.', '-', '+'])) {
            return Err(VersionError);
        }
        Ok(Self {
            major: major.parse().map_err(|_| VersionError)?,
            minor: minor.parse().map_err(|_| VersionError)?,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_they_occur() {
        for (text, minor) in [
            ("1.31", 31),
            ("v1.29.4", 29),
            ("1.28.9-gke.1000", 28),
            ("v1.30.2-eks-1552ad0", 30),
            ("1.27+", 27),
        ] {
            assert_eq!(text.parse(), Ok(Version { major: 1, minor }), "{text}");
        }
        for text in ["", "1", "1.", "one.two", "1.x", "1.31x", "-1.3", "1.99999"] {
            assert_eq!(text.parse::<Version>(), Err(VersionError), "{text}");
        }
    }

    #[test]
    fn the_answer_of_an_api_server() {
        let answer = br#"{"major":"1","minor":"29+","gitVersion":"v1.29.1-eks-b9c9ed7"}"#;
        assert_eq!(Version::of_answer(answer), Ok(NATIVE_SIDECARS));
        for wrong in [&b"{}"[..], b"", br#"{"major":1,"minor":29}"#] {
            assert_eq!(Version::of_answer(wrong), Err(VersionError));
        }
    }

    #[test]
    fn minors_are_numbers() {
        let old: Version = "1.9".parse().expect("a version");
        assert!(old < NATIVE_SIDECARS);
        assert!("2.0".parse::<Version>().expect("a version") > NATIVE_SIDECARS);
    }
}
