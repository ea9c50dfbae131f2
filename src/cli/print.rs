//! What commands print: tables for people, JSON for machines.
//! In: rows or a JSON value. Out: stdout; notes on stderr. Never: a control character of somebody's name or text.

use std::io::{ErrorKind, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::exit::{self, Failure, Outcome};

/// Prints rows under their headings; `empty` instead if there are none.
pub fn table(headings: &[&str], rows: Vec<Vec<String>>, empty: &str) -> Outcome {
    if rows.is_empty() {
        return line(empty);
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)));
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    line(&lines.join("\n"))
}

/// Prints a JSON value on one or more lines.
pub fn json(value: &Value) -> Outcome {
    line(&format!("{value:#}"))
}

/// Prints a line. A reader that has gone (`| head`) is not an error.
pub fn line(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(exit::OK),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(exit::OK),
        Err(error) => Err(Failure::new(exit::FAILED, error)),
    }
}

/// Says something about the answer on stderr, where it is in no program's way.
pub fn note(text: &str) {
    // Nobody can be told that nobody reads it.
    writeln!(std::io::stderr(), "sidelock: {}", clean(text)).ok();
}

/// A field of an answer as a cell: texts without quotes, nothing for what is absent.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Milliseconds as people read them.
pub fn millis(value: &Value) -> String {
    match value.as_u64() {
        None => String::new(),
        Some(ms) if ms < 1000 => format!("{ms} ms"),
        Some(ms) if ms < 60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        Some(ms) => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// A text for one line, whatever somebody put into it.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
