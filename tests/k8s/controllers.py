"""What controllers would do, as much of it as the tests need: there are none here, so nothing overwrites what these do.

In: objects of the chart. Out: objects that a cluster has besides: accounts, pods of workloads, endpoints of services.
Never: a decision of its own on what a pod looks like; a pod is its template and what its kind of workload adds.
"""

from kubectl import merged


def make_namespace(kubectl, name, authority, labels=None):
    """A namespace with its default account and the authority of the API server, or what it lacks of these."""
    with open(authority) as file:
        root = {"ca.crt": file.read()}
    kubectl.apply(
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}},
            account("default", name),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": name}, "data": root},
        ],
    )


def node(name, address, port):
    """The machine that all pods are on, and where its kubelet listens."""
    status = {"addresses": [{"type": "InternalIP", "address": address}], "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status}


def account(name, namespace):
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}


def pod_of(workload, name):
    """A pod of a Deployment, a Job or a StatefulSet."""
    spec, namespace = workload["spec"], workload["metadata"]["namespace"]
    template = spec["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": merged(template["metadata"], {"name": name, "namespace": namespace}), "spec": dict(template["spec"])}
    if workload["kind"] == "StatefulSet":
        pod["metadata"] = merged(pod["metadata"], {"labels": {"statefulset.kubernetes.io/pod-name": name}})
        pod["spec"] |= {"hostname": name, "subdomain": spec["serviceName"]}
        claims = [it["metadata"]["name"] for it in spec.get("volumeClaimTemplates", [])]
        volumes = [{"name": it, "persistentVolumeClaim": {"claimName": f"{it}-{name}"}} for it in claims]
        pod["spec"]["volumes"] = [*pod["spec"].get("volumes", []), *volumes]
    return pod


def claims_of(workload, name):
    """The volume claims of a StatefulSet's pod."""
    out = []
    for template in workload["spec"].get("volumeClaimTemplates", []):
        metadata = {"name": f"{template['metadata']['name']}-{name}", "namespace": workload["metadata"]["namespace"], "labels": template["metadata"].get("labels", {})}
        out.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]})
    return out


def pods_of(objects):
    """A pod for each workload that is rendered, named after it."""
    return [pod_of(it, f"{it['kind'].lower()}-{it['metadata']['name']}") for it in objects if it["kind"] in ("Deployment", "StatefulSet", "Job")]


def endpoints(service, pod, addresses):
    """Where the pods of a service are."""
    metadata, ports = service["metadata"], []
    named = {it["name"]: it["containerPort"] for container in pod["spec"]["containers"] for it in container.get("ports", [])}
    for it in service["spec"]["ports"]:
        ports.append({"name": it["name"], "protocol": "TCP", "port": named.get(it["targetPort"], it["targetPort"])})
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": ports,
        "metadata": {"name": f"{metadata['name']}-1", "namespace": metadata["namespace"], "labels": {"kubernetes.io/service-name": metadata["name"]}},
        "endpoints": [{"addresses": [it], "conditions": {"ready": True}} for it in addresses],
    }


def selects(service, pod):
    """Whether the pod is one of the service's."""
    return service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
