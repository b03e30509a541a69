"""Running one network through PyTorch and through ONNX Runtime, to see that they agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.session import cpu_session

if TYPE_CHECKING:
    from torch import nn


def run_network(module: nn.Module, batches: np.ndarray) -> np.ndarray:
    """Run a PyTorch network over batches of faces.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode on the CPU.
    batches : float32 array, shape (batch, 3, h, w) or (n, batch, 3, h, w)
        One batch, or several.

    Returns
    -------
    float32 array, shape (batch, d) or (n * batch, d)
        The embeddings as the network gives them, not normalised here.
    """
    # Most who import this module run ONNX files alone, and PyTorch takes a second to import.
    import torch

    with torch.inference_mode():
        rows = [module(torch.from_numpy(batch)).numpy() for batch in _each(batches)]
    return np.concatenate(rows)


def run_onnx(path: Path | str, batches: np.ndarray, *, as_written: bool = False) -> np.ndarray:
    """Run an ONNX file over batches of faces with ONNX Runtime on the CPU.

    Parameters
    ----------
    path : path
        A graph with one input and one output.
    batches : float32 array, shape (batch, 3, h, w) or (n, batch, 3, h, w)
        One batch, or several; `batch` must be the graph's batch size. For a graph that takes
        pictures as they are, uint8 in the shape it wants.
    as_written : bool
        Execute every node of the file. Otherwise ONNX Runtime first folds and fuses on its own,
        which is faster and what a user of the file gets.

    Returns
    -------
    float32 array, shape (batch, d) or (n * batch, d)
        The embeddings as the graph gives them, not normalised here.

    Raises
    ------
    GraphError
        When the file is missing, is not a graph, or does not take such batches.
    """
    try:
        session = cpu_session(path, as_written=as_written)
        name = session.get_inputs()[0].name
        rows = [session.run(None, {name: batch})[0] for batch in _each(batches)]
    except Exception as error:  # ONNX Runtime has its own family of errors under Exception
        message = str(error).split("\n", 1)[0]
        raise GraphError(
            f"ONNX Runtime could not run the graph: {message}",
            where=str(path),
            fix="export it again for this batch size",
        ) from error
    return np.concatenate(rows)


def _each(batches: np.ndarray) -> list[np.ndarray]:
    batches = np.ascontiguousarray(batches, np.uint8 if batches.dtype == np.uint8 else np.float32)
    return list(batches if batches.ndim == 5 else batches[None])
