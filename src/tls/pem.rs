//! PURE: PEM as rustls wants it, and the one cryptography that all of ours uses.
//! In: the bytes of files. Out: certificates, keys, whom to trust. Never: an empty list taken for a good one.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, RootCertStore};

/// All certificates of a file, at least one.
///
/// # Errors
/// What is wrong with it, in words.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| error.to_string())?;
    match read.is_empty() {
        true => Err("no certificate in it".to_owned()),
        false => Ok(read),
    }
}

/// The first key of a file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string())
}

/// Trusts these.
///
/// # Errors
/// If one of them is no authority's certificate.
pub fn roots(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone())?;
    }
    Ok(roots)
}

/// Ring's: small, and nothing to compile but C.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
