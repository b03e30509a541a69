"""The sizing page is what the function gives for the rates that the page states."""

import re
from pathlib import Path

import pytest
from sizing import SETS, duration, sizing, sizing_table

PAGE = (Path(__file__).parents[2] / "docs" / "sizing.md").read_text(encoding="utf-8")


def stated():
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| (images|pairs)/s \|", PAGE, flags=re.M)
    assert len(rows) == 5
    rates = {name: float(value) for name, value, unit in rows if unit == "images"}
    return rates, next(float(value) for _, value, unit in rows if unit == "pairs")


def test_the_page_holds_the_table_of_its_own_rates():
    assert sizing_table(*stated()) in PAGE


def test_the_pages_arithmetic_is_right():
    rates, pairs_per_second = stated()
    rate = rates["IR-SE100 int8"]
    n = SETS["IJB-C"]
    assert f"= {n / rate:,.0f} s = {n / rate / 3600:.2f} hours" in PAGE
    pairs = n * (n - 1) // 2
    assert f"{pairs:,}; scored twice" in PAGE
    assert f"pairs/s = {2 * pairs / pairs_per_second / 3600:.2f} hours" in PAGE


def test_views_and_workers_scale_the_embedding():
    one = sizing(1000, images_per_second=10, pairs_per_second=1e6)
    two = sizing(1000, images_per_second=10, pairs_per_second=1e6, views=2, workers=4)
    assert two.embed_hours == pytest.approx(one.embed_hours / 2)
    assert two.pairs_hours == pytest.approx(one.pairs_hours / 4)
    assert (one.pixels_gb, one.embeddings_gb) == (0.037632, 0.002048)
    assert duration(0.25) == "15 minutes"
