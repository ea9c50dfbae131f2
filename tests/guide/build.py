"""Makes commands of the guide's programs, as a reader would build them: with the clients, all warnings being errors."""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys

from pages import ROOT

CLIENTS = f"{ROOT}/clients"
# A program lives for a second: compile quickly, not well.
JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]


class Broken(Exception):
    """A program that does not compile."""


def _write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    return path


def _call(command, directory):
    done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise Broken(f"{command[0]}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def shell(programs, out):
    commands = {}
    for program in programs:
        path = _write(f"{out}/{program.name}.sh", program.text)
        os.chmod(path, 0o755)
        _call(["bash", "-n", path], out)
        commands[program] = ["bash", path]
    return commands


def python(programs, out):
    # Beside the client, so that it is found without a variable.
    os.makedirs(out)
    shutil.copy(f"{CLIENTS}/python/sidelock.py", out)
    return {
        program: [sys.executable, "-B", "-W", "error", _write(f"{out}/{program.name}.py", program.text)]
        for program in programs
    }


def go(programs, out):
    shutil.copytree(f"{CLIENTS}/go", out)
    for program in programs:
        _write(f"{out}/guide/{program.name}/main.go", program.text)
    if untidy := _call(["gofmt", "-l", "guide"], out):
        raise Broken(f"gofmt would change {untidy}")
    _call(["go", "vet", "./guide/..."], out)
    _call(["go", "build", "-o", "bin/", "./guide/..."], out)
    return {program: [f"{out}/bin/{program.name}"] for program in programs}


def java(programs, out):
    sources = [_write(f"{out}/{program.name}.java", program.text) for program in programs]
    client = [f"{CLIENTS}/java/dev/sidelock/{name}.java" for name in ("Sidelock", "Json")]
    _call(["javac", "-Xlint:all", "-Werror", "-d", f"{out}/classes", *client, *sources], out)
    name = re.compile(r"^class (\w+)", re.MULTILINE)
    return {program: [*JAVA, "-cp", f"{out}/classes", name.search(program.text)[1]] for program in programs}


def typescript(programs, out):
    shutil.copytree(f"{CLIENTS}/typescript", out)
    os.symlink(f"{modules()}", f"{out}/node_modules")
    for program in programs:
        _write(f"{out}/{program.name}.ts", program.text)
    _call(["node_modules/.bin/tsc"], out)
    return {program: ["node", f"{out}/dist/{program.name}.js"] for program in programs}


def modules():
    """Where `.ci/setup clients` puts the compiler of TypeScript."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return (os.environ.get("SIDELOCK_CACHE") or f"{cache}/sidelock") + "/clients/node_modules"


BUILDERS = {"curl": shell, "run": shell, "python": python, "go": go, "java": java, "typescript": typescript}
NEEDS = {"go": ["go", "gofmt"], "java": ["java", "javac"], "typescript": ["node", f"{modules()}/.bin/tsc"], "run": ["sqlite3"]}


def missing(language):
    """What is not installed that it needs; nothing mostly."""
    return [name for name in NEEDS.get(language, []) if not shutil.which(name)]


def build(programs, languages, out):
    """The command of each program; of each language that did not build, why."""
    commands, broken = {}, {}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        work = {
            language: pool.submit(BUILDERS[language], [it for it in programs if it.language == language], f"{out}/{language}")
            for language in languages
        }
        for language, built in work.items():
            try:
                commands |= built.result()
            except (Broken, OSError, subprocess.SubprocessError) as why:
                broken[language] = why
    return commands, broken
