"""Every pod template, in every profile: the restricted Pod Security Standard and the house's own rules."""

from helm import PROFILES, pod_templates

# https://kubernetes.io/docs/concepts/security/pod-security-standards/, restricted.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def containers(spec):
    return [*spec.get("initContainers", []), *spec.get("containers", [])]


def pod_rules(spec):
    """(rule, whether it holds) of a pod."""
    security = spec.get("securityContext", {})
    yield "runs as non-root", security.get("runAsNonRoot") is True and security.get("runAsUser", 1) != 0
    yield "has the runtime's seccomp profile", security.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost")
    yield "shares no namespace of the host", not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    kinds = [key for volume in spec.get("volumes", []) for key in volume if key != "name"]
    yield "has volumes of allowed kinds only", set(kinds) <= VOLUMES
    yield "sets no sysctl", not security.get("sysctls")
    # The house's own.
    yield "gets no service links", spec.get("enableServiceLinks") is False
    yield "says whether it wants a token", "automountServiceAccountToken" in spec
    yield "has an account of its own", spec.get("serviceAccountName", "default") != "default"


def container_rules(container):
    """(rule, whether it holds) of a container."""
    security = container.get("securityContext", {})
    yield "escalates no privilege", security.get("allowPrivilegeEscalation") is False and not security.get("privileged")
    capabilities = security.get("capabilities", {})
    yield "drops all capabilities", capabilities.get("drop") == ["ALL"] and set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}
    yield "has no root user", security.get("runAsUser", 1) != 0 and security.get("runAsNonRoot", True) is True
    yield "opens no host port", not any("hostPort" in port for port in container.get("ports", []))
    yield "keeps the default seccomp profile", security.get("seccompProfile", {}).get("type", "RuntimeDefault") != "Unconfined"
    yield "cannot write to its root", security.get("readOnlyRootFilesystem") is True
    resources = container.get("resources", {})
    yield "says what it needs and bounds its memory", "requests" in resources and "memory" in resources.get("limits", {})
    yield "names a version of its image", ":" in container["image"].rsplit("/", 1)[-1] and not container["image"].endswith(":latest")


def check(world):
    uids = {profile: [] for profile in PROFILES}
    for profile in PROFILES:
        seen = list(pod_templates(world.helm.objects(profile)))
        world.report.ok(f"{profile} has pods to check", len(seen) >= 3, str([name for name, _, _ in seen]))
        for name, spec, metadata in seen:
            broken = [rule for rule, holds in pod_rules(spec) if not holds]
            for container in containers(spec):
                broken += [f"{container['name']} {rule}" for rule, holds in container_rules(container) if not holds]
            world.report.ok(f"{profile}, {name} is restricted and tidy", not broken, f"not so: {', '.join(broken)}")
            own = metadata["labels"].get("sidelock.dev/inject")
            world.report.ok(f"{profile}, {name} never gets a sidecar of ours", own == "false", f"the label is {own}")
            uids[profile].append(spec["securityContext"].get("runAsUser"))
            mounted = {mount["name"] for container in containers(spec) for mount in container.get("volumeMounts", [])}
            volumes = {volume["name"] for volume in spec.get("volumes", [])}
            if name.startswith("StatefulSet/"):
                volumes |= {"data"}
            world.report.ok(f"{profile}, {name} mounts what it has and has what it mounts", mounted == volumes, f"{mounted ^ volumes}")
    world.report.ok("all pods have the uid of the values", set(uids["default"]) == {65532}, str(uids["default"]))
    world.report.ok("no pod has a uid on OpenShift", set(uids["openshift"]) == {None}, str(uids["openshift"]))
