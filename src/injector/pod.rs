//! A pod as it came, as far as we look into it.
//! In: the object of a review. Out: names, lists that are there or not. Never: a guess at a pod of an odd form.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::annotations;
use super::sidecar;

/// What is read of a pod.
#[derive(Debug)]
pub(super) struct Pod<'a> {
    /// Where it says that it is, which need not be told.
    pub(super) namespace: Option<&'a str>,
    pub(super) labels: Option<Texts<'a>>,
    pub(super) annotations: Option<Texts<'a>>,
    pub(super) init_containers: Option<Vec<Container<'a>>>,
    pub(super) containers: Vec<Container<'a>>,
    /// Names of its volumes.
    pub(super) volumes: Option<Vec<&'a str>>,
    /// Shares the network of its machine.
    pub(super) host_network: bool,
    /// Resolves names of the cluster, although it shares the network of its machine.
    pub(super) cluster_names: bool,
    /// Runs on Windows.
    pub(super) windows: bool,
    /// Every container runs as root unless it says otherwise.
    pub(super) root: bool,
    /// Has resources of its own, which bound those of its containers together.
    pub(super) bounded: bool,
}

/// Labels or annotations.
pub(super) type Texts<'a> = BTreeMap<&'a str, &'a str>;

/// What is read of a container.
#[derive(Debug)]
pub(super) struct Container<'a> {
    pub(super) name: &'a str,
    /// Names of its variables.
    pub(super) env: Option<Vec<&'a str>>,
    /// Paths of its mounts.
    pub(super) mounts: Option<Vec<&'a str>>,
    /// Ports that it names.
    pub(super) ports: Vec<u64>,
}

/// A part of a pod that has another form than in Kubernetes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at} is not {wanted}")]
pub(super) struct Odd {
    at: String,
    wanted: &'static str,
}

impl<'a> Pod<'a> {
    pub(super) fn read(object: &'a Value) -> Result<Self, Odd> {
        let pod = Part::of("the pod", object).object()?;
        let metadata = pod.part("metadata").object()?;
        let spec = pod.part("spec").object()?;
        let security = spec.part("securityContext").maybe()?;
        let os = spec.part("os").maybe()?;
        let selector = spec.part("nodeSelector").maybe()?;
        let text = |of: &Option<Part<'a>>, name| of.as_ref().map_or(Ok(None), |it| it.text(name));
        let resources = spec.part("resources").maybe()?;
        Ok(Self {
            namespace: metadata.text("namespace")?,
            labels: metadata.texts("labels")?,
            annotations: metadata.texts("annotations")?,
            init_containers: containers(&spec, "initContainers")?,
            containers: containers(&spec, "containers")?
                .filter(|all| !all.is_empty())
                .ok_or_else(|| spec.odd("containers", "a list of containers"))?,
            volumes: spec.names("volumes", "name")?,
            host_network: spec.flag("hostNetwork")?,
            cluster_names: spec.text("dnsPolicy")? == Some("ClusterFirstWithHostNet"),
            windows: text(&os, "name")? == Some("windows")
                || text(&selector, "kubernetes.io/os")? == Some("windows"),
            root: security.is_some_and(|it| it.value("runAsUser").as_u64() == Some(0)),
            bounded: resources
                .is_some_and(|it| it.has_members("requests") || it.has_members("limits")),
        })
    }

    /// An annotation.
    pub(super) fn annotation(&self, name: &str) -> Option<&'a str> {
        self.annotations.as_ref()?.get(name).copied()
    }

    /// A label.
    pub(super) fn label(&self, name: &str) -> Option<&'a str> {
        self.labels.as_ref()?.get(name).copied()
    }

    /// The containers that run before the others, in their order.
    pub(super) fn first(&self) -> &[Container<'a>] {
        self.init_containers.as_deref().unwrap_or_default()
    }

    /// Where our sidecar is among those that run first, if we have put it there.
    pub(super) fn injected(&self) -> Option<usize> {
        self.annotation(annotations::INJECTED)?;
        self.first()
            .iter()
            .position(|container| container.name == sidecar::NAME)
    }

    /// All containers.
    pub(super) fn all(&self) -> impl Iterator<Item = &Container<'a>> {
        self.first().iter().chain(&self.containers)
    }
}

fn containers<'a>(spec: &Part<'a>, name: &str) -> Result<Option<Vec<Container<'a>>>, Odd> {
    let Some(parts) = spec.list(name)? else {
        return Ok(None);
    };
    let read = |part: Part<'a>| {
        let ports = part.list("ports")?.unwrap_or_default();
        let number = |port: &Part<'a>| port.value("containerPort").as_u64();
        Ok(Container {
            name: part.needed("name")?,
            env: part.names("env", "name")?,
            mounts: part.names("volumeMounts", "mountPath")?,
            ports: ports.iter().filter_map(number).collect(),
        })
    };
    parts
        .into_iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// A value and where it is. What is null counts as not there, as in Kubernetes.
struct Part<'a> {
    at: String,
    value: &'a Value,
}

impl<'a> Part<'a> {
    fn of(at: &str, value: &'a Value) -> Self {
        Self {
            at: at.to_owned(),
            value,
        }
    }

    /// Sure to be an object.
    fn object(self) -> Result<Self, Odd> {
        match self.value {
            Value::Object(_) => Ok(self),
            _ => Err(Odd {
                at: self.at,
                wanted: "an object",
            }),
        }
    }

    /// An object, or not there.
    fn maybe(self) -> Result<Option<Self>, Odd> {
        match self.value {
            Value::Null => Ok(None),
            _ => self.object().map(Some),
        }
    }

    fn value(&self, name: &str) -> &'a Value {
        const NULL: &Value = &Value::Null;
        self.value.get(name).unwrap_or(NULL)
    }

    fn part(&self, name: &str) -> Self {
        let at = match self.at.as_str() {
            "the pod" => name.to_owned(),
            at => format!("{at}.{name}"),
        };
        Self {
            at,
            value: self.value(name),
        }
    }

    fn odd(&self, name: &str, wanted: &'static str) -> Odd {
        Odd {
            at: self.part(name).at,
            wanted,
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Odd> {
        match self.value(name) {
            Value::Null => Ok(false),
            value => value
                .as_bool()
                .ok_or_else(|| self.odd(name, "true or false")),
        }
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, Odd> {
        match self.value(name) {
            Value::Null => Ok(None),
            value => value
                .as_str()
                .map(Some)
                .ok_or_else(|| self.odd(name, "text")),
        }
    }

    fn needed(&self, name: &str) -> Result<&'a str, Odd> {
        self.text(name)?.ok_or_else(|| self.odd(name, "text"))
    }

    fn texts(&self, name: &str) -> Result<Option<Texts<'a>>, Odd> {
        let Some(part) = self.part(name).maybe()? else {
            return Ok(None);
        };
        let members = part.value.as_object().into_iter().flat_map(Map::iter);
        let text = |(key, value): (&'a String, &'a Value)| {
            let value = value.as_str().ok_or_else(|| part.odd(key, "text"))?;
            Ok((key.as_str(), value))
        };
        members.map(text).collect::<Result<_, _>>().map(Some)
    }

    fn list(&self, name: &str) -> Result<Option<Vec<Self>>, Odd> {
        match self.value(name) {
            Value::Null => Ok(None),
            Value::Array(values) => {
                let at = self.part(name).at;
                let element = |(index, value)| Self {
                    at: format!("{at}[{index}]"),
                    value,
                };
                let parts = values.iter().enumerate().map(element);
                parts.map(Self::object).collect::<Result<_, _>>().map(Some)
            }
            _ => Err(self.odd(name, "a list")),
        }
    }

    /// One member of each element of a list.
    fn names(&self, list: &str, member: &str) -> Result<Option<Vec<&'a str>>, Odd> {
        let Some(parts) = self.list(list)? else {
            return Ok(None);
        };
        let names = parts.iter().map(|part| part.needed(member));
        names.collect::<Result<_, _>>().map(Some)
    }

    fn has_members(&self, name: &str) -> bool {
        self.value(name)
            .as_object()
            .is_some_and(|it| !it.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn odd_forms_are_named() {
        for (pod, said) in [
            (json!(5), "the pod is not an object"),
            (json!({}), "metadata is not an object"),
            (json!({"metadata": {}}), "spec is not an object"),
            (
                json!({"metadata": {}, "spec": {}}),
                "spec.containers is not a list of containers",
            ),
            (
                json!({"metadata": {"labels": {"a": 1}}, "spec": {}}),
                "metadata.labels.a is not text",
            ),
            (
                json!({"metadata": {}, "spec": {"containers": [{}]}}),
                "spec.containers[0].name is not text",
            ),
            (
                json!({"metadata": {}, "spec": {"containers": [{"name": "a", "env": [1]}]}}),
                "spec.containers[0].env[0] is not an object",
            ),
            (
                json!({"metadata": {}, "spec": {"initContainers": {}, "containers": []}}),
                "spec.initContainers is not a list",
            ),
        ] {
            let odd = Pod::read(&pod).expect_err("an odd pod");
            assert_eq!(odd.to_string(), said);
        }
    }

    #[test]
    fn null_is_not_there() {
        let pod = json!({
            "metadata": {"annotations": null, "labels": {}},
            "spec": {"containers": [{"name": "a", "env": null}], "initContainers": null,
                     "securityContext": null, "resources": {"limits": {}}},
        });
        let pod = Pod::read(&pod).expect("a pod");
        assert!(pod.annotations.is_none());
        assert!(pod.labels.is_some_and(|labels| labels.is_empty()));
        assert!(pod.init_containers.is_none());
        assert!(pod.containers[0].env.is_none());
        assert!(!pod.host_network && !pod.root && !pod.bounded);
    }
}
