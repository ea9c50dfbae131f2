"""Takes the programs out of the guide's pages, and the commands out of other documents."""

import dataclasses
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GUIDE = f"{ROOT}/docs/guide"
LANGUAGES = ("curl", "python", "go", "java", "typescript")
SHELL_RUN = "run"  # `sidelock run`, beside those that every page has
FENCES = {"sh": None, "python": "python", "go": "go", "java": "java", "ts": "typescript"}
FENCE = re.compile(r"^```(\w+) program(?:=([a-z-]+))?$")


@dataclasses.dataclass(frozen=True)
class Program:
    """One program of a page. `label` tells several of one language apart; empty for the first."""

    page: str
    language: str
    label: str
    text: str

    @property
    def name(self):
        return "-".join(part for part in (self.page, self.language, self.label) if part)


def _lines(path):
    with open(path) as file:
        return file.read().splitlines()


def _blocks(path):
    """(info string, text) of each fenced block that begins at the left edge."""
    info, block = None, []
    for line in _lines(path):
        if info is None and line.startswith("```"):
            info, block = line, []
        elif info is not None and line == "```":
            yield info, "\n".join(block) + "\n"
            info = None
        elif info is not None:
            block.append(line)


def _program(page, info, text):
    fence, label = FENCE.match(info).groups(default="")
    language = FENCES[fence]
    if language is None:  # a shell's block names its kind first: curl, curl-watch, run
        language, _, label = label.partition("-")
    return Program(page, language, label, text)


def programs():
    """All programs, page by page."""
    pages = sorted(name.removesuffix(".md") for name in os.listdir(GUIDE) if name.endswith(".md") and name != "README.md")
    return [
        _program(page, info, text)
        for page in pages for info, text in _blocks(f"{GUIDE}/{page}.md") if FENCE.match(info)
    ]


def complaints(found, judged):
    """What is missing: a language of a page, a page in the list, a judge of a page."""
    listed = "\n".join(_lines(f"{GUIDE}/README.md"))
    for page in sorted({program.page for program in found} | set(judged)):
        kinds = [(program.language, program.label) for program in found if program.page == page]
        labels = {label for _, label in kinds}
        for kind in [(language, label) for language in LANGUAGES for label in labels or {""}]:
            if kinds.count(kind) != 1:
                yield f"{page}: {kinds.count(kind)} programs in {'-'.join(filter(None, kind))}"
        if f"({page}.md)" not in listed:
            yield f"README.md does not list {page}.md"
        if page not in judged:
            yield f"{page}: nothing judges it"


def rules(path):
    """The one block of YAML."""
    (text,) = [text for info, text in _blocks(path) if info == "```yaml"]
    return text


def commands(path):
    """The blocks of shell that a healthy cell can take; those that it cannot are marked `console`."""
    return [text for info, text in _blocks(path) if info == "```sh"]
