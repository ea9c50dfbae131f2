"""The volumes of a pod as folders of this machine, as a kubelet lays them.

In: a pod as the API server has it. Out: a folder for each volume. Never: a kind of volume that no pod here has; that fails.
"""

import base64
import json
import os
import subprocess

MODE_DEFAULT = 0o644
UNITS = {"Ki": "k", "Mi": "m", "Gi": "g"}


class Volumes:
    """Of one pod."""

    def __init__(self, kubectl, pod, folder):
        self.kubectl, self.pod, self.folder = kubectl, pod, folder
        self.namespace = pod["metadata"]["namespace"]
        self.group = pod["spec"].get("securityContext", {}).get("fsGroup")

    def lay(self):
        """{name of a volume: its folder}"""
        return {volume["name"]: self.one(volume) for volume in self.pod["spec"].get("volumes", [])}

    def one(self, volume):
        path = os.path.join(self.folder, volume["name"])
        os.makedirs(path)
        match {key: value for key, value in volume.items() if key != "name"}:
            case {"emptyDir": {"medium": "Memory", "sizeLimit": size}}:
                options = f"mode=0777,size={size[:-2]}{UNITS[size[-2:]]}"
                subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
            case {"emptyDir": _} | {"persistentVolumeClaim": _}:
                os.chmod(path, 0o777)
            case {"secret": source}:
                self.files(path, self.data("secret", source["secretName"]), source)
            case {"configMap": source}:
                self.files(path, self.data("configmap", source["name"]), source)
            case {"projected": source}:
                for part in source["sources"]:
                    self.projected(path, part, source)
            case other:
                raise NotImplementedError(f"a volume that is {other}")
        return path

    def projected(self, path, part, whole):
        modes = {"defaultMode": whole.get("defaultMode", MODE_DEFAULT)}
        match part:
            case {"serviceAccountToken": source}:
                self.files(path, {source["path"]: self.token(source)}, modes)
            case {"configMap": source}:
                self.files(path, self.data("configmap", source["name"]), source | modes)
            case {"downwardAPI": source}:
                told = {it["path"]: field(self.pod, it["fieldRef"]["fieldPath"]).encode() for it in source["items"]}
                self.files(path, told, modes)
            case other:
                raise NotImplementedError(f"a projection of {other}")

    def data(self, kind, name):
        found = self.kubectl.get(kind, name, "--namespace", self.namespace).get("data", {})
        return {key: base64.b64decode(text) if kind == "secret" else text.encode() for key, text in found.items()}

    def token(self, source):
        """A token of the pod's account, bound to the pod, as the kubelet asks for it."""
        metadata = self.pod["metadata"]
        asked = [f"--duration={source['expirationSeconds']}s"]
        asked += ["--bound-object-kind=Pod", f"--bound-object-name={metadata['name']}", f"--bound-object-uid={metadata['uid']}"]
        if audience := source.get("audience"):
            asked.append(f"--audience={audience}")
        return self.kubectl("create", "token", self.pod["spec"]["serviceAccountName"], "--namespace", self.namespace, *asked).strip().encode()

    def files(self, path, data, source):
        """Writes what is asked for with its mode, and lets the pod's group read it, as for every volume with an fsGroup."""
        mode = source.get("defaultMode", MODE_DEFAULT)
        wanted = {it["path"]: data[it["key"]] for it in source["items"]} if "items" in source else data
        for name, content in wanted.items():
            file = os.path.join(path, name)
            with open(file, "wb") as out:
                out.write(content)
            if self.group is not None:
                os.chown(file, 0, self.group)
                mode |= 0o440
            os.chmod(file, mode)


def field(pod, path):
    """What a fieldRef means."""
    for kind in ("annotations", "labels"):
        if path.startswith(f"metadata.{kind}['"):
            return pod["metadata"].get(kind, {}).get(path.split("'")[1], "")
    return {"metadata.name": pod["metadata"]["name"], "metadata.namespace": pod["metadata"]["namespace"]}[path]


def variables(kubectl, pod, container):
    """The environment of a container; `$(NAME)` means one that came before."""
    out = {}
    for it in container.get("env", []):
        match it:
            case {"value": text}:
                out[it["name"]] = expanded(text, out)
            case {"valueFrom": {"fieldRef": source}}:
                out[it["name"]] = field(pod, source["fieldPath"])
            case {"valueFrom": {"configMapKeyRef": source}}:
                found = kubectl.get("configmap", source["name"], "--namespace", pod["metadata"]["namespace"])
                out[it["name"]] = found["data"][source["key"]]
            case {"name": name}:
                assert set(it) == {"name"}, json.dumps(it)
                out[name] = ""
    return out


def expanded(text, known):
    for name, value in known.items():
        text = text.replace(f"$({name})", value)
    return text
