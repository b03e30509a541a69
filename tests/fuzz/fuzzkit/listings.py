"""Readers of lists of pictures and pairs: LFW's own, and CSV files."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from fuzzkit.subject import Seed, Subject
from lresnet_utils.data.readers.csv import is_templates, list_pairs
from lresnet_utils.data.readers.lfw import list_lfw

TOKENS = (
    b"../ann", b"/etc/passwd", b"..\\x", b"ann\t1\t2\n", b"ann\t1\tbob\t2\n", b"99999", b"0", b"left",
    b"same", b"fold", b",", b'"', b'""', b"template", b"ann/ann_0001.jpg", b"link/x.jpg", b"\xef\xbb\xbf",
)  # fmt: skip
PEOPLE = {"ann": 3, "bob": 2, "cy": 2, "dee": 2}


def _pictures(folder):
    for name, count in PEOPLE.items():
        (folder / name).mkdir(exist_ok=True)
        for number in range(1, count + 1):
            (folder / name / f"{name}_{number:04d}.jpg").write_bytes(b"\xff\xd8")
    link = folder / "link"
    if not link.exists():
        link.symlink_to("/")  # what leads out of the folder


def _lfw_seeds(folder):
    _pictures(folder)
    return [
        Seed(b"2\t1\nann\t1\t2\nann\t1\tbob\t1\ncy\t1\t2\ncy\t2\tdee\t1\n", "view2"),
        Seed(b"1\nann\t1\t3\nbob\t1\tcy\t2\n", "view1_train"),
        Seed(b"2\n2\nann\t3\nbob\t2\n2\ncy\t2\ndee\t2\n", "unrestricted"),
    ]


def _lfw_read(data, seed, folder):
    name = {"view2": "pairs.txt", "view1_train": "pairsDevTrain.txt", "unrestricted": "people.txt"}
    (folder / name[seed.about]).write_bytes(data)
    return list_lfw(folder, seed.about)


def _lfw_check(data, seed, value):
    """As many pairs as lines, of pictures that the lines name and that lie inside the folder."""
    _inside(value)
    lines = [line.split() for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    if seed.about == "unrestricted":
        assert sum(int(words[1]) for words in lines if len(words) == 2) < 10**6
        return
    assert len(value.same) == len(lines) - 1
    told = {(words[0], int(words[1])) for words in lines[1:]}
    told |= {(words[-2] if len(words) == 4 else words[0], int(words[-1])) for words in lines[1:]}
    assert {_picture(name) for name in value.faces.names} == told
    assert int(value.same.sum()) == sum(len(words) == 3 for words in lines[1:])


def _picture(name):
    stem = Path(name).stem
    return stem.rsplit("_", 1)[0], int(stem.rsplit("_", 1)[1])


def _inside(value):
    root = value.faces.folder.resolve()
    for name in value.faces.names:
        assert (value.faces.folder / name).resolve().is_relative_to(root), name
    assert len(set(value.faces.names)) == len(value.faces.names)
    for side in (value.left, value.right):
        assert (
            len(side) == len(value.same) and side.min() >= 0 and side.max() < len(value.faces.names)
        )


def _csv_seeds(folder):
    _pictures(folder)
    ann, bob = "ann/ann_0001.jpg", "bob/bob_0001.jpg"
    return [
        Seed(f"left,right,same\n{ann},ann/ann_0002.jpg,1\n{ann},{bob},0\n".encode()),
        Seed(
            f"left,right,same,fold,left_person,right_person\n{ann},{bob},false,1,a,b\n"
            f"{bob},bob/bob_0002.jpg,true,2,b,b\n".encode()
        ),
    ]


def _csv_read(data, seed, folder):
    path = folder / "pairs.csv"
    path.write_bytes(data)
    # A list of templates is another reader's; here it is only told apart.
    return None if is_templates(path) else list_pairs(path)


def _csv_check(data, seed, value):
    """Every line is a pair with the label it has in the file."""
    if value is None:
        assert b"template" in data
        return
    _inside(value)
    rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"))) if row]
    header, *rows = [[cell.strip() for cell in row] for row in rows]
    wanted = sorted(
        (row[header.index("left")], row[header.index("right")],
         row[header.index("same")].lower() in ("1", "true"))
        for row in rows
    )  # fmt: skip
    names = value.faces.names
    found = zip(value.left, value.right, value.same, strict=True)
    assert sorted((names[a], names[b], bool(same)) for a, b, same in found) == wanted


SUBJECTS = {
    "lfw-lists": Subject(_lfw_seeds, _lfw_read, _lfw_check, TOKENS),
    "csv-pairs": Subject(_csv_seeds, _csv_read, _csv_check, TOKENS),
}
