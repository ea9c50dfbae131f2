//! A bound TCP port. `[::]` means every address of this host, also on one without IPv6.
//! In: an address. Out: a listener. Never: a wider address than was asked for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use rustix::io::Errno;
use tokio::net::TcpListener;

/// Binds. Kernels booted with `ipv6.disable=1` know no `[::]`, and what asks for it, a chart say, cannot tell:
/// there it is 0.0.0.0, which is all that `[::]` could have meant.
///
/// # Errors
/// What the system says.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    match bound
        .as_ref()
        .err()
        .and_then(|error| instead(address, error))
    {
        Some(any) => {
            tracing::info!(%address, "no IPv6 on this host: listening on {any}");
            TcpListener::bind(any).await
        }
        None => bound,
    }
}

/// What to listen on where an address could not be had for this reason.
fn instead(address: SocketAddr, why: &io::Error) -> Option<SocketAddr> {
    let number = why.raw_os_error().map(Errno::from_raw_os_error);
    let lacks_ipv6 = matches!(number, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL));
    let any_v6 = address.is_ipv6() && address.ip().is_unspecified();
    (lacks_ipv6 && any_v6).then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_every_address_becomes_every_address_of_the_other_family() {
        let none = io::Error::from(Errno::AFNOSUPPORT);
        let taken = io::Error::from(Errno::ADDRINUSE);
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert_eq!(instead(at("[::]:5628"), &none), Some(at("0.0.0.0:5628")));
        assert_eq!(instead(at("[::1]:5628"), &none), None);
        assert_eq!(instead(at("[::]:5628"), &taken), None);
        assert_eq!(instead(at("0.0.0.0:5628"), &none), None);
    }
}
