//! A planted breach for each rule: it must be found, on its line, and its legal sister must not.
//! In: nothing. Out: the rules, judged. Never: a file of ours.

use super::rules::{FILE_LINES_MAX, FUNCTION_LINES_MAX, judge};
use super::source::Source;

const HEAD: &str = "//! Says what this file is for.\n";

/// A path, what stands there after the first line, and the rule that must object; none if it is legal.
type Plant = (&'static str, &'static str, Option<&'static str>);

const PLANTS: &[Plant] = &[
    ("src/table/a.rs", "use crate::wire::Frame;", Some("imports")),
    ("src/table/a.rs", "use crate::table::id::Seq;", None),
    (
        "src/table/a.rs",
        "use super::super::core::Node;",
        Some("imports"),
    ),
    ("src/table/laws/a.rs", "use super::super::core::Node;", None), // that is table::core
    (
        "src/table/laws/a.rs",
        "use super::super::super::core::Node;",
        Some("imports"),
    ),
    ("src/table/a.rs", "// use crate::wire::Frame;", None),
    ("src/table/a.rs", "const A: &str = \"crate::wire\";", None),
    (
        "src/table/a.rs",
        "const A: &str = r#\"a \" crate::wire\"#;",
        None,
    ),
    (
        "src/wire/a.rs",
        "use crate::{\n    table,\n    core::{a, b},\n};",
        Some("imports"),
    ),
    ("src/wire/a.rs", "use crate::{table::{core, id}};", None),
    (
        "src/core/a.rs",
        "fn a() { crate::sidecar::b(); }",
        Some("imports"),
    ),
    (
        "src/sidecar/a.rs",
        "use crate::core::Node;",
        Some("imports"),
    ),
    (
        "src/core/mod.rs",
        "pub use super::sidecar::Handle;",
        Some("imports"),
    ),
    ("src/api/a.rs", "use crate::core::Node;", Some("imports")),
    ("src/api/a.rs", "use crate::wire::Frame;", Some("imports")),
    ("src/api/a.rs", "use crate::table::Table;", Some("imports")),
    ("src/api/a.rs", "use crate::table::id::LockName;", None),
    ("src/views/a.rs", "use crate::table::view::LockView;", None),
    (
        "src/views/a.rs",
        "use crate::sidecar::Handle;",
        Some("imports"),
    ),
    ("src/core/a.rs", "use crate::views::locks::LockBody;", None),
    (
        "src/sidecar/a.rs",
        "use crate::views::locks::LockBody;",
        Some("imports"),
    ),
    ("src/cli/a.rs", "use crate::core::Node;", None),
    ("src/novel/a.rs", "", Some("imports")),
    (
        "src/core/a.rs",
        "fn a() { b().unwrap(); }",
        Some("no-unwrap"),
    ),
    ("src/core/a.rs", "fn a() { b().unwrap_or(0); }", None),
    (
        "src/core/a.rs",
        "#[cfg(test)]\nmod tests {\n    fn a() { b().unwrap(); }\n}",
        None,
    ),
    (
        "src/core/a.rs",
        "#[cfg(test)]\nmod tests;\nfn a() { b().unwrap(); }",
        Some("no-unwrap"),
    ),
    (
        "src/core/a.rs",
        "#[cfg(test)]\nmod t {\n const A: char = '}';\n}\nfn a() { b().unwrap(); }",
        Some("no-unwrap"),
    ),
    (
        "src/core/a.rs",
        "fn a() { let _ = b(); }",
        Some("no-dropped-result"),
    ),
    ("src/core/a.rs", "fn a() { let _guard = b(); }", None),
    (
        "src/core/a.rs",
        "#[allow(dead_code)]\nfn a() {}",
        Some("expect-not-allow"),
    ),
    ("src/core/a.rs", "fn a() { todo!() }", Some("no-debris")),
    ("src/core/a.rs", "// TODO: later", Some("unfinished")),
    ("src/core/a.rs", "// a FIXME", Some("unfinished")),
    ("tests/a.rs", "// TODO: later", Some("unfinished")),
    (
        "src/api/a.rs",
        "use openraft::Raft;",
        Some("openraft-inside-core"),
    ),
    ("src/core/a.rs", "use openraft::Raft;", None),
    (
        "src/api/a.rs",
        "use http::StatusCode;",
        Some("statuses-in-one-place"),
    ),
    ("src/api/problem.rs", "use http::StatusCode;", None),
    (
        "src/table/a.rs",
        "use std::collections::HashMap;",
        Some("no-hash-order-in-table"),
    ),
    (
        "src/table/laws/tests.rs",
        "use std::collections::HashSet;",
        Some("no-hash-order-in-table"),
    ),
    ("src/core/a.rs", "use std::collections::HashMap;", None),
    (
        "src/core/a.rs",
        "fn a() { std::time::Instant::now(); }",
        Some("one-clock"),
    ),
    (
        "src/core/a.rs",
        "fn a() { tokio::time::Instant::now(); }",
        Some("one-clock"),
    ),
    (
        "src/sidecar/a.rs",
        "use std::time::SystemTime;",
        Some("one-clock"),
    ),
    (
        "src/world/clock.rs",
        "fn a() { rustix::time::clock_gettime(); }",
        None,
    ),
    ("src/table/a.rs", "use std::thread;", Some("table-is-pure")),
    ("src/table/a.rs", "async fn a() {}", Some("table-is-pure")),
    (
        "src/core/a.rs",
        "fn a() { tokio::spawn(b()); }",
        Some("spawn-in-shells"),
    ),
    (
        "src/core/a.rs",
        "fn a() { tokio::task::spawn_blocking(b); }",
        None,
    ),
    ("src/core/node.rs", "fn a() { tokio::spawn(b()); }", None),
    ("src/core/a.rs", "fn a() { respawn(b()); }", None),
    ("loadtest/src/a.rs", "fn a() { tokio::spawn(b()); }", None),
    (
        "loadtest/src/a.rs",
        "fn a() { b().unwrap(); }",
        Some("no-unwrap"),
    ),
    (
        "src/core/a.rs",
        "fn a() { mpsc::unbounded_channel(); }",
        Some("bounded-channels"),
    ),
];

fn rules_of(found: &[String]) -> Vec<&str> {
    found
        .iter()
        .filter_map(|one| one.split(['[', ']']).nth(1))
        .collect()
}

#[test]
fn each_planted_breach_is_found_and_nothing_else() {
    for (path, text, rule) in PLANTS {
        let found = judge(&Source::new(path, &format!("{HEAD}{text}\n")));
        let expected: Vec<&str> = rule.iter().copied().collect();
        assert_eq!(
            rules_of(&found),
            expected,
            "{path}: {text}\nfound: {found:#?}"
        );
    }
}

#[test]
fn a_file_without_its_sentence_is_found() {
    for text in [
        "",
        "fn a() {}\n",
        "// Says what this file is for.\n",
        "//! Short.\n",
    ] {
        assert_eq!(
            rules_of(&judge(&Source::new("src/core/a.rs", text))),
            ["first-line"],
            "{text}"
        );
    }
}

#[test]
fn sizes_count_code_and_not_what_explains_it() {
    let lines = |count: usize, line: &str| line.repeat(count);
    let judged = |text: String| judge(&Source::new("src/core/a.rs", &format!("{HEAD}{text}")));
    let constant = "const A: u8 = 1;\n";
    assert!(judged(lines(FILE_LINES_MAX, constant)).is_empty());
    assert_eq!(
        rules_of(&judged(lines(FILE_LINES_MAX + 1, constant))),
        ["file-size"]
    );
    assert!(
        judged(lines(FILE_LINES_MAX, constant) + &lines(99, "// why\n\n/* how\n */\n")).is_empty()
    );

    let function = |count: usize| {
        format!(
            "pub(super) async fn long() {{\n{}}}\n",
            lines(count, "    b();\n")
        )
    };
    assert!(judged(function(FUNCTION_LINES_MAX - 2)).is_empty());
    let found = judged(function(FUNCTION_LINES_MAX - 1));
    assert_eq!(rules_of(&found), ["function-size"]);
    assert!(
        found[0].starts_with("src/core/a.rs:2: ") && found[0].contains("`long`"),
        "{found:?}"
    );
}

#[test]
fn findings_name_file_and_line() {
    let text = format!("{HEAD}\nfn a() {{\n    b().unwrap();\n}}\n");
    let found = judge(&Source::new("src/core/a.rs", &text));
    assert!(
        found[0].starts_with("src/core/a.rs:4: [no-unwrap] "),
        "{found:?}"
    );
}
