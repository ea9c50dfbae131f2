//! A sorted set that most often has one element, or none.
//! In: elements, in any order. Out: the least first. Never: an allocation for a single element.

use std::collections::BTreeSet;

/// A set for the steps of one command, of which nearly all touch one lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Few<T> {
    /// The least of them; `rest` is empty without it.
    first: Option<T>,
    rest: BTreeSet<T>,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self {
            first: None,
            rest: BTreeSet::new(),
        }
    }
}

impl<T: Ord> Few<T> {
    /// Adds one; false if it was there.
    pub(super) fn insert(&mut self, element: T) -> bool {
        let Some(first) = &mut self.first else {
            self.first = Some(element);
            return true;
        };
        match element.cmp(first) {
            std::cmp::Ordering::Equal => false,
            std::cmp::Ordering::Greater => self.rest.insert(element),
            std::cmp::Ordering::Less => self.rest.insert(std::mem::replace(first, element)),
        }
    }

    /// Takes the least out.
    pub(super) fn pop_first(&mut self) -> Option<T> {
        let least = self.first.take()?;
        self.first = self.rest.pop_first();
        Some(least)
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }
}

impl<T: Ord> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        for element in elements {
            self.insert(element);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_sorted_set_whatever_the_order_of_change() {
        let (mut few, mut plain) = (Few::default(), BTreeSet::new());
        for turn in 0..2_000_u32 {
            if turn * 13 % 5 < 2 {
                assert_eq!(few.pop_first(), plain.pop_first());
            } else {
                assert_eq!(few.insert(turn * 7 % 11), plain.insert(turn * 7 % 11));
            }
            assert!(few.iter().eq(&plain), "{few:?} {plain:?}");
        }
    }
}
