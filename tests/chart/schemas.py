"""All that is rendered, against Kubernetes' own schemas of several minor versions, strictly: no unknown field.

Of kinds that other operators bring there are no schemas here: their shape is checked by hand below.
"""

import functools

import kubernetes_validate

from helm import PROFILES, find, pod_templates

# Each validation would read the same files of some MB again.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)

VERSIONS = ("1.29", "1.31", "1.33", "1.35", "1.37")
OTHERS = {"ServiceMonitor", "PodMonitor", "PrometheusRule", "Certificate", "Issuer"}
VARIANTS = {
    "plain": {"tls": {"enabled": False}, "tokens": {"enabled": False}},
    "bare": {"injector": {"enabled": False}, "keeper": {"enabled": False}, "tokens": {"enabled": False}, "networkPolicy": {"enabled": False}, "tests": {"enabled": False}},
    "full": {
        "labels": {"team": "platform"},
        "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"]},
        "core": {
            "replicas": 5, "log": "debug", "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "locks", "operator": "Exists", "effect": "NoSchedule"}], "priorityClassName": "high",
            "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"}, "env": [{"name": "RUST_BACKTRACE", "value": "1"}],
            "persistence": {"storageClass": "-", "annotations": {"e": "f"}}, "service": {"annotations": {"g": "h"}},
        },
        "rules": [{"identities": ["system:serviceaccount:shop:*"], "prefixes": ["shop/"], "may": ["read", "claim"]}],
        "tokens": {"source": "values", "issuer": "https://kubernetes.default.svc", "jwks": '{"keys":[]}'},
        "injector": {"failurePolicy": "Fail", "nodeSelector": {"i": "j"}, "podAnnotations": {"k": "l"}},
        "networkPolicy": {"sidecars": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "webhookCallers": [{"ipBlock": {"cidr": "192.0.2.1/32"}}]},
        "telemetry": {"otlpEndpoint": "http://collector:4318"},
    },
}


def validated(objects, version):
    """Complaints of Kubernetes' schemas, and how many objects they were asked about."""
    complaints, asked = [], 0
    for it in objects:
        if it["kind"] in OTHERS:
            continue
        asked += 1
        name = f"{it['kind']}/{it['metadata']['name']}"
        try:
            kubernetes_validate.validate(it, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            complaints.append(f"{name}: {'.'.join(map(str, error.path))}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError:
            complaints.append(f"{name}: no schema of {it['apiVersion']}")
    return complaints, asked


def check(world):
    rendered = {profile: world.helm.objects(profile) for profile in PROFILES}
    rendered |= {variant: world.helm.objects("default", values) for variant, values in VARIANTS.items()}
    for name, objects in rendered.items():
        for version in VERSIONS:
            complaints, asked = validated(objects, version)
            world.report.ok(f"{name} is good for Kubernetes {version}", asked >= 8 and not complaints, f"{asked} asked; " + "\n        ".join(complaints))
    planted(world, rendered["default"])
    prometheus_operator(world, rendered["ha"])
    cert_manager(world, rendered["ha"])


def planted(world, objects):
    """The schemas must find what is wrong, or the checks above prove nothing."""
    service = find(objects, "Service", "sidelock-core")
    for what, spec in {"an unknown field": {"ports": [{"port": 1}], "prots": []}, "a wrong type": {"ports": "http"}}.items():
        wrong, _ = validated([service | {"spec": spec}], VERSIONS[-1])
        world.report.ok(f"{what} would be found", len(wrong) == 1, str(wrong))


def prometheus_operator(world, objects):
    """Fields of monitoring.coreos.com/v1, as its API reference has them."""
    ok = world.report.ok
    nodes = find(objects, "ServiceMonitor", "sidelock-core")["spec"]
    ok("a ServiceMonitor has the fields of its kind", set(nodes) == {"selector", "namespaceSelector", "endpoints"}, str(set(nodes)))
    endpoint = nodes["endpoints"][0]
    ok("its endpoint has the fields of its kind", set(endpoint) <= {"port", "path", "scheme", "interval", "tlsConfig", "relabelings"}, str(set(endpoint)))
    ok("it knows the authority", endpoint["tlsConfig"]["ca"] == {"secret": {"name": "sidelock-core-tls", "key": "ca.crt"}}, str(endpoint["tlsConfig"]))
    labels = nodes["selector"]["matchLabels"]
    services = [it["metadata"]["name"] for it in objects if it["kind"] == "Service" and labels.items() <= it["metadata"]["labels"].items()]
    ok("it finds the nodes' service alone", services == ["sidelock-nodes"], str(services))
    ports = [port["name"] for port in find(objects, "Service", "sidelock-nodes")["spec"]["ports"]]
    ok("its port is one of that service", endpoint["port"] in ports, str(ports))
    pods = find(objects, "PodMonitor", "sidelock-sidecars")["spec"]
    ok("a PodMonitor has the fields of its kind", set(pods) == {"selector", "namespaceSelector", "podMetricsEndpoints"}, str(set(pods)))
    for name, monitor in {"nodes": endpoint, "sidecars": pods["podMetricsEndpoints"][0]}.items():
        given = {it["targetLabel"]: it["replacement"] for it in monitor["relabelings"] if "targetLabel" in it}
        job = "sidelock-core" if name == "nodes" else "sidelock-sidecar"
        ok(f"the job of the {name} is as the alerts have it", given == {"job": job, "cell": "locks/sidelock"}, str(given))
    rule = find(objects, "PrometheusRule", "sidelock")["spec"]
    ok("a PrometheusRule has groups and nothing else", set(rule) == {"groups"}, str(set(rule)))
    for group in rule["groups"]:
        wrong = [it for it in group["rules"] if ("alert" in it) == ("record" in it) or "expr" not in it]
        ok(f"group {group['name']} is well formed", not wrong and set(group) <= {"name", "interval", "rules"}, str(wrong))


def cert_manager(world, objects):
    """Fields of cert-manager.io/v1, as its API reference has them."""
    ok = world.report.ok
    certificates = {it["metadata"]["name"]: it["spec"] for it in objects if it["kind"] == "Certificate"}
    ok("there are three certificates", set(certificates) == {"sidelock-ca", "sidelock-core", "sidelock-injector"}, str(set(certificates)))
    known = {"isCA", "commonName", "secretName", "duration", "renewBefore", "privateKey", "issuerRef", "dnsNames", "ipAddresses", "usages"}
    issuers = {it["metadata"]["name"] for it in objects if it["kind"] == "Issuer"}
    for name, spec in certificates.items():
        ok(f"{name} has the fields of its kind", set(spec) <= known and {"secretName", "issuerRef"} <= set(spec), str(set(spec)))
        ok(f"{name} has an issuer that there is", spec["issuerRef"]["name"] in issuers, str(issuers))
    mounted = {volume["secret"]["secretName"] for _, spec, _ in pod_templates(objects) for volume in spec["volumes"] if "secret" in volume}
    made = {spec["secretName"] for spec in certificates.values()}
    ok("every mounted secret is made by a certificate", mounted <= made, f"{mounted} of {made}")
    ok("the authority's key is mounted nowhere", certificates["sidelock-ca"]["secretName"] not in mounted)
