"""Targets behind external programs, which take a whole set of files at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np

from lresnet_utils.data.network_input import Normalisation
from lresnet_utils.errors import TargetError
from lresnet_utils.machine.disk import sha256_file
from lresnet_utils.targets.base import Artefact, Target
from lresnet_utils.targets.embed import Embedding
from lresnet_utils.targets.vendor_logs import PerfRecord
from lresnet_utils.untrusted.options import ToolOptions


class UnavailableError(TargetError):
    """This machine, or a recorded result, has not got what the work needs.

    The cell is unavailable rather than failed.
    """


class ToolTarget(Target):
    """A runtime behind external programs.

    Beside :meth:`available` and :meth:`build` it embeds a whole set and measures itself, instead
    of giving a session.

    Parameters
    ----------
    tools : ToolOptions, optional
        Settings; the guide's by default. What running needs of them is kept in the artefact.
    """

    precision = "fp16"
    embeds_variants: ClassVar[bool] = True
    """Whether it can embed degraded copies of the set as well."""

    def __init__(self, tools: ToolOptions | None = None) -> None:
        self.tools = tools or ToolOptions()

    def configured(self, tools: ToolOptions) -> ToolTarget:
        """Return the same target with other settings."""
        return type(self)(tools)

    @contextmanager
    def embedder(self, artefact: Artefact) -> Iterator[Callable[..., Embedding]]:
        """Yield :meth:`embed_set` of one build; what it gives is written in one block."""

        def embed_images(images: np.ndarray, *, write: Callable, **how: Any) -> Embedding:
            result = self.embed_set(artefact, images, **how)
            write(result.vectors)
            return replace(result, vectors=None)

        yield embed_images

    @abstractmethod
    def embed_set(
        self,
        artefact: Artefact,
        images: np.ndarray,
        folder: Path,
        *,
        channel_order: Literal["rgb", "bgr"],
        normalisation: Normalisation,
        flip: bool,
        failures: Iterable[tuple[int, str]] = (),
        slots: np.ndarray | None = None,
    ) -> Embedding:
        """Embed every picture once, as :func:`lresnet_utils.targets.embed.embed` does.

        Parameters
        ----------
        artefact : Artefact
            The build.
        images, channel_order, normalisation, flip, failures
            See :func:`lresnet_utils.targets.embed.embed`.
        folder : Path
            For the tool's files. Inputs and results are removed again, results only when they
            could be read; the logs stay.
        slots : ndarray of int, shape (2 * n_pairs,), optional
            Which of `images` the images of the pairs are, pair after pair; results recorded in
            the guide's numbering need it.

        Returns
        -------
        Embedding

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
        artefact : Artefact
            The build.
        folder : Path
            For the logs.
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

    def versions(self) -> dict[str, str]:
        """Return the versions that the target's results depend on."""
        return {}

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
        if not artefact.path.is_file() or sha256_file(artefact.path) != artefact.sha256:
            raise TargetError(
                "The build is gone or was changed (SHA-256 differs).",
                where=where,
                fix="build it again: run 2_compile",
            )

    def _load(self, artefact: Artefact) -> NoReturn:
        raise TargetError(
            f"{self.name} runs whole sets of files through a tool; it has no session.",
            where=str(artefact.path),
            fix="use embed_set() and measure()",
        )
