"""Ceilings: the fastest product wins, and every product is the product."""

import contextlib
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from lresnet_utils.errors import TargetError
from lresnet_utils.perf import ceilings
from lresnet_utils.perf.ceilings import Product


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(ceilings, "time", clock)
    return clock


def fake(name, clock, seconds, precisions=("fp32",), calls=None):
    def work():
        clock.now += seconds
        if calls is not None:
            calls.append(name)

    return Product(name, precisions, lambda *_: work, threads=lambda n: contextlib.nullcontext())


def refusing(error):
    def make(*_):
        raise error

    return Product("refusing", ("fp32",), make, threads=lambda n: contextlib.nullcontext())


def test_the_fastest_library_is_the_ceiling_and_a_hopeless_one_is_timed_once(monkeypatch, clock):
    calls = []
    slow, fast = (
        fake(name, clock, seconds, calls=calls)
        for name, seconds in (("slow", 0.04), ("fast", 0.004))
    )
    monkeypatch.setattr(ceilings, "PRODUCTS", (fast, slow, refusing(TargetError("no such thing"))))
    found = ceilings.ceilings(threads=1, seconds=0.02)["fp32"]
    assert found["by"] == "fast" and found["size"] == ceilings.SIZES["fp32"]
    for name in ("tops", "median_tops"):
        assert found[name] == pytest.approx(2 * found["size"] ** 3 / 0.004 / 1e12)
    assert [entry.get("n") for entry in found["tried"]] == [found["n"], 1, None]
    assert found["tried"][2] == {"by": "refusing", "refused": "no such thing"}
    assert calls.count("slow") == 2


def test_a_precision_without_a_product_says_why(monkeypatch):
    monkeypatch.setattr(ceilings, "PRODUCTS", (refusing(RuntimeError("boom\nmore")),))
    found = ceilings.ceilings(threads=1, seconds=0.01)
    assert found["fp32"]["refused"] == "refusing: RuntimeError: boom"
    assert ceilings.ceiling_fraction(1, {"value": 1.0}, "fp32", found) == {
        "refused": "no ceiling in fp32: refusing: RuntimeError: boom"
    }


def test_a_fraction_above_one_is_not_clipped():
    measured = {"fp32": {"tops": 0.1, "by": "x"}}
    rate = {"value": 60.0, "low": None, "high": None}
    found = ceilings.ceiling_fraction(2 * 10**9, rate, "fp32", measured)
    assert found["fraction"] == pytest.approx(1.2) and found["low"] is None


def test_the_triad_counts_three_arrays(monkeypatch):
    monkeypatch.setattr(ceilings, "STREAM_BYTES", 4 * 2**20)
    ticks = count()
    monkeypatch.setattr(ceilings.time, "perf_counter", lambda: next(ticks))
    # A clock that moves by one second per look: every repeat takes one second.
    found = ceilings.memory_bandwidth(threads=1, seconds=5)
    assert found["gb_per_s"] == found["median_gb_per_s"] == pytest.approx(3 * 4 * 2**20 / 1e9)
    assert found["n"] >= 3


@pytest.mark.parametrize(
    ("product", "precision"),
    [(p, precision) for p in ceilings.PRODUCTS for precision in p.precisions],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_product_is_the_product_of_its_matrices(product, precision):
    size = 64
    try:
        with product.threads(1):
            result = product.make(precision, size, 1)()
    except TargetError as error:
        pytest.skip(error.what)
    a, b = (ceilings._matrix(size, seed).astype(np.int64) for seed in (0, 1))
    if product.name.startswith("OpenVINO"):
        result, a = result[0], np.abs(a)
    if hasattr(result, "float"):
        result = result.float().numpy()
    scale = 0.1 if product.name.startswith("OpenVINO") and precision == "int8" else 1.0
    # Whole numbers up to 20 are exact in every precision; only bf16 rounds what it stores.
    tolerance = 2**-8 if precision == "bf16" else 1e-5
    np.testing.assert_allclose(result, scale * (a @ b), rtol=tolerance, atol=1e-3)


def test_torch_gets_its_threads_back():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    with ceilings.torch_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
