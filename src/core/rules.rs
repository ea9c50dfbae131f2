//! PURE: which identity may do what to which locks.
//! In: a YAML file. Out: yes or no. Never: a yes for whom no rule names, once there are rules.

use serde::Deserialize;

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// See locks, their holders, queues and history.
    Read,
    /// Take locks.
    Claim,
    /// Free what others hold.
    Break,
    /// Change the cell; prefixes mean nothing to it.
    Admin,
}

/// All rules of a file, in effect at once: what one of them allows is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Whole identities, or their beginnings with a `*` at the end.
    identities: Vec<String>,
    /// Beginnings of lock names; the empty one is that of all.
    #[serde(default)]
    prefixes: Vec<String>,
    may: Vec<Right>,
}

impl Rules {
    /// From the text of a file.
    ///
    /// # Errors
    /// What is wrong with it, in words, with line and column.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let rules: Self = serde_yaml_ng::from_slice(text).map_err(|error| error.to_string())?;
        for rule in &rules.rules {
            if rule.identities.iter().any(String::is_empty) {
                return Err("an identity is empty".to_owned());
            }
            let of_locks = rule.may.iter().any(|right| *right != Right::Admin);
            if of_locks && rule.prefixes.is_empty() {
                let text = "a rule about locks needs `prefixes`; [\"\"] means all of them";
                return Err(text.to_owned());
            }
        }
        Ok(rules)
    }

    /// Whether an identity may do this to a lock, or to all whose names begin so.
    pub fn allow(&self, identity: &str, right: Right, name: &str) -> bool {
        self.rules.iter().any(|rule| {
            rule.may.contains(&right)
                && rule
                    .identities
                    .iter()
                    .any(|pattern| matches(pattern, identity))
                && (right == Right::Admin
                    || rule.prefixes.iter().any(|prefix| name.starts_with(prefix)))
        })
    }
}

fn matches(pattern: &str, identity: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => identity.starts_with(beginning),
        None => pattern == identity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = br#"
rules:
  - identities: ["spiffe://a/ns/shop/sa/*"]
    prefixes: ["shop/", "shared/"]
    may: [read, claim]
  - identities: [ops]
    prefixes: [""]
    may: [read, break]
  - identities: [ops]
    may: [admin]
"#;

    #[test]
    fn what_no_rule_allows_is_denied() {
        let rules = Rules::parse(FILE).expect("rules");
        let shop = "spiffe://a/ns/shop/sa/till";
        for (identity, right, name, allowed) in [
            (shop, Right::Claim, "shop/1", true),
            (shop, Right::Claim, "shared/x", true),
            (shop, Right::Read, "shop/", true),
            (shop, Right::Claim, "shop", false),
            (shop, Right::Claim, "shopping", false),
            (shop, Right::Read, "", false), // that is all locks
            (shop, Right::Break, "shop/1", false),
            (shop, Right::Admin, "", false),
            ("spiffe://a/ns/shop", Right::Claim, "shop/1", false),
            ("ops", Right::Break, "shop/1", true),
            ("ops", Right::Claim, "shop/1", false),
            ("ops", Right::Admin, "", true),
            ("ops2", Right::Admin, "", false),
            ("", Right::Read, "", false),
        ] {
            assert_eq!(
                rules.allow(identity, right, name),
                allowed,
                "{identity} {right:?} {name}"
            );
        }
    }

    #[test]
    fn an_empty_file_allows_nothing() {
        let rules = Rules::parse(b"rules: []").expect("rules");
        assert!(!rules.allow("ops", Right::Read, ""));
    }

    #[test]
    fn mistakes_are_told() {
        for (text, told) in [
            ("rules: [{identities: [a], may: [claim]}]", "prefixes"),
            (
                "rules: [{identities: [a], prefixes: [\"\"], may: [own]}]",
                "own",
            ),
            (
                "rules: [{identity: [a], prefixes: [\"\"], may: [read]}]",
                "identity",
            ),
            (
                "rules: [{identities: [\"\"], prefixes: [\"\"], may: [read]}]",
                "empty",
            ),
            ("- a", "Rules"),
        ] {
            let error = Rules::parse(text.as_bytes()).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
