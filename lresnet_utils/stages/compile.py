"""Stage 2: the simplified graph becomes one build per target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lresnet_utils.run import RunFolder
from lresnet_utils.stages.status import UNAVAILABLE, attempt
from lresnet_utils.targets import get_target
from lresnet_utils.targets.base import ModelFiles, Target
from lresnet_utils.targets.options import ToolOptions


def compile_targets(
    run: RunFolder,
    *,
    batch_size: int,
    targets: list[str],
    threads: int = 0,
    tools: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build every target that this machine can run.

    Parameters
    ----------
    run : RunFolder
        Must hold ``1_export``'s files; gets one build per target and ``2_compile.json``.
    batch_size, targets, threads, tools
        As declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    dict
        ``targets``: per target the status, the artefact with its hash, size, options and build
        time, or why there is none.
    """
    files = model_files(run, batch_size)
    settings = ToolOptions.from_values(tools or {})
    built = {name: _build(get_target(name, settings), files, run, threads) for name in targets}
    return run.write_record("2_compile", batch_size, {"targets": built})


def model_files(run: RunFolder, batch_size: int) -> ModelFiles:
    """Return the exported network that targets are built from."""
    network = run.record("1_export", batch_size)["network"]
    return ModelFiles(
        architecture=network["architecture"],
        weights=run.network,
        onnx=run.onnx(batch_size, simplified=True),
        batch_size=batch_size,
        embedding_size=network["embedding_size"],
    )


def _build(target: Target, files: ModelFiles, run: RunFolder, threads: int) -> dict[str, Any]:
    able = target.available()
    if not able.ok:
        return {"status": UNAVAILABLE, "reason": able.reason, "remedy": able.remedy}

    def work() -> dict[str, Any]:
        folder = run.engine(files.batch_size, target.name)
        artefact = target.build(files, folder, threads=threads)
        return {
            "artefact": artefact.to_json(),
            "versions": target.versions(),
            "note": able.note,
        }

    return attempt(work)
