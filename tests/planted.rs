//! The list of planted mistakes, for `make mutants`, and that none is made in a build like this.
//! In: `sidelock::planted`. Out: one line for each, `name <tab> judge <tab> what it does`.

use std::collections::BTreeSet;

use sidelock::planted::{BUGS, Bug, is};

#[test]
fn the_list_of_planted_mistakes() {
    let names: BTreeSet<&str> = BUGS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names.len(), BUGS.len(), "each is listed once");
    for (name, what, judge) in BUGS {
        println!("{name}\t{judge}\t{}", what.trim());
    }
}

#[test]
fn none_is_made_unless_it_is_asked_for() {
    assert!(!is(Bug::ExpireWithoutCompare));
}
