//! PURE: who a certificate says its owner is.
//! In: a certificate that was verified. Out: its SPIFFE id, else its common name. Never: a guess between two.

use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Longest identity, in bytes: as the SPIFFE standard bounds its ids.
pub const IDENTITY_BYTES_MAX: usize = 2_048;

/// The identity in a certificate, and the end of its validity in seconds since 1970. `None` if it names nobody,
/// or several: a SPIFFE certificate has exactly one URI (X.509-SVID, section 2).
pub fn read(certificate: &CertificateDer<'_>) -> Option<(Arc<str>, i64)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let until = certificate.validity().not_after.timestamp();
    let names = certificate.subject_alternative_name().ok()?;
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    let named = match uris.as_slice() {
        [] => {
            let mut names = certificate.subject().iter_common_name();
            names.next()?.as_str().ok()?
        }
        [uri] => uri,
        [_, _, ..] => return None,
    };
    let fits = (1..=IDENTITY_BYTES_MAX).contains(&named.len());
    (fits && !named.contains(char::is_control)).then(|| (named.into(), until))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::issue::{Authority, Subject};

    fn identity(subject: Subject) -> Option<Arc<str>> {
        let authority = Authority::new("try-out", 1).expect("an authority");
        let issued = authority.issue(&subject).expect("a certificate");
        read(&issued.der).map(|(identity, _until)| identity)
    }

    #[test]
    fn a_spiffe_id_goes_before_a_common_name() {
        let both = Subject {
            common_name: "pod".to_owned(),
            uris: vec!["spiffe://example.org/ns/a/sa/b".to_owned()],
            ..Subject::default()
        };
        assert_eq!(
            identity(both).as_deref(),
            Some("spiffe://example.org/ns/a/sa/b")
        );
        let name = Subject {
            common_name: "pod".to_owned(),
            ..Subject::default()
        };
        assert_eq!(identity(name).as_deref(), Some("pod"));
    }

    #[test]
    fn two_ids_are_nobodys() {
        let two = Subject {
            common_name: "pod".to_owned(),
            uris: vec!["spiffe://a/1".to_owned(), "spiffe://a/2".to_owned()],
            ..Subject::default()
        };
        assert_eq!(identity(two), None);
    }
}
