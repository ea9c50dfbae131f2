//! Our certificate and those we trust, as they are now: the files are followed while we run.
//! In: paths of PEM files. Out: what new connections use. Never: an old connection cut because of new files.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use super::material::{Guests, Material, Pem, TlsError};
use crate::config::followed::{FollowError, Followed};
use crate::world::clock;

/// Where the files are, PEM all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Certificate chain, leaf first, and its key; none where a token says who we are.
    pub own: Option<(PathBuf, PathBuf)>,
    /// The authorities that are trusted. While one replaces another, both.
    pub authorities: PathBuf,
}

/// Our side of TLS. Clones share it.
#[derive(Debug, Clone)]
pub struct Credentials(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: Followed<Material>,
    /// Authorities that were heard of since the start.
    heard: Mutex<Bytes>,
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read, or they do not fit together.
    pub fn load(files: &Files) -> Result<Self, FollowError> {
        let mut paths = vec![files.authorities.clone()];
        if let Some((chain, key)) = &files.own {
            paths.extend([chain.clone(), key.clone()]);
        }
        let followed = Followed::start(paths, |bytes| {
            let own = match bytes {
                [_, chain, key] => Some((chain.clone(), key.clone())),
                _ => None,
            };
            let authorities = bytes.first().cloned().unwrap_or_default();
            Material::parse(&Pem { own, authorities }).map_err(|error| error.to_string())
        })?;
        Ok(Self(Arc::new(Inner {
            files: followed,
            heard: Mutex::default(),
        })))
    }

    /// Follows the files for ever.
    pub async fn follow(&self) {
        self.0.files.follow().await;
    }

    /// Looks at the files now instead of soon.
    ///
    /// # Errors
    /// As [`Self::load`]; the former content stays in use.
    pub async fn look(&self) -> Result<bool, FollowError> {
        self.0.files.look().await
    }

    /// Who we are.
    pub fn identity(&self) -> Option<Arc<str>> {
        let now = self.0.files.now();
        now.identity.as_ref().map(|(identity, _)| identity.clone())
    }

    /// For how many seconds our certificate is valid by the wall clock, as certificates are: for people, not for a
    /// decision of ours.
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds since 1970 stay below 2^52"
    )]
    pub fn seconds_left(&self) -> Option<f64> {
        let until = self
            .0
            .files
            .now()
            .identity
            .as_ref()
            .map(|(_, until)| *until)?;
        let now = clock::unix_nanos() / 1_000_000_000;
        Some(until as f64 - now as f64)
    }

    /// Those we trust, as PEM: what a core tells its sidecars.
    pub fn bundle(&self) -> Bytes {
        self.0.files.now().bundle.clone()
    }

    /// Tells when the files have changed.
    pub fn changes(&self) -> Changes {
        Changes(self.0.files.changes())
    }

    /// From now on these are trusted besides those of the files: a core that we trust has said so.
    ///
    /// # Errors
    /// If they are no certificates; nothing changes then.
    pub fn hear(&self, bundle: &Bytes) -> Result<(), TlsError> {
        let mut heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if *heard != *bundle && *bundle != self.0.files.now().bundle {
            self.0.files.now().client_trusting(bundle)?;
            tracing::info!("the core trusts other authorities now, and so do we");
        }
        *heard = bundle.clone();
        Ok(())
    }

    /// For a connection that we make now.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let now = self.0.files.now();
        let heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.is_empty() || *heard == now.bundle {
            return Ok(Arc::clone(&now.client));
        }
        Ok(Arc::new(now.client_trusting(&heard)?))
    }

    /// For connections that others make to us.
    pub(super) fn server(&self, guests: Guests, protocol: &[u8]) -> Result<ServerConfig, TlsError> {
        self.0.files.now().server(guests, protocol)
    }
}

/// See [`Credentials::changes`].
#[derive(Debug, Clone)]
pub struct Changes(watch::Receiver<Arc<Material>>);

impl Changes {
    /// Resolves when the files have changed since the last time; never again once nobody follows them.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The same without waiting.
    pub fn have_come(&mut self) -> bool {
        let come = self.0.has_changed().unwrap_or(false);
        self.0.mark_unchanged();
        come
    }
}
