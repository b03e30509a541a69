"""Where a result comes from: code, packages, machine, time."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lresnet_utils
from lresnet_utils.machine.disk import sha256_file
from lresnet_utils.machine.facts import machine
from lresnet_utils.run import CHECKOUT, NOTEBOOKS
from lresnet_utils.targets.base import version_of

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
THREAD_LIMITS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def provenance(notebooks: Path = NOTEBOOKS) -> dict[str, Any]:
    """Describe the code, notebooks, packages and machine of this run, and the time it started.

    Parameters
    ----------
    notebooks : Path
        Those that are executed.

    Returns
    -------
    dict
        ``lresnet_utils``, ``commit`` (None outside git, with ``commit_note``), ``notebooks`` (whose
        they are, and the SHA-256 of each), ``python``, ``packages``, ``machine``,
        ``thread_limits`` (environment variables that hold libraries back from using every core,
        where they are set) and ``started`` (UTC, ISO 8601).
    """
    commit, note = _commit()
    return {
        "lresnet_utils": lresnet_utils.__version__,
        "commit": commit,
        "commit_note": note,
        "notebooks": {
            "from": "lresnet_utils" if notebooks == NOTEBOOKS else f"--notebooks {notebooks.name}",
            "sha256": {path.name: sha256_file(path) for path in sorted(notebooks.glob("*.ipynb"))},
        },
        "python": platform.python_version(),
        "packages": versions(PACKAGES),
        "machine": machine(),
        "thread_limits": {name: os.environ[name] for name in THREAD_LIMITS if name in os.environ},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the installed version of each package, None where it is not installed.

    Examples
    --------
    >>> versions(["no-such-package"])
    {'no-such-package': None}
    """
    return {name: version_of(name) for name in packages}


def _commit() -> tuple[str | None, str | None]:
    """Return the commit of this package's checkout, and what the bare hash does not tell.

    Never that of another folder: a repository's settings can name programs that git would start.
    """
    try:
        if not (CHECKOUT / ".git").exists():
            raise FileNotFoundError
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None, "not run from a git checkout"
    return commit, "with uncommitted changes" if changed else None


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 (fixed program and arguments, no shell)
        # Without the lock, asking for the status writes nothing into the checkout.
        ["git", "--no-optional-locks", "-C", str(CHECKOUT), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()
