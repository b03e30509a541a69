"""The one declaration of ``results.json``: every key's type, bounds, unit and meaning.

The published schema comes from it, and so does the check of what a comparison reads. Results are
plain dicts; further keys may be added, and those named here keep their meaning.
"""

# No postponed annotations: which keys are required is read from them as they are.
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Required

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypedDict

from lresnet_utils.errors import DataError

OK, UNAVAILABLE, FAILED = "ok", "unavailable", "failed"


def cell_name(cell: Mapping[str, Any]) -> str:
    """Return a cell's name.

    Examples
    --------
    >>> cell_name({"batch_size": 16, "target": "torch-fp32"})
    '16/torch-fp32'
    """
    return f"{cell['batch_size']}/{cell['target']}"


# The images as the set gives them; every other variant is a degraded copy of these.
CLEAN = "aligned"

MAX_CELLS = 10_000
MAX_FOLDS = 1000
MAX_BATCH_SIZE = 65_536
MAX_NAME_CHARS = 200
ROUNDING = 1e-9
"""What the last bits of numbers that must agree may differ by."""

_OPEN = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


def _said(text: str) -> Any:
    return Field(description=text)


Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
Text = Annotated[str, _said("in English")]
Examples = Annotated[list[str], _said("the first of their names")]
OfPairs = Annotated[Share, _said("of the n pairs")]
PerSecond = Annotated[
    float, Field(gt=0, le=1e12, description="images per second, one view per image")
]
Milliseconds = Annotated[float | None, _said("ms per batch")]


# Of what has an interval: both ends and the method, or neither end.
_ENDS = {"low": {"type": "number"}, "high": {"type": "number"}, "interval": {"type": "string"}}
_ESTIMATE = _OPEN | ConfigDict(
    json_schema_extra={
        "anyOf": [
            {"properties": _ENDS, "required": list(_ENDS)},
            {"properties": {name: {"type": "null"} for name in ("low", "high")}},
        ]
    }
)


def _inside(estimate: dict[str, Any]) -> dict[str, Any]:
    value, low, high = (estimate.get(name) for name in ("value", "low", "high"))
    low, high = value if low is None else low, value if high is None else high
    if not low - ROUNDING <= value <= high + ROUNDING:
        raise ValueError("the value lies outside its interval")
    return estimate


_INSIDE = AfterValidator(_inside)


class Refused(TypedDict):
    refused: Annotated[str, _said("why there is no number")]


@with_config(_ESTIMATE)
class IntervalRecord(TypedDict, total=False):
    """The ends of a 95 % interval and the method, or why there is none."""

    low: float | None
    high: float | None
    interval: Required[Annotated[str | None, _said("the method, or why there is none")]]


# What was measured of the pairs.


class ShareOfPairs(IntervalRecord, total=False):
    value: Required[OfPairs]
    n: Required[Count]
    errors: Count
    low: Share | None
    high: Share | None


class Naive(TypedDict, total=False):
    low: float
    high: float
    interval: str


class Accuracy(ShareOfPairs, total=False):
    errors: Required[Count]
    naive: Naive
    design_effect: Annotated[float, _said("variance over that of independent pairs")]
    people: Count
    people_wrong: Annotated[Count, _said("people in wrong pairs")]
    folds: Required[list[Annotated[Share, _said("accuracy of a fold")]]]
    standard_error: float
    exact: Annotated[ShareOfPairs, _said("by thresholds between the distances")]
    one_class_folds: Count


# Squared distances of unit vectors end at 4; some rules put a threshold just beyond.
_FoldThreshold = Annotated[float, Field(ge=-1, le=5, description="each fold's threshold")]


class Threshold(IntervalRecord, total=False):
    value: Required[Annotated[float, _said("squared L2 distance, mean of the folds")]]
    folds: Required[Annotated[list[_FoldThreshold], Field(min_length=1, max_length=MAX_FOLDS)]]


class CurveNumber(IntervalRecord, total=False):
    value: Required[Annotated[Share, _said("EER or area under the curve")]]
    threshold: float
    n_genuine: Required[Count]
    n_impostor: Required[Count]


Far = Annotated[float, Field(gt=0, lt=1, description="false accept rate asked for")]


class FarRefused(TypedDict):
    far: Far
    refused: str


class TarAtFar(IntervalRecord, total=False):
    far: Required[Far]
    achieved_far: Required[Annotated[Share, _said("the rate reached")]]
    tar: Required[Annotated[Share, _said("true accept rate there")]]
    threshold: Annotated[float, _said("squared L2 distance")]
    n_genuine: Required[Count]
    n_impostor: Required[Count]


class AtThreshold(TypedDict, total=False):
    source: Required[str]
    threshold: float
    refused: str
    accuracy: Refused | ShareOfPairs
    fmr: Refused | ShareOfPairs
    fnmr: Refused | ShareOfPairs


class VariantRecord(TypedDict, total=False):
    accuracy: Required[Accuracy]
    threshold: Required[Threshold]
    eer: Refused | CurveNumber
    auc: Refused | CurveNumber


class Cost(TypedDict):
    prior: Annotated[Share, _said("of genuine pairs")]
    value: float
    interval_reason: str


class Decidability(TypedDict, total=False):
    value: float
    refused: str


class Failures(TypedDict, total=False):
    n_images: Count
    n_failed_images: Count


class Embeddings(TypedDict, total=False):
    n_images: Count
    n_not_finite: Count
    n_zero: Count
    n_distinct: Count


class Published(TypedDict, total=False):
    set: Required[str]
    network: Required[str]
    trained_on: str
    source: str
    sentence: str
    published: Required[Annotated[Share, _said("fraction of pairs")]]
    measured: Annotated[Share, _said("fraction of pairs")]
    low: Annotated[Share, _said("fraction of pairs")]
    high: Annotated[Share, _said("fraction of pairs")]
    n: Count
    inside: bool
    refused: str


# Decisions beside those of the reference.


class Flips(TypedDict, total=False):
    flipped_pairs: Annotated[Count | None, _said("pairs decided otherwise than the reference")]
    lost: Annotated[list[Count], _said("pairs that only the reference decides rightly")]
    gained: Annotated[list[Count], _said("pairs that only this cell decides rightly")]
    mcnemar_p: Annotated[Share, _said("McNemar's exact test, two-sided")] | None
    n_pairs: Annotated[Count, _said("pairs that both decided")]


class Parity(Flips, total=False):
    reference: Required[str]
    min_cosine: float
    mean_cosine: float
    max_abs_difference: float
    n: Annotated[Count, _said("faces")]
    variants: Annotated[dict[str, Flips], _said("by kind of images")]


class GateRecord(TypedDict):
    name: Literal["guide", "paired"]
    rule: str
    passed: Annotated[bool | None, _said("null: not judged")]
    evidence: str
    reason: Annotated[str | None, _said("why it was not judged")]


# What was measured of time.


class RateRecord(IntervalRecord, total=False):
    value: Required[PerSecond]
    n: Required[Count]
    low: Annotated[float, Field(ge=0, le=1e12)] | None
    high: Annotated[float, Field(gt=0, le=1e12)] | None


class Latency(TypedDict, total=False):
    p50: Required[Milliseconds]
    p90: Required[Milliseconds]
    p99: Required[Milliseconds]
    n: Annotated[Count | None, _said("batches timed")]
    refused: Annotated[dict[str, str], _said("percentile to why it is null")]


class StageRecord(TypedDict, total=False):
    images_per_second: float | None
    ms_per_image: float | None
    n: Annotated[Count | None, _said("images")]


class Stages(TypedDict, total=False):
    """One pass over the set, so without intervals."""

    e2e: Required[StageRecord]
    data_read: StageRecord
    preprocess: StageRecord
    infer: StageRecord
    post: StageRecord


class Ceiling(TypedDict, total=False):
    fraction: Required[Annotated[float, _said("of the fastest plain matrix product; may exceed 1")]]
    low: float | None
    high: float | None
    precision: Required[str]
    tops: Required[Annotated[float, _said("the ceiling, 10^12 operations per second")]]
    by: str


class Ratio(IntervalRecord, total=False):
    value: Required[float]
    n: Required[Count]


class Tuning(TypedDict):
    before: str
    before_ips: RateRecord
    after_ips: RateRecord
    ratio: Ratio
    measured_at: Annotated[str, _said("UTC")]
    reused: bool


# One batch size on one target.


class ArtefactRecord(TypedDict, total=False):
    path: Annotated[str, _said("relative to the run's folder")]
    sha256: str
    options: dict[str, Any]


class Numbers(TypedDict, total=False):
    note: str | None
    artefact: ArtefactRecord
    accuracy: Annotated[Accuracy, _INSIDE] | None
    accuracy_refused: str | None
    threshold: Threshold | None
    eer: Refused | CurveNumber | None
    auc: Refused | CurveNumber | None
    tar_at_far: Annotated[list[FarRefused | TarAtFar], Field(max_length=100)]
    minimum_cost: list[Cost]
    decidability: Decidability | None
    fixed_thresholds: list[AtThreshold]
    failures: Failures | None
    embeddings: Embeddings | None
    variants: Annotated[dict[str, VariantRecord], _said("by kind of images")]
    parity: Refused | Parity
    gates: list[GateRecord]
    stages: Stages | None
    throughput_ips: Annotated[RateRecord, _INSIDE] | None
    throughput_refused: str | None
    latency_ms: Latency | None
    clock: Annotated[str | None, _said("what a tool's clock covers; null: the run's own clock")]
    ceiling_fraction: Annotated[float | None, _said("share of this machine's arithmetic")]
    ceiling_fraction_reason: str | None
    ceiling: Ceiling | None
    tuning: Tuning | None
    tuning_refused: str | None


class OnSet(TypedDict, total=False):
    status: Required[str]
    reason: Required[str | None]
    published: list[Published]
    accuracy: Accuracy | None
    threshold: Threshold
    eer: Refused | CurveNumber


@with_config(
    _OPEN
    | ConfigDict(
        json_schema_extra={
            "if": {"properties": {"status": {"const": "ok"}}},
            "then": {"required": list(Numbers.__annotations__)},
            "else": {"properties": {"reason": {"type": "string"}}},
        }
    )
)
class CellRecord(Numbers, total=False):
    """One batch size on one target; its numbers only where the status is ok."""

    batch_size: Required[Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE)]]
    target: Required[
        Annotated[
            str,
            Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$", description="runtime-precision"),
        ]
    ]
    status: Required[Literal["ok", "unavailable", "failed"]]
    reason: Required[str | None]
    remedy: str | None
    quantised: Annotated[str | None, _said("what of the network came quantised")]
    published: Annotated[list[Published], _said("published accuracies of this network on this set")]
    every_pair: Annotated[dict[str, Any] | None, _said("rates over every pair of pictures")]
    sets: Annotated[dict[str, OnSet], _said("further sets of pairs, by key")]


# The run and its set.


class Notebook(TypedDict, total=False):
    stage: Required[str]
    batch_size: Required[Count | None]
    status: Required[Literal["running", "ok", "failed", "skipped"]]
    seconds: float | None
    reason: str | None
    page: str | None


class MachineRecord(TypedDict, total=False):
    cpu: str | None
    cores: int | None


class Provenance(TypedDict, total=False):
    started: str | None
    commit: str | None
    machine: MachineRecord | None


class ModelUsed(TypedDict, total=False):
    architecture: str | None
    weights: str | None


class ParamsUsed(TypedDict, total=False):
    model: ModelUsed | None


class Run(TypedDict, total=False):
    name: Required[Name]
    params: Required[
        Annotated[
            ParamsUsed | None,
            _said(
                "as `lresnet schema` describes them; null when the notebooks were run one by one"
            ),
        ]
    ]
    provenance: Provenance
    notebooks: Required[list[Notebook]]


class Terms(TypedDict, total=False):
    file: str
    title: str
    licence: str
    source: str


class Lost(TypedDict, total=False):
    image: Count
    reason: str
    name: Annotated[str, _said("of its file, if it has one")]


class Reason(TypedDict, total=False):
    reason: Required[str]
    n: Required[Count]
    examples: Examples


class PassedOver(TypedDict, total=False):
    n_files: Annotated[Count, _said("pictures")]
    examples: Examples
    reasons: Annotated[list[Reason], _said("also folders without a picture, and no pictures")]


class EqualFiles(TypedDict, total=False):
    n_pictures: Count
    n_of_two_people: Count
    examples: Examples


class Alignment(TypedDict, total=False):
    n: Required[Count]
    n_no_face: Required[Count]
    n_off: Required[Count]
    median_px: float | None
    median_degrees: float | None
    limit_px: float


class OneSet(TypedDict, total=False):
    name: Name
    source: str
    sha256: str
    pairs_sha256: Annotated[
        str,
        Field(pattern=r"^[0-9a-f]{64}$", description="fingerprint of pictures, pairs and labels"),
    ]
    credit: str
    licence: Terms | None
    n_images: Count
    n_pairs: Count
    n_genuine: Count
    n_impostor: Count
    failures: Annotated[list[Lost], _said("pictures that cannot be used")]
    passed_over: Annotated[PassedOver, _said("what of a folder is not read")]
    equal_files: Annotated[EqualFiles, _said("files with the same content; absent if none")]
    n_files_in_no_pair: Count
    n_aligned: Annotated[Count, _said("faces found and aligned here")]
    n_several_faces: Annotated[Count, _said("pictures in which several faces were found")]
    several_faces: Examples
    alignment: Annotated[
        Alignment | None,
        _said("how far given faces lie from the template; null where all were aligned here"),
    ]


class Dataset(OneSet, total=False):
    """The set of pairs; empty where there is none."""

    sets: Annotated[dict[str, OneSet], _said("further sets by key")]


class InputTest(TypedDict, total=False):
    target: str
    used: str
    best: str
    set_to: str
    refused: str
    n_images: Count
    n_pairs: Count
    right: Annotated[Literal["used", "other"], _said("other: another way is better")]
    difference: Annotated[IntervalRecord, _said("accuracy of the best other way, minus")]


class QuantisedRecord(TypedDict, total=False):
    what: Literal["weights", "weights and activations"]
    types: list[str]
    nodes: Count
    precision: str | None


class Input(TypedDict, total=False):
    channel_order: str
    normalisation: str
    size: Count


_Who = Literal["params", "graph", "maker"]


class InputSaidBy(TypedDict, total=False):
    channel_order: _Who
    normalisation: _Who


class NetworkRecord(TypedDict, total=False):
    architecture: str
    n_parameters: Count | None
    quantised: Annotated[QuantisedRecord | None, _said("what was quantised before it came here")]
    input: Input
    input_said_by: InputSaidBy | None


class Health(TypedDict, total=False):
    finding: Required[str]
    evidence: Required[str]
    consequence: Required[str]
    harmless: Required[bool]
    pairs: list[Count]


class TimingRecord(TypedDict, total=False):
    batch_size: Required[Count]
    settings: dict[str, Any]
    machine: dict[str, Any]
    load: dict[str, Any] | None


class FindingRecord(TypedDict):
    rule: Annotated[str, _said("which rule speaks")]
    case: Annotated[str, _said("which of its sentences")]
    kind: Literal["holds", "does not hold", "cannot tell"]
    evidence: Annotated[
        dict[str, Any], _said("numbers by name; estimates with n, unit and interval")
    ]
    cells: Annotated[list[str], _said("the cells concerned, as 16/torch-fp32")]
    finding: Text
    evidence_text: Text
    to_do: Text


class LinkRecord(TypedDict, total=False):
    file: Required[str]
    sha256: Required[str]
    bytes: Annotated[Count | None, _said("null: from outside the run's folder")]
    made_from: Required[list[str]]
    tools: dict[str, Any]
    options: dict[str, Any]


@with_config(_OPEN)
class ResultsFile(TypedDict, total=False):
    """What ``results.json`` holds."""

    schema: Required[Literal[1]]
    run: Required[Run]
    dataset: Required[Dataset]
    cells: Required[Annotated[list[CellRecord], Field(max_length=MAX_CELLS)]]
    set_health: Required[Annotated[list[Health], _said("what is odd about the set")]]
    timing: Required[
        Annotated[
            list[TimingRecord], _said("how each batch size was timed, on what, what else ran")
        ]
    ]
    input_test: Annotated[InputTest | None, _said("order and scale of the pixels, tried")]
    network: Annotated[NetworkRecord | None, _said("what it is, and what input was assumed")]
    preconditions: Annotated[
        list[FindingRecord],
        _said("what must hold before a build is recommended; kind is its state"),
    ]
    findings: Required[
        Annotated[list[FindingRecord], _said("what holds, what does not, what cannot be told")]
    ]
    custody: Annotated[list[LinkRecord], _said("which file was made from which")]
    files: Annotated[dict[str, str], _said("SHA-256 of every file of the stages, by its name")]
    licences: Annotated[list[Terms], _said("terms of files whose names tell what they are")]
    said: Annotated[
        dict[str, Any], _said("of sentences in here: the template and the values of each")
    ]


class _Untitled(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def results_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of ``results.json``.

    Examples
    --------
    >>> results_schema()["properties"]["schema"]["const"]
    1
    """
    found = TypeAdapter(ResultsFile).json_schema(schema_generator=_Untitled)
    for record in (found, *found["$defs"].values()):
        for name in ("title", "additionalProperties"):
            record.pop(name, None)
    title = "results.json of a run of lresnet"
    return {"$schema": _Untitled.schema_dialect, "title": title, **found}


def _read(record: Any, *names: str, **others: Any) -> Any:
    """Return what is declared of a record, but for the keys that nobody asks for."""
    hints = {name: record.__annotations__[name] for name in names} | {
        name: Required[kind] if name in record.__required_keys__ else kind
        for name, kind in others.items()
    }
    return with_config(_OPEN)(TypedDict(f"{record.__name__}Read", hints, total=False))


@cache
def _compared() -> TypeAdapter:
    """Return what a comparison reads.

    Whatever else a report holds is left alone, so that older and newer reports are read too.
    """
    cell = _read(
        CellRecord,
        *("batch_size", "target", "status", "reason", "accuracy_refused", "throughput_refused"),
        "clock",
        accuracy=Annotated[_read(Accuracy, "value", "low", "high", "errors"), _INSIDE] | None,
        threshold=_read(Threshold, "folds") | None,
        tar_at_far=Annotated[list[_read(TarAtFar, "far")], Field(max_length=100)] | None,
        throughput_ips=Annotated[
            _read(RateRecord, "value", "low", "high", "n", "interval"), _INSIDE
        ]
        | None,
    )
    return TypeAdapter(
        _read(
            ResultsFile,
            "schema",
            run=_read(Run, "name", "params", "provenance"),
            dataset=_read(Dataset, "name", "credit", "pairs_sha256"),
            cells=Annotated[list[cell], Field(max_length=MAX_CELLS)],
        )
    )


def check_results(results: Any, path: Path, fix: str) -> dict[str, Any]:
    """Return `results` after seeing that a comparison can read them.

    A ``results.json`` or a page may come from anywhere: what a comparison reads of it is checked
    before anything is computed.

    Parameters
    ----------
    results : object
        What a file holds.
    path, fix : Path, str
        Where it was read and what to do, for the message.

    Raises
    ------
    DataError
        When it is no report's results; names the first value that is wrong.
    """
    try:
        _compared().validate_python(results)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        told = f" ({key}: {first['msg']})" if key else ""
        raise DataError(f"The file is no report{told}.", where=str(path), fix=fix) from error
    names = [(cell["batch_size"], cell["target"]) for cell in results["cells"]]
    if len(set(names)) != len(names):
        raise DataError("The file is no report (a cell stands twice).", where=str(path), fix=fix)
    return results
