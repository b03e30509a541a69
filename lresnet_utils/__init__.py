"""Reproducible evaluation reports for face-embedding networks.

The notebooks tell the story; this package holds the logic. It computes (``models``, ``graph``,
``data``, ``targets``, ``embed``, ``verify``, ``perf``), then draws and says (``report``), and runs
the notebooks (``runner``, ``cli``).
"""

import os as _os
import sys as _sys

# Nobody is told of a run. ONNX Runtime writes a device id into the user's cache and looks up a
# host as it is imported; OpenVINO and NNCF do so through the package `openvino_telemetry`, which
# knows no variable of its own and which both can do without.
_os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
_sys.modules.setdefault("openvino_telemetry", None)

__version__ = "0.1.0"
