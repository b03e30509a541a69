"""The one declaration of every parameter: types, defaults, meanings.

The check of a params file, ``lresnet run --help``, the JSON schema, the notebooks' parameter cells
and the report's parameter tables all come from these classes or are tested against them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from lresnet_utils.errors import ParamsError, nearest
from lresnet_utils.machine.isolation import LimitOptions
from lresnet_utils.untrusted.settings import BuildOptions, ToolOptions
from lresnet_utils.untrusted.yaml import load_yaml, parse_scalar


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelParams(_Strict):
    """The network and its weights."""

    architecture: str = Field(
        "sface", description="network: ir50 .. iresnet200, mobilefacenet, sface, or onnx"
    )
    weights: str = Field(
        "packaged",
        description="'packaged' (sface), 'seeded' (random: speed only), 'recorded' or a file",
    )
    channel_order: Literal["auto", "rgb", "bgr"] = Field(
        "auto", description="channel order the weights were trained on; auto: the network's own"
    )
    normalisation: Literal["auto", "minus1_1", "centred_128", "zero_1", "raw"] = Field(
        "auto", description="minus1_1 scales pixels to [-1, 1], raw keeps 0..255; auto: its own"
    )
    output: str = Field(
        "auto", description="the embedding among an .onnx file's outputs; auto: the only one"
    )
    channel_test: bool = Field(
        True, description="also evaluate the other channel order, where the faces have colour"
    )


class MoreSet(_Strict):
    """A further set, evaluated by its own pairs and folds."""

    name: str = Field(max_length=40, description="what the report calls the set")
    source: str = Field(description="as dataset.source")
    pairs: str = Field("auto", description="as dataset.pairs")
    align: Literal["auto", "always", "never"] = Field("auto", description="as dataset.align")

    @property
    def key(self) -> str:
        """The set's name in file names and in ``results.json``.

        Examples
        --------
        >>> MoreSet(name="CFP-FP", source="data/cfp_fp.bin").key
        'cfp_fp'
        """
        return re.sub(r"\W+", "_", self.name.lower()).strip("_")


class DatasetParams(_Strict):
    """The faces and pairs that decide accuracy."""

    name: str = Field(
        "auto", max_length=40, description="what the report calls the set; auto: as its file"
    )
    source: str = Field(
        "orl",
        description="'orl' (packaged faces), 'none', a .bin, a folder of people or LFW, or a .csv",
    )
    pairs: str = Field(
        "auto",
        description="auto; of people: balanced, all; of LFW: view2, view1_train, view1_test, "
        "unrestricted; of a .csv of templates: the .csv of their pairs",
    )
    align: Literal["auto", "always", "never"] = Field(
        "auto", description="find and align faces in folders; auto: not where they are 112x112"
    )
    more: list[MoreSet] = Field(
        [],
        max_length=20,
        description="further sets {name, source, pairs, align}, at the largest batch size only",
    )
    guide_files: Literal["no", "relative", "absolute"] = Field(
        "no", description="also write the guide's .bin files, with such paths in lfw.info"
    )
    variants: list[str] = Field(
        ["plain", "res28", "noise40"],
        description="degraded copies, embedded at the largest batch size only",
    )

    @field_validator("more")
    @classmethod
    def _sets_are_distinct(cls, value: list[MoreSet]) -> list[MoreSet]:
        keys = [item.key for item in value]
        if not all(keys) or len(set(keys)) != len(keys):
            raise ValueError("each further set needs a name of its own, with a letter or digit")
        return value


class PerfParams(_Strict):
    """How long and how often speed is measured."""

    warmup: int = Field(3, ge=0, le=10_000, description="batches run before timing starts")
    seconds: float = Field(0.4, gt=0, le=3600, description="least length of one repeat, seconds")
    repeats: int = Field(5, ge=2, le=1000, description="repeats per target, for the interval")


class Params(_Strict):
    """A run: what is measured, on what, and how."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")] = Field(
        description="name of the run and of its folder in outputs/"
    )
    model: ModelParams = ModelParams()
    dataset: DatasetParams = DatasetParams()
    batch_sizes: list[int] = Field([1, 4, 16], min_length=1, description="images per inference")
    targets: list[str] = Field(
        ["torch-fp32", "onnxruntime-fp32", "openvino-fp32", "openvino-bf16"],
        min_length=1,
        description="runtime-precision pairs to build, check and time",
    )
    reference: str = Field("torch-fp32", description="target the others are compared with")
    flip: bool = Field(True, description="add the mirrored view, as the guide does: twice the work")
    published_accuracy: float | None = Field(
        None, gt=0, le=1, description="accuracy that the guide's rule compares with; null: none"
    )
    folds: int = Field(
        10,
        ge=2,
        le=1000,
        description="folds, contiguous as in the guide; a set that comes in its own keeps them",
    )
    far_targets: list[float] = Field(
        [0.1, 0.01, 0.001, 0.0001], description="false accept rates at which TAR is asked for"
    )
    bootstrap: int = Field(
        400, ge=50, le=100_000, description="bootstrap replicates over people, for the intervals"
    )
    fixed_thresholds: list[float | str] = Field(
        [], description="thresholds fixed beforehand: numbers, or other runs' results.json"
    )
    perf: PerfParams = PerfParams()
    tools: ToolOptions = Field(
        ToolOptions(), description="settings of the vendors' tools, see lresnet run --help"
    )
    build: BuildOptions = Field(
        BuildOptions(), description="how builds are chosen, see lresnet run --help"
    )
    limits: LimitOptions = Field(
        LimitOptions(), description="what one target may take, see lresnet run --help"
    )
    threads: int = Field(0, ge=0, le=4096, description="threads per inference; 0: every core")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of everything drawn at random")
    baselines: list[Literal["guide"]] = Field(
        ["guide"], description="published figures drawn as labelled reference lines"
    )
    language: Literal["en", "zh"] = Field("en", description="language of the report")

    @field_validator("batch_sizes")
    @classmethod
    def _batch_sizes_make_sense(cls, value: list[int]) -> list[int]:
        if min(value) < 1 or max(value) > 4096 or len(set(value)) != len(value):
            raise ValueError("batch sizes are different whole numbers from 1 to 4096")
        return sorted(value)

    @field_validator("far_targets")
    @classmethod
    def _fars_are_rates(cls, value: list[float]) -> list[float]:
        if not all(0 < far < 1 for far in value):
            raise ValueError("false accept rates lie between 0 and 1")
        return sorted(value, reverse=True)

    @field_validator("fixed_thresholds")
    @classmethod
    def _thresholds_are_distances(cls, value: list[float | str]) -> list[float | str]:
        if not all(0 < cut <= 4 for cut in value if not isinstance(cut, str)):
            raise ValueError("thresholds on squared distances lie between 0 and 4")
        return value

    @field_validator("targets")
    @classmethod
    def _targets_are_distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("a target is named twice")
        return value


# What a notebook's parameter cell calls a parameter, where its flat name is not the path's end.
FLAT_NAMES = {
    "dataset_name": "dataset.name",
    "dataset": "dataset.source",
    "tools": "tools",
    "build": "build",
    "limits": "limits",
}


def declared() -> Iterator[tuple[str, FieldInfo]]:
    """Yield every parameter as its dotted path and its pydantic field, in declaration order.

    Examples
    --------
    >>> [path for path, _ in declared()][:3]
    ['name', 'model.architecture', 'model.weights']
    """
    for name, field in Params.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            for inner, inner_field in section.model_fields.items():
                yield f"{name}.{inner}", inner_field
        else:
            yield name, field


def flat_names() -> dict[str, str]:
    """Map the notebooks' flat parameter names to dotted paths.

    Examples
    --------
    >>> flat_names()["warmup"], flat_names()["dataset"]
    ('perf.warmup', 'dataset.source')
    """
    paths = [path for path, _ in declared() if not path.startswith(("tools.", "build.", "limits."))]
    flat = {path.split(".")[-1]: path for path in paths}
    for surplus in ("name", "source"):
        flat.pop(surplus)
    return flat | FLAT_NAMES


def value_at(params: Params, path: str) -> Any:
    """Return the value at a dotted path of `params`."""
    value: Any = params
    for part in path.split("."):
        value = getattr(value, part)
    return value


def load_params(path: Path | str, overrides: Iterable[str] = ()) -> Params:
    """Read and check a params file.

    Parameters
    ----------
    path : path
        A YAML file.
    overrides : iterable of str
        ``key=value`` or ``section.key=value``, each replacing a value of the file.

    Raises
    ------
    ParamsError
        On an unknown name, a wrong type or an impossible value, with the nearest right name.
    """
    values = load_yaml(path)
    where = str(path)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ParamsError(
                "An override is written key=value.", where=override, fix="--set batch_sizes=[1,16]"
            )
        value, inner = parse_scalar(text), values
        *sections, name = key.strip().split(".")
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                what = f"{section} has no parameters inside it."
                raise ParamsError(what, where=key.strip())
        inner[name] = value
        where = f"{path} with --set"
    return check_params(values, where=where)


def check_params(values: dict[str, Any], *, where: str) -> Params:
    """Check plain values against the declaration.

    Raises
    ------
    ParamsError
        Names the first thing that is wrong, and how many others are.
    """
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        errors = error.errors()
        # An unknown name comes first: it is usually why another parameter is missing or wrong.
        errors.sort(key=lambda item: item["type"] != "extra_forbidden")
        first = errors[0]
        more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
        path = ".".join(str(part) for part in first["loc"])
        meanings = {name: field.description for name, field in declared()}
        meaning = meanings.get(path, "see lresnet run --help")
        if first["type"] == "extra_forbidden":
            section, _, word = path.rpartition(".")
            model: Any = Params
            if section.startswith("dataset.more."):
                model = MoreSet
            elif section in Params.model_fields:
                model = Params.model_fields[section].annotation
            known = list(getattr(model, "model_fields", Params.model_fields))
            what, fix = f"Unknown parameter {path!r}.", nearest(word, known)
            if word not in known and word in flat_names():
                fix = f"write it as {flat_names()[word]}"
        elif first["type"] == "missing":
            what, fix = f"The parameter {path!r} is missing.", f"add {path}: {meaning}"
        else:
            message = first["msg"].removeprefix("Value error, ")
            given = repr(first["input"])
            given = given if len(given) <= 60 else f"{given[:57]}..."
            what = f"{path}: {message[0].lower()}{message[1:]}, not {given}."
            fix = meaning or ""
        raise ParamsError(what + more, where=where, fix=fix) from error
