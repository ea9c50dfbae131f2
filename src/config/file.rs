//! The config file: its values become the defaults of the command's arguments.
//! In: YAML, a map of flag names to values. Out: a clap command with those defaults, so that flags
//! and the environment win. Never: a key that is no flag of the command.

use std::path::Path;

use serde_yaml_ng::Value;

/// A config file is small; a larger one is a mistake (a data file, a device).
const BYTES_MAX: u64 = 1024 * 1024;

/// Why a config file was refused. The path comes first, so that the reader knows where to look.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// Which file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// Too large to be a config file.
    #[error("{path}: larger than {BYTES_MAX} bytes")]
    TooLarge {
        /// Which file.
        path: String,
    },
    /// Not YAML, or not a map of texts to values.
    #[error("{path}: {error}")]
    Syntax {
        /// Which file.
        path: String,
        /// What is wrong with it.
        error: serde_yaml_ng::Error,
    },
    /// A key that the command does not know.
    #[error("{path}: `{command}` has no option `{key}`; it has: {known}")]
    UnknownKey {
        /// Which file.
        path: String,
        /// Which command was asked for.
        command: String,
        /// The key.
        key: String,
        /// All keys it may hold.
        known: String,
    },
    /// A value that cannot be an option's.
    #[error("{path}: `{key}` must be a text, a number, true, false or a list of those")]
    Value {
        /// Which file.
        path: String,
        /// The key.
        key: String,
    },
}

/// Whose options a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The command's, and no others.
    Command,
    /// Those of any commands; each takes its own.
    Everybody,
}

/// Makes the values of the file the defaults of `definition`'s subcommand `name`.
pub fn apply(
    definition: clap::Command,
    name: &str,
    path: &Path,
    whose: Whose,
) -> Result<clap::Command, FileError> {
    let values = read(path)?;
    let shown = path.display().to_string();
    let command = definition
        .find_subcommand(name)
        // clap itself found this subcommand in the first look at the same definition.
        .expect("the subcommand is one of the definition's");
    let known: Vec<String> = command
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .map(str::to_owned)
        .collect();
    let mut defaults = Vec::new();
    for (key, value) in values {
        let long = key.replace('_', "-");
        if whose == Whose::Everybody && !known.contains(&long) && is_somebodys(&definition, &long) {
            continue;
        }
        if !known.contains(&long) {
            return Err(FileError::UnknownKey {
                path: shown,
                command: name.to_owned(),
                key,
                known: known.join(", "),
            });
        }
        let text = text(&value).ok_or(FileError::Value {
            path: shown.clone(),
            key,
        })?;
        defaults.push((long, text));
    }
    let ids: Vec<(String, String)> = command
        .get_arguments()
        .filter_map(|arg| {
            let long = arg.get_long()?;
            let (_, text) = defaults.iter().find(|(key, _)| key == long)?;
            Some((arg.get_id().to_string(), text.clone()))
        })
        .collect();
    Ok(definition.mut_subcommand(name, |mut command| {
        for (id, text) in ids {
            // clap keeps defaults for as long as the process lives, and there is one file for it.
            let text: &'static str = Box::leak(text.into_boxed_str());
            command = command.mut_arg(id, |arg| arg.default_value(text).required(false));
        }
        command
    }))
}

/// Whether any command has this option.
fn is_somebodys(command: &clap::Command, long: &str) -> bool {
    let own = command
        .get_arguments()
        .any(|arg| arg.get_long() == Some(long));
    own || command
        .get_subcommands()
        .any(|command| is_somebodys(command, long))
}

fn read(path: &Path) -> Result<Vec<(String, Value)>, FileError> {
    let shown = || path.display().to_string();
    let failed = |error| FileError::Read {
        path: shown(),
        error,
    };
    if std::fs::metadata(path).map_err(failed)?.len() > BYTES_MAX {
        return Err(FileError::TooLarge { path: shown() });
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let map: std::collections::BTreeMap<String, Value> = match serde_yaml_ng::from_slice(&bytes) {
        Ok(Some(map)) => map,
        // An empty file, or one with comments only.
        Ok(None) => return Ok(Vec::new()),
        Err(error) => {
            return Err(FileError::Syntax {
                path: shown(),
                error,
            });
        }
    };
    Ok(map.into_iter().collect())
}

/// The text that the flag would have had. Lists are joined by commas, as on the command line.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Sequence(items) => {
            let texts: Option<Vec<String>> = items.iter().map(text).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Null | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}
