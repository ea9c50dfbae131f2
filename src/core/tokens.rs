//! Whom a token names: those that Kubernetes projects into pods, checked with keys that lie here.
//! In: JSON Web Tokens (RFC 7519), a key set (RFC 7517). Out: the subject. Never: a question to anybody else.
//!
//! Tokens are valid by the wall clock, as their issuer has it; no lease is. A stream that a token has opened
//! stands as long as it would with a certificate.

use std::collections::HashSet;
use std::sync::Arc;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use crate::tls::identity::IDENTITY_BYTES_MAX;

/// Kubernetes signs by RS256 or ES256; others do with these. Never one with a shared secret.
const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::RS256,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Who issues tokens, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// As the tokens have it in `iss`.
    pub issuer: String,
    /// One of `aud` must be this.
    pub audience: String,
}

/// Checks tokens of one issuer.
#[derive(Debug)]
pub struct Tokens {
    keys: JwkSet,
    issuer: Issuer,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

impl Tokens {
    /// With the keys of a JSON Web Key Set.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(json: &[u8], issuer: Issuer) -> Result<Self, String> {
        let keys: JwkSet = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if keys.keys.is_empty() {
            return Err("there is no key in it".to_owned());
        }
        Ok(Self { keys, issuer })
    }

    /// The subject of a token.
    ///
    /// # Errors
    /// Why it counts for nothing, in words.
    pub fn subject(&self, token: &str) -> Result<Arc<str>, String> {
        let words = |error: jsonwebtoken::errors::Error| error.to_string();
        let header = decode_header(token).map_err(words)?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(format!("tokens signed by {:?} are not taken", header.alg));
        }
        let key = match &header.kid {
            Some(id) => self.keys.find(id),
            None => self.keys.keys.first().filter(|_| self.keys.keys.len() == 1),
        };
        let key = key.ok_or("it is signed with a key that is not known")?;
        let key = DecodingKey::from_jwk(key).map_err(words)?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.issuer.issuer]);
        validation.set_audience(&[&self.issuer.audience]);
        validation.required_spec_claims =
            HashSet::from(["exp", "iss", "aud", "sub"].map(str::to_owned));
        validation.validate_nbf = true;
        let claims = decode::<Claims>(token, &key, &validation)
            .map_err(words)?
            .claims;
        let fits = (1..=IDENTITY_BYTES_MAX).contains(&claims.sub.len());
        match fits && !claims.sub.contains(char::is_control) {
            true => Ok(claims.sub.into()),
            false => Err("its subject is no name".to_owned()),
        }
    }
}
