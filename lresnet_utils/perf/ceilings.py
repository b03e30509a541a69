"""What this machine's arithmetic and memory can do: plain matrix products, and a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from lresnet_utils.errors import LResNetError, TargetError
from lresnet_utils.machine.facts import bf16_instructions, no_bf16, usable_cores
from lresnet_utils.text.language import clauses, message

# Side of the square matrices. Products of faster precisions are larger, so that reading, writing
# and converting their edges weighs as little as it does in fp32.
SIZES = {"fp32": 1024, "bf16": 2048, "int8": 2048}
SECONDS = 0.25
_LEAST = 3
# One product that takes this many times as long as the best so far will not become the best.
_HOPELESS = 2.0
# Each of the three arrays, in bytes: several times the largest last-level caches but for servers
# with hundreds of megabytes of it.
STREAM_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Rate:
    """Repeats of one measurement.

    Parameters
    ----------
    best, median : float
        Per second.
    n : int
        Repeats.
    """

    best: float
    median: float
    n: int


def ceilings(threads: int = 0, seconds: float = SECONDS) -> dict[str, dict[str, Any]]:
    """Measure plain matrix products with every library at hand and keep the fastest.

    Takes a second or two; for two square matrices already in memory, multiply-adds count twice.

    Parameters
    ----------
    threads : int, default 0
        Threads per product; 0 takes every core this process may use.
    seconds : float
        Least time for one library and precision; three products are timed in any case.

    Returns
    -------
    dict
        Per precision of :data:`SIZES`: ``tops`` (best repeat, 10^12 operations per second),
        ``median_tops``, ``n``, ``by`` (the library and call), ``size``, ``threads`` and
        ``tried`` (the same of every library, or why it has none); or ``refused`` where none has.
    """
    threads = threads or usable_cores()
    found = {}
    for precision, size in SIZES.items():
        tried = []
        for product in PRODUCTS:
            if precision in product.precisions:
                best = max((entry.get("tops", 0.0) for entry in tried), default=0.0)
                tried.append(_try(product, precision, size, threads, seconds, best))
        known = [entry for entry in tried if "tops" in entry]
        if known:
            best = max(known, key=lambda entry: entry["tops"])
        else:
            each = (message("{what}: {why}", what=e["by"], why=e["refused"]) for e in tried)
            best = {"refused": clauses(*each)}
        found[precision] = best | {"size": size, "threads": threads, "tried": tried}
    return found


def memory_bandwidth(threads: int = 0, seconds: float = SECONDS) -> dict[str, Any]:
    """Measure the triad ``a = b + s * c`` of STREAM (McCalpin 1995) over arrays out of cache.

    Parameters
    ----------
    threads, seconds
        As for :func:`ceilings`.

    Returns
    -------
    dict
        ``gb_per_s`` (best repeat, 10^9 bytes per second; three arrays count, as in STREAM),
        ``median_gb_per_s``, ``n``, ``array_bytes``, ``threads`` and ``by``.
    """
    import torch

    threads = threads or usable_cores()
    a, b, c = (torch.zeros(STREAM_BYTES // 4) for _ in range(3))
    with torch_threads(threads):
        rate = repeated(lambda: torch.add(b, c, alpha=3.0, out=a), 3 * STREAM_BYTES, seconds)
    return {
        "gb_per_s": rate.best / 1e9,
        "median_gb_per_s": rate.median / 1e9,
        "n": rate.n,
        "array_bytes": STREAM_BYTES,
        "threads": threads,
        "by": "torch.add",
    }


def ceiling_fraction(
    flops: int, throughput_ips: Mapping[str, Any], precision: str, measured: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what share of the arithmetic ceiling a rate is.

    Parameters
    ----------
    flops : int
        Operations per image, as :class:`lresnet_utils.graph.inspect.GraphSummary` counts them.
    throughput_ips : mapping
        ``value``, ``low``, ``high`` in images per second; the ends may be None.
    precision : str
        In which the target computes.
    measured : mapping
        What :func:`ceilings` gave in the same run.

    Returns
    -------
    dict
        ``fraction`` with ``low`` and ``high`` (the rate's interval alone), ``precision``,
        ``tops`` of the ceiling and ``by`` whom; or ``refused``. A fraction may exceed 1: the
        runtime's own kernels then beat the matrix products at hand.

    Examples
    --------
    >>> measured = {"bf16": {"tops": 2.0, "by": "a library"}}
    >>> found = ceiling_fraction(10**10, {"value": 100, "low": 90, "high": 110}, "bf16", measured)
    >>> found["fraction"], found["low"], found["high"]
    (0.5, 0.45, 0.55)
    >>> ceiling_fraction(10**10, {"value": 100}, "fp16", measured)
    {'refused': 'matrix products in fp16 are not measured on this machine'}
    """
    ceiling = measured.get(precision)
    if ceiling is None:
        return {
            "refused": message(
                "matrix products in {precision} are not measured on this machine",
                precision=precision,
            )
        }
    if "tops" not in ceiling:
        return {
            "refused": message(
                "no ceiling in {precision}: {refused}",
                precision=precision,
                refused=ceiling["refused"],
            )
        }
    ends = {"fraction": "value", "low": "low", "high": "high"}
    rates = {name: throughput_ips.get(end) for name, end in ends.items()}
    shares = {
        name: None if rate is None else flops * rate / 1e12 / ceiling["tops"]
        for name, rate in rates.items()
    }
    return shares | {"precision": precision, "tops": ceiling["tops"], "by": ceiling["by"]}


def repeated(work: Callable[[], Any], amount: float, seconds: float = SECONDS) -> Rate:
    """Repeat work, after one untimed run, at least three times and for at least `seconds`."""
    work()
    rates, end = [], time.perf_counter() + seconds
    while len(rates) < _LEAST or time.perf_counter() < end:
        started = time.perf_counter()
        work()
        rates.append(amount / (time.perf_counter() - started))
    return Rate(max(rates), float(np.median(rates)), len(rates))


def _try(
    product: Product, precision: str, size: int, threads: int, seconds: float, best: float
) -> dict[str, Any]:
    """Time one library, or only its second product when that is hopelessly slow."""
    operations = 2 * size**3
    try:
        with product.threads(threads):
            work = product.make(precision, size, threads)
            work()
            started = time.perf_counter()
            work()
            first = operations / (time.perf_counter() - started)
            hopeless = first / 1e12 * _HOPELESS < best
            rate = Rate(first, first, 1) if hopeless else repeated(work, operations, seconds)
    except LResNetError as error:
        return {"by": product.name, "refused": error.what}
    except Exception as error:  # a library that cannot do this here must not end the run
        return {"by": product.name, "refused": f"{type(error).__name__}: {error}".splitlines()[0]}
    tops, median = rate.best / 1e12, rate.median / 1e12
    return {"by": product.name, "tops": tops, "median_tops": median, "n": rate.n}


# Plain matrix products in every library of this project, by precision.

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


def numpy_product(_precision: str, size: int, _threads: int) -> Work:
    """Return NumPy's product, in fp32."""
    a, b = (_matrix(size, seed) for seed in (0, 1))
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def torch_product(precision: str, size: int, _threads: int) -> Work:
    """Return PyTorch's product; of int8 matrices by ``_int_mm``."""
    import torch

    _require_instructions(precision)
    a, b = (torch.from_numpy(_matrix(size, seed)) for seed in (0, 1))
    if precision == "int8":
        a, b = a.to(torch.int8), b.to(torch.int8)
        return lambda: torch._int_mm(a, b)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = a.to(kind), b.to(kind)
    return lambda: a @ b


def openvino_product(precision: str, size: int, threads: int) -> Work:
    """Return OpenVINO's product; int8 in the form in which quantised graphs reach it."""
    import openvino as ov
    from openvino import opset13 as op

    _require_instructions(precision)
    left = op.parameter([size, size], ov.Type.f32)
    weights = _matrix(size, 1)
    if precision == "int8":
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
    # Refuse a plan in which the product is computed in another precision than asked for.
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kinds = {
        info["runtimePrecision"].astype(str)
        for info in infos
        if info["layerType"].astype(str) in ("FullyConnected", "MatMul")
    }
    if not kinds or not kinds <= _KINDS[precision]:
        raise TargetError(
            message(
                "OpenVINO would multiply in {precision}",
                precision=", ".join(sorted(kinds)) or "no type",
            )
        )
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
    Product("OpenVINO MatMul", ("fp32", "bf16", "int8"), openvino_product, lambda n: nullcontext()),
    Product("torch.matmul", ("fp32", "bf16"), torch_product, torch_threads),
    Product("torch._int_mm", ("int8",), torch_product, torch_threads),
    Product("numpy.matmul", ("fp32",), numpy_product, lambda n: nullcontext()),
)
