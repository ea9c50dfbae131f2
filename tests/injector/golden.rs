//! Whole pods before and after, in `pods/`: `NAME.yaml` is given, `NAME.out.yaml` is what becomes of it, with the
//! warnings above it. `SIDELOCK_REWRITE=1 cargo test --test injector golden` writes the latter anew.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sidelock::injector::settings::MeshDefaults;

use crate::support::{ask, review, settings};

#[test]
fn pods_become_what_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/injector/pods");
    let rewrite = std::env::var_os("SIDELOCK_REWRITE").is_some();
    let given = given(&folder);
    assert!(given.len() >= 8, "only {} pods", given.len());
    for path in given {
        let text = std::fs::read_to_string(&path).expect("a pod");
        let pod: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        let out = path.with_extension("out.yaml");
        let becomes = becomes(&pod);
        if rewrite {
            std::fs::write(&out, &becomes).expect("written");
        }
        let wanted = std::fs::read_to_string(&out).unwrap_or_default();
        assert_eq!(becomes, wanted, "{}", out.display());
    }
}

fn given(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".yaml") && !name.ends_with(".out.yaml")
        })
        .collect();
    paths.sort();
    paths
}

fn becomes(pod: &Value) -> String {
    let mut settings = settings();
    settings.mesh = MeshDefaults {
        outbound: "4567,4568".to_owned(),
        inbound: "4567,4568".to_owned(),
    };
    let reviewed = ask(&review(pod, "shop"), &settings);
    let mut becomes = reviewed.pod;
    let mark = &mut becomes["metadata"]["annotations"]["sidelock.dev/injected"];
    if !mark.is_null() {
        assert_eq!(*mark, env!("CARGO_PKG_VERSION"));
        *mark = json!("VERSION");
    }
    let warnings: String = reviewed
        .warnings
        .iter()
        .map(|warning| format!("# {warning}\n"))
        .collect();
    let outcome = reviewed.outcome;
    let pod = serde_yaml_ng::to_string(&becomes).expect("YAML");
    format!("# {outcome:?}\n{warnings}{pod}")
}
