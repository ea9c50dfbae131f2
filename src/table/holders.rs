//! The set of claims that hold one lock, cheap for the usual one.
//! In: claims. Out: the same claims, in their order. Never: an allocation for a single holder.

use std::collections::BTreeSet;

use super::id::ClaimRef;

/// A sorted set of claims. A million locks with one holder each must not cost a tree each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holders {
    /// The least of them; `rest` is empty without it.
    first: Option<ClaimRef>,
    /// Boxed, since few locks have one. Never empty.
    #[expect(
        clippy::box_collection,
        reason = "8 bytes for those that have none, not 24"
    )]
    rest: Option<Box<BTreeSet<ClaimRef>>>,
}

impl Holders {
    /// How many.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    /// Whether nobody holds.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The least.
    pub fn first(&self) -> Option<&ClaimRef> {
        self.first.as_ref()
    }

    /// Whether this claim is one of them.
    pub fn contains(&self, claim: &ClaimRef) -> bool {
        self.first.as_ref() == Some(claim)
            || self.rest.as_ref().is_some_and(|rest| rest.contains(claim))
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &ClaimRef> {
        self.first
            .iter()
            .chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }

    /// Adds one; false if it was there.
    pub(super) fn insert(&mut self, claim: ClaimRef) -> bool {
        let Some(first) = self.first else {
            self.first = Some(claim);
            return true;
        };
        if first == claim {
            return false;
        }
        self.first = Some(first.min(claim));
        self.rest.get_or_insert_default().insert(first.max(claim))
    }

    /// Takes one out; false if it was not there.
    pub(super) fn remove(&mut self, claim: &ClaimRef) -> bool {
        let is_first = self.first.as_ref() == Some(claim);
        let Some(rest) = &mut self.rest else {
            self.first = self.first.filter(|_| !is_first);
            return is_first;
        };
        let removed = if is_first {
            self.first = rest.pop_first();
            true
        } else {
            rest.remove(claim)
        };
        if rest.is_empty() {
            self.rest = None;
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::id::{Seq, SessionId};

    #[test]
    fn they_are_a_sorted_set_whatever_the_order_of_change() {
        let claim = |seq| ClaimRef {
            session: SessionId(1),
            seq: Seq(seq),
        };
        let mut holders = Holders::default();
        let mut plain = BTreeSet::new();
        for turn in 0..2_000_u64 {
            let seq = turn * 7 % 11;
            if turn * 13 % 5 < 2 {
                assert_eq!(holders.remove(&claim(seq)), plain.remove(&claim(seq)));
            } else {
                assert_eq!(holders.insert(claim(seq)), plain.insert(claim(seq)));
            }
            assert!(holders.iter().eq(&plain), "{holders:?} {plain:?}");
            assert_eq!(holders.len(), plain.len());
            assert_eq!(holders.is_empty(), plain.is_empty());
            assert_eq!(holders.contains(&claim(3)), plain.contains(&claim(3)));
        }
        for seq in 0..11 {
            holders.remove(&claim(seq));
        }
        assert_eq!(holders, Holders::default(), "equal sets are equal values");
    }
}
