//! Who has asked to be admitted to the cell lately. A list for operators; it decides nothing.
//! In: what new nodes announce. Out: the living ones, by place. Never: more than a bound of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::types::Member;
use crate::world::clock::Instant;

/// Remembered at once; one more replaces the one heard longest ago.
const APPLICANTS_MAX: usize = 64;
/// One that has not been heard of for so long is gone; each asks every second.
const AGE_MAX: Duration = Duration::from_secs(10);

/// The list, shared by those who ask and those who look.
#[derive(Debug, Default)]
pub struct Applicants(Mutex<BTreeMap<u16, (Instant, Member)>>);

impl Applicants {
    /// This node has asked now.
    pub fn note(&self, now: Instant, member: Member) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= APPLICANTS_MAX && !known.contains_key(&member.place) {
            let oldest = known.iter().min_by_key(|(_, (heard, _))| *heard);
            if let Some(place) = oldest.map(|(place, _)| *place) {
                known.remove(&place);
            }
        }
        known.insert(member.place, (now, member));
    }

    /// Those heard of lately.
    pub fn lately(&self, now: Instant) -> BTreeMap<u16, Member> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (heard, _)| now.since(*heard) <= AGE_MAX);
        known
            .iter()
            .map(|(place, (_, member))| (*place, member.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(second))
    }

    fn node(place: u16) -> Member {
        Member {
            place,
            ..Member::default()
        }
    }

    #[test]
    fn who_stops_asking_is_forgotten() {
        let list = Applicants::default();
        list.note(at(0), node(4));
        list.note(at(9), node(5));
        assert_eq!(list.lately(at(10)).into_keys().collect::<Vec<_>>(), [4, 5]);
        assert_eq!(list.lately(at(11)).into_keys().collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn the_list_is_bounded_and_forgets_the_oldest() {
        let list = Applicants::default();
        for place in 1..=65 {
            list.note(at(u64::from(place) / 10), node(place));
        }
        let kept = list.lately(at(7));
        assert_eq!(kept.len(), APPLICANTS_MAX);
        assert!(!kept.contains_key(&1) && kept.contains_key(&65));
    }
}
