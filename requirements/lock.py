"""Write this folder's lists: every package of a set-up at one version, with its files' SHA-256.

``make lock`` runs it, with the network. Versions are those of constraints.txt; what is not there
(packages of other systems, CUDA's libraries) keeps its version in the present lists while it fits.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
PARTS = {
    "base": [],
    "dev": ["--extra", "cluster", "--extra", "dev"],
    "docs": ["--extra", "docs"],
    "lab": ["--extra", "lab"],
    "tools": ["--group", "tools"],
    "fuzz": ["--group", "fuzz"],
}
# What the listed packages need on Linux when PyTorch is the registry's build, which brings CUDA.
CUDA = re.compile(r"(nvidia-|cuda-|triton==)")
TORCH = re.compile(r"torch==")
# The oldest Python that every listed version runs on.
OLDEST_PYTHON = "3.11.5"
# PyTorch's own build without CUDA (CPython 3.11, x86-64 Linux) is not in the registry. Where pip
# finds it, on this machine's disk, it is taken: the Makefile asks there first.
EXTRA_HASHES = {
    "torch==2.13.0": ["6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"]
}
HEADER = """\
# {title}
# Made by `make lock`; installed by the Makefile with pip's --require-hashes and --no-deps.
"""
TITLES = {
    "base": "What `make report` needs.",
    "torch": "PyTorch, which the Makefile first looks for where pip needs no network.",
    "cuda": "CUDA's libraries, beside base.txt where PyTorch is the build that needs them.",
    "dev": "What `make test` and `make lint` need beside base.txt.",
    "docs": "What `make docs` needs beside base.txt.",
    "lab": "What `make lab` needs beside base.txt.",
    "tools": "What `make lock` and `make audit` need beside base.txt.",
    "fuzz": "The coverage-guided fuzzer of `make fuzz`, where it has a build for this Python.",
}


def resolve(options: list[str]) -> dict[str, str]:
    """Return ``{package line: whole entry}`` for the project with some of its extras."""
    command = [
        sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", *options,
        "--constraint", "constraints.txt", "--universal", "--python-version", OLDEST_PYTHON,
        "--python", sys.executable, "--no-python-downloads", "--generate-hashes", "--no-header",
        "--no-annotate", "--no-emit-index-url", "--quiet",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        # A present list makes the resolver keep its versions.
        made = Path(folder) / "made.txt"
        made.write_text("".join(path.read_text() for path in sorted(HERE.glob("*.txt"))))
        subprocess.run([*command, "--output-file", str(made)], cwd=ROOT, check=True)  # noqa: S603
        entries = re.split(r"\n(?=\S)", made.read_text().strip())
    return {entry.split(" \\")[0]: entry for entry in entries}


def with_extra_hashes(line: str, entry: str) -> str:
    """Add the files that are not in the registry to an entry."""
    for digest in EXTRA_HASHES.get(line, []):
        if digest not in entry:
            entry += f" \\\n    --hash=sha256:{digest}"
    return entry


def main() -> None:
    """Resolve every part, and write of each what the base does not have."""
    found = {part: resolve(options) for part, options in PARTS.items()}
    base = found["base"]
    apart = {"torch": TORCH, "cuda": CUDA}
    lists = {
        name: {line: base[line] for line in base if pattern.match(line)}
        for name, pattern in apart.items()
    }
    for part, entries in found.items():
        known = {} if part == "base" else base
        lists[part] = {
            line: entry
            for line, entry in entries.items()
            if line not in known and not any(one.match(line) for one in apart.values())
        }
    for part, entries in lists.items():
        body = "\n".join(with_extra_hashes(line, entries[line]) for line in sorted(entries))
        (HERE / f"{part}.txt").write_text(HEADER.format(title=TITLES[part]) + body + "\n")
        print(f"{part}.txt: {len(entries)} packages")


if __name__ == "__main__":
    main()
