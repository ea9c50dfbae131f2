"""Becomes a container's process, in a pod's network and namespaces of its own for mounts and the host's name.

    container.py SPEC     SPEC: a JSON file with hostname, root, mounts, writable, user, group, groups, variables, command

In: folders of this machine. Out: the command runs with nothing but them, as that user, for ever without privileges.
Never: a file that it could change, but in volumes that are not read-only.
"""

import ctypes
import json
import os
import socket
import subprocess
import sys

NO_NEW_PRIVILEGES = 38
# The image: what this machine has of programs and libraries. Our own are mounted beside.
IMAGE = ["/usr", "/bin", "/lib", "/lib64", "/etc/alternatives"]


def mount(*words):
    subprocess.run(["mount", *words], check=True)


def bind(source, target, read_only):
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a").close()
    mount("--bind", source, target)
    if read_only:
        mount("-o", "remount,bind,ro", target)


def main():
    with open(sys.argv[1]) as file:
        spec = json.load(file)
    socket.sethostname(spec["hostname"])
    root = spec["root"]
    os.makedirs(root)
    mount("--make-rprivate", "/")
    mount("--bind", root, root)
    for path in IMAGE:
        if os.path.exists(path):
            bind(path, root + path, True)
    for it in spec["mounts"]:
        bind(it["source"], root + it["target"], it["readOnly"])
    for folder in ("dev", "proc"):
        os.makedirs(f"{root}/{folder}")
        mount("--rbind", f"/{folder}", f"{root}/{folder}")
    if not spec["writable"]:
        mount("-o", "remount,bind,ro", root)
    os.chroot(root)
    os.chdir("/")
    os.setgroups(spec["groups"])
    os.setresgid(spec["group"], spec["group"], spec["group"])
    os.setresuid(spec["user"], spec["user"], spec["user"])
    if ctypes.CDLL(None, use_errno=True).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    os.execve(spec["command"][0], spec["command"], spec["variables"])


if __name__ == "__main__":
    main()
