//! The house rules that a compiler cannot hold: imports, first lines, sizes, banned words.
//! Each finding names file, line, rule and what to do instead.

mod planted;
mod rules;
mod source;

use std::path::{Path, PathBuf};

use source::Source;

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "loadtest"] {
        collect(&root.join(folder), &mut files);
    }
    assert!(
        files.len() > 20,
        "only {} files found under {}",
        files.len(),
        root.display()
    );
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file is readable UTF-8");
        let path = file.strip_prefix(root).expect("collected under the root");
        found.extend(rules::judge(&Source::new(&path.to_string_lossy(), &text)));
    }
    assert!(
        found.is_empty(),
        "{} findings:\n{}",
        found.len(),
        found.join("\n")
    );
}

/// Every Rust file under a folder.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
