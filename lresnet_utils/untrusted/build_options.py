"""Settings of the search for the fastest accurate build, declared once."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from lresnet_utils.untrusted.settings import Settings


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
