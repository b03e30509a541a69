"""Charts leave room for Chinese, and leave drawing it to the reader's browser."""

import re
import warnings

import pytest
from matplotlib import font_manager

from lresnet_utils.report.charts.style import NAME, wide_font
from lresnet_utils.report.charts.throughput import ThroughputDisplay
from lresnet_utils.report.show import inline_svg
from lresnet_utils.text.language import speaking

ROWS = [{"target": "torch-fp32", "batch_size": 4, "value": 10.0, "low": 9.0, "high": 11.0}]


@pytest.mark.parametrize("text", ["准确率", "（对数）", "吞吐量，张", "、。？"])
def test_every_chinese_character_is_one_em_wide(text):
    path = font_manager.findfont(font_manager.FontProperties(family=wide_font()))
    font = font_manager.get_font(path)
    font.set_size(10, 72)
    font.set_text(text)
    assert font.get_width_height()[0] / 64 == 10 * len(text)


def test_a_chinese_chart_is_text_in_the_readers_fonts_and_complains_of_no_glyph():
    display = ThroughputDisplay(ROWS)
    with speaking("zh"), warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = inline_svg(display.plot().figure_, display.describe())
    assert ">张/秒，批大小 4</text>" in svg
    assert 'aria-label="吞吐量，张/秒。' in svg
    assert NAME not in svg and "DejaVu" not in svg and "@font-face" not in svg
    families = set(re.findall(r"font-family: ?([^;\"]+)", svg))
    assert families == {"system-ui,sans-serif"}


def test_english_charts_do_not_need_the_font():
    svg = inline_svg(ThroughputDisplay(ROWS).plot().figure_, "")
    assert ">images per second at batch size 4</text>" in svg
