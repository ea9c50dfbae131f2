//! The order in which owners take locks of different classes, and where two orders contradict each other.
//! In: grants to owners that hold locks already. Out: edges between classes, and an inversion when a new one
//! closes a cycle, before anybody has to wait for it. Never: more edges than a bound, or a search for a known edge.
//!
//! As lockdep does in Linux, for classes rather than locks: that `orders/1` was held while `stock/7` was taken
//! and `stock/3` while `orders/9` was says that the two programs deadlock one day, though these four never met.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use super::apply::Step;
use super::claim::CLAIM_IS_LIVE;
use super::command::{Effect, Want};
use super::id::{ClaimId, ClaimRef, LockName, OwnerId, Revision};
use super::state::{Key, Table};
use crate::planted::{self, Bug};

/// Most edges that are kept, at some 300 bytes each. Names without a path are classes of their own and could
/// make any number; what comes beyond is counted and not noted.
pub const EDGES_MAX: usize = 4_096;
/// So many of an owner's locks are looked at when it is granted more, those of its newest claims. An owner that
/// holds thousands must not pay for all of them with each.
pub const HELD_LOOKED_AT_MAX: usize = 64;

/// What many locks have in common: the first path segment of their names, `orders` of `orders/42`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockClass(Arc<str>);

impl LockClass {
    /// The class of a lock. A name of slashes alone is its own.
    pub fn of(lock: &LockName) -> Self {
        let mut segments = lock.as_str().split('/');
        let first = segments.find(|segment| !segment.is_empty());
        Self(first.unwrap_or(lock.as_str()).into())
    }

    /// The class of this name; `None` if no lock can have it.
    pub fn parse(text: &str) -> Option<Self> {
        let class = Self(text.into());
        // `.` is no lock's name, and a class all the same: that of `./a`.
        let names = [text.to_owned(), format!("{text}/")];
        let mut locks = names.iter().filter_map(|name| LockName::parse(name).ok());
        locks.any(|lock| Self::of(&lock) == class).then_some(class)
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LockClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LockClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// A lock of one class was held while one of another was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderEdge {
    /// How often.
    pub count: u64,
    /// The first time.
    pub sample: OrderSample,
    /// Empty, unless it contradicts the edges before it: then the classes of the cycle, each held while the next
    /// was taken, the last while the first was. They begin with this edge.
    pub closes: Arc<[LockClass]>,
}

/// One time that a lock was held while another was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderSample {
    /// What was held.
    pub held: LockName,
    /// What was taken.
    pub taken: LockName,
    /// The app's id of the claim that took it.
    pub claim_id: ClaimId,
    /// Who held the one and took the other.
    pub owner: OwnerId,
    /// Its sidecar.
    pub identity: Arc<str>,
    /// When it was granted.
    pub revision: Revision,
}

/// Classes that are taken in contradicting orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inversion {
    /// See [`OrderEdge::closes`].
    pub classes: Arc<[LockClass]>,
    /// What closed the cycle.
    pub sample: OrderSample,
}

impl Table {
    /// Every observed order of two classes: the one held, the one taken.
    pub fn order(&self) -> impl Iterator<Item = (&LockClass, &LockClass, &OrderEdge)> {
        let edges = self.order.iter();
        edges.map(|((before, after), edge)| (before, after, edge))
    }

    /// Notes what the owner of a claim holds while the claim is granted. To be called before the claim itself
    /// counts as holding: its own locks are taken at once, in no order.
    pub(super) fn note_order(
        &mut self,
        step: &mut Step,
        name: ClaimRef,
        wants: &[Want],
        revision: Revision,
    ) {
        let owner = self.owner_of(name);
        // A delegation may be idle. If its owner used it, it would have been returned for the second claim.
        let held = self.claims_of_owner(&owner, true).rev();
        let held = held.take(HELD_LOOKED_AT_MAX);
        let held = held.filter(|held| !self.is_delegated(*held));
        let held = held.flat_map(|held| self.claims[&held].locks.iter());
        let held = by_class(held.take(HELD_LOOKED_AT_MAX));
        if held.is_empty() {
            return;
        }
        let claim_id = &self.claims.get(&name).expect(CLAIM_IS_LIVE).claim_id;
        let sample = |held: &LockName, taken: &LockName| OrderSample {
            held: held.clone(),
            taken: taken.clone(),
            claim_id: claim_id.clone(),
            owner: owner.1.clone(),
            identity: self.identity_of(name.session),
            revision,
        };
        let taken = by_class(wants.iter());
        let pairs = held.iter().flat_map(|held| {
            let others = taken.iter().filter(move |taken| taken.0 != held.0);
            others.map(move |taken| (held, taken))
        });
        let seen: Vec<_> = pairs
            .map(|((before, held), (after, taken))| {
                let edge = (before.clone(), after.clone());
                (edge, sample(held, taken))
            })
            .collect();
        for (edge, sample) in seen {
            self.note_edge(step, edge, sample);
        }
    }

    fn note_edge(&mut self, step: &mut Step, key: (LockClass, LockClass), sample: OrderSample) {
        if let Some(edge) = self.order.get_mut(&key) {
            edge.count += 1;
        } else if self.order.len() >= EDGES_MAX {
            self.counters.order_missed += 1;
            return;
        } else {
            let closes = self.cycle_closed_by(&key);
            if !closes.is_empty() {
                step.effects.push(Effect::OrderInverted(Inversion {
                    classes: closes.clone(),
                    sample: sample.clone(),
                }));
            }
            let edge = OrderEdge {
                count: 1,
                sample,
                closes,
            };
            self.order.insert(key.clone(), edge);
        }
        // What changes is gathered before it is written, so that a busy edge costs one write for thousands.
        self.dirty.insert(Key::Order(key.0, key.1));
    }

    /// A shortest cycle that an edge would close; empty if none.
    fn cycle_closed_by(&self, (before, after): &(LockClass, LockClass)) -> Arc<[LockClass]> {
        if planted::is(Bug::InversionMissed) {
            return Arc::default();
        }
        let mut reached_from: BTreeMap<&LockClass, &LockClass> = BTreeMap::new();
        let mut seen = BTreeSet::from([after]);
        let mut todo = VecDeque::from([after]);
        while let Some(class) = todo.pop_front() {
            if class == before {
                let back = std::iter::successors(Some(class), |class| {
                    reached_from.get(class).copied() // none leads to `after`
                });
                let mut classes: Vec<LockClass> = back.cloned().collect();
                classes.rotate_left(1); // from `before`, the way back, to: the way back, from `before`
                classes.reverse();
                return classes.into();
            }
            for next in self.taken_under(class) {
                if seen.insert(next) {
                    reached_from.insert(next, class);
                    todo.push_back(next);
                }
            }
        }
        Arc::default()
    }

    /// The classes that were taken while one of this class was held.
    fn taken_under<'a>(&'a self, class: &'a LockClass) -> impl Iterator<Item = &'a LockClass> {
        let from = (class.clone(), LockClass(Arc::from(""))); // less than every class
        let edges = self.order.range((Bound::Excluded(from), Bound::Unbounded));
        edges
            .take_while(move |((before, _), _)| before == class)
            .map(|((_, after), _)| after)
    }
}

/// One lock of each class, the first.
fn by_class<'a>(wants: impl Iterator<Item = &'a Want>) -> BTreeMap<LockClass, LockName> {
    let mut classes = BTreeMap::new();
    for want in wants {
        classes
            .entry(LockClass::of(&want.name))
            .or_insert_with(|| want.name.clone());
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_the_first_segment_with_a_text() {
        for (name, class) in [
            ("orders/42", "orders"),
            ("orders", "orders"),
            ("/orders/1/2", "orders"),
            ("./a", "."),
            ("//", "//"),
        ] {
            let lock = LockName::parse(name).expect("a valid name");
            assert_eq!(LockClass::of(&lock).as_str(), class, "{name}");
            assert_eq!(LockClass::parse(class), Some(LockClass::of(&lock)));
        }
        for text in ["", "a/b", "/a", "a/", "a\u{0}b"] {
            assert_eq!(LockClass::parse(text), None, "{text:?}");
        }
    }
}
