"""YAML as people mean it: ``1e-3`` is a number, ``off`` is a word, nothing is guessed.

PyYAML follows YAML 1.1, where ``1e-3`` is a string, ``no`` is false, ``1:30`` is ninety and a date
becomes an object. This reader knows true/false, null, decimal numbers and strings. It refuses
duplicate keys, and anchors and aliases, with which a small file can grow without bound.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from lresnet_utils.errors import ParamsError

MAX_BYTES = 1_000_000


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 scalars, unique keys and no aliases."""

    yaml_implicit_resolvers: ClassVar[dict] = {}

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.constructor.ConstructorError(
                None, None, "anchors and aliases are not accepted", event.start_mark
            )
        return super().compose_node(parent, index)

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
    return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)


_PLAIN = {
    "tag:yaml.org,2002:bool": (r"true|false", "tf"),
    "tag:yaml.org,2002:null": (r"null|~|", "n~"),
    "!number": (r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", "-+.0123456789"),
}
for _tag, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), [*_first, ""])
_Loader.add_constructor("!number", _number)


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


def load_yaml(path: Path | str) -> dict[str, Any]:
    """Read a params file.

    Parameters
    ----------
    path : path
        A YAML file that holds one mapping.

    Raises
    ------
    ParamsError
        When the file is missing, too large, not YAML, or not a mapping.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ParamsError(f"A params file has at most {MAX_BYTES:,} bytes.", where=str(path))
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ParamsError(
            f"The params file cannot be read: {reason}.",
            where=str(path),
            fix="name one of params/*.yaml, or copy params/demo.yaml and edit it",
        ) from error
    value = _parse(text, where=str(path))
    if not isinstance(value, dict):
        raise ParamsError("A params file holds 'name: value' lines.", where=str(path))
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
