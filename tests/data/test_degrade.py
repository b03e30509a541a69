"""Degraded variants: pure, of the stated strength, the same every time."""

import numpy as np
import pytest

from lresnet_utils.data.degrade import VARIANTS, blur, low_resolution, noise, recompress

WITH_PIXELS = [name for name, variant in VARIANTS.items() if variant.apply]


def face(seed=0):
    ramp = np.linspace(40, 200, 112)
    picture = ramp[:, None, None] + np.random.default_rng(seed).normal(0, 10, (112, 112, 3))
    return picture.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", WITH_PIXELS)
def test_pure_and_of_the_same_kind(name):
    picture = face()
    before = picture.copy()
    first, second = (VARIANTS[name].apply(picture, 5) for _ in range(2))
    assert first.shape == (112, 112, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(picture, before)
    assert not np.array_equal(first, picture)


def test_names_and_file_variants():
    assert {"aligned", "plain", "res28", "res16", "noise40"} <= set(VARIANTS)
    assert all(name == variant.name for name, variant in VARIANTS.items())
    assert [name for name, variant in VARIANTS.items() if not variant.apply] == ["aligned", "plain"]


@pytest.mark.parametrize("size", [28, 16])
def test_low_resolution_keeps_block_means_only(size):
    """The information left is that of the small picture: the averages of its blocks."""
    step = 112 // size
    picture = face()
    blocks = picture.reshape(size, step, size, step, 3).mean(axis=(1, 3))
    same_blocks = np.repeat(np.repeat(blocks.round(), step, 0), step, 1).astype(np.uint8)
    difference = low_resolution(picture, size).astype(int) - low_resolution(same_blocks, size)
    assert abs(difference).max() <= 1
    assert (
        VARIANTS[f"res{size}"].apply(picture, 0).tobytes()
        == low_resolution(picture, size).tobytes()
    )


def test_noise_has_the_stated_deviation_and_no_bias():
    grey = np.full((112, 112, 3), 128, np.uint8)
    added = np.concatenate([noise(grey, i, 20.0).ravel() for i in range(4)]).astype(float) - 128
    n = added.size
    # Rounding to whole levels adds a variance of 1/12; bounds are five standard errors.
    assert abs(added.mean()) < 5 * 20 / np.sqrt(n)
    assert abs(added.std() - np.sqrt(400 + 1 / 12)) < 5 * 20 / np.sqrt(2 * n)


def test_noise_depends_on_the_index_and_differs_between_channels():
    grey = np.full((112, 112, 3), 128, np.uint8)
    assert not np.array_equal(noise(grey, 0), noise(grey, 1))
    one = noise(grey, 0).astype(float) - 128
    assert abs(np.corrcoef(one[..., 0].ravel(), one[..., 1].ravel())[0, 1]) < 0.05


def test_noise_clips_instead_of_wrapping():
    black, white = np.zeros((112, 112, 3), np.uint8), np.full((112, 112, 3), 255, np.uint8)
    assert (noise(black, 3) == 0).mean() > 0.45 and noise(black, 3).max() < 255
    assert (noise(white, 3) == 255).mean() > 0.45 and noise(white, 3).min() > 0


def test_blur_spreads_a_point_with_the_stated_deviation():
    point = np.zeros((112, 112, 3), np.uint8)
    point[52:60, 52:60] = 255
    spread = blur(point)[..., 0].astype(float)
    x = np.arange(112) - (spread.sum(0) * np.arange(112)).sum() / spread.sum()
    variance = (spread.sum(0) * x**2).sum() / spread.sum()
    assert variance == pytest.approx((8**2 - 1) / 12 + 9, rel=0.05)


def test_recompression_keeps_the_channel_order():
    red = np.zeros((112, 112, 3), np.uint8)
    red[..., 0] = 250
    assert recompress(red)[..., 0].mean() > 200 and recompress(red)[..., 2].mean() < 30
