"""What CANN's programs need around them, and what their error codes mean."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lresnet_utils.targets.base import Availability
from lresnet_utils.targets.run_tool import find_tool

USUAL_HOMES = (
    Path("/usr/local/Ascend/ascend-toolkit/latest"),
    Path("/usr/local/Ascend/cann"),
    Path.home() / "Ascend/ascend-toolkit/latest",
)
"""Where CANN's installer puts the toolkit unless told otherwise; the guide's is the first."""

INSTALL = (
    "install the CANN toolkit (https://www.hiascend.com/software/cann) on a Linux host, source "
    "its set_env.sh, and start again from that shell"
)

# Texts: CANN's own error list (ge, "error_info_list") where it has one, then what to do here.
_CODES = {
    "E10001": "a value is not accepted: check the tools settings and the input's name and shape",
    "E10003": "a value is not accepted: check the tools settings against this CANN's atc --help",
    "E10007": "a required option is missing: this atc is older or newer than the one documented",
    "E10014": "a value is not accepted: check tools.soc_version with npu-smi info",
    "E10016": "the graph's input has another name than 'image': run 1_export again",
    "E10052": "the AIPP file is not accepted: check tools.aipp_config",
    "E10054": "atc was given no model: run 1_export again",
    "E19010": "this CANN has no parser for an operator at the graph's opset: take a newer CANN, "
    "or export with an older opset",
    "E40000": "CANN's Python parts cannot be imported: put the Python that CANN supports first "
    "on the PATH, with its packages (numpy, decorator, sympy, ...), and source set_env.sh",
    "EC0010": "CANN's Python parts cannot be imported: install the named module into the Python "
    "that CANN uses, and source set_env.sh",
    "EZ3002": "the chip has no kernel for an operator: check tools.soc_version",
    "EZ3003": "no kernel for an operator: check that the OPP package is installed and "
    "ASCEND_OPP_PATH names it, then tools.soc_version",
}
_CODE = re.compile(r"\b(E[0-9A-Z]\d{4})\b")


def explain(line: str) -> str | None:
    """Say what to do about an error line of one of CANN's programs.

    Examples
    --------
    >>> explain("E40000: Failed to import te.platform.log_util.").split(":")[0]
    "CANN's Python parts cannot be imported"
    >>> explain("all is well") is None
    True
    """
    if "error while loading shared libraries" in line:
        return "source CANN's set_env.sh and the driver's (LD_LIBRARY_PATH misses a folder)"
    found = _CODE.search(line)
    return _CODES.get(found[1]) if found else None


def check_environment() -> Availability:
    """Say whether ``atc`` is there with the variables that it needs.

    ``set_env.sh`` sets ``ASCEND_TOOLKIT_HOME``, ``ASCEND_OPP_PATH``, ``LD_LIBRARY_PATH`` and
    ``PATH``; the guide's section 3.2 sets the last three by hand. Either will do.
    """
    if find_tool("atc", variable="LRESNET_ATC") is None:
        home = next((path for path in USUAL_HOMES if path.is_dir()), None)
        if home is None:
            return Availability(False, "atc (Huawei CANN) is not installed", INSTALL)
        return Availability(False, "atc is not on the PATH, though CANN is here", _source(home))
    opp = os.environ.get("ASCEND_OPP_PATH")
    if not opp or not Path(opp).is_dir():
        state = f"names no folder ({opp})" if opp else "is not set"
        return Availability(
            False,
            f"ASCEND_OPP_PATH {state}, so atc would find no operators",
            _source(toolkit_home()),
        )
    home = toolkit_home()
    libraries = [Path(p) for p in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if p]
    if not any(path.is_dir() and _below(path, home) for path in libraries):
        return Availability(
            False, f"LD_LIBRARY_PATH names no folder of CANN's in {home}", _source(home)
        )
    return Availability(True)


def toolkit_home() -> Path:
    """Return the toolkit's folder: the variable of ``set_env.sh``, or the operators' parent."""
    for variable, up in (("ASCEND_TOOLKIT_HOME", 0), ("ASCEND_OPP_PATH", 1)):
        value = os.environ.get(variable)
        if value:
            return Path(value).parent if up else Path(value)
    return next((path for path in USUAL_HOMES if path.is_dir()), USUAL_HOMES[0])


def cann_version() -> str | None:
    """Return the version that the toolkit writes about itself, or None.

    Read from ``version.cfg`` (``toolkit_running_version=[7.0.0:CANN-7.0.RC1]``) or from
    ``compiler/version.info`` (``Version=7.0.0``).
    """
    home = toolkit_home()
    for name in ("version.cfg", "compiler/version.info", "atc/version.info", "version.info"):
        try:
            text = (home / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found = re.search(
            r"^(?:toolkit_\w+_version|Version)=\[?([\w.]+(?::[\w.-]+)?)", text, re.MULTILINE
        )
        if found:
            return found[1].rpartition(":")[2]
    return None


def _below(path: Path, home: Path) -> bool:
    return path.resolve().is_relative_to(home.resolve()) or path.is_relative_to(home)


def _source(home: Path) -> str:
    script = next(
        (p / "set_env.sh" for p in (home, home.parent) if (p / "set_env.sh").is_file()),
        home.parent / "set_env.sh",
    )
    return f"run: source {script}, then start again from the same shell"
