//! The operators' page `/ui`: its files, built into the program.
//! In: a path below `/ui`. Out: a media type and bytes.
//! Never: a file from disk, or anything from elsewhere, which the page's policy forbids to the browser too.

/// To be sent with every file: only the page's own origin, no inline script or style, in nobody's frame, so that
/// neither text from an app nor a page around it can press a button.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// All headers of every file but its type.
pub const HEADERS: &[(&str, &str)] = &[
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("cache-control", "no-cache"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Makes the table from names, so that none is written twice.
macro_rules! files {
    ($($name:literal $media_type:ident,)*) => {
        &[$(($name, $media_type, include_bytes!($name).as_slice())),*]
    };
}

/// Every file: its path below `/ui/`, its media type, its bytes. `main.js` is the door; it names the rest.
const FILES: &[(&str, &str, &[u8])] = files![
    "index.html" HTML,
    "style.css" CSS,
    "icon.svg" SVG,
    "main.js" JS,
    "live.js" JS,
    "route.js" JS,
    "api.js" JS,
    "dom.js" JS,
    "format.js" JS,
    "table.js" JS,
    "past.js" JS,
    "plot.js" JS,
    "layout.js" JS,
    "graph.js" JS,
    "panels/panel.js" JS,
    "panels/header.js" JS,
    "panels/search.js" JS,
    "panels/cell.js" JS,
    "panels/contention.js" JS,
    "panels/lock.js" JS,
    "panels/waits.js" JS,
    "panels/order.js" JS,
    "panels/deadlocks.js" JS,
    "panels/sessions.js" JS,
    "panels/break.js" JS,
    "panels/drain.js" JS,
];

/// The file at a path below `/ui`, with or without a slash before it; the page itself if the path is empty.
pub fn file(path: &str) -> Option<(&'static str, &'static [u8])> {
    let name = match path.strip_prefix('/').unwrap_or(path) {
        "" => "index.html",
        name => name,
    };
    let found = FILES.iter().find(|(known, _, _)| *known == name)?;
    Some((found.1, found.2))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn text(bytes: &'static [u8]) -> &'static str {
        std::str::from_utf8(bytes).expect("every file of the page is text")
    }

    #[test]
    fn the_page_is_found_with_and_without_a_slash() {
        for path in ["", "/", "index.html", "/index.html"] {
            let (media_type, bytes) = file(path).expect("the page");
            assert_eq!(media_type, HTML);
            assert!(text(bytes).starts_with("<!doctype html>"), "{path}");
        }
        assert!(file("files.rs").is_none());
        assert!(file("../lib.rs").is_none());
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ui");
        for folder in ["", "panels"] {
            let entries = std::fs::read_dir(root.join(folder)).expect("the folder of the page");
            for entry in entries.map(|entry| entry.expect("an entry").path()) {
                let name = entry.strip_prefix(&root).expect("below the root");
                let name = name.to_str().expect("UTF-8");
                assert!(
                    entry.is_dir() || name.ends_with(".rs") || file(name).is_some(),
                    "{name} is not in FILES"
                );
            }
        }
    }

    #[test]
    fn what_files_load_is_served() {
        for (name, _, bytes) in FILES {
            // `./`, `../` and `/ui/` are all that the page loads by.
            for quoted in text(bytes).split(['\'', '"', '\n']) {
                let target = match quoted.rsplit_once('/') {
                    Some(("/ui", last)) if last != "live" => last.to_owned(),
                    Some((".", last)) if name.starts_with("panels/") => format!("panels/{last}"),
                    Some(("." | "..", last)) => last.to_owned(),
                    Some(("./panels", last)) => format!("panels/{last}"),
                    _ => continue,
                };
                assert!(
                    file(&target).is_some(),
                    "{name} loads {target}, which is not served"
                );
            }
        }
    }

    #[test]
    fn nothing_is_inline_and_nothing_is_made_of_markup() {
        let (_, page) = file("").expect("the page");
        for word in [" style=", "<style", " onclick=", "<script>"] {
            assert!(!text(page).contains(word), "{word} in the page");
        }
        for (name, _, bytes) in FILES.iter().filter(|(_, kind, _)| *kind == JS) {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!text(bytes).contains(word), "{word} in {name}");
            }
        }
    }
}
