"""The chain of custody against files made here: hashes, order, and what was changed since."""

import hashlib

import pytest

from lresnet_utils.ledger.custody import (
    broken,
    chain,
    files_of,
    gather,
    given,
    made,
    name_of,
    recorded,
    stated,
)
from lresnet_utils.ledger.hashes import Hashes
from lresnet_utils.machine.disk import write_json
from lresnet_utils.run import RunFolder


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "r")
    run.onnx(4).parent.mkdir(parents=True)
    run.network.write_bytes(b"weights")
    run.onnx(4).write_bytes(b"graph")
    return run


@pytest.fixture
def links(run):
    return [
        given("packaged", "00" * 32, architecture="sface"),
        made(run, run.network, ["packaged"], tools=("numpy",)),
        made(run, run.onnx(4), [run.network], tools={"torch": "2.9"}, options={"opset": 18}),
    ]


def test_a_link_names_file_hash_source_tools_and_options(run, links):
    graph = links[2]
    assert graph["file"] == "bs4/models/model.onnx"
    assert graph["sha256"] == hashlib.sha256(b"graph").hexdigest()
    assert (graph["bytes"], graph["made_from"]) == (5, ["network.pt"])
    assert graph["tools"]["torch"] == "2.9" and graph["tools"]["lresnet_utils"]
    assert graph["options"] == {"opset": 18}
    assert links[0] == {
        "file": "packaged",
        "sha256": "00" * 32,
        "bytes": None,
        "repeatable": True,
        "made_from": [],
        "tools": {},
        "options": {"architecture": "sface"},
    }


def test_links_do_not_tell_where_the_folder_lies(run, links, tmp_path):
    moved = RunFolder(tmp_path / "elsewhere" / "s")
    moved.onnx(4).parent.mkdir(parents=True)
    moved.network.write_bytes(b"weights")
    moved.onnx(4).write_bytes(b"graph")
    again = made(
        moved, moved.onnx(4), [moved.network], tools={"torch": "2.9"}, options={"opset": 18}
    )
    assert again == links[2]
    assert name_of(run, tmp_path / "lfw.bin") == "lfw.bin"


def test_gathered_in_the_order_of_making_with_shared_files_once(run, links):
    run.write_record("1_export", 4, {"custody": links})
    run.write_record("1_export", 16, {"custody": links[:2]})
    run.write_record("3_preprocess", None, {"custody": [given("faces", "11" * 32)]})
    build = made(run, run.onnx(4), [run.network])
    run.write_record("2_compile", 4, {"targets": {"a": {"custody": [build]}, "b": {}}})
    assert recorded(run.record("2_compile", 4)) == [build]
    names = [link["file"] for link in gather(run, [4, 16])]
    assert names == ["faces", "packaged", "network.pt", "bs4/models/model.onnx"]
    assert gather(run, [16])[1:] == links[:2]


def test_a_chain_leads_from_what_was_given_to_the_file(links):
    assert chain(reversed(links), "bs4/models/model.onnx") == links
    assert chain(links, "network.pt") == links[:2]
    assert chain(links, "unknown") == []


def test_changed_missing_and_unstated_files_are_named(run, links):
    run.write_record("1_export", 4, {"custody": links})
    write_json(run.results, {"files": {"network.pt": links[1]["sha256"]}})
    write_json(run.inventory, {"files": Hashes().all(files_of(run, [4]), run.folder)})
    assert not any(broken(run, [4]).values())
    run.onnx(4).write_bytes(b"grape")
    run.network.unlink()
    (run.batch(4) / "models" / "late.onnx").write_bytes(b"late")
    # Not of this run: another batch size, a set embedded later, a page, what is hidden.
    for name in ("bs16/x", "sets/a/x", "x.html", ".x", "bs4/.x/y", "report.pdf", "run.lock"):
        (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run.folder / name).write_bytes(b"x")
    assert {name: why for name, why in broken(run, [4]).items() if why} == {
        "network.pt": "the file is missing",
        "bs4/models/model.onnx": "the file is not the one whose SHA-256 is in resume/run.json",
        "bs4/models/late.onnx": "resume/run.json does not state its SHA-256",
    }


@pytest.mark.parametrize(
    "record",
    [
        [],
        {"files": []},
        {"files": {"../x": "0" * 64}},
        {"files": {"/etc/passwd": "0" * 64}},
        {"files": {"x": "0" * 63}},
        {"files": {"x": 3}},
        {"files": {"x": {"bytes": 3}}},
        {"custody": [{"file": "../x", "sha256": "0" * 64, "bytes": 3}]},
        {"custody": [{"file": 3, "sha256": "0" * 64, "bytes": 3}]},
        {"custody": 3},
        {"targets": {"a": []}},
        {"targets": []},
    ],
)
def test_what_no_run_says_of_its_files_is_refused(record):
    with pytest.raises(ValueError, match=r"no file of this folder|not what a run writes"):
        stated(record)
