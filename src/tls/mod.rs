//! Who is at the other end: mutual TLS for all that crosses the network, by certificates that change while we run.
//! In: PEM files. Out: connections that carry the caller's identity, and connections to those we trust.
//! Never: a session, a lock, a rule; those who use it decide what an identity may do.

pub mod accept;
pub mod caller;
pub mod connect;
pub mod credentials;
pub mod http;
pub mod identity;
pub mod issue;
mod material;
pub mod pem;

pub use material::TlsError;
