//! Who a caller is to this node, and what it may do here.
//! In: connections' callers, certificates, rules. Out: rights. Never: a right by what a caller says of itself.

use std::sync::Arc;

use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::rules::{Right, Rules};
use super::tokens::Tokens;
use crate::config::followed::Followed;
use crate::planted::{self, Bug};
use crate::tls::accept::Guests;
use crate::tls::caller::Caller;
use crate::tls::credentials::Credentials;

/// What a node knows of who may do what. Without certificates it listens on this machine only, and asks nobody.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Our certificate and whom we trust.
    pub credentials: Option<Credentials>,
    /// Who may do what.
    pub rules: Option<Arc<Followed<Rules>>>,
    /// Who may come with a token instead of a certificate.
    pub tokens: Option<Arc<Followed<Tokens>>>,
}

impl Access {
    /// Whom a listener for sidecars lets in: with tokens, also those without a certificate.
    pub(super) fn guests(&self) -> Guests {
        match self.tokens {
            Some(_) => Guests::Any,
            None => Guests::Certified,
        }
    }

    /// What whoever made this connection may do.
    pub fn rights(&self, caller: Option<&Caller>) -> Rights {
        self.rights_of(caller.and_then(|caller| caller.identity.clone()))
    }

    /// What a sidecar may do: by its certificate, else by its token.
    pub(super) fn admit<T>(&self, request: &Request<T>) -> Result<Rights, Status> {
        let rights = self.rights(request.extensions().get::<Caller>());
        if rights.identity().is_some() || self.credentials.is_none() {
            return Ok(rights);
        }
        let unknown = |why: &str| {
            tracing::info!(why, "a sidecar is not let in");
            Status::unauthenticated(why)
        };
        let tokens = self.tokens.as_ref();
        let tokens = tokens.ok_or_else(|| unknown("a client certificate is needed"))?;
        let header = request.metadata().get("authorization");
        let token = header
            .and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "))
            .ok_or_else(|| unknown("a client certificate or a token is needed"))?;
        let subject = tokens.now().subject(token);
        let subject = subject.map_err(|why| unknown(&format!("the token: {why}")))?;
        Ok(self.rights_of(Some(subject)))
    }

    fn rights_of(&self, identity: Option<Arc<str>>) -> Rights {
        Rights {
            identity,
            certified: self.credentials.is_some(),
            rules: self.rules.clone(),
        }
    }

    /// Lets only the nodes of the cell call: those with our own identity.
    pub(super) fn nodes_only(&self) -> NodesOnly {
        NodesOnly(self.credentials.clone())
    }

    /// Follows the files that all this comes from, for ever.
    pub(super) async fn follow(&self) {
        let certificates = async {
            if let Some(credentials) = &self.credentials {
                credentials.follow().await;
            }
        };
        let rules = async {
            if let Some(rules) = &self.rules {
                rules.follow().await;
            }
        };
        let tokens = async {
            if let Some(tokens) = &self.tokens {
                tokens.follow().await;
            }
        };
        tokio::join!(certificates, rules, tokens);
        std::future::pending::<()>().await;
    }
}

/// What one caller may do. It follows the rules.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    identity: Option<Arc<str>>,
    certified: bool,
    rules: Option<Arc<Followed<Rules>>>,
}

impl Rights {
    /// Who it is, verified.
    pub fn identity(&self) -> Option<&Arc<str>> {
        self.identity.as_ref()
    }

    /// Whether it may do this to a lock, or to all whose names begin so.
    pub fn allow(&self, right: Right, name: &str) -> bool {
        match (&self.identity, &self.rules) {
            // Whoever is on this machine.
            (None, None) => !self.certified,
            // What changes others' locks or the cell wants a rule.
            (Some(_), None) => matches!(right, Right::Read | Right::Claim),
            (Some(identity), Some(rules)) => {
                rules.now().allow(identity, right, name) || planted::is(Bug::RightsIgnored)
            }
            (None, Some(_)) => false,
        }
    }
}

/// See [`Access::nodes_only`].
#[derive(Debug, Clone)]
pub(super) struct NodesOnly(Option<Credentials>);

impl Interceptor for NodesOnly {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(credentials) = &self.0 else {
            return Ok(request);
        };
        let caller = request.extensions().get::<Caller>();
        let theirs = caller.and_then(|caller| caller.identity.as_ref());
        if theirs.is_some() && theirs == credentials.identity().as_ref() {
            return Ok(request);
        }
        let theirs = theirs.map_or("nobody", |theirs| theirs);
        tracing::warn!(identity = theirs, "would call as a node of the cell");
        Err(Status::permission_denied(
            "only nodes of the cell may call this",
        ))
    }
}
