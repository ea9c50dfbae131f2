//! PURE: which core nodes are called: those that the sidecar was told of, and those that these tell of.
//! In: configured addresses, who answers there, the cell's members. Out: places to call.
//! Never: a configured node given up, or a second way to a node that is reached already.

/// Most nodes that are called besides the configured ones.
pub const LEARNT_MAX: usize = 16;

/// The nodes, each at its place; a place that is left is used again.
#[derive(Debug)]
pub struct Nodes {
    places: Vec<Option<Node>>,
    /// Raft ids of the cell's members, as of this index of its log.
    members: Vec<u64>,
    members_at: Option<u64>,
}

#[derive(Debug)]
struct Node {
    address: String,
    /// As which member others tell of it; `None` for one that is configured.
    learnt: Option<u64>,
    /// Who answers there, while a stream stands.
    id: Option<u64>,
}

impl Nodes {
    /// Those that are configured, at the first places.
    pub fn new(addresses: Vec<String>) -> Self {
        let configured = addresses.into_iter().map(|address| {
            Some(Node {
                address,
                learnt: None,
                id: None,
            })
        });
        Self {
            places: configured.collect(),
            members: Vec::new(),
            members_at: None,
        }
    }

    /// Those that are called, each with its place.
    pub fn addresses(&self) -> impl Iterator<Item = (usize, &str)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(place, node)| Some((place, node.as_ref()?.address.as_str())))
    }

    /// A node answers at this place, and says who it is.
    pub fn met(&mut self, place: usize, id: u64) {
        self.set_id(place, Some(id));
    }

    /// The stream to it has ended.
    pub fn lost(&mut self, place: usize) {
        self.set_id(place, None);
    }

    /// The members of the cell, by Raft id and address, as of this index. Gives those that are to be called from now
    /// on. What is no newer than what is known is no news: nodes that lag tell of the past.
    pub fn learn(&mut self, at: u64, members: Vec<(u64, String)>) -> Vec<(usize, String)> {
        if Some(at) <= self.members_at {
            return Vec::new();
        }
        self.members_at = Some(at);
        self.members = members.iter().map(|(id, _)| *id).collect();
        let unknown = members.into_iter().filter(|(id, address)| {
            let mut known = self.places.iter().flatten();
            !known.any(|node| {
                node.id == Some(*id) || node.learnt == Some(*id) || node.address == *address
            })
        });
        let unknown: Vec<_> = unknown.collect();
        let learnt = |node: &&Node| node.learnt.is_some();
        let room = LEARNT_MAX.saturating_sub(self.places.iter().flatten().filter(learnt).count());
        if unknown.len() > room {
            tracing::warn!(
                nodes = unknown.len(),
                room,
                "too many nodes: the last are not called"
            );
        }
        let called = unknown.into_iter().take(room);
        called
            .map(|(id, address)| (self.add(id, address.clone()), address))
            .collect()
    }

    /// Whether this place is still to be called. One that was learnt is not once its node has left the cell, or is
    /// reached by another way: by another name, or through a proxy. It is left then.
    pub fn keeps(&mut self, place: usize) -> bool {
        let Some(Some(node)) = self.places.get(place) else {
            return false;
        };
        let Some(id) = node.learnt else {
            return true;
        };
        let mut others = self
            .places
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != place);
        let elsewhere = others.any(|(_, other)| other.as_ref().is_some_and(|it| it.id == Some(id)));
        let keeps = self.members.contains(&id) && !elsewhere;
        if !keeps {
            self.places[place] = None;
        }
        keeps
    }

    fn add(&mut self, id: u64, address: String) -> usize {
        let node = Some(Node {
            address,
            learnt: Some(id),
            id: None,
        });
        match self.places.iter().position(Option::is_none) {
            Some(place) => {
                self.places[place] = node;
                place
            }
            None => {
                self.places.push(node);
                self.places.len() - 1
            }
        }
    }

    fn set_id(&mut self, place: usize, id: Option<u64>) {
        if let Some(Some(node)) = self.places.get_mut(place) {
            node.id = id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[(u64, &str)]) -> Vec<(u64, String)> {
        list.iter()
            .map(|(id, at)| (*id, (*at).to_owned()))
            .collect()
    }

    fn nodes(addresses: &[&str]) -> Nodes {
        Nodes::new(addresses.iter().map(|it| (*it).to_owned()).collect())
    }

    #[test]
    fn members_that_nobody_told_of_are_called() {
        let mut nodes = nodes(&["a:1", "b:1"]);
        nodes.met(0, 1);
        let new = nodes.learn(5, of(&[(1, "proxied:1"), (2, "b:1"), (3, "c:1")]));
        assert_eq!(new, [(2, "c:1".to_owned())]);
        assert!(
            nodes
                .learn(6, of(&[(1, "proxied:1"), (3, "c:1")]))
                .is_empty()
        );
        let all: Vec<_> = nodes.addresses().collect();
        assert_eq!(all, [(0, "a:1"), (1, "b:1"), (2, "c:1")]);
    }

    #[test]
    fn only_what_was_learnt_is_left_and_its_place_is_used_again() {
        let mut nodes = nodes(&["a:1"]);
        assert_eq!(nodes.learn(0, of(&[(1, "a:1"), (2, "b:1")])).len(), 1);
        assert!(nodes.keeps(1));
        assert!(
            nodes
                .learn(2, of(&[(3, "c:1")]))
                .contains(&(2, "c:1".to_owned()))
        );
        assert!(nodes.keeps(0), "configured");
        assert!(!nodes.keeps(1), "not a member any more");
        assert!(nodes.keeps(2));
        assert!(
            nodes
                .learn(3, of(&[(3, "c:1"), (4, "d:1")]))
                .contains(&(1, "d:1".to_owned()))
        );
    }

    #[test]
    fn a_node_that_is_reached_by_another_way_needs_no_second_one() {
        let mut nodes = nodes(&["proxy:1"]);
        assert_eq!(nodes.learn(1, of(&[(1, "direct:1")])).len(), 1);
        nodes.met(0, 1);
        assert!(!nodes.keeps(1));
        assert!(nodes.learn(2, of(&[(1, "direct:1")])).is_empty());
        nodes.lost(0);
        assert!(nodes.keeps(0));
    }

    #[test]
    fn old_news_is_no_news_and_there_is_a_bound() {
        let mut nodes = nodes(&["a:1"]);
        assert_eq!(nodes.learn(9, of(&[(2, "b:1")])).len(), 1);
        assert!(nodes.learn(9, of(&[(3, "c:1")])).is_empty());
        assert!(nodes.learn(8, of(&[(3, "c:1")])).is_empty());
        assert!(nodes.keeps(1));
        let many = (10..100).map(|id| (id, format!("n{id}:1"))).collect();
        assert_eq!(nodes.learn(10, many).len(), LEARNT_MAX - 1);
    }
}
