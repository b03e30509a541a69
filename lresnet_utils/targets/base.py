"""The one contract of every runtime: available, build, load, infer, close.

A :class:`Target` is put together from parts: it says whether it can run here and writes a build;
a :class:`Session` runs batches of it in this process, or a :class:`SetTool` whole sets outside; a
:class:`Quantiser` makes int8 graphs for it; a :class:`Look` is how charts show it.
"""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import TypeAdapter

from lresnet_utils.errors import LResNetError, TargetError
from lresnet_utils.machine.disk import atomic_path, sha256_file, to_json
from lresnet_utils.machine.facts import usable_cores, version_of
from lresnet_utils.text.language import message

if TYPE_CHECKING:
    from lresnet_utils.data.network_input import Normalisation
    from lresnet_utils.targets.embed import Embedding
    from lresnet_utils.targets.tool_log import PerfRecord
    from lresnet_utils.untrusted.settings import ToolOptions


REBUILD = "build it again: run 2_compile"


class UnavailableError(TargetError):
    """This machine, or a recorded result, has not got what the work needs.

    The cell is unavailable rather than failed.
    """


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


class Look(NamedTuple):
    """How one target is drawn everywhere.

    Attributes
    ----------
    colour : str
        ``#rrggbb``, at least 3:1 against white and against near-black (WCAG 2.2, 1.4.11), and far
        from the others for every kind of colour blindness: ``tests/report/charts/test_display.py``
        holds all targets to it.
    marker, dash
        Matplotlib's marker and line style: what tells targets apart without colour.
    """

    colour: str
    marker: str
    dash: str | tuple[float, tuple[float, ...]]


class Target(ABC):
    """A runtime and a precision.

    A subclass gives the attributes without a value, :meth:`available`, :meth:`write`, and either
    :meth:`open` or a `set_tool`.
    """

    runtime: ClassVar[str]
    distribution: ClassVar[str]
    """The Python package whose version matters."""
    suffix: ClassVar[str]
    """The ending of its files."""
    precision: str = "fp32"
    look: Look
    """How charts show it."""
    set_tool: ClassVar[SetTool | None] = None
    """What embeds and times its builds where no session in this process does."""
    quantiser: Quantiser | None = None
    """What makes the graphs of its builds int8, where these are."""
    profile: ClassVar[Callable[..., dict[str, Any]] | None] = None
    """``profile(artefact, batch, seconds=)`` times a build layer by layer, where that is known."""
    tools: ToolOptions | None = None
    """Settings of the vendors' tools; the guide's by default. None: it has none."""
    recorded: ClassVar[bool] = False
    """Whether its results come from another machine: they are read anew each time, and there are
    none but those of the set as it is."""
    needs_module: ClassVar[bool] = False
    """Whether it runs the PyTorch module rather than a graph made from it."""
    repeatable: ClassVar[bool] = False
    """Whether building twice gives the same bytes; compilers number and name things anew."""
    tunable: ClassVar[bool] = False
    """Whether its graph and its way of running are chosen by measurement."""

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

    def options(self) -> dict[str, Any]:
        """Return the runtime's own settings, which a build's options record."""
        return {}

    def running_options(self, cores: int) -> list[dict[str, Any]]:
        """Return ways of running a build on so many cores, the default first.

        Each is a set of options for :meth:`build`; a single one when there is nothing to choose.
        """
        return [{}]

    @abstractmethod
    def write(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        """Write a build to `path`, which lies in its final folder.

        `options` are what :meth:`build` records; they may be changed here. May raise anything:
        :meth:`build` tells it in one short error.
        """

    def open(self, artefact: Artefact) -> Session:
        """Open a build whose file is known to be the one that was built; may raise anything."""
        raise TargetError(
            f"{self.name} runs whole sets of files through a tool; it has no session.",
            where=str(artefact.path),
            fix="use embed_set() and measure()",
        )

    def configured(self, tools: ToolOptions) -> Target:
        """Return the target with these settings of the vendors' tools; most have none."""
        if self.tools is None:
            return self
        other = copy.copy(self)
        other.tools = tools
        return other

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
            | self.options()
            | dict(running or {})
        )
        started = time.perf_counter()
        fix = f"run 1_export again, or leave {self.name} out"
        with (
            _told(f"{self.name} cannot build the network", files.graph, fix),
            atomic_path(path) as temporary,
        ):
            self.write(files, temporary, options)
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
        self.check(artefact)
        with _told(f"{self.name} cannot load its build", artefact.path, REBUILD):
            return self.open(artefact)

    def check(self, artefact: Artefact) -> None:
        """Refuse a build that is of another target, missing or changed.

        Raises
        ------
        TargetError
            Says which.
        """
        where = str(artefact.path)
        if artefact.target != self.name:
            raise TargetError(f"This build is for {artefact.target}, not {self.name}.", where=where)
        if not artefact.path.is_file():
            raise TargetError("The build does not exist.", where=where, fix=REBUILD)
        if sha256_file(artefact.path) != artefact.sha256:
            raise TargetError("The build was changed (SHA-256 differs).", where=where, fix=REBUILD)

    @contextmanager
    def embedder(self, artefact: Artefact) -> Iterator[Callable[..., Embedding]]:
        """Yield a function that embeds a set: ``embed_images(images, folder=, slots=, ...)``.

        `folder` and `slots` are as for :class:`SetJob`, and for targets behind tools only; the
        rest is as for :func:`lresnet_utils.targets.embed.embed`.
        """
        from lresnet_utils.targets.embed import embed  # keeps importing a target cheap

        if self.set_tool is None:
            with self.load(artefact) as session:
                yield lambda images, *, folder, slots=None, **how: embed(images, session, **how)
            return

        def embed_images(
            images: np.ndarray, *, folder: Path, write: Callable | None = None, **how: Any
        ) -> Embedding:
            result = self.embed_set(artefact, images, folder, **how)
            if write is None:
                return result
            write(result.vectors)
            return replace(result, vectors=None)

        yield embed_images

    def embed_set(
        self, artefact: Artefact, images: np.ndarray, folder: Path, **how: Any
    ) -> Embedding:
        """Embed a set with the target's own tool; `images`, `folder` and `how` make a `SetJob`."""
        self.check(artefact)
        job = SetJob(images, Path(folder).absolute(), **how)
        return self.set_tool.embed_set(artefact, job)

    def measure(
        self, artefact: Artefact, folder: Path, *, warmup: int, seconds: float, repeats: int
    ) -> list[PerfRecord]:
        """Time pure inference with the target's own tool; see :meth:`SetTool.measure`."""
        self.check(artefact)
        folder = Path(folder).absolute()
        return self.set_tool.measure(
            artefact, folder, warmup=warmup, seconds=seconds, repeats=repeats
        )

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
            return Availability(
                False,
                message("{package} is not installed", package=package),
                message("pip install {package}", package=package),
            )
        reason = message("{package} cannot be imported: {error}", package=package, error=error)
    return Availability(
        False, reason, message("pip install --force-reinstall {package}", package=package)
    )


def require_unchanged(path: Path, sha256: str, what: str) -> None:
    """Refuse a file beside a build that is not the one the build was made from.

    `what` begins the sentence: "The graph is gone or was".
    """
    if not path.is_file() or sha256_file(path) != sha256:
        raise TargetError(
            f"{what} changed since the build.",
            where=str(path),
            fix="run 1_export and 2_compile again",
        )


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
        features = self.run(batch)
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
    def run(self, batch: np.ndarray) -> np.ndarray:
        """Return a new float32 array; called by up to `lanes` threads at the same time."""

    def close(self) -> None:
        """Drop batches that have not started and free what the runtime holds.

        A second call does nothing.
        """
        if self._workers is not None:
            self._workers.shutdown(cancel_futures=True)
            self._workers = None
        self.free()

    def free(self) -> None:  # noqa: B027 (most runtimes free everything with the object)
        """Free what the runtime holds; a second call does nothing."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# What embeds and times builds outside this process.


@dataclass(frozen=True)
class SetJob:
    """A set that a tool embeds, every picture once.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, 112, 112, 3)
        RGB; may be a memory map.
    folder : Path
        Absolute, for the tool's files. Inputs and results are removed again, results only when
        they could be read; the logs stay.
    channel_order, normalisation, flip, failures
        See :func:`lresnet_utils.targets.embed.embed`.
    slots : ndarray of int, shape (2 * n_pairs,), optional
        Which of `images` the images of the pairs are, pair after pair; results recorded in the
        guide's numbering need it.
    """

    images: np.ndarray
    folder: Path
    channel_order: Literal["rgb", "bgr"]
    normalisation: Normalisation
    flip: bool
    failures: Iterable[tuple[int, str]] = ()
    slots: np.ndarray | None = None

    @cached_property
    def known(self) -> dict[int, str]:
        """Pictures that could not be decoded, and why."""
        return {int(index): reason for index, reason in self.failures}

    @cached_property
    def usable(self) -> np.ndarray:
        """The numbers of the others, ascending."""
        return np.setdiff1d(np.arange(len(self.images)), np.array(list(self.known), np.intp))


class SetTool(ABC):
    """What runs a target's builds where no session does: external programs, recorded results.

    What it needs to know beside the job stands in the artefact's options.
    """

    @abstractmethod
    def embed_set(self, artefact: Artefact, job: SetJob) -> Embedding:
        """Embed every picture once, as :func:`lresnet_utils.targets.embed.embed` does.

        Raises
        ------
        UnavailableError
            When this machine lacks the tool.
        LResNetError
            When the tool fails, or a result is missing, surplus or not a usable embedding.
        """

    @abstractmethod
    def measure(
        self, artefact: Artefact, folder: Path, *, warmup: int, seconds: float, repeats: int
    ) -> list[PerfRecord]:
        """Time pure inference with the tool, one record per repeat.

        Parameters
        ----------
        artefact, folder : Artefact, Path
            The build, and an absolute path for the logs.
        warmup : int
            Untimed batches before each repeat, where the tool has a setting for them.
        seconds : float
            Least length of one repeat, as far as the tool lets it be set.
        repeats : int
            Runs of the tool; each loads the build again.

        Raises
        ------
        UnavailableError
            When this machine lacks the tool.
        LResNetError
            When the tool fails or its log is not whole.
        """


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
        words = message("{activations} activations", activations=self.activations)
        if self.kept:
            layers = "layer" if len(self.kept) == 1 else "layers"
            return message(
                "{words}, {n} {layers} kept in {rest}",
                words=words,
                n=len(self.kept),
                layers=layers,
                rest=self.rest,
            )
        return (
            message("{words}, the rest in {rest}", words=words, rest=self.rest)
            if self.rest != "fp32"
            else words
        )


class Quantiser(ABC):
    """What quantises graphs for one runtime; `suffix` is the ending of what it writes."""

    suffix: ClassVar[str]

    @abstractmethod
    def quantise(self, graph: Path, out: Path, inputs: np.ndarray, recipe: Recipe) -> None:
        """Write an ONNX graph with quantised layers to `out`.

        Parameters
        ----------
        graph, out : Path
            An ONNX file with a static batch, and the file to write.
        inputs : ndarray of float32, shape (n, 3, 112, 112)
            Faces that the ranges are taken from.
        recipe : Recipe
        """

    def rests(self) -> list[str]:
        """Return the precisions that layers which are not quantised may have, fastest first."""
        return ["fp32"]
