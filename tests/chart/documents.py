"""What must hold between objects: names, references, selectors, arithmetic, and that rendering twice is the same."""

import re

import yaml

import golden
from helm import NAMESPACE, PROFILES, find, pod_templates

QUORUMS = {1: 1, 3: 2, 5: 3, 7: 4, 9: 5}
CLUSTER_WIDE = {"MutatingWebhookConfiguration"}
# What meshes call their webhooks; revisions, namespaces and releases come behind it.
MESHES = ("consul", "istio-revision-tag-", "istio-sidecar-injector", "kuma-", "linkerd-proxy-injector-webhook-config")
# Made by others: by cert-manager, by the keeper.
MADE = {"ha": {"sidelock-core-tls", "sidelock-injector-tls", "sidelock-tokens"}, "default": {"sidelock-tokens"}, "openshift": {"sidelock-tokens"}, "dev": set()}


def references(spec):
    """Names of secrets and config maps that a pod needs."""
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            yield volume["secret"]["secretName"]
        if "configMap" in volume:
            yield volume["configMap"]["name"]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            for kind in ("configMapKeyRef", "secretKeyRef"):
                if kind in source:
                    yield source[kind]["name"]


def within(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def of_profile(report, profile, objects):
    """Names, namespaces and references of one profile."""
    ids = [(it["apiVersion"], it["kind"], it["metadata"]["name"]) for it in objects]
    report.ok(f"{profile}: no object is rendered twice", len(ids) == len(set(ids)), str([it for it in ids if ids.count(it) > 1]))
    astray = [it["metadata"]["name"] for it in objects if it["kind"] not in CLUSTER_WIDE and it["metadata"].get("namespace") != NAMESPACE]
    report.ok(f"{profile}: every object says its namespace", not astray, str(astray))
    bare = [it["metadata"]["name"] for it in objects if not {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component", "helm.sh/chart"} <= set(it["metadata"].get("labels", {}))]
    report.ok(f"{profile}: every object is labelled", not bare, str(bare))
    there = {it["metadata"]["name"] for it in objects if it["kind"] in ("Secret", "ConfigMap")} | MADE[profile]
    accounts = {it["metadata"]["name"] for it in objects if it["kind"] == "ServiceAccount"}
    pods = list(pod_templates(objects))
    lost = {name for _, spec, _ in pods for name in references(spec)} - there
    report.ok(f"{profile}: pods refer to what there is", not lost, str(lost))
    strangers = {spec["serviceAccountName"] for _, spec, _ in pods} - accounts
    report.ok(f"{profile}: pods have accounts that there are", not strangers, str(strangers))
    unanswered = [
        it["metadata"]["name"] for it in objects if it["kind"] == "Service"
        and not any(within(it["spec"]["selector"], metadata["labels"]) for _, _, metadata in pods)
    ]
    report.ok(f"{profile}: every service finds pods", not unanswered, str(unanswered))
    unnamed = [
        f"{it['metadata']['name']}:{port['targetPort']}" for it in objects if it["kind"] == "Service" for port in it["spec"]["ports"]
        for _, spec, metadata in pods if within(it["spec"]["selector"], metadata["labels"])
        if port["targetPort"] not in [named["name"] for container in spec["containers"] for named in container.get("ports", [])]
    ]
    report.ok(f"{profile}: services use ports that their pods name", not unnamed, str(unnamed))
    alone = [
        it["metadata"]["name"] for it in objects if it["kind"] in ("PodDisruptionBudget", "NetworkPolicy")
        and sum(within((it["spec"].get("selector") or it["spec"]["podSelector"])["matchLabels"], metadata["labels"]) for _, _, metadata in pods) != 1
    ]
    report.ok(f"{profile}: each budget and policy is about one kind of pod", not alone, str(alone))
    covered = {
        name for name, _, metadata in pods for it in objects
        if it["kind"] == "NetworkPolicy" and within(it["spec"]["podSelector"]["matchLabels"], metadata["labels"])
    }
    if profile != "dev":
        report.ok(f"{profile}: a network policy is about every pod", covered == {name for name, _, _ in pods}, str(covered))


def quorums(world):
    """The budget, the peers and what sidecars are told, for every size of cell."""
    for replicas, quorum in QUORUMS.items():
        objects = world.helm.objects("default", {"core": {"replicas": replicas}})
        budget = find(objects, "PodDisruptionBudget", "sidelock-core")
        least = budget and budget["spec"]["minAvailable"]
        world.report.ok(f"of {replicas} nodes {quorum} stay", least == quorum, f"minAvailable is {least}")
        world.report.ok(f"of {replicas} nodes, a quorum and its rest do not both decide", 2 * quorum > replicas and 2 * (quorum - 1) <= replicas)
        files = find(objects, "ConfigMap", "sidelock-nodes")["data"]
        peers = [line for line in files["sidelock-core-0.yaml"].splitlines() if line.strip().startswith("- ")]
        numbers = [int(re.search(r"(\d+)=sidelock-core-(\d+)\.", line)[1]) for line in peers]
        world.report.ok(f"{replicas} nodes name each other", numbers == list(range(1, replicas + 1)), str(peers))
        joiners = [name for name, text in files.items() if text.startswith("join:")]
        world.report.ok(f"beyond {replicas} nodes all join", len(joiners) == 9 - replicas and len(files) == 9, str(joiners))
        injector = find(objects, "Deployment", "sidelock-injector")["spec"]["template"]["spec"]["containers"][0]
        told = next(it for it in injector["args"] if it.startswith("--core="))
        world.report.ok(f"sidecars are told of {replicas} nodes", told.count(":5626") == replicas, told)


def twice(world):
    """The same values give the same bytes, but for new keys."""
    for profile in PROFILES:
        one, two = world.helm.text(profile), world.helm.text(profile)
        world.report.ok(f"{profile}: rendered twice it is the same", golden.masked(one) == golden.masked(two))
        if profile == "ha":
            world.report.ok("ha: even without masking keys, since Helm makes none", one == two)


def long_names(world):
    """Names stay within 63 characters, whatever the release is called."""
    objects = world.helm.objects(release="a-release-with-a-name-as-long-as-helm-allows-it-truly")
    for it in objects:
        if it["kind"] == "StatefulSet":
            pod = it["metadata"]["name"] + "-8"
            world.report.ok("a pod's name has room for the hash of its revision", len(pod) + 11 <= 63, pod)
    longest = max((it["metadata"]["name"] for it in objects if it["kind"] not in CLUSTER_WIDE), key=len)
    world.report.ok("no name is longer than 63 characters", len(longest) <= 63, longest)
    label = max((str(value) for it in objects for value in it["metadata"]["labels"].values()), key=len)
    world.report.ok("no label is longer than 63 characters", len(label) <= 63, label)


def before_meshes(world):
    """API servers call webhooks in the order of their configurations' names, and a mesh reads only once what we tell it."""
    for release in ("sidelock", "a", "zz-locks"):
        objects = world.helm.objects(release=release)
        names = [it["metadata"]["name"] for it in objects if it["kind"] == "MutatingWebhookConfiguration"]
        world.report.ok(f"as release {release} we are called before meshes", len(names) == 1 and names[0] < min(MESHES), str(names))


def restarts_nobody(world):
    """What must not change the pods' templates: it would restart every node."""
    templates = [
        find(world.helm.objects("default", {"core": {"replicas": replicas}}), "StatefulSet", "sidelock-core")["spec"]["template"]
        for replicas in (1, 3, 5)
    ]
    dated = [name for name, _, metadata in pod_templates(world.helm.objects()) if not name.startswith("Pod/") and "helm.sh/chart" in metadata["labels"]]
    world.report.ok("nor does a new chart with the same image", not dated, str(dated))
    world.report.ok("a cell that grows restarts no node", templates[0] == templates[1] == templates[2])


def taken_over(world):
    """Files of the chart reach the cluster as they are."""
    files, objects = dict(golden.files()), world.helm.objects("ha")
    rule = find(objects, "PrometheusRule", "sidelock")["spec"]
    world.report.ok("the alerts are those that are tested", rule == yaml.safe_load(files["rules.yaml"]))
    dashboard = find(objects, "ConfigMap", "sidelock-dashboards")["data"]["sidelock.json"]
    world.report.ok("the dashboard is the one that is tested", dashboard.strip() == files["dashboard.json"].strip())
    for name in ("sidelock-keeper", "sidelock-hook"):
        script = find(objects, "ConfigMap", name)["data"]["keeper.sh"]
        world.report.ok(f"the program of {name} is the one that is tested", script.strip() == files["keeper.sh"].strip())


def check(world):
    taken_over(world)
    for profile in PROFILES:
        of_profile(world.report, profile, world.helm.objects(profile))
    quorums(world)
    twice(world)
    long_names(world)
    before_meshes(world)
    restarts_nobody(world)
