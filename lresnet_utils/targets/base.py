"""The one contract of every runtime: available, build, load, infer, close."""

from __future__ import annotations

import importlib
import importlib.metadata
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import TypeAdapter

from lresnet_utils.errors import LResNetError, TargetError
from lresnet_utils.machine.disk import atomic_path, sha256_file, to_json
from lresnet_utils.machine.facts import usable_cores, version_of

if TYPE_CHECKING:
    from lresnet_utils.targets.embed import Embedding
    from lresnet_utils.untrusted.settings import ToolOptions


REBUILD = "build it again: run 2_compile"


@dataclass(frozen=True)
class ModelFiles:
    """The exported network that targets are built from.

    Parameters
    ----------
    architecture, weights : str, Path
        Name in :data:`lresnet_utils.models.architectures.ARCHITECTURES`, and the bare state dict
        that :func:`lresnet_utils.models.network.save_network` wrote.
    onnx : Path
        Simplified ONNX graph with a static batch and one input and one output.
    batch_size, embedding_size : int
        Images per inference, and numbers per embedding.
    prepared : Path, optional
        What tunable targets are built from instead of `onnx`: a rewritten or quantised graph, in
        whatever format the target's runtime reads.
    """

    architecture: str
    weights: Path
    onnx: Path
    batch_size: int
    embedding_size: int
    prepared: Path | None = None

    @property
    def graph(self) -> Path:
        """The prepared graph where there is one, else the simplified."""
        return self.prepared or self.onnx


@dataclass(frozen=True)
class Availability:
    """Whether a target can run on this machine.

    Parameters
    ----------
    ok : bool
        True when it can.
    reason, remedy : str, optional
        Why it cannot, in one sentence, and what to do about it.
    note : str, optional
        What a reader of its numbers should know.
    """

    ok: bool
    reason: str | None = None
    remedy: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Artefact:
    """A target's build on disk, with all that loading it needs.

    Parameters
    ----------
    target, path : str, Path
        Name of the target that made it, and the file.
    options : dict
        JSON-able settings, among them ``batch_size``, ``embedding_size`` and ``threads``.
    seconds, bytes, sha256 : float, int, str
        Wall-clock time of the build, size and hash of the file; loading checks the hash.
    """

    target: str
    path: Path
    options: dict[str, Any]
    seconds: float
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return the artefact as plain JSON values."""
        return asdict(self) | {"path": self.path.as_posix()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Artefact:
        """Return the artefact that :meth:`to_json` described.

        Examples
        --------
        >>> artefact = Artefact("torch-fp32", Path("a/b.json"), {"threads": 2}, 0.5, 10, "00")
        >>> Artefact.from_json(artefact.to_json()) == artefact
        True

        Raises
        ------
        ValueError
            When it is not one: the record of a run may come from anybody.
        """
        return TypeAdapter(cls).validate_json(to_json(value), strict=True)


class Target(ABC):
    """A runtime and a precision.

    A subclass gives the class attributes (`distribution` is the Python package whose version
    matters, `suffix` the ending of its files), :meth:`available`, and the two private steps of
    building and loading.
    """

    runtime: ClassVar[str]
    distribution: ClassVar[str]
    suffix: ClassVar[str]
    precision: str = "fp32"
    embeds_variants: ClassVar[bool] = True
    """Whether it can embed degraded copies of the set as well."""
    needs_module: ClassVar[bool] = False
    """Whether it runs the PyTorch module rather than a graph made from it."""
    repeatable: ClassVar[bool] = False
    """Whether building twice gives the same bytes; compilers number and name things anew."""
    tunable: ClassVar[bool] = False
    """Whether its graph and its way of running are chosen by measurement."""
    self_contained: ClassVar[bool] = True
    """Whether a build depends only on the network and the options; False: on other files too."""

    @property
    def name(self) -> str:
        """``runtime-precision``, the name used everywhere."""
        return f"{self.runtime}-{self.precision}"

    @abstractmethod
    def available(self) -> Availability:
        """Say whether this machine can build and run the target, or why not."""

    def versions(self) -> dict[str, str]:
        """Return the versions that the target's results depend on; empty when not installed."""
        version = version_of(self.distribution)
        return {} if version is None else {self.distribution: version}

    def sources(self, files: ModelFiles) -> tuple[Path, ...]:
        """Return the files that a build is made from."""
        return (files.graph,)

    def running_options(self, cores: int) -> list[dict[str, Any]]:
        """Return ways of running a build on so many cores, the default first.

        Each is a set of options for :meth:`build`; a single one when there is nothing to choose.
        """
        return [{}]

    def build(
        self,
        files: ModelFiles,
        folder: Path,
        *,
        threads: int = 0,
        running: Mapping[str, Any] | None = None,
    ) -> Artefact:
        """Build the network for this target and describe the build.

        Parameters
        ----------
        files, folder : ModelFiles, Path
            The exported network, and where the artefact goes; the folder is made when missing.
        threads : int, default 0
            Threads per inference; 0 takes every core this process may use.
        running : mapping, optional
            Options that take the place of the runtime's own defaults, such as one of
            :meth:`running_options`.

        Raises
        ------
        TargetError
            When the target is not available, or its runtime refuses the network.
        """
        self._require_available()
        path = Path(folder) / f"{self.name}{self.suffix}"
        options = (
            {
                "batch_size": files.batch_size,
                "embedding_size": files.embedding_size,
                "threads": threads or usable_cores(),
            }
            | self._options()
            | dict(running or {})
        )
        started = time.perf_counter()
        fix = f"run 1_export again, or leave {self.name} out"
        with (
            _told(f"{self.name} cannot build the network", files.graph, fix),
            atomic_path(path) as temporary,
        ):
            self._build(files, temporary, options)
        seconds = time.perf_counter() - started
        return Artefact(
            self.name, path, options, round(seconds, 3), path.stat().st_size, sha256_file(path)
        )

    def load(self, artefact: Artefact) -> Session:
        """Load a build, after checking that it is the file that was built.

        Raises
        ------
        TargetError
            When the file is missing or another one, the target is not available, or its runtime
            refuses the file.
        """
        self._require_available()
        where = str(artefact.path)
        if artefact.target != self.name:
            raise TargetError(f"This build is for {artefact.target}, not {self.name}.", where=where)
        if not artefact.path.is_file():
            raise TargetError("The build does not exist.", where=where, fix=REBUILD)
        if sha256_file(artefact.path) != artefact.sha256:
            raise TargetError("The build was changed (SHA-256 differs).", where=where, fix=REBUILD)
        with _told(f"{self.name} cannot load its build", artefact.path, REBUILD):
            return self._load(artefact)

    def configured(self, tools: ToolOptions) -> Target:
        """Return the target with the settings of the vendors' tools; most have none."""
        return self

    @contextmanager
    def embedder(self, artefact: Artefact) -> Iterator[Callable[..., Embedding]]:
        """Yield a function that embeds a set: ``embed_images(images, folder=, slots=, ...)``.

        `folder` is for files and `slots` says which picture each image of the pairs is; both are
        for targets behind tools. `write` takes the embeddings. The rest is as for
        :func:`lresnet_utils.targets.embed.embed`.
        """
        from lresnet_utils.targets.embed import embed  # keeps importing a target cheap

        with self.load(artefact) as session:
            yield lambda images, *, folder, slots, **how: embed(images, session, **how)

    def _options(self) -> dict[str, Any]:
        """Return the runtime's own settings, recorded in the artefact."""
        return {}

    @abstractmethod
    def _build(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        """Write the artefact to `path`, which lies in its final folder."""

    @abstractmethod
    def _load(self, artefact: Artefact) -> Session: ...

    def _require_available(self) -> None:
        able = self.available()
        if not able.ok:
            raise TargetError(f"{self.name}: {able.reason}", fix=able.remedy)


def importable(module: str, package: str) -> Availability:
    """Say whether a runtime's Python module can be imported, by importing it.

    Parameters
    ----------
    module, package : str
        What is imported, and what pip calls it.

    Examples
    --------
    >>> importable("json", "json").ok
    True
    >>> importable("no_such_module", "no-such-package").reason
    'no-such-package is not installed'
    """
    try:
        importlib.import_module(module)
        return Availability(True)
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            return Availability(False, f"{package} is not installed", f"pip install {package}")
        reason = f"{package} cannot be imported: {error}"
    return Availability(False, reason, f"pip install --force-reinstall {package}")


@contextmanager
def _told(what: str, where: Path, fix: str) -> Iterator[None]:
    """Turn whatever a runtime raises into one short error; our own pass as they are."""
    try:
        yield
    except LResNetError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        # OpenVINO first names a line of its own source.
        lines = [line for line in lines if not line.startswith("Exception from ")] or lines
        detail = lines[0][:300] if lines else type(error).__name__
        raise TargetError(f"{what}: {detail}", where=str(where), fix=fix) from error


# A build that is loaded and runs batches.

IMAGE_SHAPE = (3, 112, 112)


class Session(ABC):
    """A loaded build that turns batches into embeddings; use it as a context manager.

    Parameters
    ----------
    batch_size, embedding_size : int
        Rows of every input, and numbers per row of every output.
    lanes : int, default 1
        Batches that the build works on at the same time when it is given that many; a runtime
        with one stream per core has as many lanes as streams.
    """

    def __init__(self, batch_size: int, embedding_size: int, lanes: int = 1) -> None:
        self.batch_size = batch_size
        self.embedding_size = embedding_size
        self.lanes = lanes
        self._workers: ThreadPoolExecutor | None = None

    def infer(self, batch: np.ndarray) -> np.ndarray:
        """Run the network on one batch and wait for the result.

        As many threads as there are lanes may call it at the same time.

        Parameters
        ----------
        batch : ndarray of float32, shape (batch_size, 3, 112, 112)
            C-contiguous network input.

        Returns
        -------
        ndarray of float32, shape (batch_size, embedding_size)
            The network's output as it is, not normalised. The caller owns it: no later call
            changes it.

        Raises
        ------
        TargetError
            When the batch or the runtime's answer has another shape or type.
        """
        expected = (self.batch_size, *IMAGE_SHAPE)
        if batch.shape != expected or batch.dtype != np.float32 or not batch.flags.c_contiguous:
            raise TargetError(
                f"This build takes C-contiguous float32 {expected}, "
                f"not {batch.dtype.name} {batch.shape}."
            )
        features = self._run(batch)
        if features.shape != (self.batch_size, self.embedding_size):
            raise TargetError(
                f"The runtime gave an output of shape {features.shape}, "
                f"not {(self.batch_size, self.embedding_size)}."
            )
        return features

    def submit(self, batch: np.ndarray) -> Future[np.ndarray]:
        """Start :meth:`infer` on one batch and return; what is beyond the lanes waits its turn.

        Parameters
        ----------
        batch : ndarray of float32, shape (batch_size, 3, 112, 112)
            Must not be changed before the result is there.

        Returns
        -------
        Future of ndarray
            Of what :meth:`infer` returns, or raises.
        """
        if self._workers is None:
            self._workers = ThreadPoolExecutor(self.lanes, thread_name_prefix="lane")
        return self._workers.submit(self.infer, batch)

    @abstractmethod
    def _run(self, batch: np.ndarray) -> np.ndarray:
        """Return a new float32 array; called by up to `lanes` threads at the same time."""

    def close(self) -> None:
        """Drop batches that have not started and free what the runtime holds.

        A second call does nothing.
        """
        if self._workers is not None:
            self._workers.shutdown(cancel_futures=True)
            self._workers = None
        self._free()

    def _free(self) -> None:  # noqa: B027 (most runtimes free everything with the object)
        """Free what the runtime holds; a second call does nothing."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# How a graph is quantised, in words that do not depend on the runtime.


@dataclass(frozen=True)
class Recipe:
    """One way of quantising a network to int8.

    Attributes
    ----------
    activations : {'symmetric', 'asymmetric'}
        Whether the ranges of activations are centred on zero. Weights always are, with one scale
        per output channel.
    rest : {'fp32', 'bf16'}
        Precision of the layers that are not quantised.
    bias : {'accurate', 'fast'}
        How NNCF corrects the biases for what rounding does to the means: by running the layers
        one after the other, or from statistics gathered once.
    kept : tuple of str
        Nodes of the graph that are left out of the quantisation, by name.
    rewrites : tuple of str
        Rewrites of the graph before it is quantised.
    """

    activations: Literal["symmetric", "asymmetric"]
    rest: Literal["fp32", "bf16"] = "fp32"
    bias: Literal["accurate", "fast"] = "accurate"
    kept: tuple[str, ...] = ()
    rewrites: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"kept": list(self.kept), "rewrites": list(self.rewrites)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Recipe:
        """Return the recipe that :meth:`to_json` described.

        Examples
        --------
        >>> recipe = Recipe("symmetric", kept=("/conv1",))
        >>> Recipe.from_json(recipe.to_json()) == recipe
        True
        """
        lists = {name: tuple(values[name]) for name in ("kept", "rewrites")}
        return cls(**(values | lists))

    def title(self) -> str:
        """Return a few words for a table.

        Examples
        --------
        >>> Recipe("symmetric", kept=("a", "b")).title()
        'symmetric activations, 2 layers kept in fp32'
        """
        words = f"{self.activations} activations"
        if self.kept:
            layers = "layer" if len(self.kept) == 1 else "layers"
            return f"{words}, {len(self.kept)} {layers} kept in {self.rest}"
        return f"{words}, the rest in {self.rest}" if self.rest != "fp32" else words
