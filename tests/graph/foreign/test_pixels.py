import numpy as np
import pytest

from lresnet_utils.graph.foreign import open_foreign


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
    for lead in (None, scaled("Div", 2, first=False), scaled("Mul", np.ones(112))):
        found = open_foreign(stored(lead=lead)).told
        assert found.normalisation is None
        assert "no arithmetic on the pixels" in found.because
    assert "remove the picture" in open_foreign(stored(lead=scaled("Mul", 0))).told.because


def test_bytes_are_raw_pixels(stored):
    assert open_foreign(stored(pixels="uint8")).told.normalisation == "raw"


def test_channels_last_pictures_tell_as_well(stored):
    lead = after(scaled("Sub", 127.5), scaled("Mul", 0.0078125))
    assert open_foreign(stored(layout="nhwc", lead=lead)).told.normalisation == "raw"
