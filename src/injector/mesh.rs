//! What there is to know of service meshes: their containers, and how they are told to let ports alone.
//! In: names of containers, lists of ports. Out: whose a container is, longer lists.
//! Never: a port taken off a list.

use super::settings::MeshDefaults;

/// Containers with which meshes begin a pod: they redirect its traffic, check that it is redirected, or are the
/// proxy itself. Istio without native sidecars and Linkerd append theirs at the end; what comes before those
/// is not redirected yet, and neither are we.
const FIRST: &[&str] = &[
    // Istio
    "istio-init",
    "istio-validation",
    "istio-proxy",
    "enable-core-dump",
    // Linkerd
    "linkerd-init",
    "linkerd-network-validator",
    "linkerd-proxy",
    // Kuma
    "kuma-init",
    "kuma-validation",
    "kuma-sidecar",
    // Consul
    "consul-connect-inject-init",
    "consul-dataplane",
];

/// How a mesh is told to let ports alone.
pub(super) struct Skips {
    /// The annotation with the list.
    pub(super) annotation: &'static str,
    /// Whether it is about connections that the pod gets, rather than those that it makes.
    pub(super) inbound: bool,
}

/// Istio and Linkerd, both ways. A mesh reads them when it makes its own part of the pod.
pub(super) const SKIPS: [Skips; 4] = [
    Skips {
        annotation: "traffic.sidecar.istio.io/excludeOutboundPorts",
        inbound: false,
    },
    Skips {
        annotation: "traffic.sidecar.istio.io/excludeInboundPorts",
        inbound: true,
    },
    Skips {
        annotation: "config.linkerd.io/skip-outbound-ports",
        inbound: false,
    },
    Skips {
        annotation: "config.linkerd.io/skip-inbound-ports",
        inbound: true,
    },
];

impl Skips {
    /// What the mesh skips where a pod has no list of its own.
    pub(super) fn default<'a>(&self, defaults: &'a MeshDefaults) -> &'a str {
        match self.inbound {
            true => &defaults.inbound,
            false => &defaults.outbound,
        }
    }
}

/// Whether a mesh has put this container before the others.
pub(super) fn is_first(name: &str) -> bool {
    FIRST.contains(&name)
}

/// The list with these ports at its end, unless it has them.
pub(super) fn with_ports(list: &str, ports: &[u16]) -> String {
    let mut longer = list.to_owned();
    for port in ports {
        let has = |item: &str| {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let [first, last] = [first, last].map(|end| end.trim().parse::<u16>());
            item == "*"
                || first.is_ok_and(|first| last.is_ok_and(|last| (first..=last).contains(port)))
        };
        append(&mut longer, &port.to_string(), has);
    }
    longer
}

/// The list with these names at its end, unless it has them.
pub(super) fn with_names(list: &str, names: &[&str]) -> String {
    let mut longer = list.to_owned();
    for name in names {
        append(&mut longer, name, |item| item == *name);
    }
    longer
}

/// Puts something at the end of a list of items with commas between them; all before it stays as it is.
fn append(list: &mut String, item: &str, has: impl Fn(&str) -> bool) {
    if list.split(',').map(str::trim).any(has) {
        return;
    }
    if !list.trim().is_empty() && !list.trim_end().ends_with(',') {
        list.push(',');
    }
    list.push_str(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_only_grow() {
        for (list, longer) in [
            ("", "5626"),
            (" ", " 5626"),
            ("3306", "3306,5626"),
            ("3306, 5432", "3306, 5432,5626"),
            ("3306,", "3306,5626"),
            ("5626", "5626"),
            ("80, 5626 ,90", "80, 5626 ,90"),
            ("15626,56260", "15626,56260,5626"),
            ("5000-6000", "5000-6000"),
            ("5627-6000", "5627-6000,5626"),
            ("*", "*"),
            ("nonsense-", "nonsense-,5626"),
        ] {
            assert_eq!(with_ports(list, &[5626]), longer, "{list:?}");
        }
        assert_eq!(with_ports("1", &[5626, 5636, 5626]), "1,5626,5636");
        assert_eq!(
            with_names("cache", &["sidelock-state"]),
            "cache,sidelock-state"
        );
        assert_eq!(
            with_names("sidelock-state,x", &["sidelock-state"]),
            "sidelock-state,x"
        );
    }
}
