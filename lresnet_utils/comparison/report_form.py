"""The part of a report's results that a comparison reads, as types and bounds.

A ``results.json`` or a page may come from anywhere. What is declared here is checked before
anything is computed from it; whatever else a report holds is left alone, so that newer reports with
more in them are still read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lresnet_utils.errors import DataError

MAX_CELLS = 10_000
MAX_FOLDS = 1000
MAX_BATCH_SIZE = 65_536
MAX_NAME_CHARS = 200
ROUNDING = 1e-9
"""What the last bits of numbers that must agree may differ by."""

Name = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1e12)]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)


class _Estimate(_Open):
    value: float
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _lies_in_its_interval(self) -> Self:
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        if not low - ROUNDING <= self.value <= high + ROUNDING:
            raise ValueError("the value lies outside its interval")
        return self


class _Accuracy(_Estimate):
    value: Share
    low: Share | None = None
    high: Share | None = None
    errors: int = Field(ge=0)


class _Threshold(_Open):
    # Squared distances of unit vectors, which end at 4; some rules put a threshold just beyond.
    folds: list[Annotated[float, Field(ge=-1, le=5)]] = Field(min_length=1, max_length=MAX_FOLDS)


class _Far(_Open):
    far: float = Field(gt=0, lt=1)


class _Throughput(_Estimate):
    value: Rate
    low: Annotated[float, Field(ge=0, le=1e12)] | None = None
    high: Rate | None = None
    n: int = Field(ge=0)
    interval: str | None = None


class _Cell(_Open):
    batch_size: int = Field(ge=1, le=MAX_BATCH_SIZE)
    target: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
    status: Literal["ok", "unavailable", "failed"]
    reason: str | None = None
    accuracy: _Accuracy | None = None
    accuracy_refused: str | None = None
    threshold: _Threshold | None = None
    tar_at_far: list[_Far] | None = Field(None, max_length=100)
    throughput_ips: _Throughput | None = None
    throughput_refused: str | None = None
    clock: str | None = None


class _Machine(_Open):
    cpu: str | None = None
    cores: int | None = None


class _Provenance(_Open):
    started: str | None = None
    commit: str | None = None
    machine: _Machine | None = None


class _Model(_Open):
    architecture: str | None = None
    weights: str | None = None


class _Params(_Open):
    model: _Model | None = None


class _Run(_Open):
    name: Name
    params: _Params | None = None
    provenance: _Provenance | None = None


class _Dataset(_Open):
    name: Name | None = None
    credit: str | None = None
    pairs_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")


class ReportForm(_Open):
    """What a comparison reads of ``results.json``."""

    schema_: Literal[1] = Field(alias="schema")
    run: _Run
    dataset: _Dataset
    cells: list[_Cell] = Field(max_length=MAX_CELLS)


def check_form(results: Any, path: Path, fix: str) -> dict[str, Any]:
    """Return `results` after seeing that a comparison can read it.

    Raises
    ------
    DataError
        When it is no report's results; names the first value that is wrong.
    """
    try:
        ReportForm.model_validate(results)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        told = f" ({key}: {first['msg']})" if key else ""
        raise DataError(f"The file is no report{told}.", where=str(path), fix=fix) from error
    names = [(cell["batch_size"], cell["target"]) for cell in results["cells"]]
    if len(set(names)) != len(names):
        raise DataError("The file is no report (a cell stands twice).", where=str(path), fix=fix)
    return results
