"""The chain on the pages: whole where it may be, and nothing that two runs give differently."""

import pytest
from bs4 import BeautifulSoup

from lresnet_utils.ledger.custody import given, made
from lresnet_utils.report.pages import evaluate, perf, summary
from lresnet_utils.report.show import collected, files
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import Evaluation
from lresnet_utils.stages.summary import Results

BUILD = "bs4/models/fast/fast.blob"


def shown(part, *arguments):
    with collected() as html:
        part(*arguments)
    return BeautifulSoup("".join(html), "html.parser")


@pytest.fixture
def run(tmp_path):
    """A run with a checkpoint, a build that differs each time, and scores made with it."""
    run = RunFolder(tmp_path / "r")
    build, scores = run.folder / BUILD, run.scores(4, "fast", "aligned")
    for path, content in ((run.network, b"w"), (build, b"b"), (scores, b"s")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    checkpoint = given("packaged (checkpoint)", "ab" * 32)
    network = made(run, run.network, [checkpoint["file"]])
    built = made(run, build, [run.network], options={"streams": 2}, repeatable=False)
    run.write_record("1_export", 4, {"custody": [checkpoint, network]})
    entry = {"status": "ok", "artefact": {}, "custody": [built]}
    run.write_record("2_compile", 4, {"batch_size": 4, "targets": {"fast": entry}})
    entry = {"status": "ok", "accuracy": {}, "custody": [made(run, scores, [build])]}
    run.write_record("5_evaluate", 4, {"batch_size": 4, "targets": {"fast": entry}})
    return run


def test_the_chain_of_a_target_leads_from_the_checkpoint_to_its_scores(run):
    soup = shown(evaluate.chains, Evaluation(run.record("5_evaluate", 4), None, {}), run)
    names = [item.strong.get_text() for item in soup.select(".lr-chain li")]
    assert names == ["packaged (checkpoint)", "network.pt", BUILD, "bs4/scores/fast.aligned.npz"]
    hashes = [item.code.get_text() for item in soup.select(".lr-chain li")]
    assert hashes[0] == "ab" * 32
    assert hashes[2].startswith("other bytes at every build")
    text = soup.select(".lr-chain li")[2].small.get_text()
    assert "from network.pt" in text and "lresnet_utils" in text and "streams 2" in text


def test_a_build_that_differs_each_time_shows_its_hash_where_times_are_shown(run):
    record = run.record("2_compile", 4)
    digest = record["targets"]["fast"]["custody"][0]["sha256"]
    assert digest not in str(shown(files, record))
    assert digest in str(shown(perf.search, run, 4))


@pytest.mark.parametrize("busy", [True, False])
def test_a_busy_machine_is_warned_of_and_a_quiet_one_described(busy):
    load = {"seconds": 10.0, "cores": 2, "own_cores": 1.8, "other_cores": 0.15}
    load |= {"stolen_cores": 0.0, "busy": busy}
    results = Results({}, [], {}, timing=[{"batch_size": 4, "load": load}])
    soup = shown(summary.machine, results)
    assert bool(soup.select(".lr-note-warning")) is busy
    assert "kept 1.80 busy, other processes 0.15, and a host withheld 0.00" in soup.get_text()


def test_a_share_that_is_not_known_says_why():
    load = {"seconds": 0.2, "refused": "timed for 0.2 s, too short"}
    soup = shown(summary.machine, Results({}, [], {}, timing=[{"batch_size": 1, "load": load}]))
    assert "not known: timed for 0.2 s, too short." in soup.get_text()


def test_the_index_names_what_was_given_and_counts_the_rest(run):
    links = [given("a.pth (checkpoint)", "cd" * 32), made(run, run.network, ["a.pth (checkpoint)"])]
    soup = shown(summary.custody, Results({}, [], {}, custody=links))
    assert [item.strong.get_text() for item in soup.select("li")] == ["a.pth (checkpoint)"]
    assert "options of 2 files" in soup.get_text()
