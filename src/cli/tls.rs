//! The flags of TLS, alike for all who use it.
//! In: paths. Out: credentials. Never: half a pair of certificate and key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exit::Failure;
use crate::config::api_token::ApiToken;
use crate::config::followed::{FollowError, Followed};
use crate::tls::credentials::{Credentials, Files};

/// Of a node: it listens, so it needs all three.
#[derive(Debug, clap::Args)]
pub struct NodeTls {
    /// Certificate chain of this node, PEM; with it all traffic is mutual TLS. The three files are followed
    #[arg(long, value_name = "FILE", env = "SIDELOCK_TLS_CERT", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "SIDELOCK_TLS_KEY",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,
    /// The authorities that are trusted, PEM; while one replaces another, both
    #[arg(
        long,
        value_name = "FILE",
        env = "SIDELOCK_TLS_CA",
        requires = "tls_cert"
    )]
    tls_ca: Option<PathBuf>,
}

/// Of those who call nodes.
#[derive(Debug, clap::Args)]
pub struct CallerTls {
    /// Certificate chain, PEM, that says who this is. The files are followed
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
    /// The authorities that are trusted, PEM; with it the core is called over TLS
    #[arg(
        long,
        value_name = "FILE",
        env = "SIDELOCK_TLS_CA",
        global = true,
        global = true
    )]
    tls_ca: Option<PathBuf>,
}

impl NodeTls {
    /// What the files hold; none without them.
    pub fn credentials(&self) -> Result<Option<Credentials>, FollowError> {
        load(&self.tls_cert, &self.tls_key, &self.tls_ca)
    }
}

impl CallerTls {
    /// What the files hold; none without them.
    pub fn credentials(&self) -> Result<Option<Credentials>, FollowError> {
        load(&self.tls_cert, &self.tls_key, &self.tls_ca)
    }
}

/// The token that apps show, followed.
pub fn api_token(path: &Path) -> Result<Arc<Followed<ApiToken>>, FollowError> {
    let read = |bytes: &[Vec<u8>]| ApiToken::parse(bytes.first().map_or(&[], Vec::as_slice));
    Ok(Arc::new(Followed::start(vec![path.to_owned()], read)?))
}

fn load(
    cert: &Option<PathBuf>,
    key: &Option<PathBuf>,
    ca: &Option<PathBuf>,
) -> Result<Option<Credentials>, FollowError> {
    let Some(authorities) = ca.clone() else {
        return Ok(None);
    };
    let own = cert.clone().zip(key.clone());
    Credentials::load(&Files { own, authorities }).map(Some)
}

impl From<FollowError> for Failure {
    fn from(error: FollowError) -> Self {
        Self::usage(error)
    }
}
