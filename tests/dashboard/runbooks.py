"""The commands of the runbooks, as an operator would paste them."""

import glob
import os
import subprocess
import textwrap

BOUND_SECONDS = 30


def blocks(folder):
    """(file, text) of each block of shell; those that a healthy cell cannot take are marked `console`."""
    found = []
    for path in sorted(glob.glob(os.path.join(folder, "*.md"))):
        with open(path) as file:
            block = None
            for line in file:
                fence = line.strip()
                if block is None:
                    block = [] if fence == "```sh" else None
                elif fence == "```":
                    found.append((os.path.basename(path), textwrap.dedent("".join(block)).strip()))
                    block = None
                else:
                    block.append(line)
    return found


def attempt(block, environment):
    """Nothing if all of it succeeded, else what it said."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], env=os.environ | environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BOUND_SECONDS,
    )
    return None if done.returncode == 0 else f"exit code {done.returncode}: {done.stdout.strip()}"
