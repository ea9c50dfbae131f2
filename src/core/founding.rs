//! PURE: when a set of new nodes is a cell, and what it is called.
//! In: the peers as configured, and what each said of itself. Out: wait, form, or ask to be admitted.
//! Never: a second cell from a disk set that once made another.

use std::collections::BTreeMap;

use super::types::{DiskId, Member};

/// One entry of `--peers`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its node id.
    pub place: u16,
    /// `HOST:PORT` of its gRPC.
    pub address: String,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its node id.
    pub place: u16,
    /// Its disk.
    pub disk: DiskId,
    /// The cell that its disk belongs to.
    pub cluster_id: Option<String>,
    /// Whether it has a membership: that cell exists.
    pub formed: bool,
    /// Its `--peers`, sorted.
    pub peers: Vec<Peer>,
    /// `HOST:PORT` of its operator HTTP.
    pub http: String,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing yet; the text says for what.
    Wait(String),
    /// All peers are new and agree: this is the cell. The lowest place tells the others.
    Form {
        /// The cell's id, the same from whichever peer computes it, and however often.
        cluster_id: String,
        /// All members, by place, each in its first incarnation.
        members: Vec<Member>,
    },
    /// There is a cell already, which this disk is not part of: wait for an operator to admit it.
    Apply(String),
}

/// Decides for the node at `own`, from what each of `peers` (sorted, itself included) has answered.
pub fn plan(own: u16, peers: &[Peer], answers: &BTreeMap<u16, Answer>) -> Plan {
    if let Some(answer) = answers.values().find(|answer| answer.formed) {
        return Plan::Apply(format!("node {} is in a formed cell", answer.place));
    }
    for peer in peers {
        let Some(answer) = answers.get(&peer.place) else {
            return Plan::Wait(format!(
                "no answer from node {} at {}",
                peer.place, peer.address
            ));
        };
        if answer.peers != peers {
            return Plan::Wait(format!(
                "node {} was started with other --peers",
                peer.place
            ));
        }
    }
    let members: Vec<Member> = peers
        .iter()
        .map(|peer| Member {
            place: peer.place,
            incarnation: 1,
            disk: answers[&peer.place].disk,
            grpc: peer.address.clone(),
            http: answers[&peer.place].http.clone(),
            retired: BTreeMap::new(),
        })
        .collect();
    let cluster_id = cell_id(&members);
    let other = answers.values().find(|answer| {
        let bound = answer.cluster_id.as_ref();
        bound.is_some_and(|bound| *bound != cluster_id)
    });
    match other {
        // Its cell may exist although it has not heard so: forming another could make two.
        Some(answer) => Plan::Apply(format!(
            "the disk of node {} belongs to another cell",
            answer.place
        )),
        None if members.iter().any(|member| member.place == own) => Plan::Form {
            cluster_id,
            members,
        },
        None => Plan::Wait(format!("--peers does not name this node, {own}")),
    }
}

/// The id of the cell that these members form: 32 hex digits of the FNV-1a hash of places, disks and
/// addresses. The disks' random ids make it unique; the hash need not resist anyone.
pub fn cell_id(members: &[Member]) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut sorted: Vec<&Member> = members.iter().collect();
    sorted.sort_by_key(|member| member.place);
    let mut hash = OFFSET;
    for member in sorted {
        let line = format!("{} {} {}\n", member.place, member.disk, member.grpc);
        for byte in line.bytes() {
            hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
        }
    }
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> Vec<Peer> {
        (1..=3)
            .map(|place| Peer {
                place,
                address: format!("n{place}:5626"),
            })
            .collect()
    }

    fn new_disk(place: u16) -> Answer {
        Answer {
            place,
            disk: DiskId(u128::from(place) + 1000),
            cluster_id: None,
            formed: false,
            peers: peers(),
            http: format!("n{place}:5627"),
        }
    }

    fn answers() -> BTreeMap<u16, Answer> {
        (1..=3).map(|place| (place, new_disk(place))).collect()
    }

    fn formed_id() -> String {
        match plan(1, &peers(), &answers()) {
            Plan::Form { cluster_id, .. } => cluster_id,
            other => panic!("three new peers form a cell, not {other:?}"),
        }
    }

    #[test]
    fn all_peers_compute_the_same_cell() {
        let plans: Vec<Plan> = (1..=3).map(|own| plan(own, &peers(), &answers())).collect();
        assert!(matches!(&plans[0], Plan::Form { members, .. } if members.len() == 3));
        assert_eq!(plans[0], plans[1]);
        assert_eq!(plans[0], plans[2]);
    }

    #[test]
    fn one_missing_peer_is_waited_for() {
        let mut answers = answers();
        answers.remove(&2);
        assert!(matches!(plan(1, &peers(), &answers), Plan::Wait(_)));
    }

    #[test]
    fn peers_that_disagree_do_not_form() {
        let mut answers = answers();
        answers.get_mut(&3).expect("node 3 answers").peers.pop();
        assert!(matches!(plan(1, &peers(), &answers), Plan::Wait(_)));
    }

    #[test]
    fn a_half_done_formation_goes_on() {
        let mut answers = answers();
        answers.get_mut(&2).expect("node 2 answers").cluster_id = Some(formed_id());
        assert!(matches!(plan(1, &peers(), &answers), Plan::Form { .. }));
    }

    #[test]
    fn a_new_disk_never_forms_a_second_cell() {
        // Node 1 has told the others and then lost its disk; they never heard of a leader.
        let first = formed_id();
        let mut answers = answers();
        for place in [2, 3] {
            answers.get_mut(&place).expect("it answers").cluster_id = Some(first.clone());
        }
        answers.get_mut(&1).expect("node 1 answers").disk = DiskId(7);
        assert!(matches!(plan(1, &peers(), &answers), Plan::Apply(_)));
    }

    #[test]
    fn an_empty_directory_that_meets_a_formed_cell_waits_to_be_admitted() {
        let mut answers = answers();
        answers.remove(&3);
        let met = answers.get_mut(&2).expect("node 2 answers");
        met.cluster_id = Some("another".into());
        met.formed = true;
        assert!(matches!(plan(1, &peers(), &answers), Plan::Apply(_)));
    }
}
