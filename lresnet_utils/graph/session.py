"""ONNX Runtime where it judges a graph: on the CPU, without printing, without taking cores."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

# A file that does not run says so by its exception; ONNX Runtime need not print it as well.
_LOG_NOTHING_BUT_FATAL = 4


def cpu_session(path: Path | str | bytes, *, as_written: bool = False) -> ort.InferenceSession:
    """Load an ONNX file to see what it computes, not how fast.

    Parameters
    ----------
    path : Path, str or bytes
        The file, or what a file would hold.
    as_written : bool
        True to run the nodes that the file holds; otherwise ONNX Runtime fuses and folds them
        first, and differences between two files may be of its own making.

    Returns
    -------
    onnxruntime.InferenceSession
        Whose threads do not spin while they wait: two notebooks that check graphs side by side
        would each be several times slower than alone.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_NOTHING_BUT_FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if as_written:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(
        path if isinstance(path, bytes) else str(path), options, providers=["CPUExecutionProvider"]
    )
