"""What an executed notebook says about itself: its parameters, its failure, what may be shown."""

from __future__ import annotations

import ast
import copy
import io
import re
import tokenize
from dataclasses import dataclass
from typing import Any

from nbconvert.filters import strip_ansi
from nbformat import NotebookNode

from lresnet_utils.report.show import LEFT, TIMED
from lresnet_utils.run import unplaced
from lresnet_utils.text.language import tr

TEXT_LIMIT = 20_000

_BANNER_TAG = "papermill-error-cell-tag"
_WIDGET = "application/vnd.jupyter.widget-view+json"
_SCRIPT = "application/javascript"
_PARTS = re.compile(r"^  (where|to do): (.*)$", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)


@dataclass(frozen=True)
class Parameter:
    """One row of the table of parameters.

    Attributes
    ----------
    name : str
    value : str
        What the notebook ran with.
    default : str or None
        The notebook's own value where `value` differs from it, else None.
    meaning : str
        The trailing comment of the parameter's line, in the language spoken.
    """

    name: str
    value: str
    default: str | None
    meaning: str


@dataclass(frozen=True)
class Failure:
    """Where and why a notebook stopped.

    Attributes
    ----------
    message : str
        The exception's message, without terminal colours; may be empty.
    where, remedy : str
        The file, key or tool concerned and what to do next, where the exception says so.
    kind : str
        The exception's class; empty when the notebook ended without an exception.
    anchor : str or None
        Identifier of the cell in the page; None when no cell is to blame.
    number : int or None
        Which code cell of the notebook it is, from 1.
    section : str
        The nearest heading above it, as plain text.
    traceback : str
        The whole traceback, without terminal colours; may be empty.
    was_run : bool
        False for a notebook that was never started.
    """

    message: str = ""
    where: str = ""
    remedy: str = ""
    kind: str = ""
    anchor: str | None = None
    number: int | None = None
    section: str = ""
    traceback: str = ""
    was_run: bool = True


def tidy(notebook: NotebookNode, *, timed: bool = True) -> NotebookNode:
    """Return a copy of a notebook that holds only what a page shows.

    Papermill's red banner cells go; so do widgets (they need a server) in favour of the static
    form beside them, scripts, and empty cells. Endless text is shortened to `TEXT_LIMIT`
    characters. Cells are named by their position, never by their random identifiers, in
    ``metadata.lresnet.anchor``.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
    timed : bool
        Whether outputs marked as timed stay. Where they go, ``metadata.lresnet.timed`` of their
        cell is True.

    Returns
    -------
    nbformat.NotebookNode
    """
    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)
    notebook.cells = [
        cell
        for cell in notebook.cells
        if _BANNER_TAG not in cell.metadata.get("tags", ())
        and (cell.source.strip() or cell.get("outputs"))
    ]
    for position, cell in enumerate(notebook.cells, start=1):
        cell.metadata["lresnet"] = {"anchor": f"lr-cell-{position}"}
        if cell.cell_type != "code":
            continue
        marked = [bool(output.get("metadata", {}).get(TIMED)) for output in cell.outputs]
        if any(marked) and not timed:
            cell.metadata["lresnet"]["timed"] = True
        cell.outputs = [
            output
            for output, mark in zip(cell.outputs, marked, strict=True)
            if (timed or not mark) and _make_static(output)
        ]
    return notebook


def parameters(notebook: NotebookNode) -> tuple[Parameter, ...]:
    """Read the table of parameters from the cells tagged `parameters` and `injected-parameters`.

    Parameters
    ----------
    notebook : nbformat.NotebookNode

    Returns
    -------
    tuple of Parameter
        In the order of the notebook's own cell; names that were only injected come last.

    Examples
    --------
    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> cells = [
    ...     new_code_cell("folds: int = 10  # test folds", metadata={"tags": ["parameters"]}),
    ...     new_code_cell("folds = 5", metadata={"tags": ["injected-parameters"]}),
    ... ]
    >>> parameters(new_notebook(cells=cells))
    (Parameter(name='folds', value='5', default='10', meaning='test folds'),)
    """
    defaults = _assignments(tagged(notebook, "parameters"))
    injected = _assignments(tagged(notebook, "injected-parameters"))
    rows = []
    for name in (*defaults, *(name for name in injected if name not in defaults)):
        default, meaning = defaults.get(name, ("", ""))
        value, _ = injected.get(name, (default, ""))
        changed = name in defaults and value != default
        rows.append(Parameter(name, value, default if changed else None, tr(meaning)))
    return tuple(rows)


def tagged(notebook: NotebookNode, tag: str) -> NotebookNode | None:
    """Return the first cell that carries a tag, or None."""
    return next((cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())), None)


def failure(notebook: NotebookNode) -> Failure | None:
    """Say where and why a tidied notebook stopped.

    A cell tagged `raises-exception` is meant to raise, and is no failure.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        As :func:`tidy` returns it.

    Returns
    -------
    Failure or None
        None when nothing failed.
    """
    section, number = "", 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            headings = _HEADING.findall(cell.source)
            section = re.sub(r"[*_`]", "", headings[-1]) if headings else section
        if cell.cell_type != "code":
            continue
        number += 1
        if "raises-exception" in cell.metadata.get("tags", ()):
            continue
        # What stopped the cell: its error output, or what papermill noted.
        error = next((out for out in cell.outputs if out.output_type == "error"), None)
        noted = cell.metadata.get("papermill", {})
        if error is None and (noted.get("exception") or noted.get("status") == "failed"):
            # A kernel that dies leaves no error output, only papermill's note on the cell.
            error = {}
        if error is not None:
            # As LResNetError prints it: what, where, to do.
            message = strip_ansi(error.get("evalue", "")).strip()
            said = dict(_PARTS.findall(message))
            return Failure(
                message=_PARTS.sub("", message).strip(),
                where=said.get("where", ""),
                remedy=said.get("to do", ""),
                kind=error.get("ename", ""),
                anchor=cell.metadata["lresnet"]["anchor"],
                number=number,
                section=section,
                traceback=shortened(strip_ansi("\n".join(error.get("traceback", ()))).strip()),
            )
    return None


def shortened(text: str) -> str:
    """Return text of at most about `TEXT_LIMIT` characters: its beginning and its end.

    Examples
    --------
    >>> shortened("short")
    'short'
    >>> len(shortened("x" * 10**6)) < 1.01 * TEXT_LIMIT
    True
    """
    if len(text) <= TEXT_LIMIT:
        return text
    half = TEXT_LIMIT // 2
    left_out = tr("[… {n} characters left out …]", n=len(text) - 2 * half)
    return f"{text[:half]}\n{left_out}\n{text[-half:]}"


def _make_static(output: NotebookNode) -> bool:
    """Strip an output to what a page without scripts can show; say whether anything is left."""
    if output.output_type == "stream":
        output.text = shortened(strip_ansi(output.text))
    if output.output_type not in ("display_data", "execute_result"):
        return True
    was_widget = output.data.pop(_WIDGET, None) is not None
    output.data.pop(_SCRIPT, None)
    # What is left of a widget as text is its constructor call, which tells a reader nothing.
    if was_widget and set(output.data) <= {"text/plain"}:
        return False
    if "text/html" in output.data:
        output.data["text/html"] = output.data["text/html"].replace(LEFT, "")
    if "text/plain" in output.data:
        output.data["text/plain"] = shortened(strip_ansi(output.data["text/plain"]))
    return bool(output.data)


def _assignments(cell: NotebookNode | None) -> dict[str, tuple[str, str]]:
    """Return {name: (value as text, trailing comment)} of a cell's assignments."""
    if cell is None:
        return {}
    try:
        statements = ast.parse(cell.source).body
    except SyntaxError:
        return {}
    comments = {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokenize.generate_tokens(io.StringIO(cell.source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for statement in statements:
        if isinstance(statement, ast.AnnAssign):
            target = statement.target
        elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
        else:
            continue
        if isinstance(target, ast.Name) and statement.value is not None:
            meaning = comments.get(statement.end_lineno) or comments.get(statement.lineno, "")
            # The value the way a reader wants it: strings bare, lists with commas.
            try:
                value = ast.literal_eval(statement.value)
            except ValueError:
                text = ast.unparse(statement.value)
            else:
                text = _value_text(unplaced(value, target.id))
            found[target.id] = (text, meaning)
    return found


def _value_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value_text, value)) or "[]"
    return value if isinstance(value, str) and value else repr(value)
