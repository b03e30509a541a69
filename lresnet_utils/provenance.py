"""Where a result comes from: code, packages, machine, time."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from typing import Any

import lresnet_utils
from lresnet_utils.perf.machine import machine
from lresnet_utils.run import project_root

# What a result can depend on; the full environment is pinned by constraints.txt.
PACKAGES = (
    "torch",
    "onnx",
    "onnxsim",
    "onnxruntime",
    "openvino",
    "numpy",
    "scikit-learn",
    "opencv-python-headless",
    "matplotlib",
    "papermill",
    "nbconvert",
)


def provenance() -> dict[str, Any]:
    """Describe the code, packages and machine of this run, and the time it started.

    Returns
    -------
    dict
        ``lresnet_utils``, ``commit`` (None outside git, with ``commit_note``), ``python``,
        ``packages``, ``machine`` and ``started`` (UTC, ISO 8601).
    """
    commit, note = _commit()
    return {
        "lresnet_utils": lresnet_utils.__version__,
        "commit": commit,
        "commit_note": note,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": machine(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> tuple[str | None, str | None]:
    """Return the commit of the working tree, and what the bare hash does not tell."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None, "not run from a git checkout"
    return commit, "with uncommitted changes" if changed else None


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 (fixed program and arguments, no shell)
        ["git", "-C", str(project_root()), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()
