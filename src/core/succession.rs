//! PURE: which incarnation a new disk gets, and who remembers those that left.
//! In: the members. Out: numbers, and members with more to remember. Never: a Raft id given twice.

use std::collections::BTreeMap;

use super::types::Member;

/// The incarnation for a new disk at a place: above all that the place ever had. `None` if none is left.
pub fn next_incarnation(members: &[Member], place: u16) -> Option<u16> {
    let present = members.iter().filter(|member| member.place == place);
    let present = present.map(|member| member.incarnation);
    let retired = members
        .iter()
        .filter_map(|member| member.retired.get(&place).copied());
    present.chain(retired).max().unwrap_or(0).checked_add(1)
}

/// What a member has to remember when another one leaves: who that was, and what it remembered.
pub fn heir(keeper: &Member, leaver: &Member) -> Member {
    let mut retired: BTreeMap<u16, u16> = keeper.retired.clone();
    let own = (leaver.place, leaver.incarnation);
    for (place, incarnation) in leaver.retired.iter().map(|(p, i)| (*p, *i)).chain([own]) {
        let last = retired.entry(place).or_insert(0);
        *last = incarnation.max(*last);
    }
    Member {
        retired,
        ..keeper.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(place: u16, incarnation: u16) -> Member {
        Member {
            place,
            incarnation,
            ..Member::default()
        }
    }

    #[test]
    fn the_first_disk_of_a_place_is_its_first_incarnation() {
        assert_eq!(next_incarnation(&[member(1, 3)], 4), Some(1));
    }

    #[test]
    fn a_new_disk_comes_after_the_one_that_is_there() {
        assert_eq!(next_incarnation(&[member(1, 3), member(2, 1)], 1), Some(4));
    }

    #[test]
    fn a_place_that_left_is_remembered_over_all_heirs() {
        let one = heir(&member(1, 1), &member(4, 2));
        let two = heir(&member(2, 1), &one);
        let three = heir(&member(3, 1), &two);
        assert_eq!(next_incarnation(std::slice::from_ref(&three), 4), Some(3));
        assert_eq!(next_incarnation(std::slice::from_ref(&three), 1), Some(2));
    }

    #[test]
    fn no_incarnation_is_given_twice() {
        assert_eq!(next_incarnation(&[member(1, u16::MAX)], 1), None);
    }
}
