"""Everything a reader sees is in the catalogue, and nothing else is."""

import ast
import copy
import json
import pickle
import re
import string
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pytest

from lresnet_utils.errors import ParamsError
from lresnet_utils.report.publish.executed import parameters
from lresnet_utils.text import language
from lresnet_utils.text.language import (
    clause,
    clauses,
    message,
    paragraphs,
    part,
    prose,
    speaking,
    spoken,
    tr,
    with_codes,
    with_glossary,
)

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "lresnet_utils"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CATALOGUE = json.loads((PACKAGE / "text/locale/zh.json").read_text(encoding="utf-8"))
# Which arguments of a call are texts that a reader sees.
SHOWN = {"tr": (0,), "translatable": (0,), "message": (0,), "Column": (1, 2), "Words": (0, 1, 2, 3)}
# And of one that is report/show.py's, where a module has it from there.
SHOW = {"say": (0,), "note": (0,), "table": (2,), "properties": (1,)}
# Functions that put a text before the reader as it is.
SHOWING = {
    *("note_html", "table_html", "name_x", "name_y", "write_near", "write_beside", "facts"),
}
SHOWN_BY_NAME = {"Column": ("label", "unit")}
SHOWN_FIELDS = {"title", "reading"}
# What of a record a reader sees, where it is a sentence.
TOLD = {"reason", "remedy", "refused", "interval", "method", "clock", "choice", "note", "basis"}
TELLERS = {"Availability", "Finding", "Gate", "Oddity", "Remark"}
RECORDING = {
    *("stages", "verify", "perf", "tuning", "comparison", "targets", "data", "findings"),
    *("machine", "graph"),
}
ADDED = {"finding", "evidence", "to_do", "item"}


@cache
def modules():
    paths = sorted(PACKAGE.rglob("*.py"))
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def literal(node):
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def called(node):
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


def is_added(node):
    """Say whether a tuple is a sentence that a finding adds where there is something to say."""
    texts = [literal(part) for part in node.elts]
    return len(texts) == 3 and None not in texts and texts[1] in ADDED and " " in texts[2]


def from_show(tree):
    """Return what a module has from report/show.py."""
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    known = [node for node in froms if node.module == "lresnet_utils.report.show"]
    return {alias.name for node in known for alias in node.names}


def shown_in(tree):
    """Yield the message ids of a module: arguments of some calls, titles and readings of charts."""
    shown = SHOWN | {name: SHOW[name] for name in SHOW if name in from_show(tree)}
    for node in ast.walk(tree):
        name = called(node)
        if name in shown:
            yield from (node.args[i] for i in shown[name] if i < len(node.args))
            known = SHOWN_BY_NAME.get(name, ())
            yield from (word.value for word in node.keywords if word.arg in known)
        if isinstance(node, ast.Tuple) and is_added(node):
            yield node.elts[2]
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") in SHOWN_FIELDS:
            yield node.value


@cache
def texts():
    """Return every text that the package, its explorer and its parameters show."""
    stored = [nbformat.read(path, as_version=4) for path in NOTEBOOKS]
    found = {row.meaning for notebook in stored for row in parameters(notebook)}
    for _, tree in modules():
        found |= {literal(node) for node in shown_in(tree)}
    script = (PACKAGE / "report/publish/template/explorer.js").read_text(encoding="utf-8")
    found |= set(re.findall(r'\btr\("([^"]+)"', script))
    return found - {None, ""}


def holes(text):
    """Return a text's placeholders with their forms; one without a format is text with braces."""
    return sorted(hole[1:] for hole in string.Formatter().parse(text) if hole[1] is not None)


def written(tree):
    """Yield every text a module writes."""
    yield from (node.value for node in ast.walk(tree) if literal(node) is not None)


def told_in(tree):
    """Yield the sentences that a module puts into a record: refusals, remedies, intervals."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = [literal(key) if key else None for key in node.keys]
            found = [v for key, v in zip(keys, node.values, strict=True) if key in TOLD]
        elif called(node) in TELLERS:
            found = node.args + [word.value for word in node.keywords]
        elif isinstance(node, ast.Call):
            found = [word.value for word in node.keywords if word.arg in TOLD]
        else:
            continue
        # A choice between texts tells both.
        choices = [[v.body, v.orelse] if isinstance(v, ast.IfExp) else [v] for v in found]
        yield from (text for choice in choices for text in map(written_by, choice) if text)


def written_by(node):
    """Return a text, with ``{}`` where an f-string fills something in, or None."""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            getattr(part, "value", "") if literal(part) else "{}" for part in node.values
        )
    return literal(node)


def test_what_records_tell_has_its_chinese():
    """A sentence with values in it is a message, and no f-string, whose template nobody knows."""
    known = {text.rstrip(".") for text in CATALOGUE["texts"]}
    missing = {
        text
        for path, tree in modules()
        if path.relative_to(PACKAGE).parts[0] in RECORDING
        for text in told_in(tree)
        if re.search("[a-z]{2,} [a-z]{2,}", text) and text.rstrip(".") not in known
    }
    assert sorted(missing) == []


def test_every_text_has_its_chinese_and_every_chinese_its_text():
    assert sorted(texts() - CATALOGUE["texts"].keys()) == []
    # A record's sentences without values are constants anywhere; the guide's stand in its record.
    known = texts() | {text for _, tree in modules() for text in written(tree)}
    for path in (PACKAGE / "perf/recorded").glob("*.json"):
        known |= set(re.findall(r'": "([^"]+)"', path.read_text(encoding="utf-8")))
    known |= {f"{text}." for text in known}
    assert sorted(CATALOGUE["texts"].keys() - known) == []


def test_what_is_shown_is_said_literally():
    """An f-string or a sum in ``tr()`` would be a key that no catalogue can hold."""
    wrong = [
        f"{path.name}:{node.lineno}"
        for path, tree in modules()
        for node in shown_in(tree)
        if isinstance(node, (ast.JoinedStr, ast.BinOp, ast.IfExp))
    ]
    assert wrong == []


def test_nothing_is_shown_that_was_not_put_into_the_readers_language():
    """A literal that goes straight to the page would be English in every language."""
    wrong = [
        f"{path.name}:{node.lineno}"
        for path, tree in modules()
        if {"report", "running"} & set(path.relative_to(PACKAGE).parts)
        for node in ast.walk(tree)
        if called(node) in SHOWING
        for part in node.args + [word.value for word in node.keywords]
        if re.search("[A-Za-z]{3,} ", written_by(part) or "")
    ]
    assert wrong == []


def test_every_paragraph_of_the_notebooks_has_its_chinese():
    found = {
        " ".join(paragraph.split())
        for path in NOTEBOOKS
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
        for paragraph in paragraphs(cell.source)
    }
    assert found == CATALOGUE["notebooks"].keys()


@pytest.mark.parametrize("section", ["texts", "notebooks"])
def test_a_translation_is_chinese(section):
    """Names of curves, of units and of commands are the same in both; a sentence is not."""
    commands = ("pip install", "apt-get install")
    same = [t for t, said in CATALOGUE[section].items() if t == said and not t.startswith(commands)]
    plain = [re.sub(r"\{[^}]*\}", "", text) for text in same]
    assert [text for text in plain if re.search("[A-Za-z]{3,} [a-z]{2,}", text)] == []


def test_a_translation_fills_in_what_the_text_does():
    for text, said in CATALOGUE["texts"].items():
        assert holes(said) == holes(text), text


def test_headings_keep_their_level_and_code_its_name():
    for text, said in CATALOGUE["notebooks"].items():
        assert re.match("#*", text)[0] == re.match("#*", said)[0]
        assert sorted(re.findall("`[^`]+`", text)) == sorted(re.findall("`[^`]+`", said))


def test_the_catalogue_is_sorted_so_that_two_additions_do_not_meet():
    path = PACKAGE / "text/locale/zh.json"
    pairs = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=list)
    for _, section in pairs:
        names = [name for name, _ in section]
        assert names == sorted(set(names)), "sort the keys, each once"


def test_a_block_speaks_its_language_and_then_the_one_before():
    assert (spoken(), tr("Accuracy")) == ("en", "Accuracy")
    with speaking("zh"):
        assert tr("Accuracy") == "准确率"
        with speaking("en"):
            assert tr("Accuracy") == "Accuracy"
        assert spoken() == "zh"
    assert spoken() == "en"
    with pytest.raises(ParamsError, match="did you mean 'zh'"), speaking("zhh"):
        pass


# Errors that begin with a name, which keeps its capital wherever it stands.
NAMES = {"ONNX", "TensorRT", "OpenVINO", "PyTorch", "Chromium", "McNemar's"}


def test_a_sentence_behind_a_colon_is_written_small_and_a_name_is_not():
    said = tr("No accuracy could be judged: {reason}.", reason="There is no pair to evaluate")
    assert said == "No accuracy could be judged: there is no pair to evaluate."
    assert tr("4_infer: A layer: The last.") == "4_infer: a layer: the last."
    assert tr("The stage: TensorRT said no") == "The stage: TensorRT said no"
    assert tr("{a}: {b}", a="Set", b="A, 3 faces") == "Set: A, 3 faces"


def test_every_error_begins_with_a_word_that_is_written_small_behind_a_colon():
    first = set()
    for _, tree in modules():
        for node in ast.walk(tree):
            if (called(node) or "").endswith("Error") and node.args:
                text = node.args[0]
                text = text.values[0] if isinstance(text, ast.JoinedStr) else text
                text = text.args[0] if called(text) == "message" else text
                first |= set((literal(text) or "").split(" ")[:1])
    unknown = (
        {word for word in first if word[:1].isupper()}
        - set(language._FIRST_WORDS.split("|"))
        - NAMES
    )
    assert unknown <= {"False"}, unknown


def test_a_name_and_an_unknown_paragraph_stay_as_they_are():
    with speaking("zh"):
        assert tr("openvino-fp32") == "openvino-fp32"
        assert prose("# Export\n\nNew words.\n") == "# 导出\n\nNew words."
        assert tr("CANN 9.1 said {no}") == "CANN 9.1 said {no}"


def through_json(record):
    return with_codes(json.loads(json.dumps(with_glossary(record))))


def test_a_message_is_its_english_and_takes_its_values_through_json():
    none = message("There are no {kind} pairs.", kind="genuine")
    few = message("{n_pairs} pairs are too few: {found}.", n_pairs=np.int64(3), found=clause(none))
    record = {"rows": [{"refused": few}], "note": clauses("no pairs", none), "n": 3}
    assert few == "3 pairs are too few: There are no genuine pairs."
    assert json.dumps(few) == f'"{few}"'
    for found in (record, through_json(record)):
        assert found == record
        with speaking("zh"):
            assert tr(found["rows"][0]["refused"]) == "3 对太少：没有同人对。"
            assert tr(found["note"]) == "没有图像对；没有同人对。"
    assert part(through_json(record)["rows"][0]["refused"], "n_pairs") == 3
    assert part("as a tool said", "why") == "as a tool said"
    assert through_json({"reason": "no pairs"}) == {"reason": "no pairs"}


@pytest.mark.parametrize(
    "told",
    [
        ["{n:>999999999999}", {"n": 1}],  # no text of ours
        ["There are no {kind} pairs.", {"kind": "impostor"}],  # says something else
        ["There are no {kind} pairs.", {}],
        ["{n:,} labels contradict the {source}.", {"n": "many", "source": "set"}],
        ["There are no {kind} pairs."],
        "There are no genuine pairs.",
        None,
    ],
)
def test_what_a_stranger_says_that_a_sentence_was_made_from_is_not_believed(told):
    text = "There are no genuine pairs."
    record = with_codes({"reason": text, "said": {text: told}})
    assert record == {"reason": text}
    assert type(record["reason"]) is str


def test_a_clause_is_a_message_still():
    none = message("There are no {kind} pairs.", kind="genuine")
    for text in (message("{what}: {why}", what="LFW", why=none), message("{what}", what="a b")):
        found = clause(text)
        assert (found, found.template) == (text.rstrip("."), text.template)
    assert (clause("a."), clause("a"), clause(none)) == ("a", "a", "There are no genuine pairs")


def test_a_message_outlives_pickle_copy_and_an_error():
    text = message("There are no {kind} pairs.", kind="genuine")
    for found in (
        str(text),
        pickle.loads(pickle.dumps(text)),
        copy.deepcopy(text),
        ParamsError(text).what,
    ):
        assert (found, found.template, found.values) == (text, text.template, text.values)
