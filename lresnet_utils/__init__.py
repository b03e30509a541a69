"""Reproducible evaluation reports for face-embedding networks.

The notebooks tell the story; this package holds the logic. It computes (``models``, ``graph``,
``data``, ``targets``, ``verify``, ``perf``), judges (``findings``), then draws and says
(``report``, ``text``), and runs the notebooks (``running``, ``cli``). The names below are for
notebooks of one's own, see ``docs/use_it_as_a_library.md``.
"""

import importlib as _importlib
import os as _os
import sys as _sys
import warnings as _warnings

# Nobody is told of a run. ONNX Runtime writes a device id into the user's cache and looks up a
# host as it is imported; OpenVINO and NNCF do so through the package `openvino_telemetry`, which
# knows no variable of its own and which both can do without.
_os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
_sys.modules.setdefault("openvino_telemetry", None)

# scikit-learn brings joblib, which nothing here runs on; it says this where /dev/shm is read-only.
_warnings.filterwarnings("ignore", ".*joblib will operate in serial mode")

__version__ = "0.1.0"

# Where each public name is. They come when they are asked for: whatever imports a part of this
# package, such as a child process that reads a stranger's file, waits for no other.
_PUBLIC = {
    "LResNetError": "errors",
    "Params": "params",
    "RunFolder": "run",
    "DetDisplay": "report.charts.recognition",
    "RocDisplay": "report.charts.recognition",
    "compare": "api",
    "evaluate_embeddings": "api",
    "evaluate_pairs": "api",
    "find_and_align": "data.align",
    "load_params": "params",
    "read_results": "api",
    "run_report": "api",
    "threshold_explorer": "report.charts.recognition",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__():
    return sorted(__all__)
