"""Downloads from a server on this machine: resumed, checked, and refused with what to do."""

import hashlib
import io
import json
import os
import resource
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lresnet_utils.data.fetch import download, fetch, unpack
from lresnet_utils.data.known_sets import KnownFile, KnownSource, find_source, known_sources
from lresnet_utils.errors import DataError, ParamsError, StorageError
from lresnet_utils.machine.disk import read_json

CONTENT = bytes(range(256)) * 40
SHA = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves one file with ETag and Range, in ways that a test sets on the server."""

    def do_GET(self):
        server = self.server
        server.asked.append({k: self.headers.get(k) for k in ("Range", "If-Range")})
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", server.away)
            return self.end_headers()
        if self.path != "/file":
            return self.send_error(404)
        start = self._start()
        if start >= len(CONTENT):
            return self.send_error(416)
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(body[: server.cut])
        server.cut = None

    def _start(self):
        given, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if given is None or condition not in (None, self.server.tag):
            return 0
        return int(given.removeprefix("bytes=").rstrip("-"))

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """A proxy would answer in the place of the server here, and of hosts that do not exist."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.tag, server.cut, server.away = [], '"one"', None, ""
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def interrupted(server, target):
    server.cut = 3000
    with pytest.raises(DataError, match="stopped after 3,000 of 10,240 bytes"):
        download(f"{server.address}/file", target)
    assert not target.exists()


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    target = tmp_path / "new" / "file"
    interrupted(server, target)
    seen = []
    download(f"{server.address}/file", target, sha256=SHA, progress=lambda *s: seen.append(s))
    assert server.asked[1] == {"Range": "bytes=3000-", "If-Range": '"one"'}
    assert target.read_bytes() == CONTENT and seen[-1] == (10240, 10240)
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_a_file_that_changed_meanwhile_is_taken_from_the_start(server, tmp_path):
    interrupted(server, tmp_path / "file")
    server.tag = '"two"'
    download(f"{server.address}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_taken_again(server, tmp_path):
    interrupted(server, tmp_path / "file")
    (tmp_path / "file.part").write_bytes(CONTENT)
    download(f"{server.address}/file", tmp_path / "file", sha256=SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["file", "file.part", "file.part.json"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "link to nothing"])
def test_what_lies_where_a_download_goes_is_neither_followed_nor_replaced(
    server, tmp_path, name, kind
):
    (tmp_path / "mine").write_text("precious")
    to = tmp_path / "to"
    to.mkdir()
    make = {
        "folder": (to / name).mkdir,
        "pipe": lambda: os.mkfifo(to / name),
        "link": lambda: (to / name).symlink_to("../mine"),
        "link to nothing": lambda: (to / name).symlink_to("../nothing"),
    }
    make[kind]()
    before = (to / name).lstat()
    with pytest.raises(DataError, match="where the download goes"):
        download(f"{server.address}/file", to / "file", sha256=SHA)
    assert os.path.samestat((to / name).lstat(), before) and server.asked == []
    assert (tmp_path / "mine").read_text() == "precious"
    assert len(list(to.iterdir())) == 1 and not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    "note", ["", "[]", '{"url": ', "\\ud800", "{}", '{"url": [], "validator": 1}']
)
def test_a_damaged_note_of_a_part_is_as_none(server, tmp_path, note):
    (tmp_path / "file.part").write_bytes(b"x" * 100)
    (tmp_path / "file.part.json").write_text(note)
    download(f"{server.address}/file", tmp_path / "file", sha256=SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT and server.asked[-1]["Range"] is None


@pytest.mark.parametrize("validator", [{}, 1, "", "a\nHost: b", "人", "\x7f"])
def test_a_damaged_validator_is_as_none(server, tmp_path, validator):
    interrupted(server, tmp_path / "file")
    note = read_json(tmp_path / "file.part.json") | {"validator": validator}
    (tmp_path / "file.part.json").write_text(json.dumps(note))
    download(f"{server.address}/file", tmp_path / "file", sha256=SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked[-1] == {"Range": "bytes=3000-", "If-Range": None}


@pytest.mark.parametrize("record", [b"", b"\xff", b"abc  lfw.bin\n", b"0" * 100])
def test_a_damaged_record_of_a_hash_is_told(tmp_path, record):
    source = KnownSource("a", "A", "here", "free", "", (KnownFile("f.bin", url=None, page="p"),))
    (tmp_path / "f.bin").write_bytes(b"1")
    (tmp_path / "f.bin.sha256").write_bytes(record)
    with pytest.raises(DataError, match="no SHA-256") as told:
        list(fetch(source, tmp_path))
    assert len(str(told.value).splitlines()) == 3


def test_a_full_disk_is_called_that_and_the_part_is_kept(server, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(StorageError, match="Cannot write here"):
            download(f"{server.address}/file", tmp_path / "file", sha256=SHA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    download(f"{server.address}/file", tmp_path / "file", sha256=SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_without_a_validator_or_a_hash_nothing_is_trusted(server, tmp_path):
    server.tag = 'W/"weak"'
    interrupted(server, tmp_path / "file")
    download(f"{server.address}/file", tmp_path / "file")
    assert server.asked[1]["Range"] is None


def test_another_content_is_not_kept(server, tmp_path):
    with pytest.raises(DataError, match=f"SHA-256 {SHA[:16]}.*not 0000"):
        download(f"{server.address}/file", tmp_path / "file", sha256="0" * 64)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("{server}/gone", "answers 404"),
        ("http://nowhere.invalid/file", "Only https"),
        ("file:///etc/passwd", "Only https"),
        ("https://nowhere.invalid/file", "no connection"),
        ("http://127.0.0.1:1/file", "no connection"),
    ],
)
def test_what_cannot_be_had_says_what_to_do(server, tmp_path, address, message):
    with pytest.raises(DataError, match=message) as caught:
        download(address.format(server=server.address), tmp_path / "file")
    assert len(str(caught.value).splitlines()) == 3
    if "Only" not in message:
        assert "in a browser" in caught.value.fix and str(tmp_path / "file") in caught.value.fix


def test_a_redirect_may_not_lead_to_an_unsafe_address(server, tmp_path):
    server.away = "http://nowhere.invalid/file"
    with pytest.raises(DataError, match="Only https"):
        download(f"{server.address}/away", tmp_path / "file")
    server.away = f"{server.address}/file"
    download(f"{server.address}/away", tmp_path / "file", sha256=SHA)


def source_of(*files):
    return KnownSource("x", "some files", "free", "a test", "data", files)


def test_an_unpublished_hash_is_recorded_and_kept_to(server, tmp_path):
    source = source_of(KnownFile("file", url=f"{server.address}/file"))
    (first,) = fetch(source, tmp_path)
    assert "recorded in file.sha256" in first.how and first.sha256 == SHA
    assert (tmp_path / "data" / "file.sha256").read_text() == f"{SHA}  file\n"
    (again,) = fetch(source, tmp_path)
    assert again.how == "already there; SHA-256 as recorded at first" and len(server.asked) == 1
    first.path.write_bytes(b"other")
    with pytest.raises(DataError, match="not the expected one"):
        list(fetch(source, tmp_path))


def test_a_file_behind_a_page_is_checked_once_it_is_there(tmp_path):
    source = source_of(KnownFile("file", page="https://example.org/page", sha256=SHA))
    with pytest.raises(DataError, match="needs a browser") as caught:
        list(fetch(source, tmp_path))
    assert caught.value.where == "https://example.org/page"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_bytes(CONTENT)
    assert [f.how for f in fetch(source, tmp_path)] == ["already there; SHA-256 as published"]


def archive(path, **files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_an_archive_is_unpacked_once_beside_itself(tmp_path):
    path = archive(tmp_path / "a.tgz", **{"lfw/Ann/1.jpg": b"one"})
    unpack(path)
    assert (tmp_path / "lfw" / "Ann" / "1.jpg").read_bytes() == b"one"
    unpack(path)
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_an_archive_replaces_nothing_that_is_there(tmp_path):
    path = archive(tmp_path / "faces.tgz", a=b"new", b=b"new")
    (tmp_path / "b").write_text("mine")
    with pytest.raises(DataError, match="b is there already"):
        unpack(path)
    assert (tmp_path / "b").read_text() == "mine" and not (tmp_path / "a").exists()


def test_an_archive_cannot_leave_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack(archive(tmp_path / "in" / "a.tgz", **{"../out": b"x"}))
    unpack(archive(tmp_path / "in" / "b.tgz", **{"/abs/out": b"x"}))
    assert (tmp_path / "in" / "abs" / "out").is_file(), "the leading slash is dropped"
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]


def test_known_sources_are_whole():
    for source in known_sources().values():
        assert source.licence and source.origin and source.files
        for file in source.files:
            assert (file.url or file.page).startswith("https://")
            assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32
    with pytest.raises(ParamsError, match="did you mean 'ir_se100'"):
        find_source("ir_se10")
