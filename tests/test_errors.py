"""Errors fit in three lines, whatever is put into them."""

from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from lresnet_utils.errors import LResNetError, nearest


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
