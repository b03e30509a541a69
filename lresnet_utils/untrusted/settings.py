"""Groups of settings that params files and notebooks give as one mapping, checked in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lresnet_utils.errors import ParamsError, nearest


class Settings(BaseModel):
    """A group of settings; unknown names and wrong types are refused.

    A subclass says in `group` what its group is called in a params file.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    group: ClassVar[str]

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Check plain values, such as a notebook's parameter.

        Raises
        ------
        ParamsError
            Names the first that is unknown or not accepted.

        Examples
        --------
        >>> from lresnet_utils.untrusted.settings import ToolOptions
        >>> ToolOptions.from_values({"soc_version": "Ascend310P3"}).soc_version
        'Ascend310P3'
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            fix = nearest(key, cls.model_fields)
            raise ParamsError(
                f"Unknown setting {key!r} of the {cls.group}.", where=cls.group, fix=fix
            )
        fix = cls.model_fields[key].description if key else None
        what = first["msg"].removeprefix("Value error, ")
        where = f"{cls.group}.{key}".rstrip(".")
        raise ParamsError(f"Not accepted: {what}.", where=where, fix=fix)


# Settings of the targets behind external tools, declared once for params and targets alike.

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


# Settings of the search for the fastest accurate build, declared once.


class BuildOptions(Settings):
    """How much is tried, and what an int8 build may lose."""

    group: ClassVar[str] = "build"

    prepare: Literal["auto", "all", "none"] = Field(
        "auto", description="graph rewrites: those that measure no slower (auto), all, or none"
    )
    search_seconds: float = Field(
        0.1,
        ge=0,
        le=60,
        description="length of one measurement of the search, seconds; 0: no search, defaults",
    )
    search_repeats: int = Field(5, ge=2, le=100, description="measurements per candidate")
    calibration_images: int = Field(
        128, ge=1, le=100_000, description="pictures that int8's ranges are taken from, no labels"
    )
    budget_points: float = Field(
        0.2, ge=0, le=100, description="percentage points of accuracy that an int8 build may lose"
    )
    budget_images: int = Field(
        1000, ge=2, description="most pictures per variant on which that is judged in the search"
    )
