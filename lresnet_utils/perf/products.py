"""Plain matrix products in every library of this project, by precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np

from lresnet_utils.errors import TargetError
from lresnet_utils.machine.facts import bf16_instructions, no_bf16

Work = Callable[[], object]
# OpenVINO's names of the types in which it may multiply.
_KINDS = {"fp32": {"f32"}, "bf16": {"bf16"}, "int8": {"u8", "i8"}}


@dataclass(frozen=True)
class Product:
    """One library's matrix product.

    Attributes
    ----------
    name : str
        The library and the call.
    precisions : tuple of str
        That it may offer.
    make : callable
        ``make(precision, size, threads)`` returns a function that multiplies two square matrices
        of that size. Raises when this machine cannot.
    threads : callable
        ``threads(n)`` is a context manager in which the library uses `n` threads.
    """

    name: str
    precisions: tuple[str, ...]
    make: Callable[[str, int, int], Work]
    threads: Callable[[int], AbstractContextManager[None]]


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Let PyTorch use `n` threads, and as many as before afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _numpy(_precision: str, size: int, _threads: int) -> Work:
    a, b = (_matrix(size, seed).astype(np.float32) for seed in (0, 1))
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def _torch(precision: str, size: int, _threads: int) -> Work:
    import torch

    _require_instructions(precision)
    a, b = (torch.from_numpy(_matrix(size, seed)) for seed in (0, 1))
    if precision == "int8":
        a, b = a.to(torch.int8), b.to(torch.int8)
        return lambda: torch._int_mm(a, b)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = a.to(kind), b.to(kind)
    return lambda: a @ b


def _openvino(precision: str, size: int, threads: int) -> Work:
    import openvino as ov
    from openvino import opset13 as op

    _require_instructions(precision)
    left = op.parameter([size, size], ov.Type.f32)
    weights = _matrix(size, 1)
    if precision == "int8":
        # Eight bits on both sides, in the form in which quantised graphs reach OpenVINO.
        ends = [np.float32(0), np.float32(25.5)] * 2
        a = op.fake_quantize(left, *ends, 256)
        b = op.multiply(op.convert(weights.astype(np.int8), ov.Type.f32), np.float32(0.1))
    else:
        a, b = left, op.constant(weights)
    model = ov.Model([op.matmul(a, b, False, False)], [left])
    hint = "bf16" if precision == "bf16" else "f32"
    compiled = ov.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": hint,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
        },
    )
    # Refuse a plan in which the product is computed in another precision than asked for
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kinds = {
        info["runtimePrecision"].astype(str)
        for info in infos
        if info["layerType"].astype(str) in ("FullyConnected", "MatMul")
    }
    if not kinds or not kinds <= _KINDS[precision]:
        raise TargetError(f"OpenVINO would multiply in {', '.join(sorted(kinds)) or 'no type'}")
    request, pixels = compiled.create_infer_request(), np.abs(_matrix(size, 0))
    return lambda: request.infer({0: pixels}, share_inputs=True)


def _require_instructions(precision: str) -> None:
    """Refuse bf16 where it would be emulated, which can take a thousand times as long."""
    if precision == "bf16" and bf16_instructions() is None:
        raise TargetError(no_bf16())


def _matrix(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-20, 21, (size, size), np.int8).astype(np.float32)


# The likely fastest first: a library that is hopelessly behind is then timed once only.
PRODUCTS = (
    Product("OpenVINO MatMul", ("fp32", "bf16", "int8"), _openvino, lambda n: nullcontext()),
    Product("torch.matmul", ("fp32", "bf16"), _torch, torch_threads),
    Product("torch._int_mm", ("int8",), _torch, torch_threads),
    Product("numpy.matmul", ("fp32",), _numpy, lambda n: nullcontext()),
)
