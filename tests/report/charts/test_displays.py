"""What holds for every chart: units on its axes, one look per target, words beside it."""

import ast
import inspect
import re
import textwrap

import pytest

from lresnet_utils.report.charts import builds, distributions, error_rates, pictures, throughput
from lresnet_utils.report.charts.display import Display

MODULES = (
    builds,
    distributions,
    error_rates,
    error_rates,
    builds,
    distributions,
    pictures,
    throughput,
    throughput,
    throughput,
)
CHARTS = sorted(
    {
        chart
        for module in MODULES
        for chart in vars(module).values()
        if inspect.isclass(chart) and issubclass(chart, Display) and chart is not Display
    },
    key=lambda chart: chart.__name__,
)
# A quantity in brackets, a rate, or a count that names what it counts.
UNIT = re.compile(r"\(.+\)| per |^nodes|^fold$")


def calls(chart):
    """Return the functions that a chart's methods call, with the text each names an axis by."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(chart)))
    named = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    return [(getattr(n.func, "id", getattr(n.func, "attr", "")), n) for n in named]


def axis_texts(chart):
    for name, call in calls(chart):
        if name in ("name_x", "name_y"):
            said = call.args[1]
            assert isinstance(said, ast.Call) and said.func.id == "tr", ast.unparse(call)
            yield said.args[0].value


def test_there_are_charts():
    assert len(CHARTS) >= 15


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
def test_every_axis_of_numbers_is_named_with_its_unit(chart):
    texts = list(axis_texts(chart))
    assert [text for text in texts if not UNIT.search(text)] == []
    functions = {name for name, _ in calls(chart)}
    assert "name_x" in functions
    # Rows have names instead of numbers.
    assert functions & {"name_y", "rows_axis", "set_yticks"}


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
def test_a_targets_look_comes_from_one_place(chart):
    """No chart has colours of its own; what it draws of a target it draws as all others do."""
    source = inspect.getsource(inspect.getmodule(chart))
    assert re.findall(r"#[0-9a-fA-F]{6}\b|\"C\d\"", source) == []


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
def test_every_chart_describes_itself_from_its_numbers(chart):
    assert chart.describe is not Display.describe
    assert "self." in inspect.getsource(chart.describe)
