"""YAML as people mean it: ``1e-3`` is a number, ``off`` is a word, nothing is guessed.

PyYAML follows YAML 1.1, where ``1e-3`` is a string, ``no`` is false, ``1:30`` is ninety and a date
becomes an object. This reader knows true/false, null, decimal numbers and strings. It refuses
duplicate keys, and anchors and aliases, with which a small file can grow without bound.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from lresnet_utils.errors import ParamsError
from lresnet_utils.untrusted.bytes import read_bytes

MAX_BYTES = 50_000
MAX_DEPTH = 20
MAX_DIGITS = 40


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 scalars, unique keys and no aliases."""

    yaml_implicit_resolvers: ClassVar[dict] = {}
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.constructor.ConstructorError(
                None, None, "anchors and aliases are not accepted", event.start_mark
            )
        if getattr(event, "tag", None):
            raise yaml.constructor.ConstructorError(
                None, None, f"the tag {event.tag!r} is not accepted", event.start_mark
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.constructor.ConstructorError(
                None, None, f"it is nested more than {MAX_DEPTH} deep", event.start_mark
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not a word", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _number(loader: yaml.Loader, node: yaml.ScalarNode) -> int | float:
    text = loader.construct_scalar(node)
    if len(text) > MAX_DIGITS:
        raise yaml.constructor.ConstructorError(
            None, None, f"a number has more than {MAX_DIGITS} digits", node.start_mark
        )
    value = int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)
    if not math.isfinite(value):
        raise yaml.constructor.ConstructorError(
            None, None, f"the number {text} is too large", node.start_mark
        )
    return value


def _text(loader: yaml.Loader, node: yaml.ScalarNode) -> str:
    text = loader.construct_scalar(node)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise yaml.constructor.ConstructorError(
            None, None, "half a character is not text", node.start_mark
        )
    return text


_PLAIN = {
    "tag:yaml.org,2002:bool": (r"true|false", "tf"),
    "tag:yaml.org,2002:null": (r"null|~|", "n~"),
    "!number": (r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", "-+.0123456789"),
}
for _tag, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})\Z", re.ASCII), [*_first, ""])
_Loader.add_constructor("!number", _number)
_Loader.add_constructor("tag:yaml.org,2002:str", _text)


def parse_scalar(text: str) -> Any:
    """Parse the value of a command line's ``KEY=VALUE`` as a params file would.

    Raises
    ------
    ParamsError
        When `text` is not YAML.

    Examples
    --------
    >>> [parse_scalar(text) for text in ("1e-3", "[1, 16]", "off", "true", "1:30")]
    [0.001, [1, 16], 'off', True, '1:30']
    """
    return _parse(text, where=text)


def load_yaml(
    path: Path | str,
    *,
    what: str = "The params file",
    fix: str = "name one of params/*.yaml, or copy params/demo.yaml and edit it",
) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Parameters
    ----------
    path : path
    what, fix : str, optional
        For the message: what the file is, and what to do where it cannot be read.

    Raises
    ------
    ParamsError
        When the file is missing, larger than `MAX_BYTES`, nested deeper than `MAX_DEPTH`, not
        YAML, or not a mapping.
    """
    path = Path(path)
    data = read_bytes(path, most=MAX_BYTES, what=what, error=ParamsError, fix=fix)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ParamsError(
            f"{what} cannot be read: it is not UTF-8 text.", where=str(path), fix=fix
        ) from error
    value = _parse(text, where=str(path))
    if not isinstance(value, dict):
        raise ParamsError(f"{what} does not hold 'name: value' lines.", where=str(path))
    return value


def _parse(text: str, *, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader, narrowed further)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ParamsError(f"Not valid YAML: {error.problem}.", where=f"{where}{line}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParamsError(f"Not valid YAML: {str(error).splitlines()[0]}", where=where) from error
