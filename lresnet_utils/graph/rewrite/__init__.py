"""Small, named, exact rewrites of ONNX graphs; see :data:`REWRITES`.

Each is a function that changes an ``onnx_ir.Graph`` in place and returns how often its pattern
fitted; what it does not know it leaves alone. :func:`prepare_onnx` applies some of them to a file
and proves that the network still computes the same.
"""

from __future__ import annotations

from lresnet_utils.graph.rewrite.prepare import REWRITES, PrepareRecord, prepare_onnx

__all__ = ["REWRITES", "PrepareRecord", "prepare_onnx"]
