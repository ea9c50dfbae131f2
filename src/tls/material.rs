//! PURE: what is made of a certificate, its key and the authorities that are trusted.
//! In: PEM. Out: configurations of rustls (TLS 1.3 only). Never: a certificate whose key is another's.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, ServerConfig};

use super::{identity, pem};

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{what}: {why}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// They do not fit together.
    #[error("certificate and key: {0}")]
    Unfit(#[from] rustls::Error),
    /// There are no authorities to verify anyone with.
    #[error("authorities: {0}")]
    Authorities(#[from] VerifierBuilderError),
}

/// What the files hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pem {
    /// Certificate chain and key; none where a token says who we are.
    pub(super) own: Option<(Vec<u8>, Vec<u8>)>,
    /// Whom we trust.
    pub(super) authorities: Vec<u8>,
}

/// What is made of them.
#[derive(Debug)]
pub(super) struct Material {
    own: Option<Own>,
    authorities: Vec<CertificateDer<'static>>,
    /// Who we are, and until when our certificate is valid in seconds since 1970.
    pub(super) identity: Option<(Arc<str>, i64)>,
    /// The authorities as PEM, to be passed on.
    pub(super) bundle: Bytes,
    /// For connections that we make.
    pub(super) client: Arc<ClientConfig>,
}

/// Whom a listener lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guests {
    /// Only those with a certificate.
    Certified,
    /// Anybody; a certificate says who it is.
    Any,
}

impl Material {
    pub(super) fn parse(pem: &Pem) -> Result<Self, TlsError> {
        let authorities = authorities_of(&pem.authorities)?;
        let own = match &pem.own {
            None => None,
            Some((chain, key)) => {
                let chain =
                    pem::certificates(chain).map_err(|why| malformed("certificate", why))?;
                let key = pem::key(key).map_err(|why| malformed("key", why))?;
                Some((chain, key))
            }
        };
        let identity = match &own {
            None => None,
            Some((chain, _)) => {
                let leaf = chain.first().and_then(identity::read);
                let nobody = "it names nobody: it needs one SPIFFE id or a common name";
                Some(leaf.ok_or_else(|| malformed("certificate", nobody))?)
            }
        };
        let client = client(own.as_ref(), &authorities)?;
        let material = Self {
            own,
            authorities,
            identity,
            bundle: pem.authorities.clone().into(),
            client: Arc::new(client),
        };
        if material.own.is_some() {
            material.server(Guests::Any, b"h2")?; // so that what does not fit is found out now
        }
        Ok(material)
    }

    /// For connections that others make to us.
    pub(super) fn server(&self, guests: Guests, protocol: &[u8]) -> Result<ServerConfig, TlsError> {
        let Some((chain, key)) = &self.own else {
            return Err(malformed("certificate", "a listener needs one"));
        };
        let roots = Arc::new(pem::roots(&self.authorities)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, pem::provider());
        let verifier: Arc<dyn ClientCertVerifier> = match guests {
            Guests::Certified => verifier.build()?,
            Guests::Any => verifier.allow_unauthenticated().build()?,
        };
        let mut config = ServerConfig::builder_with_provider(pem::provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(config)
    }

    /// As [`Self::client`], trusting those of `more` as well.
    pub(super) fn client_trusting(&self, more: &[u8]) -> Result<ClientConfig, TlsError> {
        let mut authorities = authorities_of(more)?;
        authorities.extend(self.authorities.iter().cloned());
        client(self.own.as_ref(), &authorities)
    }
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client(
    own: Option<&Own>,
    authorities: &[CertificateDer<'static>],
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(pem::provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(pem::roots(authorities)?);
    let mut config = match own {
        Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn authorities_of(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    pem::certificates(pem).map_err(|why| malformed("authorities", why))
}

fn malformed(what: &'static str, why: impl Into<String>) -> TlsError {
    TlsError::Malformed {
        what,
        why: why.into(),
    }
}
