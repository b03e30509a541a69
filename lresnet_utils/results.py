"""The JSON schema of ``results.json``: what every key means, its unit, and what must be there.

Further keys may be added to the results; those named here keep their meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}


def results_schema() -> Schema:
    """Return the schema (draft 2020-12) of ``results.json``.

    Examples
    --------
    >>> results_schema()["properties"]["schema"]
    {'const': 1}
    """
    top = _object(
        {
            "schema": {"const": 1},
            "run": _run(),
            "dataset": _dataset(),
            "cells": _array(_ref("cell")),
            "set_health": _array(_health(), "what is odd about the set"),
            "timing": _array(_timing(), "how each batch size was timed, on what, what else ran"),
            "input_test": _said(_or_null(_input_test()), "order and scale of the pixels, tried"),
            "network": _said(_or_null(_network()), "what it is, and what input was assumed"),
            "preconditions": _array(
                _ref("finding"), "what must hold before a build is recommended; kind is its state"
            ),
            "findings": _array(_ref("finding"), "what holds, what does not, what cannot be told"),
            "custody": _array(_ref("link"), "which file was made from which"),
            "files": _object(
                {}, said="SHA-256 of every file of the stages, by its name", others=_STRING
            ),
            "licences": _array(_terms(), "terms of files whose names tell what they are"),
        },
        required=("schema", "run", "dataset", "cells", "set_health", "timing", "findings"),
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "results.json of a run of lresnet",
        **top,
        "$defs": _shared() | _accuracies() | _speeds() | {"cell": _cell()},
    }


def _run() -> Schema:
    notebook = _object(
        {
            "stage": _STRING,
            "batch_size": _or_null(_COUNT),
            "status": {"enum": ["running", "ok", "failed", "skipped"]},
            "seconds": _or_null(_NUMBER),
            "reason": _or_null(_STRING),
            "page": _or_null(_STRING),
        },
        required=("stage", "batch_size", "status"),
    )
    params = "as `lresnet schema` describes them; null when the notebooks were run one by one"
    return _object(
        {
            "name": _STRING,
            "params": _said(_or_null({"type": "object"}), params),
            "provenance": _object({}),
            "notebooks": _array(notebook),
        },
        required=("name", "params", "notebooks"),
    )


def _dataset() -> Schema:
    counts = dict.fromkeys(("n_images", "n_pairs", "n_genuine", "n_impostor"), _COUNT)
    one = {
        "name": _STRING,
        "source": _STRING,
        "sha256": _STRING,
        "pairs_sha256": _said(_STRING, "fingerprint of pictures, pairs and labels"),
        "licence": _or_null(_terms()),
    } | counts
    one |= _doubts()
    return _object(
        one | {"sets": _object({}, said="further sets by key", others=_object(one))},
        said="the set of pairs; empty where there is none",
    )


def _doubts() -> dict[str, Schema]:
    names = _array(_STRING, "the first of their names")
    lost = {
        "image": _COUNT,
        "reason": _STRING,
        "name": _said(_STRING, "of its file, if it has one"),
    }
    row = _object({"reason": _STRING, "n": _COUNT, "examples": names}, required=("reason", "n"))
    passed_over = {"n_files": _said(_COUNT, "pictures"), "examples": names}
    passed_over["reasons"] = _array(row, "also folders without a picture, and no pictures")
    equal = {"n_pictures": _COUNT, "n_of_two_people": _COUNT, "examples": names}
    counts = dict.fromkeys(("n", "n_no_face", "n_off"), _COUNT)
    far = dict.fromkeys(("median_px", "median_degrees"), _or_null(_NUMBER))
    return {
        "failures": _array(_object(lost), "pictures that cannot be used"),
        "passed_over": _object(passed_over, said="what of a folder is not read"),
        "equal_files": _object(equal, said="files with the same content; absent if none"),
        "n_files_in_no_pair": _COUNT,
        "n_aligned": _said(_COUNT, "faces found and aligned here"),
        "n_several_faces": _said(_COUNT, "pictures in which several faces were found"),
        "several_faces": names,
        "alignment": _said(
            _or_null(_object(counts | far | {"limit_px": _NUMBER}, required=tuple(counts))),
            "how far given faces lie from the template; null where all were aligned here",
        ),
    }


def _input_test() -> Schema:
    words = dict.fromkeys(("target", "used", "best", "set_to", "refused"), _STRING)
    counts = dict.fromkeys(("n_images", "n_pairs"), _COUNT)
    right = {"right": _said({"enum": ["used", "other"]}, "other: another way is better")}
    difference = {"difference": _said(_ref("interval"), "accuracy of the best other way, minus")}
    return _object(words | counts | right | difference)


def _network() -> Schema:
    who = {"enum": ["params", "graph", "maker"]}
    order = dict.fromkeys(("channel_order", "normalisation"), _STRING)
    types = {"types": _array(_STRING), "nodes": _COUNT, "precision": _or_null(_STRING)}
    quantised = _object({"what": {"enum": ["weights", "weights and activations"]}} | types)
    return _object(
        {
            "architecture": _STRING,
            "n_parameters": _or_null(_COUNT),
            "quantised": _said(_or_null(quantised), "what was quantised before it came here"),
            "input": _object(order | {"size": _COUNT}),
            "input_said_by": _or_null(_object(dict.fromkeys(order, who))),
        }
    )


def _terms() -> Schema:
    return _object(dict.fromkeys(("file", "title", "licence", "source"), _STRING))


def _health() -> Schema:
    words = dict.fromkeys(("finding", "evidence", "consequence"), _STRING)
    keys = words | {"harmless": {"type": "boolean"}, "pairs": _array(_COUNT)}
    return _object(keys, required=(*words, "harmless"))


def _timing() -> Schema:
    about = {"settings": _object({}), "machine": _object({}), "load": _or_null(_object({}))}
    return _object({"batch_size": _COUNT} | about, required=("batch_size",))


def _shared() -> dict[str, Schema]:
    """Return what several keys have in common, and findings and links."""
    ends = {"low": _NUMBER, "high": _NUMBER, "interval": _said(_STRING, "the method")}
    null = {"type": "null"}
    bare = {"low": null, "high": null, "interval": _said(_or_null(_STRING), "why there is none")}
    words = dict.fromkeys(("finding", "evidence_text", "to_do"), _said(_STRING, "in English"))
    finding = {
        "rule": _said(_STRING, "which rule speaks"),
        "case": _said(_STRING, "which of its sentences"),
        "kind": {"enum": ["holds", "does not hold", "cannot tell"]},
        "evidence": _object({}, said="numbers by name; estimates with n, unit and interval"),
        "cells": _array(_STRING, "the cells concerned, as 16/torch-fp32"),
    } | words
    link = {
        "file": _STRING,
        "sha256": _STRING,
        "bytes": _said(_or_null(_COUNT), "null: from outside the run's folder"),
        "made_from": _array(_STRING),
        "tools": _object({}),
        "options": _object({}),
    }
    return {
        "interval": {
            "description": "the ends of a 95 % interval and the method, or why there is none",
            "anyOf": [_object(ends, required=tuple(ends)), _object(bare, required=("interval",))],
        },
        "finding": _object(finding, required=tuple(finding)),
        "link": _object(link, required=("file", "sha256", "made_from")),
    }


def _accuracies() -> dict[str, Schema]:
    pairs = {"value": _share("of the n pairs"), "n": _COUNT, "errors": _COUNT}
    accuracy = {
        "naive": _object({"low": _NUMBER, "high": _NUMBER, "interval": _STRING}),
        "design_effect": _said(_NUMBER, "variance over that of independent pairs"),
        "people": _COUNT,
        "people_wrong": _said(_COUNT, "people in wrong pairs"),
        "folds": _array(_share("accuracy of a fold")),
        "standard_error": _NUMBER,
        "exact": _said(_ref("share_of_pairs"), "by thresholds between the distances"),
        "one_class_folds": _COUNT,
    }
    threshold = {
        "value": _said(_NUMBER, "squared L2 distance, mean of the folds"),
        "folds": _array(_NUMBER, "each fold's threshold") | {"minItems": 1},
    }
    classes = {"n_genuine": _COUNT, "n_impostor": _COUNT}
    curve = {"value": _share("EER or area under the curve"), "threshold": _NUMBER} | classes
    reached = {
        "far": _share("false accept rate asked for"),
        "achieved_far": _share("the rate reached"),
        "tar": _share("true accept rate there"),
        "threshold": _said(_NUMBER, "squared L2 distance"),
    } | classes
    fixed = {"source": _STRING, "threshold": _NUMBER, "refused": _STRING}
    rates = ("accuracy", "fmr", "fnmr")
    fixed |= {rate: {"anyOf": [_refused(), _ref("share_of_pairs")]} for rate in rates}
    variant = {"accuracy": _ref("accuracy"), "threshold": _ref("threshold")}
    variant |= dict.fromkeys(("eer", "auc"), _ref("curve_number"))
    return {
        "share_of_pairs": _estimate(pairs, required=("value", "n")),
        "accuracy": {"allOf": [_ref("share_of_pairs"), _object(accuracy, required=("folds",))]},
        "threshold": _estimate(threshold, required=tuple(threshold)),
        "curve_number": {
            "anyOf": [_refused(), _estimate(curve, required=("value", *classes))],
        },
        "tar_at_far": {
            "anyOf": [
                _object({"far": _NUMBER, "refused": _STRING}, required=("far", "refused")),
                _estimate(reached, required=("far", "achieved_far", "tar", *classes)),
            ],
        },
        "at_threshold": _object(fixed, required=("source",)),
        "variant": _object(variant, required=("accuracy", "threshold")),
        **_decisions(),
    }


def _decisions() -> dict[str, Schema]:
    flips = {
        "flipped_pairs": _said(_or_null(_COUNT), "pairs decided otherwise than the reference"),
        "lost": _array(_COUNT, "pairs that only the reference decides rightly"),
        "gained": _array(_COUNT, "pairs that only this cell decides rightly"),
        "mcnemar_p": _or_null(_share("McNemar's exact test, two-sided")),
        "n_pairs": _said(_COUNT, "pairs that both decided"),
    }
    compared = {
        "reference": _STRING,
        "min_cosine": _NUMBER,
        "mean_cosine": _NUMBER,
        "max_abs_difference": _NUMBER,
        "n": _said(_COUNT, "faces"),
        "variants": _object({}, said="by kind of images", others=_ref("flips")),
    }
    gate = {
        "name": {"enum": ["guide", "paired"]},
        "rule": _STRING,
        "passed": _said({"type": ["boolean", "null"]}, "null: not judged"),
        "evidence": _STRING,
        "reason": _said(_or_null(_STRING), "why it was not judged"),
    }
    parity = {"allOf": [_ref("flips"), _object(compared, required=("reference",))]}
    return {
        "flips": _object(flips),
        "parity": {"anyOf": [_refused(), parity]},
        "gate": _object(gate, required=tuple(gate)),
    }


def _speeds() -> dict[str, Schema]:
    rate = {"value": _said(_NUMBER, "images per second, one view per image"), "n": _COUNT}
    percentiles = ("p50", "p90", "p99")
    latency = {p: _said(_or_null(_NUMBER), "ms per batch") for p in percentiles}
    latency |= {"n": _said(_or_null(_COUNT), "batches timed")}
    latency |= {"refused": _object({}, said="percentile to why it is null", others=_STRING)}
    part = dict.fromkeys(("images_per_second", "ms_per_image"), _or_null(_NUMBER))
    part |= {"n": _said(_or_null(_COUNT), "images")}
    parts = ("e2e", "data_read", "preprocess", "infer", "post")
    ceiling = {
        "fraction": _said(_NUMBER, "of the fastest plain matrix product; may exceed 1"),
        "low": _or_null(_NUMBER),
        "high": _or_null(_NUMBER),
        "precision": _STRING,
        "tops": _said(_NUMBER, "the ceiling, 10^12 operations per second"),
        "by": _STRING,
    }
    tuning = {
        "before": _STRING,
        "before_ips": _ref("rate"),
        "after_ips": _ref("rate"),
        "ratio": _estimate({"value": _NUMBER, "n": _COUNT}, required=("value", "n")),
        "measured_at": _said(_STRING, "UTC"),
        "reused": {"type": "boolean"},
    }
    return {
        "rate": _estimate(rate, required=("value", "n")),
        "latency": _object(latency, required=percentiles),
        "stages": _object(
            dict.fromkeys(parts, _object(part)),
            required=("e2e",),
            said="one pass over the set, so without intervals",
        ),
        "ceiling": _object(ceiling, required=("fraction", "precision", "tops")),
        "tuning": _object(tuning, required=tuple(tuning)),
    }


def _cell() -> Schema:
    head = {
        "batch_size": {"type": "integer", "minimum": 1},
        "target": _said(_STRING, "runtime-precision"),
        "status": {"enum": ["ok", "unavailable", "failed"]},
        "reason": _or_null(_STRING),
    }
    numbers = _judged() | _timed()
    extra = {
        "remedy": _or_null(_STRING),
        "quantised": _said(_or_null(_STRING), "what of the network came quantised"),
        "published": _array(_published(), "published accuracies of this network on this set"),
        "every_pair": _said(_or_null(_object({})), "rates over every pair of pictures"),
        "sets": _object({}, said="further sets of pairs, by key", others=_on_set()),
    }
    return _object(
        head | numbers | extra,
        required=tuple(head),
        said="one batch size on one target; its numbers only where the status is ok",
    ) | {
        "if": {"properties": {"status": {"const": "ok"}}},
        "then": {"required": list(numbers)},
        "else": {"properties": {"reason": _STRING}},
    }


def _published() -> Schema:
    names = dict.fromkeys(("set", "network", "trained_on", "source", "sentence"), _STRING)
    shares = ("published", "measured", "low", "high")
    numbers = {key: _share("fraction of pairs") for key in shares}
    told = {"n": _COUNT, "inside": {"type": "boolean"}, "refused": _STRING}
    return _object(names | numbers | told, required=("set", "network", "published"))


def _judged() -> dict[str, Schema]:
    cost = {"prior": _share("of genuine pairs"), "value": _NUMBER, "interval_reason": _STRING}
    artefact = {"path": _said(_STRING, "relative to the run's folder"), "sha256": _STRING}
    return {
        "note": _or_null(_STRING),
        "artefact": _object(artefact | {"options": _object({})}),
        "accuracy": _or_null(_ref("accuracy")),
        "accuracy_refused": _or_null(_STRING),
        "threshold": _or_null(_ref("threshold")),
        "eer": _or_null(_ref("curve_number")),
        "auc": _or_null(_ref("curve_number")),
        "tar_at_far": _array(_ref("tar_at_far")),
        "minimum_cost": _array(_object(cost, required=tuple(cost))),
        "decidability": _or_null(_object({"value": _NUMBER, "refused": _STRING})),
        "fixed_thresholds": _array(_ref("at_threshold")),
        "failures": _or_null(_object({"n_images": _COUNT, "n_failed_images": _COUNT})),
        "embeddings": _or_null(
            _object(dict.fromkeys(("n_images", "n_not_finite", "n_zero", "n_distinct"), _COUNT))
        ),
        "variants": _object({}, said="by kind of images", others=_ref("variant")),
        "parity": _ref("parity"),
        "gates": _array(_ref("gate")),
        "stages": _or_null(_ref("stages")),
    }


def _on_set() -> Schema:
    keys = {"status": _STRING, "reason": _or_null(_STRING), "published": _array(_published())}
    keys |= {"accuracy": _or_null(_ref("accuracy")), "threshold": _ref("threshold")}
    return _object(keys | {"eer": _ref("curve_number")}, required=("status", "reason"))


def _timed() -> dict[str, Schema]:
    clock = "what a tool's clock covers; null: the run's own clock"
    return {
        "throughput_ips": _or_null(_ref("rate")),
        "throughput_refused": _or_null(_STRING),
        "latency_ms": _or_null(_ref("latency")),
        "clock": _said(_or_null(_STRING), clock),
        "ceiling_fraction": _said(_or_null(_NUMBER), "share of this machine's arithmetic"),
        "ceiling_fraction_reason": _or_null(_STRING),
        "ceiling": _or_null(_ref("ceiling")),
        "tuning": _or_null(_ref("tuning")),
        "tuning_refused": _or_null(_STRING),
    }


def _object(
    keys: dict[str, Schema],
    *,
    required: tuple[str, ...] = (),
    said: str | None = None,
    others: Schema | None = None,
) -> Schema:
    found: Schema = {"type": "object", "properties": keys}
    if required:
        found["required"] = list(required)
    if others is not None:
        found["additionalProperties"] = others
    return found if said is None else _said(found, said)


def _array(items: Schema, said: str | None = None) -> Schema:
    found: Schema = {"type": "array", "items": items}
    return found if said is None else _said(found, said)


def _estimate(keys: dict[str, Schema], *, required: tuple[str, ...]) -> Schema:
    """Return a number with what it rests on: it also needs an interval, or the reason for none."""
    return {"allOf": [_ref("interval"), _object(keys, required=required)]}


def _refused() -> Schema:
    keys = {"refused": _said(_STRING, "why there is no number")}
    return _object(keys, required=("refused",))


def _share(said: str) -> Schema:
    return {"type": "number", "minimum": 0, "maximum": 1, "description": said}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _said(schema: Schema, description: str) -> Schema:
    return schema | {"description": description}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


OK = "ok"


UNAVAILABLE = "unavailable"


FAILED = "failed"


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
