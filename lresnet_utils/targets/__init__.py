"""The runtimes that a network is built for and compared on.

A new target is one file (a folder where it takes several) with a class derived from
:class:`lresnet_utils.targets.base.Target`, and one entry in :data:`TARGETS`. Importing this
package imports no runtime; each is imported when it is asked for.
"""

from __future__ import annotations

from lresnet_utils.errors import ParamsError, nearest
from lresnet_utils.targets.ascend import AscendTarget, CannTarget
from lresnet_utils.targets.base import Target
from lresnet_utils.targets.onnxruntime import OnnxRuntimeTarget
from lresnet_utils.targets.openvino import OpenVinoTarget
from lresnet_utils.targets.pytorch import TorchCompileTarget, TorchTarget
from lresnet_utils.targets.replay import ReplayTarget
from lresnet_utils.targets.tensorrt import TensorRtTarget
from lresnet_utils.untrusted.settings import ToolOptions

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        TorchTarget(),
        TorchCompileTarget("fp32"),
        TorchCompileTarget("bf16"),
        OnnxRuntimeTarget("fp32"),
        OnnxRuntimeTarget("int8"),
        OpenVinoTarget("fp32"),
        OpenVinoTarget("bf16"),
        OpenVinoTarget("int8"),
        TensorRtTarget(),
        AscendTarget(),
        CannTarget(),
        ReplayTarget(),
    )
}


def get_target(name: str, tools: ToolOptions | None = None) -> Target:
    """Return the target of this name.

    Parameters
    ----------
    name : str
        ``runtime-precision``, one of :data:`TARGETS`.

    Raises
    ------
    ParamsError
        When there is none; names the nearest.

    Examples
    --------
    >>> get_target("openvino-bf16").precision
    'bf16'
    """
    try:
        target = TARGETS[name]
    except KeyError:
        raise ParamsError(f"Unknown target {name!r}.", fix=nearest(name, TARGETS)) from None
    return target if tools is None else target.configured(tools)
