//! From raw data to what people read: medians, ratios, bars, plots.
//! In: raw.jsonl. Out: report.md, SVG. Never: a number that is not in the raw data.

pub mod bars;
pub mod machine;
pub mod markdown;
pub mod plots;
pub mod raw;
pub mod table;

use std::path::Path;

use anyhow::Context;

/// Writes table and plots of a folder with raw data; the short table into a README too.
pub fn write(folder: &Path, readme: Option<&Path>) -> anyhow::Result<()> {
    let raw = raw::Raw::read(folder)?;
    let plots = plots::write(folder, &raw)?;
    std::fs::write(folder.join("report.md"), markdown::report(&raw, &plots))?;
    if let Some(readme) = readme {
        let text = std::fs::read_to_string(readme)?;
        let new = markdown::between_markers(&text, &markdown::short(&raw));
        let new = new.with_context(|| format!("no markers in {}", readme.display()))?;
        std::fs::write(readme, new)?;
    }
    Ok(())
}
