"""Pictures to unit embeddings: read, preprocess, infer and post-process at the same time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from lresnet_utils.data.network_input import flip as mirror
from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.verify.scores import unit_rows

if TYPE_CHECKING:  # targets import this module
    from lresnet_utils.targets.base import Session

# Batches made ahead of the inference, and results waiting behind it: two on either side keep the
# session busy, and bound the memory whatever the number of pictures.
_AHEAD = 2


@dataclass(frozen=True)
class StageRate:
    """How fast one part of the pipeline was.

    Parameters
    ----------
    images_per_second, ms_per_image : float or None
        The same measurement both ways; None when there was no image.
    n : int
        Network inputs that were counted; the mirrored view of a picture is one of them, as in
        the guide's figures. Padding is not counted, the time spent on it is.
    """

    images_per_second: float | None
    ms_per_image: float | None
    n: int


@dataclass(frozen=True)
class StageRates:
    """The five figures of the guide's ``perf_vision_batchsize`` file.

    Parameters
    ----------
    e2e : StageRate
        From the wall clock, from the first read to the last finished embedding.
    data_read, preprocess, infer, post : StageRate
        From the time during which that part was at work. The parts overlap, so that their times
        add up to more than the wall clock; each also waits for a processor while others use all
        of them.
    """

    e2e: StageRate
    data_read: StageRate
    preprocess: StageRate
    infer: StageRate
    post: StageRate

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return the five figures as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Embedding:
    """The embeddings of a set of pictures.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
        Rows of length one; zeros where the picture failed.
    failed : ndarray of bool, shape (n,)
        True where there is no embedding.
    reasons : dict of int to str
        For every failed picture, why.
    stages : StageRates
        How fast each part was.
    """

    vectors: np.ndarray
    failed: np.ndarray
    reasons: dict[int, str]
    stages: StageRates


def embed(
    images: np.ndarray,
    session: Session,
    *,
    channel_order: Literal["rgb", "bgr"],
    normalisation: Literal["minus1_1", "raw"],
    flip: bool,
    failures: Iterable[tuple[int, str]] = (),
) -> Embedding:
    """Embed every picture once.

    Reading, preprocessing and post-processing run in one thread each beside the inference, which
    stays in the caller's thread; at most two batches wait on either side of it. The last batch is
    filled up by repeating its last picture, and what comes out for those is dropped.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 112, 112, 3)
        RGB; may be a memory map, of which only a few batches are in memory at a time.
    session : Session
        A loaded build.
    channel_order, normalisation
        See :func:`lresnet_utils.data.network_input.to_network_input`.
    flip : bool
        Also embed the mirrored picture, as the guide does, in a batch of its own; the embedding
        is the unit vector of the sum of both views' unit vectors.
    failures : iterable of (int, str), optional
        Pictures that could not be decoded, and why; they are not run.

    Returns
    -------
    Embedding
        A picture also fails when the network's output for one of its views is not finite or is
        zero, or when its two views cancel out.

    Raises
    ------
    LResNetError
        Whatever a part of the pipeline raises, as soon as its batch is due; work that is not
        started is dropped and all threads have ended.
    """
    known = {int(index): reason for index, reason in failures}
    usable = np.setdiff1d(np.arange(len(images)), np.array(list(known), np.intp))
    result = _Result(len(images), session.embedding_size, known)

    def read(rows: np.ndarray) -> np.ndarray:
        missing = session.batch_size - len(rows)
        return np.asarray(images[np.pad(rows, (0, missing), mode="edge")])

    def preprocess(pixels: np.ndarray) -> list[np.ndarray]:
        plain = to_network_input(pixels, channel_order=channel_order, normalisation=normalisation)
        return [plain, mirror(plain)] if flip else [plain]

    def infer(views: list[np.ndarray]) -> list[np.ndarray]:
        return [session.infer(view) for view in views]

    parts = _Parts(_Timed(read), _Timed(preprocess), _Timed(infer), _Timed(result.add))
    starts = range(0, len(usable), session.batch_size)
    started = time.perf_counter()
    _overlap([usable[start : start + session.batch_size] for start in starts], parts)
    wall = time.perf_counter() - started
    n = len(usable) * (2 if flip else 1)
    busy = (part.seconds for part in (parts.read, parts.preprocess, parts.infer, parts.post))
    return result.finish(StageRates(*(_rate(n, seconds) for seconds in (wall, *busy))))


class _Timed:
    """A function that adds up the time spent in it; called from one thread only."""

    def __init__(self, function: Callable) -> None:
        self._function = function
        self.seconds = 0.0

    def __call__(self, *arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return self._function(*arguments)
        finally:
            self.seconds += time.perf_counter() - started


class _Parts(NamedTuple):
    read: _Timed
    preprocess: _Timed
    infer: _Timed
    post: _Timed


def _overlap(batches: list[np.ndarray], parts: _Parts) -> None:
    """Push every batch through the four parts, in order, each part busy with another batch."""
    with ExitStack() as stack:
        readers, preprocessors, posts = (stack.enter_context(_one_thread()) for _ in range(3))

        def start(rows: np.ndarray) -> tuple[np.ndarray, Future]:
            pixels = readers.submit(parts.read, rows)
            return rows, preprocessors.submit(lambda: parts.preprocess(pixels.result()))

        waiting = iter(batches)
        ahead = deque(start(rows) for rows in islice(waiting, _AHEAD))
        behind: deque[Future] = deque()
        while ahead:
            rows, making = ahead.popleft()
            views = making.result()
            ahead.extend(start(following) for following in islice(waiting, 1))
            behind.append(posts.submit(parts.post, rows, parts.infer(views)))
            if len(behind) > _AHEAD:
                behind.popleft().result()
        for finishing in behind:
            finishing.result()


@contextmanager
def _one_thread() -> Iterator[ThreadPoolExecutor]:
    """Yield a thread that does one thing after the other, and drops the rest when we leave."""
    executor = ThreadPoolExecutor(1)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


class _Result:
    """Collects the embeddings batch by batch."""

    def __init__(self, n: int, size: int, known: dict[int, str]) -> None:
        self._vectors = np.zeros((n, size), np.float32)
        self._reasons = dict(known)

    def add(self, rows: np.ndarray, views: list[np.ndarray]) -> None:
        """Normalise one batch; `views` may have more rows than `rows`: those are padding."""
        views = [view[: len(rows)] for view in views]
        finite = np.logical_and.reduce([np.isfinite(view).all(axis=1) for view in views])
        empty = np.logical_or.reduce([~view.any(axis=1) for view in views])
        # One view gives unit(unit(x)): the guide's post-processing normalises once more as well.
        vectors = unit_rows(sum(unit_rows(view) for view in views))
        cancelled = ~vectors.any(axis=1)
        for bad, reason in (
            (cancelled, "the two views' embeddings cancel out"),
            (empty, "the network's output is zero"),
            (~finite, "the network's output is not finite"),
        ):
            self._reasons.update((int(row), reason) for row in rows[bad])
        good = finite & ~empty & ~cancelled
        self._vectors[rows[good]] = vectors[good]

    def finish(self, stages: StageRates) -> Embedding:
        failed = np.zeros(len(self._vectors), bool)
        failed[list(self._reasons)] = True
        return Embedding(self._vectors, failed, dict(sorted(self._reasons.items())), stages)


def _rate(n: int, seconds: float) -> StageRate:
    if n == 0:
        return StageRate(None, None, 0)
    # A part can be quicker than the clock's smallest step.
    seconds = max(seconds, 1e-9)
    return StageRate(n / seconds, 1000 * seconds / n, n)
