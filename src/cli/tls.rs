//! The flags of TLS, alike for all who use it.
//! In: paths. Out: credentials. Never: half a pair of certificate and key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exit::Failure;
use crate::config::api_token::ApiToken;
use crate::config::followed::{FollowError, Followed};
use crate::tls::credentials::{Credentials, Files};

/// Who this is, and whom it trusts.
#[derive(Debug, clap::Args)]
pub struct Tls {
    /// Certificate chain, PEM, that says who this is; all traffic of the core is mutual TLS then. The three files are
    /// followed
    #[arg(long, value_name = "FILE", env = "SIDELOCK_TLS_CERT", global = true,
          requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "SIDELOCK_TLS_KEY",
        global = true,
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,
    /// The authorities that are trusted, PEM; while one replaces another, both. With it the core is called over TLS
    #[arg(long, value_name = "FILE", env = "SIDELOCK_TLS_CA", global = true)]
    tls_ca: Option<PathBuf>,
}

impl Tls {
    /// What the files hold; none without them.
    pub fn credentials(&self) -> Result<Option<Credentials>, FollowError> {
        let Some(authorities) = self.tls_ca.clone() else {
            return Ok(None);
        };
        let own = self.tls_cert.clone().zip(self.tls_key.clone());
        Credentials::load(&Files { own, authorities }).map(Some)
    }

    /// The same for a node, which listens: it needs all three.
    pub fn of_listener(&self) -> Result<Option<Credentials>, Failure> {
        if self.tls_ca.is_some() && self.tls_cert.is_none() {
            let text = "--tls-ca of a node needs --tls-cert and --tls-key too";
            return Err(Failure::usage(text));
        }
        Ok(self.credentials()?)
    }
}

/// The token that apps show, followed.
pub fn api_token(path: &Path) -> Result<Arc<Followed<ApiToken>>, FollowError> {
    Ok(Arc::new(Followed::one(path.to_owned(), ApiToken::parse)?))
}

impl From<FollowError> for Failure {
    fn from(error: FollowError) -> Self {
        Self::usage(error)
    }
}
