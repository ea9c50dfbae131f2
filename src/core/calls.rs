//! Calls to other nodes outside of Raft: who are you, this is our cell, I am new here.
//! In: an address. Out: the answer, or why there is none. Never: a wait beyond a bound.

use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::codec::member_to_proto;
use super::network::Peers;
use super::types::Member;
use crate::wire::v1;
use crate::wire::v1::formation_client::FormationClient;

/// Longest that one call takes.
const CALL_WAIT_MAX: Duration = Duration::from_secs(1);

/// Why another node gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address}: {why}")]
pub struct CallError {
    /// Who was asked.
    pub address: String,
    /// What went wrong.
    pub why: String,
}

impl CallError {
    /// A failed call to an address.
    pub fn new(address: &str, why: &str) -> Self {
        Self {
            address: address.to_owned(),
            why: why.to_owned(),
        }
    }
}

/// Makes the calls, over the connections that Raft uses too.
#[derive(Debug, Clone, Default)]
pub struct Calls(Peers);

impl Calls {
    /// Over these connections.
    pub fn new(peers: Peers) -> Self {
        Self(peers)
    }

    /// Asks the node at an address who it is.
    pub async fn identify(&self, address: &str) -> Result<v1::IdentifyReply, CallError> {
        let mut client = self.client(address)?;
        let call = client.identify(v1::IdentifyRequest {});
        answered(address, timeout(CALL_WAIT_MAX, call).await)
    }

    /// Tells the node at an address which cell it forms with the others; durable there on return.
    pub async fn form(
        &self,
        address: &str,
        cluster_id: &str,
        members: &[Member],
    ) -> Result<(), CallError> {
        let mut client = self.client(address)?;
        let call = client.form(v1::FormRequest {
            cluster_id: cluster_id.to_owned(),
            members: members.iter().map(member_to_proto).collect(),
        });
        answered(address, timeout(CALL_WAIT_MAX, call).await).map(|_reply| ())
    }

    /// Tells the node at an address that it belongs to the cell from now on; durable there on return.
    pub async fn admit(
        &self,
        address: &str,
        cluster_id: &str,
        member: &Member,
    ) -> Result<(), CallError> {
        let mut client = self.client(address)?;
        let call = client.admit(v1::AdmitRequest {
            cluster_id: cluster_id.to_owned(),
            member: Some(member_to_proto(member)),
        });
        answered(address, timeout(CALL_WAIT_MAX, call).await).map(|_reply| ())
    }

    /// Tells the node at an address that this one waits to be admitted; gives the leader's address, or
    /// nothing if none is known there.
    pub async fn announce(&self, address: &str, own: &Member) -> Result<String, CallError> {
        let mut client = self.client(address)?;
        let call = client.announce(v1::AnnounceRequest {
            member: Some(member_to_proto(own)),
        });
        let reply = answered(address, timeout(CALL_WAIT_MAX, call).await)?;
        Ok(reply.leader_address)
    }

    fn client(&self, address: &str) -> Result<FormationClient<Channel>, CallError> {
        let channel = self.0.channel(address);
        let channel = channel.map_err(|error| CallError::new(address, &error.to_string()))?;
        Ok(FormationClient::new(channel))
    }
}

fn answered<T>(
    address: &str,
    outcome: Result<Result<Response<T>, Status>, tokio::time::error::Elapsed>,
) -> Result<T, CallError> {
    match outcome {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(CallError::new(address, status.message())),
        Err(_elapsed) => Err(CallError::new(address, "no answer in time")),
    }
}
