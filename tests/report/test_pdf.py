"""The report on paper: printed where there is a Chromium, refused in three lines where not."""

import re

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from lresnet_utils.errors import RunError
from lresnet_utils.files import write_text
from lresnet_utils.report import pdf
from lresnet_utils.report.pdf import write_pdf
from lresnet_utils.report.publish import Link, publish
from lresnet_utils.report.single import single_text
from lresnet_utils.run import RunFolder


def test_without_chromium_it_is_refused_in_three_lines(monkeypatch, tmp_path):
    monkeypatch.setattr(pdf, "find_tool", lambda name: None)
    with pytest.raises(RunError) as error:
        write_pdf(RunFolder(tmp_path))
    assert len(str(error.value).splitlines()) == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.browser
@pytest.mark.usefixtures("browser")
def test_every_page_of_the_report_begins_a_sheet(tmp_path):
    run = RunFolder(tmp_path / "r")
    names = ("index", "3_preprocess")
    for name in names:
        path = run.folder / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(new_notebook(cells=[new_markdown_cell(f"# {name}\n\nWords.")]), path)
        links = [Link(other, f"{other}.html", other == name) for other in names]
        publish(path, path.with_suffix(".html"), title=name, links=links)
    write_text(run.single, single_text(run, [f"{name}.html" for name in names]))
    printed = write_pdf(run).read_bytes()
    assert printed.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 2
    assert not list(run.folder.glob(".*"))
