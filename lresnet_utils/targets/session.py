"""A build that is loaded and runs batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from lresnet_utils.errors import TargetError

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
