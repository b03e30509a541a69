"""The words of every page's frame: navigation, fold-outs, the parameter table, failures."""

from __future__ import annotations

from lresnet_utils.text.language import mark, speaking, tr

_PAGE_WORDS = {
    "skip": mark("Skip to the content"),
    "pages": mark("Pages of this run"),
    "contents": mark("On this page"),
    "show_code": mark("Show all code"),
    "code": mark("Code"),
    "line": mark("line"),
    "lines": mark("lines"),
    "printed": mark("Printed text"),
    "log": mark("Log"),
    "table": mark("Table"),
    "picture": mark("Picture without a description"),
    "parameters": mark("Parameters"),
    "parameter": mark("Parameter"),
    "value": mark("Value"),
    "default": mark("Default"),
    "meaning": mark("Meaning"),
    "same": mark("same"),
    "timed": mark("What no two runs give alike, such as times, is on the"),
    "timed_page": mark("Performance page"),
    "here": mark("this report's folder"),
    "troubles": mark("Not every notebook of this run finished"),
    "failed": mark("failed"),
    "skipped": mark("not run"),
    "unfinished": mark("This notebook did not finish"),
    "not_run": mark("This notebook was not run"),
    "failed_where": mark("Where:"),
    "failed_next": mark("What to do:"),
    "failed_remedy": mark(
        "mend the cause and run the report again. To look closer, open the executed notebook "
        "beside this page in JupyterLab (make lab) and run it from the top."
    ),
    "not_run_remedy": mark("see to the notebook named here first, then run the report again."),
    "failed_in": mark("It stopped in"),
    "failed_cell": mark("code cell"),
    "failed_silently": mark(
        "The cell ended without an error message; its kernel may have been stopped."
    ),
    "failed_go": mark("Go to the cell"),
    "failed_after": mark("What follows it was not run."),
    "failed_here": mark("The notebook stopped here"),
    "traceback": mark("Traceback"),
    "provenance": mark("Where these numbers come from"),
}


def words(language: str) -> dict[str, str]:
    """Return the page's own words in a language.

    Raises
    ------
    ParamsError
        When the language is unknown.

    Examples
    --------
    >>> words("en")["code"], words("zh")["code"]
    ('Code', '代码')
    """
    with speaking(language):
        return {name: tr(text) for name, text in _PAGE_WORDS.items()}
