"""The report on paper: printed where there is a Chromium, refused in three lines where not."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from lresnet_utils.errors import RunError
from lresnet_utils.machine.disk import write_text
from lresnet_utils.report.publish import single
from lresnet_utils.report.publish.page import Link, render
from lresnet_utils.report.publish.single import single_text, write_pdf
from lresnet_utils.run import RunFolder


def test_without_chromium_it_is_refused_in_three_lines(monkeypatch, tmp_path):
    monkeypatch.setattr(single, "find_tool", lambda name: None)
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
        write_text(path.with_suffix(".html"), render(path, title=name, links=links))
    write_text(run.single, single_text(run, [f"{name}.html" for name in names]))
    printed = write_pdf(run).read_bytes()
    assert printed.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 2
    assert not list(run.folder.glob(".*"))


@pytest.mark.browser
@pytest.mark.usefixtures("browser")
def test_printing_asks_nobody_for_anything_whatever_the_page_names(tmp_path):
    asked = []

    class Ear(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Ear) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        places = (f"{host}:{server.server_port}/a" for host in ("127.0.0.1", "localhost"))
        page = "".join(f"<img src='http://{at}'><iframe src='http://{at}'>" for at in places)
        run = RunFolder(tmp_path)
        # As no page of ours is, which name nothing and forbid the rest.
        write_text(run.single, f"<!doctype html><p>Words.</p>{page}")
        assert write_pdf(run).read_bytes().startswith(b"%PDF-")
        server.shutdown()
    assert asked == []
