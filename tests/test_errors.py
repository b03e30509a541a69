"""Errors fit in three lines, whatever is put into them."""

import contextlib
import io
import logging
import unicodedata
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from rich.console import Console

from lresnet_utils import cli
from lresnet_utils.errors import LResNetError, nearest
from lresnet_utils.running.console import print_check
from lresnet_utils.running.progress import _Display
from lresnet_utils.running.runner import Outcome

EVIL = "\x1b]0;t\x07\x9b31m[red]a[/red]:smile:\u202e\n0 pages\r\u2028ok      5_evaluate"


@given(st.text(), st.none() | st.text(), st.none() | st.text())
def test_an_error_never_takes_more_than_three_lines(what, where, fix):
    assert len(str(LResNetError(what, where=where, fix=fix)).splitlines()) <= 3


def test_jupyter_shows_the_message_and_no_traceback(capsys):
    shell = InteractiveShell.instance()
    shell.run_cell(
        "from lresnet_utils.errors import LResNetError\nraise LResNetError('What.', fix='Do.')"
    )
    assert capsys.readouterr().out.split("\n") == ["What.", "  to do: Do.", ""]


def test_nearest_prefers_a_close_word_and_lists_all_otherwise():
    assert nearest("torch-fp23", ["torch-fp32", "openvino-fp32"]) == "did you mean 'torch-fp32'?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


def shown_reason(text):
    display = _Display(Console(stderr=True, force_terminal=True, width=60))
    display.start(SimpleNamespace(phases=[]))
    display.update(Outcome("4_infer", 4, "waiting", reason=text))


def checked(text):
    print_check([SimpleNamespace(name=text, problem=text, is_page=True)], Path("unread"))


def warned(text):
    warnings.warn(text, stacklevel=1)


def logged(text):
    # As where nothing was set up: pytest has handlers of its own.
    logger = logging.Logger("lonely")
    logger.warning(text)


def refused(text):
    raise LResNetError(text, where=text, fix=text)


@pytest.mark.parametrize("how", [shown_reason, checked, warned, logged, refused])
def test_what_a_file_holds_is_one_line_of_plain_characters_on_the_terminal(monkeypatch, how):
    told = io.StringIO()
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(logging.lastResort, "format", logging.lastResort.format)
    monkeypatch.setattr(cli, "app", lambda **_: how(EVIL))
    with (
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(told),
        contextlib.suppress(SystemExit),
    ):
        cli.main()
    lines = told.getvalue().splitlines()
    assert "[red]a[/red]:smile:" in told.getvalue()
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in "".join(lines))
    assert not any(line.startswith(("0 pages", "ok ")) for line in lines)
