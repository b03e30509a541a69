"""Which file was made from which, by what: a chain from checkpoint and faces to the scores.

Every stage records a link for each file that it makes: the SHA-256 of the file as it was written,
what it was made from, the versions of the tools and the options. Files are named by their path in
the run's folder, so the same inputs give the same links wherever the folder lies.

At its end a run takes its inventory, ``resume/run.json``: the hash of every file that it leaves,
the records of other hashes among them. :func:`broken` holds the files against all that is said.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import lresnet_utils
from lresnet_utils.errors import LResNetError
from lresnet_utils.machine.disk import read_json, sha256_file
from lresnet_utils.machine.facts import machine, version_of
from lresnet_utils.run import CHECKOUT, NOTEBOOKS, STAGES, WHOLE_RUN, RunFolder

Link = dict[str, Any]

MISSING = "the file is missing"
NO_INVENTORY = "the file is missing: the run did not come to its end, or is of an older version"
UNSTATED = "resume/run.json does not state its SHA-256"
CHANGED = "the file is not the one whose SHA-256 is in {}"


def given(name: str, sha256: str, /, **options: Any) -> Link:
    """Return the link of something that came from outside the run.

    Parameters
    ----------
    name : str
        What to call it: a file's name without its folder, which is of one machine only.
    sha256 : str
        Of its bytes, 64 hexadecimal digits.
    **options
        What it is, in plain values.

    Returns
    -------
    dict
        ``file``, ``sha256``, ``bytes`` (None: it is not in the run's folder), ``repeatable``
        (True), ``made_from`` (empty), ``tools`` (empty) and ``options``.
    """
    return {
        "file": name,
        "sha256": sha256,
        "bytes": None,
        "repeatable": True,
        "made_from": [],
        "tools": {},
        "options": options,
    }


def made(
    run: RunFolder,
    path: Path,
    made_from: Iterable[Path | str],
    *,
    tools: Mapping[str, str | None] | Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    sha256: str | None = None,
    repeatable: bool = True,
) -> Link:
    """Return the link of a file that a stage has just written.

    Parameters
    ----------
    run : RunFolder
    path : Path
        The file.
    made_from : iterable of Path or str
        Files of this run, or the names of what was :func:`given`.
    tools : mapping or sequence of str
        Versions by package, or packages whose installed versions are taken.
    options : mapping, optional
        What decided about the file's content.
    sha256 : str, optional
        When it is known already; taken from the file when not given.
    repeatable : bool
        Whether making it again from the same files gives the same bytes.

    Returns
    -------
    dict
        As for :func:`given`, with the size in bytes.
    """
    used = dict(tools) if isinstance(tools, Mapping) else versions(tools)
    used = {"lresnet_utils": lresnet_utils.__version__} | used
    return given(name_of(run, path), sha256 or sha256_file(path), **(options or {})) | {
        "bytes": path.stat().st_size,
        "repeatable": repeatable,
        "made_from": [name_of(run, source) for source in made_from],
        "tools": {name: version for name, version in used.items() if version},
    }


def name_of(run: RunFolder, path: Path | str) -> str:
    """Return a file's name in the chain: its path in the run, or its bare name elsewhere.

    Examples
    --------
    >>> run = RunFolder(Path("outputs/demo"))
    >>> name_of(run, run.onnx(4)), name_of(run, Path("/home/me/lfw.bin"))
    ('bs4/models/model.onnx', 'lfw.bin')
    """
    if isinstance(path, str):
        return path
    inside = path.is_relative_to(run.folder)
    return path.relative_to(run.folder).as_posix() if inside else path.name


def gather(run: RunFolder, batch_sizes: Sequence[int]) -> list[Link]:
    """Return every link that the stages of a run have recorded, sources before what they became.

    A file that several batch sizes share has one link, the last that was recorded.
    """
    links: dict[str, Link] = {}
    for stage in ("3_preprocess", *(stage for stage in STAGES if stage not in WHOLE_RUN)):
        for batch_size in [None] if stage in WHOLE_RUN else batch_sizes:
            path = run.stage(stage, batch_size)
            for link in recorded(read_json(path)) if path.is_file() else ():
                links[link["file"]] = link
    return list(links.values())


def recorded(record: Mapping[str, Any]) -> list[Link]:
    """Return the links in a stage's record: the stage's own, then those of each target."""
    entries = record.get("targets", {}).values()
    return [link for part in (record, *entries) for link in part.get("custody", ())]


def chain(links: Iterable[Link], file: str) -> list[Link]:
    """Return the links that lead to a file, from what came from outside down to itself.

    Parameters
    ----------
    links : iterable of dict
        As :func:`gather` returns them.
    file : str
        Its name in the chain; a name without a link gives an empty list.

    Examples
    --------
    >>> links = [
    ...     {"file": "b", "made_from": ["a"]},
    ...     {"file": "a", "made_from": []},
    ...     {"file": "c", "made_from": ["b", "a"]},
    ... ]
    >>> [link["file"] for link in chain(links, "c")]
    ['a', 'b', 'c']
    """
    known = {link["file"]: link for link in links}
    found: dict[str, Link] = {}

    def follow(name: str) -> None:
        if name not in found and name in known:
            for source in known[name]["made_from"]:
                follow(source)
            found[name] = known[name]

    follow(file)
    return list(found.values())


def files_of(run: RunFolder, batch_sizes: Sequence[int]) -> list[Path]:
    """Return every file of a run whose hash is stated at its end, sorted.

    Pages are not among them, as they are checked by making them again; nor are the guide's one
    file per picture, batch sizes of earlier params, sets that were embedded later, and what is
    hidden or half made.
    """
    left_out = {"guide", "sets", "run.lock", "report.pdf", "resume/run.json"}
    left_out |= {f"bs{size}" for size in run.batch_sizes() if size not in batch_sizes}
    found = []
    for place, folders, files in os.walk(run.folder):
        inside = Path(place).relative_to(run.folder)
        for names in (folders, files):
            names[:] = [
                name
                for name in names
                if not name.startswith(".") and (inside / name).as_posix() not in left_out
            ]
        found += [Path(place, name) for name in files if not name.endswith(".html")]
    return sorted(found)


def stated(record: Any) -> list[tuple[str, str]]:
    """Return what a record says of the run's files: pairs of name and SHA-256.

    Resume's records and ``results.json`` say it in ``files``, stages in their ``custody``; what
    came from outside the run is left out.

    Raises
    ------
    ValueError
        When it says it of something outside the run's folder, or in another form.
    """
    try:
        found = [
            (name, about if isinstance(about, str) else about["sha256"])
            for name, about in record.get("files", {}).items()
        ]
        found += [(link["file"], link["sha256"]) for link in recorded(record) if link["bytes"]]
        for name, sha256 in found:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not re.fullmatch("[0-9a-f]{64}", sha256):
                raise ValueError(f"{name} is no file of this folder, or its hash is none")
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("it is not what a run writes") from error
    return found


def broken(run: RunFolder, batch_sizes: Sequence[int]) -> dict[str, str | None]:
    """Say of every file whose hash some record of the run states whether it is still that file.

    Parameters
    ----------
    run : RunFolder
    batch_sizes : sequence of int
        Of its params.

    Returns
    -------
    dict of str to str or None
        Name in the run's folder to what is wrong with it, None where nothing is.
    """
    found: dict[str, str | None] = {}
    # The hashes that records state of each file, each with the record that does.
    known: dict[str, dict[str, str]] = {}
    sizes = [(s, b) for s in STAGES for b in ([None] if s in WHOLE_RUN else batch_sizes)]
    records = [run.stage(*job) for job in sizes]
    records += [run.state_of(*job).with_suffix(".json") for job in sizes]
    for path in (run.inventory, run.results, *records):
        name = path.relative_to(run.folder).as_posix()
        if not path.is_file():
            # What else is missing is in the inventory.
            found |= {name: MISSING} if path == run.results else {}
            found |= {name: NO_INVENTORY} if path == run.inventory else {}
            continue
        try:
            for file, sha256 in stated(read_json(path)):
                known.setdefault(file, {}).setdefault(sha256, name)
            found.setdefault(name, None)
            if path == run.inventory:
                left = (p.relative_to(run.folder).as_posix() for p in files_of(run, batch_sizes))
                found |= {file: UNSTATED for file in left if file not in known}
        except (LResNetError, ValueError) as error:
            found[name] = f"damaged: {error.what if isinstance(error, LResNetError) else error}"
    for file, hashes in known.items():
        # Of pages it does not matter who made them, but what their inputs give.
        if not file.endswith(".html") and not found.get(file):
            try:
                now = sha256_file(run.folder / file)
                others = [by for sha256, by in hashes.items() if sha256 != now]
                found[file] = CHANGED.format(others[0]) if others else None
            except FileNotFoundError:
                found[file] = MISSING
            except (OSError, ValueError) as error:  # what Python raises for a zero byte in a name
                found[file] = f"the file cannot be read: {error}"
    return found


# Where a result comes from: code, packages, machine, time.

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
    # The commit of this package's checkout, and what the bare hash does not tell. Never that of
    # another folder: a repository's settings can name programs that git would start.
    said = []
    try:
        if not (CHECKOUT / ".git").exists():
            raise FileNotFoundError
        for question in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
            done = subprocess.run(  # noqa: S603 (fixed program and arguments, no shell)
                # Without the lock, asking for the status writes nothing into the checkout.
                ["git", "--no-optional-locks", "-C", str(CHECKOUT), *question],  # noqa: S607
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
            said.append(done.stdout.strip())
        commit, note = said[0], "with uncommitted changes" if said[1] else None
    except (OSError, subprocess.SubprocessError):
        commit, note = None, "not run from a git checkout"
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
