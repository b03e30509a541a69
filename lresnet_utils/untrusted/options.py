"""Settings of the targets behind external tools, declared once for params and targets alike."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from lresnet_utils.untrusted.settings import Settings

QUAD_CHIP_CARDS = ("Ascend310",)
"""Chips of which the guide's card (Atlas 300I) carries four; cards with a 310P carry one."""


class ToolOptions(Settings):
    """What ``trtexec``, ``atc``, the Ascend runners and recorded results need to know.

    The defaults are the guide's.
    """

    group: ClassVar[str] = "tools"

    device: int = Field(0, ge=0, description="number of the GPU or NPU that runs the builds")
    timeout_s: float = Field(3600, gt=0, description="longest run of one tool, seconds")
    soc_version: str = Field(
        "Ascend310",
        pattern=r"^[A-Za-z0-9_]+$",
        description="chip that atc compiles for, as npu-smi names it: Ascend310, Ascend310P3, ...",
    )
    atc_log: Literal["debug", "info", "warning", "error", "null"] = Field(
        "debug", description="atc's log level"
    )
    precision_mode: str | None = Field(
        None,
        pattern=r"^[a-z0-9_]+$",
        description="atc's --precision_mode; null: its default, force_fp16",
    )
    aipp_config: str | None = Field(
        None,
        description="atc's --insert_op_conf file; the build then takes RGB bytes, not floats",
    )
    runner: Literal["auto", "ais_bench", "msame", "benchmark"] = Field(
        "auto", description="tool that runs .om builds; auto: the first of these that is there"
    )
    card_extrapolation: bool = Field(
        False, description="note the guide's four chips per card beside the measured rate"
    )
    replay_folder: str | None = Field(
        None, description="folder with results recorded elsewhere, for the target replay"
    )

    @model_validator(mode="after")
    def _only_a_310_card_has_four_chips(self) -> ToolOptions:
        if self.card_extrapolation and self.soc_version not in QUAD_CHIP_CARDS:
            raise ValueError(f"a card with {self.soc_version} does not carry four chips")
        return self
