//! The order of classes by brute force: every pair of a lock held and a lock taken, every path looked for.
//! In: the slow model's claims at a grant. Out: the orders that contradict an earlier one.
//! Never: a class made by the table's own code.

use std::collections::{BTreeMap, BTreeSet};

use sidelock::table::id::LockName;

use super::slow::Claim;

/// Held, taken.
pub type Edge = (String, String);

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// How often, and whether it closed a cycle.
    pub edges: BTreeMap<Edge, (u64, bool)>,
}

impl Orders {
    /// A claim is about to be granted. The new edges that close a cycle, with its length.
    pub fn note(&mut self, claims: &[Claim], claim: &Claim) -> Vec<(Edge, usize)> {
        let same = |other: &&Claim| {
            !other.waits() && other.name.session == claim.name.session && other.owner == claim.owner
        };
        let held: BTreeSet<String> = claims
            .iter()
            .filter(same)
            .flat_map(|other| &other.wants)
            .map(|want| class(&want.name))
            .collect();
        let taken: BTreeSet<String> = claim.wants.iter().map(|want| class(&want.name)).collect();
        let mut inverted = Vec::new();
        for before in &held {
            for after in taken.iter().filter(|after| *after != before) {
                let edge = (before.clone(), after.clone());
                if let Some((count, _)) = self.edges.get_mut(&edge) {
                    *count += 1;
                    continue;
                }
                let steps = self.steps(after, before);
                self.edges.insert(edge.clone(), (1, steps.is_some()));
                inverted.extend(steps.map(|steps| (edge, steps + 1)));
            }
        }
        inverted
    }

    /// How many edges lead from one class to another, at least.
    fn steps(&self, from: &str, to: &str) -> Option<usize> {
        let mut reached = BTreeSet::from([from.to_owned()]);
        for steps in 0..=self.edges.len() {
            if reached.contains(to) {
                return Some(steps);
            }
            let further = self.edges.keys().filter(|edge| reached.contains(&edge.0));
            let further: Vec<String> = further.map(|edge| edge.1.clone()).collect();
            reached.extend(further);
        }
        None
    }
}

fn class(name: &LockName) -> String {
    let first = name.as_str().split('/').next();
    first.expect("a split has a first part").to_owned()
}
