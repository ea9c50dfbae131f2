//! The house rules as functions from one file to findings. What clippy cannot scope to a folder is here.
//! In: a source file. Out: findings, each with file, line, rule and what to do instead.
//! Never: a rule without a planted breach in `planted.rs` that shows that it fires.

use super::source::{Source, end_of_item};

/// Most lines of code of a file, and of its tests: cases are looked up by name, not read in a row.
pub const FILE_LINES_MAX: usize = 400;
pub const TEST_LINES_MAX: usize = 1_000;
/// Most lines of code of a function, and of one in tests: scenes and tables of cases are straight.
pub const FUNCTION_LINES_MAX: usize = 70;
const TEST_FUNCTION_LINES_MAX: usize = 120;

/// Files beyond the bound, with the size they must not exceed. Only ever lower a number.
const LONG_FILES: &[(&str, usize)] = &[("src/core/formation.rs", 403)];

/// Functions beyond the bound, likewise.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Who may name what: a folder of `src/` and the folders it may import from (itself goes without saying).
const IMPORTS: &[(&str, &[&str])] = &[
    ("planted", &[]),
    ("table", &["planted"]),
    ("world", &[]),
    ("ui", &[]),
    ("telemetry", &["table", "world"]),
    ("wire", &["table"]),
    ("views", &["table"]), // shown by core and api, which must not see each other
    ("config", &["table", "world"]),
    ("tls", &["config", "world"]),
    ("injector", &["config", "tls", "world"]),
    (
        "core",
        &[
            "planted",
            "table",
            "views",
            "wire",
            "world",
            "telemetry",
            "config",
            "tls",
            "ui",
        ],
    ),
    (
        "sidecar",
        &[
            "planted",
            "table",
            "wire",
            "world",
            "telemetry",
            "config",
            "tls",
        ],
    ),
    (
        "api",
        &[
            "sidecar",
            "table",
            "views",
            "world",
            "telemetry",
            "config",
            "ui",
        ],
    ),
    (
        "cli",
        &[
            "api",
            "config",
            "core",
            "injector",
            "sidecar",
            "table",
            "telemetry",
            "tls",
            "wire",
            "world",
        ],
    ),
];

/// Of the table, the face may know the names and data, but neither the table nor how it works.
const API_SEES_OF_TABLE: &[&str] = &["id", "command", "state"];

/// A word that must not stand in code, where it may all the same, and what to do instead.
struct Ban {
    rule: &'static str,
    words: &'static [&'static str],
    /// Only files under these paths; all of `src/` and `loadtest/` if empty.
    within: &'static [&'static str],
    /// Paths that are excepted.
    except: &'static [&'static str],
    /// Whether tests are excepted.
    tests_may: bool,
    instead: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        rule: "no-unwrap",
        words: &[".unwrap()", ".unwrap_err()"],
        within: &[],
        except: &[],
        tests_may: true,
        instead: "say in `expect` why it holds, or return an error",
    },
    Ban {
        rule: "no-dropped-result",
        words: &["let _ ="],
        within: &[],
        except: &[],
        tests_may: false,
        instead: "handle the error, or `drop` a value that is none",
    },
    Ban {
        rule: "expect-not-allow",
        words: &["#[allow(", "#![allow("],
        within: &[],
        // Generated code, which may or may not offend.
        except: &["src/wire/mod.rs", "loadtest/src/clients/etcd_grpc.rs"],
        tests_may: false,
        instead: "`#[expect(.., reason = \"..\")]` goes away when it is no longer needed",
    },
    Ban {
        rule: "no-debris",
        words: &["dbg!(", "todo!(", "unimplemented!("],
        within: &[],
        except: &[],
        tests_may: false,
        instead: "finish it",
    },
    Ban {
        rule: "openraft-inside-core",
        words: &["openraft"],
        within: &[],
        except: &["src/core/"],
        tests_may: false,
        instead: "let core say it in its own types, so that the engine can be replaced",
    },
    Ban {
        rule: "statuses-in-one-place",
        words: &["StatusCode"],
        within: &[],
        // One place for each listener; the metrics label answers by status and choose none, and who asks reads them.
        except: &[
            "src/api/problem.rs",
            "src/core/problem.rs",
            "src/injector/problem.rs",
            "src/api/metrics.rs",
            "src/cli/client.rs",
            "src/tls/http.rs",
        ],
        tests_may: true,
        instead: "a typed error, which problem.rs turns into a status",
    },
    Ban {
        rule: "no-hash-order-in-table",
        words: &["HashMap", "HashSet", "RandomState"],
        within: &["src/table/"],
        except: &[],
        tests_may: false,
        instead: "BTreeMap: every replica must walk in the same order",
    },
    Ban {
        rule: "one-clock",
        words: &["Instant::now", "SystemTime", "clock_gettime", "UNIX_EPOCH"],
        within: &[],
        except: &["src/world/clock.rs"],
        tests_may: false,
        instead: "take `now` as an argument, or ask a `world::clock::Clock` in a shell",
    },
    Ban {
        rule: "table-is-pure",
        words: &[
            "std::io",
            "std::fs",
            "std::net",
            "std::thread",
            "tokio",
            "rand::",
            "async ",
        ],
        within: &["src/table/"],
        except: &[],
        tests_may: false,
        instead: "bring it in through a command",
    },
    Ban {
        rule: "spawn-in-shells",
        words: &["spawn(", "spawn_local("], // who calls spawn_blocking awaits it
        within: &[],
        except: SHELLS,
        tests_may: true,
        instead: "return a future, and let a listed shell own it",
    },
    Ban {
        rule: "bounded-channels",
        words: &["unbounded_channel", "mpsc::channel()"],
        within: &[],
        except: &[],
        tests_may: false,
        instead: "a channel with a bound, and what happens when it is full",
    },
];

/// Who may start tasks and threads: each owns what it starts and waits for its end.
const SHELLS: &[&str] = &[
    "src/cli/",             // processes, and the runtime itself
    "src/core/doors.rs",    // a task for each connection of an operator
    "src/core/node.rs",     // builds a node from its parts
    "src/core/flusher.rs",  // the one thread of a node that syncs
    "src/core/rocks.rs",    // its thread syncs the other column families
    "src/core/snapshot.rs", // one thread for each snapshot, beside apply
    "src/sidecar/driver.rs",
    "src/world/accepting.rs", // a task for each connection
    "src/api/serve.rs",       // a task for each port
    "src/tls/accept.rs",      // a task for each handshake
    "src/tls/http.rs",        // a task for each connection of a command
    "loadtest/",              // workers, who end with their run
];

/// Words that must not stand anywhere, comments included.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "XXX"];

/// `path:line: [rule] what`, as editors like it.
pub fn judge(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if source.path.starts_with("src/") {
        imports(source, &mut found);
    }
    if ["src/", "loadtest/"]
        .iter()
        .any(|at| source.path.starts_with(at))
    {
        first_line(source, &mut found);
        bans(source, &mut found);
    }
    unfinished(source, &mut found);
    file_size(source, &mut found);
    function_sizes(source, &mut found);
    found
}

fn tell(found: &mut Vec<String>, source: &Source, line: usize, rule: &str, what: &str) {
    found.push(format!("{}:{}: [{rule}] {what}", source.path, line + 1));
}

fn first_line(source: &Source, found: &mut Vec<String>) {
    let first = source.raw.first().map_or("", String::as_str);
    let sentence = first.strip_prefix("//! ").unwrap_or("").trim();
    if sentence.len() < 10 {
        tell(
            found,
            source,
            0,
            "first-line",
            "open with `//! ` and a sentence that says the job",
        );
    }
}

fn imports(source: &Source, found: &mut Vec<String>) {
    let Some(part) = source.part() else {
        return;
    };
    let Some((_, may)) = IMPORTS.iter().find(|(name, _)| *name == part) else {
        return tell(
            found,
            source,
            0,
            "imports",
            "a new folder of src/: say in IMPORTS what it may see",
        );
    };
    for (line, target) in named(source) {
        let (top, rest) = target.split_once("::").unwrap_or((&target, ""));
        if top != part && !may.contains(&top) {
            let what = format!("{part} must not see {top}; it may see {may:?}");
            tell(found, source, line, "imports", &what);
        }
        let data = API_SEES_OF_TABLE.iter().any(|data| rest.starts_with(data));
        if part == "api" && top == "table" && !data {
            let what = format!("api sees of the table {API_SEES_OF_TABLE:?}, not {rest:?}");
            tell(found, source, line, "imports", &what);
        }
    }
}

/// Every path of ours that a file names from the root, without `crate::`, with its line. Knows groups
/// (`crate::{a, b}`) and enough `super::` to come out at the root.
fn named(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let depth = source.path.matches('/').count() - usize::from(source.path.ends_with("/mod.rs"));
    let to_root = "super::".repeat(depth);
    for (line, code) in source.code.iter().enumerate() {
        for root in ["crate::", to_root.as_str()] {
            for (at, _) in code.match_indices(root) {
                let before = code[..at].chars().next_back();
                let whole = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
                if root.is_empty() || !whole {
                    continue;
                }
                let rest = code[at + root.len()..].to_owned();
                let group = rest.strip_prefix('{');
                match group {
                    None => found.push((line, path(&rest))),
                    Some(first) => {
                        // To the closing brace, which may be lines further down.
                        let end = end_of_item(&source.code, line);
                        let more = source.code[line + 1..=end.max(line)].join(" ");
                        let names = outermost(&format!("{first} {more}"));
                        found.extend(names.into_iter().map(|name| (line, name)));
                    }
                }
            }
        }
    }
    found
}

fn path(text: &str) -> String {
    let ends = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
    text.split(ends)
        .next()
        .unwrap_or("")
        .trim_end_matches(':')
        .to_owned()
}

/// The entries of a `use` group, up to its closing brace.
fn outermost(text: &str) -> Vec<String> {
    let (mut depth, mut entry, mut all) = (1, String::new(), Vec::new());
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (c == ',' && depth == 1) {
            all.push(path(entry.trim()));
            entry.clear();
        } else {
            entry.push(c);
        }
        if depth == 0 {
            break;
        }
    }
    all.retain(|name| !name.is_empty());
    all
}

fn bans(source: &Source, found: &mut Vec<String>) {
    let under = |paths: &[&str]| paths.iter().any(|path| source.path.starts_with(path));
    for ban in BANS {
        if (!ban.within.is_empty() && !under(ban.within)) || under(ban.except) {
            continue;
        }
        for (line, code) in source.code.iter().enumerate() {
            if ban.tests_may && source.test[line] {
                continue;
            }
            if let Some(word) = ban.words.iter().find(|word| stands(code, word)) {
                let what = format!("`{}`: {}", word.trim(), ban.instead);
                tell(found, source, line, ban.rule, &what);
            }
        }
    }
}

/// Whether a word stands in code as a word of its own, not as the tail of a longer name.
fn stands(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let begins = word.starts_with(|c: char| c.is_alphanumeric());
        !(begins && before.is_some_and(|c| c.is_alphanumeric() || c == '_'))
    })
}

fn unfinished(source: &Source, found: &mut Vec<String>) {
    if source.path.starts_with("tests/tidy/") {
        return; // names the words it bans
    }
    for (line, text) in source.raw.iter().enumerate() {
        if let Some(word) = UNFINISHED.iter().find(|word| stands(text, word)) {
            tell(
                found,
                source,
                line,
                "unfinished",
                &format!("`{word}`: do it, or open an issue"),
            );
        }
    }
}

fn file_size(source: &Source, found: &mut Vec<String>) {
    let listed = LONG_FILES.iter().find(|(path, _)| *path == source.path);
    let lines = source.code_lines(false);
    let max = listed.map_or(FILE_LINES_MAX, |(_, lines)| *lines);
    if lines > max {
        let what = format!("{lines} lines of code, at most {max}: the parent keeps the branches");
        tell(found, source, 0, "file-size", &what);
    }
    if listed.is_some() && lines <= FILE_LINES_MAX {
        tell(
            found,
            source,
            0,
            "file-size",
            "short enough now: take it off LONG_FILES",
        );
    }
    let lines = source.code_lines(true);
    if lines > TEST_LINES_MAX {
        let what = format!("{lines} lines of tests, at most {TEST_LINES_MAX}");
        tell(found, source, 0, "file-size", &what);
    }
}

fn function_sizes(source: &Source, found: &mut Vec<String>) {
    for (line, code) in source.code.iter().enumerate() {
        let Some(name) = function_name(code) else {
            continue;
        };
        let end = end_of_item(&source.code, line);
        let body = &source.code[line..=end];
        let lines = body.iter().filter(|code| !code.trim().is_empty()).count();
        let listed = LONG_FUNCTIONS
            .iter()
            .find(|(path, long, _)| *path == source.path && *long == name);
        let bound = match source.test[line] {
            true => TEST_FUNCTION_LINES_MAX,
            false => FUNCTION_LINES_MAX,
        };
        let max = listed.map_or(bound, |(_, _, lines)| *lines);
        if lines > max {
            let what = format!("`{name}` has {lines} lines, at most {max}: straight leaves go out");
            tell(found, source, line, "function-size", &what);
        }
    }
}

fn function_name(code: &str) -> Option<&str> {
    let at = code.find("fn ")?;
    let qualifiers = [
        "pub", "const", "async", "unsafe", "extern", "(super)", "(crate)",
    ];
    let before = &code[..at];
    let only = before
        .split_whitespace()
        .all(|word| qualifiers.iter().any(|one| word.starts_with(one)));
    let name = code[at + 3..]
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .next()?;
    (only && !name.is_empty()).then_some(name)
}
