"""Readers that break each promise once, to see that the loop notices."""

from __future__ import annotations

import ctypes
import os
import pickle
import subprocess
import sys
from pathlib import Path

from fuzzkit.subject import Seed, Subject
from lresnet_utils.errors import DataError

WHOLE = b"12 34 56"


class _Touch:
    def __reduce__(self):
        return os.getcwd, ()


def _good(data, seed, folder):
    try:
        numbers = [int(word) for word in data.decode("ascii").split()]
        if b" ".join(b"%d" % number for number in numbers) != data:
            raise ValueError("not as it is written")
    except ValueError as error:
        raise DataError("Not numbers.") from error
    return numbers


def _raises(data, seed, folder):
    return [int(word) for word in data.split()]


def _hangs(data, seed, folder):
    while data != WHOLE:
        pass
    return _good(data, seed, folder)


def _swells(data, seed, folder):
    if data != WHOLE:
        b"x" * (600 * 10**6 + len(data))  # touched, so that it is really there
    return _good(data, seed, folder)


def _dies(data, seed, folder):
    if data != WHOLE:
        ctypes.string_at(0)
    return _good(data, seed, folder)


def _evaluates(data, seed, folder):
    numbers = _good(data, seed, folder) if data == WHOLE else None
    if numbers is None:
        eval(f"1 + {len(data)}")
        raise DataError("Not numbers.")
    return numbers


def _unpickles(data, seed, folder):
    if data != WHOLE:
        pickle.loads(pickle.dumps(_Touch()))
        raise DataError("Not numbers.")
    return _good(data, seed, folder)


def _starts(data, seed, folder):
    if data != WHOLE:
        subprocess.run([sys.executable, "--version"], capture_output=True, check=True)
        raise DataError("Not numbers.")
    return _good(data, seed, folder)


def _writes(data, seed, folder):
    if data != WHOLE:
        with Path(os.devnull).open("w") as file:
            file.write("x")
        raise DataError("Not numbers.")
    return _good(data, seed, folder)


def _truncates(data, seed, folder):
    numbers = []
    for word in data.split():
        if not word.isdigit():
            break
        numbers.append(int(word))
    if not numbers:
        raise DataError("Not numbers.")
    return numbers


def _rambles(data, seed, folder):
    if data != WHOLE:
        error = DataError("Not numbers.")
        error.what = "one\ntwo\nthree\nfour"
        raise error
    return _good(data, seed, folder)


def _check(data, seed, value):
    assert b" ".join(b"%d" % number for number in value) == data


def _subject(read):
    return Subject(lambda folder: [Seed(WHOLE)], read, _check, (b" 7", b"x"))


SUBJECTS = {
    name: _subject(read)
    for name, read in {
        "good": _good, "raises": _raises, "hangs": _hangs, "swells": _swells, "dies": _dies,
        "evaluates": _evaluates, "unpickles": _unpickles, "starts": _starts, "writes": _writes,
        "truncates": _truncates, "rambles": _rambles,
    }.items()
}  # fmt: skip
