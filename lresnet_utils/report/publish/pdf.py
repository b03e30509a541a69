"""The whole report as a PDF, printed by the system's Chromium."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lresnet_utils.errors import RunError, TargetError
from lresnet_utils.machine.disk import atomic_path
from lresnet_utils.run import RunFolder
from lresnet_utils.targets.run_tool import find_tool, run_tool

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_TIMEOUT_S = 300


def write_pdf(run: RunFolder) -> Path:
    """Print the single-file report.

    Parameters
    ----------
    run : RunFolder
        Holds ``report.html``.

    Returns
    -------
    pathlib.Path
        ``report.pdf`` in the run's folder.

    Raises
    ------
    RunError
        When there is no Chromium on this machine, or it prints nothing.
    """
    browser = next(filter(None, map(find_tool, _BROWSERS)), None)
    if browser is None:
        raise RunError(
            "There is no Chromium on this machine to print a PDF with.",
            where="PATH: " + ", ".join(_BROWSERS),
            fix=f"install chromium, or print {run.single.name} from any browser",
        )
    with tempfile.TemporaryDirectory() as folder, atomic_path(run.pdf) as path:
        try:
            run_tool(
                [browser, *_options(Path(folder), path), run.single.absolute().as_uri()],
                log=Path(folder) / "chromium.log",
                timeout_s=_TIMEOUT_S,
                cwd=Path(folder),
            )
        except TargetError as error:
            raise RunError(
                f"The PDF could not be printed: {error.what}",
                where=str(run.single),
                fix="print the page from a browser",
            ) from error
        if not path.is_file() or not path.stat().st_size:
            raise RunError("Chromium ended without printing a PDF.", where=str(run.single))
    return run.pdf


def _options(folder: Path, pdf: Path) -> list[str]:
    options = [
        "--headless",
        "--disable-gpu",
        "--no-first-run",
        "--disable-extensions",
        "--disable-background-networking",
        "--disable-component-update",
        # Nothing has an address: neither what the page might name nor Chromium's own services.
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={folder / 'profile'}",
        "--no-pdf-header-footer",
        f"--print-to-pdf={pdf.absolute()}",
    ]
    # As root, in a container, Chromium's sandbox cannot start; the page may load nothing anyway.
    return [*options, "--no-sandbox"] if os.geteuid() == 0 else options
