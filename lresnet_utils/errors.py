"""Errors that say what happened, where, and what to do."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable
from functools import partial
from typing import TextIO

MAX_LINE = 1000
"""Characters of a message's line; what a file holds must not fill a terminal."""
# What must be looked at: most text has none of these, or little.
_UNUSUAL = re.compile(r"[^\t\n\r -~]")


class LResNetError(Exception):
    """Base of every error a user can cause or must act on.

    Parameters
    ----------
    what : str
        What happened, in one sentence.
    where : str, optional
        The file, key, cell or tool concerned.
    fix : str, optional
        What to do next.

    Examples
    --------
    >>> print(LResNetError("No such file.", where="data/lfw.bin", fix="Download it."))
    No such file.
      where: data/lfw.bin
      to do: Download it.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None):
        super().__init__(what, where, fix)
        self.what = one_line(what)
        self.where = one_line(where) if where else where
        self.fix = one_line(fix) if fix else fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  to do: {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[partial[LResNetError], tuple[()]]:
        """Pickle with `where` and `fix`, for an error that comes from another process."""
        return partial(type(self), self.what, where=self.where, fix=self.fix), ()

    def _render_traceback_(self) -> list[str]:
        """Show the message in Jupyter without the way through the package (IPython's hook)."""
        return str(self).splitlines()


def one_line(text: str, most: int = MAX_LINE) -> str:
    r"""Return text as one line of a message, whatever a file or its name put into it.

    Line ends become spaces; control characters, which a terminal would obey, marks that turn the
    direction of writing, and halves of characters, which UTF-8 cannot hold, become escapes, as
    :func:`visible` makes them. Text of more than `most` characters is cut in the middle.

    Examples
    --------
    >>> one_line("a\nmodel: \x1b[31mb")
    'a model: \\u001b[31mb'
    """
    line = " ".join(str(text).replace("\t", " ").splitlines())
    if len(line) > most:
        line = f"{line[: most // 2]} ... {line[-most // 2 :]}"
    line = visible(line)
    # The text itself, where nothing was done to it: it may know what it was made from.
    return text if text == line else line


def visible(text: str) -> str:
    r"""Return text with control characters, marks that turn the direction, and halves as escapes.

    Line ends and tabulators stay. In JSON, whose strings alone can hold any of these, the text
    says the same as before.

    Examples
    --------
    >>> visible("a\x00\x1b[31m\u202eb 人")
    'a\\u0000\\u001b[31m\\u202eb 人'
    """
    return _UNUSUAL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    unseen = unicodedata.category(match[0]) in ("Cc", "Cf", "Cs")
    return json.dumps(match[0])[1:-1] if unseen else match[0]


def print_line(line: object = "", *, most: int = MAX_LINE, file: TextIO | None = None) -> None:
    """Print one line, as :func:`one_line` makes it: the only way in which we print plainly."""
    print(one_line(str(line), most), file=file)


class ParamsError(LResNetError):
    """A parameter has an unknown name, a wrong type or an impossible value."""


class CheckpointError(LResNetError):
    """A weights file is missing, unreadable or made for another architecture."""


class GraphError(LResNetError):
    """An ONNX graph cannot be exported, simplified or checked."""


class DataError(LResNetError):
    """A data file is missing, damaged, or refused because it is not plain data."""


class TargetError(LResNetError):
    """A target failed to build or to run."""


class EvaluationError(LResNetError):
    """The scores cannot be evaluated as asked."""


class RunError(LResNetError):
    """A run folder cannot be used, or an earlier stage has not been run."""


class StorageError(RunError):
    """The disk is full or cannot be written: the whole run stops, and not one cell."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Name the known word nearest to `word`, as the end of an error message.

    Parameters
    ----------
    word : str
        What the user wrote.
    known : iterable of str
        The words that exist.

    Returns
    -------
    str
        ``"did you mean 'x'?"`` or, with nothing near, the list of known words.

    Examples
    --------
    >>> nearest("bacth_sizes", ["batch_sizes", "targets"])
    "did you mean 'batch_sizes'?"
    >>> nearest("zzz", ["b", "a"])
    'known: a, b'
    """
    known = sorted(known)
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {match[0]!r}?" if match else "known: " + ", ".join(known)
