"""Batches through four parts at the same time: read, preprocess, infer, post-process."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # targets import this module
    from lresnet_utils.targets.base import Session

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
        future.add_done_callback(self._ended)
        return future

    def stop(self) -> None:
        """Drop what has not started and wait for what has."""
        with self._changed:
            unfinished = list(self._unfinished)
        for future in unfinished:
            future.cancel()
        with self._changed:
            self._changed.wait_for(lambda: not self._unfinished)

    def _ended(self, future: Future) -> None:
        now = time.perf_counter()
        with self._changed:
            self._unfinished.discard(future)
            if not self._unfinished:
                self.seconds += now - self._since
                self._changed.notify_all()


@dataclass(frozen=True)
class PipelineParts:
    """The four parts.

    Attributes
    ----------
    read : Timed
        Rows to pictures.
    preprocess : Timed
        Pictures to a list of network inputs: one per view.
    infer : Inference
        Network input to embeddings.
    post : Timed
        Takes the rows and the embeddings of each view.
    """

    read: Timed
    preprocess: Timed
    infer: Inference
    post: Timed


def overlap(batches: Iterable[np.ndarray], parts: PipelineParts, lanes: int) -> None:
    """Push every batch through the four parts, each part busy with another batch.

    Reading, preprocessing and post-processing have one thread each and keep the order of the
    batches; the session has as many as it has lanes.

    Parameters
    ----------
    batches : iterable of ndarray of int
        The rows of each batch.
    parts : Parts
    lanes : int
        Batches that the session works on at the same time.

    Raises
    ------
    Exception
        Whatever a part raises, as soon as its batch is due. Work that is not started is dropped,
        and what has started has ended.
    """
    with ExitStack() as stack:
        readers, preprocessors, posts = (stack.enter_context(_one_thread()) for _ in range(3))
        stack.callback(parts.infer.stop)

        def make(rows: np.ndarray) -> tuple[np.ndarray, Future]:
            pixels = readers.submit(parts.read, rows)
            return rows, preprocessors.submit(lambda: parts.preprocess(pixels.result()))

        waiting = iter(batches)
        ahead = deque(make(rows) for rows in islice(waiting, AHEAD))
        running: deque[tuple[np.ndarray, list[Future]]] = deque()
        behind: deque[Future] = deque()
        while ahead or running:
            while ahead and len(running) < lanes + WAITING:
                rows, making = ahead.popleft()
                running.append((rows, [parts.infer.submit(view) for view in making.result()]))
                ahead.extend(make(following) for following in islice(waiting, 1))
            rows, views = running.popleft()
            behind.append(posts.submit(parts.post, rows, [view.result() for view in views]))
            if len(behind) > BEHIND:
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
