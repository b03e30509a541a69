"""The run folder: where every stage finds its inputs and leaves its files."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.errors import DataError, RunError
from lresnet_utils.machine.disk import HALF_MADE, read_arrays, read_json, write_json
from lresnet_utils.machine.locks import NAME as LOCK

# In the order in which a reader meets them; `runner` says in which order they run.
STAGES = (
    "1_export",
    "2_compile",
    "3_preprocess",
    "4_infer",
    "5_evaluate",
    "6_perf",
    "7_summary",
)
# All pages in one file, written with the summary's.
SINGLE = "report.html"
# Stages that belong to the whole run rather than to one batch size.
WHOLE_RUN = frozenset({"3_preprocess", "7_summary"})
# The `dataset.source` of a run of speed alone.
NO_FACES = "none"
# The `model.architecture` of a network that comes as a graph.
ONNX = "onnx"

# The checkout that this package belongs to, and the notebooks of its stages.
CHECKOUT = Path(__file__).parents[1]
NOTEBOOKS = CHECKOUT / "notebooks"

# Parameters and entries of records that may name a file outside a run.
_NAME_FILES = frozenset(
    ("weights", "dataset", "source", "pairs", "fixed_thresholds", "aipp_config", "replay_folder")
)

# What desktops leave in any folder that is looked at: no obstacle, and never removed.
_LITTER = frozenset((".DS_Store", "Thumbs.db", "desktop.ini"))

# What each stage leaves beside record, notebook and page, below its folder.
_RESULTS = {
    "1_export": ("models/model*.onnx",),
    "2_compile": ("models/*-*/*", "models/*-*/inductor/**/*", "models/replay/*"),
    "3_preprocess": ("faces/*", "more_faces/*/*"),
    "4_infer": ("embeddings/*",),
    "5_evaluate": ("scores/*", "figures/*"),
    "6_perf": (),
    "7_summary": ("results.json", "report.html"),
}


def project_root() -> Path:
    """Return the folder that holds ``notebooks/`` and ``params/``, or the current folder.

    A notebook that runs in Jupyter starts in ``notebooks/``, the command line usually in the
    project's folder; both mean the same files.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
            return folder
    return here


def resolve(path: Path | str) -> Path:
    """Return `path` as it is when absolute, otherwise below the project's folder."""
    path = Path(path)
    return path if path.is_absolute() else project_root() / path


def unplaced(value: Any, key: str = "") -> Any:
    """Return plain values as they are published: of a file of this machine, its name alone.

    Parameters
    ----------
    value : plain value
    key : str
        What it is called. Only what is known to name files is one; nodes of a graph look the same.

    Examples
    --------
    >>> unplaced({"weights": "/home/me/w.pth", "output": "/head/out", "pairs": "a/b.csv"})
    {'weights': 'w.pth', 'output': '/head/out', 'pairs': 'a/b.csv'}
    """
    if isinstance(value, dict):
        return {name: unplaced(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [unplaced(inner, key) for inner in value]
    is_path = key in _NAME_FILES and isinstance(value, str) and Path(value).is_absolute()
    return Path(value).name if is_path else value


@dataclass(frozen=True)
class RunFolder:
    """A run's folder and the names of everything in it.

    Parameters
    ----------
    folder : Path
        ``outputs/<name>``. It need not exist yet.
    notebooks : Path
        Where the notebooks are that are executed into it: by default this package's own, wherever
        it is used, since whatever a folder beside somebody's data holds would run as code.
    """

    folder: Path
    notebooks: Path = NOTEBOOKS

    @classmethod
    def open(cls, folder: Path | str, notebooks: Path | None = None) -> RunFolder:
        """Return the run at `folder`; a relative path counts from the project's folder."""
        return cls(resolve(folder), NOTEBOOKS if notebooks is None else notebooks.absolute())

    def notebook(self, stage: str) -> Path:
        """Return the source of a stage's notebook."""
        return self.notebooks / f"{stage}.ipynb"

    @classmethod
    def given(cls, folder: Path | str) -> RunFolder:
        """Return the run at `folder`, which may come from anybody.

        Raises
        ------
        RunError
            When a link in it leads out of it, or it holds what is neither a file nor a folder:
            what reads or writes a run would read or write elsewhere, or wait for ever.
        """
        run = cls.open(folder)
        # Whatever else was given is not searched, but refused by who wants to read it.
        if any(path.is_file() for path in (run.folder / "run.json", run.results)):
            _refuse_what_leads_out(run.folder)
        return run

    @property
    def name(self) -> str:
        """The run's name, which is its folder's."""
        return self.folder.name

    def shown(self) -> str:
        """Return the folder as a notebook's parameter: relative when inside the project."""
        root = project_root()
        inside = self.folder.is_relative_to(root)
        return (self.folder.relative_to(root) if inside else self.folder).as_posix()

    @property
    def results(self) -> Path:
        """The machine-readable half of the report."""
        return self.folder / "results.json"

    @property
    def index(self) -> Path:
        """The report's first page."""
        return self.folder / "index.html"

    @property
    def single(self) -> Path:
        """The whole report in one file."""
        return self.folder / SINGLE

    @property
    def pdf(self) -> Path:
        """The whole report on paper."""
        return self.folder / "report.pdf"

    @property
    def faces(self) -> Path:
        """The image store that ``3_preprocess`` fills."""
        return self.folder / "faces"

    def more_faces(self, key: str) -> Path:
        """Return the image store of a further set."""
        return self.folder / "more_faces" / key

    @property
    def network(self) -> Path:
        """The network's weights as a bare state dict, the same for every batch size."""
        return self.folder / "network.pt"

    def batch(self, batch_size: int) -> Path:
        """Return the folder of one batch size."""
        return self.folder / f"bs{batch_size}"

    def onnx(self, batch_size: int, *, simplified: bool = False) -> Path:
        """Return the ONNX file of a batch size."""
        name = "model_sim.onnx" if simplified else "model.onnx"
        return self.batch(batch_size) / "models" / name

    def engine(self, batch_size: int, target: str) -> Path:
        """Return the folder of a target's build."""
        return self.batch(batch_size) / "models" / target

    def embeddings(self, batch_size: int, target: str, variant: str) -> Path:
        """Return the file of a target's embeddings of one image variant."""
        return self.batch(batch_size) / "embeddings" / f"{target}.{variant}.npz"

    def scores(self, batch_size: int, target: str, variant: str) -> Path:
        """Return the file of a target's pair distances on one image variant."""
        return self.batch(batch_size) / "scores" / f"{target}.{variant}.npz"

    def stage(self, stage: str, batch_size: int | None = None, suffix: str = ".json") -> Path:
        """Return a stage's record (``.json``), executed notebook (``.ipynb``) or page (``.html``).

        Examples
        --------
        >>> RunFolder(Path("outputs/demo")).stage("4_infer", 16).as_posix()
        'outputs/demo/bs16/4_infer.json'
        """
        if stage == "7_summary" and suffix == ".html":
            return self.index
        folder = self.folder if stage in WHOLE_RUN else self.batch(batch_size)
        return folder / f"{stage}{suffix}"

    @property
    def state(self) -> Path:
        """What is known of the run's files: from what they were made, and their hashes."""
        return self.folder / "resume"

    @property
    def inventory(self) -> Path:
        """Written last: the hash of every file of the run as it ended."""
        return self.state / "run.json"

    def state_of(self, stage: str, batch_size: int | None) -> Path:
        """Return the folder of what is known of one stage's files."""
        folder = self.state if stage in WHOLE_RUN else self.state / f"bs{batch_size}"
        return folder / stage

    def files(self, stage: str, batch_size: int | None) -> list[Path]:
        """Return what a stage left for later ones and for readers: results, record, notebook, page.

        What is made on the way, logs of tools and the many files for the guide's own tools are
        not among them.
        """
        root = self.folder if stage in WHOLE_RUN else self.batch(batch_size)
        found = [
            path
            for pattern in _RESULTS[stage]
            for path in root.glob(pattern)
            if path.is_file() and not path.name.startswith(".")
        ]
        own = [self.stage(stage, batch_size, suffix) for suffix in (".json", ".ipynb", ".html")]
        shared = [self.network] if stage == "1_export" else []
        return sorted({*found, *(path for path in (*own, *shared) if path.is_file())})

    def require_own(self) -> None:
        """See that nothing but a run is here, before anything is read, written or removed.

        Raises
        ------
        RunError
            As :func:`require_own`, or when the folder lies inside another run's, or a path is no
            text, which notebooks and records could not hold.
        """
        for option, folder in (("--output", self.folder), ("--notebooks", self.notebooks)):
            try:
                str(folder.absolute()).encode()
            except UnicodeEncodeError as error:
                raise RunError(
                    "A folder's path is not UTF-8 text and cannot be written down.",
                    where=str(folder.absolute()),
                    fix=f"rename it, or choose another with {option}",
                ) from error
        outer = [folder for folder in Path(os.path.realpath(self.folder)).parents if is_run(folder)]
        if outer:
            raise RunError(
                "The output folder lies inside another run's folder.",
                where=f"{self.folder}, inside {outer[0]}",
                fix="choose a folder beside it with --output",
            )
        require_own(self.folder, ours=is_run(self.folder))

    def sweep(self) -> None:
        """Remove what a killed run left half made; nobody else may be writing here."""
        sweep(self.folder)
        for path in self.folder.glob("bs*/models/*/search"):
            shutil.rmtree(path, ignore_errors=True)

    def write_record(self, stage: str, batch_size: int | None, record: dict[str, Any]) -> dict:
        """Write a stage's record and return it as it reads back."""
        path = write_json(
            self.stage(stage, batch_size), {"stage": stage, "batch_size": batch_size} | record
        )
        return read_json(path)

    def record(self, stage: str, batch_size: int | None = None) -> dict[str, Any]:
        """Read an earlier stage's record.

        Raises
        ------
        RunError
            When that stage has not been run in this folder; says how to run it.
        """
        path = self.stage(stage, batch_size)
        if not path.is_file():
            raise self._missing(stage, batch_size, path)
        return read_json(path)

    def batch_sizes(self) -> list[int]:
        """Return the batch sizes that have a folder here, in order."""
        found = (p.name.removeprefix("bs") for p in self.folder.glob("bs*") if p.is_dir())
        return sorted(int(name) for name in found if name.isdecimal())

    def arrays(self, path: Path, *, stage: str, batch_size: int | None) -> dict[str, np.ndarray]:
        """Read named arrays that `stage` should have written.

        Raises
        ------
        RunError
            When the file is not there.
        """
        if not path.is_file():
            raise self._missing(stage, batch_size, path)
        return read_arrays(path)

    def _missing(self, stage: str, batch_size: int | None, path: Path) -> RunError:
        of = "" if batch_size is None else f" for batch size {batch_size}"
        return RunError(
            f"Stage {stage} has not been run{of}.",
            where=str(path),
            fix=f"run notebooks/{stage}.ipynb first, or everything with: lresnet run PARAMS",
        )


def is_run(folder: Path) -> bool:
    """Whether a run, or a stage by itself, has begun to fill this folder."""
    for name, key in (("run.json", "notebooks"), (LOCK, "pid")):
        with suppress(DataError, OSError):
            found = read_json(folder / name)
            if isinstance(found, dict) and key in found:
                return True
    run = RunFolder(folder)
    jobs = product(STAGES, run.batch_sizes() or [0])
    return any(path.exists() for job in jobs for path in (run.stage(*job), run.state_of(*job)))


def require_own(folder: Path, *, ours: bool) -> None:
    """See that a folder is empty, missing or ours, and that no name in it leads elsewhere.

    Parameters
    ----------
    folder : Path
    ours : bool
        Whether it holds what this program left there; half-made files and a lock, which are all
        that one that was killed at once leaves, need not be there.

    Raises
    ------
    RunError
        When something else is here, or a link to somewhere else, or a pipe.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise RunError(
            "The output folder cannot be made: something that is no folder has its name.",
            where=str(there),
            fix="choose another folder with --output",
        )
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    other = [
        name
        for name in found
        if name != LOCK
        and not name.startswith(HALF_MADE)
        and not (name in _LITTER and (folder / name).is_file())
    ]
    if other and not ours:
        raise RunError(
            f"The output folder holds something else: {other[0]}.",
            where=str(folder),
            fix="choose an empty or a new folder with --output",
        )
    _refuse_what_leads_out(folder)


def _refuse_what_leads_out(folder: Path) -> None:
    """Refuse a folder where a name leads to another place, or a read would wait for ever."""
    # `Path.resolve` raises where links go round; the system says so when they are opened.
    home = os.path.realpath(folder)
    for path in (
        Path(root) / name for root, folders, names in os.walk(folder) for name in (*folders, *names)
    ):
        kind = path.lstat().st_mode
        real = Path(os.path.realpath(path))
        leads_out = stat.S_ISLNK(kind) and (real.is_symlink() or not real.is_relative_to(home))
        if leads_out or not (stat.S_ISLNK(kind) or stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise RunError(
                "The folder holds a link to another place, or a pipe, socket or device.",
                where=str(path),
                fix="remove it or put the file itself there, or choose another folder",
            )


def sweep(folder: Path) -> None:
    """Remove half-made files below a folder, but for those of other work that has a folder there.

    Nobody else may be writing here.
    """
    for root, folders, names in os.walk(folder):
        for path in (Path(root) / name for name in (*folders, *names)):
            if not path.name.startswith(HALF_MADE):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()
        inner = [Path(root) / name for name in folders]
        folders[:] = [
            path.name
            for path in inner
            if not (path / LOCK).exists()
            # The inventory in a run's own `resume/` is called so too.
            and (path == RunFolder(folder).state or not (path / "run.json").exists())
        ]


def prepare_folder(folder: Path) -> None:
    """Make `folder` and see that it can be written to, before any work starts.

    Raises
    ------
    RunError
        When it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise RunError(
            f"The output folder cannot be written: {error.strerror}.",
            where=str(folder),
            fix="choose another with --output, or change its permissions",
        ) from error
