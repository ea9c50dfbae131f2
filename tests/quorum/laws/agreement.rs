//! Nodes that have applied the same entries have the same table, and no table ever breaks a law of its own.
//! In: tables with their indexes. Out: two that differ, or one that is broken. Never: a guess about the other.

use std::collections::BTreeMap;

use sidelock::table::{Table, laws};

/// Whether all of these agree. Each is a node's name, what it has applied, and its table.
pub fn check(tables: &[(usize, u64, Table)]) -> Result<(), String> {
    let mut seen: BTreeMap<u64, (usize, &Table)> = BTreeMap::new();
    for (node, index, table) in tables {
        laws::check(table).map_err(|broken| format!("node {node}: {broken}"))?;
        match seen.get(index) {
            None => {
                seen.insert(*index, (*node, table));
            }
            Some((_, other)) if *other == table => {}
            Some((other, _)) => {
                return Err(format!(
                    "nodes {other} and {node} differ although both have applied {index}"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sidelock::table::command::{Command, OpenSession};
    use sidelock::table::id::{Generation, SessionKey};

    use super::*;

    fn with_session(key: u128) -> Table {
        let mut table = Table::default();
        table.apply(1, &Command::OpenSession(open(key)));
        table
    }

    fn open(key: u128) -> OpenSession {
        OpenSession {
            key: SessionKey(key),
            ttl_ms: 3_000,
            identity: Arc::from("pod"),
            generation: Generation(1),
            principal: None,
        }
    }

    #[test]
    fn the_same_index_with_another_table_is_found() {
        let (one, other) = (with_session(1), with_session(2));
        let same = [(0, 1, one.clone()), (1, 1, one.clone())];
        check(&same).expect("they agree");
        let later = [(0, 1, one.clone()), (1, 2, other.clone())];
        check(&later).expect("one is behind");
        check(&[(0, 1, one), (1, 1, other)]).expect_err("they differ");
    }
}
