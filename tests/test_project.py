"""What the project promises about itself: versions, environment, files."""

import re
import subprocess
import tomllib
from pathlib import Path

import yaml
from hypothesis import settings

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def bare(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower()


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name.lower(): version for name, version in pairs}


def requirements() -> list[str]:
    extras = PROJECT["optional-dependencies"].values()
    return PROJECT["dependencies"] + [item for extra in extras for item in extra]


def test_every_dependency_has_one_exact_version_that_its_range_admits():
    versions = pinned()
    assert versions["torch"] == "2.13.0"
    for requirement in requirements():
        version = versions[bare(requirement)]
        operator, bound = re.search(r"(>=|==)([\d.]+)", requirement).groups()
        mine, limit = (tuple(map(int, re.findall(r"\d+", v)[:3])) for v in (version, bound))
        assert mine == limit if operator == "==" else mine >= limit, requirement


def test_the_conda_environment_is_the_package_with_all_it_needs():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert {"jupyter", "pip"} <= set(conda)
    python = next(item for item in conda if item.startswith("python="))
    wanted = re.search(r"([\d.]+)", PROJECT["requires-python"])[0]
    assert tuple(map(int, python[7:].split("."))) >= tuple(map(int, wanted.split(".")))
    # The package itself brings the dependencies, so the two lists cannot drift apart.
    extras = ",".join(sorted(PROJECT["optional-dependencies"]))
    assert f"-e .[{extras}]" in pip
    assert "-c constraints.txt" in pip


def test_the_six_top_level_names_are_there():
    for name in ("notebooks", "lresnet_utils", "params", "outputs", "tests", "environment.yml"):
        assert (ROOT / name).exists()


def test_the_changelog_has_an_entry_for_this_version():
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_example_of_a_property_has_a_time_limit():
    """How long one takes says how busy the machine is; a test of its own limit must not come."""
    assert settings().deadline is None
    own = {path.name for path in (ROOT / "tests").rglob("*.py") if "deadline=" in path.read_text()}
    assert own == {"conftest.py", Path(__file__).name}


def test_only_its_own_target_removes_runs():
    def said(target):
        return subprocess.run(
            ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout

    assert "outputs" not in said("clean") and ".venv" in said("clean")
    assert "find outputs" in said("clean-outputs") and ".venv" not in said("clean-outputs")
