"""Tasks end well, or with three lines: on workers that share our files and on others."""

import hashlib
import os
import sys
import time
import tracemalloc
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import urlopen

import distributed
import pytest

from lresnet_utils.cluster import dask_engine
from lresnet_utils.cluster.dask_engine import DaskEngine
from lresnet_utils.cluster.engine import Here, Part, Task, open_engine, spread
from lresnet_utils.errors import DataError, LResNetError, ParamsError, RunError
from lresnet_utils.machine.disk import sha256_file


@pytest.fixture(autouse=True)
def _known_to_workers(by_value):
    by_value(sys.modules[__name__])


def join(place, name):
    """Write all parts one after the other."""
    path = place.folder / "made" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(place.parts[key].read() for key in sorted(place.parts)))
    return path.stat().st_size


def refuse(place, value):
    raise DataError("Not this one.", where="here", fix="another")


def lost(place, value):
    # What the scheduler makes of a task whose workers died, without the time that takes.
    raise distributed.KilledWorker("task", SimpleNamespace(address="tcp://127.0.0.1:1"), 3)


def sleep(place, seconds):
    time.sleep(seconds)


def where(place, value):
    return distributed.get_worker().address


def pid(place, value):
    return os.getpid(), place.laid_out().joinpath("a/b.txt").read_text()


@pytest.mark.parametrize("files", ["here", "shared", "sent"])
def test_parts_arrive_whole_and_files_come_back(engines, monkeypatch, tmp_path, files):
    monkeypatch.setattr(dask_engine, "PIECE_BYTES", 1000)
    (tmp_path / "in").write_bytes(os.urandom(5000))
    (tmp_path / "empty").touch()
    whole = Part.whole(tmp_path / "in", keep=True)
    parts = {"1": whole, "2": Part(tmp_path / "in", 77, 1001), "3": Part.whole(tmp_path / "empty")}
    engine = Here() if files == "here" else engines(2, files)
    tasks = [Task(join, f"{i}", tmp_path / "out", parts) for i in range(5)]
    assert list(spread(engine, tasks)) == [6001] * 5
    data = (tmp_path / "in").read_bytes()
    for i in range(5):
        assert (tmp_path / "out" / "made" / f"{i}").read_bytes() == data + data[77:1078]
    assert len(list((tmp_path / "out").rglob("*"))) == 6


def test_parts_are_hashed_block_by_block_once_and_not_at_all_where_it_is_known(engines, tmp_path):
    engine = engines(2, "sent")
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.write(b"x" * 7)
        file.truncate(100 << 20)
    digest = sha256_file(path)
    whole, piece = Part.whole(path, keep=True), Part(path, 3, 10)
    tracemalloc.start()
    wanted, sources = engine.wanted({"a": whole, "b": piece}, "call")
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()
    assert wanted[0].file == digest and sources[digest] == whole
    assert wanted[1].file == hashlib.sha256(b"xxxx" + bytes(6)).hexdigest() + "-call"
    path.unlink()
    # Whatever reads the file now fails.
    assert engine.wanted({"a": whole}, "other")[0][0].file == digest
    recorded = Part(tmp_path / "elsewhere.onnx", 0, 5, keep=True, sha256="ab" * 32)
    assert engine.wanted({"a": recorded}, "call")[0][0].file == "ab" * 32 + ".onnx"


def test_a_recorded_hash_that_is_none_names_no_file(engines, tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    part = Part.whole(tmp_path / "a", keep=True, sha256="../../../a")
    assert engines(2, "sent").wanted({"a": part}, "call")[0][0].file == part.digest()


def test_laid_out_parts_have_their_names_at_home_and_elsewhere(engines, tmp_path):
    path = tmp_path / "a" / "b.txt"
    path.parent.mkdir()
    path.write_text("content")
    task = Task(pid, None, tmp_path, {"a/b.txt": Part.whole(path)})
    for files in ("shared", "sent"):
        number, content = engines(2, files).call(task)
        assert content == "content" and number != os.getpid()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b.txt"]


@pytest.mark.parametrize("name", ["../outside", "/{}/outside", "made/../../outside"])
def test_no_file_of_a_worker_leads_out_of_the_tasks_folder(engines, tmp_path, monkeypatch, name):
    engine, data = engines(2, "sent"), b"data"
    files = {name.format(tmp_path): (len(data), hashlib.sha256(data).hexdigest())}
    made = dask_engine.Made("tcp://127.0.0.1:1", "/", files, None)
    monkeypatch.setattr(engine, "_wait", lambda *_: made)
    monkeypatch.setattr(engine, "_on", lambda *_: [data])
    (tmp_path / "own").mkdir()
    with pytest.raises(DataError, match="leads out of the folder") as raised:
        engine.call(Task(sleep, 0, tmp_path / "own"))
    assert len(str(raised.value).splitlines()) == 3
    assert [path.name for path in tmp_path.rglob("*")] == ["own"]


@pytest.mark.parametrize("handed", [b"", b"x" * 100])
def test_a_worker_that_hands_over_another_size_than_it_said_is_given_up(
    engines, tmp_path, monkeypatch, handed
):
    engine = engines(2, "sent")
    # Of a petabyte of nothing only the first piece of each attempt is asked for.
    made = dask_engine.Made("tcp://127.0.0.1:1", "/", {"large": (10**15, "0" * 64)}, None)
    asked = []
    monkeypatch.setattr(engine, "_wait", lambda *_: made)
    monkeypatch.setattr(engine, "_on", lambda *_: asked.append(1) or [handed])
    with pytest.raises(RunError, match="given up"):
        engine.call(Task(sleep, 0, tmp_path))
    assert len(asked) == dask_engine._MOST_ATTEMPTS
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_none_is_refused(engines, tmp_path, monkeypatch):
    engine = engines(2, "sent")
    monkeypatch.setattr(engine, "_wait", lambda *_: {"worker": 1})
    with pytest.raises(RunError, match="no answer: dict") as raised:
        engine.call(Task(sleep, 0, tmp_path))
    assert len(str(raised.value).splitlines()) == 3


def test_workers_that_cannot_start_are_told_in_three_lines(monkeypatch):
    def fail(**_):
        try:
            raise OSError(30, "Read-only file system")
        except OSError as error:
            raise RuntimeError("Nanny failed to start.") from error

    monkeypatch.setattr(distributed, "LocalCluster", fail)
    with pytest.raises(RunError, match="Read-only file system") as raised, open_engine(workers=1):
        pass
    assert len(str(raised.value).splitlines()) == 3


def test_an_error_of_a_task_keeps_its_three_lines(engines, tmp_path):
    with pytest.raises(DataError) as raised:
        engines(2, "sent").call(Task(refuse, None, tmp_path))
    assert str(raised.value) == "Not this one.\n  where: here\n  to do: another"


def test_a_task_that_ends_every_worker_is_given_up(engines, tmp_path):
    with pytest.raises(RunError, match="given up: 4 workers that tried it died"):
        engines(2, "shared").call(Task(lost, None, tmp_path))


def test_what_is_under_way_can_be_given_up(engines, tmp_path):
    engine = engines(2, "shared")
    tasks = [Task(sleep, 2, tmp_path), Task(refuse, None, tmp_path)] * 2
    with pytest.raises(DataError):
        list(spread(engine, tasks))
    with pytest.raises(RunError, match="given up"):
        engine.call(Task(sleep, 0, tmp_path))


def test_resources_choose_the_worker_where_some_worker_has_them(tmp_path):
    device = {"cls": distributed.Worker, "options": {"resources": {"tensorrt": 1}, "nthreads": 1}}
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": "127.0.0.1:0"}}
    plain = {"cls": distributed.Worker, "options": {"nthreads": 1}}
    with (
        distributed.SpecCluster({"plain": plain, "able": device}, scheduler) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        engine = DaskEngine(client, shared=True)
        assert engine.offered({"tensorrt": 1, "ascend": 1}) is None
        able = cluster.workers["able"].address
        wanted = {"tensorrt": 1}
        assert {engine.call(Task(where, None, tmp_path, resources=wanted)) for _ in range(4)} == {
            able
        }
        assert engine.call(Task(where, None, tmp_path, resources={"ascend": 1}))


def test_work_is_given_up_when_no_worker_is_left(monkeypatch):
    class Scheduler:
        address = "tls://127.0.0.1:1"

    class Client:
        scheduler = Scheduler()
        threads = 2

        def scheduler_info(self, n_workers):
            return {"total_threads": self.threads}

    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(dask_engine, "time", clock)
    engine, client = DaskEngine(Client(), shared=True), Client
    clock.now += 1000
    engine._require_workers()
    client.threads = 0
    clock.now += dask_engine._ALONE_S
    engine._require_workers()
    clock.now += dask_engine._ASK_S
    with pytest.raises(RunError, match="No worker is left"):
        engine._require_workers()


def test_another_version_at_a_worker_is_refused(engines, tmp_path, monkeypatch):
    engine = engines(2, "shared")
    monkeypatch.setattr(engine, "_code", "0" * 16)
    with pytest.raises(RunError, match="another version"):
        engine.call(Task(sleep, 0, tmp_path))


def test_what_cannot_be_opened_is_told(monkeypatch):
    for asked, said in (
        ({"workers": 1, "scheduler": "tcp://127.0.0.1:1"}, "either started here or found"),
        ({"files": "shard"}, "did you mean 'shared'"),
    ):
        with pytest.raises(ParamsError, match=said), open_engine(**asked):
            pass
    monkeypatch.setattr("lresnet_utils.cluster.engine.importlib.util.find_spec", lambda name: None)
    with pytest.raises(LResNetError) as raised, open_engine(workers=1):
        pass
    assert len(str(raised.value).splitlines()) == 3
    assert "pip install 'lresnet-utils[cluster]'" in str(raised.value)


def test_nothing_is_started_without_workers():
    with open_engine() as engine:
        assert isinstance(engine, Here)


def test_what_dask_opens_for_http_serves_nothing(engines):
    client = engines(2, "shared")._client
    info = client.scheduler_info(n_workers=-1)
    ports = [info["services"]["dashboard"]]
    ports += [worker["services"]["dashboard"] for worker in info["workers"].values()]
    assert len(ports) >= 3
    for port in ports:
        for page in (
            "",
            "status",
            "health",
            "metrics",
            "info/main/workers.html",
            "json/counts.json",
        ):
            with pytest.raises(HTTPError, match="404"):
                urlopen(f"http://127.0.0.1:{port}/{page}")
