"""Pages made from notebooks: what is shown, what is dropped, what cannot get out of its place."""

import base64
import json
import re
import unicodedata

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lresnet_utils.errors import DataError, ParamsError
from lresnet_utils.machine.disk import write_text
from lresnet_utils.report.publish import executed
from lresnet_utils.report.publish.page import Link, render, words

HOSTILE = "<script>alert('x')</script>\"&<img src=http://evil.example/x>"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n not a real picture").decode()
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M0 0h9"/></svg>'
CSP = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


def code(source="1 + 1", *outputs, tags=(), **metadata):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags), **metadata})


def shown(data, **metadata):
    return new_output("display_data", data=data, metadata=metadata)


def stream(name, text):
    return new_output("stream", name=name, text=text)


def error(kind="DataError", message="No such file.", traceback=("\x1b[0;31mline 1\x1b[0m",)):
    return new_output("error", ename=kind, evalue=message, traceback=list(traceback))


@pytest.fixture
def page(tmp_path):
    """Publish cells and return the parsed page; ``page.path`` is the file."""

    def make(*cells, metadata=None, **arguments):
        source, target = tmp_path / "5_evaluate.ipynb", tmp_path / "bs1" / "evaluate.html"
        nbformat.write(new_notebook(cells=list(cells), metadata=metadata or {}), source)
        arguments = {"title": "demo, batch size 1"} | arguments
        make.path = write_text(target, render(source, **arguments))
        return BeautifulSoup(target.read_text(encoding="utf-8"), "html.parser")

    return make


def test_page_stands_alone(page):
    soup = page(
        new_markdown_cell("# Title\n\ntext [link](other.html)"),
        code("1", shown({"image/png": PNG})),
    )
    assert soup.find("meta", {"http-equiv": "Content-Security-Policy"})["content"] == CSP
    assert not soup.find_all(["script", "iframe", "object", "embed"])
    for element in soup.find_all(src=True):
        assert element["src"].startswith("data:")
    for element in soup.find_all("link"):
        assert element["href"].startswith("data:")
    assert not re.search(r"url\(|@import", soup.style.string)
    assert page.path.stat().st_size < 40_000


def test_same_inputs_give_same_bytes_whatever_the_cell_ids(page):
    def cells():
        return new_markdown_cell("# A\n\n## B"), code("x = 1", stream("stdout", "x"))

    first, second = cells(), cells()
    assert first[0].id != second[0].id
    page(*first, metadata={"papermill": {"start_time": "2026-01-01", "duration": 1.0}})
    before = page.path.read_bytes()
    page(*second, metadata={"papermill": {"start_time": "2026-02-02", "duration": 2.0}})
    assert page.path.read_bytes() == before


def test_notebook_heading_is_the_only_h1_and_title_stands_above_it(page):
    soup = page(new_markdown_cell("# First *one*\n\n# Second"), new_markdown_cell("# Third"))
    assert [h.get_text() for h in soup.find_all("h1")] == ["First one"]
    assert [h.get_text() for h in soup.select(".lr-story h2")] == ["Second", "Third"]
    assert soup.title.string == soup.select_one(".lr-eyebrow").get_text() == "demo, batch size 1"


def test_title_is_the_heading_of_a_notebook_without_one(page):
    soup = page(new_markdown_cell("## Only a section"))
    assert soup.h1.get_text() == "demo, batch size 1"
    assert soup.select_one(".lr-eyebrow") is None


def test_contents_lead_to_every_section_even_with_equal_or_foreign_names(page):
    soup = page(
        new_markdown_cell("## ROC `curve`\n\n### Detail\n\n## ROC curve"),
        new_markdown_cell("## 精度\n\n```\n## not a heading\n```"),
    )
    links = soup.select(".lr-contents a")
    assert [a.get_text() for a in links] == ["ROC curve", "ROC curve", "精度"]
    ids = [element["id"] for element in soup.find_all(id=True)]
    assert len(ids) == len(set(ids))
    assert [a["href"] for a in links] == ["#roc-curve", "#roc-curve-2", "#%E7%B2%BE%E5%BA%A6"]
    assert {"roc-curve", "roc-curve-2", "精度"} <= set(ids)


def test_parameters_table_tells_value_default_and_meaning(page):
    defaults = (
        "batch_size: int = 1  # images per call\n"
        "targets: list = [\n    'a-fp32',\n    'b-fp32',\n]  # what is compared\n"
        "far: float = 1e-3\n"
        "note: str = ''  # free <b>text</b>\n"
    )
    soup = page(
        code(defaults, tags=["parameters"]),
        code(
            "# Parameters\nbatch_size = 16\nfar = 0.001\nextra = None", tags=["injected-parameters"]
        ),
    )
    rows = [
        [cell.get_text() for cell in row.find_all(["th", "td"])]
        for row in soup.select(".lr-parameters tbody tr")
    ]
    assert rows == [
        ["batch_size", "16", "1", "images per call"],
        ["targets", "a-fp32, b-fp32", "same", "what is compared"],
        ["far", "0.001", "same", ""],
        ["note", "''", "same", "free <b>text</b>"],
        ["extra", "None", "same", ""],
    ]
    assert [row.th.get_text() for row in soup.select("tr.lr-changed")] == ["batch_size"]


def test_no_table_without_a_parameters_cell(page):
    assert page(code("batch_size = 1")).select_one(".lr-parameters") is None


def test_code_is_folded_output_is_not(page):
    soup = page(code("a = 1\nb = 2", shown({"text/html": "<p class='lr-note'>seen</p>"})))
    folded = soup.select_one("details.lr-code")
    assert not folded.has_attr("open")
    assert folded.select_one(".highlight").get_text().strip() == "a = 1\nb = 2"
    assert folded.summary.get_text() == "Code2 lines"
    assert soup.find(class_="lr-note").find_parent("details") is None
    assert soup.select_one("input#lr-show-code")["type"] == "checkbox"


def test_streams_are_folded_merged_and_plain(page):
    soup = page(
        code(
            "run()",
            stream("stdout", "1 of 2\r2 of 2\n"),
            stream("stdout", "done <b>\n"),
            stream("stderr", "\x1b[31mwarned\x1b[0m\n"),
        )
    )
    logs = soup.select("details.lr-log")
    assert [log.summary.get_text() for log in logs] == ["Printed text2 lines", "Log1 line"]
    assert [log.pre.get_text() for log in logs] == ["2 of 2\ndone <b>\n", "warned\n"]


def test_endless_text_is_shortened(page):
    page(code("run()", stream("stdout", "beginning " + "x" * 2_000_000 + " end")))
    text = page.path.read_text(encoding="utf-8")
    assert "beginning" in text and "x end" in text and "characters left out" in text
    assert len(text) < 60_000


def test_widgets_give_way_to_their_static_form(page):
    widget = "application/vnd.jupyter.widget-view+json"
    soup = page(
        code("a", shown({widget: {"model_id": "m"}, "text/plain": "VBox(children=())"})),
        code("b", shown({widget: {"model_id": "m"}, "image/svg+xml": SVG, "text/plain": "V()"})),
        code("c", shown({"application/javascript": "alert(1)", "text/plain": "kept"})),
        metadata={"widgets": {"state": {"m": "secret-state"}}},
    )
    text = page.path.read_text(encoding="utf-8")
    assert "VBox" not in text and "model_id" not in text and "alert(1)" not in text
    assert "secret-state" not in text
    assert len(soup.select("figure img")) == 1
    assert soup.select_one(".lr-plain").get_text() == "kept"


@pytest.mark.parametrize("type_", ["image/svg+xml", "image/png", "image/jpeg"])
def test_pictures_keep_alternative_text_and_caption(page, type_):
    data = SVG if type_ == "image/svg+xml" else PNG
    told = {type_: {"alt": f"alt {HOSTILE}", "caption": f"caption {HOSTILE}"}}
    soup = page(code("draw()", shown({type_: data, "text/plain": "<Figure>"}, **told)))
    picture = soup.figure.img
    assert picture["alt"] == f"alt {HOSTILE}"
    assert soup.figcaption.get_text() == f"caption {HOSTILE}"
    head, encoded = picture["src"].split(",")
    assert head == f"data:{type_};base64"
    content = base64.b64decode(encoded)
    assert content == (SVG.encode() if type_ == "image/svg+xml" else base64.b64decode(PNG))


def test_picture_without_words_takes_those_of_its_cell_or_says_so(page):
    soup = page(
        code("a", shown({"image/png": PNG}), alt="from the cell"),
        code("b", shown({"image/png": PNG})),
    )
    assert [img["alt"] for img in soup.find_all("img")] == [
        "from the cell",
        "Picture without a description",
    ]


def test_inline_drawing_keeps_the_case_of_its_names(page):
    drawing = '<figure class="lr-figure"><svg viewBox="0 0 1 1"><clipPath id="c"/></svg></figure>'
    page(code("draw()", shown({"text/html": drawing})))
    assert drawing in page.path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "markdown",
    [
        "![a face]({})",
        '<img src="{}" alt="a face">',
        'words <img src="{}" alt="a face"> words',
        "# ![a face]({})",
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_no_file_is_read_because_a_notebook_names_it(page, tmp_path, markdown, absolute):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"a secret of this machine")
    named = str(secret) if absolute else secret.name
    soup = page(new_markdown_cell(markdown.format(named)), new_markdown_cell("# T"))
    assert soup.find("img")["alt"] == "a face"
    encoded = base64.b64encode(b"a secret of this machine").decode()
    assert encoded not in page.path.read_text(encoding="utf-8")


REACHING = (
    '<meta http-equiv="refresh" content="0;url=http://evil.example/">',
    '<META/http-equiv=refresh content="0;url=http://evil.example/">',
    '<link rel="dns-prefetch" href="//evil.example">',
    '<base href="http://evil.example/">',
    """<iframe srcdoc="<meta http-equiv='refresh' content='0;url=http://evil.example/'>"></iframe>""",
    '<svg><foreignObject><meta http-equiv="refresh" content="0;url=//evil.example"/></svg>',
)


@pytest.mark.parametrize("hostile", REACHING)
@pytest.mark.parametrize("place", ["heading", "markdown", "html", "output", "said"])
def test_nothing_that_a_notebook_shows_leads_the_page_elsewhere(page, hostile, place):
    cells = {
        "heading": new_markdown_cell(f"# A {hostile}\n\n## B {hostile}\n\n## C"),
        "markdown": new_markdown_cell(f"{hostile}\n\nwords {hostile} words"),
        "html": code("1", shown({"text/html": f"<p>{hostile}</p>"})),
        "output": code("1", shown({"text/markdown": hostile})),
        "said": code("1", error(message=hostile, traceback=(hostile,))),
    }
    soup = page(cells[place])
    assert not soup.body.find_all(["meta", "link", "base", "iframe"])
    assert len(soup.head.find_all("meta", {"http-equiv": True})) == 1


@pytest.mark.browser
def test_a_page_stays_where_it_was_opened(page, visit):
    page(*(code("1", shown({"text/html": hostile})) for hostile in REACHING))
    opened = visit(page.path)
    opened.wait_for_load_state("networkidle")
    assert opened.url == page.path.as_uri()
    assert not [heard for heard in visit.heard if "evil" in heard]


@pytest.mark.parametrize(
    "damage",
    [
        lambda notebook: notebook.update(cells=3),
        lambda notebook: notebook["cells"][0].update(source=[1]),
        lambda notebook: notebook["cells"][0]["metadata"].update(tags={"a": 1}),
        lambda notebook: notebook["cells"][1].update(outputs=[{"output_type": "odd"}]),
        lambda notebook: notebook["cells"][1].update(outputs=[3]),
        lambda notebook: notebook.update(nbformat="4"),
    ],
)
def test_what_is_no_notebook_is_refused(tmp_path, damage):
    path = tmp_path / "n.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# T"), code("1")]), path)
    notebook = json.loads(path.read_text())
    damage(notebook)
    path.write_text(json.dumps(notebook))
    with pytest.raises(DataError, match="not a notebook"):
        write_text(tmp_path / "n.html", render(path, title="x"))
    assert not (tmp_path / "n.html").exists()


def test_failed_notebook_says_what_stopped_it(page):
    banner = {"tags": ["papermill-error-cell-tag"]}
    message = "No pairs.\n  where: lfw.bin\n  to do: download it <now>"
    soup = page(
        new_markdown_cell("<span style='color:red'>An Exception</span>", metadata=banner),
        new_markdown_cell("# T\n\n## Read the `pairs`"),
        code("first()"),
        new_markdown_cell("<span>Execution using papermill</span>", metadata=banner),
        code(
            "read()", error("DataError", f"\x1b[31m{message}\x1b[0m", ["\x1b[31mTraceback", "x<y>"])
        ),
        new_markdown_cell("## Later"),
        code("never()"),
    )
    assert "An Exception" not in soup.get_text() and "papermill" not in soup.get_text()
    top, here = soup.select(".lr-banner")
    assert top.find_parent("header") is not None
    for banner in (top, here):
        said = [part.get_text() for part in banner.select(".lr-message")]
        assert said == ["No pairs.", "Where: lfw.bin", "What to do: download it <now>"]
    assert "“Read the pairs”, code cell 2." in top.get_text()
    cell = soup.find(id=top.a["href"].removeprefix("#"))
    assert here in cell.descendants
    assert here.details.pre.get_text() == "Traceback\nx<y>"
    assert not here.details.has_attr("open")
    assert "\x1b" not in soup.get_text()


def test_an_error_without_a_remedy_gets_a_general_next_step(page):
    soup = page(code("1/0", error("ZeroDivisionError", "division by zero")))
    said = [part.get_text() for part in soup.select_one("header .lr-banner").select(".lr-message")]
    assert said == ["division by zero", f"What to do: {words('en')['failed_remedy']}"]


def test_timed_outputs_are_left_out_for_a_link_to_the_page_that_has_them(page):
    cells = (
        code("a()", shown({"text/html": "<p>19.9 images/s</p>"}, lresnet_timed=True)),
        code("b()", shown({"text/html": "<p>128 numbers</p>"})),
    )
    assert "19.9 images/s" in page(*cells).get_text()
    soup = page(*cells, timings="../bs1/6 perf.html")
    assert "19.9" not in page.path.read_text() and "128 numbers" in soup.get_text()
    (link,) = soup.select(".lr-elsewhere a")
    assert link["href"] == "../bs1/6%20perf.html"
    assert link.find_parent(class_="lr-cell")["id"] == "lr-cell-1"


def test_the_folder_that_a_notebook_ran_in_is_not_on_its_page(page):
    default = code('run_dir: str = "outputs/demo"  # folder', tags=["parameters"])
    texts = set()
    for folder in ("outputs/demo", "/home/me/x"):
        injected = code(f"run_dir = {folder!r}", tags=["injected-parameters"])
        soup = page(default, injected)
        texts.add(page.path.read_text())
    assert len(texts) == 1
    row = [cell.get_text() for cell in soup.select(".lr-parameters tbody tr > *")]
    assert row == ["run_dir", "this report's folder", "outputs/demo", "folder"]


def test_no_path_of_a_machine_is_on_a_page(page):
    given = (
        "weights = '/home/ann/nets/w.pth'\nmore = [{'name': 'a', 'source': '/home/ann/a.bin'}]\n"
        "tools = {'replay_folder': '/home/ann/logs'}\noutput = '/head/Gemm'\n"
        "dataset = 'data/lfw.bin'"
    )
    soup = page(
        code("weights: str = 'packaged'", tags=["parameters"]),
        code(given, tags=["injected-parameters"]),
    )
    assert "/home/ann" not in page.path.read_text()
    for kept in ("w.pth", "a.bin", "logs", "/head/Gemm", "data/lfw.bin"):
        assert kept in soup.get_text()


def test_nothing_that_a_browser_obeys_stands_raw_on_a_page(page):
    name = "a\x00\x1b[31m\x9b\u202eb\u2066"
    page(
        new_markdown_cell(f"# {name}"),
        code("1", shown({"image/svg+xml": SVG.replace("<path", f"<text>{name}</text><path")})),
        code("2", shown({"image/png": PNG}, lresnet={"alt": name})),
        code("3", shown({"text/html": f"<table><td>{name}</td></table>"})),
        code("4", stream("stdout", name)),
        title=name,
        links=[Link(name, "a.html", current=True)],
        meta={name: name},
        data={"block": {"name": name}},
    )
    text = page.path.read_text()
    assert text.count("\\u202eb\\u2066") >= 7
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in text if c not in "\t\n")
    (block,) = re.findall(r'id="block"[^>]*>([^<]*)<', text)
    assert json.loads(block) == {"name": name}


def test_headings_leave_no_level_out(page):
    soup = page(new_markdown_cell("# A\n\n### B\n\n## C\n\n#### D\n\n# E"))
    levels = [heading.name for heading in soup.select("h1, h2, h3, h4, h5, h6")]
    assert levels == ["h1", "h2", "h2", "h3", "h2", "h2"]


def test_dead_kernel_is_reported_with_what_the_caller_knows(page):
    dead = code("eat_memory()", papermill={"status": "failed", "exception": True})
    silent = page(dead).select_one(".lr-banner .lr-message").get_text()
    assert silent == words("en")["failed_silently"]
    told = page(dead, failure="The kernel died: 9 GiB of 8 were wanted.")
    assert told.select_one(".lr-message").get_text() == "The kernel died: 9 GiB of 8 were wanted."
    no_cell = page(code("fine()"), failure="It never started.")
    assert [b.select_one(".lr-message").get_text() for b in no_cell.select(".lr-banner")] == [
        "It never started."
    ]


def test_exception_that_is_meant_is_no_failure(page):
    assert page(code("1/0", error(), tags=["raises-exception"])).select_one(".lr-banner") is None


def test_navigation_marks_the_page_and_groups_links(page):
    links = [
        Link("Overview", "../index.html"),
        Link("Export", "export.html", group="batch size 1"),
        Link("Evaluate", "evaluate.html", current=True, group="batch size 1"),
        Link("Odd", "javascript:alert(1)", group=HOSTILE),
        Link("Space", "a b/精.html", group=HOSTILE),
    ]
    soup = page(links=links)
    nav = soup.select_one("nav.lr-pages")
    assert [a["href"] for a in nav.find_all("a")] == [
        "../index.html",
        "export.html",
        "evaluate.html",
        "javascript%3Aalert%281%29",
        "a%20b/%E7%B2%BE.html",
    ]
    assert [a.get_text() for a in nav.find_all("a", {"aria-current": "page"})] == ["Evaluate"]
    assert [g.get_text() for g in nav.select(".lr-group")] == ["batch size 1", HOSTILE]
    assert len(nav.select("ul")) == 3


def test_provenance_lists_the_callers_rows_then_the_notebooks(page):
    soup = page(
        metadata={
            "language_info": {"name": "python", "version": "3.12.1"},
            "papermill": {"version": "2.7.0", "start_time": "2026-01-02T03:04:05"},
        },
        meta={"Run": "demo", "Versions": {"torch": "2.9", "onnx": "1.20"}, "Commit": None, "n": 3},
    )
    rows = {
        row.dt.get_text(): [span.get_text() for span in row.find_all("span")]
        for row in soup.select(".lr-foot dl > div")
    }
    assert list(rows.items()) == [
        ("Run", ["demo"]),
        ("Versions", ["torch 2.9", "onnx 1.20"]),
        ("Commit", ["–"]),
        ("n", ["3"]),
        ("Notebook", ["5_evaluate.ipynb"]),
        ("Python", ["3.12.1"]),
        ("papermill", ["2.7.0"]),
    ]
    assert "2026" not in soup.get_text()


def test_hostile_names_stay_text_everywhere(page):
    soup = page(
        new_markdown_cell("## Section"),
        code(f"name: str = {HOSTILE!r}  # {HOSTILE}", tags=["parameters"]),
        code("f()", stream("stdout", HOSTILE), shown({"text/plain": HOSTILE})),
        code("g()", error("E" + HOSTILE, HOSTILE, [HOSTILE])),
        title=HOSTILE,
        meta={HOSTILE: {HOSTILE: HOSTILE}},
        links=[Link(HOSTILE, HOSTILE, group=HOSTILE)],
    )
    assert not soup.find_all("script") and not soup.find_all("img")
    assert soup.title.string == soup.h1.get_text() == HOSTILE
    assert soup.select_one(".lr-value").get_text() == HOSTILE


def test_markdown_tables_scroll_inside_their_own_frame(page):
    soup = page(new_markdown_cell("| a | b |\n|---|--:|\n| x | 1 |"))
    frame = soup.table.parent
    assert frame["class"] == ["lr-table"]
    assert (frame["role"], frame["tabindex"], frame["aria-label"]) == ("region", "0", "Table")


def test_languages_have_the_same_words_and_unknown_ones_are_refused(page):
    assert words("en").keys() == words("zh").keys()
    soup = page(new_markdown_cell("## 一\n\n## 二"), language="zh")
    assert soup.html["lang"] == "zh"
    assert soup.select_one(".lr-contents p").get_text() == "本页内容"
    with pytest.raises(ParamsError, match="'zn'"):
        page(language="zn")


def test_what_is_not_a_notebook_is_refused_and_leaves_no_page(tmp_path):
    target = tmp_path / "page.html"
    with pytest.raises(DataError, match="does not exist"):
        write_text(target, render(tmp_path / "none.ipynb", title="t"))
    for content in ("no json", "[]", "3", json.dumps({"a": 1}), "\x00"):
        (tmp_path / "bad.ipynb").write_text(content)
        with pytest.raises(DataError, match=r"not a notebook|not JSON"):
            write_text(target, render(tmp_path / "bad.ipynb", title="t"))
    assert not target.exists()


def test_tidy_leaves_the_notebook_it_was_given_alone():
    notebook = new_notebook(cells=[code("a", stream("stdout", "x" * 50_000)), code("")])
    before = nbformat.writes(notebook)
    tidied = executed.tidy(notebook)
    assert nbformat.writes(notebook) == before
    assert len(tidied.cells) == 1
