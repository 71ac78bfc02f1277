"""Check what the documents point at: relative links, headings, and paths in backticks.

Prints one line per thing that is not there, and exits 1 if there is one.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+\s+(.+?)\s*$", re.MULTILINE)
#: A path of this repository in backticks; a name in angle brackets stands for many and is left alone.
PATH = re.compile(r"`((?:benchmarks|configs|docker|docs|plugin_pkgs|tests|worker)/[\w./-]+)`")


def documents() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.splitlines() if (ROOT / name).is_file()]


def anchors(document: Path) -> set[str]:
    headings = HEADING.findall(FENCE.sub("", document.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_link(document: Path, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return False
    name, _, anchor = target.partition("#")
    file = (document.parent / name).resolve() if name else document
    if not file.exists():
        return True
    return bool(anchor) and file.suffix == ".md" and anchor not in anchors(file)


def complaints(document: Path) -> Iterator[str]:
    text = FENCE.sub("", document.read_text())
    name = document.relative_to(ROOT)
    yield from (f"{name}: link to {link}" for link in LINK.findall(text) if broken_link(document, link))
    yield from (f"{name}: path {path}" for path in PATH.findall(text) if not (ROOT / path).exists())


def main() -> int:
    checked = documents()
    found = [line for document in checked for line in complaints(document)]
    for line in found:
        print(line, "does not exist")
    print(f"{len(checked)} documents, {len(found)} broken links or paths")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
