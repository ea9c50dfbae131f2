//! A JSON patch (RFC 6902) that grows one operation at a time.
//! In: paths and values. Out: the patch as JSON. Never: an operation that takes anything away.

use serde::Serialize;
use serde_json::Value;

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Change {
    /// Into a list before what is there; of an object, in the place of what is there.
    Add { path: String, value: Value },
    /// Within a list.
    Move { from: String, path: String },
}

/// Changes in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patch(Vec<Change>);

/// A place in a document, as a JSON pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At(String);

impl At {
    /// The pod's metadata.
    pub(super) fn metadata() -> Self {
        Self("/metadata".to_owned())
    }

    /// The pod's specification.
    pub(super) fn spec() -> Self {
        Self("/spec".to_owned())
    }

    /// A member of the object here.
    pub(super) fn member(&self, name: &str) -> Self {
        let name = name.replace('~', "~0").replace('/', "~1");
        Self(format!("{}/{name}", self.0))
    }

    /// Before an element of the list here.
    pub(super) fn element(&self, index: usize) -> Self {
        Self(format!("{}/{index}", self.0))
    }

    /// Behind the last element of the list here.
    fn end(&self) -> Self {
        Self(format!("{}/-", self.0))
    }
}

impl Patch {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As RFC 6902 wants it.
    ///
    /// # Panics
    /// Never: strings and JSON values always encode.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).expect("strings always encode")
    }

    /// Adds.
    pub(super) fn add(&mut self, at: At, value: Value) {
        self.0.push(Change::Add { path: at.0, value });
    }

    /// Appends to the list here, which is made if it is not there.
    pub(super) fn append(&mut self, list: &At, there: bool, values: Vec<Value>) {
        if !there {
            return self.add(list.clone(), Value::Array(values));
        }
        for value in values {
            self.add(list.end(), value);
        }
    }

    /// Puts before all else in the list here, which is made if it is not there.
    pub(super) fn prepend(&mut self, list: &At, there: bool, values: Vec<Value>) {
        if !there {
            return self.add(list.clone(), Value::Array(values));
        }
        for value in values.into_iter().rev() {
            self.add(list.element(0), value);
        }
    }

    /// Takes an element of a list to another place in it, counted without it.
    pub(super) fn shift(&mut self, list: &At, from: usize, to: usize) {
        self.0.push(Change::Move {
            from: list.element(from).0,
            path: list.element(to).0,
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(patch: &Patch) -> Value {
        serde_json::from_slice(&patch.to_json()).expect("JSON")
    }

    #[test]
    fn names_are_escaped() {
        let mut patch = Patch::default();
        let annotations = At::metadata().member("annotations");
        patch.add(annotations.member("sidelock.dev/a~b"), json!("c"));
        assert_eq!(
            shown(&patch),
            json!([{"op": "add", "path": "/metadata/annotations/sidelock.dev~1a~0b", "value": "c"}])
        );
    }

    #[test]
    fn lists_are_made_where_there_are_none() {
        let list = At::spec().member("volumes");
        let mut patch = Patch::default();
        patch.append(&list, false, vec![json!(1), json!(2)]);
        assert_eq!(
            shown(&patch),
            json!([{"op": "add", "path": "/spec/volumes", "value": [1, 2]}])
        );
        let mut patch = Patch::default();
        patch.append(&list, true, vec![json!(1)]);
        patch.prepend(&list, true, vec![json!(2), json!(3)]);
        patch.shift(&list, 4, 0);
        assert_eq!(
            shown(&patch),
            json!([
                {"op": "add", "path": "/spec/volumes/-", "value": 1},
                {"op": "add", "path": "/spec/volumes/0", "value": 3},
                {"op": "add", "path": "/spec/volumes/0", "value": 2},
                {"op": "move", "from": "/spec/volumes/4", "path": "/spec/volumes/0"},
            ])
        );
    }
}
