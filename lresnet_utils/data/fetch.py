"""Downloads that go on where they stopped, and are kept only when they are what was expected."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lresnet_utils import __version__
from lresnet_utils.data.known_sets import KnownFile, KnownSource
from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import (
    FULL,
    HALF_MADE,
    cannot_write,
    read_json,
    sha256_file,
    write_json,
    write_text,
)
from lresnet_utils.untrusted.bytes import read_bytes

TIMEOUT_S = 20
MAX_UNPACKED_BYTES = 20 * 2**30
_BLOCK = 1 << 20
# `sha256sum` writes a hash and a name.
_MOST_RECORDED = 5000
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Fetched:
    """A file that is there and was checked.

    Attributes
    ----------
    path : Path
    sha256 : str
    how : str
        What was done and what the hash was checked against, in words.
    """

    path: Path
    sha256: str
    how: str


def fetch(
    source: KnownSource, root: Path, progress: Progress = lambda done, total: None
) -> Iterator[Fetched]:
    """Yield every file of a source once it is there and checked.

    Parameters
    ----------
    source : KnownSource
    root : Path
        The folder below which the source's own folder is.
    progress : callable
        Called as ``progress(bytes so far, bytes in all or None)`` during a download.

    Yields
    ------
    Fetched

    Raises
    ------
    DataError
        When a file cannot be had or is not the expected one: says how to get it by hand.
    """
    for file in source.files:
        target = root / source.folder / file.file
        there = target.is_file()
        if not there:
            if file.url is None:
                raise _by_hand(file, target, "This file is behind a page that needs a browser.")
            download(file.url, target, sha256=file.sha256, progress=progress)
        found = sha256_file(target)
        record = target.with_name(target.name + ".sha256")
        if file.sha256 is not None:
            expected, against = file.sha256, "as published"
        elif record.is_file():
            fix = "remove it, and the hash is recorded anew"
            data = read_bytes(record, most=_MOST_RECORDED, what="The recorded hash", fix=fix)
            kept = re.match(rb"[0-9a-f]{64}\b", data)
            if kept is None:
                raise DataError("The file holds no SHA-256.", where=str(record), fix=fix)
            expected, against = kept[0].decode("ascii"), "as recorded at first"
        else:
            write_text(record, f"{found}  {file.file}\n")
            expected, against = found, f"nobody publishes it; recorded in {record.name}"
        if found != expected:
            raise DataError(
                f"The file is not the expected one: SHA-256 {found[:16]}..., not "
                f"{expected[:16]}....",
                where=str(target),
                fix=f"move it away and fetch it again ({against})",
            )
        if file.unpack:
            unpack(target)
        how = "already there" if there else "downloaded"
        yield Fetched(target, found, f"{how}; SHA-256 {against}")


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    progress: Progress = lambda done, total: None,
) -> None:
    """Download a file, going on with what an earlier attempt left.

    The part is kept as ``<file>.part`` until it is whole. A later attempt asks for the rest only
    when the server can say that the file has not changed, or the hash will.

    Parameters
    ----------
    url : str
        ``https``; plain ``http`` only on this machine.
    target : Path
        The file to make.
    sha256 : str, optional
        What it must be. Without it, only the size that the server announces is checked.
    progress : callable

    Raises
    ------
    DataError
        When there is no connection, the server refuses, the disk is too small, or the content is
        not the expected one; the part is then removed.
    """
    part, about = (target.with_name(target.name + end) for end in (".part", ".part.json"))
    for place in (target, part, about):
        if place.is_symlink() or (place.exists() and not place.is_file()):
            raise DataError(
                "A link, a folder or a pipe is where the download goes.",
                where=str(place),
                fix="move it away, or choose another folder with --to",
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    # How much of the part can stay, and what to ask the server for.
    start = part.stat().st_size if part.is_file() else 0
    known = {}
    with contextlib.suppress(DataError):  # one that is missing or damaged is none
        known = read_json(about)
    told = known if isinstance(known, dict) else {}
    validator = told.get("validator")
    if not isinstance(validator, str) or not re.fullmatch("[ -~]+", validator):
        validator = None
    if told.get("url") != url or not (validator or sha256):
        start = 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and validator:
        headers["If-Range"] = validator
    _check_address(url)
    headers |= {"User-Agent": f"lresnet-utils/{__version__}", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 (checked above)
    opener = urllib.request.build_opener(_Redirects)
    try:
        with opener.open(request, timeout=TIMEOUT_S) as response:
            total = _receive(response, url, part, about, start, progress)
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, "code", None) == 416 and start:  # nothing lies behind what is there
            part.unlink()
            return download(url, target, sha256=sha256, progress=progress)
        if getattr(error, "errno", None) in FULL:
            raise cannot_write(part, error) from error
        if isinstance(error, urllib.error.HTTPError):
            what = f"The server answers {error.code} {error.reason}"
        elif isinstance(error, urllib.error.URLError):
            what = f"There is no connection ({error.reason})"
        else:
            what = f"The download failed ({error})"
        raise _by_hand(KnownFile(target.name, url=url), target, f"{what}.") from error
    if total is not None and part.stat().st_size != total:
        raise DataError(
            f"The download stopped after {part.stat().st_size:,} of {total:,} bytes.",
            where=url,
            fix="run the same command again: it goes on where it stopped",
        )
    found = sha256_file(part)
    about.unlink(missing_ok=True)
    if sha256 is not None and found != sha256:
        part.unlink()
        raise DataError(
            f"The file is not the expected one: SHA-256 {found[:16]}..., not {sha256[:16]}....",
            where=url,
            fix="it was not kept; try again, and if it stays so get it from another place",
        )
    part.replace(target)


def unpack(archive: Path) -> None:
    """Unpack a ``.tgz`` beside itself, once; nothing in it can leave its folder.

    Raises
    ------
    DataError
        When it is damaged, too large, or holds a name, link or device that leads out.
    """
    done = archive.with_name(archive.name + ".unpacked")
    if done.is_file():
        return
    try:
        with (
            tempfile.TemporaryDirectory(dir=archive.parent, prefix=HALF_MADE) as folder,
            tarfile.open(archive, "r:gz") as tar,
        ):
            size = 0
            for member in tar:
                size += member.size
                if size > MAX_UNPACKED_BYTES:
                    raise tarfile.TarError(f"more than {MAX_UNPACKED_BYTES:,} bytes")
                tar.extract(member, folder, filter="data")
            entries = sorted(Path(folder).iterdir())
            for there in filter(
                os.path.lexists, (archive.parent / entry.name for entry in entries)
            ):
                raise FileExistsError(f"{there.name} is there already")
            for entry in entries:
                entry.replace(archive.parent / entry.name)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"The archive cannot be unpacked: {error}.",
            where=str(archive),
            fix="delete it, and what it unpacked to before, then fetch it again",
        ) from error
    write_text(done, "")


def _receive(response, url: str, part: Path, about: Path, start: int, progress) -> int | None:
    """Write the body behind what is there, or from the start; return the size of the whole."""
    length = response.headers.get("Content-Length", "")
    rest = int(length) if length.isdigit() else None
    span = response.headers.get("Content-Range", "")
    if response.status != 206 or not span.startswith(f"bytes {start}-"):
        start = 0  # the file has changed, or the server knows no parts
    if response.status == 206 and not start:
        raise http.client.HTTPException("the server sends another part than was asked for")
    free = shutil.disk_usage(part.parent).free
    if rest is not None and rest > free:
        raise OSError(f"it needs {rest:,} bytes and {free:,} are free")
    tag = response.headers.get("ETag", "")
    strong = "" if tag.startswith("W/") else tag
    validator = strong or response.headers.get("Last-Modified")
    write_json(about, {"url": url, "validator": validator})
    total = None if rest is None else start + rest
    with part.open("r+b" if start else "wb") as file:
        file.truncate(start)
        file.seek(start)
        # A connection that breaks leaves a part, and the size tells.
        with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
            while block := response.read(_BLOCK):
                file.write(block)
                progress(file.tell(), total)
    return total


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to safe addresses only."""

    def redirect_request(self, request, file, code, message, headers, address):
        _check_address(address)
        return super().redirect_request(request, file, code, message, headers, address)


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if parts.scheme != "https" and not local:
        raise DataError(
            "Only https addresses are opened.", where=url, fix="name an https address of the file"
        )


def _by_hand(file: KnownFile, target: Path, what: str) -> DataError:
    return DataError(
        what,
        where=file.page or file.url,
        fix=f"open that address in a browser, on any machine, and put the file at "
        f"{target.as_posix()}; the same command then checks it",
    )
