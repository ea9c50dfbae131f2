"""Checks of the image by itself: how large it is, what is in it, whether it comes out the same again."""

import datetime
import json
import os
import re
import stat
import subprocess
import tarfile

from engine import Failed, Ignored
from image import EPOCH, build, health

SIZE_MAX = 40_000_000  # bytes, unpacked, as `docker images` counts
NOBODY = "65532:65532"
FILES = re.compile(
    r"sidelock"
    r"|lib(64)?/([a-z0-9_-]+/)?(ld-linux-[a-z0-9-]+|lib(c|m|gcc_s|stdc\+\+))\.so\.\d+"
    r"|etc/(passwd|group|nsswitch\.conf|os-release)"
    r"|usr/share/doc/[a-z0-9+.-]+/(copyright|LICENSE)|var/lib/dpkg/status\.d/[a-z0-9+.-]+"
    # What an engine puts into every container for its mounts.
    r"|\.dockerenv|dev/console|etc/(hostname|hosts|resolv\.conf|mtab)"
)
FOLDERS = {"data": "drwx------", "state": "drwx------", "certs": "drwxr-xr-x", "tmp": "drwxrwxrwt"}
SHUT = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


def is_small(world):
    """at most 40 MB, of what is shipped"""
    size = world.docker.inspect(world.image)["Size"]
    world.say(f"the image has {size / 1e6:.1f} MB, of at most {SIZE_MAX / 1e6:.0f}")
    if not world.binary.endswith("-release") and size > SIZE_MAX:
        raise Ignored("it is not the release build, which is smaller")
    assert size <= SIZE_MAX, f"{size} bytes"


def names_a_user_and_what_to_run(world):
    """non-root, the binary as entry point, a health check by it, labels"""
    config = world.docker.inspect(world.image)["Config"]
    assert config["User"] == NOBODY, config["User"]
    assert config["Entrypoint"] == ["/sidelock"], config["Entrypoint"]
    assert config["Healthcheck"]["Test"] == ["CMD", "/sidelock", "healthcheck"], config["Healthcheck"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == "test", labels
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0", labels


def holds_nothing_else(world):
    """the binary, its libraries, some text; four folders that are the user's"""
    container = world.docker("create", world.image)
    archive = f"{world.directory}/image.tar"
    try:
        world.docker("export", "--output", archive, container)
    finally:
        world.docker("rm", container)
    with tarfile.open(archive) as tar:
        members = {member.name.strip("/"): member for member in tar.getmembers()}
    files = {name for name, member in members.items() if not member.isdir()}
    odd = sorted(name for name in files if not FILES.fullmatch(name))
    assert not odd, f"not expected in the image: {odd}"
    assert {"sidelock", "etc/passwd"} <= files, files
    for name, mode in FOLDERS.items():
        found = members[name]
        told = stat.filemode(stat.S_IFDIR | found.mode)
        assert (told, found.uid, found.gid) == (mode, 65532, 65532), f"{name}: {told} {found.uid}:{found.gid}"
    open_to_all = [name for name, it in members.items() if it.mode & 0o022 and not it.issym() and name != "tmp"]
    assert not open_to_all, f"others may write: {open_to_all}"
    world.say(f"{len(files)} files; libraries: {', '.join(sorted(os.path.basename(it) for it in files if '.so.' in it))}")


def comes_out_the_same(world):
    """two builds without a cache: the same layers and the same configuration"""
    build(world.docker, world.context, world.base, "--tag", "sidelock-test:again")
    one, two = (world.docker.inspect(name) for name in (world.image, "sidelock-test:again"))
    assert one["RootFS"]["Layers"] == two["RootFS"]["Layers"], (one["RootFS"], two["RootFS"])
    assert one["Config"] == two["Config"], (one["Config"], two["Config"])
    dated = datetime.datetime.fromtimestamp(EPOCH, datetime.timezone.utc).isoformat()[:19]
    if one["Created"].startswith(dated):
        assert one["Id"] == two["Id"], (one["Id"], two["Id"])
        world.say("the same image twice, to the digest")
    else:
        world.say("the same layers and configuration twice; this engine's BuildKit dates the image itself by the clock")


def keeps_symbols_aside(world):
    """what was stripped off fits what is shipped"""
    folder = f"{world.directory}/symbols"
    build(world.docker, world.context, world.base, "--target", "symbols", "--output", folder)
    debug, binary = f"{folder}/sidelock.debug", f"{world.directory}/sidelock"
    container = world.docker("create", world.image)
    try:
        world.docker("cp", f"{container}:/sidelock", binary)
    finally:
        world.docker("rm", container)
    assert not symbols(binary), "the shipped binary has symbols"
    assert any(line.endswith(" T main") for line in symbols(debug)), "no `main` among the symbols"
    link = f"{world.directory}/link"
    subprocess.run(["objcopy", "--dump-section", f".gnu_debuglink={link}", binary, "/dev/null"], check=True)
    with open(link, "rb") as file:
        assert file.read().startswith(b"sidelock.debug\0")


def symbols(file):
    return subprocess.run(["nm", "--defined-only", file], capture_output=True, text=True).stdout.splitlines()


def runs_with_nothing(world):
    """no writable root, no network, no capability, no new privileges"""
    bare = ["run", "--rm", *SHUT, "--network", "none", world.image]
    said = world.docker(*bare, "version")
    ours = subprocess.run([world.binary, "version"], capture_output=True, text=True, check=True).stdout.strip()
    assert said == ours, (said, ours)
    elsewhere = ["core", "--node-id", "1", "--data-dir", "/elsewhere", "--peers", "1=127.0.0.1:5626"]
    refused = world.docker.tried(*bare, *elsewhere)
    assert refused.returncode != 0 and "Read-only file system" in refused.stderr, refused
    usage = world.docker.tried(*bare)
    assert usage.returncode == 0 and "Usage: sidelock" in usage.stdout, usage


def checks_its_health(world):
    """the image's own check: healthy while it serves, and only then"""
    container = world.docker("run", "--detach", *SHUT, "--tmpfs", "/tmp", "--health-interval", "1s", world.image, "dev")
    try:
        world.wait_for("a healthy `dev`", lambda: health(world.docker, container) == "healthy")
        nobody = world.docker.tried("exec", container, "/sidelock", "healthcheck", "http://127.0.0.1:1")
        assert nobody.returncode == 1 and "refused" in nobody.stderr, nobody
    except Failed:
        world.say(json.dumps(world.docker.inspect(container)["State"].get("Health"))[-800:])
        raise
    finally:
        world.docker("rm", "--force", "--volumes", container)

