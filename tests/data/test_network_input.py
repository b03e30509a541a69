"""Network input equals what torchvision's transforms compute."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lresnet_utils.data.network_input import PIXEL_SCALES, flip, pixel_range, to_network_input
from lresnet_utils.errors import ParamsError


def every_grey_level():
    levels = np.arange(256, dtype=np.uint8)
    return np.stack([levels, levels[::-1], np.roll(levels, 7)], axis=-1).reshape(1, 16, 16, 3)


def torchvision_way(image):
    """ToTensor then Normalize(0.5, 0.5), with torch's own arithmetic."""
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy()).float().div(255)
    return tensor.sub_(torch.tensor(0.5)).div_(torch.tensor(0.5)).numpy()


def test_minus1_1_has_the_bits_of_torch():
    images = every_grey_level()
    batch = to_network_input(images, channel_order="rgb", normalisation="minus1_1")
    assert batch.tobytes() == torchvision_way(images[0]).tobytes()
    assert batch.min() == -1 and batch.max() == 1


def test_bgr_reverses_the_channels_and_nothing_else():
    images = every_grey_level()
    rgb = to_network_input(images, channel_order="rgb", normalisation="raw")
    bgr = to_network_input(images, channel_order="bgr", normalisation="raw")
    np.testing.assert_array_equal(bgr, rgb[:, ::-1])
    np.testing.assert_array_equal(rgb[0, 2], images[0, ..., 2])
    assert bgr.flags.c_contiguous and bgr.dtype == np.float32


@given(st.integers(0, 4), st.sampled_from(["rgb", "bgr"]), st.sampled_from(sorted(PIXEL_SCALES)))
def test_out_is_filled_and_returned(n, order, normalisation):
    images = np.random.default_rng(n).integers(0, 256, (n, 5, 4, 3), np.uint8)
    out = np.full((n, 3, 5, 4), np.nan, np.float32)
    result = to_network_input(images, channel_order=order, normalisation=normalisation, out=out)
    assert result is out
    expected = to_network_input(images, channel_order=order, normalisation=normalisation)
    np.testing.assert_array_equal(out, expected)


def test_input_is_not_changed():
    images = every_grey_level()
    before = images.copy()
    to_network_input(images, channel_order="bgr", normalisation="minus1_1")
    np.testing.assert_array_equal(images, before)


def test_flip_mirrors_left_to_right_and_copies():
    batch = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    mirrored = flip(batch)
    for column in range(4):
        np.testing.assert_array_equal(mirrored[..., column], batch[..., 3 - column])
    np.testing.assert_array_equal(flip(mirrored), batch)
    assert mirrored.flags.c_contiguous and not np.shares_memory(mirrored, batch)


def test_unknown_words_are_named():
    images = every_grey_level()
    with pytest.raises(ParamsError, match="did you mean 'bgr'"):
        to_network_input(images, channel_order="bgrr", normalisation="raw")
    with pytest.raises(ParamsError, match="minus1_1"):
        to_network_input(images, channel_order="rgb", normalisation="minus_1")


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 112, 112, 3), np.float32),
        np.zeros((112, 112, 3), np.uint8),
        np.zeros((2, 3, 112, 112), np.uint8),
    ],
)
def test_wrong_arrays_are_refused(images):
    with pytest.raises(ValueError, match="uint8"):
        to_network_input(images, channel_order="rgb", normalisation="raw")


@pytest.mark.parametrize(
    "out",
    [
        np.empty((1, 3, 16, 16)),
        np.empty((1, 3, 16, 15), np.float32),
        np.empty((1, 16, 16, 3), np.float32).transpose(0, 3, 1, 2),
    ],
)
def test_wrong_out_is_refused(out):
    with pytest.raises(ValueError, match="out must be"):
        to_network_input(every_grey_level(), channel_order="rgb", normalisation="raw", out=out)


@pytest.mark.parametrize(
    ("normalisation", "formula"),
    [
        ("centred_128", lambda x: (x - 127.5) / 128),
        ("zero_1", lambda x: x / 255),
        ("minus1_1", lambda x: (x / 255 - 0.5) / 0.5),
        ("raw", lambda x: x),
    ],
)
def test_every_scale_is_its_formula_and_spans_its_range(normalisation, formula):
    images = every_grey_level()
    batch = to_network_input(images, channel_order="rgb", normalisation=normalisation)
    expected = formula(images.transpose(0, 3, 1, 2).astype(np.float64))
    np.testing.assert_allclose(batch, expected, rtol=0, atol=1e-6)
    low, high = pixel_range(normalisation)
    assert batch.min() == pytest.approx(low) and batch.max() == pytest.approx(high)
