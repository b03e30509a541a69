import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from lresnet_utils.report.charts.explorer import rates_at, threshold_explorer
from lresnet_utils.verify.intervals import wilson

DISTANCES = np.array([0.2, 0.8, 1.5, 1.2, 1.9, 2.0, np.nan])
SAME = np.array([True, True, True, False, False, False, True])


@pytest.mark.parametrize("threshold", [0.0, 0.8, 1.2, 1.4, 1.5, 1.6, 4.0])
def test_rates_are_the_counts_with_wilsons_interval(threshold):
    rates = rates_at(DISTANCES, SAME, threshold)
    pairs = [(d, s) for d, s in zip(DISTANCES, SAME, strict=True) if not np.isnan(d)]
    right = sum((d < threshold) == s for d, s in pairs)
    let_in = sum(d < threshold for d, s in pairs if not s)
    missed = sum(not d < threshold for d, s in pairs if s)
    for name, k, n in (("accuracy", right, 6), ("fmr", let_in, 3), ("fnmr", missed, 3)):
        low, high = wilson(int(k), n)
        assert rates[name] == {"value": k / n, "low": low, "high": high, "n": n}


def test_a_class_without_pairs_has_no_rate():
    rates = rates_at(np.array([0.5]), np.array([True]), 1.0)
    assert rates["fmr"] == {"refused": "no impostor pairs"}


def test_moving_the_widgets_changes_the_view():
    explorer = threshold_explorer(
        {"torch-fp32": (DISTANCES, SAME), "other": (DISTANCES + 0.3, SAME)}, 1.4
    )
    explorer.threshold.value = 1.0
    assert "threshold 1.00" in explorer.html()
    assert explorer._view.value == explorer.html()
    before = explorer.html()
    explorer.target.value = "other"
    assert explorer._view.value == explorer.html() != before
    # What a page without a kernel shows does not depend on where somebody left the slider.
    assert "threshold 1.40" in explorer.static_html()


def test_executed_without_a_browser_the_cell_keeps_a_static_figure():
    code = (
        "import numpy as np\n"
        "from lresnet_utils.report.charts.explorer import threshold_explorer\n"
        "same = np.arange(20) < 10\n"
        "threshold_explorer({'torch-fp32': (np.linspace(0, 3, 20), same)}, 1.4)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert "application/vnd.jupyter.widget-view+json" in output.data
    assert "<svg" in output.data["text/html"]
    assert "threshold 1.40" in output.data["text/html"]
