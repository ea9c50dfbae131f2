//! The bearer token that apps show to their sidecar, where one is wanted.
//! In: a file's content. Out: whether a header shows it. Never: the token in a log, or a comparison whose time
//! tells how much of it was right.

/// Fewest bytes of a token: as many random letters can be tried by nobody.
const BYTES_MIN: usize = 16;

/// A token.
pub struct ApiToken(Vec<u8>);

impl ApiToken {
    /// From the content of a file; white space around it does not count.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(content: &[u8]) -> Result<Self, String> {
        let token = content.trim_ascii();
        if token.len() < BYTES_MIN {
            return Err(format!("a token needs at least {BYTES_MIN} bytes"));
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err("a token has no white space, and only ASCII".to_owned());
        }
        Ok(Self(token.to_vec()))
    }

    /// Whether the value of an `Authorization` header shows it.
    pub fn is_shown_by(&self, header: &[u8]) -> bool {
        let Some((scheme, shown)) = header.split_at_checked(7) else {
            return false;
        };
        let differs = |(one, other): (&u8, &u8)| one ^ other;
        let difference = self.0.iter().zip(shown).map(differs);
        scheme.eq_ignore_ascii_case(b"bearer ")
            && shown.len() == self.0.len()
            && difference.fold(0, |all, one| all | one) == 0
    }
}

impl std::fmt::Debug for ApiToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ApiToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_will_do() {
        let token = ApiToken::parse(b"  0123456789abcdef\n").expect("a token");
        assert!(token.is_shown_by(b"Bearer 0123456789abcdef"));
        assert!(token.is_shown_by(b"bearer 0123456789abcdef"));
        for wrong in [
            &b"Bearer 0123456789abcdeX"[..],
            b"Bearer 0123456789abcde",
            b"Bearer 0123456789abcdef0",
            b"Basic: 0123456789abcdef",
            b"0123456789abcdef",
            b"Bearer ",
            b"",
        ] {
            assert!(!token.is_shown_by(wrong), "{wrong:?}");
        }
        assert!(!format!("{token:?}").contains("0123"));
    }

    #[test]
    fn weak_and_odd_ones_are_refused() {
        assert!(ApiToken::parse(b"short").is_err());
        assert!(ApiToken::parse(b"0123456789 abcdef").is_err());
    }
}
