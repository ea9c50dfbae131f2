//! Addresses to listen on and to call, as text that people write.
//! In: `HOST:PORT`, `[::1]:PORT`, `localhost:PORT`, `1=HOST:PORT`. Out: checked addresses.
//! Never: a look-up in DNS; a name is resolved by whoever dials it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `ADDRESS:PORT`.
    #[error("expected ADDRESS:PORT, such as 127.0.0.1:5625, [::1]:5625 or localhost:5625")]
    Listen,
    /// Not `HOST:PORT`.
    #[error("expected HOST:PORT")]
    HostPort,
    /// Not `NUMBER=HOST:PORT`.
    #[error("expected NUMBER=HOST:PORT, with a number from 1 to 65535")]
    Peer,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// `localhost:PORT`: 127.0.0.1 and [::1], where one may be missing.
    Loopbacks(u16),
    /// Exactly this.
    One(SocketAddr),
}

impl Listen {
    /// The addresses, the one that must not be missing first.
    pub fn addresses(self) -> Vec<SocketAddr> {
        match self {
            Self::Loopbacks(port) => vec![
                SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
                SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port),
            ],
            Self::One(address) => vec![address],
        }
    }
}

impl FromStr for Listen {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(port) = text.strip_prefix("localhost:") {
            return port
                .parse()
                .map(Self::Loopbacks)
                .map_err(|_| AddressError::Listen);
        }
        text.parse()
            .map(Self::One)
            .map_err(|_| AddressError::Listen)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopbacks(port) => write!(f, "localhost:{port}"),
            Self::One(address) => address.fmt(f),
        }
    }
}

/// Where to listen, or nowhere: `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionalListen(pub Option<Listen>);

impl FromStr for OptionalListen {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text {
            "none" => Ok(Self(None)),
            text => text.parse().map(|listen| Self(Some(listen))),
        }
    }
}

/// One address to listen on; `localhost` means 127.0.0.1 here.
pub fn socket(text: &str) -> Result<SocketAddr, AddressError> {
    // A `Listen` has at least one address by construction.
    text.parse::<Listen>().map(|listen| listen.addresses()[0])
}

/// `HOST:PORT` of somebody else; the host is not resolved here.
pub fn host_port(text: &str) -> Result<String, AddressError> {
    let (host, port) = text.rsplit_once(':').ok_or(AddressError::HostPort)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host_fits = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        }
    };
    match port.parse::<u16>() {
        Ok(1..) if host_fits => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(AddressError::HostPort),
    }
}

/// `NUMBER=HOST:PORT`: a place in the cell and where its node listens.
pub fn peer(text: &str) -> Result<(u16, String), AddressError> {
    let (number, address) = text.split_once('=').ok_or(AddressError::Peer)?;
    match (number.parse(), host_port(address)) {
        (Ok(number @ 1..), Ok(address)) => Ok((number, address)),
        (Ok(_) | Err(_), _) => Err(AddressError::Peer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_means_both_loopbacks() {
        let listen: Listen = "localhost:5625".parse().expect("a valid text");
        let texts: Vec<_> = listen.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["127.0.0.1:5625", "[::1]:5625"]);
    }

    #[test]
    fn an_address_means_itself() {
        let listen: Listen = "[::1]:0".parse().expect("a valid text");
        assert_eq!(listen.addresses().len(), 1);
        for text in [
            "5625",
            "localhost",
            "localhost:x",
            "127.0.0.1",
            "::1:5625x",
            "host:1",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[test]
    fn peers_have_a_number_and_a_port() {
        assert_eq!(
            peer("2=core-1.cores:5626"),
            Ok((2, "core-1.cores:5626".to_owned()))
        );
        assert_eq!(peer("3=[::1]:5626"), Ok((3, "[::1]:5626".to_owned())));
        for text in [
            "core:5626",
            "0=a:1",
            "1=a",
            "1=a:0",
            "1=:5626",
            "70000=a:1",
            "1=::1:5626",
        ] {
            assert_eq!(peer(text), Err(AddressError::Peer), "{text}");
        }
    }
}
