"""Pictures to unit embeddings: read, preprocess, infer and post-process at the same time."""

from __future__ import annotations

import mmap
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from lresnet_utils.data.network_input import Normalisation, to_network_input
from lresnet_utils.data.network_input import flip as mirror
from lresnet_utils.targets.base import Session
from lresnet_utils.verify.scores import unit_rows

CANCELLED = "the two views' embeddings cancel out"
ZERO = "the network's output is zero"
NOT_FINITE = "the network's output is not finite"


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

    images_per_second: float | None = None
    ms_per_image: float | None = None
    n: int = 0

    @classmethod
    def of(cls, n: int, seconds: float) -> StageRate:
        """Return the rate of `n` images in so many seconds."""
        if n == 0:
            return cls()
        # A part can be quicker than the clock's smallest step.
        seconds = max(seconds, 1e-9)
        return cls(n / seconds, 1000 * seconds / n, n)


@dataclass(frozen=True)
class StageRates:
    """The five figures of the guide's ``perf_vision_batchsize`` file.

    Parameters
    ----------
    e2e : StageRate
        From the wall clock, from the first read to the last finished embedding.
    data_read, preprocess, post : StageRate
        From the time during which that part was at work. The parts overlap, so that their times
        add up to more than the wall clock; each also waits for a processor while others use all
        of them.
    infer : StageRate
        From the wall clock while the session had at least one batch, whatever its number of
        lanes. `e2e` over `infer` is thus the share of the time in which the network was not kept
        waiting. What the other parts take from it by using the same processors is in both;
        inference alone is timed by ``6_perf``.
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
    vectors : ndarray of float32, shape (n, d), or None
        Rows of length one; zeros where the picture failed. None when they were handed out block
        by block instead.
    failed : ndarray of bool, shape (n,)
        True where there is no embedding.
    reasons : dict of int to str
        For every failed picture, why.
    stages : StageRates
        How fast each part was.
    """

    vectors: np.ndarray | None
    failed: np.ndarray
    reasons: dict[int, str]
    stages: StageRates


def embed(
    images: np.ndarray,
    session: Session,
    *,
    channel_order: Literal["rgb", "bgr"],
    normalisation: Normalisation,
    flip: bool,
    failures: Iterable[tuple[int, str]] = (),
    write: Callable[[np.ndarray], Any] | None = None,
) -> Embedding:
    """Embed every picture once.

    Reading, preprocessing and post-processing run in one thread each beside the session, all of
    whose lanes are kept busy; see :func:`overlap`. The last batch is filled up by repeating its
    last picture, and what comes out for those is dropped.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 112, 112, 3)
        RGB; may be a memory map, of which only a few batches are in memory at a time: pages
        that were read are given back to the system.
    session : Session
        A loaded build.
    channel_order, normalisation
        See :func:`lresnet_utils.data.network_input.to_network_input`.
    flip : bool
        Also embed the mirrored picture, as the guide does, in a batch of its own; the embedding
        is the unit vector of the sum of both views' unit vectors.
    failures : iterable of (int, str), optional
        Pictures that could not be decoded, and why; they are not run.
    write : callable, optional
        Takes the embeddings as they come: blocks of consecutive rows, float32 of shape (k, d),
        n rows in all. Memory then does not grow with the number of pictures.

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
    result = _Result(len(images), session.embedding_size, known, write)

    def read(rows: np.ndarray) -> np.ndarray:
        pixels = np.asarray(images[np.pad(rows, (0, session.batch_size - len(rows)), mode="edge")])
        if getattr(images, "mode", None) == "r" and hasattr(mmap, "MADV_DONTNEED"):
            base = images.base
            while isinstance(base, np.ndarray):
                base = base.base
            # Pages of a read-only map count as this process's memory until they are given back.
            base.madvise(mmap.MADV_DONTNEED)
        return pixels

    def preprocess(pixels: np.ndarray) -> list[np.ndarray]:
        plain = to_network_input(pixels, channel_order=channel_order, normalisation=normalisation)
        return [plain, mirror(plain)] if flip else [plain]

    starts = range(0, len(usable), session.batch_size)
    started = time.perf_counter()
    batches = (usable[start : start + session.batch_size] for start in starts)
    spent = overlap(batches, session, read=read, preprocess=preprocess, post=result.add)
    wall = time.perf_counter() - started
    n = len(usable) * (2 if flip else 1)
    rates = StageRates(*(StageRate.of(n, seconds) for seconds in (wall, *spent)))
    return Embedding(*result.finish(), rates)


class _Result:
    """Keeps the embeddings, or hands them out batch by batch, and remembers what failed."""

    def __init__(
        self, n: int, size: int, known: dict[int, str], write: Callable[[np.ndarray], Any] | None
    ) -> None:
        self._n = n
        self._size = size
        self._reasons = dict(known)
        self._vectors = np.empty((n, size), np.float32) if write is None else None
        self._write = self._keep if write is None else write
        self._written = 0

    def _keep(self, block: np.ndarray) -> None:
        self._vectors[self._written : self._written + len(block)] = block

    def add(self, rows: np.ndarray, views: list[np.ndarray]) -> None:
        """Normalise one batch; `views` may have more rows than `rows`: those are padding."""
        views = [view[: len(rows)] for view in views]
        finite = np.logical_and.reduce([np.isfinite(view).all(axis=1) for view in views])
        empty = np.logical_or.reduce([~view.any(axis=1) for view in views])
        # One view gives unit(unit(x)): the guide's post-processing normalises once more as well.
        vectors = unit_rows(sum(unit_rows(view) for view in views))
        cancelled = ~vectors.any(axis=1)
        for bad, reason in ((cancelled, CANCELLED), (empty, ZERO), (~finite, NOT_FINITE)):
            self._reasons.update((int(row), reason) for row in rows[bad])
        vectors[~finite | empty | cancelled] = 0.0
        # Rows that were left out before and between these are zeros.
        block = np.zeros((rows[-1] + 1 - self._written, self._size), np.float32)
        block[rows - self._written] = vectors
        self._write(block)
        self._written += len(block)

    def finish(self) -> tuple[np.ndarray | None, np.ndarray, dict[int, str]]:
        """Write what is left out at the end; return what was kept, which failed, and why."""
        self._write(np.zeros((self._n - self._written, self._size), np.float32))
        failed = np.zeros(self._n, bool)
        failed[list(self._reasons)] = True
        return self._vectors, failed, dict(sorted(self._reasons.items()))


def combine(
    views: tuple[np.ndarray, ...], rows: np.ndarray, n: int, known: dict[int, str]
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Put the views together as the guide does: unit(unit(f(x)) + unit(f(mirrored x))).

    Parameters
    ----------
    views : tuple of ndarray, each of shape (len(rows), d)
        The network's finite, non-zero output per view.
    rows : ndarray of int
        Which of all `n` pictures they are, ascending.
    n : int
        Pictures in all.
    known : dict of int to str
        Pictures without output, and why.

    Returns
    -------
    vectors : ndarray of float32, shape (n, d)
        Unit rows; zeros where there is none.
    failed : ndarray of bool, shape (n,)
        True where there is none.
    reasons : dict of int to str
        `known` and the pictures whose views cancel out, in order.

    Examples
    --------
    >>> views = (np.array([[3.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 5.0], [-2.0, 0.0]]))
    >>> vectors, failed, reasons = combine(views, np.array([0, 2]), 3, {1: "not an image"})
    >>> vectors.astype(float).round(3).tolist()
    [[0.707, 0.707], [0.0, 0.0], [0.0, 0.0]]
    >>> reasons
    {1: 'not an image', 2: "the two views' embeddings cancel out"}
    """
    result = _Result(n, views[0].shape[1], known, None)
    if len(rows):
        result.add(rows, list(views))
    return result.finish()


# Batches through the four parts at the same time.

# Batches made ahead of the inference, batches given to the session beyond those it can work on,
# and results waiting behind it. A lane thus finds its next batch as soon as it is free, and the
# memory is bounded whatever the number of pictures.
AHEAD = 2
WAITING = 2
BEHIND = 2


class Timed:
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


class Inference:
    """Gives batches to a session and knows for how long it had any.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
    seconds : float
        Wall-clock time during which the session had at least one batch; complete after
        :meth:`stop`.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._changed = threading.Condition()
        self._unfinished: set[Future] = set()
        self._since = 0.0
        self.seconds = 0.0

    def submit(self, batch: np.ndarray) -> Future[np.ndarray]:
        """Start one batch, or let it wait until a lane is free."""
        with self._changed:
            if not self._unfinished:
                self._since = time.perf_counter()
            future = self._session.submit(batch)
            self._unfinished.add(future)

        def ended(future: Future) -> None:
            now = time.perf_counter()
            with self._changed:
                self._unfinished.discard(future)
                if not self._unfinished:
                    self.seconds += now - self._since
                    self._changed.notify_all()

        future.add_done_callback(ended)
        return future

    def stop(self) -> None:
        """Drop what has not started and wait for what has."""
        with self._changed:
            unfinished = list(self._unfinished)
        for future in unfinished:
            future.cancel()
        with self._changed:
            self._changed.wait_for(lambda: not self._unfinished)


def overlap(
    batches: Iterable[np.ndarray],
    session: Session,
    *,
    read: Callable[[np.ndarray], np.ndarray],
    preprocess: Callable[[np.ndarray], list[np.ndarray]],
    post: Callable[[np.ndarray, list[np.ndarray]], Any],
) -> tuple[float, float, float, float]:
    """Push every batch through the four parts, each part busy with another batch.

    Reading, preprocessing and post-processing have one thread each and keep the order of the
    batches; the session has as many as it has lanes.

    Parameters
    ----------
    batches : iterable of ndarray of int
        The rows of each batch.
    session : Session
    read : callable
        Rows to pictures.
    preprocess : callable
        Pictures to a list of network inputs: one per view.
    post : callable
        Takes the rows and the embeddings of each view.

    Returns
    -------
    tuple of float
        Seconds at work: reading, preprocessing, inference, post-processing.

    Raises
    ------
    Exception
        Whatever a part raises, as soon as its batch is due. Work that is not started is dropped,
        and what has started has ended.
    """
    read, preprocess, post = timed = [Timed(part) for part in (read, preprocess, post)]
    inference = Inference(session)
    with ExitStack() as stack:
        # Each does one thing after the other, and drops the rest when we leave.
        readers, preprocessors, posts = (ThreadPoolExecutor(1) for _ in range(3))
        for executor in (readers, preprocessors, posts):
            stack.callback(executor.shutdown, cancel_futures=True)
        stack.callback(inference.stop)

        def make(rows: np.ndarray) -> tuple[np.ndarray, Future]:
            pixels = readers.submit(read, rows)
            return rows, preprocessors.submit(lambda: preprocess(pixels.result()))

        waiting = iter(batches)
        ahead = deque(make(rows) for rows in islice(waiting, AHEAD))
        running: deque[tuple[np.ndarray, list[Future]]] = deque()
        behind: deque[Future] = deque()
        while ahead or running:
            while ahead and len(running) < session.lanes + WAITING:
                rows, making = ahead.popleft()
                running.append((rows, [inference.submit(view) for view in making.result()]))
                ahead.extend(make(following) for following in islice(waiting, 1))
            rows, views = running.popleft()
            behind.append(posts.submit(post, rows, [view.result() for view in views]))
            if len(behind) > BEHIND:
                behind.popleft().result()
        for finishing in behind:
            finishing.result()
    before, made, after = (part.seconds for part in timed)
    return before, made, inference.seconds, after
