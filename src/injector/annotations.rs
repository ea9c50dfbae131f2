//! What a pod wishes of its sidecar, by annotations `sidelock.dev/...`.
//! In: annotations. Out: checked wishes, and a warning for each that cannot be granted.
//! Never: a refusal; a broken wish counts as none.

use super::pod::{Container, Pod};
use super::quantity::Quantity;
use super::warnings::{Warnings, quoted};
use crate::config::duration;

/// What all that is ours begins with.
const PREFIX: &str = "sidelock.dev/";
/// The label that asks for a sidecar, on a pod or its namespace.
pub(super) const INJECT: &str = "sidelock.dev/inject";
/// Marks a pod that has its sidecar, with the version of the injector.
pub(super) const INJECTED: &str = "sidelock.dev/injected";
/// Carries the authorities that vouch for the core into a file of the sidecar.
pub(super) const CA: &str = "sidelock.dev/ca";

const TTL: &str = "sidelock.dev/ttl";
const SOCKET: &str = "sidelock.dev/socket";
const LOG_LEVEL: &str = "sidelock.dev/log-level";
const CPU: [&str; 2] = ["sidelock.dev/cpu-request", "sidelock.dev/cpu-limit"];
const MEMORY: [&str; 2] = ["sidelock.dev/memory-request", "sidelock.dev/memory-limit"];
/// Those that a pod may have.
const WISHES: [&str; 7] = [TTL, SOCKET, LOG_LEVEL, CPU[0], CPU[1], MEMORY[0], MEMORY[1]];

/// Where the socket is, for those who do not say.
const SOCKET_DEFAULT: &str = "/run/sidelock/sidelock.sock";
/// The name of the folder of the socket: it is mounted over what the containers have there, so it must be one
/// that they do not have.
const SOCKET_FOLDER: &str = "sidelock";
/// Bytes of a socket's path: the kernel takes no more.
const SOCKET_BYTES_MAX: usize = 107;
/// Bytes of a log filter.
const FILTER_BYTES_MAX: usize = 256;

/// Without a wish: what an idle sidecar needs, and room for ten thousand kept locks. No limit of processors, since
/// a throttled sidecar renews late.
const CPU_DEFAULT: [Option<&str>; 2] = [Some("10m"), None];
const MEMORY_DEFAULT: [Option<&str>; 2] = [Some("32Mi"), Some("128Mi")];
/// Below the least it does not run, above the most it is a mistake.
const CPU_BOUNDS: [&str; 2] = ["1m", "64"];
const MEMORY_BOUNDS: [&str; 2] = ["16Mi", "64Gi"];

/// What a pod wishes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// The lease of the session, as the sidecar reads it.
    pub(super) ttl: Option<String>,
    /// The path of the socket, in a folder that is ours.
    pub(super) socket: Option<Socket>,
    /// A filter for what is logged.
    pub(super) log: Option<String>,
    /// What the sidecar may use.
    pub(super) cpu: Bounds,
    pub(super) memory: Bounds,
}

/// A request and a limit of Kubernetes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) request: Option<String>,
    pub(super) limit: Option<String>,
}

/// A Unix socket, and the folder that is mounted for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) path: String,
    pub(super) folder: String,
}

impl Wishes {
    pub(super) fn read(pod: &Pod<'_>, warnings: &mut Warnings) -> Self {
        unknown(pod, warnings);
        let wish = |name: &str| pod.annotation(name).map(str::trim).map(str::to_owned);
        let (ttl, socket, log) = (wish(TTL), wish(SOCKET), wish(LOG_LEVEL));
        Self {
            ttl: ttl.filter(|text| is_ttl(text, warnings)),
            socket: socket.and_then(|text| Socket::read(&text, warnings)),
            log: log.filter(|text| is_filter(text, warnings)),
            cpu: bounds(pod, CPU, CPU_DEFAULT, CPU_BOUNDS, warnings),
            memory: bounds(pod, MEMORY, MEMORY_DEFAULT, MEMORY_BOUNDS, warnings),
        }
    }
}

/// Whether the pod is to have a sidecar. Without a label of its own its namespace has it, or we would not be asked.
pub(super) fn asked(pod: &Pod<'_>, warnings: &mut Warnings) -> bool {
    match pod.label(INJECT) {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => {
            warnings.add(format_args!(
                "the label {INJECT} is {}, neither \"true\" nor \"false\": ignored",
                quoted(other)
            ));
            true
        }
    }
}

fn unknown(pod: &Pod<'_>, warnings: &mut Warnings) {
    let all = pod.annotations.iter().flat_map(|all| all.keys().copied());
    for name in all.filter(|name| name.starts_with(PREFIX)) {
        if name == INJECT {
            warnings.add(format_args!(
                "{INJECT} is a label, not an annotation: ignored"
            ));
        } else if ![INJECTED, CA].contains(&name) && !WISHES.contains(&name) {
            let known = WISHES.map(|wish| &wish[PREFIX.len()..]).join(", ");
            let name = quoted(name);
            warnings.add(format_args!(
                "no annotation {name}: ignored; there are {known}"
            ));
        }
    }
}

fn ignored(warnings: &mut Warnings, name: &str, value: &str, why: impl std::fmt::Display) {
    let value = quoted(value);
    warnings.add(format_args!(
        "the annotation {name} is {value}: {why}; ignored"
    ));
}

fn is_ttl(text: &str, warnings: &mut Warnings) -> bool {
    let read = duration::session(text);
    if let Err(error) = &read {
        ignored(warnings, TTL, text, error);
    }
    read.is_ok()
}

/// A filter is a list of levels, each perhaps of a part: `info,sidelock::sidecar=debug`.
fn is_filter(text: &str, warnings: &mut Warnings) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let part = |text: &str| {
        let odd = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
        !text.is_empty() && !text.contains(odd)
    };
    let good = text.len() <= FILTER_BYTES_MAX
        && text.split(',').all(|directive| {
            let (of, level) = directive.split_once('=').unwrap_or(("all", directive));
            part(of) && LEVELS.contains(&level.to_ascii_lowercase().as_str())
        });
    if !good {
        ignored(
            warnings,
            LOG_LEVEL,
            text,
            "expected error, warn, info, debug, trace or off, or a list such as info,sidelock=debug",
        );
    }
    good
}

impl Socket {
    fn read(text: &str, warnings: &mut Warnings) -> Option<Self> {
        match text {
            "true" => Self::at(SOCKET_DEFAULT),
            "false" => None,
            path => {
                let socket = Self::at(path);
                if socket.is_none() {
                    let why = format!(
                        "expected true, or a path such as {SOCKET_DEFAULT} \
                         in a folder named {SOCKET_FOLDER}, which is mounted"
                    );
                    ignored(warnings, SOCKET, path, why);
                }
                socket
            }
        }
    }

    fn at(path: &str) -> Option<Self> {
        let (folder, name) = path.rsplit_once('/')?;
        let (above, last) = folder.rsplit_once('/')?;
        let is_plain = |part: &str| {
            let odd = |c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c));
            !part.is_empty() && part != "." && part != ".." && !part.contains(odd)
        };
        let above_is_plain = match above.strip_prefix('/') {
            Some(parts) => parts.split('/').all(is_plain),
            None => above.is_empty(),
        };
        let fits = last == SOCKET_FOLDER
            && is_plain(name)
            && above_is_plain
            && path.len() <= SOCKET_BYTES_MAX;
        fits.then(|| Self {
            path: path.to_owned(),
            folder: folder.to_owned(),
        })
    }

    /// Whether a container has something else where the socket's folder is to be.
    pub(super) fn is_in_the_way_of(&self, container: &Container<'_>) -> bool {
        let mounts = container.mounts.as_deref().unwrap_or_default();
        mounts
            .iter()
            .any(|path| path.trim_end_matches('/') == self.folder)
    }
}

/// A request and a limit that Kubernetes takes: the request is not above the limit.
fn bounds(
    pod: &Pod<'_>,
    names: [&str; 2],
    defaults: [Option<&str>; 2],
    allowed: [&str; 2],
    warnings: &mut Warnings,
) -> Bounds {
    // A pod with resources of its own has room for its containers as they are: what we add by ourselves could be
    // more than it has, and the API server would refuse it.
    let defaults = match pod.bounded {
        true => [None, None],
        false => defaults.map(|text| text.and_then(Quantity::parse)),
    };
    let [least, most] = allowed.map(|text| Quantity::parse(text).map_or(0, |it| it.nanos));
    let mut wish = |name: &str| {
        let text = pod.annotation(name)?.trim();
        let quantity = Quantity::parse(text).filter(|it| (least..=most).contains(&it.nanos));
        if quantity.is_none() {
            let why = format!("expected an amount from {} to {}", allowed[0], allowed[1]);
            ignored(warnings, name, text, why);
        }
        quantity
    };
    let [request, limit] = match names.map(&mut wish) {
        [Some(request), Some(limit)] if request.nanos > limit.nanos => {
            let [request_name, limit_name] = names;
            warnings.add(format_args!(
                "{request_name} is above {limit_name}: both ignored"
            ));
            defaults
        }
        [Some(request), None] => {
            let [_, limit] = defaults;
            // The default gives way to the wish.
            let limit = limit.map(|limit| larger(limit, &request));
            [Some(request), limit]
        }
        [None, Some(limit)] => {
            let [request, _] = defaults;
            let request = request.map(|request| smaller(request, &limit));
            [request, Some(limit)]
        }
        [None, None] => defaults,
        both => both,
    };
    let text = |quantity: Quantity| quantity.text;
    Bounds {
        request: request.map(text),
        limit: limit.map(text),
    }
}

fn larger(one: Quantity, other: &Quantity) -> Quantity {
    match one.nanos < other.nanos {
        true => other.clone(),
        false => one,
    }
}

fn smaller(one: Quantity, other: &Quantity) -> Quantity {
    match one.nanos > other.nanos {
        true => other.clone(),
        false => one,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(annotations: Value) -> (Wishes, Vec<String>) {
        let pod = json!({
            "metadata": {"annotations": annotations},
            "spec": {"containers": [{"name": "app"}]},
        });
        let mut warnings = Warnings::default();
        let wishes = Wishes::read(&Pod::read(&pod).expect("a pod"), &mut warnings);
        (wishes, warnings.into_lines())
    }

    fn bounds(request: Option<&str>, limit: Option<&str>) -> Bounds {
        Bounds {
            request: request.map(str::to_owned),
            limit: limit.map(str::to_owned),
        }
    }

    #[test]
    fn without_wishes_there_are_defaults_and_no_warnings() {
        let (wishes, warnings) = read(json!({"other.dev/ttl": "x"}));
        assert_eq!(wishes.memory, bounds(Some("32Mi"), Some("128Mi")));
        assert_eq!(wishes.cpu, bounds(Some("10m"), None));
        assert_eq!((wishes.ttl, wishes.socket, wishes.log), (None, None, None));
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn requests_and_limits_fit_together() {
        for (wanted, request, limit) in [
            (json!({MEMORY[0]: "256Mi"}), "256Mi", "256Mi"),
            (json!({MEMORY[0]: "64Mi"}), "64Mi", "128Mi"),
            (json!({MEMORY[1]: "24Mi"}), "24Mi", "24Mi"),
            (json!({MEMORY[1]: "1Gi"}), "32Mi", "1Gi"),
            (
                json!({MEMORY[0]: "1Gi", MEMORY[1]: "1024Mi"}),
                "1Gi",
                "1024Mi",
            ),
        ] {
            let (wishes, warnings) = read(wanted.clone());
            assert_eq!(
                wishes.memory,
                bounds(Some(request), Some(limit)),
                "{wanted}"
            );
            assert_eq!(warnings, [""; 0], "{wanted}");
        }
        let (wishes, warnings) = read(json!({MEMORY[0]: "2Gi", MEMORY[1]: "1Gi"}));
        assert_eq!(wishes.memory, bounds(Some("32Mi"), Some("128Mi")));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let (wishes, _) = read(json!({CPU[1]: "5m"}));
        assert_eq!(wishes.cpu, bounds(Some("5m"), Some("5m")));
    }

    #[test]
    fn the_folder_of_a_socket_is_ours() {
        for (path, folder) in [
            ("/run/sidelock/sidelock.sock", Some("/run/sidelock")),
            ("/sidelock/s", Some("/sidelock")),
            ("/a/b-c/sidelock/s.sock", Some("/a/b-c/sidelock")),
            ("/tmp/s.sock", None),
            ("/s.sock", None),
            ("s.sock", None),
            ("sidelock/s.sock", None),
            ("/run/sidelock/", None),
            ("/run/../sidelock/s", None),
            ("/run//sidelock/s", None),
            ("/run/sidelock/..", None),
            ("/run/side:lock/s", None),
            ("/run/sidelock/ä", None),
        ] {
            let socket = Socket::at(path);
            assert_eq!(
                socket.as_ref().map(|it| it.folder.as_str()),
                folder,
                "{path}"
            );
        }
        let long = format!("/{}/sidelock/s", "a".repeat(SOCKET_BYTES_MAX));
        assert_eq!(Socket::at(&long), None);
    }

    #[test]
    fn filters() {
        for text in [
            "info",
            "DEBUG",
            "off",
            "info,sidelock::sidecar=debug",
            "a_b=trace",
        ] {
            let (wishes, warnings) = read(json!({LOG_LEVEL: text}));
            assert_eq!(wishes.log.as_deref(), Some(text), "{warnings:?}");
        }
        for text in ["", "loud", "info,", "=info", "a b=info", "a=", "$(X)=info"] {
            let (wishes, warnings) = read(json!({LOG_LEVEL: text}));
            assert_eq!(wishes.log, None, "{text}");
            assert_eq!(warnings.len(), 1, "{text}");
        }
    }
}
