"""No module imports what stands above it; no two files and no two classes share a name.

The imports are the real ones, read from the source: those inside functions and those for type
checkers count like the others.
"""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lresnet_utils"
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
# From the ground up. A wing, or a loose module, may import from lines above its own, and itself.
FLOORS = [
    *("__init__", "errors", "text", "untrusted", "machine", "params", "results", "run", "ledger"),
    *("verify", "data", "models", "graph", "targets", "perf", "tuning", "findings", "stages"),
    *("comparison", "report", "running", "cluster", "api", "cli", "__main__"),
]
# What does not hold yet, as "importing wing -> imported wing". This list only gets shorter.
UPWARDS: set[str] = set()
# A notebook's stage and its page bear its name: seven files twice.
SEVEN = {"export", "compile", "preprocess", "infer", "evaluate", "perf", "summary"}
LOOSE = 8
# Classes whose name has a second meaning still; this list only gets shorter.
CLASSES_TWICE = {"_Work"}


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def imported(tree):
    """Yield the modules of this package that a module takes something from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom) and node.module in FILES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else node.module


def wing(module):
    return module.split(".")[1] if "." in module else "__init__"


def folder(module):
    path = FILES[module].parent
    return path.relative_to(PACKAGE.parent).as_posix()


def crossings(of):
    """Return who imports whom across a border: {(from, to): one example}."""
    found = {}
    for module, tree in TREES.items():
        for other in imported(tree):
            if of(module) != of(other):
                found.setdefault((of(module), of(other)), f"{module} imports {other}")
    return found


def test_every_wing_has_its_floor():
    assert sorted(FLOORS) == sorted({wing(name) for name in FILES})


def test_nothing_is_imported_upwards():
    upwards = {
        f"{low} -> {high}": example
        for (low, high), example in crossings(wing).items()
        if FLOORS.index(high) > FLOORS.index(low)
    }
    assert {way: upwards[way] for way in upwards.keys() - UPWARDS} == {}
    assert UPWARDS - upwards.keys() == set(), "these hold now: take them out of the list"


def test_folders_do_not_import_each_other_in_a_circle():
    """A folder and the one that holds it are one house, so imports between those do not count."""
    ways = defaultdict(set)
    for low, high in crossings(folder):
        if not (low.startswith(f"{high}/") or high.startswith(f"{low}/")):
            ways[low].add(high)

    def reached(start):
        seen, waiting = set(), [start]
        while waiting:
            for other in ways[waiting.pop()] - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    assert [name for name in list(ways) if name in reached(name)] == []


def test_few_modules_lie_loose():
    loose = [name for name, path in FILES.items() if path.parent == PACKAGE]
    assert len(loose) <= LOOSE, loose


def test_no_file_name_is_there_twice_but_those_of_a_stage_and_its_page():
    places = defaultdict(list)
    for path in FILES.values():
        if path.stem != "__init__":
            places[path.stem].append(path.relative_to(PACKAGE).parent.as_posix())
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert set(twice) <= SEVEN
    assert all(sorted(where) == ["report/pages", "stages"] for where in twice.values()), twice


def test_no_class_name_has_two_meanings():
    places = defaultdict(list)
    for name, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    twice = {name for name, where in places.items() if len(where) > 1}
    assert twice == CLASSES_TWICE


def picture():
    """Return the picture of docs/architecture.md: who imports whom, wings in order of floors."""
    size, left, top = 22, 110, 104
    ways = crossings(wing)
    names = [name for name in FLOORS if name not in ("__init__", "__main__")]
    width, height = left + size * len(names) + 8, top + size * len(names) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12" role="img">',
        "<title>Which wing imports which; every filled square lies below the diagonal</title>",
        f'<rect width="{width}" height="{height}" fill="#fdfdfe"/>',
    ]
    for row, name in enumerate(names):
        x, y = left + size * row, top + size * row
        parts += [
            f'<text x="{left - 8}" y="{y + 15}" text-anchor="end" fill="#1b1f24">{name}</text>',
            f'<text transform="translate({x + 15} {top - 8}) rotate(-90)" fill="#1b1f24">'
            f"{name}</text>",
            f'<rect x="{x}" y="{y}" width="{size}" height="{size}" fill="#dde1e6"/>',
        ]
        for column, other in enumerate(names):
            fill = "#1d5fae" if (name, other) in ways else "none"
            parts.append(
                f'<rect x="{left + size * column}" y="{y}" width="{size}" height="{size}" '
                f'fill="{fill}" stroke="#dde1e6"/>'
                if name != other
                else ""
            )
    return "\n".join([*filter(None, parts), "</svg>", ""])


def test_the_picture_of_the_docs_is_of_these_imports():
    assert PICTURE.read_text(encoding="utf-8") == picture(), "python tests/test_architecture.py"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
