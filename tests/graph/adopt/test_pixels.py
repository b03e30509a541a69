import re

import numpy as np
import pytest
from onnx import TensorProto

from lresnet_utils.graph.adopt import open_foreign
from lresnet_utils.running.preflight import inspect_file


def scaled(operator, number, first=True):
    def lead(maker, x):
        weight = maker.weight(number)
        return maker.op(operator, *((x, weight) if first else (weight, x)))

    return lead


def after(*leads):
    def lead(maker, x):
        for step in leads:
            x = step(maker, x)
        return x

    return lead


def normalised(mean, variance):
    """A batch normalisation of the picture, as MXNet's ``bn_data``."""

    def lead(maker, x):
        numbers = (np.ones(3), np.zeros(3), np.full(3, mean), np.full(3, variance))
        return maker.op("BatchNormalization", x, *map(maker.weight, numbers), epsilon=1e-5)

    return lead


def channels(values):
    return np.array(values).reshape(3, 1, 1)


IMAGENET = after(
    scaled("Sub", channels([123.7, 116.3, 103.5])), scaled("Div", channels([58.4, 57.1, 57.4]))
)


@pytest.mark.parametrize(
    ("lead", "told", "centre", "step"),
    [
        (after(scaled("Sub", 127.5), scaled("Mul", 0.0078125)), "raw", "127.5", "128"),
        (
            after(scaled("Div", 255), scaled("Sub", 0.5), scaled("Div", 0.5)),
            "raw",
            "127.5",
            "127.5",
        ),
        (after(scaled("Mul", 1 / 127.5), scaled("Add", -1)), "raw", "127.5", "127.5"),
        (scaled("Sub", 127.5), "raw", "127.5", "1"),
        (scaled("Sub", 255, first=False), "raw", "255", "1"),
        (scaled("Div", 255), "raw", "0", "255"),
        (IMAGENET, "raw", "114.5", "57.63"),
        (normalised(127.5, 60.0**2), "raw", "127.5", "60"),
        (after(scaled("Sub", 0.5), scaled("Div", 0.5)), "zero_1", "0.5", "0.5"),
        (after(scaled("Mul", 2), scaled("Sub", 1)), "zero_1", "0.5", "0.5"),
        (normalised(0.02, 0.3), None, "0.02", "0.5477"),
    ],
)
def test_the_scale_is_read_from_the_first_nodes(stored, lead, told, centre, step):
    found = open_foreign(stored(lead=lead)).told
    assert found.normalisation == told
    assert f"compute (x - {centre}) / {step}" in found.because


def test_what_does_not_scale_the_picture_tells_nothing(stored):
    for lead in (None, scaled("Mul", np.ones(112)), mapped("Gather", [[2, 1, 0], "int64"], axis=1)):
        found = open_foreign(stored(lead=lead)).told
        assert found.normalisation is None and found.followed
        assert "no arithmetic on the pixels" in found.because


def mapped(operator, *weights, **attributes):
    """An operator with the picture first and then weights, each a (numbers, type)."""

    def lead(maker, x):
        return maker.op(operator, x, *(maker.weight(*w) for w in weights), **attributes)

    return lead


def split(maker, x):
    """Each colour scaled on its own, and put together as BGR."""
    first = maker.op("Split", x, outputs=3, axis=1)
    parts = [first, f"{first}_1", f"{first}_2"]
    parts = [maker.op("Sub", part, maker.weight(127.5)) for part in parts]
    parts = [maker.op("Mul", part, maker.weight(0.0078125)) for part in parts]
    return maker.op("Concat", *parts[::-1], axis=1)


def sliced(maker, x):
    numbers = (maker.weight([k], "int64") for k in (-1, -4, 1, -1))
    return maker.op("Slice", x, *numbers)


def there_and_back(maker, x):
    x = maker.op("Transpose", x, perm=[0, 2, 3, 1])
    x = maker.op("Sub", x, maker.weight(np.full((1, 1, 1, 3), 127.5)))
    return maker.op("Transpose", x, perm=[0, 3, 1, 2])


def padded(maker, x):
    x = maker.op("Pad", x, maker.weight([0, 0, 1, 1, 0, 0, 1, 1], "int64"))
    return maker.op("Slice", x, *(maker.weight(w, "int64") for w in ([1, 1], [113, 113], [2, 3])))


def through(kind):
    return lambda maker, x: maker.op("Cast", x, to=kind)


def quantised(maker, x):
    numbers = maker.weight(1.0), maker.weight(0, "uint8")
    return maker.op("DequantizeLinear", maker.op("QuantizeLinear", x, *numbers), *numbers)


SCALED = after(scaled("Sub", 127.5), scaled("Mul", 0.0078125))
EXCHANGED = mapped("Gather", [[2, 1, 0], "int64"], axis=1)
COLOURS = np.eye(3)[::-1].reshape(3, 3, 1, 1) / 127.5


@pytest.mark.parametrize(
    ("lead", "step", "exchanged"),
    [
        (after(EXCHANGED, SCALED), "128", True),
        (after(SCALED, EXCHANGED), "128", True),
        (after(sliced, SCALED), "128", True),
        (split, "128", True),
        (after(there_and_back, scaled("Div", 127.5)), "127.5", False),
        (after(padded, SCALED), "128", False),
        (after(SCALED, padded), "128", False),
        (after(through(TensorProto.INT32), through(TensorProto.FLOAT), SCALED), "128", False),
        (after(mapped("Clip", [0.0], [255.0]), SCALED), "128", False),
        (after(quantised, SCALED), "128", False),
        (after(mapped("Conv", [COLOURS]), scaled("Sub", 1)), "127.5", True),
        (after(mapped("Sub", [np.full((3, 112, 112), 127.5)]), scaled("Div", 128)), "128", False),
    ],
    # The functions' own names are alike, and their addresses are each worker's own.
    ids=lambda value: None if callable(value) else str(value),
)
def test_the_scale_is_read_wherever_the_arithmetic_stands(stored, lead, step, exchanged):
    found = open_foreign(stored(lead=lead)).told
    assert (found.normalisation, found.exchanged) == ("raw", exchanged)
    assert f"(x - 127.5) / {step}" in found.because
    assert ("exchanges red and blue" in found.because) == exchanged


@pytest.mark.parametrize(
    ("lead", "why"),
    [
        (mapped("Clip", [0.0], [1.0]), "do not follow a straight line"),
        (after(scaled("Div", 255), mapped("Pow", [0.45])), "do not follow a straight line"),
        (scaled("Div", 2, first=False), "not finite"),
        (scaled("Mul", 0), "remove the picture"),
        (mapped("Conv", [np.full((3, 3, 1, 1), 1 / 765)]), "mix the colours"),
        (scaled("Div", 3), "fits no known scale"),
    ],
    ids=lambda value: None if callable(value) else str(value),
)
def test_where_pixels_cannot_be_followed_the_reason_is_given_and_no_scale(stored, lead, why):
    path = stored(lead=lead)
    found = open_foreign(path).told
    assert (found.normalisation, found.followed) == (None, False)
    assert re.search(why, found.because)
    lines = inspect_file(path)
    assert not any(line.lstrip().startswith("normalisation:") for line in lines)
    assert any("normalisation" in line and "5_evaluate" in line for line in lines)


def test_inspect_says_what_the_graph_does_to_the_colours(stored):
    lines = inspect_file(stored(lead=after(EXCHANGED, SCALED)))
    assert any("(x - 127.5) / 128" in line and "exchanges red" in line for line in lines)
    assert any(line.startswith("  channel_order: bgr  #") for line in lines)
    assert not any("normalisation" in line for line in lines)
    plain = inspect_file(stored())
    assert any(line.startswith("  channel_order: rgb  #") for line in plain)
    assert any(line.startswith("  normalisation: minus1_1  #") for line in plain)


def test_bytes_are_raw_pixels(stored):
    assert open_foreign(stored(pixels="uint8")).told.normalisation == "raw"


def test_channels_last_pictures_tell_as_well(stored):
    lead = after(scaled("Sub", 127.5), scaled("Mul", 0.0078125))
    assert open_foreign(stored(layout="nhwc", lead=lead)).told.normalisation == "raw"
