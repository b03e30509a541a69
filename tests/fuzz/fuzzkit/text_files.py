"""Readers of parameters, recordings and reports."""

from __future__ import annotations

import base64
import json
import math
import zlib
from typing import ClassVar

import cv2
import numpy as np
import yaml

from fuzzkit.subject import Seed, Subject, write
from lresnet_utils.comparison.page_data import PackedPairs, pack
from lresnet_utils.comparison.sources import open_report
from lresnet_utils.machine.disk import read_json
from lresnet_utils.params import load_params
from lresnet_utils.targets.replay import read_recorded
from lresnet_utils.untrusted.yaml import load_yaml
from lresnet_utils.verify.scored_pairs import threshold_of

# --- YAML and parameters -----------------------------------------------------------------------

YAML_TOKENS = (
    b"&a [1]", b"*a", b"<<: *a", b"? ", b"- ", b": ", b"!!python/object/apply:os.system [id]",
    b"!!binary aGk=", b"!!set {a}", b"!!float .inf", b".inf", b".nan", b"0x10", b"1:30", b"~", b"|\n ",
    b">\n ", b"%YAML 1.1\n---\n", b"---\n", b"...\n", b"{a: {b: {c: 1}}}", b"'", b'"\\x00"', b'"\\uD800"',
    b"#", b"yes", b"2001-01-01", b"name: x\n", b"batch_sizes: [0]\n",
)  # fmt: skip


def _yaml_seeds(folder):
    return [
        Seed(b"n: [1, -1e-3]\nb: true\nz: null\n"),
        Seed(b"a:\n  - c\n  - d: 1.5\n# words\n"),
        Seed(b"e: >-\n  long\n  text\nq: 'x'\n"),
    ]


def _yaml_read(data, seed, folder):
    return load_yaml(write(folder, "p.yaml", data))


class _Words(yaml.CSafeLoader):
    """LibYAML with every scalar a word: the structure without any guess at types."""

    yaml_implicit_resolvers: ClassVar[dict] = {}


class _SlowWords(yaml.SafeLoader):
    """The same in Python, which takes a few layouts that LibYAML does not."""

    yaml_implicit_resolvers: ClassVar[dict] = {}


def _yaml_check(data, seed, value):
    """PyYAML finds the same structure and words; JSON, which YAML contains, reads back."""
    _same_words(load_words(data), value)
    again = json.dumps(value, allow_nan=False)
    assert json.loads(again) == value
    again.encode("utf-8")


def _same_words(words, value):
    if isinstance(value, dict):
        assert set(words) == set(value)
        for key in value:
            _same_words(words[key], value[key])
    elif isinstance(value, list):
        assert len(words) == len(value)
        for pair in zip(words, value, strict=True):
            _same_words(*pair)
    elif isinstance(value, bool) or value is None:
        assert words in ("true", "false", "null", "~", "")
        assert words.startswith("t") is (value is True)
    elif isinstance(value, (int, float)):
        assert math.isfinite(value) and type(value)(words) == value
    else:
        assert words == value


def _params_seeds(folder):
    return [
        Seed(b"name: x\nbatch_sizes: [2]\n"),
        Seed(b"name: x\nperf: {seconds: 0.1}\nseed: 7\n"),
        Seed(b"name: x\nmodel:\n  weights: a.pth\nflip: false\n"),
    ]


def _params_read(data, seed, folder):
    return load_params(write(folder, "p.yaml", data))


def _params_check(data, seed, value):
    """Every value of the file stands in the parameters, and these read back the same."""
    _within(load_words(data), value.model_dump())
    assert type(value).model_validate(value.model_dump()) == value
    value.model_dump_json()


def load_words(data):
    text = data.decode("utf-8")
    try:
        return yaml.load(text, Loader=_Words)
    except yaml.YAMLError:
        return yaml.load(text, Loader=_SlowWords)


def _within(words, value):
    for key, word in words.items():
        if isinstance(word, dict):
            _within(word, value[key])
        elif isinstance(word, list):
            # Some lists are sorted once they are checked.
            assert len(word) == len(value[key])
            for one in word:
                assert any(_means(one, found) for found in value[key]), (one, value[key])
        else:
            assert _means(word, value[key]), (key, word, value[key])


def _means(word, value):
    if isinstance(value, bool):
        return word == str(value).lower()
    if value is None:
        return word in ("null", "~", "")
    return type(value)(word) == value


def _recorded_seeds(folder):
    return [
        Seed(b"device: a\ntool: b\ndate: '2022-03-18'\nsource: c\nprecision: d\n"),
        Seed(b"{device: a, tool: b, date: 2022-03-18, source: c, precision: d, note: e}\n"),
    ]


def _recorded_read(data, seed, folder):
    write(folder, "recorded.yaml", data)
    return read_recorded(folder)


def _recorded_check(data, seed, value):
    _within(load_words(data), value.model_dump())


# --- reports -----------------------------------------------------------------------------------

N_PAIRS = 4
REPORT_TOKENS = (
    b'"cells":', b'"status":"ok"', b'"accuracy":null', b'"batch_size":16', b'"n_pairs":99999999999',
    b'</script>', b'<script type="application/json" id="lr-pairs">', b"null", b"[]", b"{}", b"1e999",
    b'"schema":2', b'"errors":-1', b'"folds":[]', b"AAAA", b"eJw=", b'"\\u003c"', b'"name":"<img src=x>"',
    base64.b64encode(zlib.compress(b"\0" * 10**6, 9)),
)  # fmt: skip


def _results():
    cell = {
        "batch_size": 16, "target": "torch-fp32", "status": "ok", "reason": None,
        "accuracy": {"value": 0.75, "low": 0.2, "high": 1.0, "errors": 1, "n": N_PAIRS},
        "threshold": {"value": 1.2, "folds": [1.2, 1.25]},
        "tar_at_far": [{"far": 0.1}],
        "throughput_ips": {"value": 50.0, "low": 40.0, "high": 60.0, "n": 5, "interval": "t"},
    }  # fmt: skip
    lost = {"batch_size": 16, "target": "openvino-int8", "status": "failed", "reason": "why"}
    made = {"started": "2026-01-02", "commit": "0" * 40, "machine": {"cpu": "a", "cores": 2}}
    return {
        "schema": 1,
        "run": {"name": "demo", "params": {"model": {"weights": "a.pth"}}, "provenance": made},
        "dataset": {"name": "toy", "pairs_sha256": "ab" * 32},
        "cells": [cell, lost],
    }


def _pairs():
    face = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    row = np.array([0.5, 1.5, 0.25, np.nan])
    labels = np.array([True, False, True, False])
    sides = np.arange(N_PAIRS, dtype=np.int32), np.arange(1, N_PAIRS + 1, dtype=np.int32)
    return PackedPairs("ab" * 32, *sides, labels, {"16/torch-fp32": row}, {0: face})


def _page(results, pairs):
    blocks = {"lr-results": results, "lr-pairs": pairs}
    scripts = "".join(
        f'<script type="application/json" id="{name}">'
        + json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
        + "</script>\n"
        for name, value in blocks.items()
    )
    return f"<!DOCTYPE html>\n<html><body><h1>demo</h1>\n{scripts}</body></html>\n".encode()


def _report_seeds(folder):
    bare = _results()
    bare["cells"][0]["accuracy"] = None
    return [
        Seed(_page(_results(), pack(_pairs())), "index.html"),
        Seed(json.dumps(bare).encode(), "results.json"),
    ]


def _report_read(data, seed, folder):
    report = open_report(write(folder, seed.about, data))
    cells = report.cells()
    scored = {name for name, cell in cells.items() if cell.get("accuracy")}
    return report, {name: report.distances(cells[name]) for name in scored}, report.picture(0)


def _report_check(data, seed, value):
    report, distances, _ = value
    json.dumps(report.results, allow_nan=False).encode("utf-8")
    assert isinstance(report.name, str)
    if len(report.same):
        # Deflated rows have a checksum, so what is accepted is what was packed.
        whole = _pairs()
        for name in ("left", "right", "same"):
            assert np.array_equal(getattr(report, name), getattr(whole, name)), name
        for row in distances.values():
            assert np.array_equal(row, whole.distances["16/torch-fp32"], equal_nan=True)
    for cell in report.cells().values():
        found = json.dumps(cell["target"])[1:-1]
        assert found.encode() in data or b"\\u" in data


def _json_seeds(folder):
    return [
        Seed(json.dumps(_results(), indent=1).encode()),
        Seed(b'["\\ud83d\\ude00", 1e-5, -0.5]'),
    ]


def _json_read(data, seed, folder):
    return read_json(write(folder, "any.json", data))


def _json_check(data, seed, value):
    """Python's own parser finds the same, also when it keeps every name."""
    assert json.loads(data) == value
    assert json.loads(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()) == value
    pairs = json.loads(data, object_pairs_hook=lambda items: ("object", items))
    _no_name_twice(pairs)


def _no_name_twice(value):
    if isinstance(value, tuple):
        names = [name for name, _ in value[1]]
        assert len(set(names)) == len(names)
        value = [inner for _, inner in value[1]]
    if isinstance(value, list):
        for inner in value:
            _no_name_twice(inner)


def _threshold_seeds(folder):
    return [Seed(json.dumps(_results()).encode())]


def _threshold_read(data, seed, folder):
    find = threshold_of(write(folder, "results.json", data), "results.json")
    return find("torch-fp32", 16)


def _threshold_check(data, seed, value):
    cells = json.loads(data)["cells"]
    assert value in [c["threshold"]["value"] for c in cells if c.get("threshold")]
    assert math.isfinite(value)


SUBJECTS = {
    "yaml": Subject(_yaml_seeds, _yaml_read, _yaml_check, YAML_TOKENS),
    "params": Subject(_params_seeds, _params_read, _params_check, YAML_TOKENS),
    "recorded": Subject(_recorded_seeds, _recorded_read, _recorded_check, YAML_TOKENS),
    "json": Subject(_json_seeds, _json_read, _json_check, REPORT_TOKENS),
    "threshold": Subject(_threshold_seeds, _threshold_read, _threshold_check, REPORT_TOKENS),
    "report": Subject(_report_seeds, _report_read, _report_check, REPORT_TOKENS),
}  # fmt: skip
