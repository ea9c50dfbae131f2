//! Appends that tell of a commit and nothing else, told with the next entries where there are some.
//! In: the appends to one peer. Out: the same, without those that a later one makes needless.
//! Never: entries put off, or a commit kept back for longer than [`COMMIT_WAIT_MAX`].
//!
//! Raft tells each commit to the followers as soon as it is known. Under load the next entries follow at
//! once and carry it too, so the lone message would double the traffic between nodes for nothing. A
//! follower that learns later of a commit applies it later, which is what a slower network would do:
//! its timers start later, so no lease gets shorter by it. An append that is left out has no answer; the
//! answer to the later one covers it.

use std::time::Duration;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use openraft::raft::AppendEntriesRequest;
use tokio::time::timeout;

use super::types::{LogId, TypeConfig};

/// How long the next entries are waited for. An idle cell's followers lag by so much.
pub const COMMIT_WAIT_MAX: Duration = Duration::from_millis(5);

type Append = AppendEntriesRequest<TypeConfig>;

struct Merged {
    input: BoxStream<'static, Append>,
    /// The last entry that this peer was sent.
    sent: Option<LogId>,
    /// Taken from the input while another one was kept back, and not sent yet.
    next: Option<Append>,
    begun: bool,
}

/// Leaves out appends without entries that are followed by another one within [`COMMIT_WAIT_MAX`].
pub fn merged(
    input: impl Stream<Item = Append> + Send + 'static,
) -> impl Stream<Item = Append> + Send + Unpin + 'static {
    let merged = Merged {
        input: input.boxed(),
        sent: None,
        next: None,
        begun: false,
    };
    let merged = stream::unfold(merged, |mut merged| async move {
        let append = merged.next().await?;
        Some((append, merged))
    });
    merged.boxed()
}

impl Merged {
    async fn next(&mut self) -> Option<Append> {
        let mut append = match self.next.take() {
            Some(append) => append,
            None => self.input.next().await?,
        };
        while self.only_tells_of_a_commit(&append) {
            match timeout(COMMIT_WAIT_MAX, self.input.next()).await {
                // It begins where this one does, and knows of this commit or of a later one.
                Ok(Some(later)) if later.prev_log_id == append.prev_log_id => append = later,
                Ok(Some(other)) => {
                    self.next = Some(other);
                    break;
                }
                // Time is up, or nothing more will come.
                Ok(None) | Err(_) => break,
            }
        }
        self.begun = true;
        if let Some(last) = append.entries.last() {
            self.sent = Some(last.log_id);
        }
        Some(append)
    }

    /// The first append of a stream asks what the peer has, and is never kept back.
    fn only_tells_of_a_commit(&self, append: &Append) -> bool {
        self.begun && append.entries.is_empty() && append.prev_log_id == self.sent
    }
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use openraft::vote::leader_id_std::{CommittedLeaderId, LeaderId};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::core::types::{Entry, Vote};

    fn id(index: u64) -> LogId {
        LogId {
            leader_id: CommittedLeaderId::new(1),
            index,
        }
    }

    /// Entries after `prev` up to `last`, with the commit mark.
    fn append(prev: u64, last: u64, commit: u64) -> Append {
        Append {
            vote: Vote {
                leader_id: LeaderId {
                    term: 1,
                    voted_for: 1,
                },
                committed: true,
            },
            prev_log_id: Some(id(prev)),
            leader_commit: Some(id(commit)),
            entries: (prev + 1..=last)
                .map(|index| Entry {
                    log_id: id(index),
                    payload: EntryPayload::Blank,
                })
                .collect(),
        }
    }

    /// What goes out, as (prev, entries, commit), if all of these are there at once.
    async fn sent(appends: Vec<Append>) -> Vec<(u64, usize, u64)> {
        let merged = merged(stream::iter(appends));
        let shown = merged.map(|append| {
            let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
            let (prev, commit) = (index(append.prev_log_id), index(append.leader_commit));
            (prev, append.entries.len(), commit)
        });
        shown.collect().await
    }

    #[tokio::test]
    async fn a_commit_goes_with_the_next_entries() {
        let appends = vec![
            append(0, 0, 0),
            append(0, 3, 0),
            append(3, 3, 2),
            append(3, 3, 3),
            append(3, 4, 3),
        ];
        assert_eq!(sent(appends).await, [(0, 0, 0), (0, 3, 0), (3, 1, 3)]);
    }

    #[tokio::test]
    async fn the_first_of_a_stream_and_the_last_are_sent() {
        let appends = vec![append(5, 5, 4), append(5, 6, 4), append(6, 6, 6)];
        assert_eq!(sent(appends).await, [(5, 0, 4), (5, 1, 4), (6, 0, 6)]);
    }

    #[tokio::test]
    async fn one_that_begins_elsewhere_replaces_none() {
        let appends = vec![append(0, 3, 0), append(3, 3, 3), append(1, 3, 3)];
        assert_eq!(sent(appends).await, [(0, 3, 0), (3, 0, 3), (1, 2, 3)]);
    }

    #[tokio::test]
    async fn a_lone_commit_is_told_when_the_time_is_up() {
        let (sender, input) = mpsc::channel(4);
        let mut merged = merged(ReceiverStream::new(input));
        for append in [append(0, 1, 0), append(1, 1, 1)] {
            sender.send(append).await.expect("there is room");
        }
        assert_eq!(
            merged.next().await.map(|append| append.entries.len()),
            Some(1)
        );
        // Nothing more comes, and the input stays open.
        let told = merged.next().await.and_then(|append| append.leader_commit);
        assert_eq!(told, Some(id(1)));
        drop(sender);
        assert!(merged.next().await.is_none());
    }
}
