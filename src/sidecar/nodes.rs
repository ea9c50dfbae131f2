//! PURE: which core nodes are called: those that the sidecar was told of, and those that these tell of.
//! In: configured addresses, who answers there, the cell's members. Out: places to call.
//! Never: a configured node given up, or a second way to a node that is reached already.

/// Most nodes that are called besides the configured ones.
pub const LEARNT_MAX: usize = 16;

/// The nodes, each at its place; a place that is left is used again.
#[derive(Debug)]
pub struct Nodes {
    places: Vec<Option<Node>>,
    /// The cell's members, by Raft id and address, as of this index of its log.
    members: Vec<(u64, String)>,
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

    /// The members of the cell, by Raft id and address, as of this index. What is older than what is known is no news:
    /// nodes that lag tell of the past.
    pub fn learn(&mut self, at: u64, members: Vec<(u64, String)>) {
        if Some(at) > self.members_at {
            self.members_at = Some(at);
            self.members = members;
        }
    }

    /// Members that nobody calls, which from now on are called, as far as there is room. An address may be that of
    /// several nodes, one at a time: whoever answered there before is among these, once another one does.
    pub fn take_missing(&mut self) -> Vec<(usize, String)> {
        let learnt = |node: &&Node| node.learnt.is_some();
        let room = LEARNT_MAX.saturating_sub(self.places.iter().flatten().filter(learnt).count());
        let called: Vec<_> = self.missing().take(room).cloned().collect();
        called
            .into_iter()
            .map(|(id, address)| (self.add(id, address.clone()), address))
            .collect()
    }

    /// Members that nobody calls.
    pub fn missing(&self) -> impl Iterator<Item = &(u64, String)> {
        self.members.iter().filter(|(id, address)| {
            let mut known = self.places.iter().flatten();
            !known.any(|node| {
                node.id == Some(*id) || node.learnt == Some(*id) || node.address == *address
            })
        })
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
        let keeps = self.members.iter().any(|(member, _)| *member == id) && !elsewhere;
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

    fn nodes(addresses: &[&str]) -> Nodes {
        Nodes::new(addresses.iter().map(|it| (*it).to_owned()).collect())
    }

    /// Tells of these members; whom that makes it call, each with its place.
    fn told(nodes: &mut Nodes, at: u64, members: &[(u64, &str)]) -> Vec<(usize, String)> {
        let members = members.iter().map(|(id, at)| (*id, (*at).to_owned()));
        nodes.learn(at, members.collect());
        nodes.take_missing()
    }

    fn call(place: usize, address: &str) -> (usize, String) {
        (place, address.to_owned())
    }

    #[test]
    fn members_that_nobody_told_of_are_called() {
        let mut nodes = nodes(&["a:1", "b:1"]);
        nodes.met(0, 1);
        let members = [(1, "proxied:1"), (2, "b:1"), (3, "c:1")];
        assert_eq!(told(&mut nodes, 0, &members), [call(2, "c:1")]);
        assert_eq!(told(&mut nodes, 6, &members), []);
        let all: Vec<_> = nodes.addresses().collect();
        assert_eq!(all, [(0, "a:1"), (1, "b:1"), (2, "c:1")]);
    }

    #[test]
    fn only_what_was_learnt_is_left_and_its_place_is_used_again() {
        let mut nodes = nodes(&["a:1"]);
        assert_eq!(
            told(&mut nodes, 1, &[(1, "a:1"), (2, "b:1")]),
            [call(1, "b:1")]
        );
        assert!(nodes.keeps(1));
        assert_eq!(told(&mut nodes, 2, &[(3, "c:1")]), [call(2, "c:1")]);
        assert!(nodes.keeps(0), "configured");
        assert!(!nodes.keeps(1), "not a member any more");
        assert!(nodes.keeps(2));
        assert_eq!(
            told(&mut nodes, 3, &[(3, "c:1"), (4, "d:1")]),
            [call(1, "d:1")]
        );
    }

    #[test]
    fn a_node_that_is_reached_by_another_way_needs_no_second_one() {
        let mut nodes = nodes(&["proxy:1"]);
        assert_eq!(
            told(&mut nodes, 1, &[(1, "direct:1")]),
            [call(1, "direct:1")]
        );
        nodes.met(0, 1);
        assert!(!nodes.keeps(1));
        assert_eq!(told(&mut nodes, 2, &[(1, "direct:1")]), []);
        assert!(nodes.keeps(0));
    }

    #[test]
    fn whoever_answered_at_a_shared_address_is_called_once_another_one_does() {
        let mut nodes = nodes(&["service:1"]);
        let members = [(1, "a:1"), (2, "b:1")];
        nodes.met(0, 1);
        assert_eq!(told(&mut nodes, 1, &members), [call(1, "b:1")]);
        nodes.lost(0);
        nodes.met(0, 2);
        assert_eq!(told(&mut nodes, 1, &members), [call(2, "a:1")]);
    }

    #[test]
    fn old_news_is_no_news_and_there_is_a_bound() {
        let mut nodes = nodes(&["a:1"]);
        assert_eq!(told(&mut nodes, 9, &[(2, "b:1")]), [call(1, "b:1")]);
        assert_eq!(told(&mut nodes, 9, &[(3, "c:1")]), []);
        assert_eq!(told(&mut nodes, 8, &[(3, "c:1")]), []);
        assert!(nodes.keeps(1));
        let many: Vec<_> = (10..100).map(|id| (id, format!("n{id}:1"))).collect();
        nodes.learn(10, many);
        assert_eq!(nodes.take_missing().len(), LEARNT_MAX - 1);
        assert_eq!(nodes.missing().count(), 90 - (LEARNT_MAX - 1));
    }
}
